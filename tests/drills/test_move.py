"""
A move to another store while senders send: the collector stops, its store is exported
and imported into the new one, and the collector starts again on that. The senders
repeat meanwhile what is not acknowledged, and those with a spool keep it there.

The small form runs by default, the full one with ``TXSTATHAT_DRILLS=full``; it prints
its figures.
"""

from __future__ import annotations

import os
import sys
import time
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.collector_drills import Server
from tests.fixtures.delivery import FULL, NO_DRILLS
from tests.fixtures.python_programs import run_python
from tests.fixtures.senders import Senders, SpoolingSenders, compare
from tests.fixtures.stores import RedisCluster, RedisServer, shared

skip = NO_DRILLS


class MoveDrills(SynchronousTestCase):
    """From SQLite to a Redis Cluster; in the full form also to Redis, and back."""

    timeout = 300

    def run_command(self, *words: str) -> None:
        """Run a command of ``txstathat``."""
        done = run_python(
            [sys.executable, "-m", "txstathat", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def file(self) -> str:
        """The URL of a new SQLite store."""
        return f"sqlite://{os.path.abspath(self.mktemp())}"

    def test_live(self) -> None:
        """
        Senders that go on sending lose and double nothing, at any scale.
        """
        cluster = shared(RedisCluster).servers[0].port
        stores = [f"redis+cluster://127.0.0.1:{cluster}/0?prefix={uuid4().hex}"]
        if FULL:
            redis = shared(RedisServer).port
            stores += [
                f"redis://127.0.0.1:{redis}/0?prefix={uuid4().hex}",
                self.file(),
                f"redis://127.0.0.1:{redis}/0?prefix={uuid4().hex}",
            ]
        server = Server(self.file())
        self.addCleanup(server.kill)
        spooling = SpoolingSenders([server], 2 if FULL else 1, self.mktemp())
        self.addCleanup(spooling.kill)
        spooling.wait_for_delivery()
        senders = Senders([server], 2 if FULL else 1)
        try:
            for number, url in enumerate(stores):
                time.sleep(5 if FULL else 0.3)
                path = os.path.abspath(f"{self.mktemp()}.jsonl")
                # It answers what it has begun.
                server.process.terminate()
                server.process.wait(30)
                # What it cannot deliver now is in its spool, for its next process.
                spooling.restart(0)
                began = time.monotonic()
                self.run_command("export", path, "--keys", "--store", server.store)
                self.run_command("import", path, "--store", url)
                server.store = url
                server.start()
                if FULL:
                    seconds = time.monotonic() - began
                    print(f"\n    move {number + 1}: {seconds:.1f} s", end="")
            time.sleep(0.3)
        finally:
            senders.stop()
        spooling.stop()
        self.assertEqual(spooling.dropped, 0)
        self.assertGreater(spooling.retries, 0)
        self.assertGreater(spooling.recovered, 0)
        self.assertGreater(senders.repeated, 0)
        senders.acknowledged.update(spooling.recorded)
        scales = ("all", "year", "month", "day", "hour", "minute")
        self.assertEqual(
            compare(server.store, senders.acknowledged), dict.fromkeys(scales, (0, 0))
        )
        if FULL:
            print(
                f"\n    {senders.requests:,} requests, and "
                f"{spooling.recorded.total():,} counts through spools, of which "
                f"{spooling.recovered:,} by a later process: lost 0, doubled 0",
                end="",
            )
