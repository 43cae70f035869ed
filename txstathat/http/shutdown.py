"""
Let the reactor wait for what is in progress before it stops.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorCore, IReactorTime

__all__ = ["ShutdownWait"]


class ShutdownWait:
    """
    A shutdown trigger that exists only while work is in progress, so that the reactor
    has no reference to work that has ended.

    :param limit: the longest time that the reactor waits, in seconds.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._reactor: Any = None
        self._trigger: Any = None
        self._timer: IDelayedCall | None = None
        self._waiting: Deferred[None] | None = None

    def begin(self, reactor: IReactorTime) -> None:
        """
        Note that work is in progress.

        :param reactor: without
            :class:`~twisted.internet.interfaces.IReactorCore`, as a
            :class:`~twisted.internet.task.Clock` is, it does not stop.
        """
        busy = self._trigger is not None or self._waiting is not None
        if not busy and IReactorCore.providedBy(reactor):
            self._reactor = reactor
            self._trigger = reactor.addSystemEventTrigger(
                "before", "shutdown", self._wait
            )

    def end(self) -> None:
        """
        Note that no work is in progress any more.
        """
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            self._reactor.removeSystemEventTrigger(trigger)
        waiting, self._waiting = self._waiting, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if waiting is not None:
            waiting.callback(None)

    def _wait(self) -> Deferred[None]:
        # The trigger has fired: it must not be removed any more.
        self._trigger = None
        self._waiting = Deferred()
        self._timer = self._reactor.callLater(self._limit, self.end)
        return self._waiting
