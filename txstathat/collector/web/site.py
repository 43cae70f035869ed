"""
The HTTP server of the collector: limits on time and on connections.
"""

from __future__ import annotations

import os
import resource
import socket
from collections import OrderedDict
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.web.bodies import BodyBudget
from txstathat.collector.web.request import CappedRequest, make_head
from txstathat.collector.web.resources import address_of
from txstathat.printable import printable

__all__ = [
    "ANSWER_SECONDS",
    "BODY_SECONDS",
    "CLOSE_SECONDS",
    "HEADER_SECONDS",
    "IDLE_SECONDS",
    "MAX_CONNECTIONS",
    "SEND_BUFFER",
    "STALL_SECONDS",
    "CollectorSite",
]

#: The time limit for the headers of a request, in seconds, and for its body until a
#: valid key is found in it.
HEADER_SECONDS = 10.0
#: The time limit for the rest of the body, in seconds.
BODY_SECONDS = 30.0
#: For how many seconds a client can receive nothing of its answer, or leave a
#: connection open that it should close.
STALL_SECONDS = 30.0
#: The time limit for an answer, from the request to its last byte.
ANSWER_SECONDS = 600.0
#: How long a connection stays open without a next request.
IDLE_SECONDS = 30.0
#: For how many seconds the collector still answers requests when it stops.
CLOSE_SECONDS = 3.0
#: The largest number of open connections, or fewer if the process cannot open that many
#: files. One more closes the one that has made no progress for the longest time.
MAX_CONNECTIONS = 4096
#: How many bytes of an answer the kernel can buffer for a client. With more, a slow
#: client would look like one that receives nothing.
SEND_BUFFER = 131_072

# The number of files that are left for other purposes.
_OTHER_FILES = 128
# The limit on connections is never smaller, however few files the process can open.
_FEWEST_CONNECTIONS = 32


class _Channel(HTTPChannel):
    """
    A connection with time limits that a client cannot extend byte by byte.

    It has one timer, for what it currently waits for. While the buffer of the transport
    is full, that is for the client to receive some of it.

    Addresses, headers and time limits cost less here than in Twisted, since a request
    that posts one point takes hardly any time for itself.
    """

    # With these among the others, which are Twisted's, each connection would have more
    # attributes than Python stores without a dictionary of its own, of 1.2 KB.
    __slots__ = (
        *("_reading", "_full", "_closing", "_until", "_due", "_timer", "_timer_due"),
        *("_peer", "_host", "path", "has_key"),
    )
    site: Any

    def __init__(self) -> None:
        super().__init__()
        self._reading = self._full = self._closing = False
        self._until = 0.0
        # Until when it waits, and the timer, which is called then or earlier: most time
        # limits are put off long before their time, at no cost.
        self._due = 0.0
        self._timer: Any = None
        self._timer_due = 0.0
        self._peer: Any = None
        self._host: Any = None
        self.path = b""
        self.has_key = False

    def connectionMade(self) -> None:
        super().connectionMade()
        # The wrappers for TLS and HAProxy's protocol have this attribute too.
        handle = getattr(self.transport, "socket", None)
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._within(HEADER_SECONDS)
        self.site.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if not self._reading and not self._handlingRequest:
            self._reading = True
            self._within(HEADER_SECONDS)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        self.path = self._path
        self.has_key = False
        super().allHeadersReceived()

    def key_seen(self) -> None:
        """
        Give the body more time, since it has a valid key.
        """
        if self._reading and not self.has_key:
            self.has_key = True
            self._within(BODY_SECONDS)

    def getPeer(self) -> Any:
        """
        Return the address of the client, which stays the same.
        """
        if self._peer is None:
            self._peer = super().getPeer()
        return self._peer

    def getHost(self) -> Any:
        """
        Return the collector's address on this connection, which stays the same.
        """
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def writeHeaders(
        self, version: bytes, code: bytes, reason: bytes, headers: Headers
    ) -> None:
        """
        Write the headers of an answer, in one piece.
        """
        self.write(b"%b\r\n" % make_head(version, code, reason, headers))

    def allContentReceived(self) -> None:
        self._reading = False
        self.site.active(self)
        self._within(ANSWER_SECONDS)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        self.site.active(self)
        self._within(IDLE_SECONDS)
        super().requestDone(request)

    def pauseProducing(self) -> None:
        """
        The buffer of the transport is full: the client must receive some of it.
        """
        if not self._full:
            self._wait_until(min(self._now() + STALL_SECONDS, self._until))
            self._full = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """
        The client has received all that was in the buffer.
        """
        self._full = False
        self.site.active(self)
        if self._reading or self._handlingRequest:
            self._wait_until(self._until)
        else:
            self._within(IDLE_SECONDS)
        super().resumeProducing()

    def close_soon(self) -> None:
        """
        Close the connection, after the current request if there is one.
        """
        if not (self._reading or self._handlingRequest):
            self.loseConnection()

    def loseConnection(self) -> None:
        """
        Close the connection, when the client has received what was written.
        """
        if not self._closing:
            self._closing = True
            self._wait_until(self._now() + STALL_SECONDS)
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connectionLost(reason)
        self.site.closed(self)

    def _now(self) -> float:
        now: float = self.site.reactor.seconds()
        return now

    def _within(self, seconds: float) -> None:
        """
        Set the time limit of what it waits for from now on.
        """
        self._until = self._now() + seconds
        if not self._full and not self._closing:
            self._wait_until(self._until)

    def _wait_until(self, due: float) -> None:
        self._due = due
        if self._timer is None:
            self._start_timer()
        elif due < self._timer_due:
            self._timer.cancel()
            self._start_timer()

    def _start_timer(self) -> None:
        seconds = max(0.0, self._due - self._now())
        self._timer_due = self._due
        self._timer = self.site.reactor.callLater(seconds, self._timer_called)

    def _timer_called(self) -> None:
        self._timer = None
        if self._now() < self._due:
            self._start_timer()
        elif self._closing or self._full or self._reading or self._handlingRequest:
            # A client that is too slow to send may be too slow to close.
            self.transport.abortConnection()  # type: ignore[union-attr]
        else:
            # The kernel may not have sent the last of the answer yet.
            self.loseConnection()


class CollectorSite(Site):
    """
    The server factory of a collector.

    :param root: the root resource, such as an
        :class:`~txstathat.collector.ingest.resource.IngestResource`.
    :param reactor: schedules the time limits; by default the global reactor.
    :param max_connections: the largest number of open connections.
    :param access_log: whether requests are logged, without the secrets in them.
    :param metrics: counts connections.
    :param proxies: how many reverse proxies in front are trusted to name the client in
        ``X-Forwarded-For``.
    :param stathat_statuses: whether refused points have HTTP status 200, and their
        status only in the JSON, as StatHat answered.
    :param public_url: the URL at which browsers reach the root, without a slash at its
        end; empty if it is what they send as the host.
    :ivar base_path: its path, such as ``'/stats'``; empty at the root of its host.
    :ivar max_connections: the same, or less if the process cannot open that many files.
    :ivar bodies: the memory for the bodies of requests.
    """

    protocol = _Channel  # type: ignore[assignment]
    displayTracebacks = False
    _log = Logger()

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime | None = None,
        *,
        max_connections: int = MAX_CONNECTIONS,
        access_log: bool = False,
        metrics: CollectorMetrics | None = None,
        proxies: int = 0,
        stathat_statuses: bool = False,
        public_url: str = "",
    ) -> None:
        # The channel has its own time limits.
        super().__init__(
            root, requestFactory=CappedRequest, timeout=None, reactor=reactor
        )
        self.max_connections = min(max_connections, _free_descriptors())
        self._access_log = access_log
        self.proxies = proxies
        self.stathat_statuses = stathat_statuses
        self.public_url = public_url
        self.base_path = urlsplit(public_url).path
        self._metrics = metrics or CollectorMetrics()
        self.bodies = BodyBudget(metrics=self._metrics)
        # The open connections, in the order of their last progress: a complete request,
        # a complete answer, or an emptied buffer.
        self._channels: OrderedDict[_Channel, None] = OrderedDict()
        self._all_closed: Deferred[None] | None = None

    def takes_body(self, uri: bytes) -> bool:
        """
        Return whether the resource at a path accepts a body. A resource that does not
        has the attribute ``takes_body = False``.

        :param uri: the path, with or without a query.
        """
        return bool(getattr(self._resource_at(uri), "takes_body", True))

    def shows_key(self, uri: bytes, head: bytes) -> bool:
        """
        Return whether a valid key is in the beginning of a body. A resource that can
        say so has the method ``shows_key(head)``.

        :param uri: the path, with or without a query.
        :param head: the beginning of the body.
        """
        shows_key = getattr(self._resource_at(uri), "shows_key", None)
        return shows_key is not None and shows_key(head)

    def _resource_at(self, uri: bytes) -> Any:
        first = unquote_to_bytes(uri.partition(b"?")[0].lstrip(b"/").partition(b"/")[0])
        return self.resource.children.get(first, self.resource)

    def acceptableProtocols(self) -> list[bytes]:
        """
        Return the protocols for TLS clients. Twisted would offer HTTP/2 too, where it
        can, but without the limits of this channel.
        """
        return [b"http/1.1"]

    @property
    def closing(self) -> bool:
        """
        Whether :meth:`close` was called.
        """
        return self._all_closed is not None

    def close(self) -> Deferred[None]:
        """
        Close all connections: idle ones at once, others after their current request,
        and all of them after :data:`CLOSE_SECONDS`.

        :returns: fires with ``None`` when all are closed.
        """
        closed = self._all_closed = Deferred()
        for channel in list(self._channels):
            channel.close_soon()
        if not self._channels:
            closed.callback(None)
            return closed
        late = self.reactor.callLater(CLOSE_SECONDS, self._abort_all)
        return closed.addCallback(lambda _: late.cancel() if late.active() else None)

    def _abort_all(self) -> None:
        for channel in list(self._channels):
            channel.transport.abortConnection()  # type: ignore[union-attr]

    def opened(self, channel: _Channel) -> None:
        """
        Add a new connection, and close another one if there are too many.
        """
        self._metrics.connections += 1
        if len(self._channels) >= self.max_connections:
            self._metrics.cut += 1
            slowest, _ = self._channels.popitem(last=False)
            slowest.transport.abortConnection()  # type: ignore[union-attr]
        self._channels[channel] = None

    def active(self, channel: _Channel) -> None:
        """
        Note that a connection has made progress.
        """
        if channel in self._channels:
            self._channels.move_to_end(channel)

    def closed(self, channel: _Channel) -> None:
        """
        Remove a connection that is closed.
        """
        self._metrics.connections -= 1
        self._channels.pop(channel, None)
        closed = self._all_closed
        if closed is not None and not closed.called and not self._channels:
            closed.callback(None)

    def log(self, request: Any) -> None:
        """
        Log a request, if there is an access log. Of the path, only the part that cannot
        hold a secret is logged.
        """
        if self._access_log:
            self._log.info(
                "{address} {method} {path} {status} {bytes}",
                address=address_of(request),
                method=printable(request.method.decode("ascii", "replace")),
                path=self._loggable(request.path),
                status=request.code,
                bytes=request.sentLength,
            )

    def _loggable(self, path: bytes) -> str:
        # A path can have a token in it: /x/TOKEN/data/..., or any other by mistake.
        first = path.split(b"/")[1:2]
        known = first and first[0] in self.resource.listNames()
        return f"/{first[0].decode('ascii')}" if known else "/…"


def _free_descriptors() -> int:
    """
    Return how many more files the process can open, less some for other purposes.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:  # a system without it
        used = 0
    return max(_FEWEST_CONNECTIONS, limit - used - _OTHER_FILES)
