"""
Web requests: one event each, with its duration, view, method and status.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from time import perf_counter
from typing import Any

from twisted.python.failure import Failure
from twisted.web import pages
from twisted.web.http import NOT_FOUND
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import Request
from zope.interface import implementer

from txstathat.instruments.labels import OTHER, Labels, StatName, class_label
from txstathat.instruments.losses import Losses
from txstathat.interfaces import IKick, IStatHat

__all__ = ["GONE", "MAX_VIEWS", "UNMATCHED", "MeasuredResource"]

#: The view of a request that matched no route and no resource.
UNMATCHED = "unmatched"
#: The status of a request if the client left before the end of the response.
GONE = "gone"
#: How many views, and how many exception classes, have labels of their own by default.
MAX_VIEWS = 200

_METHODS = {
    name.encode("ascii"): name
    for name in (
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "CONNECT",
    )
}
_STATUSES = {digit: f"{digit}xx" for digit in range(1, 6)}
_ERROR_PAGE = type(pages.notFound())

# The labels of a kind of requests (view, status, exception), and the names of its two
# stats.
_Event = tuple[str, str, str | None, str | None, str | None]


def _resource_view(resource: IResource, code: int) -> str:
    """
    The view of a resource: its class, or :data:`UNMATCHED` for Twisted's 404 page.
    """
    if code == NOT_FOUND and (
        isinstance(resource, _ERROR_PAGE) or getattr(resource, "code", None) == code
    ):
        return UNMATCHED
    return class_label(type(resource))


class Measurement:
    """
    One request that is being measured.

    It is in the list of Deferreds that :meth:`.Request.notifyFinish` makes, and like
    them gets one ``callback`` or ``errback``. A real Deferred would double the cost of
    measuring (``benchmarks/instruments.py``).

    :param instrument: the resource that measures.
    :param request: the request.
    :param view: the pattern of the route, or the resource that answers.

    :ivar raised: the class of the exception that was raised; ``None`` if none was.
    :ivar started: when it began, in seconds of the instrument's clock.
    """

    # Class attributes, because most requests never set them.
    raised: type[BaseException] | None = None
    processing_failed: Callable[[Failure], Any] | None = None

    def __init__(
        self, instrument: MeasuredResource, request: Request, view: str | IResource
    ) -> None:
        self.instrument = instrument
        self.view = view
        self.request = request
        request.notifications.append(self)  # type: ignore[arg-type]
        instrument.in_flight += 1
        self.started = instrument.seconds()

    def watch_exceptions(self) -> None:
        """
        Note exceptions, which Twisted passes to ``processingFailed``.
        """
        request = self.request
        self.processing_failed = request.processingFailed
        request.processingFailed = self._failed  # type: ignore[method-assign]

    def _failed(self, reason: Failure) -> Any:
        self.raised = reason.type
        assert self.processing_failed is not None
        return self.processing_failed(reason)

    def callback(self, _: object) -> None:
        """
        Record a complete response.
        """
        self.instrument.ended(self, self.request, self.request.code)

    def errback(self, _: object) -> None:
        """
        Record that the client has left.
        """
        self.instrument.ended(self, self.request, None)


@implementer(IResource)
class MeasuredResource:
    """
    A resource that measures the requests of another one: of a site's root, or of a part
    of its tree. Each request is one event:

    - ``view``: the class of the resource that answered, with its module, such as
      ``twisted.web.static.File``; with
      :func:`~txstathat.instruments.measured_klein` the pattern of the route;
      :data:`UNMATCHED` if no resource or route was found;
    - ``method``: ``GET`` and so on; :data:`~txstathat.instruments.labels.OTHER` for a
      method that HTTP does not define;
    - ``status``: ``1xx`` to ``5xx``, :data:`GONE` if the client left first;
    - ``exception``: the class of the exception that ended it; ``None`` without one;
    - the duration, in milliseconds, from here to the end of the response.

    :param resource: the resource to measure.
    :param metrica: the Metrica to kick with the duration. It has these four axes, such
        as that of :func:`txstathat.metrica.request_metrica`.
    :param stats: where to send the duration and a count as stats.
    :param value_name: the name of the stat that averages durations. It can contain
        ``{view}``, ``{method}``, ``{status}`` and ``{exception}`` (``none`` without
        one). ``None`` sends no duration.
    :param count_name: the name of the stat that counts requests, in the same form.
        ``None`` sends no count.
    :param max_views: how many views, and how many exception classes, have labels of
        their own; the others share ``other``.
    :param seconds: the clock, in seconds.
    :raises TypeError: without ``metrica`` and ``stats``.
    :raises ValueError: if a template of a name is not valid.
    :ivar losses: the points that were lost.
    :ivar in_flight: how many requests are being answered.
    """

    def __init__(
        self,
        resource: IResource | Resource,
        *,
        metrica: IKick | None = None,
        stats: IStatHat | None = None,
        value_name: str | None = "{view} ms",
        count_name: str | None = "{view} {status}",
        max_views: int = MAX_VIEWS,
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        if metrica is None and stats is None:
            raise TypeError("pass metrica=, stats= or both")
        self.losses = Losses("requests")
        # Twisted looks for an encoder only in the resource that it finds, and only a
        # resource that is not a leaf leads it to the inner one.
        self.isLeaf = resource.isLeaf and not hasattr(resource, "getEncoder")
        self._resource = resource
        self._metrica = metrica
        self._stats = stats
        self._names = [
            None
            if template is None
            else StatName(template, ("view", "method", "status", "exception"))
            for template in (value_name, count_name)
        ]
        self._views = Labels(max_views)
        self._exceptions = Labels(max_views)
        self.seconds = seconds
        self.in_flight = 0
        # A program has many requests of few kinds.
        self._event: Callable[..., _Event] = lru_cache(maxsize=1024)(self._make_event)

    def measurement(self, request: Request) -> Measurement | None:
        """
        Find the measurement of a request that is in flight.

        :param request: the request.
        :returns: the measurement; ``None`` if this does not measure the request.
        """
        for waiting in request.notifications:
            if isinstance(waiting, Measurement) and waiting.instrument is self:
                return waiting
        return None

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """
        Find the resource that answers, and start to measure the request.
        """
        request.postpath.insert(0, request.prepath.pop())  # type: ignore[union-attr]
        measurement = self._begin(request)
        child: IResource = getChildForRequest(self._resource, request)
        measurement.view = child
        return child

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Add a child to the measured resource.
        """
        self._resource.putChild(path, child)

    def render(self, request: Request) -> Any:
        """
        Let the measured resource answer, if it is a leaf or the path ends here.
        """
        # Twisted calls this twice for a HEAD that it answers with a GET.
        if not request.notifications or self.measurement(request) is None:
            self._begin(request)
        return self._resource.render(request)

    def _begin(self, request: Request) -> Measurement:
        measurement = Measurement(self, request, self._resource)
        measurement.watch_exceptions()
        return measurement

    def ended(
        self, measurement: Measurement, request: Request, code: int | None
    ) -> None:
        """
        Record the end of a request.

        :param measurement: the measurement of the request.
        :param request: the request.
        :param code: the status of the response; ``None`` if the client has left.
        """
        ms = (self.seconds() - measurement.started) * 1000
        self.in_flight -= 1
        if measurement.processing_failed is not None:
            # Break the reference cycle, so that no garbage collection is needed.
            # Another instrument that measures the same request may have done so.
            with suppress(AttributeError):
                del request.processingFailed
        try:
            view = measurement.view
            if not isinstance(view, str):
                view = _resource_view(view, request.code)
            method = _METHODS.get(request.method, OTHER)
            view, status, exception, value_name, count_name = self._event(
                view, method, code, measurement.raised
            )
            if self._metrica is not None:
                kicked = self._metrica.kick(
                    ms, view=view, method=method, status=status, exception=exception
                )
                self.losses.watch(kicked)
            if self._stats is not None:
                if value_name is not None:
                    # To one decimal; round() would be much slower.
                    tenths = int(ms * 10 + 0.5) / 10
                    self.losses.watch(self._stats.value(value_name, tenths))
                if count_name is not None:
                    self.losses.watch(self._stats.count(count_name))
        except Exception:
            # Twisted is cleaning up the request here, so this must not raise.
            self.losses.note(Failure())

    def _make_event(
        self,
        view: str,
        method: str,
        code: int | None,
        raised: type[BaseException] | None,
    ) -> _Event:
        view = self._views[view]
        status = GONE if code is None else _STATUSES.get(code // 100, OTHER)
        exception = None if raised is None else self._exceptions[class_label(raised)]
        value_name, count_name = (
            None
            if name is None
            else name.of(
                view=view, method=method, status=status, exception=exception or "none"
            )
            for name in self._names
        )
        return view, status, exception, value_name, count_name
