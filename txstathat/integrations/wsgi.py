"""
WSGI applications, such as those of Django and Flask: their requests, measured by view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from time import perf_counter
from typing import Any, Protocol, TypeAlias

from twisted.python.failure import Failure

from txstathat.instruments.labels import OTHER, Labels, StatName
from txstathat.instruments.losses import Losses

__all__ = [
    "MAX_VIEWS",
    "UNMATCHED",
    "VIEW",
    "CountsFromThreads",
    "DjangoViews",
    "MeasuredApplication",
]

#: The key of the WSGI environment that names a request's view, for whoever knows it.
VIEW = "txstathat.view"
#: The view of a request that nobody named.
UNMATCHED = "unmatched"
#: How many views have stats of their own by default; later ones are ``other``.
MAX_VIEWS = 200

_Environ: TypeAlias = dict[str, Any]
_Application: TypeAlias = Callable[[_Environ, Callable[..., Any]], Iterable[bytes]]


class CountsFromThreads(Protocol):
    """
    What counts from any thread, without waiting: ``from_threads()`` of a client or a
    service, or :class:`~txstathat.integrations.prometheus.PrometheusStats`.
    """

    def count(
        self, stat: str, count: int = 1, *, ignore_errors: bool | None = None
    ) -> object:
        """
        Add to a counter.
        """

    def value(
        self, stat: str, value: float, *, ignore_errors: bool | None = None
    ) -> object:
        """
        Measure a value.
        """


class MeasuredApplication:
    """
    A WSGI application whose requests are measured, and else as it was::

        app.wsgi_app = MeasuredApplication(app.wsgi_app, stats)     # Flask
        application = MeasuredApplication(get_wsgi_application(), stats)    # Django

    A request is a count by its view and the class of its status, and a value, the
    milliseconds until the response was read to its end or closed. The view is, of the
    first that is there:

    - what is at :data:`VIEW` in the environment, which a framework's middleware can put
      there, as :class:`DjangoViews` does for Django;
    - the endpoint that Flask, or another program on Werkzeug's requests, has matched;
    - :data:`UNMATCHED`. A path is never a view: there are as many as someone cares to
      request.

    An application that raises counts as ``5xx``, and the exception passes on.

    :param application: the application to measure.
    :param stats: where to count. It must be safe to call from any thread, since servers
        call applications in their threads. What it returns is not looked at: a Deferred
        belongs to the reactor's thread. So it is called with ``ignore_errors=True``.
    :param count_name: the name of the stat that counts requests, with any of
        ``{view}``, ``{method}`` and ``{status}`` in it; ``None`` to count none.
    :param value_name: likewise for the stat that averages durations.
    :param max_views: how many views have stats of their own; later ones are ``other``.
    :param seconds: the clock to measure with, in seconds.
    :raises ValueError: if a template is not valid.
    :ivar losses: the points that were lost.
    """

    def __init__(
        self,
        application: _Application,
        stats: CountsFromThreads,
        *,
        count_name: str | None = "{view} {status}",
        value_name: str | None = "{view} ms",
        max_views: int = MAX_VIEWS,
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        self.losses = Losses("WSGI requests")
        self._application = application
        self._stats = stats
        self._count_name, self._value_name = (
            None if name is None else StatName(name, ("view", "method", "status"))
            for name in (count_name, value_name)
        )
        self._views = Labels(max_views)
        self._seconds = seconds
        self._lock = Lock()

    def __call__(
        self, environ: _Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """
        Answer a request: what WSGI servers call.
        """
        started = self._seconds()
        status = view = ""

        def start(given: str, *arguments: Any) -> Any:
            nonlocal status, view
            # Flask takes its request out of the environment when it has answered.
            status, view = given, _view(environ)
            return start_response(given, *arguments)

        def ended(failed: bool = False) -> None:
            self._count(
                environ, view or _view(environ), "500" if failed else status, started
            )

        try:
            return _Body(self._application(environ, start), ended)
        except BaseException:
            ended(failed=True)
            raise

    def _count(self, environ: _Environ, view: str, status: str, started: float) -> None:
        try:
            ms = round((self._seconds() - started) * 1000, 1)
            method = environ.get("REQUEST_METHOD", OTHER)
            fields = {
                "method": method if method in _METHODS else OTHER,
                "status": f"{status[0]}xx" if status[:1] in _CLASSES else OTHER,
            }
            with self._lock:
                fields["view"] = self._views[view]
            if self._count_name is not None:
                self._stats.count(self._count_name.of(**fields), ignore_errors=True)
            if self._value_name is not None:
                self._stats.value(self._value_name.of(**fields), ms, ignore_errors=True)
        except Exception:
            # Nothing may come out of here into a program that answers.
            with self._lock:
                self.losses.note(Failure())


class _Body:
    """
    The body of a response; its end is noticed, once.
    """

    def __init__(self, body: Iterable[bytes], ended: Callable[..., None]) -> None:
        self._body = body
        self._ended: Callable[..., None] | None = ended

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception:
            self._end(failed=True)
            raise
        self._end()

    def close(self) -> None:
        """
        Close the application's own iterable, as WSGI servers do at the end.
        """
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end()

    def _end(self, failed: bool = False) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(failed)


class DjangoViews:
    """
    A middleware for Django that names views for :class:`MeasuredApplication`: by the
    resolver's match, such as ``shop:book`` for a named URL in a namespace, or the
    dotted path of the view function where the URL has no name::

        MIDDLEWARE = ["txstathat.integrations.wsgi.DjangoViews", ...]

    :param get_response: what Django calls next.
    """

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    def __call__(self, request: Any) -> Any:
        """
        Let Django answer a request, and name its view.
        """
        try:
            return self._get_response(request)
        finally:
            match = getattr(request, "resolver_match", None)
            environ = getattr(request, "environ", None)
            # A request that came over ASGI has no such environment.
            if match is not None and environ is not None:
                environ[VIEW] = match.view_name


_METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
)
_CLASSES = frozenset("12345")


def _view(environ: _Environ) -> str:
    """
    The view of a request that was answered.
    """
    view = environ.get(VIEW)
    if view is None:
        # Werkzeug's documented key for its own request.
        view = getattr(environ.get("werkzeug.request"), "endpoint", None)
    return UNMATCHED if view is None else str(view)
