"""
Sums that do not depend on the order of what is added.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import fsum

from txstathat.errors import AmountOverflow

__all__ = ["add_up"]


def add_up(numbers: Iterable[int | float]) -> int | float:
    """
    Add numbers.

    :param numbers: finite ones.
    :returns: their sum: exact while all are ints, else the float next to the exact sum.
    :raises AmountOverflow: if that is beyond the largest float.
    """
    numbers = list(numbers)
    whole = sum(number for number in numbers if isinstance(number, int))
    floats = [number for number in numbers if isinstance(number, float)]
    if not floats:
        return whole
    try:
        high = float(whole)
        return fsum([high, whole - int(high), *floats])
    except OverflowError:
        pass
    try:
        # It may only have been too large on the way.
        return float(sum(map(Fraction, floats), Fraction(whole)))
    except OverflowError:
        raise AmountOverflow("a sum is beyond the largest float") from None
