"""
Batches that wait to be sent again, each with the time when it is due.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from txstathat.delivery.batch import SealedBatch

__all__ = ["RetryQueue"]

#: When a batch is due, its place among equals, and the batch.
_Entry = tuple[float, int, SealedBatch]


class RetryQueue:
    """
    Orders batches by the time at which they are due, on the monotonic clock.
    """

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[SealedBatch]:
        return (batch for _, _, batch in self._heap)

    @property
    def due(self) -> float:
        """
        When the first batch is due; infinity if the queue is empty.
        """
        return self._heap[0][0] if self._heap else math.inf

    def push(self, due: float, batch: SealedBatch) -> None:
        """
        Add a batch.
        """
        heapq.heappush(self._heap, (due, next(self._order), batch))

    def pop(self) -> SealedBatch:
        """
        Remove and return the batch that is due first.
        """
        return heapq.heappop(self._heap)[2]

    def remove(self, batch: SealedBatch) -> None:
        """
        Remove a batch.
        """
        self._replace(entry for entry in self._heap if entry[2] is not batch)

    def take(self, wanted: Callable[[SealedBatch], bool]) -> list[_Entry]:
        """
        Remove some batches.

        :returns: entries that :meth:`restore` accepts.
        """
        taken = [entry for entry in self._heap if wanted(entry[2])]
        self._replace(entry for entry in self._heap if not wanted(entry[2]))
        return taken

    def restore(self, entries: Iterable[_Entry]) -> None:
        """
        Add what :meth:`take` removed.
        """
        for entry in entries:
            heapq.heappush(self._heap, entry)

    def make_due(self) -> None:
        """
        Make every batch due at once, except those that may have arrived and should not
        be sent again soon.
        """
        for batch in self:
            batch.waiting = batch.resent > 0
        self._replace(
            (due if batch.waiting else -math.inf, order, batch)
            for due, order, batch in self._heap
        )

    def clear(self) -> None:
        """
        Remove every batch.
        """
        self._heap.clear()

    def _replace(self, entries: Iterable[_Entry]) -> None:
        self._heap = list(entries)
        heapq.heapify(self._heap)
