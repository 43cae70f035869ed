"""
Sums that do not depend on the order of the numbers.
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

    :param numbers: finite numbers.
    :returns: their sum: exact if all are ints, else the float nearest to the exact sum.
    :raises AmountOverflow: if the sum is beyond the largest float.
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
        # Perhaps only an intermediate sum was too large.
        return float(sum(map(Fraction, floats), Fraction(whole)))
    except OverflowError:
        raise AmountOverflow("a sum is beyond the largest float") from None
