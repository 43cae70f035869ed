"""
Which addresses a connection may go to, whatever name led there.

Whoever can choose a URL could otherwise make the program connect to anything that it
can reach: a database, a router, the metadata service of a cloud. The addresses are
checked after the name is looked up, so a name that changes its address gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

__all__ = ["AllowedResolver", "Networks"]

_IP = IPv4Address | IPv6Address

# IPv4 addresses behind a translator (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")


def _real(address: _IP) -> _IP:
    """
    Return the IPv4 address that an IPv6 address stands for, or the address itself.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class Networks:
    """
    The private networks that the operator allows.

    :param texts: addresses and networks, such as ``10.0.0.0/8``, ``127.0.0.1`` or
        ``fd00::/8``.
    :raises ValueError: if one of them is not valid.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        for text in texts:
            try:
                self._networks.append(ip_network(text))
            except ValueError:
                raise ValueError(
                    f"{text!r} must be an address or a network, such as 127.0.0.1, "
                    "10.0.0.0/8 or fd00::/8"
                ) from None

    def __bool__(self) -> bool:
        return bool(self._networks)

    def lists(self, host: str) -> bool:
        """
        Return whether an address is in one of the networks.

        :param host: an IP address.
        """
        address = _real(ip_address(host.partition("%")[0]))
        return any(address in network for network in self._networks)

    def allows(self, host: str) -> bool:
        """
        Return whether an address is public, or in one of the networks.

        :param host: an IP address.
        """
        address = _real(ip_address(host.partition("%")[0]))
        is_public = address.is_global and not address.is_multicast
        return is_public or self.lists(host)


@implementer(IResolutionReceiver)
class _Filter:
    """
    Passes on the allowed addresses.
    """

    def __init__(self, resolver: AllowedResolver, receiver: Any) -> None:
        self._resolver = resolver
        self._receiver = receiver

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        if self._resolver.accepts(getattr(address, "host", "")):
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._receiver.resolutionComplete()


@implementer(IHostnameResolver)
class AllowedResolver:
    """
    Finds only the addresses of a host to which a connection may go.

    :param resolver: looks the names up.
    :param networks: the allowed private networks.
    :param listed_only: whether public addresses are refused too.

    :ivar has_refused: whether it has left out an address.
    """

    def __init__(
        self, resolver: IHostnameResolver, networks: Networks, listed_only: bool = False
    ) -> None:
        self._resolver = resolver
        self._allows = networks.lists if listed_only else networks.allows
        self.has_refused = False

    def accepts(self, host: str) -> bool:
        """
        Return whether a connection may go to an address, and note if not.
        """
        is_allowed = bool(host) and self._allows(host)
        self.has_refused = self.has_refused or not is_allowed
        return is_allowed

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
        return self._resolver.resolveHostName(
            _Filter(self, resolutionReceiver),
            hostName,
            portNumber,
            addressTypes,
            transportSemantics,
        )
