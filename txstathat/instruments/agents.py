"""
Outgoing requests: how long they take until the headers and until the body's end, and
how they end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from txstathat.instruments.labels import OTHER, Labels, StatName, class_label
from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat

__all__ = ["MAX_HOSTS", "MeasuredAgent"]

#: How many hosts have stats of their own by default, and how many exception classes;
#: later ones are ``other``.
MAX_HOSTS = 200

_COMPLETE = (ResponseDone, PotentialDataLoss)
_STATUSES = [f"{digit}xx" if 1 <= digit <= 5 else OTHER for digit in range(10)]


@implementer(IAgent)
class MeasuredAgent:
    """
    An agent that measures each request of another agent::

        client = HTTPClient(MeasuredAgent(Agent(reactor), stats))   # treq.client

    The request, its Deferred and its cancelling are those of the other agent. A request
    sends these points; ``host`` is the host of its URL, without port and credentials:

    - the headers arrive: a count by the class of the status (``1xx`` to ``5xx``), and
      the time since the request began;
    - the body ends: the time since the request began. A body that nobody reads has no
      end;
    - it fails, before the headers or in the body: a count by the class of the
      exception. Of an exception that only wraps others, such as
      ``ResponseNeverReceived``, the first of these counts.

    Times are in milliseconds. Put it below agents that follow redirects to measure each
    request, and above them to measure the whole. Call it in the reactor's thread.

    :param agent: the agent that makes the requests.
    :param stats: where to send the points.
    :param count_name: the name of the stat that counts responses, with ``{host}`` and
        ``{status}`` in it.
    :param failure_name: the name of the stat that counts failures, with ``{host}`` and
        ``{exception}`` in it.
    :param headers_name: the name of the stat that averages the time to the headers,
        with ``{host}`` in it; ``None`` to send none.
    :param body_name: likewise for the time to the body's end.
    :param max_hosts: how many hosts, and how many exception classes, have stats of
        their own; later ones are ``other``.
    :param seconds: the clock to measure with, in seconds.
    :raises ValueError: if a template is not valid.
    :ivar losses: the points that were lost.
    :ivar in_flight: how many requests wait for their headers now.
    """

    def __init__(
        self,
        agent: IAgent,
        stats: IStatHat,
        *,
        count_name: str = "{host} {status}",
        failure_name: str = "{host} failed {exception}",
        headers_name: str | None = "{host} headers ms",
        body_name: str | None = "{host} ms",
        max_hosts: int = MAX_HOSTS,
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        self.losses = Losses("outgoing requests")
        self.in_flight = 0
        self.seconds = seconds
        self.stats = stats
        self._agent = agent
        self._names = (
            StatName(count_name, ("host", "status")),
            StatName(failure_name, ("host", "exception")),
            headers_name and StatName(headers_name, ("host",)),
            body_name and StatName(body_name, ("host",)),
        )
        self._labels = Labels(max_hosts)
        self._exceptions = Labels(max_hosts)
        # A program requests much of few hosts.
        self._host = lru_cache(maxsize=1024)(self._make_host)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Make a request; see :class:`~twisted.web.iweb.IAgent`.
        """
        parts = uri.split(b"/", 3)
        host = self._host(parts[2] if len(parts) > 2 else b"")
        started = self.seconds()
        requested = self._agent.request(method, uri, headers, bodyProducer)
        self.in_flight += 1
        arguments = (host, started)
        return requested.addCallbacks(
            self._responded,
            self._failed,
            callbackArgs=arguments,
            errbackArgs=arguments,
        )

    def _responded(self, response: IResponse, host: _Host, started: float) -> IResponse:
        self.in_flight -= 1
        # To the tenth: round() would cost as much as the call.
        ms = int((self.seconds() - started) * 10_000 + 0.5) / 10
        losses, stats = self.losses, self.stats
        try:
            losses.watch(stats.count(host.count_names[response.code // 100 % 10]))
            if host.headers_name is not None:
                losses.watch(stats.value(host.headers_name, ms))
        except Exception:
            # The response goes on, whatever becomes of its points.
            losses.note(Failure())
        return _MeasuredResponse(response, self, host, started)

    def _failed(self, failure: Failure, host: _Host, started: float) -> Failure:
        self.in_flight -= 1
        self.count_failure(failure, host)
        return failure

    def count_failure(self, failure: Failure, host: _Host) -> None:
        """
        Count a request that failed.
        """
        exception = self._exceptions[class_label(_cause(failure))]
        name = self._names[1].of(host=host.label, exception=exception)
        self.losses.send(self.stats.count, name)

    def _make_host(self, netloc: bytes) -> _Host:
        count, _, headers, body = self._names
        label = self._labels[_host_label(netloc)]
        return _Host(
            label,
            [count.of(host=label, status=status) for status in _STATUSES],
            headers.of(host=label) if headers else None,
            body.of(host=label) if body else None,
        )


@dataclass(frozen=True, slots=True)
class _Host:
    """
    A host, and the names of its stats.

    :ivar label: what it is called in names.
    :ivar count_names: the names of the stats that count responses, by the first digit
        of the status.
    :ivar headers_name: the name of the stat that averages the time to the headers.
    :ivar body_name: likewise to the body's end.
    """

    label: str
    count_names: list[str]
    headers_name: str | None
    body_name: str | None


@implementer(IResponse)
class _MeasuredResponse:
    """
    A response; the end of its body is noticed.
    """

    # What never changes once there is a response is copied: a proxy would call a
    # function for each access.
    def __init__(
        self, response: IResponse, agent: MeasuredAgent, host: _Host, started: float
    ) -> None:
        self.original = response
        self.version = response.version
        self.code = response.code
        self.phrase = response.phrase
        self.headers = response.headers
        self.length = response.length
        self.request = response.request
        self._agent = agent
        self._host = host
        self._started = started

    @property
    def previousResponse(self) -> IResponse | None:
        """
        The response that redirected to this one, if one did.
        """
        previous: IResponse | None = self.original.previousResponse
        return previous

    def setPreviousResponse(self, response: IResponse) -> None:
        """
        Set the response that redirected to this one.
        """
        self.original.setPreviousResponse(response)

    def deliverBody(self, protocol: IProtocol) -> None:
        """
        Deliver the body to a protocol; see :class:`~twisted.web.iweb.IResponse`.
        """
        self.original.deliverBody(_MeasuredBody(protocol, self))

    def ended(self, reason: Failure) -> None:
        """
        Send what is known when the body has ended.
        """
        agent, host = self._agent, self._host
        if not isinstance(reason.value, _COMPLETE):
            agent.count_failure(reason, host)
        elif host.body_name is not None:
            ms = int((agent.seconds() - self._started) * 10_000 + 0.5) / 10
            try:
                agent.losses.watch(agent.stats.value(host.body_name, ms))
            except Exception:
                agent.losses.note(Failure())


@implementer(IProtocol)
class _MeasuredBody:
    """
    Hands a body on to the protocol that reads it.
    """

    def __init__(self, protocol: IProtocol, response: _MeasuredResponse) -> None:
        # Only the end is of interest: the rest goes past this object.
        self.makeConnection = protocol.makeConnection
        self.dataReceived = protocol.dataReceived
        self._protocol = protocol
        self._response = response

    def connectionMade(self) -> None:
        # makeConnection of the protocol calls its own.
        pass

    def connectionLost(self, reason: Failure) -> None:
        self._response.ended(reason)
        self._protocol.connectionLost(reason)


def _host_label(netloc: bytes) -> str:
    """
    The host in what is between the slashes of an absolute URL.
    """
    for end in (b"?", b"#"):
        netloc = netloc.partition(end)[0]
    host = netloc.rpartition(b"@")[2]
    if host.startswith(b"["):
        host = host[1:].partition(b"]")[0]
    else:
        host = host.partition(b":")[0]
    return host.decode("ascii", "replace").lower() or "unknown"


def _cause(failure: Failure) -> type[BaseException]:
    """
    The class of an exception, or of the first of those that it wraps.
    """
    for _ in range(5):
        reasons = getattr(failure.value, "reasons", None)
        if not reasons or not isinstance(reasons[0], Failure):
            break
        failure = reasons[0]
    return cast("type[BaseException]", type(failure.value))
