"""
Timers, logs, polled values, the reactor, and stats as kicks.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from threading import get_ident
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    fail,
    inlineCallbacks,
    succeed,
)
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fixtures import ROOT
from tests.fixtures.kicked import Kicked
from txstathat.instruments import KickStatHat, LogCounter, ReactorMeter, poll, timed
from txstathat.interfaces import IStatHatProvider
from txstathat.testing import MemoryStatHat


class TimedTests(SynchronousTestCase):
    """What timed() measures, and what it does not change."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)

    def timed(self, name: str = "work", **options: Any) -> timed:
        return timed(self.stats, name, seconds=self.clock.seconds, **options)

    def test_plain_function(self) -> None:
        """A plain function is measured until it returns; its result is not changed."""

        @self.timed()
        def double(n: int) -> int:
            """Twice."""
            self.clock.advance(0.25)
            return 2 * n

        self.assertEqual(double(21), 42)
        self.assertEqual((double.__name__, double.__doc__), ("double", "Twice."))
        self.assertEqual(self.stats.values, {"work": [250.0]})

    def test_exception(self) -> None:
        """A function that raises is measured too; its exception is not changed."""
        error = KeyError("gone")

        @self.timed()
        def broken() -> None:
            self.clock.advance(0.1)
            raise error

        self.assertIs(self.assertRaises(KeyError, broken), error)
        self.assertEqual(self.stats.values, {"work": [100.0]})

    def test_failures_apart(self) -> None:
        """failures= names a stat for calls that fail."""

        @self.timed(failures="work failed")
        def maybe(works: bool) -> None:
            if not works:
                raise ValueError

        maybe(True)
        self.assertRaises(ValueError, maybe, False)
        self.assertEqual(self.stats.values, {"work": [0.0], "work failed": [0.0]})

    def test_deferred(self) -> None:
        """The same Deferred is returned, and measured until it fires."""
        waiting: Deferred[str] = Deferred()
        measured = self.timed()(lambda: waiting)()
        self.assertIs(measured, waiting)
        self.clock.advance(2)
        self.assertEqual(self.stats.points, [])
        waiting.callback("there")
        self.assertEqual(self.successResultOf(measured), "there")
        self.assertEqual(self.stats.values, {"work": [2000.0]})

    def test_deferred_fails(self) -> None:
        """A failure passes through, and is measured."""
        failing = self.timed(failures="bad")(lambda: fail(ZeroDivisionError()))
        self.failureResultOf(failing(), ZeroDivisionError)
        self.assertEqual(self.stats.values, {"bad": [0.0]})

    def test_cancelled(self) -> None:
        """Cancelling runs the canceller of the function, and counts as a failure."""
        cancelled: list[Deferred[None]] = []
        measured = self.timed(failures="bad")(lambda: Deferred(cancelled.append))()
        self.clock.advance(1)
        measured.cancel()
        self.assertEqual(cancelled, [measured])
        self.failureResultOf(measured, CancelledError)
        self.assertEqual(self.stats.values, {"bad": [1000.0]})

    def test_inline_callbacks(self) -> None:
        """An inlineCallbacks function is measured to its end, including its waits."""
        gate: Deferred[int] = Deferred()

        @self.timed()
        @inlineCallbacks
        def add() -> Any:
            one = yield gate
            return one + 1

        adding = add()
        self.clock.advance(3)
        gate.callback(1)
        self.assertEqual(self.successResultOf(adding), 2)
        self.assertEqual(self.stats.values, {"work": [3000.0]})

    def test_coroutine(self) -> None:
        """A coroutine function stays one, and is measured from its first step."""
        gate: Deferred[int] = Deferred()

        @self.timed()
        async def add(n: int) -> int:
            return n + await gate

        self.assertTrue(asyncio.iscoroutinefunction(add))
        coroutine = add(1)
        self.clock.advance(5)
        adding = ensureDeferred(coroutine)
        self.clock.advance(1)
        gate.callback(1)
        self.assertEqual(self.successResultOf(adding), 2)
        self.assertEqual(self.stats.values, {"work": [1000.0]})

    def test_coroutine_cancelled(self) -> None:
        """Cancelling a coroutine's Deferred cancels what it waits for."""
        gate: Deferred[int] = Deferred()

        @self.timed(failures="bad")
        async def wait() -> int:
            return await gate

        waiting = ensureDeferred(wait())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.stats.values, {"bad": [0.0]})

    def test_returned_coroutine(self) -> None:
        """A plain function that returns a coroutine is measured to its end."""

        async def two() -> int:
            self.clock.advance(1)
            return 2

        measured = self.timed()(lambda: two())
        self.assertEqual(self.successResultOf(ensureDeferred(measured())), 2)
        self.assertEqual(self.stats.values, {"work": [1000.0]})

    def test_block(self) -> None:
        """Blocks of code are measured, nested too; an exception passes through."""
        work = self.timed(failures="bad")
        with work:
            self.clock.advance(1)
            with work:
                self.clock.advance(1)
        self.assertEqual(self.stats.values, {"work": [1000.0, 2000.0]})
        with self.assertRaises(KeyError), work:
            raise KeyError
        self.assertEqual(self.stats.values["bad"], [0.0])

    def test_buckets(self) -> None:
        """Each duration counts in one bucket; a limit belongs to the bucket below it."""
        work = self.timed(buckets=(10, 100))
        for seconds in (0.001, 0.01, 0.0101, 0.1, 0.5):
            with work:
                self.clock.advance(seconds)
        self.assertEqual(
            self.stats.counts,
            {"work up to 10 ms": 2, "work up to 100 ms": 2, "work over 100 ms": 1},
        )

    def test_buckets_order(self) -> None:
        """Buckets that are not in rising order are refused; the message has them."""
        error = self.assertRaises(ValueError, self.timed, buckets=(10, 10))
        self.assertIn("(10, 10)", str(error))

    def test_generator(self) -> None:
        """Below inlineCallbacks timed() is refused: it would measure nothing."""

        def generator() -> Any:
            yield

        async def asynchronous() -> Any:
            yield

        for function in (generator, asynchronous):
            error = self.assertRaises(TypeError, self.timed(), function)
            self.assertIn("above inlineCallbacks", str(error))

    def test_methods(self) -> None:
        """All kinds of methods are measured; above their decorators it is refused."""
        time = self.timed()

        class Shop:
            @time
            def order(self, one: int) -> Any:
                return (self, one)

            @classmethod
            @time
            def open(cls) -> Any:
                return cls

            @staticmethod
            @time
            def closed() -> Any:
                return True

        shop = Shop()
        self.assertEqual(shop.order(1), (shop, 1))
        self.assertEqual((shop.open(), shop.closed()), (Shop, True))
        self.assertEqual(self.stats.values, {"work": [0.0] * 3})
        for kind in (classmethod, staticmethod, property):
            error = self.assertRaises(TypeError, time, kind(lambda: None))
            self.assertIn("below", str(error))

    def test_refused_point(self) -> None:
        """A point that is refused is counted as lost, and changes nothing else."""
        work = self.timed("")
        with work:
            pass
        self.assertEqual(work.losses.total, 1)
        self.assertEqual(self.successResultOf(self.timed("")(lambda: succeed(1))()), 1)


@implementer(IStatHatProvider)
class Logging(MemoryStatHat):
    """Logs while it counts; these events must not be counted."""

    def count(self, stat: str, *args: Any, **options: Any) -> Deferred[bool]:
        self.log.info("counting {stat}", stat=stat)
        return super().count(stat, *args, **options)


class LogTests(TestCase):
    """What LogCounter counts."""

    def setUp(self) -> None:
        self.stats = MemoryStatHat(ignore_errors=False)

    def log(self, counter: LogCounter, namespace: str = "app") -> Logger:
        return Logger(namespace, observer=LogPublisher(counter))

    def test_levels_and_namespaces(self) -> None:
        """An event is counted by level and namespace, unless it is below the minimum."""
        counter = LogCounter(self.stats)
        self.log(counter).info("one")
        self.log(counter).info("two")
        self.log(counter).debug("not this")
        self.log(counter, "app.db").error("three")
        self.assertEqual(self.stats.counts, {"log info app": 2, "log error app.db": 1})

    def test_failure(self) -> None:
        """A failure is also counted by its class."""
        counter = LogCounter(self.stats)
        self.log(counter).failure("oh", Failure(ZeroDivisionError()))
        self.assertEqual(
            self.stats.counts,
            {"log critical app": 1, "log failure ZeroDivisionError": 1},
        )

    def test_names(self) -> None:
        """Names are templates; an unknown field is refused, and the message lists all."""
        counter = LogCounter(
            self.stats,
            event_name="{namespace}/{level}",
            failure_name=None,
            minimum=LogLevel.debug,
        )
        self.log(counter).failure("oh", Failure(KeyError()), level=LogLevel.debug)
        self.assertEqual(self.stats.counts, {"app/debug": 1})
        error = self.assertRaises(
            ValueError, LogCounter, self.stats, event_name="{text}"
        )
        self.assertIn("{level}, {namespace}", str(error))

    def test_never_recurses(self) -> None:
        """Events that the counting logs are not counted."""
        stats = Logging()
        counter = LogCounter(stats)
        stats.log = self.log(counter)
        self.log(counter).info("one")
        self.assertEqual(stats.counts, {"log info app": 1})

    def test_never_counts_the_sending(self) -> None:
        """
        What logs while points are sent is not counted, whenever it logs; a name that
        only begins alike is.
        """
        counter = LogCounter(self.stats)
        self.log(counter, "txstathat.delivery").warn("no answer")
        self.log(counter, "twisted.web.client._HTTP11ClientFactory").info("Starting")
        self.log(counter, "txstathatter").info("one")
        self.assertEqual(self.stats.counts, {"log info txstathatter": 1})

    def test_bound(self) -> None:
        """Namespaces beyond the limit share one name."""
        counter = LogCounter(self.stats, max_namespaces=2)
        for n in range(5):
            self.log(counter, f"app{n}").info("one")
        self.assertEqual(
            self.stats.counts,
            {"log info app0": 1, "log info app1": 1, "log info other": 3},
        )

    def test_bare_event(self) -> None:
        """An event of the old logging system, without level or namespace, is counted."""
        LogCounter(self.stats)({"message": ("old",)})
        self.assertEqual(self.stats.counts, {"log info unknown": 1})

    def test_other_threads(self) -> Any:
        """Events of another thread are counted in the reactor's thread."""
        threads = []

        @implementer(IStatHatProvider)
        class Watching(MemoryStatHat):
            def count(self, stat: str, *args: Any, **options: Any) -> Deferred[bool]:
                threads.append(get_ident())
                return super().count(stat, *args, **options)

        stats = Watching()
        log = self.log(LogCounter(stats))
        logged = deferToThread(log.failure, "no", Failure(KeyError()))

        def counted(_: object) -> None:
            self.assertEqual(
                stats.counts, {"log critical app": 1, "log failure KeyError": 1}
            )
            self.assertEqual(threads, [get_ident()] * 2)

        return logged.addCallback(counted)

    def test_losses_are_logged_rarely(self) -> None:
        """The 1st, 10th and 100th lost point is logged with the class of the error."""
        heard: list[Any] = []
        globalLogPublisher.addObserver(heard.append)
        self.addCleanup(globalLogPublisher.removeObserver, heard.append)
        counter = LogCounter(self.stats, event_name="{namespace}")
        for _ in range(100):
            counter.losses.note(Failure(ValueError("a secret")))
        mine = [e for e in heard if e.get("log_namespace", "").startswith("txstathat")]
        self.assertEqual([event["total"] for event in mine], [1, 10, 100])
        self.assertEqual({event["error"] for event in mine}, {"ValueError"})


class PollTests(SynchronousTestCase):
    """Periodic values."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)

    def poll(self, ask: Any) -> poll:
        service = poll(self.stats, "queue", ask, 10, reactor=self.clock)
        service.startService()
        self.addCleanup(self.assertEqual, self.clock.getDelayedCalls(), [])
        self.addCleanup(service.stopService)
        return service

    def test_asks(self) -> None:
        """The value is sent at once and after each interval, until it is stopped."""
        queue = [1]
        service = self.poll(lambda: len(queue))
        queue.append(2)
        self.clock.advance(10)
        service.stopService()
        self.clock.advance(100)
        self.assertEqual(self.stats.values, {"queue": [1, 2]})

    def test_none(self) -> None:
        """None sends nothing this time."""
        answers = iter([1, None, 3])
        self.poll(lambda: next(answers))
        self.clock.pump([10, 10])
        self.assertEqual(self.stats.values, {"queue": [1, 3]})

    def test_raises(self) -> None:
        """A failure counts as a loss, and the next turn tries again."""
        answers = iter([lambda: 1 / 0, lambda: 2])
        service = self.poll(lambda: next(answers)())
        self.assertEqual(service.losses.total, 1)
        self.clock.advance(10)
        self.assertEqual(self.stats.values, {"queue": [2]})

    def test_waits(self) -> None:
        """It is not called again while a Deferred is pending."""
        asked: list[Deferred[int]] = []

        def ask() -> Deferred[int]:
            asked.append(Deferred())
            return asked[-1]

        self.poll(ask)
        self.clock.pump([10] * 5)
        self.assertEqual(len(asked), 1)
        asked[0].callback(7)
        self.clock.advance(10)
        self.assertEqual((len(asked), self.stats.values), (2, {"queue": [7]}))

    def test_stop_cancels(self) -> None:
        """Stopping cancels a pending Deferred, which is no loss."""
        waiting: Deferred[int] = Deferred()
        service = self.poll(lambda: waiting)
        service.stopService()
        self.assertEqual((service.losses.total, self.stats.points), (0, []))

    def test_coroutine(self) -> None:
        """A coroutine function works too."""

        async def ask() -> int:
            return 5

        self.poll(ask)
        self.assertEqual(self.stats.values, {"queue": [5]})

    def test_interval(self) -> None:
        """An interval of 0 is refused."""
        error = self.assertRaises(ValueError, poll, self.stats, "x", int, 0)
        self.assertIn("above 0 seconds, not 0", str(error))


class ReactorTests(SynchronousTestCase):
    """What ReactorMeter sends."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)
        self.late = 0.0
        self.meter = ReactorMeter(
            self.stats,
            10,
            reactor=self.clock,
            monotonic=lambda: self.clock.seconds() + self.late,
        )
        self.meter.startService()
        self.addCleanup(self.meter.stopService)

    def test_latency(self) -> None:
        """Latency is how late a call runs, in milliseconds, and never below 0."""
        self.clock.advance(1)
        self.late += 0.25
        self.clock.advance(1)
        self.late -= 5
        self.clock.advance(1)
        self.assertEqual(self.stats.values["reactor latency ms"], [0.0, 250.0, 0.0])

    def test_samples(self) -> None:
        """After an interval the stats of the reactor and the process are sent."""
        self.clock.callLater(1000, lambda: None)
        self.clock.pump([1] * 10)
        values = self.stats.values
        # The call above, the probe, and the next sample.
        self.assertEqual(values["reactor delayed calls"], [3])
        self.assertGreater(values["process memory MiB"][0], 5)
        self.assertGreater(values["process open descriptors"][0], 2)
        self.assertGreaterEqual(values["process cpu percent"][0], 0)

    def test_garbage_collections(self) -> None:
        """Garbage collections since the last sample are counted."""
        import gc

        self.clock.pump([1] * 10)
        before = self.stats.counts.get("process garbage collections", 0)
        for _ in range(3):
            gc.collect()
        self.clock.pump([1] * 10)
        after = self.stats.counts["process garbage collections"]
        self.assertGreaterEqual(after - before, 3)

    def test_stop(self) -> None:
        """After stopping nothing is scheduled."""
        self.meter.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_intervals(self) -> None:
        """Intervals of 0 are refused."""
        for options in ({"interval": 0}, {"probe": -1}):
            error = self.assertRaises(ValueError, ReactorMeter, self.stats, **options)
            self.assertIn("above 0 seconds", str(error))


REACTORS = """
import sys, time
from twisted.internet import {name}
{name}.install()
from twisted.internet import reactor
from txstathat.instruments import ReactorMeter
from txstathat.testing import MemoryStatHat
stats = MemoryStatHat()
meter = ReactorMeter(stats, 0.3, probe=0.05)
reactor.callWhenRunning(meter.startService)
reactor.callInThread(lambda: None)
reactor.callLater(0.1, time.sleep, 0.2)
reactor.callLater(0.5, meter.stopService)
reactor.callLater(0.5, reactor.stop)
reactor.run()
values = stats.values
assert 100 <= max(values["reactor latency ms"]) < 1000, values
assert min(values["reactor latency ms"]) < 100, values
for name in ("delayed calls", "readers", "writers", "threads busy", "threads waiting"):
    assert values["reactor " + name][0] >= 0, values
"""


class EveryReactorTests(SynchronousTestCase):
    """ReactorMeter on real reactors, each in a process of its own."""

    def check(self, name: str) -> None:
        ran = subprocess.run(
            [sys.executable, "-c", REACTORS.format(name=name)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=ROOT,
            check=False,
        )
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))

    def test_epoll(self) -> None:
        """On the epoll reactor a call that blocks shows as latency."""
        self.check("epollreactor")

    def test_asyncio(self) -> None:
        """On the asyncio reactor as well."""
        self.check("asyncioreactor")

    def test_select(self) -> None:
        """On the select reactor as well."""
        self.check("selectreactor")


class KickStatHatTests(SynchronousTestCase):
    """Stats as kicks of a Metrica."""

    def test_interface(self) -> None:
        """It provides IStatHat."""
        verifyObject(IStatHatProvider, KickStatHat(Kicked()))

    def test_kicks(self) -> None:
        """The stat's name is its choice on the axis, a time is a date in UTC."""
        kicked = Kicked()
        stats = KickStatHat(kicked)
        self.assertIs(self.successResultOf(stats.count("a", 2)), True)
        self.assertIs(self.successResultOf(stats.value("b", 1.5, t=60)), True)
        self.assertIs(self.successResultOf(stats.tick("c")), True)
        minute = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        self.assertEqual(
            kicked.kicks,
            [
                (2, None, {"stat": "a"}),
                (1.5, minute, {"stat": "b"}),
                (1, None, {"stat": "c"}),
            ],
        )

    def test_without_axis(self) -> None:
        """Without an axis the name of the stat is dropped."""
        kicked = Kicked()
        KickStatHat(kicked, axis=None).tick("a")
        self.assertEqual(kicked.kicks, [(1, None, {})])

    def test_failure(self) -> None:
        """A kick that fails is a failure, or False with ignore_errors."""
        stats = KickStatHat(Kicked(broken=True))
        self.failureResultOf(stats.count("a"), RuntimeError)
        self.assertIs(self.successResultOf(stats.count("a", ignore_errors=True)), False)
