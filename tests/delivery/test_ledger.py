"""
The ledger: for any course of events, every call is somewhere, and only once.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.delivery import (
    AWAY,
    FULL,
    HANG,
    LOSE_REPLY,
    LOSE_REQUEST,
    MEMORY,
    OK,
    MemoryServer,
    SlowWorker,
    balanced,
    make_service,
    run,
)
from txstathat import Count, txStatHat, txStatHatClassic
from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.flush import FlushResult
from txstathat.delivery.open_batch import OpenBatch
from txstathat.delivery.spool.file import COLUMNS, unpack
from txstathat.delivery.spool.folder import SpoolFolder
from txstathat.points.amounts import amount_text

FINAL: list[Any] = [
    (400, b'{"status": 400, "msg": "no"}', {}),
    (413, b'{"status": 413, "msg": "no"}', {}),
    (200, b'{"status": 500, "msg": "no"}', {}),
    (200, b'{"status": "error", "msg": "no"}', {}),
    (400, b'{"status": 400, "msg": "data[1]: no"}', {}),
]  # fmt: skip
PASSING: list[Any] = [
    OK, OK, AWAY, LOSE_REQUEST, HANG, (503, b"", {"Retry-After": "3"}), (403, b"", {}),
    (200, b"<html>", {}), (302, b"", {"Location": "https://other.example/"}),
    (404, b"", {}), (413, b"", {}), (403, b'{"status": 403, "msg": "no"}', {}),
    (200, b'{"status": 500, "msg": "invalid keys"}', {}),
]  # fmt: skip


def events(*more: Any) -> Any:
    """
    A course of events.
    """
    counts = st.tuples(st.just("count"), st.sampled_from("abcd"))
    return st.lists(
        st.one_of(
            counts,
            counts,
            st.tuples(st.just("timed"), st.sampled_from("abcd")),
            st.tuples(st.just("value"), st.sampled_from("vw")),
            st.tuples(st.just("advance"), st.sampled_from([0.1, 1, 6, 70, 400])),
            st.tuples(st.just("mood"), st.sampled_from(PASSING + FINAL)),
            *(st.tuples(*map(st.just, event)) for event in more),
        ),
        max_size=50,
    )


class Server(MemoryServer):
    """
    Says yes to what it has taken before, as a server that honours ids does.
    """

    def request(
        self, method: Any, uri: Any, headers: Any = None, body: Any = None
    ) -> Any:
        mood, batch_id = self.mood, headers.getRawHeaders("Idempotency-Key")[0]
        if batch_id in self.taken and mood() in FINAL:
            self.mood = lambda: OK
        if mood() in (OK, LOSE_REPLY):
            self.taken.add(batch_id)
        try:
            return super().request(method, uri, headers, body)
        finally:
            self.mood = mood

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.taken: set[str] = set()


class Disk(SpoolFolder):
    """
    A spool folder on a disk that can fail.
    """

    fails = False

    def open(self) -> None:
        if self.fails:
            raise OSError("the disk fails")
        super().open()

    def load(self, limit: int) -> list[SealedBatch]:
        if self.fails:
            raise OSError("the disk fails")
        return super().load(limit)


class Life:
    """
    A service and its successors on one spool. Every amount is 1, so that the amounts of
    a stat are its calls.
    """

    def __init__(self, spooled: bool, classic: bool, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.server = Server(self.clock)
        self.place = tempfile.mkdtemp(dir=MEMORY)
        self.spooled = spooled
        self.settings = {"max_batch": 3, "shutdown_timeout": 1.0, **settings}
        make = txStatHatClassic if classic else txStatHat
        self.make_client = lambda: make("key", agent=self.server, reactor=self.clock)
        # Calls by stat: recorded, rejected, and lost in crashes; calls dropped in all.
        self.put: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.crashed: Counter[str] = Counter()
        self.dropped = 0
        # How long a disk job takes, in seconds.
        self.disk_seconds = 0.0
        # Flushes that did not wait for all calls before them.
        self.early: list[tuple[int, FlushResult, Any]] = []
        self.start()

    def start(self) -> None:
        self.client = self.make_client()
        self.service = make_service(
            self.clock,
            None,
            self.client,
            on_rejected=self.reject,
            **self.settings,
        )
        self.backlog = self.service._loop.backlog
        if self.spooled:
            self.backlog._folder = Disk(
                os.path.join(self.place, "spool"),
                fingerprint=self.client.fingerprint,
                max_bytes=self.settings.get("max_spool", 1 << 26),
                max_age=self.settings.get("max_age", 1e9),
                at_most_once=False,
            )
        self.service.startService()
        if self.spooled:
            self.worker = SlowWorker(self.clock, self.disk_seconds)
            self.backlog._worker = self.worker  # type: ignore[assignment]

    def reject(self, points: Any, error: Exception) -> None:
        for point in points:
            amount = point.count if isinstance(point, Count) else point.value
            self.rejected[point.stat] += int(amount)

    def in_memory(self) -> Counter[str]:
        """
        Calls that a crash would lose now: the open window, and batches not on disk.
        """
        calls: Counter[str] = Counter()
        window = self.service._loop.open_batch
        calls.update({stat: n for stat, (_, n) in window.cells.items()})
        for (stat, _, _), (_, n) in window._sums.items():
            calls[stat] += n
        calls.update(point.stat for point in window._single)
        backlog = self.backlog
        for batch in (
            *backlog.waiting, *self.service._loop.sender.in_flight,
        ):  # fmt: skip
            if batch.place is None:
                self.tell(calls, batch)
        return calls

    def tell(self, calls: Counter[str], batch: SealedBatch) -> None:
        for point, n in zip(
            self.client.decode(batch.payload), batch.calls, strict=True
        ):
            calls[point.stat] += n

    def on_disk(self) -> Counter[str]:
        """
        Calls in the spool that are not settled, read from the files.
        """
        calls: Counter[str] = Counter()
        folder = self.backlog._folder
        settled = {batch.id for batch in self.backlog._finished}
        for spool in folder.spools if folder else ():
            rows = spool._db.execute(f"SELECT {', '.join(COLUMNS)} FROM batches")
            for batch in map(unpack, rows.fetchall()):
                if batch.id not in settled:
                    self.tell(calls, batch)
        return calls

    def stop(self) -> None:
        stopped = self.service.stopService()
        run(self.clock, 4)
        assert stopped.called
        assert self.clock.getDelayedCalls() == [], self.clock.getDelayedCalls()
        self.dropped += sum(self.service.health.dropped.values())

    def crash(self) -> None:
        """
        End as kill -9 ends a process.
        """
        self.crashed += self.in_memory()
        self.dropped += sum(self.service.health.dropped.values())
        # What follows is as in a child, which does nothing.
        self.service.after_fork()
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        folder = self.backlog._folder
        if folder is not None:
            for number, spool in folder._spools.items():
                spool.close()
                folder._locks[number].release()

    def do(self, event: Any) -> None:
        kind, *rest = event
        service = self.service
        if kind == "advance":
            run(self.clock, rest[0], max(0.1, rest[0] / 50))
        elif kind == "mood":
            self.server.mood = lambda: rest[0]
        elif kind == "flush":
            recorded = service.health.recorded
            service.flush().addCallback(self.note_flush, service, recorded)
        elif kind == "slow" and self.spooled:
            self.worker.seconds = self.disk_seconds = rest[0]
        elif kind == "disk" and self.spooled:
            self.backlog._folder.fails = rest[0]  # type: ignore[union-attr]
        elif kind in ("restart", "crash"):
            # What was delivered and cannot be deleted would be there twice.
            self.do(("disk", False))
            self.do(("slow", min(0.3, self.disk_seconds)))
            run(self.clock, 9 if self.disk_seconds else 3)
            self.stop() if kind == "restart" else self.crash()
            self.start()
        elif kind in ("count", "timed", "value"):
            (stat,) = rest
            self.put[stat] += 1
            if kind == "value":
                service.value(stat, 1)
            else:
                service.count(stat, t=None if kind == "count" else 77)

    def note_flush(self, result: FlushResult, service: Any, recorded: int) -> None:
        """
        Check that the calls before a flush are settled, except those it says are not.
        """
        health = service.health
        settled = health.delivered + health.rejected + sum(health.dropped.values())
        if settled < recorded - result.queued or result.queued < 0:
            self.early.append((recorded, result, health))

    def missing(self) -> dict[str, int]:
        """
        Calls that are nowhere, by stat.
        """
        found: Counter[str] = self.in_memory() + self.on_disk()
        found += self.rejected
        found += self.crashed
        sums = self.server.sums
        stats = self.put.keys() | found.keys() | sums.keys()
        return {s: int(self.put[s] - found[s] - sums.get(s, 0)) for s in stats}


def examples(number: int) -> Any:
    return settings(
        max_examples=number * (20 if FULL else 1),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class LedgerTests(SynchronousTestCase):
    """
    For any interleaving of records, seals, failures, restarts and crashes.
    """

    def check(self, life: Life, course: Any, exact: bool) -> None:
        try:
            before: dict[str, int] = {}
            for event in course:
                life.do(event)
                health = life.service.health
                self.assertTrue(balanced(health), (event, health))
                self.assertEqual(life.early, [])
                held = life.in_memory() + life.on_disk()
                self.assertEqual(health.pending, held.total(), event)
                if LOSE_REPLY in [each[-1] for each in course]:
                    # What is pending here may have arrived there.
                    continue
                missing = life.missing()
                dropped = life.dropped + sum(health.dropped.values())
                self.assertEqual(sum(missing.values()), dropped, event)
                for stat, number in missing.items():
                    # What was dropped stays dropped; nothing is there twice.
                    self.assertGreaterEqual(number, before.get(stat, 0), event)
                    self.assertTrue(number == 0 or not exact, event)
                before = missing
            life.server.mood = lambda: OK
            if life.spooled:
                life.do(("disk", False))
            run(life.clock, 1500, 5)
            self.assertEqual(life.service.health.pending, 0)
            life.stop()
            missing = life.missing()
            self.assertEqual(life.early, [])
            self.assertEqual(sum(missing.values()), life.dropped)
            if exact:
                self.assertEqual(set(missing.values()) | {0}, {0})
        finally:
            shutil.rmtree(life.place)

    def test_spooled(self) -> None:
        """With room in the spool each stat is exact through restarts and crashes."""
        course = events(("flush",), ("restart",), ("crash",), ("mood", LOSE_REPLY))

        @examples(60)
        @given(course, st.booleans())
        def check(course: Any, classic: bool) -> None:
            self.check(Life(True, classic), course, exact=True)

        check()

    def test_slow_disk(self) -> None:
        """With a slow disk each stat is exact, and no flush fires early."""
        course = events(
            ("flush",), ("flush",), ("restart",), ("slow", 0.3), ("slow", 3)
        )

        @examples(60)
        @given(course, st.booleans(), st.sampled_from([9, 1000]))
        def check(course: Any, classic: bool, max_pending: int) -> None:
            life = Life(True, classic, max_pending=max_pending)
            self.check(life, course, exact=max_pending > 9)

        check()

    def test_bounded(self) -> None:
        """With little room, a small max_age and a failing disk, every loss is counted."""
        course = events(
            ("flush",), ("restart",), ("crash",), ("disk", True), ("disk", False)
        )
        bounds = {"max_pending": 9, "max_spool": 65_536, "max_age": 1000.0}

        @examples(60)
        @given(course, st.booleans(), st.booleans())
        def check(course: Any, spooled: bool, classic: bool) -> None:
            self.check(Life(spooled, classic, **bounds), course, exact=False)

        check()


class WindowTests(SynchronousTestCase):
    """
    Sums are exact.
    """

    def test_sums(self) -> None:
        """Whatever is counted, the points that come out add up to it."""
        amounts = st.one_of(
            st.integers(-(2**63) + 1, 2**63 - 1),
            st.decimals(allow_nan=False, allow_infinity=False, places=3),
        )
        calls = st.tuples(st.sampled_from("ab"), amounts, st.sampled_from([None, 1, 2]))

        @examples(100)
        @given(st.lists(calls))
        def check(calls: Any) -> None:
            window = OpenBatch(lambda stat: None)
            put: dict[str, Fraction] = {}
            for stat, amount, t in calls:
                window.count(stat, amount, t, 5)
                put[stat] = put.get(stat, Fraction(0)) + Fraction(amount)
            self.assertEqual(window.calls, len(calls))
            out: dict[str, Fraction] = {}
            tallies = window.take()
            for point, _ in tallies:
                assert isinstance(point, Count)
                amount_text(point.count)
                was = out.get(point.stat, Fraction(0))
                out[point.stat] = was + Fraction(point.count)  # type: ignore[arg-type]
            self.assertEqual(out, put)
            self.assertEqual(sum(number for _, number in tallies), len(calls))
            self.assertEqual((len(window), window.calls), (0, 0))

        check()
