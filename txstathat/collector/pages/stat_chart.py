"""
The chart of a stat. It shows the same points as the export API.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from twisted.web.template import Tag

from txstathat.charts.chart import Chart
from txstathat.charts.html import fragment
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Table
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.layout import ASSETS

__all__ = ["DEFAULT", "MAX_POINTS", "REFRESH", "StatChart", "chart_of", "series_of"]

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
    (series,) = await archive.data([stat], t)
    if len(series.buckets) > MAX_POINTS:
        raise Refusal(
            400,
            f"{t} has {len(series.buckets):,} points, and a page shows at most "
            f"{MAX_POINTS:,}: choose a longer step",
        )
    return series


def chart_of(series: Series, path: str) -> Tag:
    """
    Make the chart for a page.

    :param series: what it shows.
    :param path: the path of the :class:`StatChart`.
    """
    return fragment(_table(series), path, REFRESH)


class StatChart(Chart):
    """
    One line over a timeframe: the sums of a counter, or the averages of a value.

    :param archive: has the stat.
    :param stat: the stat.
    :param base: the path below which browsers reach the collector.
    """

    parameters: ClassVar[tuple[str, ...]] = ("t",)

    def __init__(self, archive: Archive, stat: Stat, base: str = "") -> None:
        super().__init__(
            stat.name,
            refresh=REFRESH,
            assets=base + ASSETS,
            path=f"{base}/stats/{stat.id}/chart",
        )
        self._archive = archive
        self._stat = stat

    async def read(self, query: Query) -> Table:
        """
        See :meth:`.Chart.read`.
        """
        t = dict(query.pairs("format")).get("t", DEFAULT)
        try:
            return _table(await series_of(self._archive, self._stat, t))
        except Refusal as refusal:
            raise BadQuery(refusal.msg) from None


def _table(series: Series) -> Table:
    timeframe = series.timeframe
    scale = _SCALES[timeframe.interval.unit]
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
    )
