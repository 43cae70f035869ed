"""
The open batch: what was recorded since the last batch was sealed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, Inexact
from typing import TypeAlias

from txstathat.delivery.batch import Tally
from txstathat.errors import InvalidPoint
from txstathat.points.amounts import (
    MAX_AMOUNT_TEXT,
    MAX_INTEGER,
    Amount,
    PlainAmount,
    Time,
    amount_text,
    epoch_seconds,
    plain_amount,
)
from txstathat.points.model import Count, Value

__all__ = ["OpenBatch"]

# A sum of Decimals is exact, or it is not formed.
_EXACT = Context(prec=MAX_AMOUNT_TEXT - 8, traps=[Inexact])

_Key: TypeAlias = tuple[str, int, type]


class OpenBatch:
    """
    Sums counts and collects values.

    :param check_stat: raises :class:`~txstathat.errors.InvalidPoint` for a bad stat
        name.
    :ivar cells: for each stat, the sum of its whole counts without a time of their own,
        and how many calls are in the sum. A caller that counts often may add to an
        existing cell: the name has been checked.
    """

    def __init__(self, check_stat: Callable[[object], None]) -> None:
        self._check_stat = check_stat
        self.clear()

    def clear(self) -> None:
        """
        Remove all points.
        """
        self.cells: dict[str, list[int]] = {}
        self._sums: dict[_Key, tuple[PlainAmount, int]] = {}
        self._single: list[Count | Value] = []
        self._checked: set[str] = set()
        self._start = 0

    def __len__(self) -> int:
        """
        Return how many points the batch has.
        """
        return len(self.cells) + len(self._sums) + len(self._single)

    @property
    def calls(self) -> int:
        """
        How many calls are in the batch.
        """
        return (
            sum(calls for _, calls in self.cells.values())
            + sum(calls for _, calls in self._sums.values())
            + len(self._single)
        )

    def count(self, stat: str, count: Amount, t: Time | None, now: int) -> None:
        """
        Record a count.

        :param now: the time in whole Unix seconds. The time of the first point is the
            start of the batch, and counts without a time carry it.
        :raises InvalidPoint: if the point is not valid; nothing was recorded.
        """
        second = None if t is None else epoch_seconds(t)
        amount = plain_amount(count, "count")
        self._check(stat)
        if not self:
            self._start = now
        if second is None and isinstance(amount, int):
            cell = self.cells.setdefault(str.__str__(stat), [0, 0])
            cell[0] += amount
            cell[1] += 1
            return
        key = (stat, self._start if second is None else second, type(amount))
        before, calls = self._sums.get(key, (type(amount)(0), 0))
        both = _sum(before, amount)
        if both is None:
            self._single.append(Count(stat, amount, key[1]))
        else:
            self._sums[key] = (both, calls + 1)

    def value(self, stat: str, value: Amount, t: Time | None, now: int) -> None:
        """
        Record a value, which carries its own time; otherwise as :meth:`count`.
        """
        second = now if t is None else epoch_seconds(t)
        amount = plain_amount(value, "value")
        self._check(stat)
        if not self:
            self._start = now
        self._single.append(Value(stat, amount, second))

    def _check(self, stat: str) -> None:
        # A list, or another unhashable object, cannot be looked up in a set.
        if not isinstance(stat, str) or stat not in self._checked:
            self._check_stat(stat)
            self._checked.add(stat)

    def take(self) -> list[Tally]:
        """
        Remove all points and return them.

        :returns: the points, each with a time, and how many calls are in each.
        """
        tallies: list[Tally] = []
        for stat, (total, calls) in self.cells.items():
            # A sum may be larger than the largest amount that can be sent at once.
            while abs(total) > MAX_INTEGER:
                piece = MAX_INTEGER if total > 0 else -MAX_INTEGER
                tallies.append((Count(stat, piece, self._start), 0))
                total -= piece
            tallies.append((Count(stat, total, self._start), calls))
        for (stat, second, _), (amount, calls) in self._sums.items():
            tallies.append((Count(stat, amount, second), calls))
        tallies += [(point, 1) for point in self._single]
        self.clear()
        return tallies


def _sum(one: PlainAmount, other: PlainAmount) -> PlainAmount | None:
    """
    Add two amounts of one type. Return ``None`` if the sum cannot be sent.
    """
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        try:
            both: PlainAmount = _EXACT.add(one, other)
            amount_text(both)
        except (DecimalException, InvalidPoint):
            return None
        return both
    both = one + other  # type: ignore[operator]
    if isinstance(both, int):
        return both if abs(both) <= MAX_INTEGER else None
    return both if math.isfinite(both) else None
