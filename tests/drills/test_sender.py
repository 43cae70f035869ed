"""
Drills for the delivery service in virtual time: faults to survive, each with a figure.

The small form runs by default, the full one with ``TXSTATHAT_DRILLS=full``; it prints its
figures, which are in the documentation.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import tempfile
import tracemalloc
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.delivery import (
    AWAY,
    FULL,
    LOSE_REPLY,
    LOSE_REQUEST,
    MEMORY,
    NO_DRILLS,
    OK,
    MemoryServer,
    accounted,
    balanced,
    make_service,
    run,
)
from tests.fixtures.drills import report, resident
from tests.fixtures.support import logged
from txstathat import txStatHat, txStatHatClassic


def allocated() -> int:
    """Bytes that the delivery holds; the agent in memory holds every connection."""
    gc.collect()
    delivery = tracemalloc.Filter(True, "*/txstathat/delivery/*")
    taken = tracemalloc.take_snapshot().filter_traces([delivery])
    return sum(trace.size for trace in taken.traces)


def expected(status: int, body: bytes) -> str:
    """
    What the documentation says of an answer.
    """
    if status in (408, 425, 429) or status >= 500:
        return "later"
    answer = json.loads(body) if body.startswith(b"{") else None
    inner = {"ok": 200, "error": 500}.get(answer["status"]) if answer else None
    if answer and inner is None:
        inner = answer["status"]
    if inner is not None and (inner == 200 or inner >= 400):
        if inner == 200:
            return "accepted"
        if inner in (408, 425, 429) or inner > 500:
            return "later"
        if 413 in (status, inner):
            return "too large"
        return "stays" if {401, 403} & {status, inner} else "refused"
    if status == 204:
        return "accepted"
    return "ambiguous" if status < 300 and body[:1] != b"<" else "stays"


class SenderDrills(SynchronousTestCase):
    """
    One sender, or many, and a server in memory.
    """

    skip = NO_DRILLS

    def setUp(self) -> None:
        self.place = tempfile.mkdtemp(dir=MEMORY)
        self.addCleanup(shutil.rmtree, self.place)
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.random = random.Random(42)

    def service(self, server: Any, **settings: Any) -> Any:
        service = make_service(self.clock, server, **settings)
        service.startService()
        return service

    def drain(self, service: Any) -> None:
        """Wait until nothing is pending, then stop."""
        for _ in range(20_000):
            if not service.health.pending:
                break
            self.clock.advance(1)
        stopped = service.stopService()
        run(self.clock, 7)
        self.successResultOf(stopped)
        self.assertEqual(service.health.pending, 0)
        self.assertTrue(balanced(service.health))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_4_outage_with_a_spool(self) -> None:
        """The server is away for an hour: memory stays flat, all totals are exact."""
        windows, per_stat = (720, 14) if FULL else (60, 5)
        names = [f"stat {i}" for i in range(1000)]
        server = MemoryServer(self.clock)
        server.forget_points()
        folder = os.path.join(self.place, "spool")
        service = self.service(server, spool=folder)
        server.mood = lambda: AWAY
        gc.collect()
        before = peak = resident()
        for window in range(windows):
            for name in names:
                for _ in range(per_stat):
                    service.count(name)
            run(self.clock, 5, 1)
            if window % 20 == 0:
                peak = max(peak, resident())
        counts = windows * per_stat * len(names)
        grown = (peak - before) / 2**20
        size = sum(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
        self.assertLessEqual(grown, 20)
        self.assertLessEqual(size, 64 * 2**20)
        self.assertEqual(service.health.recorded, counts)
        self.assertEqual(service.health.pending, counts)
        server.mood = lambda: OK
        self.drain(service)
        self.assertEqual(server.sums, dict.fromkeys(names, windows * per_stat))
        self.assertEqual(service.health.delivered, counts)
        report(
            4,
            f"{counts:,} counts in {windows * 5:,} s: memory +{grown:.1f} MiB, "
            f"spool {size / 2**20:.1f} MiB, all totals exact",
        )

    def test_4_outage_in_memory(self) -> None:
        """Without a spool the bounds hold, and what is dropped is counted exactly."""
        windows = 720 if FULL else 150
        server = MemoryServer(self.clock)
        service = self.service(server)
        server.mood = lambda: AWAY
        gc.collect()
        before = resident()
        for _ in range(windows):
            for i in range(1000):
                service.count(f"stat {i}")
            run(self.clock, 5, 1)
        grown = (resident() - before) / 2**20
        health = service.health
        self.assertLessEqual(grown, 20)
        self.assertLessEqual(health.pending, 101_000)
        self.assertEqual(health.pending + health.dropped["full"], windows * 1000)
        server.mood = lambda: OK
        self.drain(service)
        dropped = service.health.dropped["full"]
        self.assertEqual(sum(server.sums.values()) + dropped, windows * 1000)
        report(4, f"without a spool: memory +{grown:.1f} MiB, {dropped:,} dropped")

    def test_5_stale_connections(self) -> None:
        """Connections that close as they are reused: same id again, nothing doubled."""
        server = MemoryServer(self.clock)
        service = self.service(server)
        count = 1000 if FULL else 100
        moods = [OK, LOSE_REQUEST, OK, LOSE_REPLY]
        server.mood = lambda: moods[len(server.times) % 4]
        for _ in range(count):
            service.count("a")
            run(self.clock, 12, 2)
        server.mood = lambda: OK
        self.drain(service)
        self.assertEqual(server.sums, {"a": count})
        self.assertEqual(len(set(server.ids)), count)
        self.assertGreaterEqual(len(server.ids), count * 1.3)
        report(5, f"{len(server.ids) - count} of {len(server.ids)} lost, totals exact")

    def test_6_cut_requests_and_replies(self) -> None:
        """One in ten requests and one in ten replies are lost."""
        batches = 10_000 if FULL else 1000

        def run_one(honours: bool, on_ambiguous: str) -> float:
            server = MemoryServer(self.clock, honours_ids=honours)
            service = self.service(server, on_ambiguous=on_ambiguous)
            draw = random.Random(6).choices
            moods = [LOSE_REQUEST, LOSE_REPLY, OK]
            server.mood = lambda: draw(moods, [10, 9, 81])[0]
            for _ in range(batches):
                service.count("a")
                run(self.clock, 5, 5)
            self.drain(service)
            self.assertEqual(accounted(service.health), batches)
            return float(100 * server.sums["a"] / batches - 100)

        exact = run_one(True, "resend")
        resend = run_one(False, "resend")
        drop = run_one(False, "drop")
        self.assertEqual(exact, 0)
        # Of fewer batches the share that is lost varies more.
        spare = 0 if FULL else 3
        self.assertTrue(0 < resend <= 12.5 + spare, resend)
        self.assertTrue(-11 - spare <= drop < 0, drop)
        report(
            6,
            f"{batches} batches: {exact:+.1f} % where ids are honoured; else "
            f"resend {resend:+.1f} %, drop {drop:+.1f} %",
        )

    def test_7_statuses(self) -> None:
        """Every answer is handled as documented, and counted at most once."""
        statuses = range(200, 600) if FULL else (*range(200, 206), *range(300, 600, 7))
        special = (401, 403, 408, 413, 425, 429, 500, 503)
        requests = 0
        for status in sorted({*statuses, *special}):
            for body in (
                b"", b"<html>Hello</html>",
                b'{"status": %d, "msg": "no"}' % status,
                b'{"status": 200, "msg": "ok"}', b'{"status": "ok"}',
                b'{"status": "error", "msg": "no"}', b'{"status": 500, "msg": "no"}',
            ):  # fmt: skip
                if status == 204 and body:
                    continue
                for classic, stats in ((False, 1), (False, 3), (True, 1), (True, 3)):
                    requests += self.one_answer(status, body, classic, stats)
        report(7, f"{requests} requests, each answer as documented, counted twice 0")

    def one_answer(self, status: int, body: bytes, classic: bool, stats: int) -> int:
        """Give every request one answer for 20 s, then look at the result."""
        server = MemoryServer(self.clock)
        make = txStatHatClassic if classic else txStatHat
        client = make("canary-key", agent=server, reactor=self.clock)
        service = self.service(server, client=client, shutdown_timeout=0)
        headers = {"Location": "https://elsewhere.example/"}
        server.mood = lambda: (status, body, headers)
        for i in range(stats):
            service.count(f"s{i}")
        service.flush()
        run(self.clock, 20, 1)
        health, tries = service.health, len(server.ids)
        requests = stats if classic else 1
        case = (status, body, classic, stats, str(health))
        match expected(status, body):
            case "accepted":
                self.assertEqual((tries, health.delivered), (requests, stats), case)
            case "refused" | "too large":
                self.assertEqual(health.rejected, stats, case)
                self.assertEqual(len(set(server.ids)), tries, case)
            case "later":
                self.assertGreater(tries, 1, case)
                self.assertEqual(health.pending, stats, case)
            case "stays":
                self.assertLessEqual(tries, 8, case)
                self.assertEqual(health.pending, stats, case)
            case "ambiguous":
                self.assertEqual(len(set(server.ids)), tries, case)
                self.assertEqual(health.pending, stats, case)
        self.assertEqual(accounted(health), stats, case)
        service.stopService()
        run(self.clock, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return tries

    def test_7_recovery(self) -> None:
        """After a minute of any unsuccessful answer, nothing is lost or counted twice."""
        for answer in (
            (404, b"<html>", {}), (200, b"<html>", {}), (503, b"", {}),
            (401, b'{"status": 401, "msg": "no"}', {}), (413, b"", {}),
            (200, b'{"status": 503, "msg": "no"}', {}), (202, b"", {}),
            (200, b'{"status": "error", "msg": "invalid ezkey"}', {}),
        ):  # fmt: skip
            for spool in (None, os.path.join(self.place, "spool")):
                server = MemoryServer(self.clock)
                service = self.service(server, spool=spool)
                server.mood = lambda answer=answer: answer
                for _ in range(12):
                    service.count("a")
                    service.count("b")
                    run(self.clock, 5, 1)
                server.mood = lambda: OK
                run(self.clock, 900, 5)
                self.assertEqual(server.sums, {"a": 12, "b": 12}, answer)
                self.drain(service)
                self.assertEqual(service.health.delivered, 24)

    def test_8_retry_after(self) -> None:
        """Never sooner than the server asked, nor than the backoff; an hour at most."""
        for asked, least, most in (
            ("0", 1, 2), ("5", 6, 7), ("86400", 3601, 3602), ("nonsense", 1, 2),
            ("-7", 1, 2), ("Mon, 12 Jan 1970 13:48:20 GMT", 0, 2), ("1e9", 1, 2),
        ):  # fmt: skip
            for seed in range(5):
                server = MemoryServer(self.clock)
                service = self.service(server, seed=seed)
                answers: list[Any] = [(503, b"", {"Retry-After": asked})]
                server.mood = lambda answers=answers: answers.pop() if answers else OK
                service.count("a")
                while len(server.times) < 2:
                    self.clock.advance(0.1)
                waited = server.times[1] - server.times[0]
                self.assertTrue(least - 0.01 <= waited <= most + 0.2, (asked, waited))
                self.drain(service)

    def test_8_retry_after_a_date(self) -> None:
        """A Retry-After with a date is honoured."""
        server = MemoryServer(self.clock)
        service = self.service(server)
        # Sixty seconds after the start of the clock: it is at 1,000,000 s.
        date = "Mon, 12 Jan 1970 13:47:40 GMT"
        answers: list[Any] = [(429, b"", {"Retry-After": date})]
        server.mood = lambda: answers.pop() if answers else OK
        service.count("a")
        while len(server.times) < 2:
            self.clock.advance(0.1)
        self.assertTrue(1_000_061 <= server.times[1] <= 1_000_062.2, server.times)
        self.drain(service)

    def test_9_herd(self) -> None:
        """Many senders that come back after an outage do not come all at once."""
        senders, outage, watch = (1000 if FULL else 150), 60, 60
        server = MemoryServer(self.clock)
        services = [self.service(server, seed=seed) for seed in range(senders)]
        ends = self.clock.seconds() + 30 + outage
        down = self.clock.seconds() + 30
        server.mood = lambda: AWAY if down <= self.clock.seconds() < ends else OK
        while self.clock.seconds() < ends + watch:
            for service in services:
                service.count("a")
            run(self.clock, 5, 0.5)
        back = [t - ends for t in server.times if ends <= t < ends + watch]
        width = 1 if FULL else 5
        bins = [0] * (watch // width)
        for t in back:
            bins[int(t / width)] += 1
        peak_over_mean = max(bins) / (sum(bins) / len(bins))
        self.assertLessEqual(peak_over_mean, 3)
        for service in services:
            service.stopService()
        run(self.clock, 8)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        recorded = sum(service.health.recorded for service in services)
        self.assertEqual(server.sums["a"], recorded)
        report(9, f"{senders} senders: peak over mean {peak_over_mean:.2f}")

    def test_13_canary(self) -> None:
        """The key is in no log line, repr or traceback, whatever goes wrong."""
        server = MemoryServer(self.clock)
        spool = os.path.join(self.place, "spool")
        with logged() as log:
            service = self.service(server, spool=spool, on_ambiguous="drop")
            moods: list[Any] = [
                AWAY, LOSE_REPLY, (500, b"canary-key", {}), (403, b"", {}),
                (200, b'{"status": 500, "msg": "canary-key?"}', {}),
                (400, b'{"status": 400, "msg": "canary-key"}', {}),
                (301, b"", {"Location": "https://x.example/canary-key"}),
            ]  # fmt: skip
            server.mood = lambda: self.random.choice(moods)
            texts = []
            for i in range(200):
                service.count(f"s{i}")
                service.count("bad\n")
                run(self.clock, 20, 5)
                texts += [repr(service), repr(service.health), str(service.health)]
            service.stopService()
            run(self.clock, 8)
        self.assertGreater(service.health.lost, 0)
        self.assertNotIn("canary-key", log.text + "".join(texts))

    def test_17_refusals(self) -> None:
        """The bad points of a batch are found in few requests; the others arrive."""
        stats = [f"s{i:03}" for i in range(1000)]
        no = b'{"status": 400, "msg": "no"}'
        figures = []

        def run_one(mood: Any, most: int, delivered: int) -> None:
            server = MemoryServer(self.clock)
            service = self.service(server, max_batch=1001)
            server.mood = lambda: mood(server)
            for stat in stats:
                service.count(stat)
            service.flush()
            self.assertEqual(service.health.delivered, delivered)
            self.assertEqual(service.health.rejected, 1000 - delivered)
            self.assertLessEqual(len(server.ids), most)
            figures.append(len(server.ids))
            self.drain(service)
            self.assertEqual(sum(server.sums.values()), delivered)

        for bad in stats if FULL else stats[::125]:
            run_one(
                lambda server, bad=bad: (
                    (400, no, {}) if bad in server.stats[-1] else OK
                ),
                25,
                999,
            )
        one = max(figures)
        run_one(lambda server: (400, no, {}), 40, 0)
        run_one(
            lambda server: (413, b"", {}) if len(server.stats[-1]) > 130 else OK,
            40,
            1000,
        )
        report(
            17,
            f"one bad of 1,000: at most {one} requests; all bad: {figures[-2]}; "
            f"413: {figures[-1]}",
        )

    def test_17_a_page_for_a_minute(self) -> None:
        """A proxy's 404 for a minute loses nothing."""
        for spool in (None, os.path.join(self.place, "spool")):
            server = MemoryServer(self.clock)
            service = self.service(server, spool=spool)
            ends = self.clock.seconds() + 60
            server.mood = lambda ends=ends: (
                (404, b"<html>", {}) if self.clock.seconds() < ends else OK
            )
            while self.clock.seconds() < ends:
                for i in range(20):
                    service.count(f"s{i}")
                run(self.clock, 5, 1)
            run(self.clock, 301, 1)
            self.drain(service)
            self.assertEqual(server.sums, {f"s{i}": 12 for i in range(20)})
            self.assertEqual(service.health.lost, 0)

    def test_18_soak(self) -> None:
        """Random faults for a long time: memory flat, nothing unhandled, all exact."""
        hours = 100 if FULL else 4
        tracemalloc.start(1)
        self.addCleanup(tracemalloc.stop)
        server = MemoryServer(self.clock)
        server.forget_points()
        spool = os.path.join(self.place, "spool")
        service = self.service(server, spool=spool)
        mood: list[Any] = [OK]
        moods = [OK, OK, AWAY, LOSE_REQUEST, LOSE_REPLY, (503, b"", {}), (429, b"", {})]
        server.mood = lambda: mood[0]
        counts, sizes = 0, []
        for minute in range(hours * 60):
            if minute % 7 == 0:
                mood[0] = self.random.choice(moods)
            for i in range(50):
                service.count(f"s{i}", 2)
            counts += 50
            run(self.clock, 60, 10)
            for seen in (server.times, server.ids, server.bodies, server.fake.requests):
                seen.clear()
            if minute % 30 == 29:
                sizes.append(allocated())
        half = len(sizes) // 2
        grown = (max(sizes[half:]) - max(sizes[:half])) / 2**20
        mood[0] = OK
        self.drain(service)
        self.assertEqual(sum(server.sums.values()), 2 * counts)
        self.assertLessEqual(grown, 0.25)
        self.assertEqual(self.flushLoggedErrors(), [])
        report(18, f"{hours} h of faults: memory {grown:+.2f} MiB in the second half")


class ManyServicesTests(SynchronousTestCase):
    """
    Services of one process.
    """

    def test_on_one_folder(self) -> None:
        """Two services of a process share a folder without adopting each other's files."""
        place = tempfile.mkdtemp(dir=MEMORY)
        self.addCleanup(shutil.rmtree, place)
        clock = Clock()
        clock.advance(1_000_000)
        server = MemoryServer(clock)
        services = [
            make_service(
                clock, server, txStatHat("k", agent=server, reactor=clock), spool=place
            )
            for _ in range(2)
        ]
        for service in services:
            service.startService()
            service.count("a")
        run(clock, 70)
        for service in services:
            service.stopService()
        run(clock, 2)
        self.assertEqual(server.sums, {"a": 2})
        self.assertEqual([service.health.recovered for service in services], [0, 0])
        self.assertEqual(os.listdir(place), [])
