"""
What an integration sends to, from its start to its end.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, cast

from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat

__all__ = ["OwnedStats"]


class OwnedStats:
    """
    An :class:`~txstathat.interfaces.IStatHat` that was made for a program, and starts
    and ends with it. A service is started and stopped; what has a ``close`` method is
    closed.

    :param stats: what to send to.
    :param losses: counts the points that are lost.
    """

    def __init__(self, stats: IStatHat, losses: Losses) -> None:
        self._stats = stats
        self._losses = losses
        self._waiting: set[Deferred[Any]] = set()

    def start(self) -> Deferred[Any]:
        """
        Begin.

        :returns: a Deferred that fires when a service has started, and fails if it
            cannot.
        """
        if IService.providedBy(self._stats):
            return maybeDeferred(cast(Any, self._stats).startService)
        return DeferredList([])

    def send(self, method: Literal["count", "value"], stat: str, amount: float) -> None:
        """
        Send a point; if it is lost, that is counted.

        :param method: which method of the stats takes it.
        :param stat: the name of the stat.
        :param amount: what to count, or the value.
        """
        # A client may swallow failures; here they are to show.
        send = partial(getattr(self._stats, method), ignore_errors=False)
        sending = self._losses.send(send, stat, amount)
        if sending is not None and not sending.called:
            self._waiting.add(sending)
            sending.addBoth(lambda _: self._waiting.discard(sending))

    def end(self, timeout: float, reactor: IReactorTime) -> Deferred[Any]:
        """
        Wait until the points are sent, and end.

        :param timeout: how long to wait at most, in seconds.
        :param reactor: what to wait with.
        :returns: a Deferred that fires at the end, and fails if it takes too long.
        """
        return self._end().addTimeout(timeout, reactor)

    def _end(self) -> Deferred[Any]:
        stats: Any = self._stats
        if IService.providedBy(stats):
            # It knows what to do with what is left, better than to wait.
            return maybeDeferred(stats.stopService)
        sent: Deferred[Any] = DeferredList(list(self._waiting))
        if hasattr(stats, "close"):
            sent.addCallback(lambda _: stats.close())
        return sent
