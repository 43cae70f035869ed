"""
Read replies of HTTP servers: whole, up to a limit, and without decompression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from txstathat.errors import StatHatError
from txstathat.interfaces import HTTPAgent

__all__ = ["BadReply", "MAX_REPLY", "PlainReplies", "Reply", "read_reply"]

#: The largest body of a reply that is read, in bytes.
MAX_REPLY = 65_536


class BadReply(StatHatError):
    """
    A reply that is refused: it is too large, or has a Content-Encoding.

    :ivar status: its HTTP status.
    :ivar problem: what is wrong with it.
    :ivar is_page: whether its Content-Type is HTML.
    """

    def __init__(self, status: int, problem: str, is_page: bool = False) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem
        self.is_page = is_page

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A server's reply.

    :ivar status: the HTTP status.
    :ivar body: the whole body.
    :ivar headers: the headers.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Headers = field(repr=False)


def _cut(transport: ITransport | None) -> None:
    """
    Cut the connection that a response body is read from, if its agent allows that.

    :param transport: the body's transport; ``None`` before it is connected.
    """
    # Twisted gives a body's transport no abortConnection. A connection of PooledAgent
    # cuts itself in stopProducing.
    abort = getattr(transport, "abortConnection", None) or getattr(
        transport, "stopProducing", None
    )
    if abort is not None:
        abort()


class _BodyReader(Protocol):
    """
    Reads a reply's body up to a limit; cancelling cuts the connection.
    """

    def __init__(self, response: IResponse, limit: int) -> None:
        self.finished: Deferred[bytes] = Deferred(lambda _: _cut(self.transport))
        self._response = response
        self._left = limit
        self._chunks: list[bytes] = []
        self._problem: str | None = None

    def refuse(self, problem: str) -> None:
        """
        Read no more, and cut the connection as soon as it is known.
        """
        self._problem = problem
        self._chunks.clear()
        _cut(self.transport)

    def connectionMade(self) -> None:
        if self._problem is not None:
            _cut(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self._problem is not None:
            return
        self._left -= len(data)
        if self._left < 0:
            self.refuse("the reply is too large")
        else:
            self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Fire only now: a connection that is closed before the pool has finished with
        # it would stay in the pool.
        if self.finished.called:
            return
        if self._problem is not None:
            self.finished.errback(self._bad_reply(self._problem))
        # A body that ends with the connection (PotentialDataLoss) may be incomplete;
        # its parser will notice.
        elif reason.check(ResponseDone, PotentialDataLoss):
            self.finished.callback(b"".join(self._chunks))
        else:
            self.finished.errback(reason)

    def _bad_reply(self, problem: str) -> BadReply:
        types = self._response.headers.getRawHeaders(b"Content-Type") or [b""]
        is_page = types[0].lower().startswith((b"text/html", b"application/xhtml"))
        return BadReply(self._response.code, problem, is_page)


def _read_body(
    response: IResponse, limit: int, problem: str | None = None
) -> Deferred[bytes]:
    reader = _BodyReader(response, limit)
    known = response.length is not UNKNOWN_LENGTH
    if problem is None and known and response.length > limit:
        problem = "the reply is too large"
    if problem is not None:
        reader.refuse(problem)
    response.deliverBody(reader)
    return reader.finished


def read_reply(response: IResponse, limit: int) -> Deferred[Reply]:
    """
    Read a whole response.

    :param response: the response; nothing has read its body yet.
    :param limit: the largest body, in bytes.
    :returns: a new Deferred, which fires with the :class:`Reply`. It fails with
        :class:`BadReply` for a larger body, and with the cause when the connection ends
        too early. Cancelling it cuts the connection.
    """
    return _read_body(response, limit).addCallback(
        lambda body: Reply(response.code, body, response.headers)
    )


@implementer(IAgent)
class PlainReplies:
    """
    Requests replies without a Content-Encoding, and refuses others.

    It is between treq and the real agent, because treq would decompress without a bound
    and store every cookie.

    :param agent: sends the requests.
    """

    def __init__(self, agent: HTTPAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See :meth:`twisted.web.iweb.IAgent.request`.
        """
        headers = Headers() if headers is None else headers
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        replied: Deferred[IResponse] = self._agent.request(
            method, uri, headers, bodyProducer
        )
        checked: Deferred[IResponse] = replied.addCallback(self._check)
        return checked

    def _check(self, response: IResponse) -> Any:
        encodings = response.headers.getRawHeaders(b"Content-Encoding", [])
        if any(encoding.lower() != b"identity" for encoding in encodings):
            return _read_body(response, 0, "the reply has a Content-Encoding")
        response.headers.removeHeader(b"Content-Encoding")
        response.headers.removeHeader(b"Set-Cookie")
        return response
