"""
The chart of a stat: the same points that the export API tells.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.web.template import Tag

from txstathat.charts.chart import Chart
from txstathat.charts.html import fragment
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Table
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.metrica import AveragedMetrica, Metrica

__all__ = ["DEFAULT", "MAX_POINTS", "REFRESH", "StatChart", "chart_of", "series_of"]

#: The timeframe that is shown if none is asked for.
DEFAULT = "1d5m"
#: Every how many seconds the pages ask for fresh numbers.
REFRESH = 10
#: How many points a page shows; a screen has hardly more. (The export API tells more.)
MAX_POINTS = 1_000

# How a chart writes times, by the unit of the interval.
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
    A stat over a timeframe, to be shown on a page.

    :raises Refusal: as :meth:`.Archive.data`, and if it has too many points.
    """
    (series,) = await archive.data([stat], t)
    if len(series.buckets) > MAX_POINTS:
        raise Refusal(
            400,
            f"{t} has {len(series.buckets):,} points, and a page shows {MAX_POINTS:,} "
            "at most: ask for a longer interval",
        )
    return series


def chart_of(series: Series, path: str) -> Tag:
    """
    The chart for a page.

    :param series: what it shows.
    :param path: where the :class:`StatChart` is.
    """
    return fragment(_table(series), path, REFRESH)


class StatChart(Chart):
    """
    One line: a counter's sums, a value's averages, over a timeframe.

    :param archive: where the stat is.
    :param stat: the stat.
    :param assets: as for :class:`~txstathat.charts.chart.Chart`.
    """

    parameters: ClassVar[tuple[str, ...]] = ("t",)

    def __init__(self, archive: Archive, stat: Stat, *, assets: str) -> None:
        metrica = Metrica if stat.counter else AveragedMetrica
        super().__init__(
            metrica(stat.name, [], archive.store), refresh=REFRESH, assets=assets
        )
        self._archive = archive
        self._stat = stat

    def read(self, query: Query) -> Deferred[Table]:
        """
        See :meth:`.Chart.read`.
        """
        return Deferred.fromCoroutine(self._read(query))

    async def _read(self, query: Query) -> Table:
        pairs: dict[str, Any] = dict(query.pairs("format"))
        try:
            t = pairs.get("t", DEFAULT)
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
