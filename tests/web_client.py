"""
A client of a site, in memory.
"""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site


class WebClient:
    """
    A real HTTP channel on a transport of strings.

    :param root: the root of the site.
    """

    def __init__(self, root: IResource) -> None:
        site = Site(root, reactor=Clock())
        site.log = lambda request: None
        self.channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def request(self, path: str, method: str = "GET", headers: str = "") -> bytes:
        """Send a request; returns what was answered so far."""
        self.transport.clear()
        self.channel.dataReceived(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
        )
        return self.transport.value()

    def disconnect(self) -> None:
        """Lose the connection."""
        self.channel.connectionLost(Failure(ConnectionLost()))
