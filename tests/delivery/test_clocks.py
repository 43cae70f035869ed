"""
Delivery on devices with a clock that is wrong, and is put right.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.fixtures.children import ChildrenTestCase
from tests.fixtures.delivery import AWAY, FULL, OK, DeliveryTestCase, run
from tests.fixtures.drills import report
from tests.fixtures.spool_cases import FolderTestCase, batch
from txstathat import txStatHat
from txstathat.delivery.loop import DeliveryLoop
from txstathat.delivery.process.clock import ServiceClock
from txstathat.delivery.settings import Settings

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


class SetClock(ServiceClock):
    """
    A wall clock that is set, over virtual time.
    """

    offset = 0.0

    def seconds(self) -> float:
        return super().seconds() + self.offset


class AgeInMemoryTests(DeliveryTestCase):
    """
    Age within one process.
    """

    def test_a_wall_clock_that_is_set(self) -> None:
        """Batches age by the time that passes, whichever way the wall clock is set."""
        for before, after in ((-10 * DAY, 0.0), (10 * DAY, 0.0)):
            clock = SetClock(self.clock)
            clock.offset = before
            client = txStatHat("canary-key", agent=self.server, reactor=self.clock)
            loop = DeliveryLoop(
                client,
                Settings(
                    interval=5.0,
                    max_batch=1,
                    max_pending=1000,
                    spool=None,
                    max_spool=1 << 20,
                    max_age=100.0,
                    shutdown_timeout=1.0,
                    on_ambiguous="resend",
                ),
                clock,
                on_rejected=None,
                jitter=random.Random(1).uniform,
            )
            loop.start()
            self.server.mood = lambda: AWAY
            for number in range(10):
                loop.open_batch.count(f"s{number}", 1, None, 5)
                loop.note_recorded(True)
                run(self.clock, 6)
                clock.offset = after
            self.assertEqual(loop.ledger.dropped, {})
            run(self.clock, 300, 5)
            # Old in fact.
            self.assertEqual(loop.ledger.dropped, {"old": 10})
            Deferred.fromCoroutine(loop.end())
            run(self.clock, 4)


class RestartTests(DeliveryTestCase):
    """
    Age across a restart, in virtual time.
    """

    def leave(self, place: str, batches: int = 1) -> None:
        """Let a service leave batches in a folder."""
        self.server.mood = lambda: AWAY
        service = self.make(spool=place, max_batch=1)
        for number in range(batches):
            service.count(f"stat {number}")
        service.stopService()
        run(self.clock, 8)

    def test_age_starts_anew(self) -> None:
        """After a restart a batch is not old; it is dropped after max_age once more."""
        for outage, delivered, dropped in (
            (0, 1, {}),
            (50, 1, {}),
            (500, 0, {"old": 1}),
        ):
            place = self.mktemp()
            self.leave(place)
            self.clock.advance(10 * DAY)
            before = len(self.server.ids)
            service = self.make(spool=place, max_age=100)
            run(self.clock, outage, 1)
            self.server.mood = lambda: OK
            run(self.clock, 400, 1)
            self.assertGreater(len(self.server.ids), before)
            self.assertEqual(service.health.delivered, delivered)
            self.assertEqual(service.health.dropped, dropped)

    def test_one_attempt_at_least(self) -> None:
        """What an outage kept from being sent is sent once, however old it is then."""
        place = self.mktemp()
        self.leave(place, 20)
        before = len(self.server.ids)
        service = self.make(spool=place, max_age=100)
        run(self.clock, 500, 5)
        tried = set(self.server.ids[before:])
        self.assertLess(len(tried), 15)
        self.server.mood = lambda: OK
        run(self.clock, 700, 5)
        self.assertEqual(service.health.pending, 0)
        self.assertEqual(service.health.dropped, {"old": len(tried)})
        self.assertEqual(service.health.delivered, 20 - len(tried))


class ClockDrills(ChildrenTestCase):
    """
    Real processes, and a wall clock that is days behind.
    """

    def test_36_put_right(self) -> Any:
        """A wrong clock that is put right, at once or at a restart, drops nothing."""

        async def check() -> None:
            total = recovered = 0
            for number in range(10 if FULL else 2):
                # Busy, or cutting connections, as long as a child lives.
                self.front.trouble = 1.0
                child = self.spawn(
                    "clock",
                    # A server refuses what is over a day ahead.
                    steps=[[0, (-10 * DAY, DAY / 2)[number % 2]], [0.8, 0]],
                    settings={"max_age": DAY / 4},
                )
                await child.started()
                await self.wait(2.0)
                child.transport.signalProcess("TERM")  # type: ignore[union-attr]
                await child.ended
                self.assertEqual(child.health["dropped"], {}, child.health)
                total += child.health["recorded"]
                recovered += child.health["recovered"]
            self.front.trouble = 0.0
            # One process adopts only some files at a time.
            while os.listdir(self.spool):
                health = await self.drain()
                self.assertEqual(health["dropped"], {})
                recovered += health["recovered"]
            self.assertGreater(recovered, 0)
            points = self.received.summaries["v"].points + self.sum("n")
            self.assertEqual(points, total)
            report(
                36,
                f"10 days behind or half a day ahead, then put right: dropped 0 of {total} calls",
            )

        return ensureDeferred(check())
