"""
Connecting to a host by its name, with any reactor.

Twisted's HostnameEndpoint (26.10) does the same, but installs the program's reactor
where there is none, whichever reactor it is made with.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.http.clock import IHTTPReactor

__all__ = ["ATTEMPT_DELAY", "HostEndpoint"]

#: Seconds after which the next address of a host is tried beside those that have not
#: answered (RFC 8305, section 5, "Connection Attempt Delay").
ATTEMPT_DELAY = 0.3


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """
    Connects to the first address of a host that answers.

    :param reactor: provides TCP, time and a name resolver.
    :param host: a name, or an address.
    :param port: the port.
    :param resolver: looks the name up, again for each connection; by default the
        reactor's. The name may have underscores.
    """

    def __init__(
        self,
        reactor: IHTTPReactor,
        host: str,
        port: int,
        resolver: IHostnameResolver | None = None,
    ) -> None:
        self._reactor = reactor
        self._resolver = resolver
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See :meth:`twisted.internet.interfaces.IStreamClientEndpoint.connect`.

        :returns: a new Deferred, which fires with the protocol, and fails with
            :class:`~twisted.internet.error.DNSLookupError` for a name without
            addresses, or as the last of the addresses did.
        """
        connecting = _Connecting(self._reactor, self._host, self._port, protocolFactory)
        resolver = self._resolver or self._reactor.nameResolver
        resolver.resolveHostName(connecting, self._host, portNumber=self._port)
        return connecting.result


@implementer(IResolutionReceiver)
class _Connecting:
    """
    One connection in the making, perhaps to several addresses at once.
    """

    def __init__(
        self, reactor: IHTTPReactor, host: str, port: int, factory: IProtocolFactory
    ) -> None:
        self.result: Deferred[IProtocol] = Deferred(self._cancel)
        self._reactor = reactor
        self._host = host
        self._port = port
        self._factory = factory
        self._left: list[IStreamClientEndpoint] = []
        self._attempts: list[Deferred[IProtocol]] = []
        self._timer: IDelayedCall | None = None
        self._over = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The result is all that matters."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address):
            kind: Any = TCP4ClientEndpoint
        elif isinstance(address, IPv6Address):
            kind = TCP6ClientEndpoint
        else:
            return
        self._left.append(kind(self._reactor, address.host, address.port))

    def resolutionComplete(self) -> None:
        if self._over:
            return
        if self._left:
            self._try_next()
            return
        self._over = True
        self.result.errback(
            DNSLookupError(f"no results for hostname lookup: {self._host}")
        )

    def _try_next(self) -> None:
        self._stop_timer()
        endpoint = self._left.pop(0)
        if self._left:
            self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._try_next)
        attempt = endpoint.connect(self._factory)
        self._attempts.append(attempt)
        attempt.addCallbacks(
            self._connected,
            self._failed,
            callbackArgs=(attempt,),
            errbackArgs=(attempt,),
        )

    def _connected(self, protocol: IProtocol, attempt: Deferred[IProtocol]) -> None:
        self._attempts.remove(attempt)
        self._end()
        self.result.callback(protocol)

    def _failed(self, failure: Failure, attempt: Deferred[IProtocol]) -> None:
        self._attempts.remove(attempt)
        if self._over:
            return
        if self._left:
            self._try_next()
        elif not self._attempts:
            self._over = True
            self.result.errback(failure)

    def _cancel(self, result: Deferred[IProtocol]) -> None:
        self._end()
        result.errback(
            ConnectingCancelledError(HostnameAddress(self._host.encode(), self._port))
        )

    def _end(self) -> None:
        self._over = True
        self._stop_timer()
        for attempt in list(self._attempts):
            attempt.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
