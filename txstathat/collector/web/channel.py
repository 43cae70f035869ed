"""
One connection to the collector: the limits on its time.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from txstathat.collector.web.request import make_head

__all__ = [
    "ANSWER_SECONDS",
    "BODY_SECONDS",
    "HEADER_SECONDS",
    "IDLE_SECONDS",
    "SEND_BUFFER",
    "STALL_SECONDS",
    "CollectorChannel",
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
#: How many bytes of an answer the kernel can buffer for a client. With more, a slow
#: client would look like one that receives nothing.
SEND_BUFFER = 131_072


class CollectorChannel(HTTPChannel):
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
