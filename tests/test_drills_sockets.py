"""
Drills for the delivery service with real sockets and name look-ups.

See :mod:`tests.test_drills_sender` for the small and the full form.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.delivery import NO_DRILLS
from tests.support import Authority, logged, reactor
from tests.test_drills_sender import resident
from tests.trouble import TroubleServer, drip, flood, reply, send, stall
from txstathat import StatHatService, txStatHat
from txstathat.agent import PooledAgent


class SocketDrills(TestCase):
    """
    A service in this process, against servers that misbehave.
    """

    skip = NO_DRILLS

    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority()

    def service(
        self, url: str, *, agent: Any = None, **settings: Any
    ) -> StatHatService:
        client = txStatHat("canary-key", url=url, timeout=0.5, agent=agent)
        service = StatHatService(
            client, interval=0.05, shutdown_timeout=0.2, **settings
        )
        service.startService()
        return service

    def test_10_bad_replies(self) -> Any:
        """Whatever a server answers, the next try comes, and no socket stays open."""
        gzip = b"Content-Encoding: gzip\r\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
        scripts: list[list[Any]] = [
            [stall],
            [send(head), stall],
            [send(head), drip(b"{" * 100, 0.1)],
            [send(b"HTTP/1.1 200 OK\r\n\r\n"), flood(b"x" * 65_536)],
            [send(b"HTTP/1.1 200 OK\r\n"), flood(b"X-A: " + b"x" * 1000 + b"\r\n")],
            [reply(body=b"x" * 1000, headers=gzip)],
            [send(head), lambda connection, go_on: connection.transport.loseWriteConnection()],
        ]  # fmt: skip

        async def check() -> None:
            for tls in (None, self.authority.server_options("localhost")):
                agent = None
                servers, services, agents = [], [], []
                for script in scripts:
                    server = TroubleServer(tls)
                    server.script = script
                    if tls is not None:
                        agent = PooledAgent(
                            reactor, trust_root=self.authority.trust_root
                        )
                        agents.append(agent)
                    services.append(self.service(server.url, agent=agent))
                    servers.append(server)
                before = resident()
                with logged() as log:
                    for service in services:
                        service.count("a")
                    await deferLater(reactor, 1.2, lambda: None)
                    for server, service in zip(servers, services, strict=True):
                        self.assertGreaterEqual(server.requests, 1)
                        self.assertGreaterEqual(service.health.retries, 1)
                        server.script = [reply()]
                    grown = (resident() - before) / 2**20
                    self.assertLess(grown, 16)
                    for service in services:
                        await service.flush()
                        self.assertEqual(service.health.delivered, 1)
                        await service.stopService()
                    for agent in agents:
                        await agent.close()
                    await deferLater(reactor, 0.05, lambda: None)
                    self.assertEqual([len(s.open) for s in servers], [0] * 7)
                for server in servers:
                    await server.stop()
                self.assertNotIn("canary-key", log.text)
            await deferLater(reactor, 0.1, lambda: None)

        return ensureDeferred(check())

    def test_12_no_key_without_trust(self) -> Any:
        """A server that is not trusted, or sends elsewhere, sees no key."""

        async def check() -> None:
            server = TroubleServer(self.authority.server_options("localhost"))
            other, redirecting = TroubleServer(), TroubleServer()
            location = f"Location: {other.url}/\r\n".encode()
            untrusting = self.service(server.url)
            untrusting.count("a")
            await deferLater(reactor, 0.6, lambda: None)
            self.assertEqual(server.received, b"")
            self.assertEqual(untrusting.health.pending, 1)
            await untrusting.stopService()
            for status in (301, 302, 303, 307, 308):
                redirecting.script = [reply(status, b"", location)]
                service = self.service(redirecting.url)
                service.count("a")
                await deferLater(reactor, 0.2, lambda: None)
                self.assertEqual(service.health.pending, 1)
                await service.stopService()
            self.assertGreaterEqual(redirecting.requests, 5)
            self.assertEqual((other.requests, other.received), (0, b""))
            for each in (server, other, redirecting):
                await each.stop()

        return ensureDeferred(check())

    def test_11_unknown_name(self) -> Any:
        """A name that is not found is an outage like any other."""

        async def check() -> None:
            service = self.service("http://nowhere.invalid")
            service.count("a")
            await deferLater(reactor, 0.7, lambda: None)
            self.assertEqual(service.health.pending, 1)
            self.assertGreaterEqual(service.health.retries, 1)
            await service.stopService()
            self.assertEqual(service.health.dropped, {"shutdown": 1})

        return ensureDeferred(check())
