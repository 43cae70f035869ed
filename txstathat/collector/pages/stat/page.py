"""
The page of one stat: its chart over a range, and a summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar
from urllib.parse import urlencode

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.chart_page import CHART_FILES, NO_CHARTS, ChartPage
from txstathat.collector.pages.forms.forms import Form, WrongField
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.formatting import visible_name
from txstathat.collector.pages.frame.layout import TENDING_FILES, frame, see_other
from txstathat.collector.pages.stat.alerts import alert_lines, limits_of
from txstathat.collector.pages.stat.chart import (
    LevelsOf,
    StatChart,
    StatView,
    chart_of,
    read_view,
)
from txstathat.collector.pages.stat.newest import Newest, opening_range, read_newest
from txstathat.collector.pages.stat.page_parts import (
    StatAddress,
    facts_of,
    figure_of,
    ranges_of,
)
from txstathat.collector.pages.stat.ranges import read_range
from txstathat.collector.pages.stat.summary import summary_of
from txstathat.collector.pages.tending.stat_edit import StatEdit
from txstathat.collector.web.resources import set_status

__all__ = ["StatPages"]

_FIELDS = ("t", "start", "from", "to")


class StatPages(GuardedPage):
    """
    The parent of the page of each stat, at ``/stats``.
    """

    def getChild(self, path: bytes, request: Request) -> Resource:
        id = path.decode("ascii", "replace")
        page = _StatPage(self._parts, id)
        page.putChild(b"edit", StatEdit(self._parts, id))
        policy = self._parts.chart_policy
        if policy is not None:
            page.putChild(b"chart", ChartPage(self._parts, policy, page.chart_alone))
        return page

    async def guarded(self, request: Request) -> bytes:
        return see_other(request, "/")


class _StatPage(GuardedPage):
    error_title: ClassVar[str] = "Can't show this stat"

    @property
    def _levels(self) -> LevelsOf:
        return limits_of(self._parts.alerting.records)

    async def chart_alone(self, base: str) -> StatChart:
        (stat,) = await self._archive.find([self._id])
        return StatChart(self._archive, stat, base, notes=True, levels=self._levels)

    async def guarded(self, request: Request) -> Tag:
        stats = await self._archive.known([self._id])
        if not stats:
            raise Refusal(
                404, "this stat does not exist; it may have been deleted or renamed"
            )
        (stat,) = stats
        newest = await read_newest(self._archive, stat)
        form = Form({name: argument(request, name) for name in _FIELDS})
        try:
            view = await self._view(stat, newest, form)
        except Refusal as refusal:
            if refusal.http_status != 400:
                raise
            # The page is shown with its usual range, and the error beside the field.
            view = await self._view(stat, newest, Form())
            set_status(request, refusal)
            if not isinstance(refusal, WrongField):
                refusal = WrongField("t", refusal.msg)
            form = replace(form, error=refusal)
        if self._parts.chart_policy is not None:
            request.setHeader("Content-Security-Policy", self._parts.chart_policy)
        alerts = alert_lines(
            await self._parts.alerting.records.of_stat(stat.name), newest.now
        )
        return self._page(view, newest, form, StatAddress.of(request, stat), alerts)

    async def _view(self, stat: Stat, newest: Newest, form: Form) -> StatView:
        since = self._archive.stored_since
        shown = read_range(form, newest.now, since) or opening_range(stat, newest)
        view = await read_view(
            self._archive, stat, shown, notes=True, levels=self._levels
        )
        # A sum beyond the largest float is an error of the range.
        summary_of(view.series, view.unfinished)
        return view

    def _page(
        self,
        view: StatView,
        newest: Newest,
        form: Form,
        address: StatAddress,
        alerts: Tag,
    ) -> Tag:
        stat, charts = view.series.stat, self._parts.chart_policy is not None
        since = self._archive.stored_since
        summary = summary_of(view.series, view.unfinished)
        return frame(
            stat.name,
            *_heading(view, address),
            alerts,
            ranges_of(view, since, form, address),
            facts_of(view, summary, newest, since, address),
            self._chart(view),
            section="/",
            files=(*(CHART_FILES if charts else ()), *TENDING_FILES),
            latest=figure_of(summary.latest, view.details.unit),
        )

    def _chart(self, view: StatView) -> Tag:
        if self._parts.chart_policy is None:
            return NO_CHARTS
        return chart_of(view, f"/stats/{view.series.stat.id}/chart")


def _heading(view: StatView, address: StatAddress) -> Sequence[Tag]:
    stat, details = view.series.stat, view.details
    heading = tags.h1(
        tags.bdi(visible_name(stat.name)),
        " ",
        tags.small("counter" if stat.counter else "value", class_="kind"),
    )
    back = tags.p(tags.a("← All stats", href=address.back), class_="back")
    headline = tags.div(heading, _actions(stat), class_="headline")
    if not details.description:
        return back, headline
    return back, headline, tags.p(tags.bdi(details.description), class_="description")


def _actions(stat: Stat) -> Tag:
    """
    Links to what can be done with a stat.
    """
    return tags.nav(
        tags.a("Add to a board", href=f"/boards/add?{urlencode({'stat1': stat.name})}"),
        tags.a("Compare", href=f"/compare?s={stat.id}"),
        tags.a("Note", href=f"/notes?{urlencode({'stat': stat.name})}"),
        tags.a("Share", href=f"/links?stat={stat.id}"),
        tags.a("Alert", href=f"/alerts/new?{urlencode({'stat': stat.name})}"),
        tags.a("Edit", href=f"/stats/{stat.id}/edit"),
        class_="actions",
        **{"aria-label": "This stat"},
    )
