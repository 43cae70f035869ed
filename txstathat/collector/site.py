"""
What shields the collector: limits on bodies, on time, and on connections.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from txstathat.collector.ingest import MAX_BODY, MAX_FORM, PATHS
from txstathat.collector.numbers import Numbers
from txstathat.collector.replies import address_of, answer

__all__ = [
    "BODY_SECONDS",
    "HEADER_SECONDS",
    "IDLE_SECONDS",
    "MAX_CONNECTIONS",
    "CollectorSite",
]

#: For how many seconds a request's headers may take to arrive.
HEADER_SECONDS = 10.0
#: For how many seconds its body may.
BODY_SECONDS = 30.0
#: For how many seconds a connection is kept on which no next request begins.
IDLE_SECONDS = BODY_SECONDS
#: How many connections may be open (fewer where the process may not open so many
#: files). One more takes the place of the one that has been waited for the longest.
MAX_CONNECTIONS = 4096

_INGEST = tuple(path.encode() for path in PATHS)
# Files that something else may need.
_OTHER_FILES = 128


class _CappedRequest(Request):
    """
    A request whose body is refused as soon as it is known to be too large.
    """

    _size = 0
    _refused = False
    _type: Sequence[bytes] | None = None

    def __repr__(self) -> str:
        # Twisted logs a request here and there; a key or token in its URL may not show.
        return f"<{type(self).__name__} {self.method!r}>"

    def getHeader(self, key: Any) -> Any:
        """
        The text of a header, whatever bytes there are in it.
        """
        if not isinstance(key, str):
            return super().getHeader(key)
        values = self.requestHeaders.getRawHeaders(key.encode("ascii"))
        return values[-1].decode("latin-1") if values else None

    def gotLength(self, length: int | None) -> None:
        # Twisted reads these by itself, which takes long when they are large.
        form = (
            (self.getHeader("content-type") or "")
            .lower()
            .startswith(("application/x-www-form-urlencoded", "multipart/"))
        )
        self._limit = MAX_FORM if form else MAX_BODY
        too_large = length is not None and length > self._limit
        super().gotLength(0 if too_large else length)
        if too_large:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if not self._refused and self._size > self._limit:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            return
        if path.startswith(_INGEST):
            # The ingest reads these forms itself. Twisted would do so too, which takes
            # longer than all else about a request: so it is not told of the form.
            self._type = self.requestHeaders.getRawHeaders(b"content-type")
            self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        if self._type is not None:
            self.requestHeaders.setRawHeaders(b"content-type", self._type)
        super().process()

    def _refuse(self) -> None:
        # Written by hand: the request is not complete, so it cannot be rendered.
        self._refused = True
        content = answer(413, f"the body is larger than {self._limit} bytes")
        self.channel.transport.write(  # type: ignore[union-attr]
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(content), content)
        )
        self.channel.loseConnection()


class _Channel(HTTPChannel):
    """
    A connection with time limits that do not begin anew with every byte.
    """

    _reading = False
    site: Any

    def connectionMade(self) -> None:
        super().connectionMade()
        self.setTimeout(HEADER_SECONDS)
        self.site.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if not self._reading and not self._handlingRequest:
            self._reading = True
            self.setTimeout(HEADER_SECONDS)
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Bytes alone do not prolong anything."""

    def allHeadersReceived(self) -> None:
        self.setTimeout(BODY_SECONDS)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        self._reading = False
        self.site.served(self)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        self.site.waited_for(self)
        # This goes back to the time limit before the request: BODY_SECONDS.
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        # Whoever is too slow to send may be too slow to hang up.
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.closed(self)


class CollectorSite(Site):
    """
    The factory to listen with.

    :param root: what to serve, such as a :class:`~txstathat.collector.front.Front`.
    :param reactor: for the time limits.
    :param max_connections: how many connections may be open.
    :param access_log: whether requests are logged, without what is secret in them.
    :param numbers: counts connections.
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
        numbers: Numbers | None = None,
        proxies: int = 0,
    ) -> None:
        super().__init__(
            root,
            requestFactory=_CappedRequest,
            timeout=HEADER_SECONDS,
            reactor=reactor,
        )
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files != resource.RLIM_INFINITY:
            max_connections = min(
                max_connections, max(files // 2, files - _OTHER_FILES)
            )
        self._max_connections = max_connections
        self._access_log = access_log
        self.proxies = proxies
        self._numbers = numbers or Numbers()
        # Those that a request is waited for from, the longest first.
        self._waiting: dict[_Channel, None] = {}

    def opened(self, channel: _Channel) -> None:
        """
        There is one more connection.
        """
        self._numbers.connections += 1
        if self._numbers.connections > self._max_connections:
            self._numbers.cut += 1
            slowest = next(iter(self._waiting), channel)
            self._waiting.pop(slowest, None)
            slowest.transport.abortConnection()  # type: ignore[union-attr]
            if slowest is channel:
                return
        self._waiting[channel] = None

    def served(self, channel: _Channel) -> None:
        """
        A whole request has come.
        """
        self._waiting.pop(channel, None)

    def waited_for(self, channel: _Channel) -> None:
        """
        It is answered, and the next one is waited for.
        """
        self._waiting[channel] = None

    def closed(self, channel: _Channel) -> None:
        """
        There is one connection less.
        """
        self._numbers.connections -= 1
        self._waiting.pop(channel, None)

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
