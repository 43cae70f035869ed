"""
What shields the collector: limits on time and on connections.
"""

from __future__ import annotations

import resource
import socket
from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.web.request import CappedRequest
from txstathat.collector.web.resources import address_of

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

#: For how many seconds a request's headers may take to arrive.
HEADER_SECONDS = 10.0
#: For how many seconds its body may.
BODY_SECONDS = 30.0
#: For how many seconds a client may take nothing of an answer that it has asked for,
#: and may not hang up when it should.
STALL_SECONDS = 30.0
#: For how many seconds it may take to take all of it.
ANSWER_SECONDS = 600.0
#: For how many seconds a connection is kept on which no next request begins.
IDLE_SECONDS = 30.0
#: For how many seconds requests are answered that are under way when the collector
#: stops.
CLOSE_SECONDS = 3.0
#: How many connections may be open (fewer where the process may not open so many
#: files). One more takes the place of the one that has done nothing for the longest.
MAX_CONNECTIONS = 4096
#: How many bytes of an answer the kernel may hold back for a client. More would be
#: taken from here long before the client takes it, and a slow one looks like none.
SEND_BUFFER = 131_072

# Files that something else may need.
_OTHER_FILES = 128


class _Channel(HTTPChannel):
    """
    A connection with time limits that do not begin anew with every byte.

    Its only timer is for what is waited for now; while the transport holds much that
    the client has not taken yet, that is the client.
    """

    site: Any
    _reading = False
    _full = False
    _closing = False
    _until = 0.0
    _timer: Any = None

    def connectionMade(self) -> None:
        super().connectionMade()
        # (TLS and HAProxy's protocol pass this on; UNIX sockets have it too.)
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
        self._within(BODY_SECONDS)
        super().allHeadersReceived()

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
        The transport is full: the client has to take something.
        """
        if not self._full:
            self._set_timer(min(STALL_SECONDS, self._until - self._now()))
            self._full = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """
        It has taken all that was there.
        """
        self._full = False
        self.site.active(self)
        if self._reading or self._handlingRequest:
            self._set_timer(self._until - self._now())
        else:
            self._within(IDLE_SECONDS)
        super().resumeProducing()

    def close_soon(self) -> None:
        """
        Close the connection, after the request that is under way.
        """
        if not (self._reading or self._handlingRequest):
            self.loseConnection()

    def loseConnection(self) -> None:
        """
        Close the connection, when the client has taken what it was told.
        """
        if not self._closing:
            self._closing = True
            self._set_timer(STALL_SECONDS)
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
        What is waited for from now on has to happen in so many seconds.
        """
        self._until = self._now() + seconds
        if not self._full and not self._closing:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        if self._timer is None:
            self._timer = self.site.reactor.callLater(seconds, self._late)
        else:
            self._timer.reset(seconds)

    def _late(self) -> None:
        self._timer = None
        if self._closing or self._full or self._reading or self._handlingRequest:
            # Whoever is too slow to send may be too slow to hang up.
            self.transport.abortConnection()  # type: ignore[union-attr]
        else:
            # The last of an answer may still be on its way, in the kernel.
            self.loseConnection()


class CollectorSite(Site):
    """
    The factory to listen with.

    :param root: what to serve, such as a :class:`~txstathat.collector.ingest.resource.IngestResource`.
    :param reactor: for the time limits.
    :param max_connections: how many connections may be open.
    :param access_log: whether requests are logged, without what is secret in them.
    :param metrics: counts connections.
    :param proxies: how many reverse proxies stand before this: a client's address is
        what so many of them tell in ``X-Forwarded-For``.
    """

    protocol = _Channel  # type: ignore[assignment]
    displayTracebacks = False
    _log = Logger()

    def __init__(
        self,
        root: Resource,
        reactor: Any = None,
        *,
        max_connections: int = MAX_CONNECTIONS,
        access_log: bool = False,
        metrics: CollectorMetrics | None = None,
        proxies: int = 0,
    ) -> None:
        # The channel has time limits of its own.
        super().__init__(
            root, requestFactory=CappedRequest, timeout=None, reactor=reactor
        )
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            max_connections = min(
                max_connections, max(files // 2, files - _OTHER_FILES)
            )
        self._max_connections = max_connections
        self._access_log = access_log
        self.proxies = proxies
        self._metrics = metrics or CollectorMetrics()
        # The open ones, first who has done nothing for the longest: sent no whole
        # request, got no whole answer, taken nothing of one.
        self._channels: OrderedDict[_Channel, None] = OrderedDict()
        self._all_closed: Deferred[None] | None = None

    def acceptableProtocols(self) -> list[bytes]:
        """
        What is offered to TLS clients. Twisted would offer HTTP/2 too, where it can,
        but not by this channel.
        """
        return [b"http/1.1"]

    @property
    def closing(self) -> bool:
        """
        Whether no more requests are to come.
        """
        return self._all_closed is not None

    def close(self) -> Deferred[None]:
        """
        Close all connections: those that are idle at once, others when the request that
        is under way is answered, and all of them in :data:`CLOSE_SECONDS`.

        :returns: fires with ``None`` when that is done.
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
        There is one more connection.
        """
        self._metrics.connections += 1
        if len(self._channels) >= self._max_connections:
            self._metrics.cut += 1
            slowest, _ = self._channels.popitem(last=False)
            slowest.transport.abortConnection()  # type: ignore[union-attr]
        self._channels[channel] = None

    def active(self, channel: _Channel) -> None:
        """
        A connection has got one step further.
        """
        if channel in self._channels:
            self._channels.move_to_end(channel)

    def closed(self, channel: _Channel) -> None:
        """
        There is one connection less.
        """
        self._metrics.connections -= 1
        self._channels.pop(channel, None)
        closed = self._all_closed
        if closed is not None and not closed.called and not self._channels:
            closed.callback(None)

    def log(self, request: Any) -> None:
        """
        Log a request, if that is wanted: of the path only what can hold no secret.
        """
        if self._access_log:
            self._log.info(
                "{address} {method} {path} {status} {bytes}",
                address=address_of(request),
                method=request.method.decode("ascii", "replace"),
                path=self._shown(request.path),
                status=request.code,
                bytes=request.sentLength,
            )

    def _shown(self, path: bytes) -> str:
        # Tokens stand in the path, /x/TOKEN/data/..., or anywhere by mistake.
        first = path.split(b"/")[1:2]
        known = first and first[0] in self.resource.listNames()
        return f"/{first[0].decode('ascii')}" if known else "/…"
