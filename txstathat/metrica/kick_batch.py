"""
Kicks on their way to a store.

A :class:`Kicks` is one batch in the making: kicks of the same minute with the same
choices are one sum in it, so that what a write costs follows the distinct events, not
how many there are. It is sealed when it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.errors import AmountOverflow, DefinitionMismatch, StoreError
from txstathat.metrica.cells import Event
from txstathat.points.model import MAX_INTEGER
from txstathat.stores.interface import (
    Addition,
    Amounts,
    IEntry,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.sums import add_floats

__all__ = ["REMEMBER_KICKS", "Kicks"]

#: For how many seconds a store remembers a batch of kicks. It is repeated only by the
#: process that has it, and for a much shorter time: ``txstathat.stores.batching.ENTRY_TIMEOUT``.
REMEMBER_KICKS = 600.0

# What stands in a sum: whole, events, least, most, real, rest (see Addition); then the
# Deferreds of the kicks in it.
_WAITERS = 6


@implementer(IEntry)
class Kicks:
    """
    Kicks of one Metrica that will be written together.

    :param amounts: makes the batch's amounts of its additions.
    :param begun: the time of the first kick, in seconds.

    :ivar sealed: whether it takes no more kicks.
    :ivar sums: what is in it, by stretch and distinct event.
    :ivar kicks: how many kicks are in it.
    """

    def __init__(
        self,
        amounts: Callable[[dict[tuple[str, Event], Addition]], Amounts],
        begun: float,
    ) -> None:
        self._amounts = amounts
        self.begun = begun
        self.sums: dict[tuple[str, Event], list[Any]] = {}
        self.sealed = False
        self._batch: WriteBatch | None = None

    @property
    def kicks(self) -> int:
        return sum(len(found[_WAITERS]) for found in self.sums.values())

    def kick(
        self, label: str, event: Event, amount: int | float, kicked: Deferred[None]
    ) -> None:
        """
        Take one kick.

        :param label: the stretch of the finest scale.
        :param event: its choices.
        :param amount: its weight.
        :param kicked: is called back by :meth:`settle`.
        :raises AmountOverflow: if the sum becomes too large.
        """
        found = self.sums.get((label, event))
        if found is None:
            if type(amount) is int:
                new = [amount, 1, amount, amount, None, 0.0, [kicked]]
            else:
                new = [0, 1, amount, amount, amount, 0.0, [kicked]]
            self.sums[label, event] = new
            return
        if type(amount) is int:
            whole = found[0] + amount
            if not -MAX_INTEGER <= whole <= MAX_INTEGER:
                raise AmountOverflow(f"a sum would go beyond {MAX_INTEGER}")
            found[0] = whole
        elif found[4] is None:
            found[4] = amount
        else:
            found[4:6] = add_floats(found[4], found[5], amount)
        found[1] += 1
        if amount < found[2]:
            found[2] = amount
        elif amount > found[3]:
            found[3] = amount
        found[_WAITERS].append(kicked)

    def encode(self) -> WriteBatch:
        """
        See :meth:`txstathat.stores.interface.IEntry.encode`.
        """
        if self._batch is None:
            # Nobody else can have this id, so nothing need be compared.
            self.sealed = True
            self._batch = WriteBatch(uuid4().hex, "", self._spread, REMEMBER_KICKS)
        return self._batch

    def _spread(self) -> Amounts:
        return self._amounts(
            {key: Addition(*found[:_WAITERS]) for key, found in self.sums.items()}
        )

    def halves(self) -> list[Kicks]:
        """
        The same kicks as two batches: for when they cannot be added together since one
        of them is too much. So that one is found in a few steps.
        """
        sums = list(self.sums.items())
        middle = len(sums) // 2
        halves = []
        for some in (sums[:middle], sums[middle:]):
            half = Kicks(self._amounts, self.begun)
            half.sums.update(some)
            halves.append(half)
        return halves

    def settle(self, result: Failure | None) -> None:
        """
        Call back all who kicked.
        """
        for found in self.sums.values():
            for kicked in found[_WAITERS]:
                kicked.callback(cast(None, result))


def refusal(answer: WriteResult) -> StoreError | None:
    """
    What a store's answer to a batch of kicks means to those who kicked.
    """
    if answer.outcome is WriteOutcome.OVERFLOW:
        return AmountOverflow(
            f"a sum of {answer.name!r} would go beyond what is kept exactly "
            f"({MAX_INTEGER}, or the largest float); nothing was added"
        )
    if answer.outcome is WriteOutcome.MISMATCH:
        return DefinitionMismatch(
            f"the store keeps {answer.name!r} with another definition; "
            "give it another name, or drop what is stored"
        )
    return None
