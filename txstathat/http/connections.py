"""
The connections beneath an exchange: verified TLS, reused, bounded, and closable.

:class:`PooledAgent` is Twisted's :class:`~twisted.web.client.Agent` with four things
that it leaves open: every connection can be closed at once and waited for, a connection
that is told to close does so even if the peer takes no notice, what a peer may send
before the body is bounded, and a name look-up that hangs holds one thread, not one for
each request.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from OpenSSL import SSL
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import CertificateOptions, platformTrust
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

__all__ = [
    "CLOSE_GRACE",
    "HandshakeFailed",
    "IDLE_TIMEOUT",
    "MAX_HEADERS",
    "MAX_HOSTS",
    "PooledAgent",
    "cut",
    "without_underscores",
]

#: Seconds for which an unused connection is kept. Common servers close theirs after 5
#: (Node, Apache) to 75 (nginx) seconds; a request written at the very moment the server
#: closes is lost, so this side has to be the first to let go.
IDLE_TIMEOUT = 4.0
#: Seconds that a peer has to close a connection politely before it is cut.
CLOSE_GRACE = 0.5
#: How many hosts an agent remembers how to connect to. A client has one.
MAX_HOSTS = 16
#: Bytes that a reply may have on top of the largest body: its headers.
MAX_HEADERS = 65_536


class HandshakeFailed(ResponseNeverReceived):
    """
    TLS was not established, so no request was sent: a certificate that was refused, a
    handshake that failed or took too long.

    :ivar reasons: why, a list of one :class:`~twisted.python.failure.Failure`.
    """


@implementer(IHandshakeListener)
class _Connection(ProtocolWrapper):
    """
    One connection, between the HTTP protocol above and TCP or TLS below.
    """

    factory: _ConnectionFactory
    _received = 0
    _cut: IDelayedCall | None = None
    _ready = False
    _waiting: Deferred[IProtocol] | None = None

    def ready(self, tls: bool) -> Deferred[IProtocol]:
        """
        Wait until a request may be sent: with TLS, until the peer is verified.

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
        # A request begins with its headers written so: what comes now answers it.
        self._received = 0
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self.factory.max_received:
            self.stopProducing()
        else:
            super().dataReceived(data)

    def stopProducing(self) -> None:
        """
        Cut the connection: whoever reads from it wants no more.
        """
        self.transport.abortConnection()  # type: ignore[union-attr]

    def loseConnection(self) -> None:
        """
        Close politely, but not for ever: a peer may never answer TLS's close_notify.
        """
        super().loseConnection()
        if self._cut is None and self in self.factory.open:
            self._cut = self.factory.clock.callLater(CLOSE_GRACE, self.stopProducing)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._cut is not None and self._cut.active():
            self._cut.cancel()
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(HandshakeFailed([reason]))


class _ConnectionFactory(WrappingFactory):
    protocol = _Connection

    def __init__(self, wrapped: IProtocolFactory, agent: PooledAgent) -> None:
        super().__init__(wrapped)
        self.open = agent._open
        self.clock = agent._reactor
        self.max_received = agent._max_received
        self._closed = agent._connection_closed

    def doStart(self) -> None:
        """Twisted would log each connection's factory; there is nothing to start."""

    def doStop(self) -> None:
        """As little as there was to start."""

    def registerProtocol(self, p: ProtocolWrapper) -> None:
        self.open.add(p)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        self.open.discard(p)
        self._closed()


@implementer(IStreamClientEndpoint)
class _TrackedEndpoint:
    """
    Connects with a :class:`_Connection`, and is done when that is ready.
    """

    def __init__(
        self, endpoint: IStreamClientEndpoint, tls: bool, agent: PooledAgent
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._agent = agent

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def connected(connection: Any) -> Deferred[IProtocol]:
            ready: Deferred[IProtocol] = connection.ready(self._tls)
            return ready

        factory = _ConnectionFactory(protocolFactory, self._agent)
        return self._endpoint.connect(factory).addCallback(connected)


@implementer(IOpenSSLClientConnectionCreator)
class _StrictCreator:
    """
    Makes TLS connections to one host, and refuses every certificate that does not
    prove to be this host's.

    Twisted's own creator (26.10) takes no host name with an underscore. When it cannot
    check a name, such as of a certificate that names none, it logs an error and accepts
    the certificate.

    :param context: has the certificate authorities to trust.
    :param host: a host name or an IP address.
    """

    def __init__(self, context: SSL.Context, host: bytes) -> None:
        name = host.decode("ascii")
        is_address = isIPAddress(name) or isIPv6Address(name)
        self._context = context
        self._identity = IPAddress_ID(name) if is_address else DNS_ID(name)
        # RFC 6066, section 3: an address is not a server name.
        self._server_name = None if is_address else host

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        protocol = weakref.ref(tlsProtocol)

        def check(
            connection: SSL.Connection,
            certificate: Any,
            error: int,
            depth: int,
            ok: int,
        ) -> bool:
            # Only the server's own certificate, the last of the chain, names the host.
            if not ok or depth:
                return bool(ok)
            try:
                patterns = extract_patterns(certificate)
                verify_service_identity(patterns, [self._identity], [])
            except Exception:
                tls = protocol()
                if tls is not None:
                    tls.failVerification(Failure())
                return False
            return True

        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, check)
        return connection


@implementer(IResolutionReceiver)
class _Lookup:
    """
    One look-up under way, and everyone who waits for its outcome.
    """

    def __init__(self, done: Callable[[], object]) -> None:
        self.receivers: list[IResolutionReceiver] = []
        self._addresses: list[IAddress] = []
        self._done = done

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self.resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        self._done()
        for receiver in self.receivers:
            for address in self._addresses:
                receiver.addressResolved(address)
            receiver.resolutionComplete()


@implementer(IHostnameResolver)
class _SharedResolver:
    """
    Asks for a name once, however many requests wait for the answer: a look-up runs in
    a thread, which stays busy until it ends even if nobody waits for it any more.
    """

    def __init__(self, resolver: IHostnameResolver) -> None:
        self._resolver = resolver
        self._under_way: dict[object, _Lookup] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        key = (hostName, portNumber)
        lookup = self._under_way.get(key)
        if lookup is not None:
            lookup.receivers.append(resolutionReceiver)
            resolutionReceiver.resolutionBegan(lookup.resolution)
            return lookup.resolution
        lookup = self._under_way[key] = _Lookup(lambda: self._under_way.pop(key))
        lookup.receivers.append(resolutionReceiver)
        return self._resolver.resolveHostName(
            lookup, hostName, portNumber, addressTypes, transportSemantics
        )


@implementer(IHostnameResolver)
class _OneNameResolver:
    """
    Looks up one name, whatever name it is asked for.
    """

    def __init__(self, resolver: IHostnameResolver, name: str) -> None:
        self._resolver = resolver
        self._name = name

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        return self._resolver.resolveHostName(
            resolutionReceiver,
            self._name,
            portNumber,
            addressTypes,
            transportSemantics,
        )


@implementer(IReactorPluggableNameResolver, IReactorTCP, IReactorTime)
class _ResolvingReactor:
    """
    A reactor as it is, but for its name resolver.
    """

    def __init__(self, reactor: Any, resolver: IHostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def without_underscores(host: str) -> str:
    """
    A name that stands in for a host where IDNA 2008 decides what a host name is: it
    allows no underscores, which names in a private network often have.

    :param host: a host name.
    :returns: a name of the same length, which only the program itself sees.
    """
    return host.replace("_", "x")


@implementer(IStreamClientEndpoint)
class _UnderscoreEndpoint:
    """
    Connects to a host with an underscore in its name, which Twisted's
    :class:`~twisted.internet.endpoints.HostnameEndpoint` refuses.
    """

    def __init__(
        self, reactor: Any, resolver: IHostnameResolver, host: str, port: int
    ) -> None:
        self._host = host
        self._endpoint = HostnameEndpoint(
            _ResolvingReactor(reactor, _OneNameResolver(resolver, host)),
            without_underscores(host),
            port,
        )

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def show_the_host(failure: Failure) -> Failure:
            if failure.check(DNSLookupError) is None:
                return failure
            message = f"no results for hostname lookup: {self._host}"
            return Failure(DNSLookupError(message))

        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected.addErrback(show_the_host)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, agent: PooledAgent, trust_root: Any) -> None:
        self._agent = agent
        self._resolver = _SharedResolver(agent._reactor.nameResolver)
        self._trust_root = trust_root
        self._context: SSL.Context | None = None
        # Twisted asks at each request, even if a connection is there already.
        self._endpoint = lru_cache(MAX_HOSTS)(self._make_endpoint)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        if uri.scheme not in (b"https", b"http"):
            raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
        return self._endpoint(uri.scheme == b"https", uri.host, uri.port)

    def _make_endpoint(
        self, tls: bool, host: bytes, port: int
    ) -> IStreamClientEndpoint:
        endpoint = self._plain_endpoint(host, port)
        if tls:
            creator = _StrictCreator(self._tls_context(), host)
            endpoint = wrapClientTLS(creator, endpoint)
        return _TrackedEndpoint(endpoint, tls, self._agent)

    def _plain_endpoint(self, host: bytes, port: int) -> IStreamClientEndpoint:
        reactor, name = self._agent._reactor, host.decode("ascii")
        if "_" in name:
            return _UnderscoreEndpoint(reactor, self._resolver, name, port)
        resolving = _ResolvingReactor(reactor, self._resolver)
        endpoint: IStreamClientEndpoint = HostnameEndpoint(resolving, host, port)
        return endpoint

    def _tls_context(self) -> SSL.Context:
        # Reading the platform's roots takes milliseconds: once, not for each host.
        if self._context is None:
            root = platformTrust() if self._trust_root is None else self._trust_root
            self._context = CertificateOptions(trustRoot=root).getContext()
        return self._context


@implementer(IAgent)
class PooledAgent:
    """
    An :class:`~twisted.web.iweb.IAgent` with persistent, closable connections.

    :param reactor: provides TCP, time, threads and name resolution.
    :param max_connections: how many idle connections are kept for reuse.
    :param trust_root: which certificate authorities to trust, such as
        :func:`twisted.internet.ssl.trustRootFromCertificates` makes it; the platform's
        roots by default (OpenSSL looks at ``SSL_CERT_FILE`` for them).
    :param max_received: how many bytes one reply may have, headers and body together;
        the connection is cut beyond.
    :param idle_timeout: seconds for which an unused connection is kept.
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
        self._reactor = reactor
        self._max_received = max_received
        self._open: set[ProtocolWrapper] = set()
        self._closing: list[Deferred[None]] = []
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = max_connections
        self._pool.cachedConnectionTimeout = idle_timeout  # type: ignore[assignment]
        self._agent = Agent.usingEndpointFactory(
            reactor, _Endpoints(self, trust_root), pool=self._pool
        )

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

        :returns: a new Deferred, which fires when none is left open, at the latest
            after :data:`CLOSE_GRACE` seconds; it does not fail.
        """
        self._pool.closeCachedConnections()
        for connection in list(self._open):
            connection.loseConnection()
        if not self._open:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closing.append(closed)
        return closed

    def _connection_closed(self) -> None:
        if not self._open:
            closing, self._closing = self._closing, []
            for closed in closing:
                closed.callback(None)


def cut(transport: ITransport | None) -> None:
    """
    Cut the connection that a response body is read from, as far as its agent allows.
    """
    # A body's transport has no abortConnection in Twisted; a connection of
    # PooledAgent's cuts itself when told to stop producing.
    abort = getattr(transport, "abortConnection", None) or getattr(
        transport, "stopProducing", None
    )
    if abort is not None:
        abort()
