"""
How many things may be under way at once, and who is next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["ConcurrencyLimit"]

T = TypeVar("T")


class ConcurrencyLimit:
    """
    Runs so many at once, the others in the order in which they came.

    What :class:`~twisted.internet.defer.DeferredSemaphore` does; but that recurses,
    once for each that ends at once, until Python's stack is used up.

    :param limit: how many may be under way.
    :ivar free: how many more may be begun now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free = limit
        self._line: dict[Deferred[Any], None] = {}
        self._starting = False

    @property
    def waiting(self) -> int:
        """
        How many are in line.
        """
        return len(self._line)

    def run(self, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        """
        Run something as soon as there is a slot.

        :param work: begins it, and returns a Deferred.
        :returns: a Deferred, which fires with its outcome. Cancelling it leaves the
            line, or cancels the work.
        """

        def begin(_: None) -> Deferred[T]:
            return maybeDeferred(work).addBoth(self._end)

        turn: Deferred[None] = Deferred(self._leave)
        outcome: Deferred[T] = turn.addCallback(begin)
        self._line[turn] = None
        self._start()
        return outcome

    def _leave(self, turn: Deferred[None]) -> None:
        del self._line[turn]

    def _start(self) -> None:
        # Whoever ends at once comes back to here: the loop goes on for all of them.
        if self._starting:
            return
        self._starting = True
        try:
            while self.free and self._line:
                turn = next(iter(self._line))
                del self._line[turn]
                self.free -= 1
                turn.callback(None)
        finally:
            self._starting = False

    def _end(self, outcome: Any) -> Any:
        self.free += 1
        self._start()
        return outcome
