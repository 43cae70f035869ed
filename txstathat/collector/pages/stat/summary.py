"""
The summary of a stat over a range. It agrees with the chart of the same range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from txstathat.collector.archive.series import Bucket, Series
from txstathat.collector.errors import Refusal
from txstathat.errors import AmountOverflow
from txstathat.points.exact import add_up
from txstathat.points.summary import summarize

__all__ = ["StatSummary", "mean_of", "summary_of", "whole_of"]


@dataclass(frozen=True)
class StatSummary:
    """
    The summary of a stat over a range. What is not known, or beyond the largest float,
    is ``None``.

    :ivar latest: the sum or the average of the last step with points.
    :ivar min: of a counter the smallest sum of a finished step, 0 for one without
        points; of a value the smallest amount.
    :ivar max: of a counter the largest sum of a step; of a value the largest amount.
    :ivar mean: of a counter the mean of the sums of the finished steps; of a value the
        mean of all points.
    :ivar total: the sum of all points of a counter.
    :ivar deviation: the sample standard deviation of the steps: of the finished ones of
        a counter, and of those with points of a value.
    """

    latest: float | None
    min: float | None
    max: float | None
    mean: float | None
    total: float | None
    deviation: float | None


def summary_of(series: Series, unfinished: bool) -> StatSummary:
    """
    Sum up a series.

    :param series: the series.
    :param unfinished: whether its last step has not ended.
    :raises Refusal: if the value of a step is beyond the largest float.
    """
    received = series.received
    latest = received[-1] if received else None
    if not series.stat.counter:
        low = [bucket.min for bucket in series.buckets if bucket.min is not None]
        high = [bucket.max for bucket in series.buckets if bucket.max is not None]
        return StatSummary(
            latest=latest,
            min=min(low, default=None),
            max=max(high, default=None),
            mean=series.whole,
            total=None,
            deviation=summarize(received, False).deviation,
        )
    values = [value for value in series.values if value is not None]
    finished = values[:-1] if unfinished and len(values) > 1 else values
    steps = summarize(finished, True)
    return StatSummary(
        latest=latest,
        min=steps.min,
        max=max(values, default=None),
        mean=steps.mean,
        total=series.whole,
        deviation=steps.deviation,
    )


def whole_of(buckets: Sequence[Bucket], counter: bool) -> float | None:
    """
    The sum of some steps of a counter, or the mean of all points of a value in them;
    ``None`` for a value without points, or if it is beyond the largest float.

    :param buckets: the steps.
    :param counter: whether the stat is a counter.
    """
    count = sum(bucket.count for bucket in buckets)
    if not count and not counter:
        return None
    try:
        total = add_up(part for bucket in buckets for part in bucket.parts)
    except AmountOverflow:
        return None
    return total if counter else total / count


def mean_of(bucket: Bucket, counter: bool) -> float | None:
    """
    The value of one step: the sum of a counter, the average of a value; ``None``
    without points, or if it is beyond the largest float.

    :param bucket: the step.
    :param counter: whether the stat is a counter.
    """
    if not bucket.count:
        return 0 if counter else None
    try:
        return bucket.sum if counter else bucket.sum / bucket.count
    except Refusal:
        return None
