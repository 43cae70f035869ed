"""
Find a host's addresses: one look-up for all who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

__all__ = ["SharedResolver"]


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
