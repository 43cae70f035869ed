"""
Kicks that are waiting to be written to a store.

A :class:`KickBatch` combines kicks of the same minute with the same choices into one
sum, so that the cost of a write depends on the number of distinct events, not of kicks.
It takes no more kicks once it has been encoded for a write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.errors import AmountOverflow, DefinitionMismatch, StoreError
from txstathat.metrica.cells import Event
from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import (
    Amounts,
    IEntry,
    IStore,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.sums import add_floats

__all__ = ["KICKS_ID_TTL", "KickBatch", "Sums", "refusal"]

#: For how many seconds a store remembers the id of a batch of kicks. Only this process
#: repeats it, and stops long before (``txstathat.stores.batching.ENTRY_TIMEOUT``).
KICKS_ID_TTL = 600.0

#: Sums by label of the time bucket and by distinct event: lists of the fields of
#: :class:`~txstathat.stores.interface.Addition`.
Sums: TypeAlias = dict[str, dict[Event, list[Any]]]

_WHOLE, _EVENTS, _LEAST, _MOST, _REAL, _REST = range(6)


@implementer(IEntry)
class KickBatch:
    """
    Kicks of one Metrica that are written together.

    :param store: the store.
    :param amounts: converts the sums to the amounts of a batch.
    :param second: the second in which it takes kicks, in Unix seconds.
    :param label: the label of the time bucket of that second, in the finest scale.
    :param max_sums: how many sums it may have.

    :ivar store: the store.
    :ivar second: the same; ``None`` if it takes no more kicks.
    :ivar label: the label.
    :ivar sums: the sums.
    :ivar distinct: the number of sums.
    """

    def __init__(
        self,
        store: IStore,
        amounts: Callable[[Sums], Amounts],
        second: int | None,
        label: str,
        max_sums: int,
    ) -> None:
        self.store = store
        self._amounts = amounts
        self._id = uuid4().hex
        self.second = second
        self.label = label
        self._max_sums = max_sums
        self.sums: Sums = {}
        self.distinct = 0
        # The Deferred of each kick in their order, and beside it the sum that it is in.
        self._kicked: list[Deferred[None]] = []
        self._sum_of: list[list[Any]] = []

    @property
    def kicks(self) -> int:
        """The number of kicks."""
        return len(self._kicked)

    def kick(
        self, label: str, event: Event, amount: int | float, kicked: Deferred[None]
    ) -> None:
        """
        Add a kick.

        :param label: the label of its time bucket, in the finest scale.
        :param event: its choices.
        :param amount: its weight.
        :param kicked: :meth:`settle` fires this Deferred.
        :raises AmountOverflow: if the sum becomes too large; the kick is not added.
        """
        sums = self.sums.get(label)
        found = None if sums is None else sums.get(event)
        if found is None:
            found = self._add_sum(label, event, [0, 0, amount, amount, None, 0.0])
        if type(amount) is int:
            whole = found[_WHOLE] + amount
            if abs(whole) > MAX_INTEGER:
                raise AmountOverflow(f"the sum would exceed {MAX_INTEGER}")
            found[_WHOLE] = whole
        elif found[_REAL] is None:
            found[_REAL] = amount
        else:
            found[_REAL], found[_REST] = add_floats(found[_REAL], found[_REST], amount)
        found[_EVENTS] += 1
        if amount < found[_LEAST]:
            found[_LEAST] = amount
        elif amount > found[_MOST]:
            found[_MOST] = amount
        self._kicked.append(kicked)
        self._sum_of.append(found)

    def _add_sum(self, label: str, event: Event, found: list[Any]) -> list[Any]:
        self.sums.setdefault(label, {})[event] = found
        self.distinct += 1
        if self.distinct >= self._max_sums:
            self.second = None
        return found

    def encode(self) -> WriteBatch:
        """
        See :meth:`txstathat.stores.interface.IEntry.encode`.
        """
        self.second = None
        # Only this batch has this id, so no digest is needed. The result is not stored
        # here: it refers to this batch, and a cycle would be freed much later.
        return WriteBatch(self._id, "", lambda: self._amounts(self.sums), KICKS_ID_TTL)

    def halves(self) -> list[KickBatch]:
        """
        Split the kicks into two batches. If a batch overflows, repeated splitting finds
        the kick that is too large in a few steps.
        """
        halves = [
            KickBatch(self.store, self._amounts, None, self.label, self._max_sums)
            for _ in range(2)
        ]
        half_of = {}
        number = 0
        for label, sums in self.sums.items():
            for event, found in sums.items():
                half = halves[2 * number >= self.distinct]
                half._add_sum(label, event, found)
                half_of[id(found)] = half
                number += 1
        for kicked, found in zip(self._kicked, self._sum_of, strict=True):
            half = half_of[id(found)]
            half._kicked.append(kicked)
            half._sum_of.append(found)
        return halves

    def settle(self, result: Failure | None) -> None:
        """
        Fire the Deferreds of all kicks.

        :param result: ``None``, or the failure with which they fail.
        """
        for kicked in self._kicked:
            kicked.callback(result)


def refusal(result: WriteResult) -> StoreError | None:
    """
    Return the error with which the kicks of a batch fail.

    :param result: the result of writing the batch.
    :returns: the error; ``None`` if the batch is in the store.
    """
    if result.outcome is WriteOutcome.OVERFLOW:
        return AmountOverflow(
            f"a sum of {result.name!r} would exceed the range of exact sums "
            f"({MAX_INTEGER}, or the largest float); nothing was added"
        )
    if result.outcome is WriteOutcome.MISMATCH:
        return DefinitionMismatch(
            f"the store has {result.name!r} with another definition; "
            "use another name, or drop the stored Metrica"
        )
    return None
