"""
Series as multiples of their start, to compare those of different sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

__all__ = ["START", "indexed"]

#: The value of the start.
START = 100.0


def indexed(values: Sequence[int | float | None]) -> list[float | None]:
    """
    Return a series in which the start is :data:`START`. The start is the first value
    that is neither missing nor 0, and what is before it is missing.

    :param values: the values; ``None`` where there is none.
    :returns: the values of the new series. A value beyond the largest float is missing.
    """
    first: int | float | None = None
    found: list[float | None] = []
    for value in values:
        first = first or value
        if value is None or not first:
            found.append(None)
            continue
        ratio = value / first * START
        found.append(ratio if isfinite(ratio) else None)
    return found
