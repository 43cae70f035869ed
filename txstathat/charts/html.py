"""
Charts as HTML; twisted.web.template escapes every text.
"""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import urlencode

from twisted.web.template import Tag, tags

from txstathat.charts.table import Choice, Number, Table

__all__ = ["fragment", "number", "page", "words"]


def number(value: Number) -> str:
    """
    A number as people read it: a float with 10 digits, nothing for no data.
    """
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def page(title: str, content: Tag, assets: str, *, drawn: bool = True) -> Tag:
    """
    A whole page around a chart.

    :param assets: the path of the files.
    :param drawn: whether there is a chart to draw.
    """
    head = [
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(title),
        # No picture, rather than a request for one that is not there.
        tags.link(rel="icon", href="data:,"),
        tags.link(rel="stylesheet", href=f"{assets}/charts.css"),
    ]
    if drawn:
        head += [
            tags.script(src=f"{assets}/plotly.js", defer="defer"),
            tags.script(src=f"{assets}/charts.js", defer="defer"),
        ]
    body = tags.body(tags.div(content, role="main"), class_="txstathat-page")
    return tags.html(tags.head(*head), body, lang="en")


def words(text: str) -> Tag:
    """
    Why there is no chart.
    """
    return tags.p(text, role="alert", class_="txstathat-words")


def fragment(table: Table, path: str, refresh: float) -> Tag:
    """
    A chart: its controls, its picture (drawn by ``charts.js``), and its numbers.

    :param path: the path at which the chart itself is served.
    :param refresh: seconds between updates, 0 for none.
    """
    # The same in every answer, and another for each chart of a page.
    id = "chart-" + sha256(path.encode("utf-8")).hexdigest()[:8]
    figure = tags.section(
        tags.h2(table.title, id=f"{id}-title"),
        _controls(table, path, id),
        _trail(table, path),
        _total(table),
        tags.div(
            class_="txstathat-picture",
            role="img",
            **{"aria-label": f"{table.title}: the numbers are in the table below"},
        ),
        tags.details(
            tags.summary("Numbers"),
            tags.div(_numbers(table, path), class_="txstathat-scroll"),
            tags.p(
                tags.a("CSV", href=_link(table, path, "csv")),
                " ",
                tags.a("JSON", href=_link(table, path, "json")),
                class_="txstathat-forms",
            ),
        ),
        class_="txstathat-chart",
        id=id,
    )
    figure.attributes |= {
        "aria-labelledby": f"{id}-title",
        "data-path": path,
        "data-query": urlencode(_query(table)),
        "data-refresh": f"{refresh:g}",
        "data-kind": table.kind,
        "data-scale": table.scale or "",
        "data-zone": table.zone,
    }
    return figure


def _controls(table: Table, path: str, id: str) -> Tag:
    form = tags.form(action=path, method="get", class_="txstathat-controls")
    for name, value in table.hidden:
        form(tags.input(type="hidden", name=name, value=value))
    for choice in table.choices:
        key = f"{id}-{choice.name}"
        form(tags.label(f"{choice.label} ", _control(choice, key), **{"for": key}), " ")
    if table.choices:
        form(tags.button("Show", type="submit"))
    return form


def _control(choice: Choice, key: str) -> Tag:
    if not choice.options:
        return tags.input(
            type="number", min="1", id=key, name=choice.name, value=choice.value
        )
    options = []
    for value, text in choice.options:
        option = tags.option(text, value=value)
        if value == choice.value:
            option(selected="selected")
        options.append(option)
    return tags.select(*options, id=key, name=choice.name)


def _trail(table: Table, path: str) -> Tag:
    if not table.trail:
        return tags.transparent()
    nav = tags.nav(class_="txstathat-trail", **{"aria-label": "Zoom out"})
    for n, (text, query) in enumerate(table.trail):
        nav(
            " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} " if n else "",
            tags.a(text, href=f"{path}?{query}"),
        )
    return nav


def _total(table: Table) -> Tag:
    line = tags.p(class_="txstathat-total")
    if table.total is not None:
        line("Total ", tags.strong(number(table.total)))
    return line


def _numbers(table: Table, path: str) -> Tag:
    heads = [tags.th(text, scope="col") for text in table.columns]
    rows = []
    for n, (label, numbers) in enumerate(table.rows):
        text = table.label(n)
        shown = text if isinstance(label, str) else tags.time(text, datetime=text)
        if table.links:
            shown = tags.a(shown, href=f"{path}?{table.links[n]}")
        cells = [tags.td(number(value)) for value in numbers]
        rows.append(tags.tr(tags.th(shown, scope="row"), *cells))
    if not rows:
        rows = [tags.tr(tags.td("nothing yet", colspan=str(len(heads))))]
    zone = f" (days and longer: {table.zone})" if table.scale else ""
    return tags.table(
        tags.caption(f"{table.title}{zone}"),
        tags.thead(tags.tr(*heads)),
        tags.tbody(*rows),
    )


def _query(table: Table) -> list[tuple[str, str]]:
    shown = [(choice.name, choice.value) for choice in table.choices]
    return [*table.hidden, *shown]


def _link(table: Table, path: str, form: str) -> str:
    return f"{path}?{urlencode([*_query(table), ('format', form)])}"
