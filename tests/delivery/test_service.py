"""
The service in virtual time, against a server in memory.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from zope.interface.verify import verifyObject

from tests.fixtures.delivery import (
    AWAY,
    HANG,
    LOSE_REPLY,
    LOSE_REQUEST,
    OK,
    DeliveryTestCase,
    accounted,
    make_service,
    run,
)
from tests.fixtures.support import logged
from txstathat import (
    Count,
    FlushResult,
    InvalidPoint,
    StatHatAPIError,
    StatHatClosed,
    StatHatService,
    Value,
    txStatHat,
    txStatHatClassic,
)
from txstathat.http.connections.pool import IDLE_TIMEOUT
from txstathat.interfaces import IStatHatProvider
from txstathat.points.amounts import MAX_INTEGER


class RecordingTests(DeliveryTestCase):
    """
    What the caller sees.
    """

    def test_interface(self) -> None:
        """The service provides the interface of the clients."""
        self.assertTrue(verifyObject(IStatHatProvider, self.make()))

    def test_recorded(self) -> None:
        """Each call returns a new Deferred that has fired with True."""
        service = self.make()
        calls = [service.count("a"), service.count("a"), service.tick("a")]
        calls += [service.value("v", 0.5), service.count("a", 2.5, t=7)]
        self.assertEqual([self.successResultOf(call) for call in calls], [True] * 5)
        self.assertEqual(len(set(map(id, calls))), 5)
        self.assertEqual(service.health.recorded, 5)
        self.assertEqual(service.health.pending, 5)

    def test_bound(self) -> None:
        """A bound stat counts through the service."""
        service = self.make()
        signups = service.stat("signups")
        self.assertIs(self.successResultOf(signups.tick()), True)
        self.assertIs(self.successResultOf(signups.count(4)), True)
        self.successResultOf(service.flush())
        self.assertEqual(self.server.sums, {"signups": 5})

    def test_refused(self) -> None:
        """A bad point fires with False, or fails if asked to; nothing is recorded."""
        service = self.make()
        service.count("known")
        bad: list[Any] = [
            ("", 1), (None, 1), ([], 1), ({}, 1), ("x" * 256, 1), ("a\n", 1),
            ("known", True), ("known", float("nan")), ("known", None), ("known", "1"),
            ("known", 2**63), ("known", 10**5000), ("known", Decimal("NaN")),
            ("new", False), ("a~", 1),
        ]  # fmt: skip
        for stat, amount in bad:
            for call in (service.count, service.value):
                self.assertIs(self.successResultOf(call(stat, amount)), False)
                failing = call(stat, amount, ignore_errors=False)
                self.assertIsInstance(self.failureResultOf(failing).value, InvalidPoint)
        for t in (-1, True, "1", 1e12, datetime(2020, 1, 1)):
            self.assertIs(self.successResultOf(service.count("known", t=t)), False)
        self.assertEqual(service.health.recorded, 1)
        self.assertEqual(service.health.refused, 4 * len(bad) + 5)

    def test_hostile_name(self) -> None:
        """Whatever a name does when it is looked up, nothing is raised."""

        class Hostile:
            def __hash__(self) -> int:
                raise RuntimeError("no")

        service = self.make()
        self.assertIs(self.successResultOf(service.count(Hostile())), False)
        self.assertIs(self.successResultOf(service.value(Hostile(), 1)), False)

    def test_before_start(self) -> None:
        """Points that are recorded before the start are delivered after it."""
        service = self.make(started=False)
        service.count("early")
        run(self.clock, 20)
        self.assertEqual(self.server.times, [])
        service.startService()
        run(self.clock, 6)
        self.assertEqual(self.server.sums, {"early": 1})

    def test_after_stop(self) -> None:
        """After the end nothing is recorded, and a caller who asks learns why."""
        service = self.make()
        service.count("a")
        service.stopService()
        self.assertIs(self.successResultOf(service.count("a")), False)
        failing = service.count("a", ignore_errors=False)
        self.failureResultOf(failing, StatHatClosed)
        self.assertEqual(self.server.sums, {"a": 1})

    def test_stopped_before_start(self) -> None:
        """A service that never started counts its points as dropped."""
        service = self.make(started=False)
        service.count("a", 5)
        self.successResultOf(service.stopService())
        self.assertEqual(service.health.dropped, {"shutdown": 1})

    def test_in_a_tree(self) -> None:
        """As part of a service tree it starts and stops with it."""
        tree = MultiService()
        service = make_service(self.clock, self.server)
        service.setServiceParent(tree)
        tree.startService()
        service.count("a")
        self.successResultOf(tree.stopService())
        self.assertEqual(self.server.sums, {"a": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_settings(self) -> None:
        """A setting out of range is a ValueError that names it."""
        client = txStatHat("key")
        for setting in (
            {"interval": 0}, {"max_batch": 0}, {"max_pending": 10}, {"max_spool": 1},
            {"max_age": 0}, {"shutdown_timeout": -1}, {"interval": float("nan")},
            {"on_ambiguous": "maybe"}, {"max_batch": True}, {"max_batch": 10_001},
        ):  # fmt: skip
            with self.assertRaisesRegex(ValueError, next(iter(setting))):
                StatHatService(client, **setting)


class WindowTests(DeliveryTestCase):
    """
    How what was recorded becomes points.
    """

    def points(self) -> list[Any]:
        return sorted(self.server.fake.points, key=repr)

    def test_counts_are_summed(self) -> None:
        """Counts of a stat become one point, at the window's start."""
        service = self.make()
        service.count("a", 2)
        self.clock.advance(2)
        service.count("a", 40)
        run(self.clock, 5)
        self.assertEqual(self.points(), [Count("a", 42, 1_000_000)])

    def test_windows(self) -> None:
        """Each window is a point of its own."""
        service = self.make()
        for _ in range(3):
            service.count("a")
            run(self.clock, 10)
        starts = [1_000_000, 1_000_010, 1_000_020]
        self.assertEqual(self.points(), [Count("a", 1, t) for t in starts])

    def test_recording_all_the_time(self) -> None:
        """Further points do not put off the end of a window."""
        service = self.make()
        for amount in range(20):
            service.value("v", amount)
            self.clock.advance(0.5)
        self.assertIn(len(self.server.times), (2, 3, 4))

    def test_timed_counts(self) -> None:
        """Counts with a time are summed by second."""
        service = self.make()
        for t in (5, 5.5, datetime.fromtimestamp(5, UTC), 6):
            service.count("a", t=t)
        run(self.clock, 5)
        self.assertEqual(self.points(), [Count("a", 1, 6), Count("a", 3, 5)])

    def test_values_are_not_summed(self) -> None:
        """Values are not summed; each carries the time of its recording."""
        service = self.make()
        service.value("v", 1)
        self.clock.advance(2)
        service.value("v", 3, t=9)
        service.value("v", 2)
        run(self.clock, 5)
        expected = [
            Value("v", 1, 1_000_000),
            Value("v", 2, 1_000_002),
            Value("v", 3, 9),
        ]
        self.assertEqual(self.points(), expected)

    def test_exact_sums(self) -> None:
        """Decimals are summed exactly, and separately from other amounts."""
        service = self.make()
        for amount in (Decimal("0.1"), Decimal("0.2"), 1, 2, 0.5, 0.25):
            service.count("a", amount)
        run(self.clock, 5)
        (body,) = self.server.bodies
        self.assertIn(b'"count":0.3,', body)
        self.assertIn(b'"count":3,', body)
        self.assertIn(b'"count":0.75,', body)

    def test_sums_beyond_the_largest_amount(self) -> None:
        """A sum that cannot be sent at once is sent in pieces, and nothing is lost."""
        service = self.make()
        for _ in range(3):
            service.count("a", MAX_INTEGER)
            service.count("less", -MAX_INTEGER)
            service.count("b", 1e308)
            service.count("c", Decimal("1e40"))
            service.count("c", Decimal("1e-20"))
        service.count("a", -5)
        run(self.clock, 5)
        sent = json.loads(self.server.bodies[0], parse_float=Decimal)["data"]
        sums: dict[str, Decimal] = {}
        for point in sent:
            sums[point["stat"]] = sums.get(point["stat"], Decimal(0)) + point["count"]
        self.assertEqual(sums["a"], 3 * MAX_INTEGER - 5)
        self.assertEqual(sums["less"], -3 * MAX_INTEGER)
        self.assertEqual(sums["b"], 3 * Decimal("1e308"))
        # The collector takes no sum as large as that: what it refuses is accounted for.
        run(self.clock, 60)
        self.assertEqual(service.health.pending, 0)
        self.assertEqual(accounted(service.health), 16)

    def test_names_of_several_stats(self) -> None:
        """A name with ~ counts each of its stats."""
        service = self.make()
        service.count("web~hits,total", 2)
        service.count("web~hits,total", 3)
        run(self.clock, 5)
        self.assertEqual(self.server.sums, {"web hits": 5, "web total": 5})

    def test_full_window(self) -> None:
        """Once max_batch different points wait, they are sealed."""
        service = self.make(max_batch=10)
        for i in range(10):
            service.count(f"s{i}")
        self.clock.advance(0)
        self.assertEqual(len(self.server.bodies), 1)
        self.assertEqual(service.health.pending, 0)

    def test_many_stats(self) -> None:
        """Counts of more stats than a batch holds are summed all the same."""
        service = self.make(max_batch=10)
        for _ in range(1000):
            for i in range(15):
                service.count(f"s{i}")
        run(self.clock, 6)
        self.assertEqual(self.server.sums, {f"s{i}": 1000 for i in range(15)})
        self.assertLessEqual(len(self.server.bodies), 5)
        # The next window is sealed as soon as the first was.
        for i in range(10):
            service.count(f"s{i}")
        self.clock.advance(0)
        self.assertEqual(service.health.pending, 0)

    def test_interval_has_jitter(self) -> None:
        """Programs that start together do not send together, nor wait too long."""
        when = set()
        for seed in range(20):
            service = self.make(seed=seed)
            service.count("a")
            before, sent = self.clock.seconds(), len(self.server.times)
            while len(self.server.times) == sent:
                self.clock.advance(0.01)
            when.add(round(self.clock.seconds() - before, 2))
        self.assertGreater(len(when), 10)
        self.assertGreaterEqual(min(when), 2.4)
        self.assertLessEqual(max(when), 3.01)
        # An unused connection is closed later than that.
        self.assertLess(max(when), IDLE_TIMEOUT)

    def test_idle(self) -> None:
        """With nothing to do there is no timer."""
        service = self.make()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        service.count("a")
        run(self.clock, 6)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ClassicTests(DeliveryTestCase):
    """
    The Classic API: one request for each point.
    """

    def test_points_are_acknowledged_one_by_one(self) -> None:
        """Each point has its own id; one that fails is sent again alone."""
        client = txStatHatClassic("ukey", agent=self.server, reactor=self.clock)
        service = self.make(client=client)
        failed: list[int] = []

        def mood() -> Any:
            if len(self.server.ids) == 3 and not failed:
                failed.append(1)
                return (503, b"", {})
            return OK

        self.server.mood = mood
        for i in range(5):
            service.count(f"key{i}", i)
        service.value("load", 0.25)
        run(self.clock, 15)
        expected = {f"key{i}": i for i in range(5)} | {"load": 0.25}
        self.assertEqual(self.server.sums, expected)
        self.assertEqual(len(self.server.ids), 7)
        self.assertEqual(len(set(self.server.ids)), 6)
        self.assertEqual(service.health.delivered, 6)

    def test_key_with_tilde_is_refused_by_the_server(self) -> None:
        """A rejected point is reported with its error."""
        reported: list[Any] = []
        client = txStatHatClassic("ukey", agent=self.server, reactor=self.clock)
        service = self.make(
            client=client, on_rejected=lambda *args: reported.append(args)
        )
        service.count("a~b", 2)
        service.count("fine")
        run(self.clock, 10)
        ((points, error),) = reported
        self.assertEqual(points, [Count("a~b", 2, 1_000_000)])
        self.assertIsInstance(error, StatHatAPIError)
        self.assertEqual(service.health.rejected, 1)
        self.assertEqual(service.health.delivered, 1)


class OutcomeTests(DeliveryTestCase):
    """
    What becomes of batches that fail.
    """

    def test_outage(self) -> None:
        """Nothing is lost in an outage, and all points carry their times."""
        service = self.make()
        self.server.mood = lambda: AWAY
        for _ in range(20):
            service.count("a")
            run(self.clock, 5)
        self.assertEqual(service.health.delivered, 0)
        self.server.mood = lambda: OK
        run(self.clock, 300)
        self.assertEqual(self.server.sums, {"a": 20})
        self.assertEqual(len(self.server.fake.points), 20)
        self.assertGreater(service.health.retries, 3)
        self.assertIn("ConnectionRefused", str(service.health.last_error))

    def test_bytes_are_frozen(self) -> None:
        """Every attempt sends the same bytes with the same id."""
        service = self.make()
        self.server.mood = lambda: LOSE_REPLY
        service.count("a")
        run(self.clock, 100)
        self.server.mood = lambda: OK
        run(self.clock, 300)
        self.assertGreater(len(self.server.ids), 3)
        self.assertEqual(len(set(self.server.ids)), 1)
        self.assertEqual(len(set(self.server.bodies)), 1)
        self.assertEqual(self.server.sums, {"a": 1})
        self.assertEqual(service.health.delivered, 1)

    def test_ambiguous_dropped(self) -> None:
        """With on_ambiguous='drop' a lost answer drops a batch; an absent server does not."""
        service = self.make(on_ambiguous="drop")
        self.server.mood = lambda: AWAY
        service.count("a")
        run(self.clock, 60)
        self.assertEqual(service.health.dropped, {})
        self.server.mood = lambda: LOSE_REQUEST
        run(self.clock, 300)
        self.assertEqual(service.health.dropped, {"ambiguous": 1})
        self.assertEqual(service.health.pending, 0)

    def test_timeouts(self) -> None:
        """A request that hangs is sent again after the client's time limit."""
        service = self.make()
        self.server.mood = lambda: HANG
        service.count("a")
        run(self.clock, 60)
        self.assertGreater(len(self.server.ids), 2)
        self.server.mood = lambda: OK
        run(self.clock, 100)
        self.assertEqual(self.server.sums, {"a": 1})

    def test_one_bad_point(self) -> None:
        """A point that the server refuses is found by halving; the others arrive."""
        reported: list[Any] = []
        service = self.make(on_rejected=lambda *args: reported.append(args))
        service.count("kind")
        run(self.clock, 6)
        before = len(self.server.ids)
        # The server has this stat as a counter: it refuses whatever batch holds it.
        service.value("kind", 0.5)
        for i in range(499):
            service.count(f"s{i}")
        run(self.clock, 6)
        self.assertEqual(service.health.delivered, 500)
        self.assertEqual(service.health.rejected, 1)
        self.assertLessEqual(len(self.server.ids) - before, 20)
        ((points, error),) = reported
        self.assertEqual(points, [Value("kind", Decimal("0.5"), 1_000_006)])
        self.assertIn("is a counter", str(error))

    def test_too_large(self) -> None:
        """A batch that is too large is halved until it fits."""
        service = self.make()

        sizes: list[int] = []
        real = self.server.request

        def request(method: Any, uri: Any, headers: Any, body: Any) -> Any:
            sizes.append(body.length)
            if body.length > 5000:
                self.server.mood = lambda: (413, b"", {})
            else:
                self.server.mood = lambda: OK
            return real(method, uri, headers, body)

        self.server.request = request  # type: ignore[method-assign]
        for i in range(500):
            service.count(f"s{i}")
        run(self.clock, 10)
        self.assertEqual(service.health.delivered, 500)
        self.assertEqual(len(self.server.sums), 500)
        self.assertLessEqual(len(sizes), 20)

    def test_rejection_is_one_attempt(self) -> None:
        """A final refusal is not retried; its message is passed on."""
        reported: list[Any] = []
        service = self.make(on_rejected=lambda *args: reported.append(args))
        self.server.mood = lambda: (200, b'{"status": 500, "msg": "no"}', {})
        service.count("a", 3)
        run(self.clock, 300)
        self.assertEqual(len(self.server.ids), 1)
        self.assertEqual(service.health.rejected, 1)
        ((points, error),) = reported
        self.assertEqual(points, [Count("a", 3, 1_000_000)])
        self.assertEqual((error.status, error.msg), (500, "no"))

    def test_raising_callback(self) -> None:
        """A callback that raises is logged, and ends nothing."""
        service = self.make(on_rejected=lambda points, error: 1 / 0)
        self.server.mood = lambda: (200, b'{"status": "error", "msg": "no"}', {})
        with logged() as log:
            service.count("a")
            run(self.clock, 6)
        self.assertIn("ZeroDivisionError", "".join(log.at_level("warn")))
        self.server.mood = lambda: OK
        service.count("a")
        run(self.clock, 6)
        self.assertEqual(service.health.delivered, 1)

    def test_wrong_key(self) -> None:
        """With a refused key all points wait at the slowest pace, and health says so."""
        service = self.make()
        for status in (401, 403):
            self.server.mood = lambda status=status: (status, b"", {})
            service.count("a")
            before = len(self.server.ids)
            run(self.clock, 3600, 5)
            tries = len(self.server.ids) - before
            self.assertTrue(9 <= tries <= 16, tries)
            self.assertIn(f"status={status}", str(service.health.last_error))
        self.assertEqual(service.health.pending, 2)
        self.server.mood = lambda: OK
        run(self.clock, 600, 5)
        self.assertEqual(service.health.delivered, 2)

    def test_a_poisonous_batch_holds_up_no_other(self) -> None:
        """A batch that the server cannot handle does not hold up the others."""
        service = self.make()
        service.count("poison")
        poisoned: set[str] = set()

        def mood() -> Any:
            if not poisoned:
                poisoned.add(self.server.ids[-1])
            return (500, b"", {}) if self.server.ids[-1] in poisoned else OK

        self.server.mood = mood
        for i in range(200):
            run(self.clock, 5)
            service.count(f"s{i}")
        run(self.clock, 10)
        self.assertGreaterEqual(service.health.delivered, 198)
        self.assertEqual(len(self.server.sums), service.health.delivered)

    def test_broken_client(self) -> None:
        """Whatever a client raises, delivery goes on."""
        client = txStatHat("key", agent=self.server, reactor=self.clock)
        broken: list[Any] = [RuntimeError("seal"), None]

        def seal(points: Any) -> Any:
            error = broken.pop(0) if broken else None
            if error is not None:
                raise error
            return txStatHat.encode(client, points)

        client.encode = seal  # type: ignore[method-assign]
        sends: list[Any] = []

        def send_payload(payload: Any, batch_id: Any = None) -> Any:
            sends.append(batch_id)
            if len(sends) == 1:
                raise RuntimeError("send")
            return txStatHat.send_payload(client, payload, batch_id)

        client.send_payload = send_payload  # type: ignore[method-assign]
        service = self.make(client=client)
        for _ in range(3):
            service.count("a")
            run(self.clock, 10)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(service.health.dropped, {"unsealed": 1})
        self.assertEqual(self.server.sums, {"a": 2})
        self.assertEqual(len(set(sends[:2])), 1)


class BoundTests(DeliveryTestCase):
    """
    What is dropped, and that it is counted.
    """

    def test_memory_is_bounded(self) -> None:
        """When memory is full the oldest batches go first, and are counted."""
        service = self.make(max_batch=10, max_pending=100)
        self.server.mood = lambda: AWAY
        with logged() as log:
            for i in range(300):
                service.count(f"s{i:03}")
        self.assertLessEqual(service.health.pending, 125)
        dropped = service.health.dropped["full"]
        self.assertEqual(dropped + service.health.pending, 300)
        # One line for twenty batches, and it has the numbers.
        (line,) = [line for line in log.at_level("warn") if "dropped" in line]
        self.assertIn("10 full", line)
        self.server.mood = lambda: OK
        run(self.clock, 100)
        newest = [f"s{i:03}" for i in range(300 - len(self.server.sums), 300)]
        self.assertEqual(sorted(self.server.sums), newest)

    def test_age(self) -> None:
        """Batches older than max_age are dropped and counted."""
        service = self.make(max_age=100)
        self.server.mood = lambda: AWAY
        service.count("old")
        run(self.clock, 90, 5)
        service.count("new")
        run(self.clock, 60, 5)
        self.server.mood = lambda: OK
        run(self.clock, 300, 1)
        self.assertEqual(service.health.dropped, {"old": 1})
        self.assertEqual(self.server.sums, {"new": 1})


class FlushTests(DeliveryTestCase):
    """
    Waiting until everything is settled.
    """

    def test_flush(self) -> None:
        """It fires when all points recorded before it have arrived, not earlier."""
        service = self.make()
        self.assertEqual(self.successResultOf(service.flush()), FlushResult())
        self.assertTrue(FlushResult())
        self.server.mood = lambda: AWAY
        service.count("a")
        service.count("a")
        flushed = service.flush()
        run(self.clock, 30)
        self.assertNoResult(flushed)
        self.server.mood = lambda: OK
        while not flushed.called:
            self.clock.advance(1)
            service.count("later")
        self.assertEqual(self.successResultOf(flushed), FlushResult(delivered=2))
        self.assertEqual(self.server.sums["a"], 2)

    def test_rejected_and_split(self) -> None:
        """Batches that are split or rejected are settled completely."""
        service = self.make()
        service.count("kind")
        self.successResultOf(service.flush())
        service.value("kind", 1)
        for i in range(50):
            service.count(f"s{i}")
        result = self.successResultOf(service.flush())
        self.assertEqual(result, FlushResult(delivered=50, rejected=1))
        self.assertFalse(result)
        self.assertEqual(service.health.pending, 0)
        self.assertEqual(service.health.rejected, 1)

    def test_each_waits_alone(self) -> None:
        """Cancelling one flush does not end another."""
        service = self.make()
        self.server.mood = lambda: AWAY
        service.count("a")
        one, other = service.flush(), service.flush()
        self.assertIsNot(one, other)
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.server.mood = lambda: OK
        run(self.clock, 10)
        self.assertTrue(self.successResultOf(other))

    def test_end(self) -> None:
        """If the service ends first, the result says what was still queued."""
        service = self.make()
        self.server.mood = lambda: AWAY
        service.count("a")
        flushed = service.flush()
        service.stopService()
        run(self.clock, 8)
        self.assertEqual(self.successResultOf(flushed), FlushResult(queued=1))
        self.assertFalse(FlushResult(queued=1))

    def test_what_is_found_later(self) -> None:
        """Batches of ended processes that are adopted meanwhile do not end the wait."""
        place = self.mktemp()
        self.server.mood = lambda: AWAY
        first = self.make(spool=place)
        service = self.make(spool=place)
        for i in range(3):
            first.count(f"s{i}")
            run(self.clock, 6)
        service.count("mine")
        flushed = service.flush()
        first.stopService()
        run(self.clock, 70, 1)
        self.assertEqual(service.health.recovered, 3)
        answers = [OK, OK, OK, AWAY]
        self.server.mood = lambda: answers.pop(0) if len(answers) > 1 else answers[0]
        while len(self.server.sums) < 3:
            self.clock.advance(1)
        self.assertTrue("mine" in self.server.sums or not flushed.called)
        self.server.mood = lambda: OK
        run(self.clock, 600, 1)
        self.assertEqual(self.successResultOf(flushed), FlushResult(delivered=4))

    def test_settled_before(self) -> None:
        """Calls that were settled before the flush are in its result, once."""
        service = self.make()
        for _ in range(3):
            service.count("a")
            run(self.clock, 6)
        service.count("a")
        first = self.successResultOf(service.flush())
        self.assertEqual(first, FlushResult(delivered=4))
        service.count("a")
        second = self.successResultOf(service.flush())
        self.assertEqual(second, FlushResult(delivered=1))
        self.assertEqual(self.successResultOf(service.flush()), FlushResult())

    def test_dropped(self) -> None:
        """Calls that the flush itself pushes out are in its result as dropped."""
        service = self.make(max_batch=10, max_pending=10)
        self.server.mood = lambda: AWAY
        for i in range(10):
            service.count(f"s{i}")
        run(self.clock, 1)
        service.count("one more")
        flushed = service.flush()
        self.server.mood = lambda: OK
        run(self.clock, 30)
        result = self.successResultOf(flushed)
        self.assertEqual(result, FlushResult(delivered=1, dropped=10))
        self.assertFalse(result)
        self.assertEqual(self.successResultOf(service.flush()), FlushResult())

    def test_dropped_last(self) -> None:
        """Calls that end a flush by being dropped are in its result, and in no other."""
        service = self.make(max_age=60.0)
        self.server.mood = lambda: AWAY
        service.count("a")
        flushed = service.flush()
        run(self.clock, 200)
        self.assertEqual(self.successResultOf(flushed), FlushResult(dropped=1))
        self.server.mood = lambda: OK
        service.count("a")
        self.assertEqual(
            self.successResultOf(service.flush()), FlushResult(delivered=1)
        )

    def test_reentrant(self) -> None:
        """A callback may flush again."""
        service = self.make()
        done: list[FlushResult] = []

        def again(_: FlushResult) -> Deferred[Any]:
            service.count("b")
            return service.flush().addCallback(done.append)

        service.count("a")
        service.flush().addCallback(again)
        run(self.clock, 1)
        self.assertEqual(done, [FlushResult(delivered=1)])


class StopTests(DeliveryTestCase):
    """
    The end of a service.
    """

    def test_time_limit(self) -> None:
        """It ends within shutdown_timeout, whatever the server does."""
        for mood in (AWAY, HANG, LOSE_REQUEST, (503, b"", {"Retry-After": "60"})):
            service = self.make(shutdown_timeout=3)
            self.server.mood = lambda mood=mood: mood
            service.count("a")
            before = self.clock.seconds()
            stopped = service.stopService()
            while not stopped.called:
                self.clock.advance(0.1)
            self.assertLessEqual(self.clock.seconds() - before, 3.5)
            self.assertEqual(service.health.dropped, {"shutdown": 1})

    def test_nearly_all_of_the_time(self) -> None:
        """It waits for a reply nearly until shutdown_timeout."""
        service = self.make(shutdown_timeout=9)
        self.server.mood = lambda: HANG
        service.count("a")
        stopped = service.stopService()
        self.clock.pump([0.1] * 87)
        self.assertNoResult(stopped)
        self.clock.pump([0.1] * 5)
        self.successResultOf(stopped)

    def test_wrong_key(self) -> None:
        """It ends early only once the server has said that the key is wrong."""
        for status, late in ((401, False), (403, False), (401, True)):
            service = self.make()
            self.server.mood = lambda status=status: (status, b"", {})
            service.count("a")
            if late:
                # It was refused long before; the end is one more attempt.
                run(self.clock, 8)
                self.assertEqual(service.health.pending, 1)
            before = len(self.server.ids)
            self.successResultOf(service.stopService())
            self.assertEqual(len(self.server.ids), before + 1)
            self.assertEqual(service.health.dropped, {"shutdown": 1})
        service = self.make()
        service.count("a")
        run(self.clock, 8)
        self.server.mood = lambda: OK
        self.successResultOf(service.stopService())
        self.assertEqual(service.health.dropped, {})

    def test_tries_again(self) -> None:
        """It ends a long backoff, and makes one more attempt."""
        service = self.make()
        self.server.mood = lambda: AWAY
        service.count("a")
        run(self.clock, 500)
        self.server.mood = lambda: OK
        self.successResultOf(service.stopService())
        self.assertEqual(self.server.sums, {"a": 1})

    def test_asked_to_wait(self) -> None:
        """It sends nothing sooner than the server asked, even in the end."""
        service = self.make()
        self.server.mood = lambda: (503, b"", {"Retry-After": "100"})
        service.count("a")
        run(self.clock, 6)
        tries = len(self.server.ids)
        service.stopService()
        run(self.clock, 8)
        self.assertEqual(len(self.server.ids), tries)

    def test_twice(self) -> None:
        """Stopping twice is harmless; both callers wait for the end."""
        service = self.make()
        self.server.mood = lambda: HANG
        service.count("a")
        one, other = service.stopService(), maybeDeferred(service.stopService)
        self.assertNoResult(one)
        run(self.clock, 8)
        self.successResultOf(one)
        self.successResultOf(other)

    def test_summary(self) -> None:
        """One log line has the final numbers."""
        service = self.make()
        service.count("a")
        with logged() as log:
            self.successResultOf(service.stopService())
        (line,) = log.at_level("info")
        self.assertIn("1 recorded, 0 recovered, 1 delivered, 0 pending", line)
        self.assertNotIn("canary-key", log.text)


class HealthTests(DeliveryTestCase):
    """
    What can be asked.
    """

    def test_snapshot(self) -> None:
        """A snapshot does not change, and adds up."""
        service = self.make()
        service.count("a")
        before = service.health
        run(self.clock, 6)
        after = service.health
        self.assertEqual((before.pending, before.delivered), (1, 0))
        self.assertEqual((after.pending, after.delivered), (0, 1))
        self.assertTrue(1_000_002 <= (after.last_success or 0) <= 1_000_003)
        with self.assertRaises(AttributeError):
            after.delivered = 7  # type: ignore[misc]

    def test_bad_points_are_logged_once_for_each_stat(self) -> None:
        """Each stat's first bad point is a warning that names it, however soon."""
        service = self.make()
        with logged() as log:
            for _ in range(3):
                service.count("signups", float("nan"))
                service.value("load", "1")  # type: ignore[arg-type]
                service.count("x" * 300)
        warnings = log.at_level("warn")
        self.assertEqual(len(warnings), 3)
        self.assertIn("a point of stat 'signups' was not recorded", warnings[0])
        self.assertIn("count: must be finite, not nan", warnings[0])
        self.assertIn("stat 'load'", warnings[1])
        self.assertEqual(service.health.refused, 9)

    def test_numbers_of_other_libraries_add_up(self) -> None:
        """They are summed exactly with Python's own numbers of the same kind."""
        service = self.make()
        for amount in (Fraction(3), 2, Fraction(1, 4), 0.5, Fraction(1, 10)):
            self.assertIs(self.successResultOf(service.count("a", amount)), True)
        run(self.clock, 6)
        self.assertEqual(service.health.delivered, 5)
        self.assertAlmostEqual(self.server.sums["a"], 5.85, 12)

    def test_no_secret(self) -> None:
        """No repr, error or line in the log holds the key."""
        service = self.make()
        self.server.mood = lambda: (403, b'{"status":403,"msg":"bad canary-key"}', {})
        with logged() as log:
            service.count("a")
            run(self.clock, 6)
        texts = [log.text, repr(service), repr(service.health), str(service.health)]
        self.assertNotIn("canary-key", "".join(texts))
        self.assertIn("403", str(service.health.last_error))
