"""
The page of a saved comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.pages.chart_page import CHART_FILES, NO_CHARTS
from txstathat.collector.pages.compare.compare_chart import (
    Compared,
    compared_fragment,
)
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    delete_form,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import frame

__all__ = ["SavedPage"]


class SavedPage(FormPage):
    """
    A saved comparison.
    """

    error_title = "Can't show this comparison"

    async def show(self, request: Request, form: Form) -> Tag:
        saved = await self._parts.comparisons.get(self._id)
        known = {stat.name: stat for stat in await self._archive.stats(saved.stats)}
        stats = [known[name] for name in saved.stats if name in known]
        compared = Compared(stats, saved.timeframe, saved.scale)
        policy = self._parts.chart_policy
        files: Sequence[Tag] = ()
        if not stats:
            chart = tags.p("None of its stats is there any more.", class_="hint")
        elif policy is None:
            chart = NO_CHARTS
        else:
            chart, files = await compared_fragment(self._archive, compared), CHART_FILES
            request.setHeader("Content-Security-Policy", policy)
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
            files=files,
        )

    def _actions(self, compared: Compared) -> Tag:
        return tags.nav(
            tags.a("Change", href=compared.path),
            tags.a("Add to a board", href=compared.board_path),
            class_="actions",
            **{"aria-label": "This comparison"},
        )

    async def take(self, request: Request, form: Form) -> Done:
        if form["action"] != "delete":
            raise unknown_form()
        title = (await self._parts.comparisons.get(self._id)).title
        await self._parts.comparisons.delete(self._id)
        return Done("/compare", "Deleted the comparison", title)
