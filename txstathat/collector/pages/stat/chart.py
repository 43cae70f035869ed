"""
The chart of a stat. It shows the same points as the export API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from twisted.web.template import Tag

from txstathat.charts.chart import Chart
from txstathat.charts.html import fragment
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Level, Mark, Number, Table
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.details import Details
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.number_text import number
from txstathat.collector.pages.forms.forms import Form
from txstathat.collector.pages.frame.layout import ASSETS
from txstathat.collector.pages.stat.earlier import Earlier, read_earlier
from txstathat.collector.pages.stat.ranges import (
    DEFAULT,
    Range,
    read_range,
)
from txstathat.points.timeframe import Timeframe

__all__ = [
    "DEFAULT",
    "REFRESH",
    "LevelsOf",
    "StatChart",
    "StatView",
    "chart_of",
    "figure",
    "read_marks",
    "read_view",
    "scale_of_steps",
    "series_of_all",
    "view_at",
]

#: Seconds between the updates of a chart that is a page of its own.
REFRESH = 10

# The scale of a chart, by the unit of the interval.
_SCALES = {
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "day",
    "M": "month",
    "y": "year",
}

#: Reads the horizontal lines of a stat's chart, such as the thresholds of its alerts.
LevelsOf = Callable[[Series], Awaitable[Sequence[Level]]]


@dataclass(frozen=True)
class StatView:
    """
    What a chart of a stat shows.

    :ivar range: the range.
    :ivar series: the stat over the range.
    :ivar now: when it was read, in Unix seconds.
    :ivar details: the unit and the description of the stat.
    :ivar earlier: the range before it; ``None`` if there is none.
    :ivar marks: the notes in the range.
    :ivar levels: the horizontal lines.
    """

    range: Range
    series: Series
    now: int
    details: Details
    earlier: Earlier | None = None
    marks: Sequence[Mark] = ()
    levels: Sequence[Level] = ()

    @property
    def unfinished(self) -> bool:
        """
        Whether the last step has not ended.
        """
        interval = self.series.timeframe.interval
        last = self.series.buckets[-1].time
        return interval.end_of(last) > self.now


async def read_view(
    archive: Archive,
    stat: Stat,
    range: Range,
    *,
    notes: bool = False,
    levels: LevelsOf | None = None,
) -> StatView:
    """
    Read what a chart of a stat shows.

    :param archive: has the stat.
    :param stat: the stat.
    :param range: the range.
    :param notes: whether to mark notes.
    :param levels: reads the horizontal lines; by default there are none.
    :raises Refusal: as :meth:`.Archive.data`.
    """
    now = int(archive.store.clock.seconds())
    (series,) = await archive.data([stat], range.timeframe, start=range.start)
    interval, begin = range.timeframe.interval, series.buckets[0].time
    end = interval.end_of(series.buckets[-1].time)
    return StatView(
        range,
        series,
        now,
        await archive.details.read(stat),
        await read_earlier(archive, range, series, now),
        await read_marks(archive, [stat], begin, end) if notes else (),
        await levels(series) if levels is not None else (),
    )


async def read_marks(
    archive: Archive, stats: Sequence[Stat], begin: float, end: float
) -> list[Mark]:
    """
    Read the notes on stats between two times, as marks of a chart.
    """
    return [
        Mark(datetime.fromtimestamp(comment.time, UTC), comment.text)
        for comment in await archive.notes.marks(stats, begin, end)
    ]


async def view_at(archive: Archive, stat: Stat, t: str) -> StatView:
    """
    Read what a chart of a stat shows, without notes and levels.

    :param archive: has the stat.
    :param stat: the stat.
    :param t: the timeframe, such as ``'1w3h'``, or a length of time such as ``'5d'``,
        for which the steps are picked.
    :raises Refusal: as :func:`read_view`, and for a timeframe that a page cannot show.
    """
    now = int(archive.store.clock.seconds())
    shown = read_range(Form({"t": t or DEFAULT}), now, archive.stored_since)
    assert shown is not None
    return await read_view(archive, stat, shown)


async def series_of_all(
    archive: Archive, stats: Sequence[Stat], t: str
) -> Sequence[Series]:
    """
    Read several stats over a timeframe, to show them on a page.

    :param archive: has the stats.
    :param stats: the stats, at least one.
    :param t: the timeframe, such as ``'1w3h'``, or a length of time such as ``'5d'``,
        for which the steps are picked.
    :raises Refusal: as :func:`read_view`, and for a timeframe that a page cannot show.
    """
    now = int(archive.store.clock.seconds())
    found = read_range(Form({"t": t}), now, archive.stored_since)
    timeframe: Timeframe | str = found.timeframe if found is not None else t
    return await archive.data(stats, timeframe)


def scale_of_steps(timeframe: Timeframe) -> str:
    """
    Return the scale with which a chart writes the times of a timeframe.
    """
    return _SCALES[timeframe.interval.unit]


def chart_of(view: StatView, path: str) -> Tag:
    """
    Make the chart for a page that updates it as one of its live parts.

    :param view: what it shows.
    :param path: the path of the :class:`StatChart`.
    """
    chart = fragment(_table(view), path, 0)
    chart.attributes["class"] = "txstathat-chart live"
    return chart


class StatChart(Chart):
    """
    A stat over a timeframe: bars for the sums of a counter, or a line for the averages
    of a value.

    :param archive: has the stat.
    :param stat: the stat.
    :param base: the path below which browsers reach the collector.
    :param path: the path of the chart; by default that below the stat's page.
    :param notes: whether to mark notes.
    :param levels: reads the horizontal lines; by default there are none.
    """

    parameters: ClassVar[tuple[str, ...]] = ("t", "start")

    def __init__(
        self,
        archive: Archive,
        stat: Stat,
        base: str = "",
        path: str = "",
        *,
        notes: bool = False,
        levels: LevelsOf | None = None,
    ) -> None:
        super().__init__(
            stat.name,
            refresh=REFRESH,
            assets=base + ASSETS,
            path=base + (path or f"/stats/{stat.id}/chart"),
        )
        self._archive = archive
        self._stat = stat
        self._notes = notes
        self._levels = levels

    async def read(self, query: Query) -> Table:
        now = int(self._archive.store.clock.seconds())
        fields = {"t": DEFAULT, **dict(query.pairs("format"))}
        try:
            range = read_range(Form(fields), now, self._archive.stored_since)
            assert range is not None
            return _table(
                await read_view(
                    self._archive,
                    self._stat,
                    range,
                    notes=self._notes,
                    levels=self._levels,
                )
            )
        except Refusal as refusal:
            raise BadQuery(refusal.msg) from None


def figure(value: Number) -> str:
    """
    Write a number in the table of a chart.

    :param value: the number; ``None`` gives an empty text.
    """
    return "" if value is None else number(value)


def _table(view: StatView) -> Table:
    series, earlier = view.series, view.earlier
    scale = scale_of_steps(series.timeframe)
    columns: list[Sequence[Number]] = [series.values]
    if earlier is not None:
        columns.append(earlier.line)
    return Table(
        "bars" if series.stat.counter else "lines",
        view.range.title(view.now),
        [
            scale,
            "sum" if series.stat.counter else "average",
            *([earlier.title] if earlier is not None else []),
        ],
        [
            (datetime.fromtimestamp(bucket.time, UTC), list(numbers))
            for bucket, *numbers in zip(series.buckets, *columns, strict=True)
        ],
        scale=scale,
        hidden=view.range.pairs,
        unit=view.details.unit,
        unfinished=view.unfinished,
        earlier=earlier is not None,
        marks=view.marks,
        levels=view.levels,
        figure=figure,
        subject=f"{series.stat.name} {'counter' if series.stat.counter else 'value'}",
    )
