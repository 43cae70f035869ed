"""
WSGI applications, measured: Flask's and Django's, in threads of Twisted's server.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import django
import flask
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource

from tests.fixtures.support import logged, reactor
from txstathat.integrations.prometheus import PrometheusStats
from txstathat.integrations.wsgi import VIEW, MeasuredApplication
from txstathat.testing import MemoryStatHat


def book(request: Any, number: int) -> Any:
    return HttpResponse(f"book {number}")


def stream(request: Any) -> Any:
    return StreamingHttpResponse(iter([b"a", b"b"]))


def broken(request: Any) -> Any:
    raise RuntimeError("canary")


#: Django's, of which this module is the ROOT_URLCONF.
urlpatterns = [
    path("shop/", include(([path("books/<int:number>", book, name="book")], "shop"))),
    path("stream", stream),
    path("broken", broken, name="broken"),
]


def flask_application() -> Any:
    app = flask.Flask(__name__)
    shop = flask.Blueprint("shop", __name__)

    @shop.route("/books/<int:number>")
    def book(number: int) -> str:
        return f"book {number}"

    @app.route("/broken")
    def broken() -> str:
        raise RuntimeError("canary")

    app.register_blueprint(shop, url_prefix="/shop")
    return app


def django_application() -> Any:
    # Trial looks at what is in a module, which these would not bear.
    from django.conf import settings

    if not settings.configured:
        logging.getLogger("django").addHandler(logging.NullHandler())
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["txstathat.integrations.wsgi.DjangoViews"],
            LOGGING_CONFIG=None,
        )
        django.setup()
    return get_wsgi_application()


class FrameworkTests(TestCase):
    """Real applications, asked over HTTP, that count in a real registry."""

    timeout = 30

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.stats = PrometheusStats(self.registry, ignore_errors=False)

    async def ask(self, application: Any, *paths: str) -> list[tuple[int, bytes]]:
        pool = ThreadPool(0, 4)
        pool.start()
        resource = WSGIResource(reactor, pool, application)
        port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")
        answers = []
        try:
            for each in paths:
                url = f"http://127.0.0.1:{port.getHost().port}{each}"
                response = await Agent(reactor).request(b"GET", url.encode())
                answers.append((response.code, await readBody(response)))
        finally:
            await port.stopListening()
            # A request ends in its thread a little after its answer is here.
            pool.stop()
        return answers

    def counts(self) -> dict[str, float]:
        return {
            sample.name.removesuffix("_total"): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name.endswith(("_total", "_count"))
        }

    async def test_flask(self) -> None:
        """Flask's views are its endpoints, whatever their paths; the answers are whole."""
        app = flask_application()
        app.wsgi_app = MeasuredApplication(app.wsgi_app, self.stats)
        answers = await self.ask(
            app, "/shop/books/1", "/shop/books/2", "/nothing/canary", "/broken"
        )
        self.assertEqual(answers[:2], [(200, b"book 1"), (200, b"book 2")])
        self.assertEqual([code for code, _ in answers[2:]], [404, 500])
        self.assertEqual(
            self.counts(),
            {
                "shop_book_2xx": 2,
                "shop_book_ms_count": 2,
                "unmatched_4xx": 1,
                "unmatched_ms_count": 1,
                "broken_5xx": 1,
                "broken_ms_count": 1,
            },
        )

    async def test_django(self) -> None:
        """Django's views are the resolver's matches; streams are measured to their end."""
        application = MeasuredApplication(
            django_application(), self.stats, value_name=None
        )
        answers = await self.ask(
            application, "/shop/books/1", "/nothing/canary", "/broken", "/stream"
        )
        self.assertEqual(answers[0], (200, b"book 1"))
        self.assertEqual([code for code, _ in answers], [200, 404, 500, 200])
        self.assertEqual(answers[3][1], b"ab")
        self.assertEqual(
            self.counts(),
            {
                "shop_book_2xx": 1,
                "unmatched_4xx": 1,
                "broken_5xx": 1,
                "tests_integrations_test_wsgi_stream_2xx": 1,
            },
        )


class MeasuredApplicationTests(SynchronousTestCase):
    """What is counted of a request, and what is left as it was."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)

    def measured(self, application: Any, **options: Any) -> MeasuredApplication:
        stats = options.pop("stats", self.stats)
        return MeasuredApplication(
            application, stats, seconds=self.clock.seconds, **options
        )

    def request(self, application: Any, **environ: Any) -> Any:
        self.started: list[Any] = []
        environ.setdefault("QUERY_STRING", "")
        setup_testing_defaults(environ)
        return application(environ, lambda *started: self.started.append(started))

    def answer(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return []

    def test_conforms(self) -> None:
        """It is a WSGI application around a WSGI application."""

        def hello(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello"]

        body = self.request(validator(self.measured(validator(hello))))
        self.assertEqual(list(body), [b"hello"])
        body.close()
        self.assertEqual(self.stats.counts, {"unmatched 2xx": 1})

    def test_duration(self) -> None:
        """A response is measured until its body is read or closed, and counted once."""

        def slow(environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            self.clock.advance(0.25)
            yield b"a"
            self.clock.advance(0.25)

        body = self.request(self.measured(slow))
        self.assertEqual(self.stats.points, [])
        self.assertEqual(list(body), [b"a"])
        body.close()
        self.assertEqual(self.stats.values, {"unmatched ms": [500]})
        left = self.request(self.measured(slow))
        next(iter(left))
        left.close()
        self.assertEqual(self.stats.values, {"unmatched ms": [500, 250]})

    def test_closes(self) -> None:
        """close() reaches the application's own iterable."""
        closed: list[bool] = []

        class Body(list[bytes]):
            def close(self) -> None:
                closed.append(True)

        self.request(self.measured(lambda environ, start: Body())).close()
        self.assertEqual(closed, [True])
        self.assertEqual(self.stats.counts, {"unmatched other": 1})

    def test_raises(self) -> None:
        """What raises counts as 5xx, when called or while it is read, and passes on."""

        def at_once(environ: Any, start_response: Any) -> Any:
            raise KeyError

        def later(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            yield b"a"
            raise KeyError

        self.assertRaises(KeyError, self.request, self.measured(at_once))
        self.assertRaises(KeyError, list, self.request(self.measured(later)))
        self.assertEqual(self.stats.counts, {"unmatched 5xx": 2})

    def test_names(self) -> None:
        """Names are templates; what is at VIEW names the view; odd methods are other."""
        measured = self.measured(
            self.answer, count_name="{method} {view} {status}", value_name=None
        )
        for method in ("POST", "NONSENSE"):
            body = self.request(measured, REQUEST_METHOD=method, **{VIEW: "home"})
            body.close()
        self.assertEqual(self.stats.counts, {"POST home 2xx": 1, "other home 2xx": 1})
        self.assertEqual(self.stats.values, {})

    def test_many_views(self) -> None:
        """Views beyond the bound are one, named other."""
        measured = self.measured(self.answer, max_views=2, value_name=None)
        for n in range(5):
            self.request(measured, **{VIEW: f"v{n}"}).close()
        self.assertEqual(self.stats.counts, {"v0 2xx": 1, "v1 2xx": 1, "other 2xx": 3})

    def test_stats_that_raise(self) -> None:
        """Stats that raise are a loss, logged once, and the answer is as it was."""

        class Raising:
            def count(self, *args: Any, **options: Any) -> Any:
                raise RuntimeError("canary")

            value = count

        measured = self.measured(self.answer, stats=Raising())
        with logged() as log:
            self.request(measured).close()
        self.assertEqual(self.started, [("204 No Content", [])])
        self.assertEqual(measured.losses.total, 1)
        self.assertEqual(len(log.at_level("warn")), 1)
        self.assertNotIn("canary", log.text)
