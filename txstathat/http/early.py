"""
Calls that are made before the program has installed a reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txstathat.at_exit import report_at_exit
from txstathat.http.result import CallDeferred

__all__ = ["EarlyCalls"]

_T = TypeVar("_T")


class EarlyCalls(Generic[_T]):
    """
    Holds calls until there is a reactor. Making them at once would install one, and the
    program could no longer choose its own.

    If the process ends before that, a line in the log says so.

    :param server: the server's URL in the log, without a secret.
    """

    _log = Logger()

    def __init__(self, server: str) -> None:
        self._server = server
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

        if not self._calls:
            report_at_exit(self)
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

    def report_exit(self) -> None:
        """
        Log what is left when the process ends. This is called automatically.
        """
        if self._calls:
            self._log.critical(
                "calls to {server} were not sent, since the program has not run a "
                "reactor: {calls}; scripts count with txstathat.blocking",
                server=self._server,
                calls=len(self._calls),
            )
