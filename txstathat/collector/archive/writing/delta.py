"""
Turns the points of a request into additions to a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import ceil

from txstathat.collector.archive.stats import DEFINITIONS, received
from txstathat.collector.errors import PointAhead, Refusal
from txstathat.collector.ingest.typed import GroupedPoints
from txstathat.collector.limits import MAX_AHEAD
from txstathat.metrica.calendar import Calendar, coarsen
from txstathat.metrica.cells import buckets_of
from txstathat.points.amounts import MAX_INTEGER
from txstathat.points.model import Parts
from txstathat.stores.interface import Amounts, TimeBucket
from txstathat.stores.sums import Events, events, group_amounts

__all__ = [
    "BatchDelta",
    "NotMergeable",
    "PAST_SECONDS",
    "other_kind",
    "overflow",
]

#: Points that are older, in seconds, count as points of the past. No batch waits for
#: its delivery for so long.
PAST_SECONDS = 9 * 86_400.0

_UTC = Calendar("UTC")
# The longest time bucket of each scale, in seconds.
_SECONDS = {
    "year": 366 * 86_400,
    "month": 31 * 86_400,
    "day": 86_400,
    "hour": 3600,
    "minute": 60,
}
# By how many seconds the clocks of several collectors can differ.
_MARGIN = 3600.0


class NotMergeable(Exception):
    """
    The requests cannot be added as one batch.
    """


class BatchDelta:
    """
    The points of one request, grouped by minute.

    :param points: the points.
    :param now: the time of receipt, in Unix seconds. It is the time of points that have
        none.
    :raises Refusal: if a stat has points of both kinds, a point is too far ahead, or a
        sum is too large.

    :ivar kinds: ``'count'`` or ``'value'``, by name of the stat.
    """

    def __init__(self, points: Sequence[Parts], now: float) -> None:
        self._now = now
        self.kinds: dict[str, str] = {}
        # The stat and the amount of each point.
        self._minutes: dict[int, tuple[list[str], list[int | float]]] = {}
        if not (isinstance(points, GroupedPoints) and self._add_groups(points)):
            self._add(points)
        # An upper bound of all sums.
        if len(points) == 1:  # a form
            self._most = abs(points[0][2])
        else:
            self._most = len(points) * max(
                (max(map(abs, amounts)) for _, amounts in self._minutes.values()),
                default=0,
            )
        too_large = self._too_large()
        if too_large is not None:
            raise overflow(too_large)

    def _add(self, points: Iterable[Parts]) -> None:
        kinds, minutes = self.kinds, self._minutes
        this_minute, latest = int(self._now) // 60, self._now + MAX_AHEAD
        for number, (kind, stat, amount, t) in enumerate(points):
            if kinds.setdefault(stat, kind) != kind:
                raise other_kind(stat, kinds[stat])
            if t is None:
                minute = this_minute
            elif t <= latest:
                minute = t // 60
            else:
                raise PointAhead(number, stat, t, self._now)
            stats, amounts = minutes.setdefault(minute, ([], []))
            stats.append(stat)
            amounts.append(amount)

    def _add_groups(self, points: GroupedPoints) -> bool:
        """
        Add points that are grouped.

        :returns: ``False`` if some of them have to be refused; then nothing was added.
        """
        latest = int(self._now + MAX_AHEAD) // 60
        if any(minute is not None and minute >= latest for minute in points.minutes()):
            return False
        counts, values = (
            dict.fromkeys(
                chain.from_iterable(stats for stats, _ in groups.values()), kind
            )
            for kind, groups in (("count", points.counts), ("value", points.values))
        )
        if not counts.keys().isdisjoint(values):
            return False
        self.kinds = {**counts, **values}
        this_minute = int(self._now) // 60
        for groups in (points.counts, points.values):
            for minute, columns in groups.items():
                self._extend(this_minute if minute is None else minute, columns)
        return True

    def _extend(
        self, minute: int, more: tuple[Sequence[str], Sequence[int | float]]
    ) -> None:
        stats, amounts = self._minutes.setdefault(minute, ([], []))
        stats += more[0]
        amounts += more[1]

    def stats(self) -> Iterable[tuple[int, Iterable[str]]]:
        """
        Return the stats in each minute, which may be repeated.
        """
        return ((minute, stats) for minute, (stats, _) in self._minutes.items())

    @classmethod
    def merge(cls, several: Sequence[BatchDelta]) -> BatchDelta:
        """
        Merge the points of several requests.

        :raises NotMergeable: if a stat has points of both kinds, or a sum is too large.
        """
        merged = cls((), max(one._now for one in several))
        for one in several:
            merged._most += one._most
            merged.kinds.update(one.kinds)
            for minute, columns in one._minutes.items():
                merged._extend(minute, columns)
        kinds = merged.kinds.items()
        if not all(one.kinds.items() <= kinds for one in several):
            raise NotMergeable
        if merged._too_large() is not None:
            raise NotMergeable
        return merged

    def _too_large(self) -> str | None:
        if self._most <= MAX_INTEGER:
            return None
        for columns in self._minutes.values():
            groups: dict[str, list[int | float]] = {}
            group_amounts(groups, *columns)
            for stat, amounts in groups.items():
                try:
                    fits = abs(events(amounts).whole) <= MAX_INTEGER
                except OverflowError:
                    fits = False
                if not fits:
                    return stat
        return None

    def amounts(self, retention: Mapping[str, float | None]) -> Amounts:
        """
        Return what the store is to add.

        :param retention: the scales to store, coarsest first, and for how many seconds.
        """
        definitions = {stat: DEFINITIONS[kind] for stat, kind in self.kinds.items()}
        increments = [
            Events(self._buckets(minute, retention), *columns)
            for minute, columns in self._minutes.items()
        ]
        return Amounts(definitions, [*increments, received(self.kinds, self._now)])

    def _buckets(
        self, minute: int, retention: Mapping[str, float | None]
    ) -> list[TimeBucket]:
        """
        Return the time buckets in which the points of a minute count.
        """
        label = _UTC.minute(minute * 60)
        buckets = buckets_of(label, retention)
        this_minute = int(self._now) // 60
        if minute > this_minute:
            # A future bucket is read in its own time, and is stored from then on.
            # Rounded up to hours, so that not all requests change its expiry.
            ahead = ceil((minute * 60 - self._now) / 3600) * 3600.0
            now = _UTC.minute(this_minute * 60)
            return [
                one
                if one.ttl is None or coarsen(now, one.scale) == one.label
                else one._replace(ttl=one.ttl + ahead)
                for one in buckets
            ]
        # A bucket that is too old is never read again.
        return [
            one
            for one in buckets
            if one.ttl is None
            or minute * 60 >= self._now - one.ttl - _SECONDS[one.scale] - _MARGIN
        ]

    def past(self, retention: Mapping[str, float | None]) -> set[int]:
        """
        Return numbers that identify the stored time buckets of points that are older
        than :data:`PAST_SECONDS`.

        :param retention: the scales to store, coarsest first, and for how many seconds.
        """
        past: set[int] = set()
        before = self._now - PAST_SECONDS
        for minute, (stats, _) in self._minutes.items():
            if minute * 60 >= before:
                continue
            age = self._now - minute * 60
            # The length of a bucket in the finest scale that stores the points.
            seconds = min(
                (
                    _SECONDS[scale]
                    for scale, ttl in retention.items()
                    if ttl is None or ttl >= age
                ),
                default=_SECONDS["year"],
            )
            bucket = minute * 60 // seconds
            past.update(hash((stat, seconds, bucket)) for stat in {*stats})
        return past


def other_kind(stat: str, kind: str) -> Refusal:
    """
    Return the refusal of a point of another kind than its stat.

    :param stat: the name of the stat.
    :param kind: the kind of the stat: ``'count'`` or ``'value'``.
    """
    what = "counter" if kind == "count" else "value stat"
    return Refusal(400, f"{stat!r} is a {what}; send {kind}s to it (txstathat {kind})")


def overflow(stat: str) -> Refusal:
    """
    Return the refusal of a point that makes a sum of a stat too large.
    """
    return Refusal(
        400,
        f"a sum of {stat!r} would exceed the range in which sums are exact "
        f"({MAX_INTEGER}, or the largest float)",
    )
