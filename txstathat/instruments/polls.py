"""
Periodic values, such as the length of a queue.
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
    A service that reads a value periodically and sends it as a stat::

        queued = poll(stats, "queue length", lambda: len(queue), 10)
        queued.setServiceParent(application)

    :param stats: where to send the value.
    :param name: the name of the stat.
    :param ask: reads the value. It returns a number, ``None`` to send nothing this
        time, or a Deferred (or coroutine) of either. A failure is counted as a loss,
        and the next turn tries again. It is not called while an earlier Deferred is
        pending.
    :param interval: seconds between calls, above 0. The first call is immediate.
    :param reactor: schedules the calls; the global reactor by default.
    :raises ValueError: if the interval is not above 0.
    :ivar losses: the values that could not be read or sent.
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
        self._pending: Deferred[Any] | None = None

    def startService(self) -> None:
        """
        Read the first value, and start the interval.
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
        Stop reading, and cancel a pending Deferred.
        """
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._pending is not None:
            self._pending.cancel()

    def _turn(self) -> Deferred[None]:
        # A LoopingCall stops at the first failure, so this must not fail.
        self._pending = pending = maybeDeferred(self._ask)
        return pending.addCallback(self._send).addErrback(self._lost)

    def _send(self, value: Any) -> None:
        self._pending = None
        if value is not None:
            self.losses.send(self._stats.value, self._stat_name, value)

    def _lost(self, failure: Failure) -> None:
        self._pending = None
        if self.running or not failure.check(CancelledError):
            self.losses.note(failure)
