"""
Connecting to a host by its name, on a reactor in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txstathat.http.connections.hostname import ATTEMPT_DELAY, HostEndpoint


class Reactor(MemoryReactorClock):
    """Resolves every name to the same addresses, at once or when it is told to."""

    def __init__(self, *hosts: str) -> None:
        super().__init__()
        self.nameResolver = self
        self.addresses: list[Any] = [UNIXAddress("unusable")]
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            self.addresses.append(kind("TCP", host, 80))

    def resolveHostName(self, receiver: Any, host: str, portNumber: int) -> Any:
        self.asked = host, portNumber
        for address in self.addresses:
            receiver.addressResolved(address)
        self.receiver = receiver
        if not self.hold:
            receiver.resolutionComplete()

    hold = False

    @property
    def tried(self) -> list[str]:
        return [client[0] for client in self.tcpClients]

    def refuse(self, number: int) -> None:
        factory = self.tcpClients[number][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError(number)))

    def accept(self, number: int) -> Any:
        protocol = self.tcpClients[number][2].buildProtocol(None)
        protocol.makeConnection(StringTransport())
        return protocol


class HostEndpointTests(SynchronousTestCase):
    """
    Which addresses are tried, when, and what comes of it.
    """

    def connect(self, reactor: Reactor) -> Deferred[Any]:
        factory = Factory.forProtocol(Protocol)
        return HostEndpoint(reactor, "example.org", 80).connect(factory)

    def test_one_address(self) -> None:
        """It fires with the protocol, once that is connected."""
        reactor = Reactor("192.0.2.1")
        connecting = self.connect(reactor)
        self.assertEqual(reactor.asked, ("example.org", 80))
        self.assertNoResult(connecting)
        reactor.accept(0)
        self.assertIsInstance(self.successResultOf(connecting), Protocol)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_no_address(self) -> None:
        """A name without addresses fails as a look-up."""
        failed = self.failureResultOf(self.connect(Reactor()), DNSLookupError)
        self.assertIn("example.org", str(failed.value))

    def test_slow_addresses(self) -> None:
        """The next address is tried beside one that is slow; the first to answer wins."""
        reactor = Reactor("2001:db8::1", "192.0.2.1", "192.0.2.2")
        connecting = self.connect(reactor)
        self.assertEqual(reactor.tried, ["2001:db8::1"])
        reactor.advance(ATTEMPT_DELAY)
        self.assertEqual(reactor.tried, ["2001:db8::1", "192.0.2.1"])
        reactor.accept(1)
        self.successResultOf(connecting)
        reactor.advance(10)
        self.assertEqual(len(reactor.tried), 2)
        self.assertEqual(
            [c.stoppedConnecting for c in reactor.connectors], [True, False]
        )

    def test_refused(self) -> None:
        """After one that refuses the next is tried at once; the last failure counts."""
        reactor = Reactor("192.0.2.1", "192.0.2.2")
        connecting = self.connect(reactor)
        reactor.refuse(0)
        self.assertEqual(reactor.tried, ["192.0.2.1", "192.0.2.2"])
        self.assertNoResult(connecting)
        reactor.refuse(1)
        failed = self.failureResultOf(connecting, ConnectionRefusedError)
        self.assertEqual(failed.value.osError, 1)
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Cancelling ends all attempts, and those that were to come."""
        reactor = Reactor("192.0.2.1", "192.0.2.2", "192.0.2.3")
        connecting = self.connect(reactor)
        reactor.advance(ATTEMPT_DELAY)
        connecting.cancel()
        self.failureResultOf(connecting, ConnectingCancelledError)
        self.assertTrue(all(c.stoppedConnecting for c in reactor.connectors))
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_cancelled_before_the_name_is_found(self) -> None:
        """Then nothing is tried when it is."""
        reactor = Reactor("192.0.2.1")
        reactor.hold = True
        connecting = self.connect(reactor)
        connecting.cancel()
        self.failureResultOf(connecting, ConnectingCancelledError)
        reactor.receiver.resolutionComplete()
        self.assertEqual(reactor.tried, [])
