"""
Points: counts and values, each of a stat, perhaps at a time.

The rules for the parts of a point are in :mod:`txstathat.points.names` and
:mod:`txstathat.points.amounts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from txstathat.errors import InvalidPoint
from txstathat.points.amounts import Amount, Time, epoch_seconds, plain_amount
from txstathat.points.names import expand_name, shown

__all__ = [
    "Count",
    "MAX_POST",
    "Parts",
    "Point",
    "Value",
    "as_point",
    "as_point_list",
    "expand_point",
    "kind_and_amount",
    "one_kind",
]

#: The most points that can be sent at once.
MAX_POST = 10_000


@dataclass(frozen=True, slots=True)
class Count:
    """
    An amount to add to a counter.

    The constructor checks nothing. Sending a bad point fails with
    :class:`~txstathat.errors.InvalidPoint`, through the Deferred.

    :ivar stat: the stat's name (its key with the Classic API).
    :ivar count: how much to add.
    :ivar t: when it happened, Unix seconds or an aware datetime; ``None`` is the time
        at which the server receives it.
    """

    stat: str
    count: Amount = 1
    t: Time | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """
    A measurement of a value stat, which averages what it receives.

    :ivar stat: the stat's name (its key with the Classic API).
    :ivar value: what was measured.
    :ivar t: when it was measured, as for :class:`Count`.
    """

    stat: str
    value: Amount
    t: Time | None = None


Point: TypeAlias = Count | Value
#: A valid point of one stat, as a server reads it: ``'count'`` or ``'value'``, the
#: stat, the amount, and the time in Unix seconds. (Objects would add nearly half of the
#: time that reading and checking takes.)
Parts: TypeAlias = tuple[str, str, int | float, int | None]


def kind_and_amount(point: Point) -> tuple[str, Amount]:
    """
    The kind of a point, ``'count'`` or ``'value'``, and its amount.

    :raises InvalidPoint: if it is not a point.
    """
    if isinstance(point, Count):
        return "count", point.count
    if isinstance(point, Value):
        return "value", point.value
    raise InvalidPoint("point", f"must be a Count or a Value, not {shown(point)}")


def expand_point(point: Point) -> list[Point]:
    """
    Check a point, and split it if its name is that of several stats.

    :returns: one valid point for each stat, with its amount as :func:`plain_amount`
        returns it, and its time unchanged.
    :raises InvalidPoint: if any part of it is not valid.
    """
    kind, amount = kind_and_amount(point)
    amount = plain_amount(amount, kind)
    if point.t is not None:
        epoch_seconds(point.t)
    return [type(point)(name, amount, point.t) for name in expand_name(point.stat)]


def one_kind(fields: Mapping[str, Any]) -> str:
    """
    The kind of a point: whichever of ``'count'`` and ``'value'`` is in its fields. A
    field that is ``None`` does not count: some JSON senders write ``null`` in the
    fields that they do not use.

    :raises InvalidPoint: if neither is there, or both are.
    """
    kinds = [kind for kind in ("count", "value") if fields.get(kind) is not None]
    if len(kinds) != 1:
        raise InvalidPoint("point", "needs either a count or a value")
    return kinds[0]


def as_point(parts: Parts) -> Point:
    """
    The point with these parts.
    """
    kind, stat, amount, t = parts
    return Count(stat, amount, t) if kind == "count" else Value(stat, amount, t)


def as_point_list(points: Iterable[Point]) -> list[Point]:
    """
    Points as a list.

    :raises InvalidPoint: if there are more than :data:`MAX_POST`, or if they are not
        iterable.
    """
    try:
        listed = list(islice(points, MAX_POST + 1))
    except TypeError:
        raise InvalidPoint("point", "pass a list of Count and Value objects") from None
    if len(listed) > MAX_POST:
        raise InvalidPoint("point", f"at most {MAX_POST} can be sent at once")
    return listed
