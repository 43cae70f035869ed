"""
The range before the one that is shown, for comparison.

If there is no detail for the steps of the range, it is read in longer steps. Then the
line shows the mean of a step, and the change compares both ranges in these longer
steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series, scale_of
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.stat.ranges import Range
from txstathat.collector.pages.stat.summary import mean_of, whole_of
from txstathat.points.timeframe import Span, Timeframe

__all__ = ["Earlier", "compare_with", "read_earlier"]

_LONGER = tuple(Span(1, unit) for unit in "hdM")


@dataclass(frozen=True)
class Earlier:
    """
    The range of the same length before the one that is shown.

    :ivar title: when it was, such as ``'1 day earlier'``.
    :ivar line: its values, one for each step of the range; ``None`` for a gap.
    :ivar whole: its sum or mean, over the part that is over in the range that is shown.
    :ivar now: the sum or mean of the same part of the range that is shown.
    """

    title: str
    line: Sequence[float | None]
    whole: float | None
    now: float | None

    @property
    def change(self) -> float | None:
        """
        By how much the range differs, in percent; ``None`` if that cannot be said.
        """
        if self.whole is None or self.now is None or self.whole == 0:
            return None
        # Divided first, since the difference may be beyond the largest float.
        return (self.now / self.whole - 1) * 100 * (1 if self.whole > 0 else -1)


async def read_earlier(
    archive: Archive, shown: Range, series: Series, now: int
) -> Earlier | None:
    """
    Read the range of the same length before the one that is shown.

    :param archive: has the stat.
    :param shown: the range.
    :param series: the stat over the range.
    :param now: the current time, in Unix seconds.
    :returns: ``None`` if no detail of it is stored, or if it has no points.
    """
    duration, begin = series.timeframe.duration, series.buckets[0].time
    start = duration.before(begin)
    if start < 0:
        return None
    for step in _steps(series.timeframe):
        if archive.stored_since(scale_of(step)) > step.start_of(start):
            continue
        timeframe = Timeframe(duration, step)
        try:
            (before,) = await archive.data([series.stat], timeframe, start=start)
            same = series
            if step != series.timeframe.interval:
                (same,) = await archive.data(
                    [series.stat], timeframe, start=shown.start
                )
        except Refusal:
            # Other collectors may store less detail.
            continue
        if not any(bucket.count for bucket in before.buckets):
            return None
        return compare_with(before, same, series, now)
    return None


def _steps(timeframe: Timeframe) -> list[Span]:
    own, duration = timeframe.interval, timeframe.duration
    return [
        own,
        *(
            step
            for step in _LONGER
            if own.longest < step.longest and 2 * step.longest < duration.longest
        ),
    ]


def compare_with(before: Series, same: Series, series: Series, now: float) -> Earlier:
    """
    Compare a range with that before.

    :param before: the stat over the range before.
    :param same: the stat over the range, in steps of the same length as those before.
    :param series: the stat over the range, in its own steps.
    :param now: the current time, in Unix seconds.
    """
    step, counter = before.timeframe.interval, series.stat.counter
    finished = sum(step.end_of(bucket.time) <= now for bucket in same.buckets)
    steps = min(finished, len(before.buckets), len(same.buckets))
    return Earlier(
        f"{series.timeframe.duration.title} earlier",
        _line(before, series),
        whole_of(before.buckets[:steps], counter),
        whole_of(same.buckets[:steps], counter),
    )


def _line(before: Series, series: Series) -> list[float | None]:
    counter = series.stat.counter
    values = [mean_of(bucket, counter) for bucket in before.buckets]
    own, step = series.timeframe.interval, before.timeframe.interval
    line: list[float | None] = [None] * len(series.buckets)
    if own == step:
        line[: len(values)] = values[: len(line)]
        return line
    begins = [bucket.time for bucket in series.buckets]
    # The sum of a longer step is that of several steps.
    share = own.longest / step.longest if counter else 1
    moved = begins[0] - series.timeframe.duration.before(begins[0])
    for bucket, value in zip(before.buckets, values, strict=True):
        at = bisect_right(begins, bucket.time + moved + step.longest // 2) - 1
        if value is not None and at >= 0:
            line[at] = value * share
    return line
