"""
Drills for the delivery service with real processes, signals, clocks and disks.

See :mod:`tests.drills.test_sender` for the small and the full form.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.children import ROOT, ChildrenTestCase
from tests.fixtures.delivery import (
    FULL,
    NO_DRILLS,
    MemoryServer,
    balanced,
    make_service,
    run,
    slack,
)
from tests.fixtures.drills import report
from tests.fixtures.support import reactor
from tests.fixtures.trouble import TroubleServer, stall
from txstathat import StatHatService


class ProcessDrills(ChildrenTestCase):
    """
    A real server, and children that count.
    """

    def test_14_sigterm(self) -> Any:
        """SIGTERM: the program ends in time, what is in the spool is not lost."""
        limit = 2.0 if FULL else 1.0
        many = (0, 1000, 100_000) if FULL else (1000,)

        async def check() -> None:
            for queued in many:
                # What a busy machine takes for a process that has nothing to wait for.
                overhead = 0.0
                for how in ("fine", "hung", "refusing"):
                    self.front.hangs = how == "hung"
                    if how == "refusing":
                        await self.port.stopListening()
                    settings = {"shutdown_timeout": limit, "max_pending": 200_000}
                    child = self.spawn(
                        "queue",
                        queued=queued,
                        timeout=30,
                        settings=settings,
                        interval=60,
                    )
                    await child.started()
                    await self.wait(0.2)
                    before = time.monotonic()
                    child.transport.signalProcess("TERM")  # type: ignore[union-attr]
                    if how == "hung":
                        await self.wait(0.3)
                        with contextlib.suppress(ProcessExitedAlready):
                            child.transport.signalProcess("TERM")  # type: ignore[union-attr]
                    await child.ended
                    took = time.monotonic() - before
                    health = child.health
                    self.assertLessEqual(
                        took, limit + slack(0.5) + overhead, (queued, how)
                    )
                    if how == "fine":
                        overhead = took
                    self.assertEqual(health["recorded"], queued)
                    self.assertEqual(health["dropped"], {})
                    self.assertEqual(health["delivered"] + health["pending"], queued)
                    self.assertEqual(health["threads"], ["MainThread"])
                    report(
                        14,
                        f"{queued} queued, {how}: ended in {took:.2f} s "
                        f"of {limit + 0.5}",
                    )
                    if how != "fine" and queued:
                        self.assertGreater(len(self.sealed()), 0)
                    self.front.hangs = False
                    if how == "refusing":
                        self.listen()
                    # On a busy disk a file may stay that is empty.
                    for _ in range(3):
                        await self.drain()
                        if not os.listdir(self.spool):
                            break
                    self.assertEqual(os.listdir(self.spool), [])
            totals = self.received.summaries
            sums = [totals[f"s{i}"].sum for i in range(max(many))]
            self.assertEqual(min(sums), 3)
            self.assertEqual(sum(sums), 3 * sum(many))

        return ensureDeferred(check())

    def test_15_clock_steps(self) -> Any:
        """The clock is set an hour back or ahead: flushes go on, times are sane."""

        async def check() -> None:
            for step in (-3600.0, 3600.0):
                before = time.time()
                self.received.points.clear()
                child = self.spawn(
                    "clock", interval=0.5, steps=[(1.0, step)], every=0.02
                )
                await child.started()
                gaps, last, seen = [], time.monotonic(), 0
                # Six flushes: the clock is set after the second.
                while len(gaps) < 6:
                    await self.wait(0.05)
                    if len(self.received.points) > seen:
                        seen = len(self.received.points)
                        gaps.append(time.monotonic() - last)
                        last = time.monotonic()
                child.transport.signalProcess("TERM")  # type: ignore[union-attr]
                await child.ended
                gaps.append(time.monotonic() - last)
                self.assertNotIn(b"Traceback", child.err)
                self.assertLessEqual(max(gaps), 2 * 0.5 + slack(0.3))
                for point in self.received.points:
                    t = point.t
                    assert isinstance(t, int)
                    near = [abs(t - before - offset) for offset in (0, step)]
                    self.assertLess(min(near), slack(15))
                report(
                    15, f"a step of {step:+.0f} s: longest gap {max(gaps):.2f} s of 1.0"
                )

        return ensureDeferred(check())

    def test_15_sigstop(self) -> Any:
        """A process that was stopped between two flushes resumes."""
        return ensureDeferred(self.stop_and_go(under_way=False))

    def test_15_sigstop_under_way(self) -> Any:
        """A process that was stopped with a request in flight resumes."""
        return ensureDeferred(self.stop_and_go(under_way=True))

    async def stop_and_go(self, under_way: bool) -> None:
        # The full form takes ten minutes: TXSTATHAT_PATIENCE is how many seconds.
        pause = float(os.environ.get("TXSTATHAT_PATIENCE", "600" if FULL else "3"))
        child = self.spawn("count", interval=0.5, every=0.02, timeout=2)
        await child.started()
        await self.wait(1)
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self.front.on_request = lambda: None
            os.kill(child.transport.pid, signal.SIGSTOP)  # type: ignore[union-attr]
            stopped.callback(None)

        if under_way:
            self.front.on_request = stop
            await stopped
        else:
            stop()
        await self.wait(pause)
        seen = len(self.received.points)
        os.kill(child.transport.pid, signal.SIGCONT)  # type: ignore[union-attr]
        before = time.monotonic()
        while len(self.received.points) == seen:
            await self.wait(0.01)
        took = time.monotonic() - before
        child.transport.signalProcess("TERM")  # type: ignore[union-attr]
        await child.ended
        retries = child.health["retries"]
        report(
            15,
            f"{pause:.0f} s of SIGSTOP, {'' if under_way else 'no '}request under way: "
            f"delivered again after {took:.2f} s, {retries} retries",
        )
        # Two windows. The answer that had come meanwhile is read, although the time
        # limit has passed, so that nothing is sent again.
        self.assertLessEqual(took, 2 * 0.5 + slack(0.3))
        self.assertEqual(retries, 0)
        self.assertEqual(child.health["delivered"], child.health["recorded"])
        self.assertEqual(self.sum("n"), 5 * self.sum("v"))

    def test_16_threads(self) -> Any:
        """Eight threads count at once: the sum is exact."""
        each = 100_000 if FULL else 2000

        async def check() -> None:
            child = self.spawn("threads", each=each)
            await child.ended
            self.assertEqual(child.status.exitCode, 0, child.err.decode())
            self.assertEqual(self.sum("t"), 8 * each)
            report(16, f"8 threads x {each}: sum exact")

        return ensureDeferred(check())

    def test_16_fork(self) -> Any:
        """A fork after the start: only the parent sends, and nothing hangs."""

        async def check() -> None:
            child = self.spawn("fork")
            await child.ended
            self.assertEqual(child.status.exitCode, 0, child.err.decode())
            self.assertEqual(dict(self.received.summaries).keys(), {"f"})
            self.assertEqual(self.sum("f"), 100)

        return ensureDeferred(check())

    def test_16_processes(self) -> Any:
        """Several processes share a folder; one is killed, the others adopt its spool."""

        async def check() -> None:
            number = 4 if FULL else 3
            dead = TroubleServer()
            dead.script = [stall]
            children = [
                self.spawn("count", stat=f"p{i}", log=f"{self.log}{i}", every=0.02)
                for i in range(number)
            ]
            # One that cannot deliver, and is killed with a full spool.
            victim = self.spawn("count", stat="victim", url=dead.url, every=0.02)
            for child in (*children, victim):
                await child.started()
            await self.wait(1.5)
            victim.transport.signalProcess("KILL")  # type: ignore[union-attr]
            await victim.ended
            await dead.stop()
            self.assertEqual(self.sum("victim"), 0)
            # Its server is back, where it was.
            port = reactor.listenTCP(dead.port, self.site, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            for child in children:
                child.transport.signalProcess("TERM")  # type: ignore[union-attr]
            for child in children:
                await child.ended
                self.assertEqual(child.health["pending"], 0)
            health = await self.drain(url=dead.url)
            self.assertGreater(health["recovered"], 0)
            self.assertEqual(health["recovered"], health["delivered"])
            self.assertEqual(
                self.sum("victim")
                + self.received.summaries["v"].points
                - sum(self.sum(f"p{i}") for i in range(number)) // 5,
                health["recovered"],
            )
            self.assertEqual(os.listdir(self.spool), [])

        return ensureDeferred(check())

    def test_restarts_of_the_server(self) -> Any:
        """The server goes away and comes back: everything arrives once."""

        async def check() -> None:
            child = self.spawn("count", interval=0.3, every=0.02)
            await child.started()
            for _ in range(10 if FULL else 2):
                await self.wait(0.7)
                await self.port.stopListening()
                await self.wait(0.7)
                self.listen()
            self.front.trouble = 0.5
            await self.wait(2)
            self.front.trouble = 0.0
            child.transport.signalProcess("TERM")  # type: ignore[union-attr]
            await child.ended
            recorded = child.health["recorded"]
            if child.health["pending"]:
                await self.drain()
            self.assertEqual(
                self.sum("n") + self.received.summaries["v"].points, recorded
            )

        return ensureDeferred(check())


DISK = """
import json, os, resource, sys
from twisted.internet.task import Clock
from tests.fixtures.delivery import AWAY, OK, MemoryServer, make_service, run, balanced
folder, kind = sys.argv[1:]
clock = Clock(); clock.advance(1_000_000)
server = MemoryServer(clock)
server.mood = lambda: AWAY
service = make_service(clock, server, spool=folder)
def largest():
    return max(os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder))
def count(n):
    for i in range(n):
        assert service.count(f"s{i}").result is True
    run(clock, 6)
if kind == "size":
    service.startService()
    for _ in range(20):
        count(500)
    limit = resource.RLIMIT_FSIZE
    tight = largest()
else:
    # Whatever is imported late is there before nothing can be opened any more.
    other = make_service(clock, MemoryServer(clock))
    other.startService()
    other.count("a")
    run(clock, 6)
    other.stopService()
    run(clock, 1)
    limit = resource.RLIMIT_NOFILE
    tight = len(os.listdir("/proc/self/fd")) - 1
before = resource.getrlimit(limit)
resource.setrlimit(limit, (tight, before[1]))
if kind != "size":
    service.startService()
for _ in range(20):
    count(500)
assert service.health.spool_error, service.health
spooled = service.health.spooled
server.mood = lambda: OK
run(clock, 700, 1)
# What was on disk has been sent, and deleted there although nothing can grow.
assert service.health.pending == 0, service.health
assert service.health.spooled == 0, repr(service.health)
resource.setrlimit(limit, before)
server.mood = lambda: AWAY
count(500)
assert service.health.spool_error is None, repr(service.health)
assert service.health.spooled > 0
server.mood = lambda: OK
run(clock, 700, 1)
stopped = service.stopService()
run(clock, 8)
assert stopped.called
assert balanced(service.health)
total = sum(server.sums.values())
assert total == service.health.recorded == service.health.delivered, service.health
print(json.dumps([spooled, service.health.recorded, os.listdir(folder)]))
"""


class DiskDrills(SynchronousTestCase):
    """
    Disks without room, and processes without descriptors.
    """

    skip = NO_DRILLS

    def disk(self, folder: str, kind: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", DISK, folder, kind],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_3_no_room(self) -> None:
        """No file can grow: batches stay in memory, deleting works, relief is noticed."""
        place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, place)
        spooled, recorded, left = self.disk(os.path.join(place, "spool"), "size")
        self.assertGreater(spooled, 100_000)
        self.assertEqual((recorded, left), (20_500, []))

    def test_3_no_descriptors(self) -> None:
        """No file can be opened: batches stay in memory until it can."""
        place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, place)
        _, recorded, left = self.disk(os.path.join(place, "spool"), "files")
        self.assertEqual((recorded, left), (10_500, []))

    if FULL:
        # It mounts a file system.

        def test_3_a_full_file_system(self) -> None:
            """A file system with 0 bytes free: deleting works, and it is noticed again."""
            place = tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, place)
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place],
                capture_output=True,
            )
            if mounted.returncode:
                self.skipTest("needs the right to mount a file system")
            self.addCleanup(subprocess.run, ["umount", "-l", place], check=True)
            clock_and_server = _VirtualTime()
            service = clock_and_server.service(os.path.join(place, "spool"))
            service.startService()
            filled = False
            for _ in range(40):
                for i in range(1000):
                    service.count(f"stat {i}")
                run(clock_and_server.clock, 6)
                if not filled and service.health.spooled > 300_000:
                    filled = True
                    with open(os.path.join(place, "ballast"), "wb", 0) as file:
                        try:
                            while True:
                                file.write(bytes(4096))
                        except OSError:
                            pass
            self.assertEqual(os.statvfs(place).f_bavail, 0)
            self.assertIn("No space", str(service.health.spool_error))
            clock_and_server.up()
            run(clock_and_server.clock, 700, 1)
            self.assertEqual((service.health.pending, service.health.spooled), (0, 0))
            os.unlink(os.path.join(place, "ballast"))
            clock_and_server.down()
            service.count("a")
            run(clock_and_server.clock, 10)
            self.assertIsNone(service.health.spool_error)
            self.assertGreater(service.health.spooled, 0)
            clock_and_server.up()
            run(clock_and_server.clock, 700, 1)
            service.stopService()
            run(clock_and_server.clock, 8)
            self.assertTrue(balanced(service.health))
            self.assertEqual(service.health.delivered, 40_001)
            report(
                3, "0 bytes free: nothing lost, deleted all the same, back within 5 s"
            )


class _VirtualTime:
    def __init__(self) -> None:
        from twisted.internet.task import Clock

        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.server = MemoryServer(self.clock)
        self.down()

    def service(self, spool: str) -> StatHatService:
        return make_service(self.clock, self.server, spool=spool)

    def up(self) -> None:
        self.server.mood = lambda: "ok"

    def down(self) -> None:
        self.server.mood = lambda: "away"
