"""
Web requests: one event each, with its duration and what it was.
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
#: The status of a request whose client went away before the response's end.
GONE = "gone"
#: How many views are told apart by default, and how many exception classes.
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

# What is told of a kind of requests: its view, status and exception, and the names of
# its two stats.
_Event = tuple[str, str, str | None, str | None, str | None]


def _resource_view(resource: IResource, code: int) -> str:
    """
    The view of a resource: its class, unless it is a page that says there is none.
    """
    if code == NOT_FOUND and (
        isinstance(resource, _ERROR_PAGE) or getattr(resource, "code", None) == code
    ):
        return UNMATCHED
    return class_label(type(resource))


class Measurement:
    """
    One request that is being measured.

    It waits among the Deferreds that :meth:`.Request.notifyFinish` makes, and is told
    as they are, by ``callback`` or ``errback``, once. A real Deferred there would cost
    as much as all the rest of the measuring (``benchmarks/instruments.py``).

    :ivar instrument: what measures it.
    :ivar view: the route's pattern; or the resource that answers.
    :ivar raised: the class of the exception that was raised, if one was.
    :ivar started: when it began, by the instrument's clock.
    """

    # What most requests never change is not set for each.
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
        Take note of exceptions on Twisted's own way out for them, ``processingFailed``.
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
        The response is complete.
        """
        self.instrument.ended(self, self.request, self.request.code)

    def errback(self, _: object) -> None:
        """
        The client has gone away.
        """
        self.instrument.ended(self, self.request, None)


@implementer(IResource)
class MeasuredResource:
    """
    A resource whose requests are measured, and else as it was: a site's root, or any
    part of its tree. A :class:`~twisted.web.server.Request` ends once, however it
    ends, and is one event:

    - ``view``: the class of the resource that answered, with its module, such as
      ``twisted.web.static.File``; a route's pattern in a resource of
      :func:`~txstathat.instruments.measured_klein`; :data:`UNMATCHED` for what
      there is no resource for;
    - ``method``: ``GET`` and so on, :data:`~txstathat.instruments.labels.OTHER` for one
      that is not of HTTP;
    - ``status``: ``1xx`` to ``5xx``, :data:`GONE` if the client went away first;
    - ``exception``: the class of the exception that ended it, if one did;
    - the duration, in milliseconds, from here to the end of the response.

    :param resource: the resource to measure.
    :param metrica: what to kick with the duration, with these four axes, such as
        :func:`txstathat.metrica.request_metrica` makes.
    :param stats: where to send the duration and a count to, as stats.
    :param value_name: the name of the stat that averages durations, with any of
        ``{view}``, ``{method}``, ``{status}`` and ``{exception}`` (``none`` if none)
        in it; ``None`` to send no duration.
    :param count_name: the name of the stat that counts requests, made likewise.
    :param max_views: how many views there may be, and how many exception classes;
        those seen later are ``other``.
    :param seconds: the clock to measure with.
    :raises TypeError: if there is neither a metrica nor stats.
    :raises ValueError: if a name's template is not valid.
    :ivar losses: the points that could not be handed on.
    :ivar in_flight: how many requests are being answered now.
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
            raise TypeError("pass metrica=, stats= or both: there is no one to tell")
        self.losses = Losses("requests")
        # What encodes its answers must be found at the end of the way down, and only
        # what is no leaf can lead there.
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
        The measurement of a request, while it is in flight here.
        """
        for waiting in request.notifications:
            if isinstance(waiting, Measurement) and waiting.instrument is self:
                return waiting
        return None

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """
        Find the resource that answers, all the way down, and measure the request.
        """
        request.postpath.insert(0, request.prepath.pop())  # type: ignore[union-attr]
        measurement = self._begin(request)
        child: IResource = getChildForRequest(self._resource, request)
        measurement.view = child
        return child

    def putChild(self, path: bytes, child: IResource) -> None:
        """
        Put a child into the resource that is measured.
        """
        self._resource.putChild(path, child)

    def render(self, request: Request) -> Any:
        """
        Let the measured resource answer: a leaf, or with nothing of the path left.
        """
        # It is asked twice for a HEAD that Twisted answers by a GET.
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
        Tell of a request.

        :param code: the status of the response; ``None`` if the client is gone.
        """
        ms = (self.seconds() - measurement.started) * 1000
        self.in_flight -= 1
        if measurement.processing_failed is not None:
            # Out of the circle of references, so that no garbage collection is needed.
            # Another instrument, measuring the same request, may have been here.
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
                    # To the tenth: round() would cost as much as the call.
                    tenths = int(ms * 10 + 0.5) / 10
                    self.losses.watch(self._stats.value(value_name, tenths))
                if count_name is not None:
                    self.losses.watch(self._stats.count(count_name))
        except Exception:
            # This is in the midst of Twisted's clean-up: nothing may come out of here.
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
