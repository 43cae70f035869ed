"""
Clients' addresses.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

__all__ = ["network_of"]


# Parsing takes long, and many requests come from few addresses.
@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """
    Return an IPv4 address as it is, and the /64 network of an IPv6 address, since one
    machine can use all of a /64.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        # The client of a UNIX socket has no address.
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    # int() drops the interface that a link-local address can name.
    return str(ip_network((int(parsed), 64), strict=False))
