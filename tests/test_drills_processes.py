"""
Drills for the delivery service with real processes, sockets, signals and clocks.

See :mod:`tests.test_drills_sender` for the small and the full form.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.delivery import FULL, NO_DRILLS, MemoryServer, balanced, make_service, run
from tests.support import Authority, logged, reactor
from tests.test_drills_sender import report, resident
from tests.trouble import TroubleServer, drip, flood, reply, send, stall
from txstathat import StatHatService, txStatHat
from txstathat.agent import PooledAgent
from txstathat.collector.ingest import Batch
from txstathat.collector.site import CollectorSite
from txstathat.testing import FakeStatHat

ROOT = Path(__file__).parent.parent


class _Child(ProcessProtocol):
    """
    A child process whose lines can be waited for.
    """

    def __init__(self) -> None:
        self.out = self.err = b""
        self.ended: Deferred[None] = Deferred()
        self.status: Any = None
        self._waiting: list[Deferred[None]] = []

    def outReceived(self, data: bytes) -> None:
        self.out += data
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Any) -> None:
        self.status = reason.value
        self.outReceived(b"")
        self.ended.callback(None)

    async def started(self) -> None:
        while b"started\n" not in self.out:
            assert self.status is None, self.err.decode()
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    @property
    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.out.split(b"\n")[-2]))


class _Moody(Resource):
    """
    A front door with random trouble: busy, or cutting the line before or after.
    """

    def __init__(self, front: Resource, draw: random.Random) -> None:
        super().__init__()
        self.front = front
        self.draw = draw
        self.trouble = 0.0

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        return _Mood(self, self.front.getChildWithDefault(path, request))


class _Mood(Resource):
    isLeaf = True

    def __init__(self, moody: _Moody, child: Any) -> None:
        super().__init__()
        self._moody = moody
        self._child = child

    def render(self, request: Any) -> Any:
        luck, trouble = self._moody.draw.random(), self._moody.trouble
        if luck < trouble / 3:
            request.setResponseCode(503)
            return b""
        if luck < 2 * trouble / 3:
            request.transport.abortConnection()
            return NOT_DONE_YET
        rendered = self._child.render(request)
        if luck < trouble:
            # The points are taken, but nobody hears of it.
            request.transport.abortConnection()
        return rendered


class _Received(FakeStatHat):
    """
    Also remembers the ids of the batches that it took.
    """

    def __init__(self) -> None:
        self.taken: set[str | None] = set()
        super().__init__()

    def _keep(self, batch: Batch) -> Deferred[bool]:
        def kept(new: bool) -> bool:
            self.taken.add(batch.batch_id)
            return new

        return super()._keep(batch).addCallback(kept)


class ProcessDrills(TestCase):
    """
    A real server, and children that count.
    """

    skip = NO_DRILLS

    timeout = 3600 if FULL else 60

    def setUp(self) -> None:
        self.place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.place)
        self.spool = os.path.join(self.place, "spool")
        self.log = os.path.join(self.place, "log")
        self.draw = random.Random(1)
        self.received = _Received()
        self.front = _Moody(self.received.resource, self.draw)
        self.site = CollectorSite(self.front, reactor)
        self.port: Any = None
        self.number = 0
        self.listen()
        self.addCleanup(lambda: self.port.stopListening())

    def listen(self) -> None:
        self.port = reactor.listenTCP(self.number, self.site, interface="127.0.0.1")
        self.number = self.port.getHost().port
        self.url = f"http://127.0.0.1:{self.number}"

    def sum(self, stat: str) -> Any:
        total = self.received.totals.get(stat)
        return 0 if total is None else total.sum

    def spawn(self, mode: str, *, interval: float = 0.2, **config: Any) -> _Child:
        child = _Child()
        settings = {"interval": interval} | config.pop("settings", {})
        settings.setdefault("spool", self.spool)
        config = {
            "mode": mode, "url": self.url, "log": self.log, "settings": settings,
        } | config  # fmt: skip
        process = reactor.spawnProcess(
            child,
            sys.executable,
            [sys.executable, "-m", "tests.sender_child", json.dumps(config)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            path=str(ROOT),
        )
        child.transport = process

        def end() -> Any:
            if child.status is None:
                process.signalProcess("KILL")
            return child.ended

        self.addCleanup(end)
        return child

    async def wait(self, seconds: float) -> None:
        await deferLater(reactor, seconds, lambda: None)

    async def drain(self) -> dict[str, Any]:
        child = self.spawn("drain")
        await child.ended
        self.assertEqual(child.status.exitCode, 0, child.err.decode())
        self.assertNotIn(b"Traceback", child.err)
        self.assertNotIn(b"canary-key", child.err + child.out)
        return child.health

    def sealed(self) -> set[str]:
        """The ids of the batches in the spool, read without changing it."""
        ids: set[str] = set()
        copy = os.path.join(self.place, "copy")
        shutil.rmtree(copy, ignore_errors=True)
        if os.path.isdir(self.spool):
            shutil.copytree(self.spool, copy)
            for name in os.listdir(copy):
                if name.endswith(".sqlite"):
                    db = sqlite3.connect(os.path.join(copy, name))
                    # It may have been killed before it had made its table.
                    with contextlib.suppress(sqlite3.OperationalError):
                        ids |= {row[0] for row in db.execute("SELECT id FROM batches")}
                    db.close()
        return ids

    def test_1_kill(self) -> Any:
        """kill -9 at any time: what was sealed arrives once, at most a window is lost."""
        rounds = 200 if FULL else 6

        async def check() -> None:
            self.front.trouble = 0.3
            sealed: set[str] = set()
            counted = bound = 0
            for _ in range(rounds):
                child = self.spawn("count")
                await child.started()
                await self.wait(self.draw.uniform(0.0, 0.9))
                child.transport.signalProcess("KILL")  # type: ignore[union-attr]
                await child.ended
                self.assertNotIn(b"Traceback", child.err)
                sealed |= self.sealed()
                lines = (
                    Path(self.log).read_text().splitlines()
                    if os.path.exists(self.log)
                    else []
                )
                times = [
                    (float(a), int(b)) for a, b in (line.split() for line in lines)
                ]
                if times:
                    end, total = times[-1]
                    # The open window, and what was on its way to the disk.
                    before = [n for t, n in times if t <= end - 0.2 - 0.15]
                    counted += total
                    bound += total - (before[-1] if before else 0)
                    os.unlink(self.log)
            self.front.trouble = 0.0
            health = await self.drain()
            self.assertEqual(health["pending"], 0)
            self.assertEqual(sealed - self.received.taken, set())
            arrived = self.sum("n")
            # Each id was applied once: the points are those of the batches.
            self.assertLessEqual(arrived, counted)
            self.assertGreaterEqual(arrived, counted - bound)
            self.assertEqual(os.listdir(self.spool), [])
            report(
                1,
                f"{rounds} x kill -9: {len(sealed)} sealed batches found, lost 0, "
                f"{(counted - arrived) / rounds:.0f} of 200 counts of a window lost "
                f"each time on average",
            )

        return ensureDeferred(check())

    def test_14_sigterm(self) -> Any:
        """SIGTERM: the program ends in time, what is in the spool is not lost."""
        limit = 2.0 if FULL else 1.0
        many = (0, 1000, 100_000) if FULL else (1000,)
        hung = TroubleServer()
        hung.script = [stall]
        self.addCleanup(lambda: ensureDeferred(hung.stop()))

        async def check() -> None:
            for queued in many:
                for how, server in (
                    ("fine", self.url),
                    ("hung", hung.url),
                    ("refusing", "http://127.0.0.1:1"),
                ):
                    settings = {"shutdown_timeout": limit, "max_pending": 200_000}
                    child = self.spawn(
                        "queue",
                        url=server,
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
                    self.assertLessEqual(took, limit + 0.5, (queued, server))
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
                    await self.drain()
                    self.assertEqual(os.listdir(self.spool), [])
            totals = self.received.totals
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
                for _ in range(70):
                    await self.wait(0.05)
                    if len(self.received.points) > seen:
                        seen = len(self.received.points)
                        gaps.append(time.monotonic() - last)
                        last = time.monotonic()
                child.transport.signalProcess("TERM")  # type: ignore[union-attr]
                await child.ended
                gaps.append(time.monotonic() - last)
                self.assertNotIn(b"Traceback", child.err)
                self.assertGreater(len(gaps), 4)
                self.assertLessEqual(max(gaps), 2 * 0.5 + 0.3)
                for point in self.received.points:
                    t = point.t
                    assert isinstance(t, int)
                    near = [abs(t - before - offset) for offset in (0, step)]
                    self.assertLess(min(near), 15)
                report(
                    15, f"a step of {step:+.0f} s: longest gap {max(gaps):.2f} s of 1.0"
                )

        return ensureDeferred(check())

    def test_15_sigstop(self) -> Any:
        """A process that was stopped for a while goes on where it was."""
        # The full form takes ten minutes: TXSTATHAT_PATIENCE is how many seconds.
        pause = float(os.environ.get("TXSTATHAT_PATIENCE", "1.5"))

        async def check() -> None:
            child = self.spawn("count", interval=0.5, every=0.02)
            await child.started()
            await self.wait(1)
            os.kill(child.transport.pid, signal.SIGSTOP)  # type: ignore[union-attr]
            await self.wait(pause)
            seen = len(self.received.points)
            os.kill(child.transport.pid, signal.SIGCONT)  # type: ignore[union-attr]
            before = time.monotonic()
            while len(self.received.points) == seen:
                await self.wait(0.01)
            took = time.monotonic() - before
            report(15, f"{pause:.0f} s of SIGSTOP: delivered again after {took:.2f} s")
            # Two windows, and one more try if an answer was lost meanwhile.
            self.assertLessEqual(took, 2 * 0.5 + 2.0 + 0.3)
            child.transport.signalProcess("TERM")  # type: ignore[union-attr]
            await child.ended
            self.assertEqual(child.health["delivered"], child.health["recorded"])
            self.assertEqual(self.sum("n"), 5 * self.sum("v"))

        return ensureDeferred(check())

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
            self.assertEqual(self.received.totals.keys(), {"f"})
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
            for child in children:
                child.transport.signalProcess("TERM")  # type: ignore[union-attr]
            for child in children:
                await child.ended
                self.assertEqual(child.health["pending"], 0)
            health = await self.drain()
            self.assertGreater(health["recovered"], 0)
            self.assertEqual(health["recovered"], health["delivered"])
            self.assertEqual(
                self.sum("victim")
                + self.received.totals["v"].points
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
            self.assertEqual(self.sum("n") + self.received.totals["v"].points, recorded)

        return ensureDeferred(check())


class SocketDrills(TestCase):
    """
    A service in this process, against servers that misbehave.
    """

    skip = NO_DRILLS

    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority()

    def service(
        self, url: str, *, agent: Any = None, **settings: Any
    ) -> StatHatService:
        client = txStatHat("canary-key", url=url, timeout=0.5, agent=agent)
        service = StatHatService(
            client, interval=0.05, shutdown_timeout=0.2, **settings
        )
        service.startService()
        return service

    def test_10_bad_replies(self) -> Any:
        """Whatever a server answers, the next try comes, and no socket stays open."""
        gzip = b"Content-Encoding: gzip\r\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        scripts: list[list[Any]] = [
            [stall],
            [send(head), stall],
            [send(head), drip(b"{" * 100, 0.1)],
            [send(b"HTTP/1.1 200 OK\r\n\r\n"), flood(b"x" * 65_536)],
            [send(b"HTTP/1.1 200 OK\r\n"), flood(b"X-A: " + b"x" * 1000 + b"\r\n")],
            [reply(body=b"x" * 1000, headers=gzip)],
            [send(head), lambda connection, go_on: connection.transport.loseWriteConnection()],
        ]  # fmt: skip

        async def check() -> None:
            for tls in (None, self.authority.server_options("localhost")):
                agent = None
                servers, services, agents = [], [], []
                for script in scripts:
                    server = TroubleServer(tls)
                    server.script = script
                    if tls is not None:
                        agent = PooledAgent(
                            reactor, trust_root=self.authority.trust_root
                        )
                        agents.append(agent)
                    services.append(self.service(server.url, agent=agent))
                    servers.append(server)
                before = resident()
                with logged() as log:
                    for service in services:
                        service.count("a")
                    await deferLater(reactor, 1.2, lambda: None)
                    for server, service in zip(servers, services, strict=True):
                        self.assertGreaterEqual(server.requests, 1)
                        self.assertGreaterEqual(service.health.retries, 1)
                        server.script = [reply()]
                    grown = (resident() - before) / 2**20
                    self.assertLess(grown, 16)
                    for service in services:
                        await service.flush()
                        self.assertEqual(service.health.delivered, 1)
                        await service.stopService()
                    for agent in agents:
                        await agent.close()
                    await deferLater(reactor, 0.05, lambda: None)
                    self.assertEqual([len(s.open) for s in servers], [0] * 7)
                for server in servers:
                    await server.stop()
                self.assertNotIn("canary-key", log.text)
            await deferLater(reactor, 0.1, lambda: None)

        return ensureDeferred(check())

    def test_12_no_key_without_trust(self) -> Any:
        """A server that is not trusted, or sends elsewhere, sees no key."""

        async def check() -> None:
            server = TroubleServer(self.authority.server_options("localhost"))
            other, redirecting = TroubleServer(), TroubleServer()
            location = f"Location: {other.url}/\r\n".encode()
            untrusting = self.service(server.url)
            untrusting.count("a")
            await deferLater(reactor, 0.6, lambda: None)
            self.assertEqual(server.received, b"")
            self.assertEqual(untrusting.health.pending, 1)
            await untrusting.stopService()
            for status in (301, 302, 303, 307, 308):
                redirecting.script = [reply(status, b"", location)]
                service = self.service(redirecting.url)
                service.count("a")
                await deferLater(reactor, 0.2, lambda: None)
                self.assertEqual(service.health.pending, 1)
                await service.stopService()
            self.assertGreaterEqual(redirecting.requests, 5)
            self.assertEqual((other.requests, other.received), (0, b""))
            for each in (server, other, redirecting):
                await each.stop()

        return ensureDeferred(check())

    def test_11_unknown_name(self) -> Any:
        """A name that is not found is an outage like any other."""

        async def check() -> None:
            service = self.service("http://nowhere.invalid")
            service.count("a")
            await deferLater(reactor, 0.7, lambda: None)
            self.assertEqual(service.health.pending, 1)
            self.assertGreaterEqual(service.health.retries, 1)
            await service.stopService()
            self.assertEqual(service.health.dropped, {"shutdown": 1})

        return ensureDeferred(check())


DISK = """
import json, os, resource, sys
from twisted.internet.task import Clock
from tests.delivery import AWAY, OK, MemoryServer, make_service, run, balanced
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
            timeout=60,
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
