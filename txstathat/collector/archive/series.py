"""
Turns the cells of a stat into the points of a timeframe.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from txstathat.collector.archive.stats import EVERYTHING, Stat
from txstathat.collector.errors import Refusal
from txstathat.errors import AmountOverflow, InvalidTimeframe
from txstathat.metrica.calendar import Calendar
from txstathat.points.exact import add_up
from txstathat.points.timeframe import Span, Timeframe
from txstathat.stores.interface import Cell, CellKey

__all__ = ["Bucket", "Plan", "Series", "scale_of"]

_UTC = Calendar("UTC")
_MINUTES = {"m": 1, "h": 60, "d": 1440, "w": 10_080}
_COARSER = {"minute": 60, "hour": 24}


@dataclass(slots=True)
class Bucket:
    """
    One step of a timeframe.

    :ivar time: when the step begins, in Unix seconds.
    :ivar parts: the exact summands of the sum of its amounts.
    :ivar count: the number of its points.
    :ivar min: the least amount; ``None`` without points.
    :ivar max: the greatest amount; ``None`` without points.
    """

    time: int
    parts: list[int | float] = field(default_factory=list)
    count: int = 0
    min: int | float | None = None
    max: int | float | None = None

    @property
    def sum(self) -> int | float:
        """
        The sum of its amounts.

        :raises Refusal: if the sum is beyond the largest float.
        """
        try:
            return add_up(self.parts)
        except AmountOverflow:
            raise Refusal(
                400,
                f"the sum of the step that begins at {_moment(self.time)} is beyond "
                "the largest float: request shorter steps",
            ) from None

    def add(self, cell: Cell) -> None:
        """
        Add the contents of a cell.
        """
        self.parts += cell.parts
        self.count += cell.count
        self.min = cell.min if self.min is None else min(self.min, cell.min)
        self.max = cell.max if self.max is None else max(self.max, cell.max)


@dataclass(frozen=True, slots=True)
class Series:
    """
    A stat over a timeframe.

    :ivar stat: the stat.
    :ivar timeframe: the timeframe.
    :ivar buckets: all steps of the timeframe, in order of time.
    """

    stat: Stat
    timeframe: Timeframe
    buckets: Sequence[Bucket]

    @property
    def points(self) -> list[tuple[int, int | float]]:
        """
        The time and value of each step. The value of a counter is the sum, which is 0
        without points; that of a value is the average, and steps without points are
        left out.

        :raises Refusal: if a value is beyond the largest float.
        """
        return [
            (bucket.time, value)
            for bucket, value in zip(self.buckets, self.values, strict=True)
            if value is not None
        ]

    @property
    def rows(self) -> list[tuple[int, int | float, int]]:
        """
        The time, value and number of points of each step; the value is 0 without
        points.

        :raises Refusal: if a value is beyond the largest float.
        """
        return [
            (bucket.time, value or 0, bucket.count)
            for bucket, value in zip(self.buckets, self.values, strict=True)
        ]

    @property
    def values(self) -> list[int | float | None]:
        """
        The value of each step; ``None`` for a step of a value without points.

        :raises Refusal: if a value is beyond the largest float.
        """
        if self.stat.counter:
            return [bucket.sum for bucket in self.buckets]
        return [
            bucket.sum / bucket.count if bucket.count else None
            for bucket in self.buckets
        ]

    @property
    def received(self) -> list[int | float]:
        """
        The values of the steps that have points.

        :raises Refusal: if a value is beyond the largest float.
        """
        return [
            value
            for bucket, value in zip(self.buckets, self.values, strict=True)
            if value is not None and bucket.count
        ]

    @property
    def whole(self) -> int | float | None:
        """
        The value of the whole timeframe: the sum of a counter, the average of a value;
        ``None`` for a value without points, or if it is beyond the largest float.
        """
        try:
            total = add_up(part for bucket in self.buckets for part in bucket.parts)
        except AmountOverflow:
            return None
        if self.stat.counter:
            return total
        count = sum(bucket.count for bucket in self.buckets)
        return total / count if count else None


class Plan:
    """
    Which cells to read for a timeframe, for any stat.

    :param timeframe: the timeframe.
    :param now: Unix seconds.
    :param retention: for how many seconds each scale is stored; ``None`` for ever.
    :param whole_since: returns since when a scale is complete, in Unix seconds.
    :param start: a time in the first step, in Unix seconds; by default the last step
        has ``now`` in it.
    :raises Refusal: if the timeframe has too many points, or needs detail that is not
        stored.

    :ivar edges: the times at which the steps begin, and the end of the last one.
    :ivar buckets: the scale and label of each time bucket to read.
    """

    def __init__(
        self,
        timeframe: Timeframe,
        now: float,
        retention: Mapping[str, float | None],
        whole_since: Callable[[str], float] = lambda scale: 0.0,
        start: int | None = None,
    ) -> None:
        self.timeframe = timeframe
        try:
            self.edges = (
                timeframe.edges(int(now))
                if start is None
                else timeframe.edges_from(start, int(now))
            )
        except InvalidTimeframe as error:
            raise Refusal(400, str(error)) from None
        scale = scale_of(timeframe.interval)
        self._check_detail(scale, now, retention[scale], whole_since(scale))
        try:
            timeline = _UTC.timeline(self.edges[0], self.edges[-1] - 1, scale)
        except ValueError as error:
            raise Refusal(400, f"{timeframe}: {error}") from None
        self.buckets = [(scale, label) for _, label in timeline]
        # The index of the step to which each of these belongs.
        self._steps = [
            bisect_right(self.edges, int(start.timestamp())) - 1
            for start, _ in timeline
        ]

    def _check_detail(
        self, scale: str, now: float, seconds: float | None, whole_since: float
    ) -> None:
        begin, timeframe = self.edges[0], self.timeframe
        if seconds is not None and begin < now - seconds:
            raise Refusal(
                400,
                f"{timeframe} needs every {scale} since it begins, and {scale}s are "
                f"stored for {_duration(seconds)}: request longer steps, or less time",
            )
        if begin < whole_since:
            raise Refusal(
                400,
                f"{timeframe} needs every {scale} since it begins, and all {scale}s "
                f"are stored only since {_moment(whole_since)}, because they were "
                "stored for a shorter time before: request longer steps, or less time",
            )

    def keys(self, name: str) -> list[CellKey]:
        """
        Return the keys of the cells to read.

        :param name: the name of the stat.
        """
        return [CellKey(name, *bucket, EVERYTHING) for bucket in self.buckets]

    def series(self, stat: Stat, cells: Sequence[Cell | None]) -> Series:
        """
        Return the series of a stat.

        :param stat: the stat.
        :param cells: the cells with its :meth:`keys`.
        """
        buckets = [Bucket(time) for time in self.edges[:-1]]
        for step, cell in zip(self._steps, cells, strict=True):
            if cell is not None:
                buckets[step].add(cell)
        return Series(stat, self.timeframe, buckets)


def scale_of(interval: Span) -> str:
    """
    Return the coarsest scale of which each step of this length is a whole multiple.
    """
    if interval.unit in ("M", "y"):
        return "year" if interval.unit == "y" else "month"
    scale, number = "minute", interval.number * _MINUTES[interval.unit]
    for coarser in ("hour", "day"):
        if number % _COARSER[scale]:
            break
        number //= _COARSER[scale]
        scale = coarser
    return scale


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:g} hours" if hours < 72 else f"{hours / 24:g} days"


def _moment(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"
