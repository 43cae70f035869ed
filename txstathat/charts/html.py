"""
Charts as HTML. ``twisted.web.template`` escapes every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlencode

from twisted.web.template import Tag, tags

from txstathat.charts.table import Choice, Mark, Number, Table, exact
from txstathat.printable import printable

__all__ = ["fragment", "message", "page"]

_WITH_OFFSET = ("hour", "minute")


def page(title: str, content: Tag, assets: str, *, drawn: bool = True) -> Tag:
    """
    Make a whole page.

    :param title: its title.
    :param content: its content.
    :param assets: the path of the scripts and the style sheet.
    :param drawn: whether the content has a chart to draw.
    """
    head = [
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(printable(title)),
        # An empty icon saves the browser a request for one.
        tags.link(rel="icon", href="data:,"),
        tags.link(rel="stylesheet", href=f"{assets}/charts.css"),
    ]
    if drawn:
        head += [
            tags.script(src=f"{assets}/plotly.js", defer="defer"),
            tags.script(src=f"{assets}/charts.js", defer="defer"),
        ]
    heading = tags.h1(tags.bdi(title), class_="txstathat-unseen")
    body = tags.body(tags.div(heading, content, role="main"), class_="txstathat-page")
    return tags.html(tags.head(*head), body, lang="en")


def message(text: str) -> Tag:
    """
    Make a message in place of a chart.

    :param text: why the chart is not shown.
    """
    return tags.p(tags.bdi(text), role="alert", class_="txstathat-message")


def fragment(table: Table, path: str, refresh: float) -> Tag:
    """
    Make a chart: its controls, its picture (drawn by ``charts.js``), and its numbers.

    :param table: the numbers.
    :param path: the path at which the chart itself is served.
    :param refresh: seconds between updates, 0 for none.
    """
    # The same in every response, and different for each chart of a page.
    id = "chart-" + sha256(path.encode("utf-8")).hexdigest()[:8]
    title = printable(table.title)
    figure = tags.section(
        _heading(table, path, id),
        _controls(table, path, id),
        _trail(table, path),
        _total(table),
        _note(table),
        _levels(table),
        tags.div(
            class_="txstathat-picture",
            role="img",
            **{"aria-label": f"{title}: see the table below for the numbers"},
        ),
        _numbers(table, path, id),
        class_="txstathat-chart",
        id=id,
    )
    figure.attributes |= {
        "aria-labelledby": f"{id}-title",
        "data-path": path,
        "data-file": table.file_name,
        "data-query": urlencode(_query(table)),
        "data-refresh": f"{refresh:g}",
        "data-kind": table.kind,
        "data-scale": table.scale or "",
        "data-zone": table.zone,
        "data-unit": table.unit,
        "data-unfinished": "yes" if table.unfinished else "",
        "data-earlier": "yes" if table.earlier else "",
        "data-figures": "short" if table.figure is not exact else "",
    }
    return figure


def _heading(table: Table, path: str, id: str) -> Tag:
    return tags.div(
        tags.h2(tags.bdi(table.title), id=f"{id}-title"),
        tags.p(
            tags.a("CSV", href=_link(table, path, "csv")),
            " ",
            tags.a("JSON", href=_link(table, path, "json")),
            # They need scripts, and are not seen without.
            _save("png"),
            _save("svg"),
            class_="txstathat-forms",
        ),
        class_="txstathat-head",
    )


def _save(form: str) -> Tag:
    return tags.button(
        form.upper(),
        type="button",
        title=f"Save the picture as {form.upper()}",
        class_="txstathat-save",
        **{"data-form": form},
    )


def _controls(table: Table, path: str, id: str) -> Tag:
    form = tags.form(action=path, method="get", class_="txstathat-controls")
    for name, value in table.hidden:
        form(tags.input(type="hidden", name=name, value=value))
    for choice in table.choices:
        key = f"{id}-{choice.name}"
        form(
            tags.label(
                f"{printable(choice.label)} ", _control(choice, key), **{"for": key}
            ),
            " ",
        )
    if table.choices:
        form(tags.button("Apply", type="submit"))
    return form


def _control(choice: Choice, key: str) -> Tag:
    if not choice.options:
        return tags.input(
            type="number", min="1", id=key, name=choice.name, value=choice.value
        )
    options = []
    for value, text in choice.options:
        option = tags.option(printable(text), value=value)
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
            tags.a(tags.bdi(text), href=f"{path}?{query}"),
        )
    return nav


def _total(table: Table) -> Tag:
    line = tags.p(class_="txstathat-total")
    if table.total is not None:
        line("Total ", tags.strong(table.figure(table.total)))
    return line


def _levels(table: Table) -> Tag:
    lines = [
        tags.li(
            tags.bdi(level.text),
            " ",
            tags.strong(table.figure(level.value), **{"data-value": repr(level.value)}),
        )
        for level in table.levels
    ]
    return tags.ul(*lines, class_="txstathat-levels")


def _note(table: Table) -> Tag:
    line = tags.p(class_="txstathat-note")
    if not table.expired:
        return line
    units = f"{table.expired}s"
    text = table.stored_from_text
    if text is None:
        return line(f"The {units} of this time have expired and are not shown.")
    return line(
        f"{units.capitalize()} are stored from ",
        tags.time(text, datetime=text),
        " on. Earlier ones have expired and are not shown.",
    )


def _numbers(table: Table, path: str, id: str) -> Tag:
    # It can be scrolled with the keyboard.
    scrolled = tags.div(
        _table(table, path),
        class_="txstathat-scroll",
        tabindex="0",
        role="region",
        **{"aria-labelledby": f"{id}-title"},
    )
    return tags.details(tags.summary("Show as table"), scrolled)


def _table(table: Table, path: str) -> Tag:
    heads = [tags.th(tags.bdi(text), scope="col") for text in table.columns]
    marks = table.marks_by_row
    if marks:
        heads.append(tags.th("Notes", scope="col", class_="txstathat-marks"))
    rows = []
    for n, (label, numbers) in enumerate(table.rows):
        text = table.label(n)
        shown = (
            tags.bdi(text) if isinstance(label, str) else tags.time(text, datetime=text)
        )
        if table.links:
            shown = tags.a(shown, href=f"{path}?{table.links[n]}")
        cells = [_cell(table, value) for value in numbers]
        if marks:
            cells.append(tags.td(*_marks(marks.get(n, [])), class_="txstathat-marks"))
        rows.append(tags.tr(tags.th(shown, scope="row"), *cells))
    if not rows:
        rows = [tags.tr(tags.td("No data yet", colspan=str(len(heads))))]
    caption = tags.caption(tags.bdi(table.title))
    if table.scale and table.scale not in _WITH_OFFSET:
        caption(f". Times in {table.zone}")
    return tags.table(caption, tags.thead(tags.tr(*heads)), tags.tbody(*rows))


def _cell(table: Table, value: Number) -> Tag:
    text = table.figure(value)
    cell = tags.td(text)
    if value is not None and text != exact(value):
        # The picture is drawn from this.
        cell.attributes["data-value"] = repr(value)
    return cell


def _marks(marks: Sequence[Mark]) -> list[Tag]:
    return [
        tags.p(tags.bdi(mark.text), **{"data-time": mark.time.isoformat()})
        for mark in marks
    ]


def _query(table: Table) -> list[tuple[str, str]]:
    shown = [(choice.name, choice.value) for choice in table.choices]
    return [*table.hidden, *shown]


def _link(table: Table, path: str, form: str) -> str:
    return f"{path}?{urlencode([*_query(table), ('format', form)])}"
