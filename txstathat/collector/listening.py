"""
Where the collector listens: endpoints for HTTP, and a UDP port for statsd.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorUDP,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from txstathat.collector.web.site import CollectorSite
from txstathat.datagrams import MAX_DATAGRAM
from txstathat.errors import StatHatError
from txstathat.stores.store import IStoreReactor

__all__ = [
    "LISTEN",
    "CannotListen",
    "PortInUse",
    "listen_http",
    "listen_statsd",
    "parse_endpoint",
]

#: The default endpoint to listen on.
LISTEN = "tcp:8080:interface=127.0.0.1"

_log = Logger()


class CannotListen(StatHatError):
    """An endpoint is not valid, in use, or not allowed."""


class PortInUse(CannotListen):
    """Another program listens there."""


def parse_endpoint(reactor: IStoreReactor, text: str) -> IStreamServerEndpoint:
    """
    Parse a server endpoint string.

    :raises CannotListen: if it is not valid.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
        return endpoint
    except Exception as error:
        port = f"tcp:{text}:interface=127.0.0.1" if text.isdigit() else LISTEN
        raise CannotListen(
            f"cannot listen on {text!r}: {error}; for a port write {port}"
        ) from error


async def listen_http(
    text: str, endpoint: IStreamServerEndpoint, site: CollectorSite
) -> IListeningPort:
    """
    Serve the site at an endpoint.

    :param text: the endpoint's string, for the message.
    :raises PortInUse: if it is in use.
    :raises CannotListen: if it is not allowed.
    """
    try:
        port: IListeningPort = await endpoint.listen(site)
        return port
    except Exception as error:
        # Twisted's own words repeat that it cannot listen, and where.
        cause = getattr(error, "socketError", error)
        why = str(getattr(cause, "strerror", None) or cause)
        message = f"cannot listen on {text!r}: {why}"
        if getattr(cause, "errno", None) == errno.EADDRINUSE:
            raise PortInUse(f"{message}; use another port") from error
        raise CannotListen(message) from error


def listen_statsd(
    reactor: IStoreReactor, protocol: DatagramProtocol, address: str, port: int
) -> IListeningPort:
    """
    Receive statsd's datagrams. A warning is logged if others than this machine can
    reach the port.

    :raises CannotListen: if it is in use or not allowed.
    """
    udp = cast(IReactorUDP, reactor)
    try:
        listening = udp.listenUDP(port, protocol, address, MAX_DATAGRAM)
    except CannotListenError as error:
        raise CannotListen(f"cannot receive statsd: {error}") from error
    if not ip_address(address).is_loopback:
        _log.warn(
            "statsd is received at {address}, and UDP carries no key: whoever can "
            "reach port {port} can add points",
            address=address,
            port=port,
        )
    return listening
