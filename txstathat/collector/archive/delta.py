"""
From the points of a request to what is added to a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil

from txstathat.collector.archive.stats import DEFINITIONS, EVERYTHING, received
from txstathat.collector.errors import Refusal
from txstathat.metrica.calendar import Calendar, coarsen
from txstathat.metrica.cells import spread
from txstathat.points.model import MAX_INTEGER, Parts
from txstathat.stores.interface import Amounts, Increment, TimeBucket
from txstathat.stores.sums import events

__all__ = ["MAX_AHEAD", "BatchDelta", "NotMergeable"]

#: How many seconds a point's time may lie ahead of the collector's clock.
MAX_AHEAD = 86_400

_UTC = Calendar("UTC")


class NotMergeable(Exception):
    """
    Requests cannot be added as one.
    """


class BatchDelta:
    """
    The points of one request, by minute.

    :param points: the points.
    :param now: the time of receipt, which counts where a point has none.
    :raises Refusal: if they do not go together, are too far ahead, or their sum is too
        large.

    :ivar kinds: ``'count'`` or ``'value'`` by stat.
    """

    def __init__(self, points: Sequence[Parts], now: float) -> None:
        self._now = now
        self.kinds: dict[str, str] = {}
        self._minutes: dict[int, list[Parts]] = {}
        self._add(points)
        # No sum is beyond this.
        self._most = len(points) * max((abs(part[2]) for part in points), default=0)
        too_large = self._too_large()
        if too_large is not None:
            raise overflow(too_large)

    def _add(self, points: Iterable[Parts]) -> None:
        kinds, minutes = self.kinds, self._minutes
        this_minute, latest = int(self._now) // 60, self._now + MAX_AHEAD
        for point in points:
            kind, stat, _, t = point
            if kinds.setdefault(stat, kind) != kind:
                raise other_kind(stat, kinds[stat])
            if t is None:
                minute = this_minute
            elif t <= latest:
                minute = t // 60
            else:
                raise Refusal(
                    400, f"t: {stat!r} has the time {t}, over a day ahead of now"
                )
            if minute in minutes:
                minutes[minute].append(point)
            else:
                minutes[minute] = [point]

    @classmethod
    def merge(cls, several: Sequence[BatchDelta]) -> BatchDelta:
        """
        The additions of several requests as one.

        :raises NotMergeable: if they do not go together.
        """
        whole = cls((), max(one._now for one in several))
        for one in several:
            whole._most += one._most
            for stat, kind in one.kinds.items():
                if whole.kinds.setdefault(stat, kind) != kind:
                    raise NotMergeable
            for minute, points in one._minutes.items():
                whole._minutes.setdefault(minute, []).extend(points)
        if whole._too_large() is not None:
            raise NotMergeable
        return whole

    def _too_large(self) -> str | None:
        if self._most <= MAX_INTEGER:
            return None
        for points in self._minutes.values():
            for stat, amounts in _by_stat(points).items():
                try:
                    fits = abs(events(amounts).whole) <= MAX_INTEGER
                except OverflowError:
                    fits = False
                if not fits:
                    return stat
        return None

    def amounts(self, keep: Mapping[str, float | None]) -> Amounts:
        """
        What the store is to add.

        :param keep: the scales to keep, coarsest first, and for how many seconds.
        """
        finest = {
            _UTC.minute(minute * 60): {
                stat: events(amounts) for stat, amounts in _by_stat(points).items()
            }
            for minute, points in self._minutes.items()
        }
        ahead = self._ahead(keep)
        increments = [
            Increment(
                [_kept_longer(one, ahead) for one in stretches] if ahead else stretches,
                {stat: {EVERYTHING: addition} for stat, addition in stats.items()},
            )
            for stretches, stats in spread(keep, finest)
        ]
        definitions = {stat: DEFINITIONS[kind] for stat, kind in self.kinds.items()}
        return Amounts(definitions, [*increments, received(self.kinds, self._now)])

    def _ahead(self, scales: Iterable[str]) -> dict[str, float]:
        """
        How many seconds after now the last point is of each stretch, by its label, that
        has not begun. It is rounded up to hours, so that stores are not told another
        time to keep it with each request.
        """
        this_minute = int(self._now) // 60
        later = sorted(minute for minute in self._minutes if minute > this_minute)
        if not later:
            return {}
        scales = list(scales)
        now = _UTC.minute(this_minute * 60)
        begun = {coarsen(now, scale) for scale in scales}
        return {
            label: ceil((minute * 60 - self._now) / 3600) * 3600.0
            for minute in later
            for scale in scales
            if (label := coarsen(_UTC.minute(minute * 60), scale)) not in begun
        }


def _kept_longer(stretch: TimeBucket, ahead: Mapping[str, float]) -> TimeBucket:
    # What is ahead is asked for in its own time, and for as long from then on.
    if stretch.ttl is None or stretch.label not in ahead:
        return stretch
    return stretch._replace(ttl=stretch.ttl + ahead[stretch.label])


def _by_stat(points: Iterable[Parts]) -> dict[str, list[int | float]]:
    stats: dict[str, list[int | float]] = {}
    for _, stat, amount, _ in points:
        if stat in stats:
            stats[stat].append(amount)
        else:
            stats[stat] = [amount]
    return stats


def other_kind(stat: str, kind: str) -> Refusal:
    """
    The refusal of a point of another kind than its stat.

    :param kind: the stat's, ``'count'`` or ``'value'``.
    """
    return Refusal(400, f"{stat!r} is a {kind} stat; it takes no other kind of points")


def overflow(stat: str) -> Refusal:
    """
    The refusal of a point that makes a sum too large.
    """
    return Refusal(
        400,
        f"a sum of {stat!r} would go beyond what is kept exactly "
        f"({MAX_INTEGER}, or the largest float)",
    )
