"""
Series of points at regular times, and how several points become one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

__all__ = ["AGGREGATIONS", "TimeSeries", "Values", "aggregate", "consolidate"]

#: The values of a series; ``None`` where there is none.
Values: TypeAlias = list[float | None]


def _average(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


#: How several values become one, by Graphite's names.
AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,
    "total": sum,
    "average": _average,
    "avg": _average,
    "max": max,
    "min": min,
    "last": lambda values: values[-1],
    "current": lambda values: values[-1],
    "count": len,
}


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """
    A series.

    :ivar name: its name in the answer.
    :ivar expression: the pattern or call that it comes from, which names the sum of
        several series.
    :ivar start: the time of its first point, in Unix seconds.
    :ivar step: the seconds between two points.
    :ivar values: the values.
    :ivar consolidation: how several points become one if there are too many: one of
        :data:`AGGREGATIONS`.
    """

    name: str
    expression: str
    start: int
    step: int
    values: Values
    consolidation: str = "average"

    @property
    def end(self) -> int:
        """
        When its last point ends, in Unix seconds.
        """
        return self.start + self.step * len(self.values)

    @property
    def points(self) -> list[tuple[float | None, int]]:
        """
        The value and time of each point, as in an answer. JSON has no infinite numbers:
        they are ``None``.
        """
        return [
            (
                value if value is not None and math.isfinite(value) else None,
                self.start + number * self.step,
            )
            for number, value in enumerate(self.values)
        ]

    def renamed(self, name: str, values: Values | None = None) -> TimeSeries:
        """
        Return a copy that is the result of a function.

        :param name: its name, and its expression.
        :param values: its values; by default the same.
        """
        values = self.values if values is None else values
        return replace(self, name=name, expression=name, values=values)


def aggregate(how: str, values: Sequence[float | None]) -> float | None:
    """
    Return one value for several; ``None`` if all of them are ``None``.

    :param how: one of :data:`AGGREGATIONS`.
    """
    present = [value for value in values if value is not None]
    try:
        return AGGREGATIONS[how](present) if present else None
    except (OverflowError, ValueError):  # beyond the largest float, or inf - inf
        return None


def consolidate(series: TimeSeries, step: int) -> TimeSeries:
    """
    Return a series with longer steps, which begin at whole multiples of their length.
    A step at the start of which a part is missing is left out, unless it is the only
    one.

    :param series: the series.
    :param step: a multiple of the series' step, in seconds.
    """
    if step <= series.step:
        return series
    skipped = (-series.start % step) // series.step
    if skipped >= len(series.values):
        skipped = 0
    start = series.start + skipped * series.step
    values, per_step = series.values[skipped:], step // series.step
    return replace(
        series,
        start=start - start % step,
        step=step,
        values=[
            aggregate(series.consolidation, values[first : first + per_step])
            for first in range(0, len(values), per_step)
        ],
    )
