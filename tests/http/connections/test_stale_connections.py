"""
Connections that are too old to use, authorities that change, and names that move.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import (
    Deferred,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.fixtures.support import Authority, reactor
from tests.fixtures.trouble import TroubleServer
from txstathat import txStatHat
from txstathat.http.clock import monotonic_clock
from txstathat.http.connections.pool import IDLE_TIMEOUT, MAX_AGE, PooledAgent
from txstathat.http.connections.resolver import MAX_LOOKUPS, DaemonResolver
from txstathat.http.connections.tls import REREAD_DELAY
from txstathat.http.connections.tracking import HandshakeFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n" + b'{"status": 200, "msg": "ok"}'


class AgentCase(TestCase):
    """
    Clients with an agent of their own, over real sockets, on a monotonic clock that the
    test sets.
    """

    timeout = 60

    def setUp(self) -> None:
        self.clock = Clock()

    def serve(self, tls: Any = None) -> TroubleServer:
        """
        Start a server that accepts everything.
        """
        server = TroubleServer(tls)
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        return server

    def client(self, url: str, **settings: Any) -> txStatHat:
        """
        A strict client, which is closed at the end.
        """
        settings.setdefault("monotonic", self.clock.seconds)
        agent = PooledAgent(reactor, **settings)
        self.addCleanup(agent.close)
        return txStatHat("key", ignore_errors=False, url=url, agent=agent)


class AgeTests(AgentCase):
    """
    The age of a connection is checked when a request takes it.
    """

    @inlineCallbacks
    def test_idle_for_too_long(self) -> Any:
        """A connection is reused before the idle limit, and not from then on."""
        for idle, connections in ((IDLE_TIMEOUT - 0.1, 1), (IDLE_TIMEOUT, 2)):
            server = self.serve()
            client = self.client(server.url)
            yield client.count("a")
            first = set(server.open)
            self.clock.advance(idle)
            yield client.count("a")
            self.assertEqual(len(first | server.open), connections)

    @inlineCallbacks
    def test_a_service_reuses_its_connection(self) -> Any:
        """A request each three seconds, the default of a service, needs no new one."""
        server = self.serve()
        client = self.client(server.url)
        seen: set[object] = set()
        for _ in range(10):
            yield client.count("a")
            seen |= server.open
            self.clock.advance(3)
        self.assertEqual(len(seen), 1)

    @inlineCallbacks
    def test_the_largest_age(self) -> Any:
        """A connection in steady use is replaced at its largest age."""
        server = self.serve()
        client = self.client(server.url)
        seen: set[object] = set()
        for _ in range(int(2 * MAX_AGE)):
            yield client.count("a")
            seen |= server.open
            self.clock.advance(1)
        self.assertEqual(len(seen), 2)

    @inlineCallbacks
    def test_a_blocked_reactor(self) -> Any:
        """
        While the program is blocked, a server closes the idle connection: the next
        request uses a new one (20 of 20).
        """
        server = _ClosingServer()
        self.addCleanup(server.stop)
        client = self.client(server.url, idle_timeout=60, monotonic=None)
        for _ in range(20):
            self.assertTrue((yield client.count("a")))
            # The reactor, which does not run meanwhile, has not seen the end.
            server.close_connection()
            self.assertTrue((yield client.count("a")))
        self.assertEqual(server.requests, 40)


class ClockTests(SynchronousTestCase):
    """The clock of the ages of connections."""

    def test_a_real_reactor(self) -> None:
        """It does not follow the wall clock, as a reactor's own clock does."""
        now = monotonic_clock(reactor)()
        self.assertLess(abs(now - time.monotonic()), 60)

    def test_a_clock(self) -> None:
        """A clock that a program passes in is used."""
        clock = Clock()
        now = monotonic_clock(clock)
        clock.advance(5)
        self.assertEqual(now(), 5)


class _ClosingServer:
    """
    A server in a thread, which serves one connection at a time.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._connection: socket.socket | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        self._connection = connection
        with connection:
            while connection.recv(65_536):
                self.requests += 1
                connection.sendall(OK)

    def close_connection(self) -> None:
        """Close the connection that was used last; its other end is told at once."""
        assert self._connection is not None
        self._connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@implementer(IHostnameResolver)
class _MovingResolver:
    """
    Finds every name at the port of one server.
    """

    def __init__(self, server: TroubleServer) -> None:
        self.server = server

    def resolveHostName(self, receiver: Any, *arguments: Any, **more: Any) -> Any:
        receiver.resolutionBegan(self)
        address = IPv4Address("TCP", "127.0.0.1", self.server.port)
        receiver.addressResolved(address)
        receiver.resolutionComplete()
        return self


class MovingTests(AgentCase):
    """
    A name whose address changes.
    """

    @inlineCallbacks
    def test_within_the_largest_age(self) -> Any:
        """Under one count a second, counts arrive at the new address in time."""
        old, new = self.serve(), self.serve()
        resolver = _MovingResolver(old)
        client = self.client("http://moving.example", resolver=resolver)
        for _ in range(5):
            yield client.count("a")
            self.clock.advance(1)
        resolver.server = new
        seconds = 0
        while not new.requests:
            yield client.count("a")
            self.clock.advance(1)
            seconds += 1
        self.assertLessEqual(seconds, MAX_AGE)
        self.assertEqual(old.requests + new.requests, 5 + seconds)


class TrustTests(AgentCase):
    """
    The platform's certificate authorities, while they change.
    """

    def setUp(self) -> None:
        super().setUp()
        self.old, self.new = Authority(), Authority()
        self.path = self.mktemp()
        os.environ["SSL_CERT_FILE"] = self.path
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")

    def trust(self, authority: Authority) -> None:
        """
        Replace the platform's bundle.
        """
        with open(self.path, "wb") as file:
            file.write(authority.pem)

    @inlineCallbacks
    def test_a_renewed_bundle(self) -> Any:
        """After a refusal the bundle is read again, but not often."""
        self.trust(self.old)
        server = self.serve(self.new.server_options("localhost"))
        client = self.client(server.url)
        yield self.assertFailure(client.count("a"), HandshakeFailed)
        self.trust(self.new)
        self.clock.advance(REREAD_DELAY - 1)
        yield self.assertFailure(client.count("a"), HandshakeFailed)
        self.assertEqual(server.received, b"")
        self.clock.advance(1)
        self.assertTrue((yield client.count("a")))

    @inlineCallbacks
    def test_no_refusal_no_reading(self) -> Any:
        """Without a refusal the bundle is not read again."""
        self.trust(self.new)
        server = self.serve(self.new.server_options("localhost"))
        client = self.client(server.url)
        yield client.count("a")
        self.trust(self.old)
        self.clock.advance(10 * REREAD_DELAY)
        self.assertTrue((yield client.count("a")))


class ResolverTests(TestCase):
    """
    Look-ups in daemon threads.
    """

    timeout = 30

    def look_up(self, resolver: DaemonResolver, name: str) -> Deferred[list[Any]]:
        """
        Look a name up; fires with its addresses.
        """
        return _Receiver().start(resolver, name)

    @inlineCallbacks
    def test_addresses(self) -> Any:
        """A real look-up of a real name finds its addresses, with the port."""
        found = yield self.look_up(DaemonResolver(reactor), "localhost")
        self.assertIn(IPv4Address("TCP", "127.0.0.1", 80), found)

    @inlineCallbacks
    def test_failures(self) -> Any:
        """A look-up that fails, however, finds nothing."""
        for error in (socket.gaierror("no"), OSError("no"), UnicodeError("no")):

            def getaddrinfo(*arguments: Any) -> Any:
                raise error  # noqa: B023

            found = yield self.look_up(DaemonResolver(reactor, getaddrinfo), "a")
            self.assertEqual(found, [])

    @inlineCallbacks
    def test_the_number_of_threads_is_bounded(self) -> Any:
        """At most MAX_LOOKUPS look-ups run at once; the others wait their turn."""
        go_on, started = threading.Event(), threading.Semaphore(0)
        running: list[str] = []

        def getaddrinfo(host: str, *arguments: Any) -> Any:
            running.append(host)
            started.release()
            go_on.wait(20)
            return []

        resolver = DaemonResolver(reactor, getaddrinfo)
        names = [f"host-{number}" for number in range(MAX_LOOKUPS + 3)]
        results = [self.look_up(resolver, name) for name in names]
        for _ in range(MAX_LOOKUPS):
            started.acquire(timeout=20)
        self.assertEqual(sorted(running), sorted(names[:MAX_LOOKUPS]))
        go_on.set()
        yield gatherResults(results)
        self.assertEqual(len(running), len(names))


class _Receiver:
    """
    Collects the addresses of one look-up.
    """

    def start(self, resolver: DaemonResolver, name: str) -> Deferred[list[Any]]:
        self.found: list[Any] = []
        self.done: Deferred[list[Any]] = Deferred()
        resolver.resolveHostName(self, name, 80)
        return self.done

    def resolutionBegan(self, resolution: Any) -> None:
        self.resolution = resolution

    def addressResolved(self, address: Any) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.done.callback(self.found)


HUNG_PROGRAM = """
import socket, threading, time
hung = threading.Event()
def getaddrinfo(*arguments, **more):
    hung.set()
    time.sleep(60)
socket.getaddrinfo = getaddrinfo
from twisted.internet import reactor
from txstathat import StatHatService, txStatHat
client = txStatHat("key", url="http://slow.example")
service = StatHatService(client, interval=0.01, shutdown_timeout=0.2)
service.startService()
service.count("a")
def stop():
    if not hung.is_set():
        reactor.callLater(0.01, stop)
        return
    service.stopService().addCallback(lambda _: reactor.stop())
reactor.callWhenRunning(stop)
reactor.run()
print("stopped")
"""


class HungLookupTests(SynchronousTestCase):
    """
    A look-up that hangs while the program ends.
    """

    def test_the_process_ends(self) -> None:
        """The process does not wait for the look-up, which takes a minute."""
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", HUNG_PROGRAM],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        self.assertEqual((done.stdout, done.returncode), ("stopped\n", 0), done.stderr)
        self.assertLess(time.monotonic() - started, 30)
