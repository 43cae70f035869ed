"""
The clocks of a service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime

__all__ = ["ServiceClock"]


class ServiceClock:
    """
    Tells the time by three clocks, and sets timers.

    A reactor's clock is the wall clock, which may be set at any time. A
    :class:`~twisted.internet.task.Clock` is never set, and serves as all three.

    :param reactor: ``None`` for the global reactor. It is imported when a timer is
        first set, since the import installs it.
    :param monotonic: the clock that never steps, in seconds.
    """

    def __init__(
        self,
        reactor: IReactorTime | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._given_monotonic = monotonic
        self._steady_offset: float | None = None

    @property
    def given_reactor(self) -> Any:
        """
        The reactor that was passed in or is in use; else ``None``.
        """
        return self._reactor

    @property
    def reactor(self) -> IReactorTime:
        """
        The reactor.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        return self._reactor

    def seconds(self) -> float:
        """
        The wall clock: points carry its time, in Unix seconds.
        """
        now: float = time.time() if self._reactor is None else self._reactor.seconds()
        return now

    def monotonic(self) -> float:
        """
        The clock of all time limits, in seconds.
        """
        reactor = self._reactor
        if reactor is None or IReactorFromThreads.providedBy(reactor):
            return self._given_monotonic()
        now: float = reactor.seconds()
        return now

    def steady(self) -> float:
        """
        The clock by which batches age: Unix seconds as the wall clock had them at the
        first call, and monotonic from then on.
        """
        if self._steady_offset is None:
            self._steady_offset = self.seconds() - self.monotonic()
        return self.monotonic() + self._steady_offset

    def call_later(self, delay: float, call: Callable[[], object]) -> IDelayedCall:
        """
        Set a timer.

        :param delay: in seconds.
        """
        return self.reactor.callLater(delay, call)
