"""
Which addresses connections may go to.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txstathat.http.connections.allowed import AllowedResolver, Networks

PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    # IPv4 addresses in other clothes.
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "2002:a00:1::",
)
PUBLIC = ("8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8")


@implementer(IHostnameResolver)
class Found:
    """
    Finds the same addresses for each name.
    """

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def resolveHostName(self, receiver: Any, name: str, port: int = 0, *a: Any) -> Any:
        """Report the addresses."""
        receiver.resolutionBegan(None)
        for host in self.hosts:
            kind: Any = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, port))
        receiver.resolutionComplete()


#: How addresses begin that stand for an IPv4 address: NAT64 and 6to4.
TRANSLATED = ("64:ff9b:", "2002:")


class Receiver:
    """
    Notes what it receives.
    """

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.complete = False

    def resolutionBegan(self, resolution: Any) -> None:
        """Nothing."""

    def addressResolved(self, address: Any) -> None:
        """Note it."""
        self.hosts.append(address.host)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.complete = True


class NetworksTests(SynchronousTestCase):
    """
    Public addresses are allowed, and private ones that are listed.
    """

    def test_private_and_public(self) -> None:
        """Private addresses are refused, however they are written; public ones are not."""
        for host in PRIVATE:
            self.assertFalse(Networks().allows(host), host)
        for host in PUBLIC:
            self.assertTrue(Networks().allows(host), host)
            self.assertFalse(Networks().lists(host), host)

    def test_listed(self) -> None:
        """A listed address or network is allowed, and nothing beside it."""
        networks = Networks(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])
        for host, allowed in (
            ("127.0.0.1", True),
            ("127.0.0.2", False),
            ("10.255.0.1", True),
            ("::ffff:10.0.0.1", True),
            ("11.0.0.1", True),
            ("fd12::1", True),
            ("fe80::1", False),
        ):
            self.assertEqual(networks.allows(host), allowed, host)
        self.assertTrue(networks)
        self.assertFalse(Networks())

    def test_wrong(self) -> None:
        """A text that is no network is refused, with what to write."""
        for text in ("", "x", "10.0.0.1/8", "10.0.0.0/33", "1.2.3.4:80"):
            with self.assertRaises(ValueError) as caught:
                Networks([text])
            self.assertIn("such as 127.0.0.1, 10.0.0.0/8", str(caught.exception))

    @given(st.ip_addresses())
    def test_any_address(self, address: Any) -> None:
        """What is not global is never allowed without a list; with all listed, all is."""
        host = str(address)
        # Of an address behind a translator, the IPv4 address in it decides. Since 3.13
        # Python says that 6to4 is not global.
        if not ip_address(host).is_global and not host.startswith(TRANSLATED):
            self.assertFalse(Networks().allows(host))
        self.assertTrue(Networks(["0.0.0.0/0", "::/0"]).allows(host))


class AllowedResolverTests(SynchronousTestCase):
    """
    The resolver passes on only allowed addresses.
    """

    def test_mixed(self) -> None:
        """Of a name with both kinds of addresses, only the allowed ones are found."""
        for listed_only, expected in (
            (False, ["8.8.8.8", "10.0.0.1"]),
            (True, ["10.0.0.1"]),
        ):
            resolver = AllowedResolver(
                Found("8.8.8.8", "10.0.0.1", "127.0.0.1"),
                Networks(["10.0.0.0/8"]),
                listed_only,
            )
            receiver: Any = Receiver()
            resolver.resolveHostName(receiver, "example.com", 80)
            self.assertEqual(receiver.hosts, expected)
            self.assertTrue(receiver.complete)
            self.assertTrue(resolver.has_refused)

    def test_nothing_refused(self) -> None:
        """It knows that it refused nothing."""
        resolver = AllowedResolver(Found("8.8.8.8"), Networks())
        receiver: Any = Receiver()
        resolver.resolveHostName(receiver, "example.com", 80)
        self.assertEqual(receiver.hosts, ["8.8.8.8"])
        self.assertFalse(resolver.has_refused)
