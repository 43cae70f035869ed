"""
Calls that are made before the program has installed a reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from txstathat.http.result import CallDeferred

__all__ = ["EarlyCalls"]

_T = TypeVar("_T")


class EarlyCalls(Generic[_T]):
    """
    Holds calls until there is a reactor. To make them at once would install one, and
    the program could not choose its own any more.
    """

    def __init__(self) -> None:
        self._calls: dict[Deferred[_T], Callable[[], Deferred[_T]]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def hold(self, call: Callable[[], Deferred[_T]]) -> Deferred[_T]:
        """
        Hold a call.

        :param call: makes the call.
        :returns: a new Deferred, which fires as the call's does once it was made.
            Cancelling it forgets the call, or cancels it.
        """
        made: list[Deferred[_T]] = []

        def cancel(held: Deferred[_T]) -> None:
            self._calls.pop(held, None)
            for each in made:
                each.cancel()

        def make() -> Deferred[_T]:
            made.append(call())
            return made[0]

        held: Deferred[_T] = CallDeferred(cancel)
        self._calls[held] = make
        return held

    def release(self) -> None:
        """
        Make the calls, in their order.
        """
        calls, self._calls = self._calls, {}
        for held, make in calls.items():
            make().addBoth(held.callback)

    def fail(self, error: Exception) -> None:
        """
        Let all calls fail without making them.
        """
        calls, self._calls = self._calls, {}
        for held in calls:
            held.errback(error)
