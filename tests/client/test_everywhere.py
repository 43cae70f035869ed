"""
One object that can be used everywhere: what goes into a service, and in its place.
"""

from __future__ import annotations

import os
from dataclasses import fields
from functools import partial
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fixtures.delivery import MemoryServer, make_service, run
from tests.fixtures.support import logged
from txstathat import (
    DeliveryHealth,
    NullStatHat,
    Outcome,
    StatHatClosed,
    StatHatExport,
    StatHatService,
    blocking,
    service_from_env,
    stathat_from_env,
    txStatHat,
    txStatHatClassic,
)
from txstathat.client.health import ClientHealth
from txstathat.client.null import NullHealth
from txstathat.interfaces import IStatHatProvider
from txstathat.testing import FakeStatHat, MemoryStatHat


class NullTests(SynchronousTestCase):
    """
    The null object goes wherever a client or a service goes.
    """

    def test_it_has_all(self) -> None:
        """It has each public name of the clients and of the service."""
        null = NullStatHat()
        for kind in (txStatHat, txStatHatClassic, StatHatService):
            names = {name for name in dir(kind) if not name.startswith("_")}
            # Called by the package itself, at a fork and at the end of the process.
            names -= {"after_fork", "report_exit"}
            self.assertEqual([n for n in sorted(names) if not hasattr(null, n)], [])
        self.assertTrue(verifyObject(IStatHatProvider, null))
        self.assertTrue(IService.providedBy(null))

    def test_health(self) -> None:
        """Its health has all that a client's and a service's have, as at the start."""
        health = NullStatHat().health
        for other in (ClientHealth(), DeliveryHealth()):
            for field in fields(other):
                self.assertEqual(
                    getattr(health, field.name), getattr(other, field.name), field.name
                )
        self.assertEqual(health.lost, 0)
        self.assertEqual(str(health), "nothing is counted: no key is set")
        self.assertIsInstance(health, NullHealth)

    def test_as_a_service(self) -> None:
        """It is attached to a service tree, started, flushed and stopped, any often."""
        application, null = MultiService(), NullStatHat()
        null.setServiceParent(application)
        for _ in range(2):
            application.startService()
            self.assertTrue(null.running)
            self.assertTrue(self.successResultOf(null.flush()))
            self.successResultOf(application.stopService())
            self.assertFalse(null.running)

    def test_as_a_client(self) -> None:
        """It answers what a client answers."""
        null = NullStatHat()
        outcome: Outcome = self.successResultOf(null.send([]))
        self.assertTrue(outcome.accepted)
        self.assertIs(self.successResultOf(null.scoped("web1 ").count("a")), True)
        self.assertIsNone(self.successResultOf(null.close()))


class WithoutAKeyTests(SynchronousTestCase):
    """
    A service when no key is set.
    """

    def test_service(self) -> None:
        """The service of the environment's client counts, flushes and stops."""
        clock = Clock()
        service = StatHatService(stathat_from_env({}), clock=clock)
        self.assertIs(self.successResultOf(service.count("a")), True)
        self.assertIs(self.successResultOf(service.count("")), False)
        with logged() as log:
            service.startService()
        self.assertEqual(
            log.at_level("warn"),
            ["nothing that is counted will be sent: no key is set"],
        )
        self.successResultOf(service.value("b", 1))
        self.assertTrue(self.successResultOf(service.flush()))
        self.successResultOf(service.stopService())
        health = service.health
        self.assertEqual((health.recorded, health.refused, health.pending), (2, 1, 0))

    def test_the_spool_is_left_alone(self) -> None:
        """Nothing is written to the spool or taken from it, where nobody would send it."""
        clock, spool = Clock(), self.mktemp()
        server = MemoryServer(clock)
        server.mood = lambda: "away"
        keyed = make_service(clock, server, spool=spool)
        keyed.startService()
        keyed.count("a")
        keyed.stopService()
        run(clock, 8)
        before = sorted(os.listdir(spool))
        service = service_from_env({}, spool=spool, clock=clock)
        service.startService()
        service.count("b")
        self.successResultOf(service.flush())
        self.successResultOf(service.stopService())
        self.assertEqual(service.health.recovered, 0)
        self.assertEqual(sorted(os.listdir(spool)), before)
        server.mood = lambda: "ok"
        keyed = make_service(clock, server, spool=spool)
        keyed.startService()
        run(clock, 2)
        keyed.stopService()
        run(clock, 8)
        self.assertEqual(server.sums, {"a": 1})

    def test_service_from_env(self) -> None:
        """A service in any case; its settings are the service's."""
        for environ in ({}, {"TXSTATHAT_EZKEY": "canary-key"}):
            service = service_from_env(environ, interval=1, spool=self.mktemp())
            self.assertIsInstance(service, StatHatService)
            self.assertNotIn("canary", repr(service))
        self.assertRaises(ValueError, service_from_env, {}, interval=0)
        bad: Any = {"nonsense": 1}
        self.assertRaises(TypeError, service_from_env, {}, **bad)


class WrongClientTests(SynchronousTestCase):
    """
    What cannot be a service's client.
    """

    def test_wrong_clients(self) -> None:
        """A TypeError says what is wanted and what came, and never shows a key."""
        wrong: list[tuple[Any, str]] = [
            ("canary-key", "an object of type str: make a client with the key first"),
            (None, "None"),
            (txStatHat, "the class txStatHat"),
            (MemoryStatHat(), "an object of type MemoryStatHat"),
            (StatHatService(NullStatHat()), "an object of type StatHatService"),
            (blocking.txStatHat("canary-key"), "an object of type txStatHat"),
        ]
        for client, words in wrong:
            error = self.assertRaises(TypeError, StatHatService, client)
            self.assertIn("must be a txStatHat, a txStatHatClassic", str(error))
            self.assertTrue(str(error).endswith(f"not {words}"), str(error))
            self.assertNotIn("canary", str(error))


class LifeTests(SynchronousTestCase):
    """
    ``async with``, and a service that is started again.
    """

    def test_service(self) -> None:
        """A service is started and stopped by async with, also when something fails."""
        clock = Clock()
        server = MemoryServer(clock)
        service = make_service(clock, server)

        async def use() -> None:
            async with service as stats:
                self.assertIs(stats, service)
                self.assertTrue(stats.running)
                await stats.count("a")
                raise KeyError("canary")

        used = Deferred.fromCoroutine(use())
        run(clock, 8)
        self.failureResultOf(used, KeyError)
        self.assertEqual(server.sums, {"a": 1})
        self.assertFalse(service.running)
        self.assertIs(self.successResultOf(service.count("a")), False)

    def test_clients(self) -> None:
        """Clients, the export and the null object are closed by async with."""
        fake = FakeStatHat()
        settings: Any = {"agent": fake.agent, "reactor": Clock()}

        async def use(client: Any, call: Any) -> None:
            async with client as same:
                self.assertIs(same, client)
                await call()
            await call()

        for client in (
            txStatHat("key", False, **settings),
            txStatHatClassic("key", False, **settings),
        ):
            used = Deferred.fromCoroutine(use(client, partial(client.count, "a")))
            self.failureResultOf(used, StatHatClosed)
        self.assertEqual(len(fake.points), 2)
        export = StatHatExport("token", **settings)
        opened = Deferred.fromCoroutine(use(export, lambda: succeed(None)))
        self.successResultOf(opened)
        self.failureResultOf(export.stats(), StatHatClosed)
        null = NullStatHat()
        self.successResultOf(
            Deferred.fromCoroutine(use(null, partial(null.count, "a")))
        )

    def test_restart(self) -> None:
        """A service that was stopped raises at once when it is started again."""
        clock = Clock()
        service = make_service(clock, MemoryServer(clock))
        for _ in range(2):
            service.startService()
        self.assertTrue(service.running)
        service.stopService()
        run(clock, 8)
        error = self.assertRaises(StatHatClosed, service.startService)
        self.assertIn("make a new StatHatService", str(error))
        self.assertFalse(service.running)
        never = make_service(clock, MemoryServer(clock))
        never.stopService()
        self.assertRaises(StatHatClosed, never.startService)

    def test_moved_to_another_parent(self) -> None:
        """So does one that is moved to another parent, which stops it first."""
        clock = Clock()
        one, other = MultiService(), MultiService()
        one.startService()
        other.startService()
        service = make_service(clock, MemoryServer(clock))
        service.setServiceParent(one)
        service.disownServiceParent()
        run(clock, 8)
        self.assertRaises(StatHatClosed, service.setServiceParent, other)
