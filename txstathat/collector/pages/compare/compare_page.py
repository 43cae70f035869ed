"""
The page that compares stats. Its address names them, and can be passed on.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.model import (
    MAX_TITLE,
    SCALES,
    Comparison,
    is_id,
)
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.boards.tile_form import (
    STAT_FIELDS,
    read_stats,
    stat_fields,
)
from txstathat.collector.pages.boards.titles import read_title
from txstathat.collector.pages.chart_page import CHART_FILES, ChartPage
from txstathat.collector.pages.compare.compare_chart import (
    DEFAULT,
    CompareChart,
    Compared,
    compared_fragment,
    read_compared,
)
from txstathat.collector.pages.compare.saved import SavedPage
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    choice,
    labelled,
    message_of,
)
from txstathat.collector.pages.forms.suggestions import suggestions
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import frame, see_other
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.web.resources import set_status

__all__ = ["ComparePages"]


class ComparePages(FormPage):
    """
    The form that chooses stats, and their chart, at ``/compare``.

    :param parts: what the pages work with.
    """

    error_title = "Can't compare these stats"

    def __init__(self, parts: PageParts) -> None:
        super().__init__(parts)
        if parts.chart_policy is not None:
            chart = ChartPage(parts, parts.chart_policy, self._chart_alone)
            self.putChild(b"chart", chart)

    async def _chart_alone(self, base: str) -> CompareChart:
        return CompareChart(self._archive, base)

    def getChild(self, path: bytes, request: Request) -> Resource:
        id = path.decode("ascii", "replace")
        if not is_id(id):
            return super().getChild(path, request)
        return SavedPage(self._parts, id)

    async def guarded(self, request: Request) -> Tag | bytes:
        """
        Show the page; or redirect to the address of the stats that were typed.
        """
        names = {name: argument(request, name) for name in STAT_FIELDS}
        if request.method == b"POST" or not any(names.values()):
            return await super().guarded(request)
        t, scale = argument(request, "t"), argument(request, "scale")
        form = Form({**names, "t": t, "scale": scale})
        try:
            found = await read_stats(self._archive, form)
            stats = await self._archive.stats(found)
            by_name = {stat.name: stat for stat in stats}
            in_order = [by_name[name] for name in found if name in by_name]
            return see_other(
                request, Compared(in_order, t or DEFAULT, scale or "own").path
            )
        except WrongField as refusal:
            set_status(request, refusal)
            return await self.show(request, Form(form.values, refusal))

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the form, and the chart of what the query names.
        """
        ids = _ids(request, form)
        content: list[Tag] = []
        if ids:
            t, scale = argument(request, "t"), argument(request, "scale")
            compared = await read_compared(self._archive, ids, t, scale)
            content = await self._compared(request, form, compared)
            choose = Form(compared.fields)
        else:
            choose = form if form.values else Form({"t": DEFAULT, "scale": "own"})
        is_open = len(ids) < 2
        chooser = _choose(choose, is_open=is_open)
        # Who came with one stat chooses the others next.
        content = [chooser, *content] if is_open else [*content, chooser]
        return frame(
            "Compare",
            tags.h1("Compare stats"),
            *content,
            await suggestions(self._archive),
            await self._list(),
            section="/compare",
            files=CHART_FILES if ids else (),
        )

    async def _compared(
        self, request: Request, form: Form, compared: Compared
    ) -> list[Tag]:
        if self._parts.chart_policy is None:
            raise Refusal(
                400, "charts need plotly on the server: pip install 'txStatHat[charts]'"
            )
        chart = await compared_fragment(self._archive, compared)
        request.setHeader("Content-Security-Policy", self._parts.chart_policy)
        return [chart, _save(form, compared)]

    async def _list(self) -> Tag:
        saved = await self._parts.comparisons.all()
        if not saved:
            return tags.transparent()
        rows = [
            tags.li(
                tags.a(isolated(each.title), href=f"/compare/{id}"),
                " ",
                tags.small(*_names(each)),
            )
            for id, each in saved.items()
        ]
        return tags.section(
            tags.h2("Saved comparisons"), tags.ul(*rows, class_="cards")
        )

    async def take(self, request: Request, form: Form) -> Done:
        ids = _ids(request, form)
        compared = await read_compared(self._archive, ids, form["t"], form["scale"])
        title = read_title(form)
        saved = self._parts.comparisons
        if any(each.title == title for each in (await saved.all()).values()):
            raise WrongField(
                "title", f"there is a comparison named {title!r}: choose another name"
            )
        names = tuple(stat.name for stat in compared.stats)
        comparison = Comparison(title, names, compared.t, compared.scale)
        # Checks that the timeframe can be read.
        await compared_fragment(self._archive, compared)
        id = await saved.create(comparison)
        return Done(f"/compare/{id}", "Saved the comparison", title)


def _ids(request: Request, form: Form) -> list[str]:
    """
    The ids of the stats in the query, or in the form that saves them.
    """
    if form["stats"]:
        return form["stats"].split(",")
    values = (request.args or {}).get(b"s", [])
    return [str(value, "utf-8", "replace") for value in values]


def _choose(form: Form, *, is_open: bool) -> Tag:
    fields = stat_fields(form)
    whole = tags.form(
        message_of(form),
        tags.div(*fields, class_="field-grid"),
        labelled(
            form,
            "t",
            "Range and step, e.g. 2w6h",
            longest=24,
            pattern="[0-9]+[mhdwMy][0-9]+[mhdwMy]",
            title="A range and a step, e.g. 2w6h. Units: m h d w M y",
        ),
        choice(form, "scale", "Axes", SCALES),
        tags.button("Compare", type="submit"),
        method="get",
        action="/compare",
        class_="panel",
    )
    if is_open:
        return whole
    return tags.details(tags.summary("Compare other stats, or another range"), whole)


def _save(form: Form, compared: Compared) -> Tag:
    ids = ",".join(stat.id for stat in compared.stats)
    hidden = {"stats": ids, "t": compared.t, "scale": compared.scale}
    return tags.form(
        message_of(form),
        labelled(form, "title", "Save under a name", longest=MAX_TITLE, required=True),
        *(
            tags.input(type="hidden", name=name, value=value)
            for name, value in hidden.items()
        ),
        tags.button("Save", type="submit"),
        " ",
        tags.a("Add to a board", href=compared.board_path),
        method="post",
        action="/compare",
        class_="panel",
    )


def _names(comparison: Comparison) -> list[Tag | str]:
    names: list[Tag | str] = []
    for name in comparison.stats:
        names += [", "] if names else []
        names.append(isolated(name))
    return names
