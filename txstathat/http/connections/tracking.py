"""
Track the connections of an agent, so that they can be judged stale, cut and closed.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from zope.interface import implementer

__all__ = ["CLOSE_GRACE", "HandshakeFailed", "OpenConnections", "TrackedEndpoint"]

#: Seconds that a peer has to close a connection politely before it is cut.
CLOSE_GRACE = 0.5


class HandshakeFailed(ResponseNeverReceived):
    """
    The TLS handshake failed or took too long, or the certificate was refused. No
    request was sent.

    :ivar reasons: a list of one :class:`~twisted.python.failure.Failure`: the cause.
    """


class OpenConnections:
    """
    The connections of an agent that are open.

    :param clock: runs the timers.
    :param monotonic: the time in seconds, on a clock that is never set.
    :param max_received: how many bytes one reply may have.
    :param idle_timeout: seconds after which an unused connection is not used again.
    :param max_age: seconds after which no connection is used again.
    """

    def __init__(
        self,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        max_received: int,
        idle_timeout: float,
        max_age: float,
    ) -> None:
        self.clock = clock
        self.monotonic = monotonic
        self.max_received = max_received
        self._idle_timeout = idle_timeout
        self._max_age = max_age
        self._open: dict[_Connection, None] = {}
        self._closing: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: object) -> bool:
        return connection in self._open

    def add(self, connection: _Connection) -> None:
        """
        Record that a connection is open.
        """
        self._open[connection] = None

    def remove(self, connection: _Connection) -> None:
        """
        Record that a connection has closed.
        """
        self._open.pop(connection, None)
        if not self._open:
            closing, self._closing = self._closing, []
            for closed in closing:
                closed.callback(None)

    def close_stale(self) -> None:
        """
        Close the idle connections that must not be used again: those that are too old,
        that were idle for too long, or that the server has closed. (Timers and reads
        come late when the program was blocked.)
        """
        now = self.monotonic()
        for connection in list(self._open):
            if connection.is_idle and (
                now - connection.opened_at >= self._max_age
                or now - connection.used_at >= self._idle_timeout
                or connection.has_input
            ):
                connection.retire()

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

    :ivar opened_at: when it was opened, on the monotonic clock.
    :ivar used_at: when it last received anything.
    """

    factory: _ConnectionFactory
    wrappedProtocol: Any
    opened_at: float
    used_at: float
    _received = 0
    _has_requested = False
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

    @property
    def is_idle(self) -> bool:
        """
        Whether it waits for its next request.
        """
        return self._has_requested and self.wrappedProtocol.state == "QUIESCENT"

    @property
    def has_input(self) -> bool:
        """
        Whether bytes, or the end of the connection, have arrived and are not read yet.
        An idle connection receives nothing else than its end. Always ``False`` on a
        platform without :func:`select.poll`.
        """
        fileno = getattr(self.transport, "fileno", None)
        if fileno is None or not hasattr(select, "poll"):
            return False
        descriptor = fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def retire(self) -> None:
        """
        Close it politely, so that the pool uses it no more.
        """
        self.wrappedProtocol.abort()

    def connectionMade(self) -> None:
        self.opened_at = self.used_at = self.factory.connections.monotonic()

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
        self._has_requested = True
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        self.used_at = self.factory.connections.monotonic()
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

    def __init__(self, wrapped: IProtocolFactory, connections: OpenConnections) -> None:
        super().__init__(wrapped)
        self.connections = connections

    def doStart(self) -> None:
        """Do nothing: Twisted's method would log each connection's factory."""

    def doStop(self) -> None:
        """Do nothing, as in :meth:`doStart`."""

    def registerProtocol(self, p: Any) -> None:
        self.connections.add(p)

    def unregisterProtocol(self, p: Any) -> None:
        self.connections.remove(p)


@implementer(IStreamClientEndpoint)
class TrackedEndpoint:
    """
    Connects through a :class:`_Connection`, and waits until it is ready.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        verifier: IOpenSSLClientConnectionCreator | None,
        connections: OpenConnections,
    ) -> None:
        self._endpoint = endpoint
        self._verifier = verifier
        self._connections = connections

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def connected(connection: Any) -> Deferred[IProtocol]:
            ready: Deferred[IProtocol] = connection.ready(self._verifier is not None)
            return ready

        factory = _ConnectionFactory(protocolFactory, self._connections)
        if self._verifier is None:
            return self._endpoint.connect(factory).addCallback(connected)
        # Not Twisted's wrapClientTLS: it uses the global reactor, and installs one
        # where there is none.
        tls = TLSMemoryBIOFactory(
            self._verifier, True, factory, clock=self._connections.clock
        )
        connecting: Deferred[Any] = self._endpoint.connect(tls)
        return connecting.addCallback(lambda tls: tls.wrappedProtocol).addCallback(
            connected
        )
