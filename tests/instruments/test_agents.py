"""
Outgoing requests, measured.
"""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, ResponseDone, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fixtures.support import logged, reactor
from txstathat.instruments import MeasuredAgent
from txstathat.interfaces import IStatHatProvider
from txstathat.testing import MemoryStatHat


@implementer(IAgent)
class ScriptedAgent:
    """Answers each request with the Deferred that it was given."""

    def __init__(self, answer: Deferred[IResponse]) -> None:
        self.answer = answer

    def request(self, *args: Any) -> Deferred[IResponse]:
        return self.answer


@implementer(IResponse)
class ScriptedResponse:
    """A response that keeps its body's protocol for the test."""

    version = (b"HTTP", 1, 1)
    phrase = b"OK"
    headers = Headers()
    length = 3
    request = previousResponse = None

    def __init__(self, code: int = 200) -> None:
        self.code = code

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(None)

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response


class Collector(Protocol):
    """Collects what it gets."""

    def __init__(self) -> None:
        self.data = b""
        self.made = False
        self.reason: Any = None

    def connectionMade(self) -> None:
        self.made = True

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason


class MeasuredAgentTests(SynchronousTestCase):
    """What is sent of a request, and what is left as it was."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)
        self.answer: Deferred[IResponse] = Deferred()

    def agent(self, stats: Any = None, **options: Any) -> MeasuredAgent:
        return MeasuredAgent(
            ScriptedAgent(self.answer),
            stats or self.stats,
            seconds=self.clock.seconds,
            **options,
        )

    def test_interface(self) -> None:
        """It is an IAgent."""
        verifyObject(IAgent, self.agent())

    def test_headers_and_body(self) -> None:
        """The time to the headers and to the body's end, and the class of the status."""
        agent = self.agent()
        requested = agent.request(b"GET", b"http://api.example/v1?key=canary")
        self.assertEqual(agent.in_flight, 1)
        self.clock.advance(0.25)
        original = ScriptedResponse(404)
        self.answer.callback(original)
        response = self.successResultOf(requested)
        self.assertEqual(agent.in_flight, 0)
        self.assertEqual(response.code, 404)
        reader = Collector()
        response.deliverBody(reader)
        self.assertTrue(reader.made)
        self.clock.advance(0.5)
        original.protocol.dataReceived(b"abc")
        self.assertNotIn("api.example ms", self.stats.values)
        original.protocol.connectionLost(Failure(ResponseDone()))
        self.assertEqual((reader.data, reader.reason.type), (b"abc", ResponseDone))
        self.assertEqual(self.stats.counts, {"api.example 4xx": 1})
        self.assertEqual(
            self.stats.values,
            {"api.example headers ms": [250.0], "api.example ms": [750.0]},
        )
        verifyObject(IResponse, response)

    def test_hosts(self) -> None:
        """A host is named without port, credentials and case; nothing else of the URL is."""
        for uri in (
            b"https://user:canary@API.Example:8443/canary",
            b"http://[::1]:80/",
            b"http://plain?canary",
            b"nonsense",
        ):
            self.answer = succeed(ScriptedResponse())
            self.agent().request(b"GET", uri)
        self.assertEqual(
            list(self.stats.counts),
            ["api.example 2xx", "::1 2xx", "plain 2xx", "unknown 2xx"],
        )

    def test_many_hosts(self) -> None:
        """Hosts beyond the bound are one, named other."""
        scripted = ScriptedAgent(self.answer)
        agent = MeasuredAgent(scripted, self.stats, max_hosts=2)
        for n in range(5):
            scripted.answer = succeed(ScriptedResponse())
            agent.request(b"GET", b"http://host%d/" % n)
        self.assertEqual(
            self.stats.counts, {"host0 2xx": 1, "host1 2xx": 1, "other 2xx": 3}
        )

    def test_no_response(self) -> None:
        """A failure passes on, and counts by its class; there is no duration."""
        self.answer = fail(ConnectionRefusedError())
        agent = self.agent()
        requested = agent.request(b"GET", b"http://a/")
        self.failureResultOf(requested, ConnectionRefusedError)
        self.assertEqual(agent.in_flight, 0)
        self.assertEqual(
            self.stats.counts,
            {"a failed twisted.internet.error.ConnectionRefusedError": 1},
        )
        self.assertEqual(self.stats.values, {})

    def test_cancelled(self) -> None:
        """Cancelling cancels the agent's own request."""
        requested = self.agent(failure_name="{host} bad").request(b"GET", b"http://a/")
        self.assertIs(requested, self.answer)
        requested.cancel()
        self.failureResultOf(requested, CancelledError)
        self.assertEqual(self.stats.counts, {"a bad": 1})

    def test_broken_body(self) -> None:
        """A body that breaks off counts as a failure, and the reader hears of it."""
        requested = self.agent().request(b"GET", b"http://a/")
        original = ScriptedResponse()
        self.answer.callback(original)
        reader = Collector()
        self.successResultOf(requested).deliverBody(reader)
        original.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertIs(reader.reason.type, ConnectionLost)
        self.assertEqual(
            self.stats.counts,
            {"a 2xx": 1, "a failed twisted.internet.error.ConnectionLost": 1},
        )

    def test_names(self) -> None:
        """Names are templates; a duration with no name is not sent."""
        self.answer.callback(ScriptedResponse())
        self.agent(
            count_name="out {status} {host}", headers_name=None, body_name=None
        ).request(b"GET", b"http://a/")
        self.assertEqual(self.stats.counts, {"out 2xx a": 1})
        self.assertEqual(self.stats.values, {})
        error = self.assertRaises(ValueError, self.agent, headers_name="{status}")
        self.assertIn("{host}", str(error))

    def test_stats_that_raise(self) -> None:
        """An IStatHat that raises is a loss, and the request does not notice."""

        @implementer(IStatHatProvider)
        class Raising:
            def count(self, *args: Any, **options: Any) -> Any:
                raise RuntimeError("broken")

            value = tick = count

        agent = self.agent(Raising())
        original, reader = ScriptedResponse(), Collector()
        self.answer.callback(original)
        with logged() as log:
            requested = agent.request(b"GET", b"http://a/")
            response = self.successResultOf(requested)
            response.deliverBody(reader)
            original.protocol.connectionLost(Failure(ResponseDone()))
        self.assertEqual(response.code, 200)
        self.assertIs(reader.reason.type, ResponseDone)
        self.assertEqual(agent.losses.total, 2)
        self.assertEqual(len(log.at_level("warn")), 1)


class Page(Resource):
    """Answers by path: a page, an endless page, a page that breaks off."""

    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        if request.path == b"/cut":
            request.setHeader("Content-Length", "100")
            request.write(b"some")
            request.transport.loseConnection()
            return NOT_DONE_YET
        if request.path == b"/never":
            request.transport.abortConnection()
            return NOT_DONE_YET
        request.setHeader("Content-Encoding", "identity")
        return b"Hello!" * 10_000


class LoopbackTests(TestCase):
    """Real agents and a real server."""

    timeout = 30

    def setUp(self) -> None:
        port = reactor.listenTCP(0, Site(Page()), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        self.stats = MemoryStatHat(ignore_errors=False)
        self.agent = MeasuredAgent(Agent(reactor), self.stats)

    async def test_treq(self) -> None:
        """Under treq, with its decoding and redirects, the body is whole and measured."""
        response = await HTTPClient(self.agent).get(self.url)
        self.assertEqual(await response.content(), b"Hello!" * 10_000)
        self.assertEqual(response.history(), [])
        self.assertEqual(self.stats.counts, {"127.0.0.1 2xx": 1})
        (headers,) = self.stats.values["127.0.0.1 headers ms"]
        (body,) = self.stats.values["127.0.0.1 ms"]
        self.assertGreaterEqual(body, headers)

    async def test_cut(self) -> None:
        """A server that goes away amid the body, and before the headers."""
        response = await self.agent.request(b"GET", f"{self.url}/cut".encode())
        await self.assertFailure(readBody(response), Exception)
        counts = self.stats.counts
        self.assertEqual(counts.pop("127.0.0.1 2xx"), 1)
        self.assertEqual(len(counts), 1)
        (name,) = counts
        self.assertIn("127.0.0.1 failed twisted.internet.error.Connection", name)
        requested = self.agent.request(b"GET", f"{self.url}/never".encode())
        await self.assertFailure(requested, Exception)
        self.assertEqual(sum(self.stats.counts.values()), 3)
