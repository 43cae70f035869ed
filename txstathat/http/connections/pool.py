"""
The connections below an exchange: verified TLS, pooled, bounded, and closable.

:class:`PooledAgent` adds to Twisted's :class:`~twisted.web.client.Agent`: it closes all
its connections on demand; it cuts a connection that does not close politely; it bounds
what a server may send before the body; it reuses only connections that the server still
has open, and none for long; and a name look-up that hangs occupies one thread, not one
for each request.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from txstathat.http.clock import IHTTPReactor, monotonic_clock
from txstathat.http.connections.hostname import HostEndpoint
from txstathat.http.connections.lookup import SharedResolver
from txstathat.http.connections.resolver import resolver_of
from txstathat.http.connections.tls import HostVerifier, Trust
from txstathat.http.connections.tracking import OpenConnections, TrackedEndpoint

__all__ = [
    "IDLE_TIMEOUT",
    "MAX_AGE",
    "MAX_HEADERS",
    "MAX_HOSTS",
    "PooledAgent",
]

#: Seconds until an unused connection is closed. Common servers close theirs after 5
#: (Node, Apache) to 75 (nginx) seconds. A request that is written while the server
#: closes is lost, so the client has to close first. A delivery service sends more
#: often.
IDLE_TIMEOUT = 4.0
#: Seconds after which a connection is not used for another request. A new connection
#: looks the host's name up again, and so finds a server that has moved.
MAX_AGE = 60.0
#: How many hosts an agent remembers the endpoints of. A client has one.
MAX_HOSTS = 16
#: The most bytes of a reply's headers, on top of the largest body.
MAX_HEADERS = 65_536


class _PoolTimers:
    """
    Sets a pool's timers under a name that says where they are from: trial prints those
    that a test has left.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def callLater(self, delay: float, call: Any, *args: Any) -> Any:
        def close_idle(*args: Any) -> None:
            call(*args)

        close_idle.__qualname__ = "txstathat: a client was not closed; idle connection "
        return self._reactor.callLater(delay, close_idle, *args)


class _Pool(HTTPConnectionPool):
    """
    A pool that hands out no stale connection.
    """

    def __init__(self, reactor: IReactorTime, connections: OpenConnections) -> None:
        super().__init__(_PoolTimers(reactor), persistent=True)
        self._open_connections = connections

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Any:
        """
        See :meth:`twisted.web.client.HTTPConnectionPool.getConnection`.
        """
        self._open_connections.close_stale()
        return super().getConnection(key, endpoint)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    The endpoints of an agent, one for each host.
    """

    def __init__(
        self,
        reactor: IHTTPReactor,
        resolver: IHostnameResolver,
        trust: Trust,
        connections: OpenConnections,
    ) -> None:
        self._reactor = reactor
        self._connections = connections
        self._resolver = SharedResolver(resolver)
        self._trust = trust
        # Twisted asks for an endpoint at each request, even if it reuses a connection.
        self._endpoint = lru_cache(MAX_HOSTS)(self._make_endpoint)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if uri.scheme not in (b"https", b"http"):
            raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
        return self._endpoint(uri.scheme == b"https", uri.host, uri.port)

    def _make_endpoint(
        self, tls: bool, host: bytes, port: int
    ) -> IStreamClientEndpoint:
        name = host.decode("ascii")
        endpoint = HostEndpoint(self._reactor, name, port, self._resolver)
        verifier = HostVerifier(self._trust, host) if tls else None
        return TrackedEndpoint(endpoint, verifier, self._connections)


@implementer(IAgent)
class PooledAgent:
    """
    An :class:`~twisted.web.iweb.IAgent` with persistent, closable connections.

    :param reactor: provides TCP, time, threads and name resolution.
    :param max_connections: how many idle connections stay open for reuse.
    :param trust_root: which certificate authorities to trust, such as
        :func:`twisted.internet.ssl.trustRootFromCertificates` returns it; the
        platform's roots by default (OpenSSL reads ``SSL_CERT_FILE`` for them).
    :param max_received: the most bytes of one reply, headers and body together; beyond
        it the connection is cut.
    :param idle_timeout: seconds until an unused connection is closed.
    :param max_age: seconds after which a connection is not used for another request.
    :param resolver: looks host names up; by default the resolver that the program has
        installed in the reactor, else a
        :class:`~txstathat.http.connections.resolver.DaemonResolver`.
    :param monotonic: returns the time in seconds, on a clock that is never set; by
        default :func:`time.monotonic`.
    """

    def __init__(
        self,
        reactor: IHTTPReactor,
        *,
        max_connections: int = 8,
        trust_root: object = None,
        max_received: int = 2 * MAX_HEADERS,
        idle_timeout: float = IDLE_TIMEOUT,
        max_age: float = MAX_AGE,
        resolver: IHostnameResolver | None = None,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        monotonic = monotonic_clock(reactor) if monotonic is None else monotonic
        self._connections = OpenConnections(
            reactor, monotonic, max_received, idle_timeout, max_age
        )
        self._pool = _Pool(reactor, self._connections)
        self._pool.maxPersistentPerHost = max_connections
        self._pool.cachedConnectionTimeout = idle_timeout  # type: ignore[assignment]
        endpoints = _Endpoints(
            reactor,
            resolver_of(reactor) if resolver is None else resolver,
            Trust(trust_root, monotonic),
            self._connections,
        )
        self._agent = Agent.usingEndpointFactory(reactor, endpoints, pool=self._pool)

    @property
    def open_connections(self) -> int:
        """
        How many connections are open.
        """
        return len(self._connections)

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
        response: Deferred[IResponse] = self._agent.request(
            method, uri, headers, bodyProducer
        )
        return response

    def close(self) -> Deferred[None]:
        """
        Close every connection.

        :returns: a new Deferred, which fires with ``None`` when none is left open, at
            the latest after
            :data:`~txstathat.http.connections.tracking.CLOSE_GRACE` seconds; it does
            not fail.
        """
        self._pool.closeCachedConnections()
        return self._connections.close()
