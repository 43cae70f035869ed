"""
Hosts that are no plain names: addresses, and names with underscores.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any
from unittest import SkipTest

from cryptography import x509
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, ensureDeferred, inlineCallbacks
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.fixtures.support import Authority, reactor
from tests.fixtures.trouble import TroubleServer, reply
from txstathat import Count, StatHatExport, txStatHat
from txstathat.client.outcome import Verdict
from txstathat.http.connections.pool import PooledAgent
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.http.urls import check_url, with_stand_in
from txstathat.testing import FakeStatHat

AUTHORITY = Authority()


def require_ipv6() -> None:
    """
    Skip a test where this machine has no IPv6 on loopback.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        raise SkipTest(f"needs IPv6 on the loopback interface: {error}") from None


class SniRecorder:
    """
    TLS options of a server that records the server names that clients ask for.
    """

    def __init__(self, options: Any) -> None:
        self.options = options
        self.names: list[bytes | None] = []
        options.getContext().set_tlsext_servername_callback(
            lambda connection: self.names.append(connection.get_servername())
        )


@implementer(IHostnameResolver)
class PrivateResolver:
    """
    Knows some names, at 127.0.0.1, and records what it was asked for.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self.asked: list[str] = []

    def resolveHostName(
        self, receiver: Any, name: str, port: int = 0, *more: Any, **others: Any
    ) -> Any:
        self.asked.append(name)
        receiver.resolutionBegan(self)
        if name in self._names:
            receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", port))
        receiver.resolutionComplete()
        return self


class HostCase(TestCase):
    """
    Servers and clients over real sockets.
    """

    timeout = 600

    def serve(self, tls: Any = None, interface: str = "127.0.0.1") -> TroubleServer:
        """Start a server that accepts everything."""
        server = TroubleServer(tls, interface)
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        return server

    def client(self, url: str) -> txStatHat:
        """A strict client that trusts this module's authority."""
        agent = PooledAgent(reactor, trust_root=AUTHORITY.trust_root)
        client = txStatHat("key", ignore_errors=False, url=url, agent=agent)
        self.addCleanup(agent.close)
        self.addCleanup(client.close)
        return client

    @inlineCallbacks
    def counts(self, server: TroubleServer, url: str) -> Any:
        """Count twice: over one connection, with the host of the URL."""
        host = url.partition("://")[2].encode()
        client = self.client(url)
        for _ in range(2):
            self.assertIs((yield client.count("a")), True)
        self.assertEqual(server.received.count(b"\r\nHost: %b\r\n" % host), 2)
        self.assertNotIn(b"invalid", server.received)
        self.assertEqual((server.requests, len(server.open)), (2, 1))
        self.assertEqual(repr(client), f"<txStatHat at {url}>")

    @inlineCallbacks
    def refuses(self, server: TroubleServer, url: str) -> Any:
        """A certificate for something else is refused before anything is sent."""
        outcome = yield self.client(url).send([Count("a")])
        self.assertEqual(outcome.verdict, Verdict.RETRY)
        self.assertIsInstance(outcome.error, HandshakeFailed)
        self.assertEqual(server.received, b"")


class AddressTests(HostCase):
    """
    IP addresses.
    """

    def test_ipv6(self) -> Any:
        """An IPv6 address in brackets is a host, and is the request's Host."""
        require_ipv6()
        server = self.serve(interface="::1")
        return self.counts(server, f"http://[::1]:{server.port}")

    @inlineCallbacks
    def test_ipv6_over_tls(self) -> Any:
        """The certificate must be for the address; no server name is sent."""
        require_ipv6()
        recorder = SniRecorder(AUTHORITY.server_options("::1"))
        server = self.serve(recorder.options, "::1")
        yield self.counts(server, f"https://[::1]:{server.port}")
        self.assertEqual(recorder.names, [None])
        other = self.serve(AUTHORITY.server_options("::2", "localhost"), "::1")
        yield self.refuses(other, f"https://[::1]:{other.port}")

    @inlineCallbacks
    def test_ipv4_over_tls(self) -> Any:
        """It is the same with an IPv4 address."""
        recorder = SniRecorder(AUTHORITY.server_options("127.0.0.1"))
        server = self.serve(recorder.options)
        yield self.counts(server, f"https://127.0.0.1:{server.port}")
        self.assertEqual(recorder.names, [None])
        other = self.serve(AUTHORITY.server_options("127.0.0.2", "localhost"))
        yield self.refuses(other, f"https://127.0.0.1:{other.port}")

    @inlineCallbacks
    def test_an_address_is_no_name(self) -> Any:
        """A certificate that has the address as a DNS name is refused."""
        name = x509.DNSName("127.0.0.1")
        server = self.serve(AUTHORITY.nameless_options(name))
        yield self.refuses(server, f"https://127.0.0.1:{server.port}")
        address = x509.IPAddress(ip_address("127.0.0.1"))
        server = self.serve(AUTHORITY.nameless_options(address))
        yield self.counts(server, f"https://127.0.0.1:{server.port}")

    @inlineCallbacks
    def test_reading(self) -> Any:
        """The export client takes such URLs too."""
        require_ipv6()
        server = self.serve(interface="::1")
        server.script = [reply(body=b"[]")]
        export = StatHatExport("t", url=f"http://[::1]:{server.port}")
        self.addCleanup(export.close)
        self.assertEqual((yield export.stats()), [])


class UnderscoreTests(HostCase):
    """
    Names with underscores, as Docker gives them to services.
    """

    def setUp(self) -> None:
        self.resolver = PrivateResolver("stack_stathat", "stackxstathat", "127.0.0.1")
        previous = reactor.installNameResolver(self.resolver)
        self.addCleanup(reactor.installNameResolver, previous)

    @inlineCallbacks
    def test_plain(self) -> Any:
        """The real name is looked up and is the request's Host."""
        server = self.serve()
        yield self.counts(server, f"http://stack_stathat:{server.port}")
        self.assertEqual(self.resolver.asked, ["stack_stathat"])

    @inlineCallbacks
    def test_over_tls(self) -> Any:
        """The real name is the server name, and what the certificate must be for."""
        name = x509.DNSName("stack_stathat")
        recorder = SniRecorder(AUTHORITY.nameless_options(name))
        server = self.serve(recorder.options)
        yield self.counts(server, f"https://stack_stathat:{server.port}")
        self.assertEqual(recorder.names, [b"stack_stathat"])
        for other in ("stackxstathat", "server.invalid", "localhost"):
            options = AUTHORITY.nameless_options(x509.DNSName(other))
            server = self.serve(options)
            yield self.refuses(server, f"https://stack_stathat:{server.port}")

    @inlineCallbacks
    def test_hosts_share_no_connections(self) -> Any:
        """Through one agent, each host has connections of its own."""
        server = self.serve()
        agent = PooledAgent(reactor)
        self.addCleanup(agent.close)
        for host in ("stack_stathat", "stackxstathat", "127.0.0.1", "stack_stathat"):
            url = f"http://{host}:{server.port}"
            self.assertIs((yield txStatHat("k", url=url, agent=agent).count("a")), True)
        self.assertEqual((server.requests, len(server.open)), (4, 3))

    @inlineCallbacks
    def test_a_name_that_is_not_found(self) -> Any:
        """The error has the name that the program used."""
        call = self.client("http://no_such_host:8080").count("a")
        error = yield self.assertFailure(call, DNSLookupError)
        self.assertIn("no_such_host", str(error))

    @inlineCallbacks
    def test_other_failures_stay_what_they_are(self) -> Any:
        """A call that is cancelled while it connects is a cancelled call."""
        server = self.serve()
        call = self.client(f"http://stack_stathat:{server.port}").count("a")
        call.cancel()
        yield self.assertFailure(call, CancelledError)


class StandInTests(SynchronousTestCase):
    """
    What treq sees in place of a host.
    """

    def test_agents_see_the_real_url(self) -> None:
        """Whatever the host is, an agent that is passed in gets the real one."""
        for url in (
            "http://[::1]:8080",
            "https://[2001:db8::7]",
            "http://stack_stathat:8080",
            "https://example.org",
        ):
            fake, seen = FakeStatHat(), []

            class Agent:
                def request(self, method: bytes, uri: bytes, *rest: Any) -> Any:
                    seen.append(uri.decode())  # noqa: B023
                    return fake.agent.request(method, uri, *rest)  # noqa: B023

            client = txStatHat("k", url=url, agent=Agent(), ignore_errors=False)
            self.assertIs(self.successResultOf(client.count("a")), True)
            self.assertEqual(seen, [f"{url}/ez"])

    def test_the_host_is_all_that_is_replaced(self) -> None:
        """Scheme, path and what looks like a host in it stay as they are."""
        url = check_url("https://A_b:8443/server.invalid/a_b/[::1]")
        self.assertEqual(
            with_stand_in(url),
            ("https://server.invalid/server.invalid/a_b/[::1]", b"a_b:8443"),
        )
        fake = FakeStatHat()
        client = txStatHat("k", url="https://a_b/server.invalid", agent=fake.agent)
        self.successResultOf(client.count("a"))
        self.assertEqual(fake.requests[0].path, "/server.invalid/ez")
