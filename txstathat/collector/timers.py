"""
Timers that follow the monotonic clock.

The timers of a reactor follow the wall clock: when that is set back by an hour, they
are an hour late.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, cast

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFromThreads,
    IReactorTime,
)
from twisted.logger import Logger
from zope.interface import implementer

__all__ = ["BEAT_SECONDS", "MonotonicTimers", "make_timers"]

#: How late a timer can be after the wall clock is set back, in seconds.
BEAT_SECONDS = 1.0

# Cancelled calls are removed when there are this many, and they are most of all calls.
_MANY_CANCELLED = 100


class IThreadedReactor(IReactorTime, IReactorFromThreads):
    """The parts of a reactor that timers use: time, and calls from threads."""


@implementer(IReactorTime)
class MonotonicTimers:
    """
    Delayed calls in a reactor's thread, by the monotonic clock.

    A call is started by a timer of the reactor. In case that is late, a thread looks
    for due calls every :data:`BEAT_SECONDS`.

    :param reactor: the reactor.
    :param monotonic: returns the monotonic time in seconds.
    """

    _log = Logger()

    def __init__(
        self, reactor: IThreadedReactor, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._numbers = count()
        self._cancelled = 0
        # The reactor's timer for the first call, and when that is due.
        self._timer: IDelayedCall | None = None
        self._timer_due = 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """
        Start the thread.
        """
        self._stopped.clear()
        # A daemon thread does not keep the process from ending.
        self._thread = threading.Thread(
            target=self._beat, name="txstathat-timers", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """
        Stop the thread. Calls that are due later are still made, by the reactor's
        timer.
        """
        self._stopped.set()

    def _beat(self) -> None:
        # Event.wait follows the monotonic clock.
        while not self._stopped.wait(BEAT_SECONDS):
            self._reactor.callFromThread(self.run_due)

    def seconds(self) -> float:
        """
        Return the monotonic time in seconds.
        """
        return self._monotonic()

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any
    ) -> IDelayedCall:
        """
        See :meth:`twisted.internet.interfaces.IReactorTime.callLater`.
        """
        due = self.seconds() + delay
        call = DelayedCall(
            due, callable, args, kw, self._call_cancelled, self._add, self.seconds
        )
        self._add(call)
        return call

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """
        See :meth:`twisted.internet.interfaces.IReactorTime.getDelayedCalls`.
        """
        return [call for _, _, call in self._calls if call.active()]

    def run_due(self) -> None:
        """
        Make the calls that are due.
        """
        while self._calls and self._calls[0][0] <= self.seconds():
            due, _, call = heappop(self._calls)
            if call.cancelled:
                self._cancelled -= 1
            elif call.called or call.getTime() < due:
                pass  # reset to an earlier time, for which there is another entry
            elif call.getTime() > due:
                call.activate_delay()
                self._push(call)
            else:
                call.called = 1
                try:
                    call.func(*call.args, **call.kw)
                except Exception:
                    self._log.failure("a delayed call failed")
        self._set_timer()

    def _add(self, call: DelayedCall) -> None:
        self._push(call)
        self._set_timer()

    def _push(self, call: DelayedCall) -> None:
        heappush(self._calls, (call.getTime(), next(self._numbers), call))

    def _call_cancelled(self, call: DelayedCall) -> None:
        self._cancelled += 1
        while self._calls and self._is_over(self._calls[0][2], call):
            heappop(self._calls)
        if not self._calls:
            # A reactor with a timer would not be clean at the end of a test.
            self._cancelled = 0
            self._set_timer()
        elif self._cancelled > max(_MANY_CANCELLED, len(self._calls) // 2):
            self._calls = [one for one in self._calls if one[2].active()]
            heapify(self._calls)
            self._cancelled = 0

    @staticmethod
    def _is_over(call: DelayedCall, cancelled: DelayedCall) -> bool:
        return call is cancelled or not call.active()

    def _set_timer(self) -> None:
        due = self._calls[0][0] if self._calls else None
        timer = self._timer
        if timer is not None:
            # A timer that should have been called is late: the wall clock was set back.
            late = self._timer_due <= self.seconds()
            if due is not None and self._timer_due <= due and not late:
                return
            timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_due = due
            delay = max(0.0, due - self.seconds())
            self._timer = self._reactor.callLater(delay, self._timer_called)

    def _timer_called(self) -> None:
        self._timer = None
        self.run_due()


def make_timers(reactor: IReactorTime) -> IReactorTime:
    """
    Return monotonic timers for a reactor. A :class:`~twisted.internet.task.Clock` is
    returned as it is: it has no threads, and its time does not step.
    """
    if IReactorFromThreads.providedBy(reactor):
        return MonotonicTimers(cast(IThreadedReactor, reactor))
    return reactor
