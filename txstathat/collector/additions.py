"""
From the points of a request to what is added to a store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from txstathat.collector.ingest import Refusal
from txstathat.collector.stats import DEFINITIONS, received
from txstathat.metrica.calendar import Calendar
from txstathat.metrica.cells import Event, spread
from txstathat.points import MAX_INTEGER, Count, Point
from txstathat.stores.interface import Addition, Amounts, Stretch
from txstathat.stores.sums import add_floats, merge

__all__ = ["MAX_AHEAD", "Additions"]

#: How many seconds a point's time may lie ahead of the collector's clock.
MAX_AHEAD = 86_400

_UTC = Calendar("UTC")


class Additions:
    """
    The points of one request, summed by stat and minute.

    :param points: the points; their amounts are ints and floats.
    :param now: the time of receipt, which counts where a point has none.
    :raises Refusal: if they do not go together, are too far ahead, or their sum is too
        large.

    :ivar kinds: ``'count'`` or ``'value'`` by stat.
    """

    def __init__(self, points: Sequence[Point], now: float) -> None:
        self._now = now
        self.kinds: dict[str, str] = {}
        # By stat, then minute: the fields of an Addition.
        self._sums: dict[str, dict[int, Any]] = {}
        for point in points:
            self._add(point)
        too_large = self._too_large()
        if too_large is not None:
            raise overflow(too_large)

    @classmethod
    def together(cls, several: Sequence[Additions]) -> Additions | None:
        """
        The additions of several requests as one.

        :returns: ``None`` if they do not go together.
        """
        whole = cls((), max(one._now for one in several))
        for one in several:
            for stat, kind in one.kinds.items():
                if whole.kinds.setdefault(stat, kind) != kind:
                    return None
            for stat, minutes in one._sums.items():
                into = whole._sums.setdefault(stat, {})
                for minute, sums in minutes.items():
                    old = into.get(minute)
                    into[minute] = (
                        sums if old is None else merge(Addition(*old), Addition(*sums))
                    )
        return None if whole._too_large() is not None else whole

    def _too_large(self) -> str | None:
        for stat, minutes in self._sums.items():
            for whole, _, _, _, real, _ in minutes.values():
                if abs(whole) > MAX_INTEGER or (
                    real is not None and not math.isfinite(real)
                ):
                    return stat
        return None

    def _add(self, point: Point) -> None:
        kind, amount = (
            ("count", point.count)
            if isinstance(point, Count)
            else ("value", point.value)
        )
        stat = point.stat
        if self.kinds.setdefault(stat, kind) != kind:
            raise other_kind(stat, self.kinds[stat])
        t = self._now if point.t is None else point.t
        if t > self._now + MAX_AHEAD:  # type: ignore[operator]
            raise Refusal(400, f"t: {stat!r} has the time {t}, over a day ahead of now")
        minutes = self._sums.get(stat)
        if minutes is None:
            minutes = self._sums[stat] = {}
        minute = int(t) // 60  # type: ignore[arg-type]
        found = minutes.get(minute)
        if found is None:
            if isinstance(amount, int):
                minutes[minute] = [amount, 1, amount, amount, None, 0.0]
            else:
                minutes[minute] = [0, 1, amount, amount, amount, 0.0]
            return
        if isinstance(amount, int):
            found[0] += amount
        elif found[4] is None:
            found[4] = amount
        else:
            found[4:6] = add_floats(found[4], found[5], amount)  # type: ignore[arg-type]
        found[1] += 1
        if amount < found[2]:
            found[2] = amount
        elif amount > found[3]:
            found[3] = amount

    def amounts(self, keep: Mapping[str, float | None]) -> Amounts:
        """
        What the store is to add.

        :param keep: the scales to keep, coarsest first, and for how many seconds.
        """
        scales = dict(keep)
        stretches: list[Stretch] = []
        for stat, minutes in self._sums.items():
            additions: dict[tuple[str, Event], Addition] = {
                (_UTC.minute(minute * 60), ()): Addition(*sums)
                for minute, sums in minutes.items()
            }
            stretches += spread(stat, (), scales, additions)
            stretches.append(received(stat, self._now))
        definitions = {stat: DEFINITIONS[kind] for stat, kind in self.kinds.items()}
        return Amounts(definitions, stretches)


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
