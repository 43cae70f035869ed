"""
From a stat's cells to the points of a timeframe.
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

    :ivar time: when it starts, in Unix seconds.
    :ivar parts: what the sum of the amounts in it is the sum of.
    :ivar count: how many points were in it.
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
        The sum of the amounts in it.

        :raises Refusal: if that is beyond the largest float.
        """
        try:
            return add_up(self.parts)
        except AmountOverflow:
            raise Refusal(
                400,
                f"the sum of the step that begins at {_moment(self.time)} is beyond "
                "the largest float: ask for shorter steps",
            ) from None

    def add(self, cell: Cell) -> None:
        """
        Add what a cell holds.
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
    :ivar buckets: all its steps, in time order.
    """

    stat: Stat
    timeframe: Timeframe
    buckets: Sequence[Bucket]

    @property
    def points(self) -> list[tuple[int, int | float]]:
        """
        Time and value of each step: of a counter the sum, 0 where nothing was counted;
        of a value the average, and none where nothing was measured.

        :raises Refusal: if one is beyond the largest float.
        """
        return [
            (bucket.time, value)
            for bucket, value in zip(self.buckets, self.values, strict=True)
            if value is not None
        ]

    @property
    def rows(self) -> list[tuple[int, int | float, int]]:
        """
        Time, value and number of receipts of every step; value and receipts are 0
        where nothing was received.

        :raises Refusal: if a value is beyond the largest float.
        """
        return [
            (bucket.time, value or 0, bucket.count)
            for bucket, value in zip(self.buckets, self.values, strict=True)
        ]

    @property
    def values(self) -> list[int | float | None]:
        """
        The value of each step; ``None`` where nothing was measured.

        :raises Refusal: if one is beyond the largest float.
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
        The values of the steps in which something was received.

        :raises Refusal: if one is beyond the largest float.
        """
        return [
            value
            for bucket, value in zip(self.buckets, self.values, strict=True)
            if value is not None and bucket.count
        ]

    @property
    def whole(self) -> int | float | None:
        """
        The value of all steps as one: of a counter the sum, of a value the average;
        ``None`` where nothing was measured, or if it is beyond the largest float.
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
    What must be read for a timeframe, of any stat.

    :param timeframe: the timeframe.
    :param now: Unix seconds.
    :param keep: for how many seconds the scales are kept.
    :param whole_since: tells since when all of a scale is there, in Unix seconds.
    :param start: when the first step begins at the latest, in Unix seconds; by default
        the last step holds ``now``.
    :raises Refusal: if that is too many points, or finer than what is kept.
    """

    def __init__(
        self,
        timeframe: Timeframe,
        now: float,
        keep: Mapping[str, float | None],
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
        kept = keep[scale]
        if kept is not None and self.edges[0] < now - kept:
            raise Refusal(
                400,
                f"{timeframe} needs every {scale} of the time since it begins, and "
                f"{scale}s are kept for {_days(kept)}: ask for longer steps, or for "
                "less time",
            )
        since = whole_since(scale)
        if self.edges[0] < since:
            raise Refusal(
                400,
                f"{timeframe} needs every {scale} of the time since it begins, and all "
                f"are there only since {_moment(since)}, as they were kept for a "
                "shorter time before: ask for longer steps, or for less time",
            )
        try:
            timeline = _UTC.timeline(self.edges[0], self.edges[-1] - 1, scale)
        except ValueError as error:
            raise Refusal(400, f"{timeframe}: {error}") from None
        #: Scale and label of the stretches to read.
        self.stretches = [(scale, label) for _, label in timeline]
        self._places = [
            bisect_right(self.edges, int(start.timestamp())) - 1
            for start, _ in timeline
        ]

    def keys(self, name: str) -> list[CellKey]:
        """
        The cells to read of a stat.
        """
        return [CellKey(name, *stretch, EVERYTHING) for stretch in self.stretches]

    def series(self, stat: Stat, cells: Sequence[Cell | None]) -> Series:
        """
        A stat's points, of the cells that were read.
        """
        buckets = [Bucket(time) for time in self.edges[:-1]]
        for place, cell in zip(self._places, cells, strict=True):
            if cell is not None:
                buckets[place].add(cell)
        return Series(stat, self.timeframe, buckets)


def scale_of(interval: Span) -> str:
    """
    The coarsest scale of which steps of this length are made up.
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


def _days(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:g} hours" if hours < 72 else f"{hours / 24:g} days"


def _moment(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"
