"""
One exchange over HTTP: a request becomes a reply or a failure, within a time limit.

The only module that knows treq. What treq leaves to its callers is settled here: the
time limit covers the whole exchange, the body is capped, nothing is decompressed, no
redirect is followed, no cookie kept, and neither requests in flight nor those in line
grow without bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    fail,
    inlineCallbacks,
    succeed,
)
from twisted.internet.error import TimeoutError
from twisted.python.failure import Failure
from twisted.web.client import (
    ContentDecoderAgent,
    CookieAgent,
    ProxyAgent,
    RedirectAgent,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from txstathat.errors import StatHatBusy, StatHatClosed
from txstathat.http.connections import (
    MAX_HEADERS,
    HandshakeFailed,
    PooledAgent,
    without_underscores,
)
from txstathat.http.limit import ConcurrencyLimit
from txstathat.http.responses import (
    MAX_REPLY,
    BadReply,
    PlainReplies,
    Reply,
    read_reply,
)
from txstathat.points.model import shown

__all__ = [
    "CLOSE_TIMEOUT",
    "MAX_TIMEOUT",
    "Transport",
    "check_agent",
    "check_url",
    "may_have_arrived",
    "with_stand_in",
]

#: The longest time limit that can be set, in seconds.
MAX_TIMEOUT = 86_400.0
#: Seconds that exchanges under way have to end once the transport is being closed.
CLOSE_TIMEOUT = 1.0

_PORT = re.compile(r":[0-9]{1,5}$")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# Reserved by RFC 2606, so that nothing is found if it ever leaves the program.
_STAND_IN = "server.invalid"


def check_url(url: object) -> str:
    """
    Check the URL of a server.

    :param url: ``https://`` or ``http://``, a host, perhaps a port and a path. The host
        is a name (underscores are allowed), an IPv4 address, or an IPv6 address in
        brackets.
    :returns: the URL without a slash at its end.
    :raises ValueError: if it is anything else; the message holds no part of the URL,
        since there may be a secret in it.
    """
    problem = _url_problem(url)
    if problem is not None:
        raise ValueError(f"the URL {problem}")
    assert isinstance(url, str)
    return url.rstrip("/")


def _url_problem(url: object) -> str | None:
    if not isinstance(url, str):
        return f"must be text, not {type(url).__name__}"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be of printable ASCII characters, without spaces"
    scheme, _, rest = url.partition("://")
    if scheme not in ("https", "http"):
        return "must begin with https:// (or http://)"
    if "?" in rest or "#" in rest:
        return "must have no query and no fragment"
    netloc = rest.partition("/")[0]
    if "@" in netloc:
        return "must hold no user name or password"
    host, _, port = netloc.rpartition(":") if _PORT.search(netloc) else (netloc, "", "")
    if port and not 0 < int(port) < 65536:
        return "must have a port from 1 to 65535"
    if not (_is_ipv6(host) or _is_host(host)):
        return (
            "needs a valid host: a name (letters, digits, hyphens, underscores, dots), "
            "an IPv4 address, or an IPv6 address in brackets"
        )
    return None


def _is_ipv6(host: str) -> bool:
    # "%" begins a zone, which means something only on one machine.
    if not (host.startswith("[") and host.endswith("]")) or "%" in host:
        return False
    try:
        IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return False
    # Names that IDNA does not allow fail in Twisted: better here than at every count.
    try:
        EncodedURL.from_text(f"http://{without_underscores(host)}").to_uri()
    except ValueError:
        return False
    return True


def with_stand_in(url: str) -> tuple[str, bytes]:
    """
    Put a stand-in for the host into a URL, for treq: its URL parser refuses IPv6
    addresses and underscores. The agent below treq gets the real host back.

    :param url: a URL that :func:`check_url` accepts.
    :returns: the URL with the stand-in, and the real host with its port.
    """
    scheme, _, rest = url.partition("://")
    netloc, slash, path = rest.partition("/")
    return f"{scheme}://{_STAND_IN}{slash}{path}", netloc.lower().encode("ascii")


@implementer(IAgent)
class _RealHostAgent:
    """
    Puts the real host back into the URLs that treq asks for; see
    :func:`with_stand_in`.
    """

    def __init__(self, agent: IAgent, netloc: bytes) -> None:
        self._agent = agent
        self._netloc = netloc

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        scheme, _, rest = uri.partition(b"://")
        path = rest.removeprefix(_STAND_IN.encode("ascii"))
        real = b"%b://%b%b" % (scheme, self._netloc, path)
        response: Deferred[IResponse] = self._agent.request(
            method, real, headers, bodyProducer
        )
        return response


def check_agent(agent: IAgent | None, url: str) -> None:
    """
    Refuse an agent that would send a request for an ``https://`` URL in plain text.

    :param agent: the agent, if there is one.
    :param url: a URL that :func:`check_url` accepts.
    :raises ValueError: if it is Twisted's :class:`~twisted.web.client.ProxyAgent`,
        perhaps inside another of Twisted's agents, and the URL is ``https://``.
    """
    while isinstance(agent, (ContentDecoderAgent, CookieAgent, RedirectAgent)):
        agent = agent._agent
    if isinstance(agent, ProxyAgent) and url.startswith("https://"):
        raise ValueError(
            "Twisted's ProxyAgent sends requests for https:// URLs to the proxy in "
            "plain text, with the key; pass an agent that opens a tunnel through the "
            "proxy (CONNECT), or none"
        )


def may_have_arrived(error: BaseException) -> bool:
    """
    Whether the server may have acted on a request that failed without a reply.

    :param error: what an exchange failed with.
    :returns: ``False`` when it is certain that no server read the request.
    """
    # Exchanges that were given up keep the stage that they had reached as their cause.
    if isinstance(error, (StatHatClosed, TimeoutError)) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, HandshakeFailed):
        return False
    return isinstance(error, (ResponseFailed, BadReply))


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
        self._transport._under_way[self] = None
        self._timer = clock.callLater(timeout, self._expire, clock)
        self._work.addBoth(self._settle)

    def _expire(self, clock: Any) -> None:
        # When the whole program was held up, the reply may be there but not read yet:
        # the reactor's next turn shows.
        self._timer = clock.callLater(0, self.end, TimeoutError())

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
        :class:`~txstathat.http.connections.PooledAgent`, made when first needed. One that is
        passed in is not closed by :meth:`close`.
    :raises ValueError: if a parameter is out of range, or the agent does not encrypt
        what an ``https://`` URL promises; see :func:`check_agent`.
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
        check_agent(agent, self.url)
        _check_timeout(timeout)
        _check_number("max_connections", max_connections, 1)
        _check_number("max_waiting", max_waiting, 0)
        _check_number("max_reply", max_reply, 1)
        self._timeout = timeout
        self.max_waiting = max_waiting
        self._max_reply = max_reply
        self._slots = ConcurrencyLimit(max_connections)
        self._reactor = reactor
        self._agent = agent
        self._treq_url, self._netloc = with_stand_in(self.url)
        self._own_agent: PooledAgent | None = None
        self._http: HTTPClient | None = None
        self._under_way: dict[_Exchange, None] = {}
        self._idle: Deferred[None] | None = None
        self._closers: list[Deferred[None]] = []
        self._closed = False
        self._is_closed = False

    @property
    def origin(self) -> str:
        """
        The server's URL without its path, in which there may be a secret.
        """
        return "/".join(self.url.split("/", 3)[:3])

    @property
    def room(self) -> int:
        """
        How many more exchanges can be begun now.
        """
        return self._slots.free + self.max_waiting - self._slots.waiting

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
        if not self.room:
            return fail(StatHatBusy(self.max_waiting))
        fields = Headers({name: [value] for name, value in (headers or {}).items()})
        work = self._slots.run(lambda: self._send(method, path, fields, body))
        exchange = _Exchange(self, work)
        exchange.start(self.reactor, self._timeout if timeout is None else timeout)
        return exchange.result

    def _send(
        self, method: str, path: str, headers: Headers, body: bytes | None
    ) -> Deferred[Reply]:
        def read(response: Any) -> Deferred[Reply]:
            return read_reply(response.original, self._max_reply)

        if self._http is None:
            agent = _RealHostAgent(self._agent or self._make_agent(), self._netloc)
            self._http = HTTPClient(PlainReplies(agent), data_to_body_producer=_Body)
        return self._http.request(
            method,
            self._treq_url + path,
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
        self._under_way.pop(exchange, None)
        if not self._under_way and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def close(self) -> Deferred[None]:
        """
        Take no more exchanges, let those under way end, and close the connections.

        What has not ended after :data:`CLOSE_TIMEOUT` seconds fails with
        :class:`~txstathat.errors.StatHatClosed`.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail. Cancelling it does not stop the closing.
        """
        closed: Deferred[None] = Deferred()
        self._closers.append(closed)
        if not self._closed:
            self._closed = True
            self._close()
        elif self._is_closed:
            self._tell_closers()
        return closed

    @inlineCallbacks
    def _close(self) -> Any:
        if self._under_way:
            self._idle = Deferred()
            timer = self.reactor.callLater(CLOSE_TIMEOUT, self._end_all)
            yield self._idle
            if timer.active():
                timer.cancel()
        if self._own_agent is not None:
            yield self._own_agent.close()
        self._is_closed = True
        self._tell_closers()

    def _tell_closers(self) -> None:
        closers, self._closers = self._closers, []
        for closed in closers:
            if not closed.called:
                closed.callback(None)

    def _end_all(self) -> None:
        # Those in line first: none of them shall begin when a slot becomes free.
        for exchange in reversed(list(self._under_way)):
            exchange.end(StatHatClosed())


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
            f"{name} must be a number from {least} on, not {shown(number)}"
        )
