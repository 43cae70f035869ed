"""
The connections below an exchange: verified TLS, pooled, bounded, and closable.

:class:`PooledAgent` adds four things to Twisted's :class:`~twisted.web.client.Agent`:
it closes all its connections on demand; it cuts a connection that does not close
politely; it bounds what a server may send before the body; and a name look-up that
hangs occupies one thread, not one for each request.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from txstathat.http.lookup import SharedResolver, host_endpoint
from txstathat.http.tls import HostVerifier, Trust

__all__ = [
    "CLOSE_GRACE",
    "HandshakeFailed",
    "IDLE_TIMEOUT",
    "MAX_HEADERS",
    "MAX_HOSTS",
    "PooledAgent",
    "cut",
]

#: Seconds until an unused connection is closed. Common servers close theirs after 5
#: (Node, Apache) to 75 (nginx) seconds. A request that is written while the server
#: closes is lost, so the client has to close first.
IDLE_TIMEOUT = 4.0
#: Seconds that a peer has to close a connection politely before it is cut.
CLOSE_GRACE = 0.5
#: How many hosts an agent remembers the endpoints of. A client has one.
MAX_HOSTS = 16
#: The most bytes of a reply's headers, on top of the largest body.
MAX_HEADERS = 65_536


class HandshakeFailed(ResponseNeverReceived):
    """
    The TLS handshake failed or took too long, or the certificate was refused. No
    request was sent.

    :ivar reasons: a list of one :class:`~twisted.python.failure.Failure`: the cause.
    """


class _OpenConnections:
    """
    The connections of an agent that are open.

    :param clock: runs the timers.
    :param max_received: how many bytes one reply may have.
    """

    def __init__(self, clock: IReactorTime, max_received: int) -> None:
        self.clock = clock
        self.max_received = max_received
        self._open: dict[ProtocolWrapper, None] = {}
        self._closing: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: object) -> bool:
        return connection in self._open

    def add(self, connection: ProtocolWrapper) -> None:
        """
        Record that a connection is open.
        """
        self._open[connection] = None

    def remove(self, connection: ProtocolWrapper) -> None:
        """
        Record that a connection has closed.
        """
        self._open.pop(connection, None)
        if not self._open:
            closing, self._closing = self._closing, []
            for closed in closing:
                closed.callback(None)

    def close(self) -> Deferred[None]:
        """
        Close all connections.

        :returns: a new Deferred, which fires with ``None`` when none is open; it does
            not fail.
        """
        for connection in list(self._open):
            connection.loseConnection()
        if not self._open:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closing.append(closed)
        return closed


@implementer(IHandshakeListener)
class _Connection(ProtocolWrapper):
    """
    One connection, between the HTTP protocol above and TCP or TLS below.
    """

    factory: _ConnectionFactory
    _received = 0
    _cut_timer: IDelayedCall | None = None
    _ready = False
    _waiting: Deferred[IProtocol] | None = None

    def ready(self, tls: bool) -> Deferred[IProtocol]:
        """
        Wait until a request may be sent: with TLS, until the peer is verified.

        :param tls: whether the connection uses TLS.
        :returns: fires with the HTTP protocol, or fails with :class:`HandshakeFailed`.
            Cancelling it cuts the connection.
        """
        if self._ready or not tls:
            return succeed(self.wrappedProtocol)
        self._waiting = Deferred(self._give_up)
        return self._waiting

    def handshakeCompleted(self) -> None:
        self._ready = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(self.wrappedProtocol)

    def _give_up(self, waiting: Deferred[IProtocol]) -> None:
        self._waiting = None
        self.stopProducing()
        waiting.errback(HandshakeFailed([Failure(CancelledError())]))

    def writeSequence(self, data: Any) -> None:
        # Only a request's headers are written this way: a new reply begins.
        self._received = 0
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self.factory.connections.max_received:
            self.stopProducing()
        else:
            super().dataReceived(data)

    def stopProducing(self) -> None:
        """
        Cut the connection: the reader of a body wants no more.
        """
        self.transport.abortConnection()  # type: ignore[union-attr]

    def loseConnection(self) -> None:
        """
        Close politely, and cut after :data:`CLOSE_GRACE` seconds: a peer may never
        answer TLS's close_notify.
        """
        super().loseConnection()
        connections = self.factory.connections
        if self._cut_timer is None and self in connections:
            self._cut_timer = connections.clock.callLater(
                CLOSE_GRACE, self.stopProducing
            )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._cut_timer is not None and self._cut_timer.active():
            self._cut_timer.cancel()
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(HandshakeFailed([reason]))


class _ConnectionFactory(WrappingFactory):
    protocol = _Connection

    def __init__(
        self, wrapped: IProtocolFactory, connections: _OpenConnections
    ) -> None:
        super().__init__(wrapped)
        self.connections = connections

    def doStart(self) -> None:
        """Do nothing: Twisted's method would log each connection's factory."""

    def doStop(self) -> None:
        """Do nothing, as in :meth:`doStart`."""

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        self.connections.add(p)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        self.connections.remove(p)


@implementer(IStreamClientEndpoint)
class _TrackedEndpoint:
    """
    Connects through a :class:`_Connection`, and waits until it is ready.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, tls: bool, connections: _OpenConnections
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._connections = connections

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def connected(connection: Any) -> Deferred[IProtocol]:
            ready: Deferred[IProtocol] = connection.ready(self._tls)
            return ready

        factory = _ConnectionFactory(protocolFactory, self._connections)
        return self._endpoint.connect(factory).addCallback(connected)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """
    The endpoints of an agent, one for each host.
    """

    def __init__(
        self, reactor: Any, trust_root: object, connections: _OpenConnections
    ) -> None:
        self._reactor = reactor
        self._connections = connections
        self._resolver = SharedResolver(reactor.nameResolver)
        self._trust = Trust(trust_root)
        # Twisted asks for an endpoint at each request, even if it reuses a connection.
        self._endpoint = lru_cache(MAX_HOSTS)(self._make_endpoint)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if uri.scheme not in (b"https", b"http"):
            raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
        return self._endpoint(uri.scheme == b"https", uri.host, uri.port)

    def _make_endpoint(
        self, tls: bool, host: bytes, port: int
    ) -> IStreamClientEndpoint:
        endpoint = host_endpoint(self._reactor, self._resolver, host, port)
        if tls:
            endpoint = wrapClientTLS(HostVerifier(self._trust, host), endpoint)
        return _TrackedEndpoint(endpoint, tls, self._connections)


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
    """

    def __init__(
        self,
        reactor: Any,
        *,
        max_connections: int = 8,
        trust_root: object = None,
        max_received: int = 2 * MAX_HEADERS,
        idle_timeout: float = IDLE_TIMEOUT,
    ) -> None:
        self._connections = _OpenConnections(reactor, max_received)
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = max_connections
        self._pool.cachedConnectionTimeout = idle_timeout  # type: ignore[assignment]
        self._agent = Agent.usingEndpointFactory(
            reactor,
            _Endpoints(reactor, trust_root, self._connections),
            pool=self._pool,
        )

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
            the latest after :data:`CLOSE_GRACE` seconds; it does not fail.
        """
        self._pool.closeCachedConnections()
        return self._connections.close()


def cut(transport: ITransport | None) -> None:
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
