"""
Faults that counting must survive: killed processes, servers that go away.

The full forms run with ``TXSTATHAT_DRILLS=full``.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.fixtures.delivery import slack
from tests.fixtures.kicker import TASKS, numbered
from tests.fixtures.python_programs import PythonPopen
from tests.fixtures.stores import RedisServer
from txstathat.errors import StoreError, StoreUnavailable
from txstathat.metrica import Metrica, StoredChoiceAxis
from txstathat.stores import open_store

FULL = os.environ.get("TXSTATHAT_DRILLS") == "full"
#: What makes Redis keep what it has acknowledged.
SAFE = ("--appendonly", "yes", "--appendfsync", "always")


class CrashTests(TestCase):
    """A process is killed at full speed: each acknowledged kick is stored, and only once."""

    timeout = 600

    @inlineCallbacks
    def killed(self, url: str, between: Any = lambda: None) -> Any:
        """Kill a kicking process several times, and compare its output with the store."""
        acknowledged: set[int] = set()
        starts = []
        for _ in range(50 if FULL else 3):
            first = max(acknowledged, default=0) + 10 * TASKS
            starts.append(first)
            output = yield deferToThread(self.kick_and_kill, url, first)
            acknowledged |= {int(line) for line in output.split("\n")[:-1]}
            between()
        self.assertGreater(len(acknowledged), 100)
        store = yield open_store(url)
        self.addCleanup(store.close)
        counts = dict((yield numbered(store).values().iterate("number")))
        self.assertEqual(acknowledged - set(counts), set())
        self.assertEqual(set(counts.values()), {1})
        self.assertEqual((yield numbered(store).total()), len(counts))
        # What is there beyond was under way when the process was killed.
        self.assertLessEqual(len(counts), len(acknowledged) + TASKS * len(starts))

    def kick_and_kill(self, url: str, first: int) -> str:
        """Start a kicking process, and kill it at a random moment. Returns its output."""
        process = PythonPopen(
            [sys.executable, "-m", "tests.fixtures.kicker", url, str(first)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        begun = process.stdout.readline()
        time.sleep(random.uniform(0.05, 0.5))
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        self.assertEqual(process.wait(), -signal.SIGKILL)
        return (begun + rest).decode()

    def test_sqlite(self) -> Any:
        """With SQLite. The file is also checked for damage."""
        path = os.path.abspath(self.mktemp())

        def check() -> None:
            with closing(sqlite3.connect(path)) as db:
                found = db.execute("PRAGMA integrity_check").fetchall()
            self.assertEqual(found, [("ok",)])

        return self.killed(f"sqlite:{path}", check)

    def test_redis(self) -> Any:
        """With Redis, which is killed each time too."""
        server = RedisServer(*SAFE)
        self.addCleanup(server.remove)

        def restart() -> None:
            server.kill()
            server.start()

        return self.killed(f"redis://127.0.0.1:{server.port}/0", restart)


class OutageTests(TestCase):
    """Redis becomes unreachable under load, and comes back."""

    timeout = 600

    @inlineCallbacks
    def outage(self, stop: Any, start: Any, server: RedisServer) -> Any:
        """Kick all the time: each acknowledged kick is stored, and only once."""
        store = yield open_store(
            f"redis://127.0.0.1:{server.port}/0?socket_timeout=0.5"
        )
        self.addCleanup(store.close)
        axes = [("n", StoredChoiceAxis())]
        metrica = Metrica("m", axes, store, max_waiting=20_000)
        done = {"written": 0, "refused": 0, "failed": 0}
        kicked = 0

        def written(_: Any) -> None:
            done["written"] += 1

        def failed(failure: Any) -> None:
            failure.trap(StoreError)
            done["refused" if failure.type.__name__ == "StoreBusy" else "failed"] += 1

        @inlineCallbacks
        def load(seconds: float) -> Any:
            nonlocal kicked
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for n in range(200):
                    kicked += 1
                    metrica.kick(n=n % 10).addCallbacks(written, failed)
                yield deferLater(reactor, 0.005)

        yield load(0.5)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield deferToThread(stop)
        yield load(10 if FULL else 2)
        self.assertGreater(metrica.waiting, 0)
        yield deferToThread(start)
        yield load(0.5)
        yield store.batcher.settled()
        yield deferLater(reactor, 0.1)
        self.assertEqual((yield metrica.total()), done["written"])
        self.assertEqual(sum(done.values()), kicked)
        self.assertEqual((metrica.waiting, done["failed"]), (0, 0))
        self.assertEqual(metrica.refused, done["refused"])
        self.assertGreater(store.batcher.retries, 0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        self.assertLess(grown, 60 * 1024)  # KiB; 20,000 kicks wait at most

    def test_killed(self) -> Any:
        """Redis is killed, and restarted with its files."""
        server = RedisServer(*SAFE)
        self.addCleanup(server.remove)
        return self.outage(server.kill, server.start, server)

    def test_stopped(self) -> Any:
        """Redis hangs: it executes received commands when it continues, and they are repeated."""
        server = RedisServer()
        self.addCleanup(server.remove)
        return self.outage(
            lambda: os.kill(server.pid, signal.SIGSTOP),
            lambda: os.kill(server.pid, signal.SIGCONT),
            server,
        )

    @inlineCallbacks
    def test_out_of_memory(self) -> Any:
        """Out of memory, Redis adds no part of a batch; it continues when there is memory."""
        server = RedisServer("--maxmemory-policy", "noeviction")
        self.addCleanup(server.remove)
        store = yield open_store(f"redis://127.0.0.1:{server.port}/0")
        self.addCleanup(store.close)
        metrica = Metrica("m", [("n", StoredChoiceAxis())], store)
        yield metrica.kick(n=1)
        server.command("CONFIG", "SET", "maxmemory", "1")
        waiting = [metrica.kick(n=n) for n in range(10)]
        yield deferLater(reactor, 0.3)
        self.assertEqual(metrica.waiting, 10)
        self.assertGreater(store.batcher.retries, 0)
        server.command("CONFIG", "SET", "maxmemory", "0")
        yield gatherResults(waiting)
        self.assertEqual((yield metrica.total()), 11)

    @inlineCallbacks
    def test_down(self) -> Any:
        """While Redis is down, opening and queries fail within two seconds, with a message."""
        server = RedisServer()
        self.addCleanup(server.remove)
        url = f"redis://127.0.0.1:{server.port}/0"
        store = yield open_store(url)
        self.addCleanup(store.close)
        server.kill()
        begin = time.monotonic()
        error = yield self.assertFailure(
            Metrica("m", [], store).total(), StoreUnavailable
        )
        self.assertIn("Redis", str(error))
        yield self.assertFailure(open_store(url), StoreUnavailable)
        self.assertLess(time.monotonic() - begin, slack(2))
