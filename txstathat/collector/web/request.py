"""
One request to the collector: its body and its answer are kept within limits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import NO_BODY_CODES, RESPONSES
from twisted.web.server import Request
from zope.interface import implementer

from txstathat.collector.limits import MAX_BODY, MAX_FORM, PATHS
from txstathat.collector.web.resources import answer

__all__ = ["PIECE", "CappedRequest"]

#: How many bytes of an answer are handed to the connection at a time. The next piece
#: follows when the client has taken what came before.
PIECE = 32_768

# Of every answer; a resource may set others.
_HEADERS = {b"X-Content-Type-Options": b"nosniff", b"Cache-Control": b"no-store"}

_INGEST = tuple(path.encode() for path in PATHS)


@implementer(IPushProducer)
class _Pieces:
    """
    What is still to be written of an answer.
    """

    def __init__(self, request: CappedRequest) -> None:
        self._request = request
        self._left: deque[memoryview] = deque()
        self._paused = False
        self._ended = False

    def add(self, data: bytes) -> None:
        view = memoryview(data)
        self._left.extend(view[at : at + PIECE] for at in range(0, len(view), PIECE))
        self._go_on()

    def end(self) -> None:
        self._ended = True
        self._go_on()

    def _go_on(self) -> None:
        while self._left and not self._paused:
            self._request.write_piece(bytes(self._left.popleft()))
        if self._ended and not self._left:
            self._ended = False
            self._request.all_written()

    def resumeProducing(self) -> None:
        self._paused = False
        self._go_on()

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._left.clear()
        self._ended = False


class CappedRequest(Request):
    """
    A request whose body is refused as soon as it is known to be too large, and whose
    answer is written no faster than it is taken.
    """

    channel: Any
    _size = 0
    _refused = False
    _type: Sequence[bytes] | None = None
    _pieces: _Pieces | None = None

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

    # -- what comes in

    def gotLength(self, length: int | None) -> None:
        # Whatever else it may be, Twisted or the ingest reads as a form, by whichever
        # header, and that takes long when it is large.
        types = self.requestHeaders.getRawHeaders(b"content-type", [])
        kind = types[0].partition(b";")[0].strip().lower() if types else b""
        self._limit = MAX_BODY if kind == b"application/json" else MAX_FORM
        self._refused = len(types) > 1 or (length is not None and length > self._limit)
        super().gotLength(0 if self._refused else length)
        if len(types) > 1:
            self._refuse(400, "Content-Type: give it once")
        elif self._refused:
            self._refuse_size()

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if not self._refused and self._size > self._limit:
            self._refuse_size()
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
        for name, value in _HEADERS.items():
            self.setHeader(name, value)
        if self._type is not None:
            self.requestHeaders.setRawHeaders(b"content-type", self._type)
        super().process()

    def _refuse_size(self) -> None:
        self._refuse(413, f"the body is larger than {self._limit} bytes")

    def _refuse(self, status: int, msg: str) -> None:
        # Written by hand: the request is not complete, so it cannot be rendered.
        self._refused = True
        content = answer(status, msg)
        lines = {
            **_HEADERS,
            b"Content-Type": b"application/json",
            b"Content-Length": b"%d" % len(content),
            b"Connection": b"close",
        }
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

    # -- what goes out

    def write(self, data: bytes) -> None:
        """
        Write some of the answer. What is large is kept here, and written by pieces.
        """
        if self.channel is None:
            # Nobody is there any more.
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
        Hand some of the answer to the connection.
        """
        super().write(piece)

    def finish(self) -> None:
        """
        There is no more to write: the request ends when all is handed over.
        """
        if self._pieces is None:
            super().finish()
        else:
            self._pieces.end()

    def all_written(self) -> None:
        """
        All is handed over.
        """
        self.unregisterProducer()
        super().finish()
