"""
The connections of channels: where they may go, and how a request is posted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import (
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import ResponseFailed
from twisted.web.iweb import IAgent

from txstathat.collector.channels.message import DeliveryFailed
from txstathat.collector.channels.sending.hook_urls import origin_of, split_url
from txstathat.errors import StatHatClosed
from txstathat.http.connections.allowed import AllowedResolver, Networks
from txstathat.http.connections.pool import MAX_HEADERS, PooledAgent
from txstathat.http.connections.resolver import resolver_of
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.http.exchange import CLOSE_TIMEOUT, Transport
from txstathat.http.responses import BadReply

__all__ = [
    "MAX_ANSWER",
    "NOT_ALLOWED",
    "TIMEOUT",
    "Outgoing",
    "is_permanent",
    "reason_of",
]

#: The time limit of an attempt, including the reply, in seconds.
TIMEOUT = 10.0
#: The largest answer of a receiver that is read, in bytes.
MAX_ANSWER = 65_536
#: The reason for a failure at an address that is not allowed.
NOT_ALLOWED = (
    "this collector may not connect to the host's address, which is private, or not "
    "encrypted; its operator can allow it with --allow-private"
)

# Statuses from 300 to 499 after which the same request can succeed: a timeout, a lock,
# a request that came too early, and too many requests.
_PASSING = (408, 423, 425, 429)

_REASONS: dict[type[BaseException], str] = {
    HandshakeFailed: "no TLS connection with a verified certificate could be made",
    DNSLookupError: "the host's name could not be found",
    ConnectionRefusedError: "the connection was refused",
    TimeoutError: "there was no answer in time",
    CancelledError: "there was no answer in time",
    TCPTimedOutError: "there was no answer in time",
    ResponseFailed: "the connection was lost before the answer",
    BadReply: "the answer was too large, or compressed",
}


def is_permanent(status: int) -> bool:
    """
    Return whether a request that was answered with a status would fail again.
    """
    return 300 <= status < 500 and status not in _PASSING


def _failure(error: Exception, resolver: AllowedResolver | None) -> DeliveryFailed:
    """
    Return why there is no answer. The text of the error could hold the URL.
    """
    if isinstance(error, DNSLookupError) and resolver and resolver.has_refused:
        return DeliveryFailed(NOT_ALLOWED, permanent=True)
    return DeliveryFailed(reason_of(error))


def reason_of(error: BaseException) -> str:
    """
    Return why an attempt failed, in words without a URL.

    :param error: what it failed with.
    """
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    return type(error).__name__


class Outgoing:
    """
    Makes the connections of channels.

    :param networks: the private networks to which channels may connect.
    :param reactor: provides TCP, TLS, time and name resolution; by default the global
        reactor.
    :param agent: sends the requests; by default each has a connection of its own, over
        verified TLS, to an allowed address.
    :param trust_root: as for :class:`~txstathat.http.connections.pool.PooledAgent`.
    :param timers: runs the time limits; by default the reactor, with timers that are
        late when the wall clock is set back.
    """

    def __init__(
        self,
        networks: Networks | None = None,
        *,
        reactor: Any = None,
        agent: IAgent | None = None,
        trust_root: object = None,
        timers: IReactorTime | None = None,
    ) -> None:
        self.networks = networks or Networks()
        self._reactor = reactor
        self._agent = agent
        self.trust_root = trust_root
        self._timers = timers
        self._open: set[object] = set()
        # What cuts the attempts that have no transport.
        self._cuts: dict[object, Callable[[], object]] = {}
        self._closers: list[Deferred[None]] = []
        self.is_closed = False

    @property
    def reactor(self) -> Any:
        """
        The reactor in use.
        """
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    @property
    def timers(self) -> IReactorTime:
        """
        What runs the time limits.
        """
        timers: IReactorTime = self._timers or self.reactor
        return timers

    def resolver(self, *, encrypted: bool) -> AllowedResolver:
        """
        Return a resolver that finds only allowed addresses: without encryption those in
        the private networks only.
        """
        return AllowedResolver(
            resolver_of(self.reactor), self.networks, listed_only=not encrypted
        )

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        trusted: bool = False,
    ) -> bytes:
        """
        Make one attempt to post a request. Redirects are not followed.

        :param url: where to; see
            :func:`~txstathat.collector.channels.sending.hook_urls.check_hook_url`.
        :param body: the body.
        :param headers: the headers.
        :param trusted: whether the operator named the host, so that its address is not
            checked.
        :returns: the body of the answer.
        :raises DeliveryFailed: if the status is not one of 200 to 299, there is no
            answer, or the host's address is not allowed.
        :raises StatHatClosed: if :meth:`close` was called before the answer came.
        """
        if self.is_closed:
            raise StatHatClosed()
        own_agent, resolver = None, None
        if self._agent is None and not trusted:
            resolver = self.resolver(encrypted=url.lower().startswith("https:"))
            own_agent = self._make_agent(resolver)
        transport = Transport(
            origin_of(url),
            timeout=TIMEOUT,
            max_connections=1,
            max_reply=MAX_ANSWER,
            reactor=self._reactor,
            agent=self._agent or own_agent,
        )
        self._open.add(transport)
        exchange = transport.exchange(
            "POST", split_url(url)[1], headers=headers, body=body
        )
        # In case that the transport's own timer is late.
        timer = self.timers.callLater(TIMEOUT + 1, exchange.cancel)
        try:
            reply = await exchange
        except StatHatClosed:
            raise
        except Exception as error:
            raise _failure(error, resolver) from None
        finally:
            if timer.active():
                timer.cancel()
            self._close_transport(transport, own_agent)
        if not 200 <= reply.status < 300:
            raise DeliveryFailed(
                f"HTTP status {reply.status}", is_permanent(reply.status)
            )
        return reply.body

    def _make_agent(self, resolver: AllowedResolver) -> PooledAgent:
        return PooledAgent(
            self.reactor,
            max_connections=1,
            trust_root=self.trust_root,
            max_received=MAX_ANSWER + MAX_HEADERS,
            resolver=resolver,
        )

    def begin(self, cut: Callable[[], object]) -> Callable[[], None]:
        """
        Note an attempt over another protocol.

        :param cut: ends it at once.
        :returns: what to call when it has ended.
        :raises StatHatClosed: after :meth:`close`.
        """
        if self.is_closed:
            raise StatHatClosed()
        attempt = object()
        self._open.add(attempt)
        self._cuts[attempt] = cut

        def end() -> None:
            del self._cuts[attempt]
            self._ended(attempt)

        return end

    def _close_transport(self, transport: Transport, agent: PooledAgent | None) -> None:
        async def close() -> None:
            await transport.close()
            if agent is not None:
                await agent.close()
            self._ended(transport)

        Deferred.fromCoroutine(close())

    def _ended(self, attempt: object) -> None:
        self._open.discard(attempt)
        if not self._open:
            closers, self._closers = self._closers, []
            for closed in closers:
                closed.callback(None)

    def close(self) -> Deferred[None]:
        """
        Make no more attempts. Those under way have a second to end.

        :returns: fires with ``None`` when no connection is open.
        """
        self.is_closed = True
        if not self._open:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        for attempt in list(self._open):
            if isinstance(attempt, Transport):
                # The exchange ends, and then its connection is closed.
                attempt.close()
        if self._cuts:
            timer = self.timers.callLater(CLOSE_TIMEOUT, self._cut_all)
            closed.addCallback(lambda _: timer.cancel() if timer.active() else None)
        return closed

    def _cut_all(self) -> None:
        for cut in list(self._cuts.values()):
            cut()
