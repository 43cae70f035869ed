"""
Periodic values: what can only be asked for, such as the length of a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat

__all__ = ["poll"]


class poll(Service):
    """
    A service that asks for a value again and again, and sends it as a stat::

        queued = poll(stats, "queue length", lambda: len(queue), 10)
        queued.setServiceParent(application)

    :param stats: where to send it.
    :param name: the stat's name.
    :param ask: called for each value: returns a number, ``None`` for none this time, or
        a Deferred (or coroutine) of either. What it raises is counted among the losses,
        and it is asked again at the next turn. It is not asked while an earlier answer
        is still awaited.
    :param interval: how often to ask, in seconds: above 0. The first time is at once.
    :param reactor: what to wait with; the global reactor by default.
    :raises ValueError: if the interval is not above 0.
    :ivar losses: the values that could not be got or handed on.
    """

    def __init__(
        self,
        stats: IStatHat,
        name: str,
        ask: Callable[[], Any],
        interval: float,
        *,
        reactor: IReactorTime | None = None,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"interval must be above 0 seconds, not {interval!r}")
        self.losses = Losses(f"poll {name!r}")
        self._stats = stats
        self._stat_name = name
        self._ask = ask
        self._interval = interval
        self._reactor = reactor
        self._loop: LoopingCall | None = None
        self._asked: Deferred[Any] | None = None

    def startService(self) -> None:
        """
        Ask for the first value, and go on.
        """
        super().startService()
        self._loop = LoopingCall(self._turn)
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        self._loop.clock = self._reactor
        self._loop.start(self._interval)

    def stopService(self) -> None:
        """
        Ask no more, and cancel what is being asked.
        """
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._asked is not None:
            self._asked.cancel()

    def _turn(self) -> Deferred[None]:
        # A LoopingCall ends for good at the first failure: none may come out of here.
        self._asked = asked = maybeDeferred(self._ask)
        return asked.addCallback(self._send).addErrback(self._lost)

    def _send(self, value: Any) -> None:
        self._asked = None
        if value is not None:
            self.losses.watch(self._stats.value(self._stat_name, value))

    def _lost(self, failure: Failure) -> None:
        self._asked = None
        if self.running or not failure.check(CancelledError):
            self.losses.note(failure)
