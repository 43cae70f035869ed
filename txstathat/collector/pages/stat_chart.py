"""
The chart of a stat. It shows the same points as the export API.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from twisted.web.template import Tag

from txstathat.charts.chart import Chart
from txstathat.charts.html import fragment
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Level, Table
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.layout import ASSETS
from txstathat.points.timeframe import Timeframe

__all__ = [
    "DEFAULT",
    "MAX_POINTS",
    "REFRESH",
    "StatChart",
    "chart_of",
    "scale_of_steps",
    "series_of",
    "series_of_all",
]

#: The default timeframe.
DEFAULT = "1d5m"
#: Seconds between the updates of a page.
REFRESH = 10
#: How many points a page shows: about as many as a screen. The export API gives more.
MAX_POINTS = 1_000

# The scale of a chart, by the unit of the interval.
_SCALES = {
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "day",
    "M": "month",
    "y": "year",
}


async def series_of(archive: Archive, stat: Stat, t: str) -> Series:
    """
    Read a stat over a timeframe, to show it on a page.

    :param archive: has the stat.
    :param stat: the stat.
    :param t: the timeframe, such as ``'1w3h'``.
    :raises Refusal: as :meth:`.Archive.data`, and if the timeframe has more than
        :data:`MAX_POINTS` points.
    """
    (series,) = await series_of_all(archive, [stat], t)
    return series


async def series_of_all(
    archive: Archive, stats: Sequence[Stat], t: str
) -> Sequence[Series]:
    """
    Read several stats over a timeframe, to show them on a page.

    :param archive: has the stats.
    :param stats: the stats, at least one.
    :param t: the timeframe, such as ``'1w3h'``.
    :raises Refusal: as :func:`series_of`.
    """
    found = await archive.data(stats, t)
    steps = len(found[0].buckets)
    if steps > MAX_POINTS:
        raise Refusal(
            400,
            f"{t} has {steps:,} points, and a page shows at most {MAX_POINTS:,}: "
            "choose a longer step",
        )
    return found


def scale_of_steps(timeframe: Timeframe) -> str:
    """
    Return the scale with which a chart writes the times of a timeframe.
    """
    return _SCALES[timeframe.interval.unit]


def chart_of(series: Series, path: str, levels: Sequence[Level] = ()) -> Tag:
    """
    Make the chart for a page.

    :param series: what it shows.
    :param path: the path of the :class:`StatChart`.
    :param levels: horizontal lines.
    """
    return fragment(_table(series, levels), path, REFRESH)


class StatChart(Chart):
    """
    One line over a timeframe: the sums of a counter, or the averages of a value.

    :param archive: has the stat.
    :param stat: the stat.
    :param base: the path below which browsers reach the collector.
    :param path: the path of the chart; by default that below the stat's page.
    :param levels: returns the horizontal lines for what it shows.
    """

    parameters: ClassVar[tuple[str, ...]] = ("t",)

    def __init__(
        self,
        archive: Archive,
        stat: Stat,
        base: str = "",
        path: str = "",
        levels: Callable[[Series], Sequence[Level]] = lambda series: (),
    ) -> None:
        super().__init__(
            stat.name,
            refresh=REFRESH,
            assets=base + ASSETS,
            path=base + (path or f"/stats/{stat.id}/chart"),
        )
        self._archive = archive
        self._stat = stat
        self._levels = levels

    async def read(self, query: Query) -> Table:
        """
        See :meth:`.Chart.read`.
        """
        t = dict(query.pairs("format")).get("t", DEFAULT)
        try:
            series = await series_of(self._archive, self._stat, t)
            return _table(series, self._levels(series))
        except Refusal as refusal:
            raise BadQuery(refusal.msg) from None


def _table(series: Series, levels: Sequence[Level]) -> Table:
    timeframe = series.timeframe
    scale = scale_of_steps(timeframe)
    return Table(
        "lines",
        f"{timeframe.duration.title}, in steps of {timeframe.interval.title}",
        [scale, "sum" if series.stat.counter else "average"],
        [
            (datetime.fromtimestamp(bucket.time, UTC), [value])
            for bucket, value in zip(series.buckets, series.values, strict=True)
        ],
        scale=scale,
        hidden=[("t", str(timeframe))],
        levels=list(levels),
    )
