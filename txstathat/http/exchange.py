"""
One exchange over HTTP: a request becomes a reply or a failure, within a time limit.

Only this module imports treq. It adds what treq leaves to its callers: the time limit
covers the whole exchange, the body is bounded, nothing is decompressed, redirects are
not followed, cookies are not stored, and the requests in flight and in line are
bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import (
    ContentDecoderAgent,
    CookieAgent,
    ProxyAgent,
    RedirectAgent,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from txstathat.errors import StatHatBusy, StatHatClosed
from txstathat.http.clock import IHTTPReactor, installed_reactor
from txstathat.http.connections.pool import MAX_HEADERS, PooledAgent
from txstathat.http.early import EarlyCalls
from txstathat.http.limit import ConcurrencyLimit
from txstathat.http.pending import PendingExchange
from txstathat.http.responses import MAX_REPLY, PlainReplies, Reply, read_reply
from txstathat.http.result import fired
from txstathat.http.shutdown import ShutdownWait
from txstathat.http.urls import RealHostAgent, check_url, with_stand_in
from txstathat.interfaces import HTTPAgent
from txstathat.points.names import shown

__all__ = [
    "CLOSE_TIMEOUT",
    "MAX_TIMEOUT",
    "RequestBody",
    "Transport",
    "check_agent",
]

#: The longest time limit that can be set, in seconds.
MAX_TIMEOUT = 86_400.0
#: Seconds that exchanges in progress have to end after :meth:`Transport.close`, and
#: before the reactor stops.
CLOSE_TIMEOUT = 1.0

_CLOSED_EARLY = "the client was closed before the program had installed a reactor"
_CLOSED_MEANWHILE = "the client was closed, and the call did not end within a second"


def check_agent(agent: HTTPAgent | None, url: str) -> None:
    """
    Refuse an agent that would send a request for an ``https://`` URL in plain text.

    :param agent: the agent; ``None`` for the default one.
    :param url: a URL that :func:`~txstathat.http.urls.check_url` accepts.
    :raises ValueError: if it is Twisted's :class:`~twisted.web.client.ProxyAgent`,
        perhaps inside another of Twisted's agents, and the URL is ``https://``.
    """
    while isinstance(agent, (ContentDecoderAgent, CookieAgent, RedirectAgent)):
        agent = agent._agent
    if isinstance(agent, ProxyAgent) and url.startswith("https://"):
        raise ValueError(
            "Twisted's ProxyAgent sends requests for https:// URLs to the proxy in "
            "plain text, with the key. Pass an agent that opens a tunnel through the "
            "proxy (CONNECT), or no agent"
        )


@implementer(IBodyProducer)
class RequestBody:
    """
    A request's body, written at once.

    :param body: the body.
    """

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: the body is written already."""

    def resumeProducing(self) -> None:
        """Do nothing: the body is written already."""

    def stopProducing(self) -> None:
        """Do nothing: the body is written already."""


class Transport:
    """
    Exchanges with one server.

    Without a reactor and an agent, exchanges that begin before the program has
    installed a reactor wait until the next one begins, or :meth:`close` is called, when
    there is a reactor.

    When the reactor stops, it waits for exchanges in progress, at most
    :data:`CLOSE_TIMEOUT` seconds.

    :param url: where the server is; see :func:`~txstathat.http.urls.check_url`. It may
        end in a path.
    :param timeout: seconds that one exchange may take, including the time in line;
        above 0, at most :data:`MAX_TIMEOUT`.
    :param max_connections: how many exchanges may be in flight; 1 or more.
    :param max_waiting: how many more may wait in line; 0 or more.
    :param max_reply: the largest body of a reply, in bytes; 1 or more.
    :param reactor: provides :class:`~twisted.internet.interfaces.IReactorTime`, and
        what :class:`~txstathat.http.connections.pool.PooledAgent` needs; by default the
        global reactor, imported when first needed.
    :param agent: sends the requests; by default a
        :class:`~txstathat.http.connections.pool.PooledAgent`, made when first needed.
        :meth:`close` does not close an agent that is passed in.
    :raises ValueError: if a parameter is out of range, or if the agent does not encrypt
        requests for an ``https://`` URL; see :func:`check_agent`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        max_connections: int,
        max_waiting: int = 10_000,
        max_reply: int = MAX_REPLY,
        reactor: Any = None,
        agent: HTTPAgent | None = None,
    ) -> None:
        self.url = check_url(url)
        check_agent(agent, self.url)
        _check_timeout(timeout)
        _check_number("max_connections", max_connections, 1)
        _check_number("max_waiting", max_waiting, 0)
        _check_number("max_reply", max_reply, 1)
        self._timeout = timeout
        self.max_waiting = max_waiting
        self._max_reply = max_reply
        self._limit = ConcurrencyLimit(max_connections)
        self._reactor = reactor
        self._agent = agent
        self._treq_url, self._netloc = with_stand_in(self.url)
        self._own_agent: PooledAgent | None = None
        self._http: HTTPClient | None = None
        self._early: EarlyCalls[Reply] = EarlyCalls(self.origin)
        self._shutdown_wait = ShutdownWait(CLOSE_TIMEOUT)
        self._in_progress: dict[PendingExchange, None] = {}
        self._all_ended: Deferred[None] | None = None
        self._closers: list[Deferred[None]] = []
        self._is_closing = False
        self._is_closed = False

    @property
    def origin(self) -> str:
        """
        The server's URL without its path, which may contain a secret.
        """
        return "/".join(self.url.split("/", 3)[:3])

    @property
    def room(self) -> int:
        """
        How many more exchanges can start now.
        """
        waiting = self._limit.waiting + len(self._early)
        return self._limit.free + self.max_waiting - waiting

    @property
    def given_reactor(self) -> IReactorTime | None:
        """
        The reactor in use; ``None`` where none was passed in or needed so far.
        """
        reactor: IReactorTime | None = self._reactor
        return reactor

    @property
    def reactor(self) -> IReactorTime:
        """
        The reactor in use.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        clock: IReactorTime = self._reactor
        return clock

    @property
    def has_no_reactor(self) -> bool:
        """
        Whether exchanges wait until the program has installed a reactor.
        """
        # An agent that was passed in has its reactor, or needs none.
        no_parts = self._reactor is None and self._agent is None
        return no_parts and installed_reactor() is None

    def seconds(self) -> float:
        """
        The wall clock, in Unix seconds. This installs no reactor.
        """
        if self._reactor is None:
            return time.time()
        now: float = self._reactor.seconds()
        return now

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
        :param body: the request's body, if it has one.
        :param timeout: seconds that this exchange may take, above 0; the transport's
            own limit by default.
        :returns: a new Deferred, which fires with the :class:`Reply`, whatever its
            status. It fails with :class:`~txstathat.errors.StatHatBusy` when too many
            requests wait, with :class:`~txstathat.errors.StatHatClosed` after
            :meth:`close`, with :class:`~twisted.internet.error.TimeoutError` after the
            time limit, with :class:`~txstathat.http.responses.BadReply` when the reply
            is refused, and with Twisted's own network exceptions. Cancelling it aborts
            the request and its connection, and makes it fail with
            :class:`~twisted.internet.defer.CancelledError`.
        """
        if self._is_closing:
            return fired(Failure(StatHatClosed()))
        if not self.room:
            return fired(Failure(StatHatBusy(self.max_waiting)))
        fields = Headers({name: [value] for name, value in (headers or {}).items()})
        limit = self._timeout if timeout is None else timeout

        def start() -> Deferred[Reply]:
            return self._start(limit, lambda: self._send(method, path, fields, body))

        if self.has_no_reactor:
            return self._early.hold(start)
        self._early.release()
        return start()

    def _start(
        self, timeout: float, send: Callable[[], Deferred[Reply]]
    ) -> Deferred[Reply]:
        clock = self.reactor
        self._shutdown_wait.begin(clock)
        exchange = PendingExchange(self._limit.run(send), self._ended)
        self._in_progress[exchange] = None
        exchange.start(clock, timeout)
        return exchange.result

    def _send(
        self, method: str, path: str, headers: Headers, body: bytes | None
    ) -> Deferred[Reply]:
        def read(response: Any) -> Deferred[Reply]:
            return read_reply(response.original, self._max_reply)

        if self._http is None:
            agent = RealHostAgent(self._agent or self._make_agent(), self._netloc)
            self._http = HTTPClient(
                PlainReplies(agent), data_to_body_producer=RequestBody
            )
        return self._http.request(
            method,
            self._treq_url + path,
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        ).addCallback(read)

    def _make_agent(self) -> PooledAgent:
        self._own_agent = PooledAgent(
            cast(IHTTPReactor, self.reactor),
            max_connections=self._limit.limit,
            max_received=self._max_reply + MAX_HEADERS,
        )
        return self._own_agent

    def _ended(self, exchange: PendingExchange) -> None:
        self._in_progress.pop(exchange, None)
        if not self._in_progress:
            self._shutdown_wait.end()
        if not self._in_progress and self._all_ended is not None:
            all_ended, self._all_ended = self._all_ended, None
            all_ended.callback(None)

    def close(self) -> Deferred[None]:
        """
        Start no more exchanges, wait for those in progress, and close the connections.

        An exchange that has not ended after :data:`CLOSE_TIMEOUT` seconds fails with
        :class:`~txstathat.errors.StatHatClosed`.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail. Cancelling it does not stop the closing.
        """
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        if not self._is_closing:
            self._is_closing = True
            if self.has_no_reactor:
                # Nothing can be sent, and the caller may wait for these.
                self._early.fail(StatHatClosed(_CLOSED_EARLY))
            self._early.release()
            Deferred.fromCoroutine(self._close())
        elif self._is_closed:
            self._fire_closers()
        return closed

    async def _close(self) -> None:
        if self._in_progress:
            self._all_ended = Deferred()
            timer = self.reactor.callLater(CLOSE_TIMEOUT, self._end_all)
            await self._all_ended
            if timer.active():
                timer.cancel()
        if self._own_agent is not None:
            await self._own_agent.close()
        self._is_closed = True
        self._fire_closers()

    def _fire_closers(self) -> None:
        closers, self._closers = self._closers, []
        for closed in closers:
            if not closed.called:
                closed.callback(None)

    def _end_all(self) -> None:
        # The waiting ones first, so that none of them starts when another ends.
        for exchange in reversed(list(self._in_progress)):
            exchange.end(StatHatClosed(_CLOSED_MEANWHILE))


def _check_timeout(timeout: object) -> None:
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= MAX_TIMEOUT:  # type: ignore[operator]
        raise ValueError(
            f"timeout must be above 0 and at most {MAX_TIMEOUT:g} seconds, "
            f"not {shown(timeout)}"
        )


def _check_number(name: str, number: object, least: int) -> None:
    is_int = isinstance(number, int) and not isinstance(number, bool)
    if not is_int or number < least:  # type: ignore[operator]
        raise ValueError(
            f"{name} must be a whole number, at least {least}, not {shown(number)}"
        )
