"""
Summaries of a stat's steps of time, as StatHat shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import hypot, isfinite, sqrt
from statistics import NormalDist

from txstathat.errors import AmountOverflow
from txstathat.points.exact import add_up

__all__ = ["Summary", "summarize"]

_Z95 = NormalDist().inv_cdf(0.975)
_Z99 = NormalDist().inv_cdf(0.995)


@dataclass(frozen=True, slots=True)
class Summary:
    """
    The summary of a stat over a timeframe. It is of the sums (of a counter) or averages
    (of a value) of the steps with points; without any, everything except ``steps`` and
    ``total`` is ``None``. A number beyond the largest float is ``None`` too.

    :ivar steps: how many steps have points.
    :ivar latest: the last of their sums or averages.
    :ivar min: the smallest.
    :ivar max: the largest.
    :ivar mean: their mean.
    :ivar total: their sum, for a counter; ``None`` for a value.
    :ivar deviation: their sample standard deviation; ``None`` for fewer than two.
    :ivar confidence_95: the 95 % confidence range of the mean, low and high; ``None``
        for fewer than two.
    :ivar confidence_99: the same for 99 %.
    """

    steps: int
    latest: float | None
    min: float | None
    max: float | None
    mean: float | None
    total: float | None
    deviation: float | None
    confidence_95: tuple[float, float] | None
    confidence_99: tuple[float, float] | None


def summarize(values: Sequence[float], counter: bool) -> Summary:
    """
    Summarize the steps of a stat.

    The deviation is that of a sample (divided by n - 1). A confidence range is the mean
    plus and minus z * deviation / sqrt(n), with z the quantile of the normal
    distribution: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.5.2, for
    large n. StatHat's own command line does the same with rounded quantiles. With few
    steps the ranges are too narrow.

    :param values: the values of the steps with points, oldest first.
    :param counter: whether the stat is a counter, which has a total.
    """
    count = len(values)
    if not count:
        return Summary(
            0, None, None, None, None, 0 if counter else None, None, None, None
        )
    total = mean = deviation = low_high_95 = low_high_99 = None
    with suppress(AmountOverflow):
        total = add_up(values)
        mean = total / count
    if count > 1 and mean is not None:
        # Unlike a sum of squares, hypot does not overflow on intermediate results.
        spread = hypot(*(value - mean for value in values)) / sqrt(count - 1)
        if isfinite(spread):
            deviation = spread
            low_high_95 = _range(mean, _Z95 * spread / sqrt(count))
            low_high_99 = _range(mean, _Z99 * spread / sqrt(count))
    return Summary(
        steps=count,
        latest=values[-1],
        min=min(values),
        max=max(values),
        mean=mean,
        total=total if counter else None,
        deviation=deviation,
        confidence_95=low_high_95,
        confidence_99=low_high_99,
    )


def _range(mean: float, error: float) -> tuple[float, float] | None:
    low, high = mean - error, mean + error
    return (low, high) if isfinite(low) and isfinite(high) else None
