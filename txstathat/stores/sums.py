"""
Sums that stay exact: whole numbers apart, floats with what they could not hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from txstathat.errors import AmountOverflow
from txstathat.points.exact import add_up
from txstathat.stores.interface import Addition, Cell

__all__ = ["add_floats", "as_cell", "event", "events", "merge"]


def add_floats(
    real: float, rest: float, more: float, more_rest: float = 0.0
) -> tuple[float, float]:
    """
    Add to a float sum, keeping what is lost by rounding (Knuth's TwoSum: The Art of
    Computer Programming, volume 2, section 4.2.2, theorem B). So a sum of a million
    floats is as good as a sum of two.

    :returns: the new sum, and what it could not hold.
    """
    total = real + more
    part = total - real
    lost = (real - (total - part)) + (more - part)
    return total, rest + more_rest + lost


def event(amount: int | float) -> Addition:
    """
    One event.
    """
    if isinstance(amount, int):
        return Addition(amount, 1, amount, amount)
    return Addition(0, 1, amount, amount, amount)


def events(amounts: Sequence[int | float]) -> Addition:
    """
    One event or more, of these amounts.

    :raises OverflowError: if the sum of the floats is beyond the largest float.
    """
    if len(amounts) == 1:
        return event(amounts[0])
    floats = [amount for amount in amounts if isinstance(amount, float)]
    real, rest = None, 0.0
    if floats:
        # Each is the float next to the exact value.
        real = math.fsum(floats)
        rest = math.fsum([-real, *floats])
    whole = sum(amount for amount in amounts if isinstance(amount, int))
    return Addition(whole, len(amounts), min(amounts), max(amounts), real, rest)


def merge(a: Addition, b: Addition) -> Addition:
    """
    Two additions as one.
    """
    real, rest = a.real, a.rest
    if real is None:
        real, rest = b.real, b.rest
    elif b.real is not None:
        real, rest = add_floats(real, rest, b.real, b.rest)
    return Addition(
        a.whole + b.whole,
        a.events + b.events,
        a.least if a.least <= b.least else b.least,
        a.most if a.most >= b.most else b.most,
        real,
        rest,
    )


def as_cell(
    whole: int,
    events: int,
    least: int | float,
    most: int | float,
    real: float | None,
    rest: float,
) -> Cell:
    """
    What a cell holds, as it is told: where what the largest float could not hold takes
    the sum beyond it, the sum is told as that.
    """
    if real is None:
        return Cell(whole, events, least, most, (whole,))
    parts = (whole, real, rest)
    # Of two floats the sum is the float next to the exact one; only of more it is not.
    total = whole + (real + rest)
    if whole or not math.isfinite(total):
        try:
            total = add_up(parts)
        except AmountOverflow:
            total = real  # the largest float there is
    return Cell(total, events, least, most, parts)
