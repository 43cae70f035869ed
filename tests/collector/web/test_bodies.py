"""
The memory for the bodies of requests, and the time to send them.
"""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from tests.fixtures.stores import NOW
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.throttle import HOLD_SECONDS, MAX_WRONG
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.service import build_collector
from txstathat.collector.web.bodies import Body, BodyBudget
from txstathat.collector.web.channel import BODY_SECONDS, HEADER_SECONDS
from txstathat.collector.web.site import CollectorSite
from txstathat.stores import open_store

FORM = b"Sec-Fetch-Site: same-origin\r\nContent-Length: 11\r\n\r\ntoken=wrong"
#: Requests with wrong keys, tokens and links, and words of their delayed refusals.
WRONG = {
    b"GET /ez?ezkey=wrong&stat=a&count=1 HTTP/1.1\r\n\r\n": b'"msg": "invalid keys',
    b"GET /x/wrong/statlist HTTP/1.1\r\n\r\n": b'"msg": "invalid keys',
    b"POST /x/wrong/alerts HTTP/1.1\r\n\r\n": b'"msg": "invalid keys',
    b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n": b"invalid keys",
    b"POST /sign-in HTTP/1.1\r\n" + FORM: b"Too many wrong access tokens",
    b"POST /sign-in/wrong HTTP/1.1\r\n" + FORM: b"no longer works",
    b"GET /shared/wrong HTTP/1.1\r\n\r\n": b"This link does not work",
    b"GET /shared/wrong/chart HTTP/1.1\r\n\r\n": b"This link does not work",
}


class BudgetTests(SynchronousTestCase):
    """
    ``BodyBudget``, with a total of 800 bytes: 100 for an address.
    """

    def setUp(self) -> None:
        self.metrics = CollectorMetrics()
        self.budget = BodyBudget(800, self.metrics)
        self.cut: list[str] = []

    def body(self, name: str, size: int, address: str = "a") -> Body:
        body = Body(address, lambda: self.cut.append(name))
        self.budget.grow(body, size)
        return body

    def test_share(self) -> None:
        """Beyond an address's share its largest unfinished body is cut."""
        finished = self.body("finished", 60)
        finished.complete = True
        self.body("small", 10)
        self.body("large", 30)
        self.assertEqual(self.cut, [])
        self.body("other address", 90, "b")
        self.assertEqual(self.cut, [])
        self.body("new", 20)
        self.assertEqual(self.cut, ["large"])
        self.assertEqual(self.budget.used, 180)

    def test_finished_bodies_go_last(self) -> None:
        """A body that waits for its key to be checked is cut if no other is left."""
        for number in range(2):
            self.body(f"finished {number}", 40 + number).complete = True
        self.body("unfinished", 50)
        self.assertEqual(self.cut, ["unfinished"])
        growing = self.body("growing", 10)
        growing.complete = True
        self.budget.grow(growing, 15)
        self.assertEqual(self.cut, ["unfinished", "finished 1"])

    def test_a_valid_key(self) -> None:
        """A body with a valid key does not count against the share, only in total."""
        for number in range(7):
            self.budget.trust(self.body(f"trusted {number}", 90))
        self.assertEqual(self.cut, [])
        self.body("other", 90)
        self.body("another", 80, "b")
        self.assertEqual(self.cut, [])
        self.body("last", 20, "c")
        self.assertEqual(self.cut, ["other"])
        self.assertEqual(self.budget.used, 730)

    def test_only_valid_keys(self) -> None:
        """If all bodies in memory have a valid key, the one that arrives is cut."""
        for number in range(8):
            self.budget.trust(self.body(f"trusted {number}", 100))
        self.body("late", 1)
        self.assertEqual(self.cut, ["late"])
        self.budget.grow(last := self.body("empty", 0), 0)
        self.budget.trust(last)
        self.budget.grow(last, 5)
        self.assertEqual(self.cut, ["late", "empty"])

    def test_release(self) -> None:
        """What is released or cut makes room, and is not counted any more."""
        first = self.body("first", 90)
        self.budget.release(first)
        second = self.body("second", 95)
        self.budget.trust(second)
        self.budget.release(second)
        self.assertEqual(
            (self.budget.used, self.cut, self.metrics.bodies_cut), (0, [], 0)
        )
        self.body("third", 101)
        self.assertEqual((self.budget.used, self.cut), (0, ["third"]))
        self.assertEqual(self.metrics.bodies_cut, 1)


class RequestTests(SynchronousTestCase):
    """
    Requests to a collector, in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        store = self.successResultOf(
            open_store("memory:", reactor=self.clock, clock=self.clock)
        )
        self.addCleanup(store.close)
        self.parts = build_collector(store)
        keys: dict[str, str] = {}
        self.successResultOf(
            Deferred.fromCoroutine(self.parts.keys.make_first(keys.update))
        )
        self.key = keys["EZ key"]
        self.site = CollectorSite(self.parts.root, self.clock)

    def connect(self, host: str = "192.0.2.1") -> tuple[Any, Any]:
        transport: Any = StringTransport(peerAddress=IPv4Address("TCP", host, 5))
        transport.abortConnection = transport.loseConnection
        channel: Any = self.site.buildProtocol(IPv4Address("TCP", host, 5))
        channel.makeConnection(transport)
        return channel, transport

    def send(self, *parts: bytes, host: str = "192.0.2.1") -> bytes:
        channel, transport = self.connect(host)
        for part in parts:
            channel.dataReceived(part)
        answer: bytes = transport.value()
        return answer

    def test_no_temporary_file(self) -> None:
        """A body stays in memory, whatever its length and whether it has one."""
        for head in (b"Content-Length: 900000", b"Transfer-Encoding: chunked"):
            channel, _ = self.connect()
            channel.dataReceived(
                b"POST /ez HTTP/1.1\r\nContent-Type: application/json\r\n%b\r\n\r\n5\r\n"
                % head
            )
            content = channel.requests[-1].content
            with self.assertRaises(OSError):
                content.fileno()

    def test_paths_without_bodies(self) -> None:
        """A path that takes no body refuses one by its headers, and holds nothing."""
        for path in (b"/nothing", b"/", b"/healthz", b"/metrics", b"/assets/x"):
            for head in (b"Content-Length: 9", b"Transfer-Encoding: chunked"):
                answer = self.send(b"POST %b HTTP/1.1\r\n%b\r\n\r\n" % (path, head))
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), path)
                self.assertIn(b"takes no body", answer)
        self.assertEqual(self.site.bodies.used, 0)
        answer = self.send(b"GET /healthz HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "))

    def test_unfinished_bodies(self) -> None:
        """Beyond its share an address is refused with 503, and others are not."""
        head = (
            b"POST /ez HTTP/1.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000000\r\n\r\n"
        )
        waiting = []
        for _ in range(9):
            channel, transport = self.connect()
            channel.dataReceived(head + b" " * 950_000)
            waiting.append(transport)
        cut = [transport for transport in waiting if transport.value()]
        self.assertEqual(len(cut), 1)
        self.assertTrue(cut[0].value().startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"\r\nRetry-After: 1\r\n", cut[0].value())
        self.assertTrue(cut[0].disconnecting)
        channel, transport = self.connect("192.0.2.2")
        channel.dataReceived(head + b" " * 950_000)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.site.bodies.used, 9 * 950_000)

    def test_time_until_the_key(self) -> None:
        """Without a valid key a body has the time of the headers, with one more."""
        head = (
            b"POST /ez HTTP/1.1\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for key, seconds in (("wrong", HEADER_SECONDS), (self.key, BODY_SECONDS)):
            channel, transport = self.connect()
            channel.dataReceived(head)
            shown = b'{"ezkey": "%b", ' % key.encode()
            for at in range(len(shown)):
                channel.dataReceived(b"1\r\n%b\r\n" % shown[at : at + 1])
            self.clock.advance(seconds - 1)
            self.assertFalse(transport.disconnecting)
            channel.dataReceived(b"1\r\n \r\n")
            self.clock.advance(1)
            self.assertTrue(transport.disconnecting)

    def test_delayed_refusals_hold_nothing(self) -> None:
        """A refusal that is delayed holds neither the body nor its points."""
        data = [{"stat": f"stat {n}", "count": 1} for n in range(1500)]
        body = json.dumps({"ezkey": "wrong", "data": data}).encode()
        request = (
            b"POST /ez HTTP/1.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        form = b"stat_id=" + b"x" * 60_000
        call = (
            b"POST /x/wrong/alerts HTTP/1.1\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(form), form)
        )
        waiting = []
        for number in range(60):
            channel, transport = self.connect()
            channel.dataReceived((request, call)[number % 2])
            self.clock.advance(0)
            if not transport.value():
                waiting.append(channel)
        # The keys are read again at most a few times in a second.
        self.clock.pump([0.1] * 11)
        held = [one.requests[-1] for one in waiting if not one.transport.value()]
        self.assertGreater(len(held), 20)
        # Only the answers are left.
        self.assertEqual([one for one in held if isinstance(one, Request)], [])
        self.assertEqual(self.site.bodies.used, 0)

    def hold(self, headers: bytes = b"") -> tuple[Any, Any]:
        """A connection on which a refusal is delayed."""
        form = b"ezkey=wrong&stat=a&count=1"
        return self.hold_request(
            b"POST /ez HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b"
            % (headers, len(form), form)
        )

    def hold_request(self, request: bytes) -> tuple[Any, Any]:
        """A connection on which the refusal of a request is delayed."""
        for _ in range(MAX_WRONG):
            self.send(request)
        channel, transport = self.connect()
        channel.dataReceived(request)
        self.clock.advance(0.1)
        self.assertEqual(transport.value(), b"")
        return channel, transport

    def test_all_delayed_refusals(self) -> None:
        """
        Of a request with a wrong token or link only the answer stays in memory too, and
        it is the one that is not delayed, but for its status and what it says of both.
        """
        for start, words in WRONG.items():
            self.clock.advance(60)
            first = self.send(start).partition(b"\r\n\r\n")[0]
            channel, transport = self.hold_request(start)
            self.assertNotIsInstance(channel.requests[0], Request)
            self.clock.advance(2 * HOLD_SECONDS)
            head, _, body = transport.value().partition(b"\r\n\r\n")
            self.assertIn(words, body)
            self.assertEqual(self.lasting(head), self.lasting(first))
            self.assertEqual(head.count(b"\r\nContent-Length: %d" % len(body)), 1)

    def test_memory(self) -> None:
        """Requests that wait for a refusal take up little memory."""
        for request in WRONG:
            self.clock.advance(60)
            self.hold_request(request)
            channels = [self.connect()[0] for _ in range(100)]
            gc.collect()
            tracemalloc.start()
            for channel in channels:
                channel.dataReceived(request)
            # The access log has written them.
            self.clock.advance(0.1)
            gc.collect()
            used = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            self.assertEqual([one.transport.value() for one in channels], [b""] * 100)
            self.assertLess(used / 100, 5_000, request)

    def lasting(self, head: bytes) -> list[bytes]:
        """The headers of a refusal that are the same whether it is delayed or not."""
        others = (b"HTTP/1.1 ", b"Content-Length", b"Date", b"Retry-After")
        return sorted(one for one in head.split(b"\r\n") if not one.startswith(others))

    def test_a_delayed_refusal_without_a_body(self) -> None:
        """HEAD is answered with the headers alone, and the connection goes on."""
        request = b"HEAD /shared/wrong HTTP/1.1\r\n\r\n"
        channel, transport = self.hold_request(request)
        channel.dataReceived(b"GET /none HTTP/1.1\r\n\r\n")
        self.clock.advance(2 * HOLD_SECONDS)
        head, _, rest = transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 429 "), head)
        self.assertNotIn(b"Content-Length: 0", head)
        self.assertTrue(rest.startswith(b"HTTP/1.1 404 "), rest)

    def test_places_of_those_who_left(self) -> None:
        """A client that leaves frees the place of its delayed refusal, once."""
        channel, _ = self.hold()
        self.parts.throttle.max_held = 1
        for left in (True, False):
            other, transport = self.connect()
            other.dataReceived(b"GET /x/wrong/statlist HTTP/1.1\r\n\r\n")
            self.clock.advance(0.1)
            closed = b"\r\nConnection: close\r\n" in transport.value()
            self.assertEqual(closed, left)
            channel.connectionLost(Failure(ConnectionLost()))
            channel = other
        self.clock.advance(2 * HOLD_SECONDS)
        self.assertIn(b"HTTP/1.1 429 ", transport.value())

    def test_a_delayed_refusal(self) -> None:
        """It is whole, and the connection takes further requests after it."""
        channel, transport = self.hold()
        form = b"ezkey=%b&stat=a&count=1" % self.key.encode()
        channel.dataReceived(
            b"POST /ez HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(form), form)
        )
        self.assertEqual(transport.value(), b"")
        self.clock.advance(2 * HOLD_SECONDS)
        refusal, _, rest = transport.value().partition(b"}")
        head, _, body = (refusal + b"}").partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 429 "), head)
        for line in (
            b"Content-Type: application/json",
            b"X-Content-Type-Options: nosniff",
            b"Cache-Control: no-store",
            b"Content-Length: %d" % len(body),
        ):
            self.assertIn(line, head.split(b"\r\n"))
        self.assertEqual(json.loads(body)["status"], 429)
        self.assertTrue(rest.startswith(b"HTTP/1.1 200 OK\r\n"), rest)
        self.assertFalse(transport.disconnecting)

    def test_a_delayed_refusal_of_one_who_closes(self) -> None:
        """The connection is closed after it, if its client wants that."""
        _, transport = self.hold(b"Connection: close\r\n")
        self.clock.advance(2 * HOLD_SECONDS)
        self.assertIn(b"\r\nConnection: close\r\n", transport.value())
        self.assertTrue(transport.disconnecting)

    def test_a_delayed_refusal_at_the_end(self) -> None:
        """A site that closes says so in it."""
        _, transport = self.hold()
        closed = self.site.close()
        self.clock.advance(2 * HOLD_SECONDS)
        self.assertEqual(transport.value().count(b"\r\nConnection: close\r\n"), 1)
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(closed)

    def test_a_delayed_refusal_that_nobody_waits_for(self) -> None:
        """Nothing is sent to a client that has left."""
        channel, transport = self.hold()
        channel.connectionLost(Failure(ConnectionLost()))
        self.clock.advance(2 * HOLD_SECONDS)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_new_key(self) -> None:
        """A body whose key another collector has just created is accepted."""
        other = Keys(self.parts.archive.store)
        self.successResultOf(Deferred.fromCoroutine(other.add("ez", "new", key="new")))
        form = b"ezkey=new&stat=a&count=1"
        answer = self.send(
            b"POST /ez HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(form), form)
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertEqual(self.site.bodies.used, 0)
