"""
Delivery on devices with a clock that is wrong, and is put right.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.children import ChildrenTestCase
from tests.delivery import AWAY, FULL, OK, DeliveryTestCase, run
from tests.test_drills_sender import report
from tests.test_spool import FolderTestCase, batch
from txstathat.delivery.clock import ServiceClock

DAY = 86_400.0


class ServiceClockTests(SynchronousTestCase):
    """
    The three clocks.
    """

    def test_a_wall_clock_that_is_set(self) -> None:
        """Only the wall clock follows; time limits and ages do not."""
        wall = Clock()
        alsoProvides(wall, IReactorFromThreads)
        wall.advance(1_000_000)
        monotonic = [50.0]
        clock = ServiceClock(wall, lambda: monotonic[0])
        self.assertEqual(clock.steady(), 1_000_000)
        wall.advance(10 * DAY)
        monotonic[0] += 2
        self.assertEqual(clock.seconds(), 1_000_000 + 10 * DAY)
        self.assertEqual(clock.monotonic(), 52)
        self.assertEqual(clock.steady(), 1_000_002)

    def test_virtual_time(self) -> None:
        """A Clock is all three."""
        virtual = Clock()
        virtual.advance(7)
        clock = ServiceClock(virtual)
        self.assertEqual((clock.seconds(), clock.monotonic(), clock.steady()), (7,) * 3)

    def test_before_there_is_a_reactor(self) -> None:
        """Without a reactor the system's clocks are used."""
        clock = ServiceClock(None)
        self.assertLess(abs(clock.seconds() - time.time()), 60)
        self.assertLess(abs(clock.monotonic() - time.monotonic()), 60)


class AgeTests(FolderTestCase):
    """
    Age in the spool.
    """

    def test_batches_of_earlier_processes(self) -> None:
        """They are not dropped for their age before they are read."""
        earlier = self.folder()
        earlier.write([], [batch(n, created=1000 + n) for n in (1, 2)], 1000)
        earlier.close()
        folder = self.folder(max_age=100)
        self.adopt(folder)
        now = 1000 + 10 * DAY
        folder.write([], [batch(3, created=now - 200), batch(4, created=now)], now)
        folder.write([], [batch(5, created=now)], now)
        self.assertEqual(
            [(each.number, each.reason) for each in folder.take_dropped()], [(3, "old")]
        )
        self.assertEqual([each.number for each in folder.load(9)], [0, 0, 4, 5])


class RestartTests(DeliveryTestCase):
    """
    Age across a restart, in virtual time.
    """

    def leave(self, place: str) -> None:
        self.server.mood = lambda: AWAY
        service = self.make(spool=place)
        service.count("a")
        service.stopService()
        run(self.clock, 8)

    def test_one_attempt(self) -> None:
        """After a restart an old batch is sent once; if that fails it is dropped."""
        for mood, delivered, dropped in ((OK, 1, {}), (AWAY, 0, {"old": 1})):
            place = self.mktemp()
            self.leave(place)
            self.clock.advance(10 * DAY)
            before = len(self.server.ids)
            self.server.mood = lambda mood=mood: mood
            service = self.make(spool=place)
            run(self.clock, 30)
            self.assertEqual(len(self.server.ids), before + 1)
            self.assertEqual(service.health.delivered, delivered)
            self.assertEqual(service.health.dropped, dropped)


class ClockDrills(ChildrenTestCase):
    """
    Real processes, and a wall clock that is days behind.
    """

    def test_36_put_right(self) -> Any:
        """A clock that is put right, within a process and at a restart, drops nothing."""

        async def check() -> None:
            total = recovered = 0
            for number in range(20 if FULL else 2):
                # Busy, or cutting connections, while every other child lives.
                self.front.trouble = float(number % 2 == 0)
                child = self.spawn(
                    "clock",
                    steps=[[0, -10 * DAY], [0.8, 0]],
                    settings={"max_age": DAY},
                )
                await child.started()
                await self.wait(2.0)
                child.transport.signalProcess("TERM")  # type: ignore[union-attr]
                await child.ended
                self.assertEqual(child.health["dropped"], {}, child.health)
                total += child.health["recorded"]
                recovered += child.health["recovered"]
            self.front.trouble = 0.0
            health = await self.drain()
            self.assertGreater(recovered + health["recovered"], 0)
            self.assertEqual(health["dropped"], {})
            self.assertEqual(health["pending"], 0)
            points = self.received.totals["v"].points + self.sum("n")
            self.assertEqual(points, total)
            report(36, f"10 days behind, then put right: dropped 0 of {total} calls")

        return ensureDeferred(check())
