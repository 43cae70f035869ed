"""
One exchange over HTTP: a request becomes a reply or a failure, within a time limit.

The only module that knows treq. What treq leaves to its callers is settled here: the
time limit covers the whole exchange, the body is capped, nothing is decompressed, no
redirect is followed, no cookie kept, and neither requests in flight nor those in line
grow without bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredSemaphore,
    fail,
    inlineCallbacks,
    succeed,
)
from twisted.internet.error import TimeoutError
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from txstathat.agent import MAX_HEADERS, PooledAgent
from txstathat.errors import StatHatBusy, StatHatClosed
from txstathat.replies import MAX_REPLY, BadReply, PlainReplies, Reply, read_reply

__all__ = [
    "CLOSE_TIMEOUT",
    "Transport",
    "check_url",
    "may_have_arrived",
]

#: Seconds that exchanges under way have to end once the transport is being closed.
CLOSE_TIMEOUT = 1.0


def check_url(url: object) -> str:
    """
    Check the URL of a server.

    :param url: ``https://`` or ``http://``, a host, perhaps a port and a path.
    :returns: the URL without a slash at its end.
    :raises ValueError: if it is anything else; the message holds no part of the URL,
        since there may be a secret in it.
    """
    if not isinstance(url, str):
        raise ValueError(f"the URL must be text, not {type(url).__name__}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(
            "the URL must be of printable ASCII characters, without spaces"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL's host or port cannot be read") from None
    if parts.scheme not in ("https", "http"):
        raise ValueError("the URL must begin with https:// (or http://)")
    host = parts.hostname or ""
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError("the URL needs a valid host name")
    if port == 0:
        raise ValueError("the URL's port must be from 1 to 65535")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL must hold no user name or password")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("the URL must have no query and no fragment")
    return url.rstrip("/")


def may_have_arrived(error: BaseException) -> bool:
    """
    Whether the server may have acted on a request that failed without a reply.

    :param error: what an exchange failed with.
    :returns: ``False`` when it is certain that no server read the request.
    """
    if isinstance(error, TimeoutError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ResponseNeverReceived):
        # A certificate that was refused ends a connection before anything is sent.
        return not any(_refuses_certificate(each.value) for each in error.reasons)
    return isinstance(error, (ResponseFailed, BadReply))


def _refuses_certificate(error: BaseException) -> bool:
    if isinstance(error, SSL.Error):
        return "certificate verify failed" in str(error)
    return isinstance(error, VerificationError)


@implementer(IBodyProducer)
class _Body:
    """
    A request's body, written at once.
    """

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


class _Exchange:
    """
    One exchange under way: it ends once, by its outcome or by being given up.
    """

    def __init__(self, transport: Transport, work: Deferred[Reply]) -> None:
        self.result: Deferred[Reply] = Deferred(
            lambda _: self._give_up(CancelledError())
        )
        self._transport = transport
        self._work = work
        self._verdict: Exception | None = None

    def start(self, clock: Any, timeout: float) -> None:
        self._transport._under_way.add(self)
        self._timer = clock.callLater(timeout, self.end, TimeoutError())
        self._work.addBoth(self._settle)

    def end(self, verdict: Exception) -> None:
        """
        End with a failure, whatever has happened so far.
        """
        self._give_up(verdict)
        if not self.result.called:
            # An agent that takes its time to give up: nothing is known of the stage.
            verdict.__cause__ = ResponseNeverReceived([])
            self.result.errback(verdict)

    def _give_up(self, verdict: Exception) -> None:
        # What cancelling surfaces as depends on the stage; what the caller is told
        # does not. The stage is kept as the cause: see may_have_arrived.
        self._verdict = verdict
        self._work.cancel()

    def _settle(self, outcome: Reply | Failure) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._transport._ended(self)
        if self._verdict is not None:
            if isinstance(outcome, Failure):
                self._verdict.__cause__ = outcome.value
            outcome = Failure(self._verdict)
        if not self.result.called:
            self.result.callback(outcome)


class Transport:
    """
    Exchanges with one server.

    :param url: where the server is; see :func:`check_url`. May end in a path.
    :param timeout: seconds that one exchange may take, waiting in line included.
    :param max_connections: how many exchanges may be in flight.
    :param max_waiting: how many more may wait in line.
    :param max_reply: the largest body of a reply, in bytes.
    :param reactor: the global reactor by default, looked for when first needed.
    :param agent: sends the requests; by default a
        :class:`~txstathat.agent.PooledAgent`, made when first needed. One that is
        passed in is not closed by :meth:`close`.
    :raises ValueError: if a parameter is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
        max_reply: int = MAX_REPLY,
        reactor: Any = None,
        agent: IAgent | None = None,
    ) -> None:
        self.url = check_url(url)
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be above 0 seconds, not {timeout!r}")
        if max_connections < 1:
            raise ValueError(
                f"max_connections must be 1 or more, not {max_connections}"
            )
        if max_waiting < 0:
            raise ValueError(f"max_waiting must be 0 or more, not {max_waiting}")
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._max_reply = max_reply
        self._slots = DeferredSemaphore(max_connections)
        self._reactor = reactor
        self._agent = agent
        self._own_agent: PooledAgent | None = None
        self._http: HTTPClient | None = None
        self._under_way: set[_Exchange] = set()
        self._idle: list[Deferred[None]] = []
        self._closed = False

    @property
    def reactor(self) -> Any:
        """
        The reactor in use.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    def exchange(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
    ) -> Deferred[Reply]:
        """
        Send one request and read its reply.

        :param method: the HTTP method.
        :param path: what to add to the server's URL; begins with a slash.
        :param headers: the request's headers.
        :param body: the request's body.
        :param timeout: seconds that this exchange may take, above 0; by default what
            the transport was made with.
        :returns: a new Deferred, which fires with the :class:`Reply`, whatever its
            status. It fails with :class:`~txstathat.errors.StatHatBusy` when too many
            requests wait, :class:`~txstathat.errors.StatHatClosed` after
            :meth:`close`, :class:`~twisted.internet.error.TimeoutError` past the time
            limit, :class:`BadReply` when the reply is not to be read, and Twisted's
            own network exceptions as they are. Cancelling it aborts the request and
            its connection, and makes it fail with
            :class:`~twisted.internet.defer.CancelledError`.
        """
        if self._closed:
            return fail(StatHatClosed())
        if not self._slots.tokens and len(self._slots.waiting) >= self._max_waiting:
            return fail(StatHatBusy(len(self._slots.waiting)))
        work: Deferred[Reply] = self._slots.run(
            self._send,
            method,
            path,
            Headers({k: [v] for k, v in (headers or {}).items()}),
            body,
        )
        exchange = _Exchange(self, work)
        exchange.start(self.reactor, self._timeout if timeout is None else timeout)
        return exchange.result

    def _send(
        self, method: str, path: str, headers: Headers, body: bytes | None
    ) -> Deferred[Reply]:
        def read(response: Any) -> Deferred[Reply]:
            return read_reply(response.original, self._max_reply)

        if self._http is None:
            self._http = HTTPClient(
                PlainReplies(self._agent or self._make_agent()),
                data_to_body_producer=_Body,
            )
        return self._http.request(
            method,
            self.url + path,
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self.reactor,
        ).addCallback(read)

    def _make_agent(self) -> PooledAgent:
        self._own_agent = PooledAgent(
            self.reactor,
            max_connections=self._slots.limit,
            max_received=self._max_reply + MAX_HEADERS,
        )
        return self._own_agent

    def _ended(self, exchange: _Exchange) -> None:
        self._under_way.discard(exchange)
        if not self._under_way:
            idle, self._idle = self._idle, []
            for waiter in idle:
                waiter.callback(None)

    @inlineCallbacks
    def close(self) -> Any:
        """
        Take no more exchanges, let those under way end, and close the connections.

        What has not ended after :data:`CLOSE_TIMEOUT` seconds fails with
        :class:`~txstathat.errors.StatHatClosed`.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail.
        """
        self._closed = True
        if self._under_way:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            timer = self.reactor.callLater(CLOSE_TIMEOUT, self._end_all)
            yield idle
            if timer.active():
                timer.cancel()
        if self._own_agent is not None:
            yield self._own_agent.close()

    def _end_all(self) -> None:
        for exchange in list(self._under_way):
            exchange.end(StatHatClosed())
