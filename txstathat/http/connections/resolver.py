"""
Look host names up in daemon threads, which do not keep the process from ending.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

from txstathat.http.limit import ConcurrencyLimit

__all__ = ["DaemonResolver", "MAX_LOOKUPS", "resolver_of"]

#: How many names are looked up at once; further ones wait.
MAX_LOOKUPS = 8

_FAMILIES: dict[type[IAddress], int] = {
    IPv4Address: socket.AF_INET,
    IPv6Address: socket.AF_INET6,
}


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: a call of getaddrinfo cannot be stopped."""


@implementer(IHostnameResolver)
class DaemonResolver:
    """
    Looks names up with :func:`socket.getaddrinfo`, each in a daemon thread of its own.

    Twisted's resolver uses the reactor's thread pool, and the process ends only when
    all threads of that pool have ended: a look-up that hangs delays the end as long as
    the system's resolver waits.

    :param reactor: receives the results.
    :param getaddrinfo: does the look-ups.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        getaddrinfo: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        self._reactor = reactor
        self._getaddrinfo = getaddrinfo
        self._limit = ConcurrencyLimit(MAX_LOOKUPS)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        See :meth:`twisted.internet.interfaces.IHostnameResolver.resolveHostName`. Only
        TCP addresses are looked up. A failure is a result without addresses.
        """

        def deliver(found: Sequence[Any]) -> None:
            for family, _, _, _, found_address in found:
                if family in families:
                    address = families[family]("TCP", *found_address)
                    resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        wanted = _FAMILIES if addressTypes is None else addressTypes
        families: dict[int, Any] = {
            family: kind for kind, family in _FAMILIES.items() if kind in wanted
        }
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        self._limit.run(lambda: self._look_up(hostName, portNumber)).addCallback(
            deliver
        )
        return resolution

    def _look_up(self, host: str, port: int) -> Deferred[Sequence[Any]]:
        def work() -> None:
            try:
                result = self._getaddrinfo(
                    host, port, socket.AF_UNSPEC, socket.SOCK_STREAM
                )
            except (OSError, UnicodeError):
                result = []
            # asyncio's loop may have been closed in the meantime.
            with suppress(RuntimeError):
                self._reactor.callFromThread(found.callback, result)

        found: Deferred[Sequence[Any]] = Deferred()
        Thread(target=work, name="txstathat-look-up", daemon=True).start()
        return found


def resolver_of(reactor: IReactorPluggableNameResolver) -> IHostnameResolver:
    """
    The resolver to use with a reactor: the one that the program has installed, else a
    :class:`DaemonResolver`.

    :param reactor: provides
        :class:`~twisted.internet.interfaces.IReactorPluggableNameResolver`.
    """
    installed: IHostnameResolver = reactor.nameResolver
    # Twisted's default has no public name.
    is_default = type(installed).__name__ == "GAIResolver"
    if is_default and IReactorFromThreads.providedBy(reactor):
        return DaemonResolver(reactor)
    return installed
