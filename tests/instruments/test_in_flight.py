"""
Work in flight, and stats that break their promise.
"""

from __future__ import annotations

import gc
from threading import Event
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import LogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data
from zope.interface import implementer

from tests.fixtures.support import logged, reactor
from txstathat.instruments import (
    KickStatHat,
    LogCounter,
    MeasuredResource,
    ReactorMeter,
    poll,
    timed,
)
from txstathat.interfaces import IKickProvider, IStatHatProvider
from txstathat.testing import MemoryStatHat


class InFlightTests(SynchronousTestCase):
    """What timed() knows of what has begun and not ended."""

    def setUp(self) -> None:
        self.stats = MemoryStatHat(ignore_errors=False)
        self.timed = timed(
            self.stats, "work", running="work running", seconds=Clock().seconds
        )

    @property
    def running(self) -> Any:
        return self.stats.values.get("work running")

    def test_deferreds(self) -> None:
        """Each begin sends how many run; each end, a failure too, is one less."""
        waiting: list[Deferred[None]] = []

        @self.timed
        def work() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        for _ in range(3):
            work().addErrback(lambda _: None)
        self.assertEqual(self.timed.in_flight, 3)
        waiting[0].callback(None)
        waiting[1].errback(ValueError())
        waiting[2].cancel()
        self.assertEqual(self.timed.in_flight, 0)
        work()
        self.assertEqual(self.running, [1, 2, 3, 1])

    def test_functions_and_blocks(self) -> None:
        """A function and a block run while they run, however they end."""

        @self.timed
        def work(fails: bool) -> int:
            if fails:
                raise KeyError
            return self.timed.in_flight

        with self.timed:
            self.assertEqual(work(False), 2)
            self.assertRaises(KeyError, work, True)
        self.assertEqual(self.timed.in_flight, 0)
        self.assertEqual(self.running, [1, 2, 2])

    def test_coroutines(self) -> None:
        """A coroutine runs from its first step; one that a function returns, from there."""
        gate: Deferred[None] = Deferred()

        async def wait() -> None:
            await gate

        for work, begun in ((self.timed(wait), 0), (self.timed(lambda: wait()), 1)):
            coroutine = work()
            self.assertEqual(self.timed.in_flight, begun)
            ended = ensureDeferred(coroutine)
            self.assertEqual(self.timed.in_flight, 1)
            gate.callback(None)
            self.successResultOf(ended)
            self.assertEqual(self.timed.in_flight, 0)
            gate = Deferred()
        self.assertEqual(self.running, [1, 1])

    def test_never_ends(self) -> None:
        """What waits for ever shows as a number that grows, garbage or not."""

        @self.timed
        @inlineCallbacks
        def generator() -> Any:
            yield Deferred()

        @self.timed
        async def coroutine() -> None:
            await Deferred()

        for _ in range(3):
            generator()
            ensureDeferred(coroutine())
            gc.collect()
        self.assertEqual(self.timed.in_flight, 6)
        self.assertEqual(self.running, [1, 2, 3, 4, 5, 6])
        self.assertNotIn("work", self.stats.values)

    def test_polled(self) -> None:
        """The number can be polled; without a name for it none is sent at a begin."""
        quiet = timed(self.stats, "work")
        clock = Clock()
        service = poll(
            self.stats, "in flight", lambda: quiet.in_flight, 10, reactor=clock
        )
        service.startService()
        with quiet:
            clock.advance(10)
        service.stopService()
        self.assertEqual(self.stats.values["in flight"], [0, 1])
        self.assertIsNone(self.running)


class ThreadPoolTests(TestCase):
    """A thread pool by name."""

    timeout = 30

    def test_queue(self) -> None:
        """ReactorMeter sends how many threads work, and how many calls wait."""
        pool = ThreadPool(1, 1)
        pool.start()
        begun, gate = Event(), Event()
        self.addCleanup(pool.stop)
        self.addCleanup(gate.set)
        pool.callInThread(lambda: (begun.set(), gate.wait(20)))
        self.assertTrue(begun.wait(20))
        for _ in range(3):
            pool.callInThread(gate.wait)
        stats, clock = MemoryStatHat(ignore_errors=False), Clock()
        meter = ReactorMeter(
            stats, prefix="web1 ", thread_pools={"db": pool}, reactor=clock
        )
        meter.startService()
        clock.advance(10)
        meter.stopService()
        self.assertEqual(stats.values["web1 threads db busy"], [1])
        self.assertEqual(stats.values["web1 threads db waiting"], [3])


@implementer(IStatHatProvider, IKickProvider)
class Raising:
    """Breaks the promise of its interfaces: it raises."""

    def count(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("canary")

    value = tick = kick = count


@implementer(IStatHatProvider)
class NoDeferreds:
    """Breaks it in another way: it returns nothing."""

    def count(self, *args: Any, **options: Any) -> Any:
        return None

    value = tick = count


class BrokenStatsTests(TestCase):
    """Stats that raise, or return no Deferred, are losses and break nothing."""

    timeout = 30

    def test_timed(self) -> None:
        """timed: the function's result and exception are as they were; one log line."""
        for stats in (Raising(), NoDeferreds()):
            work = timed(stats, "work", running="running", buckets=(10,))
            with logged() as log:
                self.assertEqual(work(lambda: 7)(), 7)
                self.assertRaises(ZeroDivisionError, work(lambda: 1 / 0))
            self.assertEqual(work.losses.total, 6)
            self.assertEqual(work.in_flight, 0)
            self.assertEqual(len(log.at_level("warn")), 1)
            self.assertNotIn("canary", log.text)

    async def test_timed_coroutine(self) -> None:
        """timed: so is a coroutine's."""

        async def seven() -> int:
            return 7

        self.assertEqual(await timed(Raising(), "work")(seven)(), 7)

    def test_logs(self) -> None:
        """A log observer: other observers get the event, and nothing is said of it."""
        for stats in (Raising(), NoDeferreds()):
            counter = LogCounter(stats)
            seen: list[Any] = []
            publisher = LogPublisher(counter, seen.append)
            event = {"log_namespace": "app", "log_format": "x", "log_level": None}
            with logged() as log:
                publisher(event)
            self.assertEqual(seen, [event])
            self.assertEqual(counter.losses.total, 1)
            self.assertEqual(len(log.at_level("warn")), 1)

    def test_poll(self) -> None:
        """poll: the next turn comes."""
        for stats in (Raising(), NoDeferreds()):
            clock = Clock()
            service = poll(stats, "n", lambda: 1, 10, reactor=clock)
            service.startService()
            clock.advance(10)
            service.stopService()
            self.assertEqual(service.losses.total, 2)

    def test_kicks(self) -> None:
        """KickStatHat: what the IKick raises goes through the Deferred."""
        stats = KickStatHat(Raising())
        self.failureResultOf(stats.count("a"), RuntimeError)
        self.assertIs(self.successResultOf(stats.count("a", ignore_errors=True)), False)
        self.failureResultOf(stats.count("a", t=1e30), ValueError, OverflowError)

    def test_reactor(self) -> None:
        """ReactorMeter: all the others of its points are lost as well, one by one."""
        clock = Clock()
        meter = ReactorMeter(Raising(), 10, probe=1, reactor=clock)
        meter.startService()
        clock.pump([1] * 20)
        meter.stopService()
        self.assertGreater(meter.losses.total, 20)

    async def test_requests(self) -> None:
        """MeasuredResource: the answer is whole."""
        stats = Raising()
        root = Resource()
        root.putChild(b"", Data(b"hello", "text/plain"))
        measured = MeasuredResource(root, stats=stats, metrica=stats)
        port = reactor.listenTCP(0, Site(measured), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/"
        response = await Agent(reactor).request(b"GET", url.encode())
        self.assertEqual(await readBody(response), b"hello")
        self.assertEqual(measured.losses.total, 1)
