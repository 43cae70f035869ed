"""
The page of one stat: its chart over a timeframe, and a summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.alerting.on_stat import alert_lines, levels_of
from txstathat.collector.pages.formatting import ago, day, number, plural
from txstathat.collector.pages.forms import argument
from txstathat.collector.pages.guard import GuardedPage, MissingPage, SessionGuard
from txstathat.collector.pages.layout import ASSETS, frame, see_other
from txstathat.collector.pages.listing.address import LIST, back_to_list
from txstathat.collector.pages.paths import base_path
from txstathat.collector.pages.stat_chart import DEFAULT, StatChart, chart_of, series_of
from txstathat.collector.pages.tending.stat_edit import StatEdit, stat_details
from txstathat.collector.pages.tending.style import TENDING_FILES
from txstathat.points.summary import summarize

__all__ = ["CHART_FILES", "TIMEFRAMES", "StatPages"]

#: The timeframes with a link of their own, and the texts of these links.
TIMEFRAMES = {
    "1h1m": "Hour",
    "1d5m": "Day",
    "1w3h": "Week",
    "1M1h": "Month",
    "1y1d": "Year",
}
# A stat younger than this, in seconds, shows the last hour first: of a day it has
# little to show.
_YOUNG = 2 * 3600.0
#: The style sheet and the scripts of pages with charts.
CHART_FILES = (
    tags.link(rel="stylesheet", href=f"{ASSETS}/charts.css"),
    tags.script(src=f"{ASSETS}/plotly.js", defer="defer"),
    tags.script(src=f"{ASSETS}/charts.js", defer="defer"),
)


class StatPages(GuardedPage):
    """
    The parent of the page of each stat, at ``/stats``.

    :param guard: checks the session.
    :param archive: the stats.
    :param chart_policy: the Content-Security-Policy of pages with a chart; ``None`` to
        show no charts.
    :param alerts: the alerts, which the charts show.
    """

    isLeaf = False

    def __init__(
        self,
        guard: SessionGuard,
        archive: Archive,
        chart_policy: str | None,
        alerts: AlertRecords,
    ) -> None:
        super().__init__(guard)
        self._archive = archive
        self._chart_policy = chart_policy
        self._alerts = alerts

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Find the page of a stat, by the stat's id.
        """
        id = path.decode("ascii", "replace")
        page = _StatPage(
            self._guard, self._archive, self._chart_policy, self._alerts, id
        )
        page.putChild(b"edit", StatEdit(self._guard, self._archive, id))
        return page

    async def guarded(self, request: Request) -> bytes:
        """
        Redirect to the list of stats.
        """
        return see_other(request, "/")


class _StatPage(GuardedPage):
    isLeaf = False
    error_title = "Can't show this stat"

    def __init__(
        self,
        guard: SessionGuard,
        archive: Archive,
        chart_policy: str | None,
        alerts: AlertRecords,
        id: str,
    ) -> None:
        super().__init__(guard)
        self._archive = archive
        self._chart_policy = chart_policy
        self._alerts = alerts
        self._id = id

    def getChild(self, path: bytes, request: Request) -> Resource:
        if path == b"chart" and self._chart_policy is not None:
            return _GuardedChart(
                self._guard, self._archive, self._chart_policy, self._alerts, self._id
            )
        return MissingPage(self._guard)

    def title_of(self, refusal: Refusal) -> str:
        if refusal.http_status == 400:
            return "Can't show that range"
        return super().title_of(refusal)

    async def guarded(self, request: Request) -> Tag:
        (stat,) = await self._archive.find([self._id])
        now = self._archive.store.clock.seconds()
        t = argument(request, "t")
        if not t:
            t = "1h1m" if now - stat.created_at < _YOUNG else DEFAULT
        series = await series_of(self._archive, stat, t)
        alerts = await self._alerts.of_stat(stat.name)
        details = await self._archive.details.read(stat)
        files: tuple[Tag, ...] = ()
        if self._chart_policy is not None:
            request.setHeader("Content-Security-Policy", self._chart_policy)
            files = CHART_FILES
        return frame(
            stat.name,
            tags.p(tags.a("← All stats", href=back_to_list(request)), class_="back"),
            tags.h1(
                tags.bdi(stat.name),
                " ",
                tags.small("counter" if stat.counter else "value", class_="kind"),
            ),
            stat_details(stat, details),
            alert_lines(stat, alerts, now),
            _timeframes(stat, t, argument(request, LIST)),
            _summary(series, now),
            self._chart(series, alerts),
            section="/",
            files=(*files, *TENDING_FILES),
        )

    def _chart(self, series: Series, alerts: Sequence[AlertRecord]) -> Tag:
        if self._chart_policy is not None:
            levels = levels_of(alerts, series)
            return chart_of(series, f"/stats/{series.stat.id}/chart", levels)
        return tags.p(
            "Charts need plotly. Install it on the server: ",
            tags.code("pip install 'txStatHat[charts]'"),
            class_="hint",
        )


class _GuardedChart(GuardedPage):
    """
    The chart by itself, as a page, fragment, JSON or CSV.
    """

    def __init__(
        self,
        guard: SessionGuard,
        archive: Archive,
        chart_policy: str,
        alerts: AlertRecords,
        id: str,
    ) -> None:
        super().__init__(guard)
        self._archive = archive
        self._chart_policy = chart_policy
        self._alerts = alerts
        self._id = id

    async def guarded(self, request: Request) -> bytes:
        if request.postpath:
            raise Refusal(404, "no such page")
        (stat,) = await self._archive.find([self._id])
        alerts = await self._alerts.of_stat(stat.name)
        chart = StatChart(
            self._archive,
            stat,
            base_path(request),
            levels=lambda series: levels_of(alerts, series),
        )
        body = await chart.respond(request)
        request.setHeader("Content-Security-Policy", self._chart_policy)
        return body


def _timeframes(stat: Stat, t: str, origin: str) -> Tag:
    nav = tags.nav(class_="timeframes", **{"aria-label": "Range"})
    back = f"&{urlencode({LIST: origin})}" if origin else ""
    for each, title in TIMEFRAMES.items():
        link = tags.a(title, href=f"/stats/{stat.id}?t={each}{back}")
        if each == t:
            link.attributes["aria-current"] = "true"
        nav(link)
    field = tags.input(
        name="t",
        id="t",
        value=t,
        maxlength="24",
        pattern="[0-9]+[mhdwMy][0-9]+[mhdwMy]",
        title="A range and a step, e.g. 2w6h. Units: m h d w M y",
        required="required",
    )
    return tags.div(
        nav,
        tags.form(
            tags.label("Range and step, e.g. 2w6h", **{"for": "t"}),
            field,
            tags.input(type="hidden", name=LIST, value=origin) if origin else "",
            tags.button("Apply", type="submit"),
            action=f"/stats/{stat.id}",
            method="get",
        ),
        class_="range",
    )


def _summary(series: Series, now: float) -> Tag:
    stat = series.stat
    summary = summarize(series.received, stat.counter)
    facts = [
        ("Latest", summary.latest),
        ("Min", summary.min),
        ("Max", summary.max),
        ("Mean", summary.mean),
        *([("Total", summary.total)] if stat.counter else []),
        ("Std. deviation", summary.deviation),
    ]
    last = f"Last point {ago(stat.received_at, now)}" if stat.receipts else "No points"
    return tags.section(
        tags.dl(
            *(tags.div(tags.dt(name), tags.dd(number(value))) for name, value in facts),
            class_="facts",
        ),
        tags.p(
            f"Based on {_basis(series)} with data. {last}. "
            f"Created {day(stat.created_at)}.",
            class_="hint",
        ),
        id="summary",
        class_="live",
        **{"aria-label": "Summary"},
    )


def _basis(series: Series) -> str:
    """
    How many intervals have data: ``'1 minute'``, ``'12 intervals of 5 minutes'``.
    """
    interval, n = series.timeframe.interval, len(series.received)
    if interval.number == 1:
        return plural(n, interval.title.removeprefix("1 "))
    return f"{plural(n, 'interval')} of {interval.title}"
