"""
The page of a saved comparison.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.archive import Archive
from txstathat.collector.boards.model import Comparison
from txstathat.collector.boards.records import Documents
from txstathat.collector.pages.chart_page import CHART_FILES
from txstathat.collector.pages.compare.compare_chart import (
    Compared,
    compared_fragment,
)
from txstathat.collector.pages.formatting import isolated
from txstathat.collector.pages.forms import (
    Form,
    FormPage,
    delete_form,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.guard import SessionGuard
from txstathat.collector.pages.layout import frame

__all__ = ["SavedPage"]


class SavedPage(FormPage):
    """
    A saved comparison.

    :param guard: checks the session.
    :param archive: the stats.
    :param saved: the saved comparisons.
    :param chart_policy: the Content-Security-Policy of pages with a chart; ``None`` to
        show no charts.
    :param id: its id.
    """

    error_title = "Can't show this comparison"

    def __init__(
        self,
        guard: SessionGuard,
        archive: Archive,
        saved: Documents[Comparison],
        chart_policy: str | None,
        id: str,
    ) -> None:
        super().__init__(guard)
        self._archive = archive
        self._saved = saved
        self._chart_policy = chart_policy
        self._id = id

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the chart.
        """
        saved = await self._saved.get(self._id)
        known = {stat.name: stat for stat in await self._archive.stats(saved.stats)}
        stats = [known[name] for name in saved.stats if name in known]
        compared = Compared(stats, saved.timeframe, saved.scale)
        chart = tags.p("None of its stats is there any more.", class_="hint")
        if stats and self._chart_policy is not None:
            chart = await compared_fragment(self._archive, compared)
            request.setHeader("Content-Security-Policy", self._chart_policy)
        return frame(
            saved.title,
            tags.p(tags.a("← Compare stats", href="/compare"), class_="back"),
            tags.div(
                tags.h1(isolated(saved.title)),
                self._actions(compared),
                class_="headline",
            ),
            message_of(form),
            chart,
            delete_form(
                "Delete this comparison",
                "Delete the comparison",
                f"/compare/{self._id}",
            ),
            section="/compare",
            files=CHART_FILES if stats and self._chart_policy is not None else (),
        )

    def _actions(self, compared: Compared) -> Tag:
        return tags.nav(
            tags.a("Change", href=compared.path),
            tags.a("Add to a board", href=compared.board_path),
            class_="actions",
            **{"aria-label": "This comparison"},
        )

    async def take(self, request: Request, form: Form) -> str:
        """
        Delete it.
        """
        if form["action"] != "delete":
            raise unknown_form()
        await self._saved.delete(self._id)
        return "/compare"
