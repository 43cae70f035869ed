"""
Timers that follow the monotonic clock, whatever the wall clock does.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.support import logged
from txstathat.collector.alerts.notices import AlertNotice
from txstathat.collector.timers import MonotonicTimers, make_timers


class WallClock(Clock):
    """
    A reactor's timers, with a wall clock that can be set, and the monotonic time.
    """

    monotonic = 0.0

    def pass_time(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self.monotonic += seconds
        self.advance(seconds)

    def set_back(self, seconds: float) -> None:
        """Set the wall clock back."""
        self.rightNow -= seconds


class TimersTests(SynchronousTestCase):
    """
    ``MonotonicTimers``.
    """

    def setUp(self) -> None:
        self.reactor = WallClock()
        self.reactor.advance(1_000_000)
        self.timers = MonotonicTimers(self.reactor, lambda: self.reactor.monotonic)
        self.made: list[str] = []

    def test_in_order(self) -> None:
        """Calls are made when they are due, in order, and not if they are cancelled."""
        self.timers.callLater(3, self.made.append, "third")
        self.timers.callLater(1, self.made.append, "first")
        late = self.timers.callLater(2, self.made.append, "cancelled")
        self.timers.callLater(2, self.made.append, "second")
        late.cancel()
        self.assertEqual(len(self.timers.getDelayedCalls()), 3)
        for expected in (1, 2, 3):
            self.reactor.pass_time(1)
            self.assertEqual(len(self.made), expected)
        self.assertEqual(self.made, ["first", "second", "third"])
        self.assertEqual(self.timers.getDelayedCalls(), [])

    def test_reset(self) -> None:
        """A call can be put off and brought forward, again and again."""
        call = self.timers.callLater(5, self.made.append, "made")
        self.reactor.pass_time(4)
        call.reset(10)
        self.reactor.pass_time(9)
        self.assertEqual(self.made, [])
        call.reset(3)
        call.reset(2)
        call.delay(1)
        self.reactor.pass_time(2.5)
        self.assertEqual(self.made, [])
        self.reactor.pass_time(0.5)
        self.assertEqual(self.made, ["made"])
        self.reactor.pass_time(100)
        self.assertEqual(self.made, ["made"])

    def test_wall_clock_set_back(self) -> None:
        """After the wall clock is set back by an hour, a beat finds what is due."""
        loop = LoopingCall(self.made.append, "loop")
        loop.clock = self.timers
        loop.start(5, now=False)
        self.reactor.set_back(3600)
        self.reactor.pass_time(5)
        self.assertEqual(self.made, [])  # the reactor's own timer is late
        self.timers.run_due()
        self.assertEqual(self.made, ["loop"])
        # From then on the reactor's timer fits.
        self.reactor.pass_time(5)
        self.assertEqual(self.made, ["loop", "loop"])
        loop.stop()

    def test_wall_clock_set_forward(self) -> None:
        """After the wall clock is set forward, nothing is made too early."""
        self.timers.callLater(10, self.made.append, "made")
        self.reactor.advance(3600)
        self.assertEqual(self.made, [])
        self.reactor.pass_time(10)
        self.assertEqual(self.made, ["made"])

    def test_failures(self) -> None:
        """A call that fails is logged, and the others are made."""
        with logged() as log:
            self.timers.callLater(1, lambda: 1 / 0)
            self.timers.callLater(1, self.made.append, "made")
            self.reactor.pass_time(1)
        self.assertEqual(self.made, ["made"])
        self.assertIn("a delayed call failed", log.text)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_cancelled_calls_take_no_memory(self) -> None:
        """Many cancelled calls are not held until they would have been due."""
        for _ in range(10_000):
            self.timers.callLater(600, self.made.append, "made").cancel()
        self.assertLess(len(self.timers._calls), 500)
        self.reactor.pass_time(700)
        self.assertEqual(self.made, [])

    def test_a_clock(self) -> None:
        """A clock of tests is used as it is."""
        clock = Clock()
        self.assertIs(make_timers(clock), clock)


class NoticeTests(SynchronousTestCase):
    """
    Notices of alerts after the clock was set back.
    """

    def test_due(self) -> None:
        """An attempt further ahead than any delay is due now."""
        notice = AlertNotice("fired", 1, 0.0, 1, next_at=10_000.0)
        self.assertTrue(notice.is_due(10_000.0))
        self.assertFalse(notice.is_due(9_990.0))
        self.assertTrue(notice.is_due(10_000.0 - 3600))


class RealTimersTests(TestCase):
    """
    With a real reactor and thread.
    """

    def test_thread(self) -> Any:
        """The thread finds a call that is due although the reactor's timer is late."""

        class Late:
            """The reactor, of which the timers never come."""

            callFromThread = reactor.callFromThread

            def callLater(self, delay: float, *args: Any) -> Any:
                return Clock().callLater(delay, *args)

        timers = MonotonicTimers(Late())
        timers.start()
        self.addCleanup(timers.stop)
        began = time.monotonic()
        done = deferLater(timers, 0.1)

        def check(_: Any) -> None:
            self.assertLess(time.monotonic() - began, 10)

        checked: Deferred[None] = done.addCallback(check)
        return checked
