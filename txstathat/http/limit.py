"""
Limit how many operations run at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

__all__ = ["ConcurrencyLimit"]

T = TypeVar("T")


class ConcurrencyLimit:
    """
    Runs a limited number of operations at once, and the others in their order.

    :class:`~twisted.internet.defer.DeferredSemaphore` does the same, but recurses once
    for each operation that ends at once, until Python's stack overflows.

    :param limit: how many may run at once.
    :ivar free: how many more could start now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free = limit
        self._line: dict[Deferred[Any], None] = {}
        self._starting = False

    @property
    def waiting(self) -> int:
        """
        How many operations wait in line.
        """
        return len(self._line)

    def run(self, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        """
        Run an operation, as soon as the limit allows it.

        :param work: starts the operation; called without arguments.
        :returns: a new Deferred, which fires or fails as that of the operation.
            Cancelling it leaves the line, or cancels the operation.
        """

        def start(_: None) -> Deferred[T]:
            return maybeDeferred(work).addBoth(self._end)

        turn: Deferred[None] = Deferred(self._leave)
        outcome: Deferred[T] = turn.addCallback(start)
        self._line[turn] = None
        self._start()
        return outcome

    def _leave(self, turn: Deferred[None]) -> None:
        del self._line[turn]

    def _start(self) -> None:
        # An operation that ends at once calls this again: the loop is running already.
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
