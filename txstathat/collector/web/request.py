"""
Requests to the collector, with limits on their bodies and on buffered answers.
"""

from __future__ import annotations

import re
from collections import deque
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import NO_BODY_CODES, RESPONSES
from twisted.web.http_headers import Headers
from twisted.web.server import Request
from zope.interface import implementer

from txstathat.collector.addresses import network_of
from txstathat.collector.errors import Hold
from txstathat.collector.limits import MAX_BODY, MAX_FORM, PATHS
from txstathat.collector.web.bodies import Body
from txstathat.collector.web.resources import RETRY_AFTER, address_of, answer

__all__ = [
    "KEY_PREFIX",
    "PIECE",
    "CappedRequest",
    "has_body",
    "make_head",
    "trust_body",
]

#: In how many bytes at the beginning of an incomplete body the key is looked for.
KEY_PREFIX = 4096

#: How many bytes of an answer are handed to the connection at a time. The next ones
#: follow when the client has received those.
PIECE = 32_768

# The headers of every answer for which its resource sets no others.
_HEADERS = {b"X-Content-Type-Options": b"nosniff", b"Cache-Control": b"no-store"}

# How the path of a request to the ingest begins: /ez, /ez? or /ez/.
_INGEST_PATH = re.compile(
    rb"(?:%b)(?![^?/])" % b"|".join(path.encode() for path in PATHS)
)


def make_head(version: bytes, code: bytes, reason: bytes, headers: Headers) -> bytes:
    """
    Return the first line and the headers of an answer, each with its end of line.

    :param version: the version of HTTP.
    :param code: the status.
    :param reason: the words for the status.
    :param headers: the headers.
    """
    lines = [b"%b %b %b\r\n" % (version, code, reason)]
    for name, values in headers.getAllRawHeaders():
        lines += [b"%b: %b\r\n" % (name, value) for value in values]
    for name, value in _HEADERS.items():
        if not headers.hasHeader(name):
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


class _HeldAnswer:
    """
    An answer that is delayed. It takes the place of its request in the channel, since a
    request takes up ten times as much memory.
    """

    __slots__ = ("_body", "_cancel", "_channel", "_head")

    def __init__(self, channel: Any, head: bytes, body: bytes, hold: Hold) -> None:
        self._channel = channel
        self._head = head
        self._body = body
        self._cancel = hold(self._send)

    def connectionLost(self, reason: Any) -> None:
        self._cancel()

    def _send(self) -> None:
        channel, head = self._channel, self._head
        if channel.site.closing and channel.persistent:
            channel.persistent = False
            head += b"Connection: close\r\n"
        channel.write(b"%b\r\n%b" % (head, self._body))
        channel.requestDone(self)


@implementer(IPushProducer)
class _Pieces:
    """
    The part of an answer that is not written yet, as a producer for the connection.
    """

    def __init__(self, request: CappedRequest) -> None:
        self._request = request
        self._pending: deque[memoryview] = deque()
        self._paused = False
        self._finished = False

    def add(self, data: bytes) -> None:
        view = memoryview(data)
        self._pending.extend(view[at : at + PIECE] for at in range(0, len(view), PIECE))
        self._write()

    def end(self) -> None:
        self._finished = True
        self._write()

    def _write(self) -> None:
        while self._pending and not self._paused:
            self._request.write_piece(bytes(self._pending.popleft()))
        if self._finished and not self._pending:
            self._finished = False
            self._request.all_written()

    def resumeProducing(self) -> None:
        self._paused = False
        self._write()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._pending.clear()
        self._finished = False


class CappedRequest(Request):
    """
    A request with limits. A body that is too large is refused as soon as that is known,
    and the answer is written only as fast as the client receives it.
    """

    channel: Any
    _body: Body | None = None
    _length: int | None = None
    _refused = False
    _pieces: _Pieces | None = None

    def __repr__(self) -> str:
        # Twisted logs requests in some places, and the URL can hold a key or token.
        return f"<{type(self).__name__} {self.method!r}>"

    def getHeader(self, key: Any) -> Any:
        """
        Return the text of a header. Unlike Twisted's, it accepts any bytes.
        """
        if not isinstance(key, str):
            return super().getHeader(key)
        values = self.requestHeaders.getRawHeaders(key.encode("ascii"))
        return values[-1].decode("latin-1") if values else None

    # -- the request

    def gotLength(self, length: int | None) -> None:
        """
        Decide by the headers whether to accept the body. Twisted would use a temporary
        file for most bodies; here they stay in memory, within a budget.
        """
        self.content = BytesIO()
        # Twisted or the ingest parses anything else as a form, which takes long for a
        # large body.
        types = self.requestHeaders.getRawHeaders(b"content-type", [])
        kind = types[0].partition(b";")[0].strip().lower() if types else b""
        self._limit = MAX_BODY if kind == b"application/json" else MAX_FORM
        if len(types) > 1:
            self._refuse(400, "Content-Type: give it once")
        elif length is not None and length > self._limit:
            self._refuse_size()
        elif length != 0 and not self.channel.site.takes_body(self.channel.path):
            self._refuse(400, "this path takes no body: send the request without one")
        elif length != 0:
            self._length = length
            self._body = Body(network_of(address_of(self)), self._cut_body)

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused or self._body is None:
            return
        if self._body.size + len(data) > self._limit:
            self._refuse_size()
            return
        self.channel.site.bodies.grow(self._body, len(data))
        if self._refused:
            return
        before = self._body.size - len(data)
        self.content.write(data)  # type: ignore[union-attr]
        if self._body.size == self._length:
            return  # the resource reads the key at once
        if before < KEY_PREFIX and not self.channel.has_key:
            head: bytes = self.content.getvalue()[:KEY_PREFIX]  # type: ignore[union-attr]
            if self.channel.site.shows_key(self.channel.path, head):
                self.trust_body()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            return
        if self._body is not None:
            self._body.complete = True
        if _INGEST_PATH.match(path):
            self._receive_unparsed(command, path, version)
        else:
            super().requestReceived(command, path, version)

    def _receive_unparsed(self, command: bytes, uri: bytes, version: bytes) -> None:
        """
        Do what ``requestReceived`` does, without parsing the query and the form. The
        ingest parses both itself, and Twisted's parsing would take longer than all the
        rest of the request.
        """
        self.content.seek(0)  # type: ignore[union-attr]
        self.method, self.uri, self.clientproto = command, uri, version
        self.path = uri.partition(b"?")[0]
        self.args = {}
        self.process()

    def trust_body(self) -> None:
        """
        Note that the collector has seen a valid key for the body.
        """
        if self._body is not None and self.channel is not None:
            self.channel.site.bodies.trust(self._body)
            self.channel.key_seen()

    @property
    def has_body(self) -> bool:
        """
        Whether the body is still in memory.
        """
        return self.content is not None and not self.content.closed

    def _release_body(self) -> None:
        body, self._body = self._body, None
        if body is not None and self.channel is not None:
            self.channel.site.bodies.release(body)

    def _cut_body(self) -> None:
        complete = self._body is not None and self._body.complete
        self.content.close()  # type: ignore[union-attr]
        self._release_body()
        if not complete:
            self._refuse(503, "too many unfinished requests; try again")

    def connectionLost(self, reason: Any) -> None:
        self._release_body()
        super().connectionLost(reason)

    def _refuse_size(self) -> None:
        self._refuse(413, f"the body is larger than {self._limit} bytes")

    def _refuse(self, status: int, msg: str) -> None:
        # Written directly, since an incomplete request cannot be rendered.
        self._refused = True
        self._release_body()
        content = answer(status, msg)
        lines = {
            **_HEADERS,
            b"Content-Type": b"application/json",
            b"Content-Length": b"%d" % len(content),
            b"Connection": b"close",
        }
        if status == 503:
            lines[b"Retry-After"] = b"%d" % RETRY_AFTER
        self.channel.transport.write(
            b"HTTP/1.1 %d %b\r\n%b\r\n%b"
            % (
                status,
                RESPONSES[status],
                b"".join(b"%b: %b\r\n" % line for line in lines.items()),
                content,
            )
        )
        self.channel.loseConnection()

    # -- the answer

    def delay(self, body: bytes, hold: Hold) -> None:
        """
        Delay the answer, and let only the answer stay in memory. It is logged now.

        :param body: the body of the answer.
        :param hold: begins the delay.
        """
        self._release_body()
        self.setHeader(b"Content-Length", b"%d" % len(body))
        if self.method == b"HEAD":
            body = b""
        self.sentLength = len(body)
        head = make_head(
            self.clientproto, b"%d" % self.code, self.code_message, self.responseHeaders
        )
        self.channel.requests[0] = _HeldAnswer(self.channel, head, body, hold)
        self.channel.site.log(self)

    def write(self, data: bytes) -> None:
        """
        Write a part of the answer. A large part is held here, and written in pieces.
        """
        if self.channel is None:
            # The client has disconnected.
            return
        if not self.startedWriting:
            if self.channel.site.closing:
                self.setHeader("Connection", "close")
            if self.responseHeaders.getRawHeaders(b"connection") == [b"close"]:
                self.channel.persistent = False
        bodiless = self.method == b"HEAD" or self.code in NO_BODY_CODES
        if self._pieces is None:
            if len(data) <= PIECE or bodiless or self.producer is not None:
                super().write(data)
                return
            self._pieces = _Pieces(self)
            self.registerProducer(self._pieces, True)
        self._pieces.add(data)

    def write_piece(self, piece: bytes) -> None:
        """
        Hand a piece of the answer to the connection.
        """
        super().write(piece)

    def finish(self) -> None:
        """
        End the answer. The request ends when the last piece is handed over.
        """
        self._release_body()
        if self._pieces is None:
            super().finish()
        else:
            self._pieces.end()

    def all_written(self) -> None:
        """
        End the request, since the last piece is handed over.
        """
        self.unregisterProducer()
        super().finish()


def trust_body(request: Request) -> None:
    """
    Note that the collector has seen a valid key for the body of a request.
    """
    if isinstance(request, CappedRequest):
        request.trust_body()


def has_body(request: Request) -> bool:
    """
    Return whether a request's body is still in memory.
    """
    return not isinstance(request, CappedRequest) or request.has_body
