"""
The page of one stat: its chart over a timeframe, and a summary.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.door import Door, GuardedPage
from txstathat.collector.pages.layout import ASSETS, frame, policy, see_other
from txstathat.collector.pages.stat_chart import DEFAULT, StatChart, chart_of, series_of
from txstathat.collector.pages.texts import ago, moment, number
from txstathat.points.summary import summarize

__all__ = ["TIMEFRAMES", "StatPages"]

#: The timeframes that can be clicked on, and what they are called.
TIMEFRAMES = {
    "1h1m": "Hour",
    "1d5m": "Day",
    "1w3h": "Week",
    "1M1h": "Month",
    "1y1d": "Year",
}
# A stat that is new has nothing to show in a day yet.
_YOUNG = 2 * 3600.0


class StatPages(GuardedPage):
    """
    What is at ``/stats``: nothing by itself, below it a page for each stat.

    :param door: the door.
    :param archive: the stats.
    :param style_hashes: what charts need in the policy; ``None`` if there are none.
    """

    isLeaf = False

    def __init__(
        self, door: Door, archive: Archive, style_hashes: Sequence[str] | None
    ) -> None:
        super().__init__(door)
        self._archive = archive
        self._style_hashes = style_hashes

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        The page of a stat, by its id; and below that its chart.
        """
        id = path.decode("ascii", "replace")
        return _StatPage(self._door, self._archive, self._style_hashes, id)

    async def guarded(self, request: Request) -> bytes:
        """
        The list is elsewhere.
        """
        return see_other(request, "/")


class _StatPage(GuardedPage):
    isLeaf = False

    def __init__(
        self,
        door: Door,
        archive: Archive,
        style_hashes: Sequence[str] | None,
        id: str,
    ) -> None:
        super().__init__(door)
        self._archive = archive
        self._style_hashes = style_hashes
        self._id = id

    def getChild(self, path: bytes, request: Request) -> Resource:
        if path == b"chart" and self._style_hashes is not None:
            return _GuardedChart(
                self._door, self._archive, self._style_hashes, self._id
            )
        return _Nothing(self._door)

    async def guarded(self, request: Request) -> Tag:
        (stat,) = await self._archive.find([self._id])
        now = self._archive.store.clock.seconds()
        young = now - stat.created_at < _YOUNG
        asked = (request.args or {}).get(b"t", [])
        t = str(asked[-1], "utf-8", "replace") if asked else ""
        t = t or ("1h1m" if young else DEFAULT)
        series = await series_of(self._archive, stat, t)
        chart, files = self._chart(request, series)
        kind = "counter" if stat.counter else "value"
        return frame(
            stat.name,
            tags.p(tags.a("← All stats", href="/"), class_="back"),
            tags.h1(stat.name, " ", tags.small(kind, class_="kind")),
            _timeframes(stat, t),
            _summary(series, now),
            chart,
            files=files,
        )

    def _chart(self, request: Request, series: Series) -> tuple[Tag, list[Tag]]:
        if self._style_hashes is None:
            words = tags.p(
                "There is no chart, since the server has no plotly: ",
                tags.code("pip install 'txStatHat[charts]'"),
                class_="hint",
            )
            return words, []
        request.setHeader("Content-Security-Policy", policy(self._style_hashes))
        files = [
            tags.link(rel="stylesheet", href=f"{ASSETS}/charts.css"),
            tags.script(src=f"{ASSETS}/plotly.js", defer="defer"),
            tags.script(src=f"{ASSETS}/charts.js", defer="defer"),
        ]
        return chart_of(series, f"/stats/{series.stat.id}/chart"), files


class _GuardedChart(GuardedPage):
    """
    The chart by itself, as a page, fragment, JSON or CSV.
    """

    def __init__(
        self, door: Door, archive: Archive, style_hashes: Sequence[str], id: str
    ) -> None:
        super().__init__(door)
        self._archive = archive
        self._style_hashes = style_hashes
        self._id = id

    async def guarded(self, request: Request) -> bytes:
        if request.postpath:
            raise Refusal(404, "there is no such page")
        (stat,) = await self._archive.find([self._id])
        body = await StatChart(self._archive, stat, assets=ASSETS).answer(request)
        request.setHeader("Content-Security-Policy", policy(self._style_hashes))
        return body


class _Nothing(GuardedPage):
    async def guarded(self, request: Request) -> Tag:
        raise Refusal(404, "there is no such page")


def _timeframes(stat: Stat, t: str) -> Tag:
    nav = tags.nav(class_="timeframes", **{"aria-label": "Timeframes"})
    for each, title in TIMEFRAMES.items():
        link = tags.a(title, href=f"/stats/{stat.id}?t={each}")
        if each == t:
            link.attributes["aria-current"] = "true"
        nav(link)
    other = tags.input(
        name="t",
        id="t",
        value=t,
        maxlength="24",
        pattern="[0-9]+[mhdwMy][0-9]+[mhdwMy]",
        title="A duration and an interval, such as 1w3h; units are m h d w M y",
        required="required",
    )
    return tags.div(
        nav,
        tags.form(
            tags.label("Other", **{"for": "t"}),
            other,
            tags.button("Show", type="submit"),
            action=f"/stats/{stat.id}",
            method="get",
        ),
        class_="asked",
    )


def _summary(series: Series, now: float) -> Tag:
    stat = series.stat
    values = series.received
    summary = summarize(values, stat.counter)
    facts = [
        ("Latest", summary.latest),
        ("Min", summary.min),
        ("Max", summary.max),
        ("Mean", summary.mean),
        *([("Total", summary.total)] if stat.counter else []),
        ("Deviation", summary.deviation),
    ]
    what = "sum" if stat.counter else "average"
    if len(values) != 1:
        what += "s"
    received = (
        f"Last received {ago(stat.received_at, now)}"
        if stat.receipts
        else "Nothing received yet"
    )
    return tags.section(
        tags.dl(
            *(tags.div(tags.dt(name), tags.dd(number(value))) for name, value in facts)
        ),
        tags.p(
            f"Of the {len(values):,} {what} that have data, each of "
            f"{series.timeframe.interval.title}. "
            f"{received}; "
            f"made {moment(stat.created_at)}; id ",
            tags.code(stat.id),
            class_="hint",
        ),
        id="summary",
        class_="live",
        **{"aria-label": "Summary"},
    )
