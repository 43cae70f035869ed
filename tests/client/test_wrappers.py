"""
The wrappers: a prefix, several at once, and calls from other threads.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.fixtures.delivery import MemoryServer, balanced, make_service, run
from tests.fixtures.support import logged, reactor
from txstathat import (
    Count,
    InvalidPoint,
    NullStatHat,
    StatHatService,
    Value,
    tee,
    txStatHat,
    txStatHatClassic,
)
from txstathat.client.threads import CallQueue
from txstathat.interfaces import IStatHatProvider
from txstathat.testing import FakeStatHat, MemoryStatHat


class Raises:
    """Breaks the promise not to raise."""

    def count(self, stat: str, count: Any = 1, **options: Any) -> Any:
        raise RuntimeError("canary")

    value = count


class ScopedTests(SynchronousTestCase):
    """
    ``scoped()``: a prefix before each name.
    """

    def test_prefix(self) -> None:
        """Whatever is counted or measured has the prefix, and scopes add up."""
        stats = MemoryStatHat()
        web = stats.scoped("web1 ")
        self.assertTrue(verifyObject(IStatHatProvider, web))
        calls = [web.count("hits", 2, t=5), web.value("ms", 0.5), web.tick("hits")]
        calls += [web.stat("b").tick(), web.scoped("api ").count("c")]
        self.assertEqual([self.successResultOf(each) for each in calls], [True] * 5)
        self.assertEqual(
            stats.points,
            [
                Count("web1 hits", 2, 5), Value("web1 ms", 0.5), Count("web1 hits"),
                Count("web1 b"), Count("web1 api c"),
            ],
        )  # fmt: skip

    def test_expansion(self) -> None:
        """A name of the form PREFIX~A,B has the prefix in each stat."""
        stats = MemoryStatHat()
        self.successResultOf(stats.scoped("web1 ").count("hits~total,get"))
        self.assertEqual(set(stats.counts), {"web1 hits total", "web1 hits get"})

    def test_bad_names(self) -> None:
        """What is no name is refused as without a prefix; nothing is raised."""
        for stats in (MemoryStatHat(ignore_errors=True), make_service(Clock(), None)):
            web = stats.scoped("web1 ")
            bad: list[Any] = ["", None, 5, [], "x" * 253, "a\n", b"a"]
            for name in bad:
                self.assertIs(self.successResultOf(web.count(name)), False)
                failed = self.failureResultOf(web.value(name, 1, ignore_errors=False))
                self.assertIsInstance(failed.value, InvalidPoint)

    def test_bad_prefixes(self) -> None:
        """No wrapper is made for a prefix that no valid name can have."""
        bad: list[Any] = ["", None, 5, "a\n", "a~", "x" * 256]
        for prefix in bad:
            error = self.assertRaises(InvalidPoint, MemoryStatHat().scoped, prefix)
            self.assertEqual(error.field, "prefix")
            threads = NullStatHat().from_threads()
            self.assertRaises(InvalidPoint, threads.scoped, prefix)

    def test_keys_have_no_prefix(self) -> None:
        """With the Classic API, which names stats by keys, a prefix is refused."""
        classic = txStatHatClassic("canary-key")
        for stats in (classic, StatHatService(classic), tee(classic, NullStatHat())):
            error = self.assertRaises(InvalidPoint, stats.scoped, "web1 ")
            self.assertIn("Classic API", str(error))
            self.assertNotIn("canary", str(error))

    def test_client(self) -> None:
        """A client is scoped too, and says so without its key."""
        fake = FakeStatHat()
        client = txStatHat("canary-key", agent=fake.agent, reactor=Clock())
        web = client.scoped("web1 ")
        self.assertIs(self.successResultOf(web.count("hits")), True)
        self.assertEqual(fake.points, [Count("web1 hits")])
        self.assertIn("'web1 '", repr(web))
        self.assertNotIn("canary", repr(web))


class TeeTests(SynchronousTestCase):
    """
    ``tee()``: each point goes to several.
    """

    def test_both(self) -> None:
        """Both get each point, and it fires with True when both do."""
        one, two, three = MemoryStatHat(), MemoryStatHat(), MemoryStatHat()
        both = tee(one, two, three)
        self.assertTrue(verifyObject(IStatHatProvider, both))
        calls = [both.count("a", 2, t=1), both.value("b", 3), both.tick("a")]
        calls += [both.stat("c").count(), both.scoped("web1 ").count("d")]
        self.assertEqual([self.successResultOf(each) for each in calls], [True] * 5)
        self.assertEqual(len(one.points), 5)
        self.assertEqual(one.points, two.points)
        self.assertEqual(one.points, three.points)

    def test_it_waits_for_all(self) -> None:
        """It fires when the last of them has."""
        slow = MemoryStatHat()
        pending: Deferred[bool] = Deferred()
        slow.count = lambda *args, **options: pending  # type: ignore[method-assign]
        called = tee(slow, MemoryStatHat()).count("a")
        self.assertNoResult(called)
        pending.callback(False)
        self.assertIs(self.successResultOf(called), False)

    def test_one_that_raises(self) -> None:
        """One that raises does not disturb the other, and is logged once."""
        good = MemoryStatHat()
        for both in (tee(Raises(), good), tee(good, Raises())):
            with logged() as log:
                results = [both.count("a"), both.value("a", 1), both.tick("a")]
            self.assertEqual([self.successResultOf(r) for r in results], [False] * 3)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assertEqual(len(log.at_level("critical")), 1)
        self.assertEqual(len(good.points), 6)

    def test_failures_that_are_asked_for(self) -> None:
        """With ignore_errors=False it fails as the first did; the others are counted."""
        good = MemoryStatHat()
        failing = tee(Raises(), good).count("a", ignore_errors=False)
        self.failureResultOf(failing, RuntimeError)
        strict = tee(MemoryStatHat(ignore_errors=False), good)
        self.failureResultOf(strict.count(""), InvalidPoint)
        self.assertEqual(good.points, [Count("a")])

    def test_cancelling(self) -> None:
        """Cancelling cancels what is under way."""
        cancelled: list[Any] = []
        slow = MemoryStatHat()
        pending: Deferred[bool] = Deferred(cancelled.append)
        slow.count = lambda *args, **options: pending  # type: ignore[method-assign]
        called = tee(slow, MemoryStatHat()).count("a")
        called.cancel()
        self.failureResultOf(called, CancelledError)
        self.assertEqual(cancelled, [pending])

    def test_what_cannot_count(self) -> None:
        """Anything without count and value is refused in words, without showing it."""
        for bad in ("canary", None, txStatHat, 5):
            error = self.assertRaises(TypeError, tee, MemoryStatHat(), bad)
            self.assertIn("count() and value()", str(error))
            self.assertNotIn("canary", str(error))

    def test_from_threads(self) -> None:
        """Each part gets what threads count; True when all of them take it."""
        one, clock = MemoryStatHat(), Clock()
        service = make_service(clock, None)
        threads = tee(one, service).from_threads()
        self.assertIs(threads.count("a"), True)
        self.assertEqual((one.counts, service.health.recorded), ({"a": 1}, 1))
        service.stopService()
        self.assertIs(threads.count("a"), False)
        self.assertEqual(one.counts, {"a": 2})
        error = self.assertRaises(TypeError, tee(one, Raises()).from_threads)
        self.assertIn("Raises has no from_threads()", str(error))
        run(clock, 8)


class CallQueueTests(SynchronousTestCase):
    """
    The queue between threads and the reactor's, with a reactor that is turned by hand.
    """

    def setUp(self) -> None:
        self.turns: list[Callable[[], object]] = []
        self.stats = MemoryStatHat()

    def callFromThread(self, turn: Callable[[], object]) -> None:
        self.turns.append(turn)

    def turn(self) -> None:
        turns, self.turns = self.turns, []
        for each in turns:
            each()

    def test_one_turn_for_many(self) -> None:
        """Calls wait for the reactor's turn, in their order; one turn makes many."""
        queue = CallQueue(self.stats, lambda: self)
        for number in range(3):
            self.assertIs(queue.put(True, "a", number, None), True)
        self.assertIs(queue.put(False, "b", 0.5, 7), True)
        self.assertEqual((self.stats.points, len(self.turns)), ([], 1))
        self.turn()
        self.assertEqual(
            self.stats.points,
            [Count("a", 0), Count("a", 1), Count("a", 2), Value("b", 0.5, 7)],
        )
        self.turn()
        self.assertEqual(len(self.stats.points), 4)

    def test_turns_are_short(self) -> None:
        """A turn does not hold the reactor for long: thousands of calls take several."""
        queue = CallQueue(self.stats, lambda: self)
        for _ in range(12_000):
            queue.put(True, "a", 1, None)
        turns = 0
        while self.turns:
            self.turn()
            turns += 1
        self.assertEqual((self.stats.counts, turns), ({"a": 12_000}, 3))

    def test_bound(self) -> None:
        """No more wait than the limit; others are refused, counted and logged once."""
        queue = CallQueue(self.stats, lambda: self, limit=2)
        taken = [queue.put(True, "a", 1, None) for _ in range(5)]
        self.assertEqual(taken, [True, True, False, False, False])
        with logged() as log:
            self.turn()
            taken = [queue.put(True, "a", 1, None) for _ in range(3)]
            self.turn()
        self.assertEqual(taken, [True, True, False])
        self.assertEqual((self.stats.counts, queue.refused), ({"a": 4}, 4))
        self.assertEqual(len(log.at_level("warn")), 1)

    def test_no_reactor_yet(self) -> None:
        """Calls before there is a reactor wait for it."""
        found: list[Any] = [None]
        queue = CallQueue(self.stats, lambda: found[0])
        queue.put(True, "a", 1, None)
        found[0] = self
        queue.put(True, "a", 1, None)
        self.turn()
        self.assertEqual(self.stats.counts, {"a": 2})

    def test_close(self) -> None:
        """Closing makes the calls that were taken, and refuses those that follow."""
        queue = CallQueue(self.stats, lambda: self)
        queue.put(True, "a", 1, None)
        queue.close()
        self.assertIs(queue.put(True, "a", 1, None), False)
        self.assertEqual((self.stats.counts, queue.refused), ({"a": 1}, 1))

    def test_what_raises(self) -> None:
        """Neither a broken reactor nor a broken client raises into a thread."""
        broken: Any = object()
        queue = CallQueue(Raises(), lambda: broken)
        self.assertIs(queue.put(True, "a", 1, None), True)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

        class Stopped:
            def callFromThread(self, turn: object) -> None:
                raise OSError("closed")

        queue = CallQueue(self.stats, Stopped)
        self.assertIs(queue.put(True, "a", 1, None), True)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class FromThreadsTests(TestCase):
    """
    Real threads and the real reactor.
    """

    timeout = 60
    THREADS, CALLS = 6, 4_000

    def setUp(self) -> None:
        before = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, before)
        sys.setswitchinterval(1e-6)
        self.fake = FakeStatHat()

    def make(self, **settings: Any) -> StatHatService:
        client = txStatHat("key", agent=self.fake.agent, reactor=reactor)
        return StatHatService(client, clock=reactor, **settings)

    def count(self, stats: Any, at: Callable[[int], object] = lambda call: None) -> Any:
        """Count in many threads; fires with how many calls each was promised."""

        def work(number: int) -> int:
            promised = 0
            for call in range(self.CALLS):
                taken = stats.count("all"), stats.count(f"stat {number}", 2)
                assert None not in taken
                promised += sum(taken)
                at(call)
            return promised

        async def gather() -> list[int]:
            working = [deferToThread(work, n) for n in range(self.THREADS)]
            return [await each for each in working]

        return Deferred.fromCoroutine(gather())

    def test_sums_are_exact(self) -> Any:
        """Many threads count on one service at a short switch interval: all is there."""

        async def check() -> None:
            service = self.make()
            service.startService()
            promised = await self.count(service.from_threads())
            self.assertEqual(promised, [2 * self.CALLS] * self.THREADS)
            await service.flush()
            await service.stopService()
            totals = self.fake.totals
            self.assertEqual(totals["all"], self.THREADS * self.CALLS)
            for number in range(self.THREADS):
                self.assertEqual(totals[f"stat {number}"], 2 * self.CALLS)
            self.assertEqual(service.health.delivered, 2 * self.THREADS * self.CALLS)

        return ensureDeferred(check())

    def test_while_it_starts_and_stops(self) -> Any:
        """Threads that begin before the start and go on after the stop lose nothing."""

        async def check() -> None:
            service = self.make(interval=0.01)
            begun, ended = threading.Event(), threading.Event()

            def at(call: int) -> None:
                if call == 100:
                    begun.set()
                if call == self.CALLS * 3 // 4:
                    ended.wait()

            counting = self.count(service.from_threads(), at)
            await deferToThread(begun.wait)
            service.startService()
            await service.flush()
            await service.stopService()
            ended.set()
            promised = sum(await counting)
            health = service.health
            self.assertTrue(balanced(health))
            self.assertEqual(health.delivered, promised)
            self.assertEqual(
                health.recorded + health.refused, 2 * self.THREADS * self.CALLS
            )
            self.assertGreater(promised, 0)

        return ensureDeferred(check())

    def test_client(self) -> Any:
        """Threads count on a client, and what was taken is sent before it closes."""

        async def check() -> None:
            client = txStatHat("key", agent=self.fake.agent, reactor=reactor)
            threads = client.from_threads()
            self.CALLS = 100
            promised = await self.count(threads.scoped("web1 "))
            await client.close()
            self.assertIs(threads.count("late"), False)
            self.assertEqual(promised, [200] * self.THREADS)
            self.assertEqual(self.fake.totals["web1 all"], 100 * self.THREADS)

        return ensureDeferred(check())

    def test_the_same_queue(self) -> Any:
        """Threads that ask for it at the same time count into one queue."""

        async def check() -> None:
            service = self.make()
            gates = threading.Barrier(self.THREADS)

            def work() -> bool:
                gates.wait()
                return service.from_threads().count("a")

            working = [deferToThread(work) for _ in range(self.THREADS)]
            self.assertEqual([await w for w in working], [True] * self.THREADS)
            service.startService()
            await service.stopService()
            self.assertEqual(self.fake.totals["a"], self.THREADS)

        return ensureDeferred(check())


class NullThreadsTests(SynchronousTestCase):
    """
    Objects that any thread may use as they are.
    """

    def test_at_once(self) -> None:
        """The null object and the fake are counted with at once; a Clock's service too."""
        self.assertIs(NullStatHat().from_threads().tick("a"), True)
        fake, clock = MemoryStatHat(), Clock()
        threads = fake.from_threads()
        self.assertEqual((threads.count("a", 2), threads.value("b", 1)), (True, True))
        self.assertEqual(fake.points, [Count("a", 2), Value("b", 1)])
        service = make_service(clock, MemoryServer(clock))
        bad: Any = None
        taken = service.from_threads().count(bad, ignore_errors=False)
        self.assertEqual((taken, service.health.refused), (True, 1))
        service.stopService()
        run(clock, 8)
