"""
Real connections: verified TLS, reuse, many calls at once, closing, name look-ups.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseNeverReceived
from zope.interface import implementer

from tests.fixtures.support import Authority, logged, reactor
from tests.fixtures.trouble import TroubleServer, reply, send, stall
from txstathat import Count, StatHatClosed, Value, ez_count, ez_value, txStatHat
from txstathat.client.outcome import Verdict
from txstathat.collector.archive.stats import Total
from txstathat.collector.web.site import CollectorSite
from txstathat.http.connections.pool import IDLE_TIMEOUT, MAX_HEADERS, PooledAgent
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.http.responses import MAX_REPLY
from txstathat.testing import FakeStatHat

AUTHORITY = Authority()
STRANGER = Authority()
KEY = "canary-key-for-tls"


class ServerTests(TestCase):
    """
    A client and a real server of ours, over real sockets.
    """

    timeout = 600

    def listen(self, tls: Any = None) -> str:
        """
        Start a server that knows one key; its URL.
        """
        self.fake = FakeStatHat(lambda api, key: key == KEY)
        site = CollectorSite(self.fake.resource, reactor)
        listen = {"interface": "127.0.0.1"}
        if tls is None:
            port = reactor.listenTCP(0, site, **listen)
        else:
            port = reactor.listenSSL(0, site, tls, **listen)
        self.addCleanup(port.stopListening)
        scheme = "http" if tls is None else "https"
        return f"{scheme}://localhost:{port.getHost().port}"

    def client(self, url: str, **settings: Any) -> txStatHat:
        """
        A strict client that is closed at the end.
        """
        client = txStatHat(KEY, ignore_errors=False, url=url, **settings)
        self.addCleanup(client.close)
        return client

    def trusting(self, authority: Authority) -> PooledAgent:
        """
        An agent that trusts one authority, closed at the end.
        """
        agent = PooledAgent(reactor, trust_root=authority.trust_root)
        self.addCleanup(agent.close)
        return agent

    @inlineCallbacks
    def test_over_tls_exactly_what_was_sent_arrives(self) -> Any:
        """With the right root, points go over TLS and the server has just them."""
        url = self.listen(AUTHORITY.server_options("localhost"))
        sh = self.client(url, agent=self.trusting(AUTHORITY))
        self.assertTrue((yield sh.count("signups", 42)))
        self.assertTrue((yield sh.value("load", 0.42)))
        self.assertTrue((yield sh.post([Count("p~a,b", 2), Value("load", 1.58)])))
        self.assertEqual(
            self.fake.summaries,
            {
                "signups": Total("count", 1, 42),
                "load": Total("value", 2, 2.0),
                "p a": Total("count", 1, 2),
                "p b": Total("count", 1, 2),
            },
        )

    @inlineCallbacks
    def test_the_platforms_roots_are_the_default(self) -> Any:
        """SSL_CERT_FILE says which roots the platform has, as for all of OpenSSL."""
        url = self.listen(AUTHORITY.server_options("localhost"))
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(AUTHORITY.pem)
        os.environ["SSL_CERT_FILE"] = path
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        self.assertTrue((yield ez_count(KEY, "a", url=url, ignore_errors=False)))

    def refused(self, agent: PooledAgent | None, *names: str, **issue: Any) -> Any:
        """
        A server with such a certificate is refused, and hears nothing.
        """
        return self.refuses(agent, AUTHORITY.server_options(*names, **issue))

    @inlineCallbacks
    def refuses(self, agent: PooledAgent | None, options: Any) -> Any:
        server = TroubleServer(options)
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        sh = self.client(server.url, agent=agent)
        outcome = yield sh.send([Count("a")])
        self.assertEqual(outcome.verdict, Verdict.RETRY)
        self.assertIsInstance(outcome.error, HandshakeFailed)
        self.assertTrue(outcome.error.reasons)
        yield self.assertFailure(sh.count("a"), ResponseNeverReceived)
        self.assertEqual(server.received, b"")

    def test_a_certificate_without_a_name_is_refused(self) -> Any:
        """A common name does not prove the host's name (RFC 9525)."""
        return self.refuses(self.trusting(AUTHORITY), AUTHORITY.nameless_options())

    def test_a_certificate_of_another_kind_of_name_is_refused(self) -> Any:
        """Nor is an e-mail address."""
        address = x509.RFC822Name("root@localhost")
        options = AUTHORITY.nameless_options(address)
        return self.refuses(self.trusting(AUTHORITY), options)

    @inlineCallbacks
    def test_a_handshake_that_stalls(self) -> Any:
        """Nothing was sent, so it can be sent again, whatever ends the wait."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script = [stall]
        url = server.url.replace("http://", "https://")
        sh = self.client(url, timeout=0.2)
        outcome = yield sh.send([Count("a")])
        self.assertEqual(outcome.verdict, Verdict.RETRY)
        self.assertIsInstance(outcome.error, TimeoutError)
        call = sh.count("a")
        yield deferLater(reactor, 0.05)
        call.cancel()
        yield self.assertFailure(call, CancelledError)
        yield deferLater(reactor, 0.05)
        self.assertEqual(server.open, set())

    @inlineCallbacks
    def test_closed_before_the_answer_came(self) -> Any:
        """The server has read the points when the client is closed: ambiguous."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script = [stall]
        sh = self.client(server.url)
        sent = sh.send([Count("a")])
        while not server.requests:
            yield deferLater(reactor, 0.01)
        yield sh.close()
        outcome = yield sent
        self.assertEqual(outcome.verdict, Verdict.AMBIGUOUS)
        self.assertIsInstance(outcome.error, StatHatClosed)

    @inlineCallbacks
    def test_a_server_without_tls(self) -> Any:
        """Plain text where TLS was expected fails the handshake."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script, server.at_once = [reply()], True
        sh = self.client(server.url.replace("http://", "https://"))
        yield self.assertFailure(sh.count("a"), HandshakeFailed)

    def test_an_unknown_root_is_refused(self) -> Any:
        """A certificate of an authority that is not trusted."""
        return self.refused(self.trusting(STRANGER), "localhost")

    def test_without_a_root_of_ones_own_the_platform_decides(self) -> Any:
        """The default agent does not trust a certificate of nobody's."""
        return self.refused(None, "localhost")

    def test_a_wrong_name_is_refused(self) -> Any:
        """A good certificate for another host."""
        return self.refused(self.trusting(AUTHORITY), "example.org")

    def test_an_expired_certificate_is_refused(self) -> Any:
        """A certificate that was good until yesterday."""
        return self.refused(
            self.trusting(AUTHORITY),
            "localhost",
            not_before=datetime(2020, 1, 1, tzinfo=UTC),
            not_after=datetime(2021, 1, 1, tzinfo=UTC),
        )

    def test_an_unknown_root_that_is_sent_is_refused(self) -> Any:
        """A server cannot bring its own authority: a chain up to it is refused."""
        options = AUTHORITY.options_with_root("localhost")
        return self.refuses(self.trusting(STRANGER), options)

    def test_an_expired_intermediate_is_refused(self) -> Any:
        """All certificates of a chain must be valid, not only the server's own."""
        options = AUTHORITY.chain_options(expired=True, names=["localhost"])
        return self.refuses(self.trusting(AUTHORITY), options)

    def test_a_name_in_an_intermediate_proves_nothing(self) -> Any:
        """With a valid chain, the server's own certificate must have the host's name."""
        options = AUTHORITY.chain_options(expired=False, names=["example.org"])
        return self.refuses(self.trusting(AUTHORITY), options)

    @inlineCallbacks
    def test_a_valid_intermediate_is_accepted(self) -> Any:
        """A certificate that an intermediate authority has signed is accepted."""
        url = self.listen(AUTHORITY.chain_options(expired=False, names=["localhost"]))
        sh = self.client(url, agent=self.trusting(AUTHORITY))
        self.assertTrue((yield sh.count("a")))

    @inlineCallbacks
    def test_the_size_limit_is_for_each_reply(self) -> Any:
        """A connection may carry more bytes in all than one reply may have."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        body = b'{"status": 200, "msg": "ok"}'.ljust(60_000)
        server.script = [reply(body=body)]
        sh = self.client(server.url)
        for _ in range(2 * (MAX_REPLY + MAX_HEADERS) // len(body)):
            self.assertTrue((yield sh.count("a")))
        self.assertEqual(len(server.open), 1)

    @inlineCallbacks
    def test_three_thousand_calls_at_once(self) -> Any:
        """All arrive, over no more connections than are allowed."""
        url = self.listen()
        sh = self.client(url, timeout=60)
        before = len(os.listdir("/proc/self/fd"))
        most = 0

        def look() -> None:
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")))

        calls = [sh.count("a") for _ in range(3000)]
        for call in calls[::100]:
            call.addCallback(lambda taken: look() or taken)
        results = yield gatherResults(calls)
        self.assertEqual(results, [True] * 3000)
        self.assertEqual(self.fake.summaries["a"], Total("count", 3000, 3000))
        # Two ends in this process for each of eight connections.
        self.assertLessEqual(most - before, 2 * 8 + 2)

    @inlineCallbacks
    def test_connections_are_reused(self) -> Any:
        """One after the other, calls share a connection."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        sh = self.client(server.url)
        for _ in range(3):
            yield sh.count("a")
        self.assertEqual((server.requests, len(server.open)), (3, 1))

    @inlineCallbacks
    def test_a_connection_that_the_server_closed_is_not_used_again(self) -> Any:
        """After the server has closed, the next call opens a new connection."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        sh = self.client(server.url)
        yield sh.count("a")
        for connection in list(server.open):
            connection.transport.loseConnection()
        yield deferLater(reactor, 0.05)
        self.assertTrue((yield sh.count("a")))

    @inlineCallbacks
    def test_idle_connections_are_closed(self) -> Any:
        """A connection goes when it was idle for its time, below that of servers."""
        self.assertLess(IDLE_TIMEOUT, 5)
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        agent = PooledAgent(reactor, idle_timeout=0.1)
        self.addCleanup(agent.close)
        yield self.client(server.url, agent=agent).count("a")
        self.assertEqual(len(server.open), 1)
        while server.open:
            yield deferLater(reactor, 0.02)

    @inlineCallbacks
    def test_an_idle_connection_has_a_timer_with_a_name(self) -> Any:
        """What trial shows of a client that a test leaves open names the package."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        yield self.client(server.url).count("a")
        timers = list(map(str, reactor.getDelayedCalls()))
        name = "txstathat: a client was not closed; idle connection"
        self.assertEqual(sum(name in each for each in timers), 1, timers)

    @inlineCallbacks
    def test_connections_are_no_news(self) -> Any:
        """Nothing above debug level is logged for a connection."""
        with logged() as log:
            for _ in range(3):
                yield ez_count(KEY, "a", url="http://127.0.0.1:1")
        self.assertEqual(log.at_level("info"), [])

    @inlineCallbacks
    def test_an_answer_that_closes(self) -> Any:
        """A server that closes after each answer is fine."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script = [reply(headers=b"Connection: close\r\n")]
        sh = self.client(server.url)
        for _ in range(3):
            self.assertTrue((yield sh.count("a")))

    @inlineCallbacks
    def test_an_answer_without_a_length(self) -> Any:
        """A body that ends with the connection is read whole."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script = [
            send(b'HTTP/1.0 200 OK\r\n\r\n{"status": 200, "msg": "ok"}'),
            lambda connection, go_on: connection.transport.loseConnection(),
        ]
        self.assertTrue((yield self.client(server.url).count("a")))

    @inlineCallbacks
    def test_cookies_are_not_kept(self) -> Any:
        """A server cannot make the client remember anything."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script = [reply(headers=b"Set-Cookie: a=b\r\n")]
        sh = self.client(server.url)
        yield sh.count("a")
        yield sh.count("a")
        self.assertNotIn(b"ookie", server.received)

    @inlineCallbacks
    def test_close_leaves_nothing_open(self) -> Any:
        """After close no connection is left, over TLS and plain."""
        for tls in (None, AUTHORITY.server_options("localhost")):
            server = TroubleServer(tls)
            self.addCleanup(lambda server=server: ensureDeferred(server.stop()))
            agent = self.trusting(AUTHORITY)
            sh = self.client(server.url, agent=None if tls is None else agent)
            yield gatherResults([sh.count("a") for _ in range(20)])
            self.assertTrue(0 < len(server.open) <= 8)
            yield sh.close()
            yield agent.close()
            self.assertEqual(agent.open_connections, 0)
            yield deferLater(reactor, 0.05)
            self.assertEqual(server.open, set())

    @inlineCallbacks
    def test_shortcuts_leave_nothing_open(self) -> Any:
        """A one-off call fires when its connection is closed already."""
        server = TroubleServer()
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        self.assertTrue((yield ez_value(KEY, "load", 0.5, t=7, url=server.url)))
        # The other end of a closed connection needs a moment to notice.
        while server.open:
            yield deferLater(reactor, 0.01)
        self.assertIn(b"&stat=load&value=0.5&t=7", server.received)


@implementer(IHostnameResolver)
class _HungResolver:
    """
    Never answers, and counts how often it was asked.
    """

    asked = 0

    def resolveHostName(self, receiver: Any, *arguments: Any, **more: Any) -> Any:
        self.asked += 1
        receiver.resolutionBegan(self)
        self.receiver = receiver
        return self


class LookupTests(TestCase):
    """
    Name look-ups that hang or fail.
    """

    def setUp(self) -> None:
        self.resolver = _HungResolver()
        previous = reactor.installNameResolver(self.resolver)
        self.addCleanup(reactor.installNameResolver, previous)

    @inlineCallbacks
    def test_a_hung_lookup_is_asked_once(self) -> Any:
        """Calls that follow wait for the same answer, and end in time."""
        sh = txStatHat(
            "key", url="http://slow.example", timeout=0.1, ignore_errors=False
        )
        for _ in range(3):
            calls = [sh.count("a") for _ in range(4)]
            for call in calls:
                yield self.assertFailure(call, TimeoutError)
        self.assertEqual(self.resolver.asked, 1)
        outcome = yield sh.send([Count("a")])
        self.assertEqual(outcome.verdict, Verdict.RETRY)
        yield sh.close()

    @inlineCallbacks
    def test_all_get_the_answer(self) -> Any:
        """Whoever waits for a look-up gets its outcome, and the next asks anew."""
        sh = txStatHat("key", url="http://slow.example", ignore_errors=False)
        calls = [sh.count("a") for _ in range(3)]
        self.resolver.receiver.resolutionComplete()
        for call in calls:
            yield self.assertFailure(call, DNSLookupError)
        last: Deferred[bool] = sh.count("a")
        self.assertEqual(self.resolver.asked, 2)
        self.resolver.receiver.resolutionComplete()
        yield self.assertFailure(last, DNSLookupError)
        yield sh.close()
