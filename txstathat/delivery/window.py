"""
The open window: what was recorded since the last batch was sealed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, Inexact
from typing import TypeAlias

from txstathat.delivery.batch import Tally
from txstathat.errors import InvalidPoint
from txstathat.points.model import (
    MAX_AMOUNT_TEXT,
    MAX_INTEGER,
    Amount,
    Count,
    PlainAmount,
    Time,
    Value,
    amount_text,
    epoch_seconds,
    plain_amount,
)

__all__ = ["Window"]

# Sums of Decimals are exact, or not made.
_EXACT = Context(prec=MAX_AMOUNT_TEXT - 8, traps=[Inexact])

_Key: TypeAlias = tuple[str, int, type]


class Window:
    """
    Sums counts and collects values.

    :param check_stat: raises :class:`~txstathat.errors.InvalidPoint` for what cannot
        name a stat.
    :ivar cells: for each stat, the sum of the whole counts without a time of their own,
        and how many calls are in it. Whoever counts a lot may add to a cell that is
        there: its name has been checked.
    """

    def __init__(self, check_stat: Callable[[object], None]) -> None:
        self._check_stat = check_stat
        self._clear()

    def _clear(self) -> None:
        self.cells: dict[str, list[int]] = {}
        self._sums: dict[_Key, tuple[PlainAmount, int]] = {}
        self._single: list[Count | Value] = []
        self._checked: set[str] = set()
        self._start = 0

    def __len__(self) -> int:
        """
        How many points there are.
        """
        return len(self.cells) + len(self._sums) + len(self._single)

    @property
    def calls(self) -> int:
        """
        How many calls are in the window.
        """
        return (
            sum(calls for _, calls in self.cells.values())
            + sum(calls for _, calls in self._sums.values())
            + len(self._single)
        )

    def count(self, stat: str, count: Amount, t: Time | None, now: int) -> None:
        """
        Record a count.

        :param now: the time in whole Unix seconds; the window starts with its first
            point, and untimed counts carry that time.
        :raises InvalidPoint: if it is not valid; nothing was recorded.
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
        # A list, or something stranger, cannot be looked up in a set.
        if not isinstance(stat, str) or stat not in self._checked:
            self._check_stat(stat)
            self._checked.add(stat)

    def take(self) -> list[Tally]:
        """
        Empty the window.

        :returns: its points, each with a time, and how many calls are in each.
        """
        tallies: list[Tally] = []
        for stat, (total, calls) in self.cells.items():
            # A sum may be beyond the largest amount that can be sent at once.
            while abs(total) > MAX_INTEGER:
                piece = MAX_INTEGER if total > 0 else -MAX_INTEGER
                tallies.append((Count(stat, piece, self._start), 0))
                total -= piece
            tallies.append((Count(stat, total, self._start), calls))
        for (stat, second, _), (amount, calls) in self._sums.items():
            tallies.append((Count(stat, amount, second), calls))
        tallies += [(point, 1) for point in self._single]
        self._clear()
        return tallies


def _sum(one: PlainAmount, other: PlainAmount) -> PlainAmount | None:
    """
    The sum of two amounts of one type; ``None`` where it cannot be sent.
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
