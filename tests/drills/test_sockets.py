"""
Drills for the delivery service with real sockets and name look-ups.

See :mod:`tests.drills.test_sender` for the small and the full form.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import shutil
import socket
import tempfile
import threading
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.fixtures.children import Moody
from tests.fixtures.delivery import FULL, NO_DRILLS, slack
from tests.fixtures.drills import report, resident
from tests.fixtures.support import Authority, logged, reactor
from tests.fixtures.trouble import TroubleServer, drip, flood, reply, send, stall
from txstathat import FlushResult, StatHatService, txStatHat
from txstathat.collector.ingest.resource import IngestResource
from txstathat.collector.web.site import CollectorSite
from txstathat.delivery.sending.sender import MAX_IN_FLIGHT
from txstathat.http.connections.pool import PooledAgent
from txstathat.http.connections.resolver import DaemonResolver
from txstathat.testing import FakeStatHat


class _Closing(Resource):
    """
    A front door that closes connections as they are used for the second time: before
    it takes the points, or after.

    :ivar used: the ids of the requests that were answered.
    :ivar cut: the ids of the requests that were not.
    """

    def __init__(self, front: IngestResource) -> None:
        super().__init__()
        self.front = front
        self.takes = False
        self.used: list[bytes] = []
        self.cut: list[bytes] = []
        self.channel: Any = None

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        id = request.getHeader("idempotency-key")
        again, self.channel = request.channel is self.channel, request.channel
        (self.cut if again else self.used).append(id)
        child = self.front.getChildWithDefault(path, request)
        return _Cut(child if self.takes else None) if again else child


class _Cut(Resource):
    isLeaf = True

    def __init__(self, child: Any) -> None:
        super().__init__()
        self._child = child

    def render(self, request: Any) -> Any:
        transport = request.transport
        if self._child is not None:
            self._child.render(request)
        transport.abortConnection()
        return NOT_DONE_YET


class _Soaking(Moody):
    """
    A front door with random trouble that also leaves requests without an answer.
    """

    def __init__(self, front: IngestResource, draw: random.Random) -> None:
        super().__init__(front, draw)
        self.trouble = 0.2

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        if self.trouble and self.draw.random() < 0.05:
            return _Hung()
        return super().getChildWithDefault(path, request)


class _Hung(Resource):
    isLeaf = True

    def render(self, request: Any) -> Any:
        return NOT_DONE_YET


class _Soonest(random.Random):
    """Always the shortest delay."""

    def uniform(self, a: float, b: float) -> float:
        return a


class SocketDrills(TestCase):
    """
    A service in this process, against servers that misbehave.
    """

    skip = NO_DRILLS

    timeout = 600

    def setUp(self) -> None:
        self.authority = Authority()

    def service(
        self, url: str, *, agent: Any = None, timeout: float = 0.5, **settings: Any
    ) -> StatHatService:
        client = txStatHat("canary-key", url=url, timeout=timeout, agent=agent)
        service = StatHatService(
            client, **({"interval": 0.05, "shutdown_timeout": 0.2} | settings)
        )
        service.startService()
        return service

    def test_5_stale_connections(self) -> Any:
        """
        The server closes a connection just as it is used again, with or without having
        taken the points, or even before it has read them: same id again, nothing
        doubled.
        """
        senders, rounds = (40, 27) if FULL else (12, 3)
        received = FakeStatHat()
        doors = []

        async def count(sender: int) -> int:
            door = _Closing(received.resource)
            doors.append(door)
            port = reactor.listenTCP(
                0, CollectorSite(door, reactor), interface="127.0.0.1"
            )
            # Sealed by flush alone.
            service = self.service(
                f"http://127.0.0.1:{port.getHost().port}", interval=60
            )
            service.count("a")
            await service.flush()
            for turn in range(rounds):
                kind = (sender + turn) % 3
                door.takes = kind == 1
                if kind == 2:
                    # At the very moment when the request is written.
                    door.channel.loseConnection()
                service.count("a")
                await service.flush()
            health = service.health
            await service.stopService()
            await port.stopListening()
            self.assertEqual(health.delivered, 1 + rounds)
            return health.retries

        async def check() -> None:
            counting = [ensureDeferred(count(sender)) for sender in range(senders)]
            retries = sum(await gatherResults(counting))
            closed = senders * rounds
            self.assertEqual(received.summaries["a"].sum, senders + closed)
            # Each was in vain once: the requests that were cut, and those not even read.
            self.assertGreaterEqual(retries, closed)
            cut = 0
            for door in doors:
                self.assertEqual(len(set(door.used)), 1 + rounds)
                self.assertLessEqual(set(door.cut), set(door.used))
                cut += len(door.cut)
            self.assertGreaterEqual(cut, closed * 0.6)
            report(
                5,
                f"{closed} connections closed as they were used again, {cut} after the "
                f"request was read: lost 0, doubled 0, {retries} tries more",
            )

        return ensureDeferred(check())

    def test_10_bad_replies(self) -> Any:
        """
        Whatever a server answers, the attempt ends in time, its socket is closed, it
        takes little memory, and the next try comes: not soon after an answer that was
        not read, since nobody knows what it means.
        """
        limit = 2.0 if FULL else 0.3
        gzip = b"Content-Encoding: gzip\r\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        scripts: dict[str, list[Any]] = {
            "a reply": [reply()],
            "no headers": [stall],
            "no body": [send(head), stall],
            "a body that drips": [send(head), drip(b"{" * 100, limit / 10)],
            "an endless body": [send(b"HTTP/1.1 200 OK\r\n\r\n"), flood(b"x" * 65_536)],
            "endless headers": [send(b"HTTP/1.1 200 OK\r\n"), flood(b"X-A: " + b"x" * 1000 + b"\r\n")],
            "a gzip bomb": [reply(body=b"x" * 1000, headers=gzip)],
            "half a connection": [send(head), lambda connection, go_on: connection.transport.loseWriteConnection()],
        }  # fmt: skip

        unread = ("an endless body", "a gzip bomb")

        async def one(
            server: TroubleServer, agent: Any, unread: bool
        ) -> tuple[float, float]:
            """How long it took to settle, and how many bytes were used meanwhile."""
            gc.collect()
            service = self.service(
                server.url, agent=agent, timeout=limit, interval=60, random=_Soonest()
            )
            service.count("a")
            before = most = resident()
            began = reactor.seconds()
            settled = service.flush()
            while not (service.health.retries or service.health.delivered):
                await deferLater(reactor, 0.002, lambda: None)
                most = max(most, resident())
            took = reactor.seconds() - began
            if service.health.retries:
                # The next attempt is a second away.
                while server.open:
                    await deferLater(reactor, 0.002, lambda: None)
                most = max(most, resident())
                self.assertLess(reactor.seconds() - began, limit + slack(0.5))
                server.script = [reply()]
            await service.stopService()
            result = FlushResult(queued=1) if unread else FlushResult(delivered=1)
            self.assertEqual(await settled, result)
            self.assertEqual(service.health.lost, unread)
            return took, most - before

        async def check() -> None:
            slowest = largest = 0.0
            for tls in (None, self.authority.server_options("localhost")):
                for name, script in scripts.items():
                    server = TroubleServer(tls)
                    server.script = script
                    agent = None
                    if tls is not None:
                        agent = PooledAgent(
                            reactor, trust_root=self.authority.trust_root
                        )
                    with logged() as log:
                        took, memory = await one(server, agent, name in unread)
                    if agent is not None:
                        await agent.close()
                    while server.open:
                        await deferLater(reactor, 0.002, lambda: None)
                    await server.stop()
                    self.assertNotIn("canary-key", log.text)
                    if name == "a reply":
                        # What is made once is not counted.
                        continue
                    self.assertLess(took, limit + slack(0.5), name)
                    self.assertLess(memory, 2 * 2**20, name)
                    slowest, largest = max(slowest, took), max(largest, memory)
            report(
                10,
                f"settled and closed within {slowest:.2f} s of {limit:.0f} + 0.5 s, "
                f"memory {largest / 2**20:+.1f} MiB at most",
            )

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

    def test_11_hung_lookup(self) -> Any:
        """A name look-up hangs: one thread is busy, all else goes on, and it passes."""
        hang = 30.0 if FULL else 2.5
        server = TroubleServer()
        number = int(server.url.rpartition(":")[2])
        works = threading.Event()
        busy: set[object] = set()
        most, asked, turns = [0], [0], [reactor.seconds()]

        def getaddrinfo(*question: Any) -> Any:
            asked[0] += 1
            busy.add(threading.get_ident())
            most[0] = max(most[0], len(busy))
            hung = not works.wait(hang)
            busy.discard(threading.get_ident())
            if hung:
                raise socket.gaierror(socket.EAI_AGAIN, "no answer")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", number))]

        resolver = DaemonResolver(reactor, getaddrinfo=getaddrinfo)
        self.addCleanup(
            reactor.installNameResolver, reactor.installNameResolver(resolver)
        )

        async def check() -> None:
            service = self.service(
                f"http://slow.example:{number}", random=_Soonest(), shutdown_timeout=1
            )
            ticking = LoopingCall(lambda: turns.append(reactor.seconds()))
            ticking.start(0.01)
            counting = LoopingCall(service.count, "a")
            counting.start(0.1)
            # The first look-up gives up, and another has begun.
            await deferLater(reactor, hang + 1.5, lambda: None)
            self.assertEqual(service.health.delivered, 0)
            self.assertGreaterEqual(service.health.retries, 2)
            works.set()
            before = reactor.seconds()
            while not service.health.delivered:
                await deferLater(reactor, 0.01, lambda: None)
            took = reactor.seconds() - before
            counting.stop()
            ticking.stop()
            await service.flush()
            health = service.health
            await service.stopService()
            await server.stop()
            gap = max(b - a for a, b in itertools.pairwise(turns))
            self.assertEqual(most[0], 1)
            self.assertGreaterEqual(asked[0], 2)
            self.assertLess(gap, slack(0.3))
            # One pause of the backoff, at its shortest.
            self.assertLess(took, 1.0 + slack(0.5))
            self.assertEqual(health.delivered, health.recorded)
            report(
                11,
                f"look-up hung {hang:.0f} s: {health.retries} tries, {most[0]} thread "
                f"busy at most, longest turn of the reactor {1000 * gap:.0f} ms, "
                f"delivered {took:.2f} s after it worked",
            )

        return ensureDeferred(check())

    def test_18_soak(self) -> Any:
        """Random faults for a while: as many descriptors are open as before."""
        last = 240.0 if FULL else 5.0
        draw = random.Random(18)
        received = FakeStatHat()
        site = CollectorSite(_Soaking(received.resource, draw), reactor)
        tls = self.authority.server_options("localhost")

        def descriptors() -> int:
            return len(os.listdir("/proc/self/fd"))

        async def check() -> None:
            place = tempfile.mkdtemp()
            self.addCleanup(shutil.rmtree, place)
            listen = {"interface": "127.0.0.1"}
            ports = [
                reactor.listenTCP(0, site, **listen),
                reactor.listenSSL(0, site, tls, **listen),
            ]
            numbers = [port.getHost().port for port in ports]
            # What the reactor opens once, with its first thread, is open before.
            first = self.service("http://127.0.0.1:1", spool=place)
            await first.stopService()
            before = descriptors()
            agents = [
                PooledAgent(reactor, trust_root=self.authority.trust_root)
                for _ in range(3)
            ]
            services = [
                self.service(f"http://127.0.0.1:{numbers[0]}", spool=place),
                self.service(f"http://127.0.0.1:{numbers[0]}"),
                self.service(f"http://127.0.0.1:{numbers[0]}", random=_Soonest()),
                self.service(
                    f"https://localhost:{numbers[1]}", agent=agents[0], spool=place
                ),
                self.service(f"https://localhost:{numbers[1]}", agent=agents[1]),
                self.service(
                    f"https://localhost:{numbers[1]}",
                    agent=agents[2],
                    random=_Soonest(),
                ),
            ]
            most = [0, 0]
            began = reactor.seconds()
            while (passed := reactor.seconds() - began) < last:
                for service in services:
                    service.count("a")
                    service.value("v", 1)
                await deferLater(reactor, 0.02, lambda: None)
                half = int(passed > last / 2)
                most[half] = max(most[half], descriptors())
                received.points.clear()
                if draw.random() < 0.02:
                    # The server is away for a moment.
                    for port in ports:
                        await port.stopListening()
                    await deferLater(reactor, 0.2, lambda: None)
                    ports = [
                        reactor.listenTCP(numbers[0], site, **listen),
                        reactor.listenSSL(numbers[1], site, tls, **listen),
                    ]
            site.resource.trouble = 0
            retries = 0
            for service in services:
                # Not after the pause that the faults have led to.
                service._loop.sender.retry_now()
                await service.flush()
                self.assertEqual(service.health.delivered, service.health.recorded)
                retries += service.health.retries
                await service.stopService()
            for agent in agents:
                await agent.close()
            recorded = sum(service.health.recorded for service in services)
            totals = received.summaries
            self.assertEqual(totals["a"].sum + totals["v"].points, recorded)
            while (after := descriptors()) > before:
                await deferLater(reactor, 0.02, lambda: None)
            self.assertEqual(after, before)
            self.assertGreater(retries, 5)
            # Both ends of a connection for each batch under way, and two spools' files.
            bound = before + 2 * len(services) * MAX_IN_FLIGHT + 2 * 8
            self.assertLess(max(most), bound)
            for port in ports:
                await port.stopListening()
            gc.collect()
            self.assertEqual(self.flushLoggedErrors(), [])
            report(
                18,
                f"{last:.0f} s of faults, {recorded} calls, {retries} retries: "
                f"{before} descriptors before, {most[0]} and {most[1]} at most in each "
                f"half, {after} after; unhandled errors 0",
            )

        return ensureDeferred(check())
