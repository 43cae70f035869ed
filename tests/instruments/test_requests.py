"""
Measured web requests: one event each, however they end.
"""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web import pages
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Request, Site
from twisted.web.static import Data
from twisted.web.wsgi import WSGIResource
from zope.interface.verify import verifyObject

from tests.fixtures.kicked import Kicked
from tests.fixtures.web_client import WebClient
from txstathat.instruments import MeasuredResource, measured_klein
from txstathat.instruments.requests import GONE, UNMATCHED
from txstathat.testing import MemoryStatHat


class Page(Resource):
    """A resource that calls a function."""

    isLeaf = True

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def render_GET(self, request: Request) -> Any:
        return self.answer(request)


PAGE = f"{__name__}.Page"


class MeasuredTests(SynchronousTestCase):
    """Requests to plain resources."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.kicked = Kicked()

    def measured(self, resource: IResource, **options: Any) -> WebClient:
        self.instrument = MeasuredResource(
            resource, metrica=self.kicked, seconds=self.clock.seconds, **options
        )
        return WebClient(self.instrument)

    def events(self) -> list[tuple[Any, ...]]:
        """Each event: milliseconds, view, method, status, exception."""
        self.assertEqual(self.instrument.in_flight, 0)
        return [
            (ms, axes["view"], axes["method"], axes["status"], axes["exception"])
            for ms, _, axes in self.kicked.kicks
        ]

    def site(self) -> Resource:
        root = Resource()
        root.putChild(b"data", Data(b"hello", "text/plain"))
        root.putChild(b"gone", pages.notFound())
        return root

    def test_interface(self) -> None:
        """A measured resource is a resource."""
        verifyObject(IResource, MeasuredResource(Resource(), metrica=self.kicked))

    def test_class(self) -> None:
        """The view is the class of the resource that answers; its response is unchanged."""
        client = self.measured(self.site())
        plain = WebClient(self.site()).request("/data?x=1")
        answer = client.request("/data?x=1")
        self.assertEqual(answer[-10:], plain[-10:])
        self.assertIn(b"200 OK", answer)
        self.assertEqual(
            self.events(), [(0.0, "twisted.web.static.Data", "GET", "2xx", None)]
        )

    def test_path(self) -> None:
        """The measured resource sees the same paths as unmeasured, also deep in a tree."""

        def told(request: Request) -> bytes:
            return repr((request.prepath, request.postpath)).encode()

        for leaf in (True, False):
            inner = Resource()
            page = Page(told)
            inner.putChild(b"page", page)
            plain, measured = Resource(), Resource()
            plain.putChild(b"a", page if leaf else inner)
            child = MeasuredResource(page if leaf else inner, metrica=self.kicked)
            measured.putChild(b"a", child)
            for path in ("/a/page/x", "/a/page", "/a/", "/a"):
                self.assertEqual(
                    WebClient(measured).request(path).partition(b"\r\n\r\n")[2],
                    WebClient(plain).request(path).partition(b"\r\n\r\n")[2],
                    path,
                )
        self.assertEqual(len(self.kicked.kicks), 8)

    def test_unmatched(self) -> None:
        """All paths without a resource are one view."""
        client = self.measured(self.site())
        for path in ("/a", "/b/c", "/gone", "/data/deeper"):
            self.assertIn(b"404", client.request(path))
        self.assertEqual({e[1] for e in self.events()}, {UNMATCHED})
        self.assertEqual({e[3] for e in self.events()}, {"4xx"})

    def test_own_404(self) -> None:
        """A resource that answers 404 itself is a view of its own."""

        def missing(request: Request) -> bytes:
            request.setResponseCode(404)
            return b"no"

        self.measured(Page(missing)).request("/")
        self.assertEqual(self.events(), [(0.0, PAGE, "GET", "4xx", None)])

    def test_duration(self) -> None:
        """The duration is in milliseconds, to the end of the response."""
        pending: list[Request] = []

        def later(request: Request) -> Any:
            pending.append(request)
            request.write(b"begun")
            return NOT_DONE_YET

        client = self.measured(Page(later))
        client.request("/")
        self.assertEqual(self.instrument.in_flight, 1)
        self.clock.advance(0.5)
        pending[0].write(b"more")
        self.clock.advance(1)
        self.assertEqual(self.kicked.kicks, [])
        pending[0].finish()
        self.assertEqual(self.events(), [(1500.0, PAGE, "GET", "2xx", None)])

    def test_client_gone(self) -> None:
        """A client that leaves ends its request, once, with a status of its own."""
        pending: list[Request] = []

        def later(request: Request) -> Any:
            pending.append(request)
            return NOT_DONE_YET

        client = self.measured(Page(later))
        client.request("/")
        self.clock.advance(2)
        client.disconnect()
        self.assertRaises(RuntimeError, pending[0].finish)
        self.assertEqual(self.events(), [(2000.0, PAGE, "GET", GONE, None)])

    def test_client_gone_while_streaming(self) -> None:
        """A client that leaves during the response does so too."""

        def begin(request: Request) -> Any:
            request.write(b"begun")
            return NOT_DONE_YET

        client = self.measured(Page(begin))
        client.request("/")
        client.disconnect()
        self.assertEqual(self.events(), [(0.0, PAGE, "GET", GONE, None)])

    def test_exception(self) -> None:
        """An exception in render is recorded by its class; the response is unchanged."""

        def broken(request: Request) -> Any:
            raise ZeroDivisionError("secret")

        answer = self.measured(Page(broken)).request("/")
        self.assertIn(b"500", answer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(
            self.events(), [(0.0, PAGE, "GET", "5xx", "ZeroDivisionError")]
        )

    def test_exception_on_the_way(self) -> None:
        """An exception in getChild counts for the measured resource."""

        class Broken(Resource):
            def getChild(self, path: bytes, request: Request) -> IResource:
                raise KeyError(path)

        self.assertIn(b"500", self.measured(Broken()).request("/x"))
        self.flushLoggedErrors(KeyError)
        ((_, view, _, status, exception),) = self.events()
        self.assertTrue(view.endswith("Broken"))
        self.assertEqual((status, exception), ("5xx", "KeyError"))

    def test_failed_deferred(self) -> None:
        """A resource that hands a failure to processingFailed counts once."""

        def failing(request: Request) -> Any:
            fail(OSError()).addErrback(request.processingFailed).addErrback(
                lambda _: None
            )
            return NOT_DONE_YET

        self.measured(Page(failing)).request("/")
        self.flushLoggedErrors(OSError)
        self.assertEqual(self.events(), [(0.0, PAGE, "GET", "5xx", "OSError")])

    def test_head(self) -> None:
        """A HEAD that Twisted answers with a GET is one event."""
        for root in (Page(lambda request: b"hello"), self.site()):
            self.kicked.kicks.clear()
            path = "/data" if not root.isLeaf else "/"
            answer = self.measured(root).request(path, "HEAD")
            self.assertTrue(answer.endswith(b"\r\n\r\n"))
            ((_, _, method, status, _),) = self.events()
            self.assertEqual((method, status), ("HEAD", "2xx"))

    def test_methods(self) -> None:
        """A method that HTTP does not define is 'other'; one not allowed is a 4xx."""
        client = self.measured(Page(lambda request: b""))
        client.request("/", "POST")
        client.request("/", "BREW")
        self.assertEqual(
            [(event[2], event[3]) for event in self.events()],
            [("POST", "4xx"), ("other", "5xx")],
        )

    def test_many_on_one_connection(self) -> None:
        """Each request of a persistent connection counts once; its end adds nothing."""
        client = self.measured(self.site())
        for _ in range(5):
            client.request("/data")
        client.disconnect()
        self.assertEqual(len(self.events()), 5)

    def test_pipelined(self) -> None:
        """Pipelined requests count once each."""
        client = self.measured(self.site())
        client.channel.dataReceived(b"GET /data HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        self.assertEqual(len(self.events()), 3)

    def test_twice_measured(self) -> None:
        """Two instruments measure the same request independently."""
        other = Kicked()

        def broken(request: Request) -> Any:
            raise KeyError

        inner = MeasuredResource(Page(broken), metrica=other)
        self.measured(inner).request("/")
        self.flushLoggedErrors(KeyError)
        self.assertEqual(
            [kicks[0][2]["exception"] for kicks in (self.kicked.kicks, other.kicks)],
            ["KeyError", "KeyError"],
        )
        self.assertEqual((len(self.kicked.kicks), len(other.kicks)), (1, 1))

    def test_encoded(self) -> None:
        """A resource that compresses its responses still does."""
        page = Page(lambda request: b"x" * 5000)
        inner = EncodingResourceWrapper(page, [GzipEncoderFactory()])
        client = self.measured(inner)
        answer = client.request("/", headers="Accept-Encoding: gzip\r\n")
        self.assertIn(b"Content-Encoding: gzip", answer)
        self.assertEqual(len(self.events()), 1)

    def test_put_child(self) -> None:
        """A child is added to the measured resource."""
        root = Resource()
        client = self.measured(root)
        self.instrument.putChild(b"data", Data(b"hello", "text/plain"))
        self.assertIn(b"hello", client.request("/data"))
        self.assertEqual(len(self.events()), 1)

    def test_view_cap(self) -> None:
        """Views beyond the limit share one label."""
        root = Resource()
        for n in range(4):
            page = type(f"Page{n}", (Page,), {})
            root.putChild(str(n).encode(), page(lambda request: b""))
        client = self.measured(root, max_views=2)
        for n in (0, 1, 2, 3, 0):
            client.request(f"/{n}")
        views = [event[1].rpartition(".")[2] for event in self.events()]
        self.assertEqual(views, ["Page0", "Page1", "other", "other", "Page0"])

    def test_lost(self) -> None:
        """A Metrica that fails does not change the response; the loss is counted."""
        self.kicked.broken = True
        client = self.measured(self.site())
        self.assertIn(b"200 OK", client.request("/data"))
        self.assertEqual(self.instrument.losses.total, 1)

    def test_sink_raises(self) -> None:
        """A Metrica that raises, against its contract, does not either."""
        self.kicked.kick = lambda *args, **axes: 1 / 0
        client = self.measured(self.site())
        self.assertIn(b"200 OK", client.request("/data"))
        self.assertIn(b"200 OK", client.request("/data"))
        self.assertEqual(self.instrument.losses.total, 2)

    def test_stats(self) -> None:
        """Stats get the duration and a count, with names made from the event."""
        stats = MemoryStatHat(ignore_errors=False)
        instrument = MeasuredResource(
            Page(lambda request: self.clock.advance(0.01234) or b""),
            stats=stats,
            value_name="{view} {exception} ms",
            count_name="{method} {status}",
            seconds=self.clock.seconds,
        )
        WebClient(instrument).request("/")
        self.assertEqual(stats.values, {f"{PAGE} none ms": [12.3]})
        self.assertEqual(stats.counts, {"GET 2xx": 1})

    def test_stats_in_part(self) -> None:
        """Either of the two stats may be left out."""
        stats = MemoryStatHat()
        one = MeasuredResource(Page(lambda r: b""), stats=stats, value_name=None)
        WebClient(one).request("/")
        self.assertEqual((stats.values, stats.counts), ({}, {f"{PAGE} 2xx": 1}))

    def test_wrong_use(self) -> None:
        """Without a Metrica or stats, or with a bad template, it is refused."""
        error = self.assertRaises(TypeError, MeasuredResource, Resource())
        self.assertIn("metrica=", str(error))
        for template in ("{path}", "{view!r}", "{}", ""):
            self.assertRaises(
                ValueError,
                MeasuredResource,
                Resource(),
                stats=MemoryStatHat(),
                value_name=template,
            )


def broken_page(request: Request) -> Any:
    raise EOFError


class KleinTests(SynchronousTestCase):
    """Requests to Klein applications: routes are views."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.kicked = Kicked()
        self.pending: list[Deferred[Any]] = []
        app = Klein()

        @app.route("/users/<int:number>")
        def user(request: Request, number: int) -> bytes:
            return b"user %d" % number

        @app.route("/one")
        @app.route("/two/<name>")
        def several(request: Request, name: str = "") -> bytes:
            return b"several"

        @app.route("/later")
        def later(request: Request) -> Any:
            self.pending.append(Deferred())
            return self.pending[-1]

        @app.route("/broken")
        async def broken(request: Request) -> bytes:
            await succeed(None)
            raise ZeroDivisionError

        @app.route("/handled")
        def handled(request: Request) -> Any:
            raise LookupError

        @app.route("/resource")
        def resource(request: Request) -> Any:
            return Page(broken_page)

        @app.route("/files/", branch=True)
        def files(request: Request) -> Any:
            return Data(b"file", "text/plain")

        @app.handle_errors(LookupError)
        def sorry(request: Request, failure: Failure) -> bytes:
            request.setResponseCode(400)
            return b"sorry"

        self.app = app
        self.instrument = measured_klein(
            app, metrica=self.kicked, seconds=self.clock.seconds
        )
        self.client = WebClient(self.instrument)

    def events(self) -> list[tuple[Any, ...]]:
        self.assertEqual(self.instrument.in_flight, 0)
        return [
            (axes["view"], axes["status"], axes["exception"])
            for _, _, axes in self.kicked.kicks
        ]

    def test_route(self) -> None:
        """The view is the pattern of the route."""
        self.assertIn(b"user 7", self.client.request("/users/7"))
        self.client.request("/users/8")
        self.assertEqual(self.events(), [("/users/<int:number>", "2xx", None)] * 2)

    def test_several_routes(self) -> None:
        """With several routes to one function, the view is the one that matched."""
        self.client.request("/one")
        self.client.request("/two/x")
        self.assertEqual([e[0] for e in self.events()], ["/one", "/two/<name>"])

    def test_branch(self) -> None:
        """A branch is one view, and the resource that it returns answers."""
        self.client.request("/files/a/b")
        ((view, _, _),) = self.events()
        self.assertTrue(view.startswith("/files/"))
        self.assertNotIn("a/b", view)

    def test_unmatched(self) -> None:
        """A request without a route is 'unmatched', also by a wrong method or encoding."""
        self.client.request("/nothing")
        self.client.request("/users/x")
        self.client.request("/%ff")
        self.flushLoggedErrors(UnicodeDecodeError)
        self.assertEqual(
            [event[:2] for event in self.events()], [(UNMATCHED, "4xx")] * 3
        )

    def test_later(self) -> None:
        """A Deferred is measured until it fires."""
        self.client.request("/later")
        self.clock.advance(1)
        self.assertEqual(self.kicked.kicks, [])
        self.pending[0].callback(b"there")
        self.assertEqual(self.kicked.kicks[0][0], 1000)
        self.assertEqual(self.events(), [("/later", "2xx", None)])

    def test_later_fails(self) -> None:
        """A Deferred that fails is one event, with its exception."""
        self.client.request("/later")
        self.pending[0].errback(OSError())
        self.flushLoggedErrors(OSError)
        self.assertEqual(self.events(), [("/later", "5xx", "OSError")])

    def test_client_gone(self) -> None:
        """A client that leaves is one event; the Deferred of the route is cancelled."""
        self.client.request("/later")
        self.client.disconnect()
        self.assertTrue(self.pending[0].called)
        self.assertEqual(self.events(), [("/later", GONE, None)])

    def test_coroutine(self) -> None:
        """A coroutine that raises is recorded with its exception."""
        self.client.request("/broken")
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(self.events(), [("/broken", "5xx", "ZeroDivisionError")])

    def test_handled(self) -> None:
        """An exception that an error handler turns into a response is recorded too."""
        self.assertIn(b"sorry", self.client.request("/handled"))
        self.assertEqual(self.events(), [("/handled", "4xx", "LookupError")])

    def test_returned_resource(self) -> None:
        """An exception of a resource that a route returned is recorded too."""
        self.client.request("/resource")
        self.flushLoggedErrors(EOFError)
        self.assertEqual(self.events(), [("/resource", "5xx", "EOFError")])

    def test_instance(self) -> None:
        """An application that is bound to an instance is measured for that instance."""

        class Shop:
            app = Klein()

            @app.route("/")
            def index(self, request: Request) -> bytes:
                return b"shop"

        one, other = Shop(), Shop()
        client = WebClient(measured_klein(one.app, metrica=self.kicked))
        self.assertIn(b"shop", client.request("/"))
        self.assertIn(b"shop", WebClient(other.app.resource()).request("/"))
        self.assertEqual(self.events(), [("/", "2xx", None)])


class ThreadTests(TestCase):
    """Requests that are answered in threads, over real sockets."""

    @inlineCallbacks
    def test_wsgi(self) -> Any:
        """A WSGI application is one view; each request counts once."""
        from urllib.request import urlopen

        from twisted.internet import reactor

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello ", b"wsgi"]

        kicked = Kicked()
        wsgi = WSGIResource(reactor, reactor.getThreadPool(), application)
        port = reactor.listenTCP(
            0, Site(MeasuredResource(wsgi, metrica=kicked)), interface="127.0.0.1"
        )
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/a/b"

        def read() -> bytes:
            with urlopen(url) as answer:
                return answer.read()

        body = yield deferToThread(read)
        self.assertEqual(body, b"hello wsgi")
        ((_, _, axes),) = kicked.kicks
        self.assertEqual(axes["view"], "twisted.web.wsgi.WSGIResource")
        self.assertEqual(axes["status"], "2xx")
