"""
Kicks that are waiting to be written to a store.

A :class:`KickBatch` combines kicks of the same minute with the same choices into one
sum, so that the cost of a write depends on the number of distinct events, not of kicks.
It takes no more kicks once it has been encoded for a write.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, cast
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.errors import AmountOverflow, DefinitionMismatch, StoreError
from txstathat.metrica.cells import Event
from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import (
    Addition,
    Amounts,
    IEntry,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.sums import add_floats

__all__ = ["KICKS_ID_TTL", "KickBatch", "refusal"]

#: For how many seconds a store remembers the id of a batch of kicks. Only this process
#: repeats it, and stops long before (``txstathat.stores.batching.ENTRY_TIMEOUT``).
KICKS_ID_TTL = 600.0

# A sum is a list: the six fields of Addition, then the Deferreds of its kicks. (A list
# of their own would be one more for Python's garbage collector to look at.)
_WHOLE, _EVENTS, _LEAST, _MOST, _REAL, _REST, _DEFERREDS = range(7)


@implementer(IEntry)
class KickBatch:
    """
    Kicks of one Metrica that are written together.

    :param amounts: converts the additions to the amounts of a batch.
    :param begun: the time of the first kick, in seconds.

    :ivar encoded: whether it takes no more kicks.
    :ivar kicks: the number of kicks.
    :ivar sums: the sums, by label of the time bucket and distinct event.
    """

    def __init__(
        self,
        amounts: Callable[[dict[tuple[str, Event], Addition]], Amounts],
        begun: float,
    ) -> None:
        self._amounts = amounts
        self._id = uuid4().hex
        self.begun = begun
        self.encoded = False
        self.kicks = 0
        self.sums: dict[tuple[str, Event], list[Any]] = {}

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
        key = label, event
        found = self.sums.get(key)
        if found is None:
            found = self.sums[key] = [0, 0, amount, amount, None, 0.0]
        if type(amount) is int:
            whole = found[_WHOLE] + amount
            if not -MAX_INTEGER <= whole <= MAX_INTEGER:
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
        found.append(kicked)
        self.kicks += 1

    def encode(self) -> WriteBatch:
        """
        See :meth:`txstathat.stores.interface.IEntry.encode`.
        """
        self.encoded = True
        # Only this batch has this id, so no digest is needed. The result is not stored
        # here: it refers to this batch, and a cycle would be freed much later.
        return WriteBatch(self._id, "", self._batch_amounts, KICKS_ID_TTL)

    def _batch_amounts(self) -> Amounts:
        new, fields = tuple.__new__, _DEFERREDS  # faster than Addition(...)
        return self._amounts(
            {key: new(Addition, found[:fields]) for key, found in self.sums.items()}
        )

    def halves(self) -> list[KickBatch]:
        """
        Split the kicks into two batches. If a batch overflows, repeated splitting finds
        the kick that is too large in a few steps.
        """
        sums = list(self.sums.items())
        middle = len(sums) // 2
        halves = []
        for part in (sums[:middle], sums[middle:]):
            half = KickBatch(self._amounts, self.begun)
            half.sums.update(part)
            half.kicks = sum(found[_EVENTS] for _, found in part)
            halves.append(half)
        return halves

    def settle(self, result: Failure | None) -> None:
        """
        Fire the Deferreds of all kicks.

        :param result: ``None``, or the failure with which they fail.
        """
        for found in self.sums.values():
            for kicked in islice(found, _DEFERREDS, None):
                kicked.callback(cast(None, result))


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
