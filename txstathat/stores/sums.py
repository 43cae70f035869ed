"""
Exact sums: whole numbers and floats have separate sums, and a sum of floats has its
rounding error beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any, NamedTuple, TypeVar

from txstathat.errors import AmountOverflow
from txstathat.points.exact import add_up
from txstathat.stores.interface import Addition, Cell, Key, TimeBucket

__all__ = [
    "Events",
    "SumColumns",
    "add_floats",
    "as_cell",
    "event",
    "events",
    "group_amounts",
    "merge",
    "sum_up",
]

Owner = TypeVar("Owner")

# Several times as fast as Addition(...).
_new = tuple.__new__


def add_floats(
    real: float, rest: float, more: float, more_rest: float = 0.0
) -> tuple[float, float]:
    """
    Add two float sums without losing what is rounded off (Knuth's TwoSum: The Art of
    Computer Programming, volume 2, section 4.2.2, theorem B). So the sum of a million
    floats is as precise as the sum of two.

    :param real: the first sum.
    :param rest: its rounding error.
    :param more: the second sum.
    :param more_rest: its rounding error.
    :returns: the new sum, and its rounding error.
    """
    total = real + more
    part = total - real
    lost = (real - (total - part)) + (more - part)
    return total, rest + more_rest + lost


def event(amount: int | float) -> Addition:
    """
    Return the addition of one event.

    :param amount: its amount.
    """
    if isinstance(amount, int):
        return _new(Addition, (amount, 1, amount, amount, None, 0.0))
    return _new(Addition, (0, 1, amount, amount, amount, 0.0))


def events(amounts: Sequence[int | float]) -> Addition:
    """
    Return the addition of one event or more.

    :param amounts: their amounts; at least one.
    :raises OverflowError: if the sum of the floats is beyond the largest float.
    """
    if len(amounts) == 1:
        return event(amounts[0])
    real, rest = None, 0.0
    floats, whole = amounts, 0
    if {*map(type, amounts)} != {float}:
        floats = [amount for amount in amounts if isinstance(amount, float)]
        whole = sum(amount for amount in amounts if isinstance(amount, int))
    if floats:
        # fsum returns the float nearest to the exact sum.
        real = math.fsum(floats)
        rest = math.fsum([-real, *floats])
    return _new(Addition, (whole, len(amounts), min(amounts), max(amounts), real, rest))


def sum_up(amounts: Sequence[int | float]) -> Addition:
    """
    Return the addition of events. A sum beyond the largest float is infinite or not a
    number; a store refuses it.

    :param amounts: their amounts; at least one.
    """
    try:
        return events(amounts)
    except (OverflowError, ValueError):
        return reduce(merge, map(event, amounts))


def group_amounts(
    groups: dict[Owner, list[int | float]],
    owners: Iterable[Owner],
    amounts: Iterable[int | float],
) -> None:
    """
    Add the amounts of events to those of their owners.

    :param groups: the amounts by owner.
    :param owners: the owner of each event.
    :param amounts: the amount of each.
    """
    find = groups.get
    for owner, amount in zip(owners, amounts, strict=True):
        known = find(owner)
        if known is None:
            groups[owner] = [amount]
        else:
            known.append(amount)


class Events(NamedTuple):
    """
    An increment (:class:`~txstathat.stores.interface.Increment`) by events that are not
    summed up yet, of Metricas without axes.

    :ivar buckets: the time buckets, each once.
    :ivar names: the name of the Metrica of each event.
    :ivar amounts: the amount of each event.
    """

    buckets: Sequence[TimeBucket]
    names: Sequence[str]
    amounts: Sequence[int | float]

    @property
    def cells(self) -> dict[str, dict[Key, Addition]]:
        """The sums of the events, by name of the Metrica. They are computed anew."""
        groups: dict[str, list[int | float]] = {}
        group_amounts(groups, self.names, self.amounts)
        return {name: {(): sum_up(amounts)} for name, amounts in groups.items()}


class SumColumns(NamedTuple):
    """
    An increment (:class:`~txstathat.stores.interface.Increment`) to one Metrica by
    columns. So there is no object for each sum, at which Python's garbage collector
    would look.

    :ivar buckets: the time buckets, each once.
    :ivar name: the name of the Metrica.
    :ivar parts: each part of the keys, for all sums.
    :ivar fields: each field of the additions, for all sums.
    """

    buckets: Sequence[TimeBucket]
    name: str
    parts: Sequence[Sequence[str]]
    fields: Sequence[Sequence[Any]]

    @property
    def names(self) -> tuple[str]:
        """The name of the Metrica."""
        return (self.name,)

    @property
    def cells(self) -> dict[str, dict[Key, Addition]]:
        """The sums by key, by name of the Metrica. They are made anew."""
        keys = zip(*self.parts, strict=True) if self.parts else [()]
        sums = [_new(Addition, one) for one in zip(*self.fields, strict=True)]
        return {self.name: dict(zip(keys, sums, strict=True))}


def merge(a: Addition, b: Addition) -> Addition:
    """
    Combine two additions into one.
    """
    whole, events, least, most, real, rest = a
    more, more_events, less, greater, more_real, more_rest = b
    if more_real is not None:
        if real is None:
            real, rest = more_real, more_rest
        else:
            real, rest = add_floats(real, rest, more_real, more_rest)
    return _new(
        Addition,
        (
            whole + more,
            events + more_events,
            least if least <= less else less,
            most if most >= greater else greater,
            real,
            rest,
        ),
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
    Return the contents of a cell. A sum beyond the largest float becomes the largest
    float.

    :param whole: see :class:`~txstathat.stores.interface.Addition` for all of these.
    """
    if real is None:
        return Cell(whole, events, least, most, (whole,))
    parts = (whole, real, rest)
    # A sum of two floats is rounded once, so it is the nearest float. A third summand
    # needs an exact sum.
    total = whole + (real + rest)
    if whole or not math.isfinite(total):
        try:
            total = add_up(parts)
        except AmountOverflow:
            total = real  # the largest float there is
    return Cell(total, events, least, most, parts)
