"""
Faults that the collector has to survive, each with what it must show.

Each is small here. ``TXSTATHAT_DRILLS=full`` runs them as large as the figures in
docs/own-server.rst were measured, which takes an hour or so. The server is a process of
its own, and what talks to it are plain sockets.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import random
import resource
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.collector_drills import Server
from tests.fixtures.collectors import Collector
from tests.fixtures.delivery import slack
from tests.fixtures.holding_clients import HoldingClients, make_request
from tests.fixtures.stores import NOW, RedisServer, wait_until
from txstathat.collector.web.channel import BODY_SECONDS, HEADER_SECONDS
from txstathat.stores.sqlite.backend import MAX_LOG

FULL = os.environ.get("TXSTATHAT_DRILLS") == "full"


#: Runs ``txstathat`` with a wall clock that is off by the seconds in a file.
SHIFTED = """
import sys, time
path, real = sys.argv.pop(1), time.time
def shifted():
    with open(path) as file:
        return real() + float(file.read() or 0)
time.time = shifted
from txstathat.cli import main
main()
"""


class ShiftedServer(Server):
    """
    A server with a wall clock that can be set.

    :param offset: the path of a file, which has the seconds by which it is off.
    """

    def __init__(self, store: str, offset: Path) -> None:
        self.offset = offset
        self.set_clock(0)
        self.program = (sys.executable, "-c", SHIFTED, str(offset))
        # Its clock is set before anything is imported.
        self.popen = subprocess.Popen
        super().__init__(store)

    def set_clock(self, seconds: float) -> None:
        """Set the wall clock, relative to the right time."""
        new = self.offset.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.offset)


def p99(sorted_times: list[float]) -> float:
    """The time within which 99 of 100 are."""
    return sorted_times[int(len(sorted_times) * 0.99)]


class DrillCase(SynchronousTestCase):
    """
    A server on a SQLite file.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.server = self.serve(f"sqlite://{self.path}")

    def serve(self, store: str) -> Server:
        server = Server(store)
        self.addCleanup(server.kill)
        return server

    def say(self, figure: str) -> None:
        """Print a figure, in the full form."""
        if FULL:
            print(f"\n    {self._testMethodName}: {figure}", end=" ")

    def sound(self) -> None:
        """SQLite finds nothing wrong with the file."""
        with sqlite3.connect(self.path) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    def in_background(self, work: Callable[[], None]) -> Callable[[], None]:
        """Repeat something in a thread; call what is returned to stop it."""
        stop = threading.Event()

        def repeat() -> None:
            while not stop.is_set():
                work()

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join(30)

        self.addCleanup(end)
        return end


class CrashDrills(DrillCase):
    """
    Drills 19 to 23: what is acknowledged is there, once.
    """

    def send_all(self, ids: list[str], acknowledged: set[str]) -> None:
        """Post batches of two stats until each is acknowledged or the server is gone."""
        for id in ids:
            if self.server.post(["a", "b"], id) == 200:
                acknowledged.add(id)

    def test_19_killed(self) -> None:
        """Killed amid writes: nothing acknowledged is missing, nothing is doubled."""
        kills = 500 if FULL else 3
        sent: list[str] = []
        starts: list[float] = []
        worked: list[float] = []
        for _ in range(kills):
            acknowledged: set[str] = set()
            ids = [uuid4().hex for _ in range(200)]
            with ThreadPoolExecutor(4) as pool:
                work = [
                    pool.submit(self.send_all, ids[n::4], acknowledged)
                    for n in range(4)
                ]
                time.sleep(random.uniform(0.05, 0.4))
                self.server.kill()
                for one in work:
                    one.result()
            starts.append(self.server.start())
            worked.append(self.server.worked())
            # What was in doubt is sent again, under the same id; twice for good measure.
            for id in ids:
                if id not in acknowledged:
                    self.assertEqual(self.server.post(["a", "b"], id), 200)
            for id in random.sample(ids, 5):
                self.assertEqual(self.server.post(["a", "b"], id), 200)
            sent += ids
        self.assertEqual(self.server.sums(), {"a": len(sent), "b": len(sent)})
        self.server.kill()
        self.sound()
        self.say(
            f"{kills} kills, {len(sent)} batches, up again in {median(starts):.2f} s "
            f"(median), {max(starts):.2f} s (worst), with {max(worked):.2f} s of work"
        )
        # Where a processor is to be had, this is how long it takes.
        self.assertLess(max(worked), slack(2))
        self.assertLess(median(starts), slack(2))

    def test_20_disk_full(self) -> None:
        """503 while nothing can be written, no half batches, and back after relief."""
        stats = [f"s{n}" for n in range(10)]
        done = [uuid4().hex]
        self.assertEqual(self.server.post(stats, done[0]), 200)
        pid = self.server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        refused = []
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        for _ in range(50 if FULL else 4):
            id = uuid4().hex
            status = self.server.post(stats, id, t=int(time.time()) - len(done) * 60)
            self.assertIn(status, (200, 503))
            (done if status == 200 else refused).append(id)
        self.assertTrue(refused)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        relief = time.monotonic()
        wait_until(lambda: self.server.post(stats, refused[0]) == 200)
        back = time.monotonic() - relief
        self.say(f"{len(refused)} refused, back in {back:.2f} s")
        self.assertLess(back, slack(5))
        for id in refused:
            self.assertEqual(self.server.post(stats, id), 200)
        whole = len(done) + len(refused)
        self.assertEqual(self.server.sums(), dict.fromkeys(stats, whole))

    def test_31_clock(self) -> None:
        """After its clock is set back it refuses revoked keys, and loses no points."""
        server = ShiftedServer(
            f"sqlite://{Path(self.mktemp()).absolute()}", Path(self.mktemp()).absolute()
        )
        self.addCleanup(server.kill)
        right, accepted = server.keys["EZ key"], 0
        command = (sys.executable, "-m", "txstathat", "keys")
        for step in (-3600, 3600) if FULL else (-3600,):
            server.set_clock(0)
            added = subprocess.check_output(
                [*command, "add", "ez", f"key {step}", "--store", server.store],
                text=True,
                cwd=ROOT,
            )
            server.keys["EZ key"] = added.partition(": ")[2].strip()
            self.assertEqual(server.post(["a"]), 200)
            accepted += 1
            server.set_clock(step)
            subprocess.check_call(
                [*command, "revoke", f"key {step}", "--store", server.store],
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
            )
            revoked = time.monotonic()
            while (status := server.post(["a"])) == 200:
                accepted += 1
                self.assertLess(time.monotonic() - revoked, 8)
                time.sleep(0.1)
            self.assertEqual(status, 403)
            took = time.monotonic() - revoked
            self.say(f"clock {step:+} s: refused after {took:.1f} s")
        server.keys["EZ key"] = right
        server.set_clock(-3 * 86_400)
        now = int(time.time())
        self.assertEqual(server.post(["a"], "id", t=now), 503)
        server.set_clock(0)
        self.assertEqual(server.post(["a"], "id", t=now), 200)
        self.assertEqual(server.sums(), {"a": accepted + 1})

    def test_44_down(self) -> None:
        """Killed, and up again 20 minutes later, it takes its absence for no silence."""
        server = ShiftedServer(
            f"sqlite://{Path(self.mktemp()).absolute()}", Path(self.mktemp()).absolute()
        )
        self.addCleanup(server.kill)
        self.assertEqual(server.post(["a"]), 200)
        token = server.keys["access token"]
        _, stats = server.ask("GET", f"/x/{token}/statlist")
        for fields in (
            {"kind": "data"},
            {"kind": "value", "operator": "less than", "threshold": 1},
        ):
            alert = {"stat_id": stats[0]["id"], "time_window": "5m", **fields}
            status, _ = server.ask(
                "POST",
                f"/x/{token}/alerts",
                urlencode(alert),
                Content_Type="application/x-www-form-urlencoded",
            )
            self.assertEqual(status, 200)
        server.kill()
        server.set_clock(20 * 60)
        server.start()
        # In full until a whole window lies after the absence; the sender is back after
        # a moment.
        began = time.monotonic()
        while (passed := time.monotonic() - began) < (440 if FULL else 20):
            _, alerts = server.ask("GET", f"/x/{token}/alerts")
            self.assertEqual([alert["firing"] for alert in alerts], [False, False])
            if passed > 10:
                self.assertEqual(server.post(["a"]), 200)
            time.sleep(2)
        self.say(f"no alert fired in the {passed:.0f} s after it")

    def test_32_disk_full(self) -> None:
        """/healthz and a line on standard error name a full disk, and its relief."""
        self.assertEqual(self.server.post(["a"]), 200)
        self.assertEqual(self.server.ask("GET", "/healthz")[0], 200)
        pid = self.server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        began = time.monotonic()
        wait_until(lambda: self.server.ask("GET", "/healthz")[0] == 503)
        self.assertLess(time.monotonic() - began, 5)
        _, answer = self.server.ask("GET", "/healthz")
        self.assertIn("the store cannot be written: SQLite: ", answer["msg"])
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        relief = time.monotonic()
        wait_until(lambda: self.server.ask("GET", "/healthz")[0] == 200)
        self.assertLess(time.monotonic() - relief, 5)
        logged = self.server.kill()
        self.assertEqual(logged.count("the store cannot be written: SQLite: "), 1)
        self.assertEqual(logged.count("the store can be written again"), 1)
        self.assertNotIn("Traceback", logged)

    def test_32_damaged(self) -> None:
        """A damaged file is found at the start, which fails with words."""
        for batch in range(5):
            names = [f"stat {batch} {n}" for n in range(400)]
            self.assertEqual(self.server.post(names), 200)
        self.server.kill()
        with sqlite3.connect(self.path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        size = self.path.stat().st_size
        with self.path.open("r+b") as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(os.urandom(8 * 4096))
        with self.assertRaises(AssertionError) as caught:
            Server(self.server.store)
        self.assertIn(f"the store {self.path} is damaged", str(caught.exception))
        self.assertNotIn("Traceback", str(caught.exception))

    def test_21_locked(self) -> None:
        """A lock by another process: 503 soon, and the reactor goes on meanwhile."""
        self.assertEqual(self.server.post(["a"]), 200)
        seconds = 10 if FULL else 4
        with ThreadPoolExecutor(8) as pool:
            locker = sqlite3.connect(self.path, isolation_level=None)
            locker.execute("BEGIN IMMEDIATE")
            began = time.monotonic()

            def post() -> tuple[int, float]:
                start = time.monotonic()
                return self.server.post(["a"]), time.monotonic() - start

            posts = [pool.submit(post) for _ in range(4)]
            stalls = self.server.latencies(seconds)
            locker.execute("ROLLBACK")
            locker.close()
            answers = [one.result() for one in posts]
        self.assertEqual({status for status, _ in answers}, {503})
        longest = max(took for _, took in answers)
        self.say(f"503 in {longest:.2f} s, stall {stalls[-1] * 1000:.0f} ms")
        self.assertLess(longest, slack(5))
        self.assertLess(stalls[-1], slack(0.1))
        self.assertGreaterEqual(time.monotonic() - began, seconds)
        wait_until(lambda: self.server.post(["a"]) == 200)
        self.assertEqual(self.server.sums(), {"a": 2})

    def test_21_long_reader(self) -> None:
        """Someone who reads for long holds up no write; after, the log is cut back."""
        self.server.post(["a"])
        reader = sqlite3.connect(self.path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM cell").fetchone()
        for n in range(600 if FULL else 30):
            stats = [f"stat {n % 90} {m}" for m in range(100)]
            self.assertEqual(self.server.post(stats), 200)
        reader.execute("ROLLBACK")
        reader.close()
        for _ in range(3):
            self.server.post(["a"])
        size = os.path.getsize(f"{self.path}-wal")
        self.say(f"the log has {size / 2**20:.1f} MiB")
        self.assertLessEqual(size, MAX_LOG)

    def test_22_redis(self) -> None:
        """Redis stops, dies, has no memory: 503 soon, nothing twice, totals exact."""
        redis = RedisServer("--appendonly", "yes", "--appendfsync", "always")
        self.addCleanup(redis.remove)
        server = self.serve(f"redis://127.0.0.1:{redis.port}/0")
        ids = []
        longest = 0.0

        def post(expected: int) -> None:
            nonlocal longest
            id = uuid4().hex
            began = time.monotonic()
            self.assertEqual(server.post(["a", "b"], id), expected)
            if expected != 200:
                longest = max(longest, time.monotonic() - began)
            ids.append(id)

        for _ in range(20 if FULL else 1):
            post(200)
            os.kill(redis.pid, signal.SIGSTOP)
            post(503)
            post(503)
            os.kill(redis.pid, signal.SIGCONT)
            wait_until(lambda: server.post(["c"]) == 200)
            post(200)
            redis.kill()
            post(503)
            redis.start()
            wait_until(lambda: server.post(["c"]) == 200)
            redis.command("CONFIG", "SET", "maxmemory", "1kb")
            post(503)
            redis.command("CONFIG", "SET", "maxmemory", "0")
            wait_until(lambda: server.post(["c"]) == 200)
            for id in ids:
                self.assertEqual(server.post(["a", "b"], id), 200)
        sums = server.sums()
        self.say(f"503 in {longest:.2f} s")
        self.assertEqual((sums["a"], sums["b"]), (len(ids), len(ids)))
        self.assertLess(longest, slack(2))

    def test_22_two_collectors(self) -> None:
        """On one Redis, one of them killed now and then: one id, one kind, one total."""
        redis = RedisServer("--appendonly", "yes", "--appendfsync", "always")
        self.addCleanup(redis.remove)
        url = f"redis://127.0.0.1:{redis.port}/0"
        both = self.serve(url), self.serve(url)
        one, other = both
        # The first keys are made once, and are everybody's.
        self.assertNotIn("EZ key", other.keys)
        other.keys = one.keys
        id = uuid4().hex
        with ThreadPoolExecutor(20) as pool:
            same = [pool.submit(each.post, ["x"], id) for each in both * 10]
            self.assertEqual(Counter(each.result() for each in same), {200: 20})
        self.assertEqual(other.post(["y"], id), 409)
        value = {"ezkey": one.keys["EZ key"], "data": [{"stat": "v", "value": 1}]}
        body = json.dumps(value)
        status, _ = other.ask("POST", "/ez", body, Content_Type="application/json")
        self.assertEqual(status, 200)
        self.assertEqual(one.post(["w", "v"]), 400)
        kills = 50 if FULL else 2
        sent = 0

        def send(ids: list[str], turns: tuple[Server, Server]) -> None:
            for id in ids:
                # What one did not answer, the other is asked.
                answers = [each.post(["a"], id) for each in turns]
                self.assertIn(200, answers)

        for _ in range(kills):
            ids = [uuid4().hex for _ in range(40)]
            with ThreadPoolExecutor(2) as pool:
                work = [
                    pool.submit(send, ids[::2], (one, other)),
                    pool.submit(send, ids[1::2], (other, one)),
                ]
                time.sleep(random.uniform(0.02, 0.2))
                victim = random.choice(both)
                victim.kill()
                for each in work:
                    each.result()
            victim.start()
            for id in random.sample(ids, 5):
                self.assertEqual(victim.post(["a"], id), 200)
            sent += len(ids)
        self.say(f"{kills} kills, {sent} batches")
        for each in both:
            self.assertEqual(each.sums(), {"x": 1, "v": 1, "a": sent})

    def test_23_at_once(self) -> None:
        """The same id many times at once is applied once; another body is a 409."""
        for round_ in range(50 if FULL else 2):
            id = uuid4().hex
            with ThreadPoolExecutor(25) as pool:
                same = [pool.submit(self.server.post, ["a"], id) for _ in range(100)]
                statuses = Counter(one.result() for one in same)
            self.assertEqual(statuses, {200: 100})
            self.assertEqual(self.server.post(["b"], id), 409)
            self.assertEqual(self.server.sums(), {"a": round_ + 1})


class CrowdDrills(DrillCase):
    """
    Drills 24, 25, 27 and 29: an honest client does not suffer from others.
    """

    def setUp(self) -> None:
        # In the full form, as many connections as it takes, here and in the server.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if FULL:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        super().setUp()

    def connect(self, count: int) -> list[socket.socket]:
        sockets = []
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", self.server.port), 10)
            self.addCleanup(one.close)
            sockets.append(one)
        return sockets

    def test_24_slow_connections(self) -> None:
        """Many that drip bytes: an honest client is served, they are cut in time."""
        count = 5000 if FULL else 200
        slow = self.connect(count)
        body = b"POST /ez HTTP/1.1\r\nContent-Length: 50000\r\n\r\n"
        for one in slow[::2]:
            # Where few files may be open, the first have been cut for the last.
            with contextlib.suppress(OSError):
                one.sendall(body)
        open_ = dict.fromkeys(slow, time.monotonic())
        lifetimes: dict[bool, float] = {True: 0.0, False: 0.0}
        with_body = set(slow[::2])

        def drip() -> None:
            for one in list(open_):
                try:
                    one.send(b"x")
                except OSError:
                    lived = time.monotonic() - open_.pop(one)
                    kind = one in with_body
                    lifetimes[kind] = max(lifetimes[kind], lived)
            time.sleep(0.5)

        stop = self.in_background(drip)
        took = self.server.latencies(BODY_SECONDS + 6 if FULL else 2)
        stop()
        self.say(
            f"{len(open_)} left, cut after {lifetimes[False]:.1f} and "
            f"{lifetimes[True]:.1f} s, an honest client's p99 {p99(took) * 1000:.0f} ms"
        )
        self.assertLess(p99(took), slack(0.2))
        if FULL:
            self.assertEqual(len(open_), 0)
            self.assertLess(lifetimes[False], HEADER_SECONDS + 3)
            self.assertLess(lifetimes[True], BODY_SECONDS + 3)

    def test_25_large_bodies(self) -> None:
        """A huge length, endless chunks, a gzip bomb: refused, and memory stays."""
        self.server.post(["a"])
        before = self.server.memory()
        head = b"POST /ez HTTP/1.1\r\nHost: x\r\n"
        for _ in range(200 if FULL else 10):
            (one,) = self.connect(1)
            one.sendall(head + b"Content-Length: 10737418240\r\n\r\n")
            self.assertTrue(one.recv(100).startswith(b"HTTP/1.1 413 "))
            (one,) = self.connect(1)
            one.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            sent = 0
            try:
                for _ in range(1000):
                    one.sendall(chunk)
                    sent += len(chunk)
            except OSError:
                pass
            self.assertLess(sent, 40 * 2**20)
            bomb = gzip.compress(b" " * 2**20)
            status, _ = self.server.ask("POST", "/ez", bomb, Content_Encoding="gzip")
            self.assertEqual(status, 415)
        grown = self.server.memory() - before
        self.say(f"memory {grown / 2**20:+.1f} MiB")
        self.assertLess(grown, 8 * 2**20)

    def test_27_wrong_keys(self) -> None:
        """A flood of wrong keys: held back, and an honest client is hardly slower."""
        alone = p99(self.server.latencies(10 if FULL else 1.5))
        wrong = urlencode({"ezkey": "wrong", "stat": "a", "count": "1"})
        statuses: Counter[int] = Counter()
        stops = [
            self.in_background(
                lambda: statuses.update([self.server.ask("POST", "/ez", wrong)[0]])
            )
            for _ in range(100 if FULL else 20)
        ]
        took = p99(self.server.latencies(10 if FULL else 1.5))
        with ThreadPoolExecutor(len(stops)) as pool:
            list(pool.map(lambda stop: stop(), stops))
        self.say(
            f"{dict(statuses)}, p99 {alone * 1000:.1f} ms alone, {took * 1000:.1f} ms now"
        )
        self.assertGreater(statuses[429], 0)
        self.assertLessEqual(statuses[403], 20)
        self.assertLess(took, slack(max(2 * alone, 0.1)))

    def test_27_held(self) -> None:
        """A crowd that is held back, and comes again on the same connections."""
        count = 1500 if FULL else 150
        alone = p99(self.server.latencies(10 if FULL else 1))
        body = urlencode({"ezkey": "wrong", "stat": "a", "count": "1"})
        wrong = f"POST /ez HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        answers = 0
        with selectors.DefaultSelector() as selector:
            for _ in range(count):
                (one,) = self.connect(1)
                selector.register(one, selectors.EVENT_READ)
                one.sendall(wrong.encode())

            def again() -> None:
                nonlocal answers
                for key, _ in selector.select(0.1):
                    held: Any = key.fileobj
                    if held.recv(4096):
                        answers += 1
                        held.sendall(wrong.encode())
                    else:
                        selector.unregister(held)

            stop = self.in_background(again)
            took = p99(self.server.latencies(10 if FULL else 2))
            stop()
            left = len(selector.get_map())
        self.say(
            f"{answers} answers, {count - left} cut, "
            f"p99 {alone * 1000:.1f} ms alone, {took * 1000:.1f} ms now"
        )
        self.assertEqual(left, count)
        self.assertGreater(answers, count)
        self.assertLess(took, slack(max(2 * alone, 0.1)))

    def test_29_held_with_bodies(self) -> None:
        """Held requests with large bodies, again and again: an honest client is served."""
        self.server.post(["a"])
        before = most = self.server.memory()
        count, seconds = (2000, 10) if FULL else (200, 1)
        alone, with_them = [], []
        for _ in range(5 if FULL else 1):
            alone.append(p99(self.server.latencies(seconds)))
            clients = HoldingClients(self.server.port, count)
            time.sleep(5 if FULL else 1)
            with_them.append(p99(self.server.latencies(seconds)))
            most = max(most, self.server.memory())
            answers, cut = clients.end()
        once, twice = median(alone), median(with_them)
        self.say(
            f"{answers} answers, {cut} cut, memory {(most - before) / 2**20:+.1f} MiB, "
            f"median p99 {once * 1000:.1f} ms alone, {twice * 1000:.1f} ms now"
        )
        self.assertGreater(answers, 0)
        self.assertLess(twice, slack(max(2 * once, 0.1)))

    def test_27_names(self) -> None:
        """A flood of new names ends at a limit, and old stats go on."""
        self.assertEqual(self.server.post(["old"]), 200)
        statuses: Counter[int] = Counter()
        batches = 120 if FULL else 12
        for n in range(batches):
            names = [f"{n} {m}" for m in range(1000)]
            statuses[self.server.post(names)] += 1
        self.assertEqual(self.server.post(["old"]), 200)
        self.say(f"{dict(statuses)}")
        self.assertEqual(statuses, {200: 9, 429: batches - 9})

    def test_27_times(self) -> None:
        """Times years ahead are refused; those years back are stored."""
        now = int(time.time())
        ten_years = 10 * 365 * 86_400
        self.assertEqual(self.server.post(["a"], t=now + ten_years), 400)
        self.assertEqual(self.server.post(["a"], t=now - ten_years), 200)
        self.assertEqual(self.server.sums(), {"a": 1})

    def test_33_the_far_past(self) -> None:
        """Random minutes of 50 years on one stat: the store grows by little."""
        chance = random.Random(33)
        self.assertEqual(self.server.post(["a"]), 200)
        before = self.size()
        end = time.monotonic() + (3600 if FULL else 3)
        now, posted, statuses = int(time.time()), 0, Counter[int]()
        while time.monotonic() < end:
            data = [
                {"stat": "a", "count": 1, "t": now - 60 * chance.randrange(26_000_000)}
                for _ in range(2000)
            ]
            body = json.dumps({"ezkey": self.server.keys["EZ key"], "data": data})
            status, _ = self.server.ask(
                "POST", "/ez", body, Content_Type="application/json"
            )
            statuses[status] += 1
            posted += len(data)
        grown = self.size() - before
        self.say(f"{posted:,} points, {dict(statuses)}, {grown / 2**20:+.1f} MiB")
        self.assertEqual(statuses.keys(), {200})
        # Most of it is the journal's, whose pages are used again.
        self.assertLess(grown, 12 * 2**20)

    def size(self) -> int:
        """The size of the store, without what is only in the log."""
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return self.path.stat().st_size


class BodyDrills(DrillCase):
    """
    Drills 28 and 29: bodies without a valid key.
    """

    def setUp(self) -> None:
        # The server can open 1,024 files; what talks to it, as many as it takes.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
        super().setUp()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def connect(self, count: int, request: bytes) -> list[socket.socket]:
        sockets = []
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", self.server.port), 10)
            self.addCleanup(one.close)
            one.sendall(request)
            sockets.append(one)
        return sockets

    def test_28_unfinished_chunks(self) -> None:
        """Many connections with an unfinished chunk: honest posts are answered."""
        self.connect(
            900 if FULL else 300,
            b"POST /ez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"ff\r\nabcde",
        )
        if not FULL:
            descriptors = os.listdir(f"/proc/{self.server.process.pid}/fd")
            self.assertLess(len(descriptors), 400)
        statuses = Counter(self.server.post([f"s{n}"]) for n in range(20))
        self.say(f"{statuses[200]} of 20 honest posts answered")
        self.assertEqual(statuses, {200: 20})
        self.assertEqual(self.server.ask("GET", "/healthz")[0], 200)
        logged = self.server.kill()
        self.assertNotIn("Traceback", logged)

    def test_29_held_with_bodies(self) -> None:
        """Held requests with large bodies and unknown keys take little memory."""
        self.server.post(["a"])
        before = self.server.memory()
        for _ in range(5 if FULL else 1):
            self.connect(2000 if FULL else 200, make_request())
        grown = self.server.memory() - before
        self.say(f"memory {grown / 2**20:+.1f} MiB")
        self.assertLess(grown, 16 * 2**20)


class FuzzDrills(SynchronousTestCase):
    """
    Drill 26: bodies that are no points.
    """

    #: Points as they should be, to be spoilt.
    JSON = [
        b'{"stat": "a~b,c", "count": 12, "t": 1363118126}',
        b'{"stat": "v\\u00e9\\ud83d\\ude00", "value": -0.5e3}, {"stat": "\xc3\xa9", "count": 1}',
        b'{"stat": "m", "count": 9223372036854775807}, {"stat": "n", "value": 1.7e308}',
    ]
    FORMS = [
        b"&stat=a~b,c&count=12&t=1363118126",
        b"&stat=%C3%A9+%F0%9F%98%80&value=-0.5e3",
    ]
    #: What it is spoilt with.
    NOISE = [
        bytes([byte]) for byte in b'{}[]",:0eE+-.\\~ &=%;\0\x7f\x80\xc3\xed\xff'
    ] + [
        *(b"1e400", b"NaN", b"-Infinity", b"9" * 70, b"true", b"null", b"\\ud800"),
        *(b"%ED%A0%80", b'"count":1,', b'"value":1,', b"\xef\xbb\xbf", b'"2"'),
    ]

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.answers: Counter[int] = Counter()

    def start(self) -> None:
        """A new collector, which has received nothing."""
        self.here = Collector(self)
        self.expected: dict[str, list[Any]] = {}

    def post(self, body: bytes, type: str) -> int:
        """Post a body; what is taken is noted as another reader understands it."""
        status, answer = self.here.ask("POST", "/ez", body, Content_Type=type)
        self.answers[status] += 1
        self.assertIn(status, (200, 400, 403), body)
        self.assertTrue(answer["msg"], body)
        if status == 403:
            # Of one address there are no more than 20 in a minute.
            self.clock.advance(60)
        if status == 200 and type == "application/json":
            for point in json.loads(body)["data"] or []:
                amounts = (point.get(kind) for kind in ("count", "value"))
                (amount,) = (one for one in amounts if one is not None)
                self.expect(point["stat"], amount)
        elif status == 200:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            self.expect(form["stat"], form.get("count", form.get("value", "")))
        return status

    def expect(self, stat: str, amount: int | float | str) -> None:
        if isinstance(amount, str):
            whole = amount.lstrip("+-").isdigit()
            amount = int(amount) if whole else float(amount)
        prefix, many, suffixes = stat.partition("~")
        for suffix in suffixes.split(","):
            name = f"{prefix} {suffix}" if many else stat
            self.expected.setdefault(name, []).append(amount)

    def check(self) -> None:
        """What was received is what was answered with 200, and nothing else."""
        totals = self.here.totals
        self.assertEqual(totals.keys(), self.expected.keys())
        for name, amounts in self.expected.items():
            self.assertEqual(totals[name].points, len(amounts), name)
            if all(isinstance(amount, int) for amount in amounts):
                self.assertEqual(totals[name].sum, sum(amounts), name)
            else:
                close = math.isclose(totals[name].sum, math.fsum(amounts), abs_tol=1e-9)
                self.assertTrue(close, name)

    def test_26_known(self) -> None:
        """CollectorMetrics that are none, fields given twice, depths: 400 each, and no change."""
        self.start()
        amounts = [
            *("NaN", "Infinity", "1e400", "-1e400", str(2**63), "9" * 5000, "true"),
            *(
                "null",
                '"x"',
                '""',
                "[]",
                "{}",
                "1e-99999999",
                "0x10",
                "\u0661",
                "--1",
                "1_0",
            ),
        ]
        for points in (
            *('{"stat":"a","count":%s}' % amount for amount in amounts),
            *('{"stat":"a","value":%s}' % amount for amount in amounts),
            *(
                '{"stat":"a","count":1,"t":%s}' % amt
                for amt in amounts
                if amt != "null"
            ),
            '{"stat":"\\ud800","count":1}',
            '{"stat":"a","count":1,"count":2}',
            '{"stat":"a","count":%d},{"stat":"a","count":1}' % (2**63 - 1),
            '{"stat":"a","value":1.7e308},{"stat":"a","value":1.7e308}',
            '{"stat":"a","count":1},{"stat":"a","value":1}',
            "[" * 100_000,
            '{"stat":' * 50_000,
        ):
            body = '{"ezkey": "%s", "data": [%s]}' % (self.here.ez, points)
            status = self.post(body.encode(), "application/json")
            self.assertEqual(status, 400, points[:100])
        self.check()

    def spoil(self, good: bytes, chance: random.Random) -> bytes:
        """Replace, put in, cut out, or repeat something, up to four times."""
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(good) + 1)
            end = min(len(good), at + chance.choice((0, 0, 1, 1, 1, 2, 8)))
            new = chance.choice((b"", good[at:end] * 2, *self.NOISE))
            good = good[:at] + new + good[end:]
        return good

    def test_26_fuzz(self) -> None:
        """Points spoilt at random: never a 5xx, and only what is taken is there."""
        chance = random.Random(26)
        number = 1_000_000 if FULL else 1500
        for n in range(number):
            if n % 10_000 == 0:
                # So that new names do not reach their limit.
                if n:
                    self.check()
                self.start()
            key = self.here.ez.encode()
            if chance.random() < 0.3:
                form = b"ezkey=" + key + self.spoil(chance.choice(self.FORMS), chance)
                self.post(form, "application/x-www-form-urlencoded")
            elif chance.random() < 0.7:
                points = self.spoil(chance.choice(self.JSON), chance)
                body = b'{"ezkey": "%b", "data": [%b]}' % (key, points)
                self.post(body, "application/json")
            else:
                after = self.spoil(
                    b'", "data": [%b]}' % chance.choice(self.JSON), chance
                )
                self.post(b'{"ezkey": "' + key + after, "application/json")
        self.check()
        if FULL:
            print(f"\n    {dict(self.answers)}", end=" ")
        self.assertGreater(self.answers[400], number / 3)
        self.assertGreater(self.answers[200], number / 30)
