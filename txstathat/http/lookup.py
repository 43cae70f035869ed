"""
Find a host's addresses: one look-up for all who wait, and names with underscores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.http.urls import without_underscores

__all__ = ["SharedResolver", "host_endpoint"]


@implementer(IResolutionReceiver)
class _Lookup:
    """
    One look-up in progress, and all receivers that wait for its result.
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
class SharedResolver:
    """
    Looks each name up once at a time, however many requests wait for the result.

    A look-up occupies a thread until it ends, even when nobody waits for it any more.

    :param resolver: does the look-ups.
    """

    def __init__(self, resolver: IHostnameResolver) -> None:
        self._resolver = resolver
        self._in_progress: dict[object, _Lookup] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        See :meth:`twisted.internet.interfaces.IHostnameResolver.resolveHostName`.
        """
        key = (hostName, portNumber)
        lookup = self._in_progress.get(key)
        if lookup is not None:
            lookup.receivers.append(resolutionReceiver)
            resolutionReceiver.resolutionBegan(lookup.resolution)
            return lookup.resolution
        lookup = self._in_progress[key] = _Lookup(lambda: self._in_progress.pop(key))
        lookup.receivers.append(resolutionReceiver)
        return self._resolver.resolveHostName(
            lookup, hostName, portNumber, addressTypes, transportSemantics
        )


def host_endpoint(
    reactor: Any, resolver: IHostnameResolver, host: bytes, port: int
) -> IStreamClientEndpoint:
    """
    Make an endpoint that connects to a host over TCP.

    :param reactor: opens the connections; provides
        :class:`~twisted.internet.interfaces.IReactorTCP` and
        :class:`~twisted.internet.interfaces.IReactorTime`.
    :param resolver: looks the host's name up, anew for each connection.
    :param host: a name, which may have underscores, or an IP address.
    :param port: the TCP port.
    """
    name = host.decode("ascii")
    if "_" in name:
        return _UnderscoreEndpoint(reactor, resolver, name, port)
    resolving = _ResolvingReactor(reactor, resolver)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(resolving, host, port)
    return endpoint


@implementer(IHostnameResolver)
class _OneNameResolver:
    """
    Looks one name up, whichever name it is passed.
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
    A reactor with another name resolver.
    """

    def __init__(self, reactor: Any, resolver: IHostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


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
        def name_the_host(failure: Failure) -> Failure:
            if failure.check(DNSLookupError) is None:
                return failure
            message = f"no results for hostname lookup: {self._host}"
            return Failure(DNSLookupError(message))

        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected.addErrback(name_the_host)
