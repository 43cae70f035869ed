"""
From before the reactor to after its end: what counts never raises, and loses nothing
without saying so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock, LoopingCall
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IResponse

from tests.fixtures import ROOT
from tests.fixtures.life_table import everything, table
from tests.fixtures.server_case import ServerTestCase
from tests.fixtures.support import logged, reactor
from txstathat import (
    InvalidPoint,
    StatHatClosed,
    StatHatService,
    txStatHat,
    txStatHatClassic,
)
from txstathat.http.early import EarlyCalls
from txstathat.http.shutdown import ShutdownWait
from txstathat.testing import FakeStatHat

EXAMPLES = ROOT / "examples"

#: What a child process needs: a client and a service, and no reactor so far.
MADE = """
import json, os, sys
from txstathat import StatHatService, txStatHat, txStatHatClassic
sh = txStatHat("key")
service = StatHatService(txStatHat("key"))
def installed():
    return "twisted.internet.reactor" in sys.modules
"""

BEFORE_A_REACTOR = (
    MADE
    + """
early = [sh.count("early") for _ in range(3)]
given_up = sh.count("given up")
given_up.addErrback(lambda failure: print(failure.type.__name__))
given_up.cancel()
sh.post([])
sh.value("bad", float("nan"))
sh.from_threads().count("thread")
service.count("service")
service.value("service value", 1)
service.from_threads().count("service thread")
service.flush()
assert not installed(), "a reactor was installed"
from twisted.internet import asyncioreactor
asyncioreactor.install()
from twisted.internet import reactor
def use():
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    sh.count("late").addCallback(lambda _: reactor.callLater(0, reactor.stop))
reactor.callWhenRunning(use)
reactor.run()
print(all(d.result is True for d in early))
"""
)

CLOSED_EARLY = (
    MADE
    + """
call = sh.count("a", ignore_errors=False)
call.addErrback(lambda failure: print(failure.getErrorMessage()))
sh.close().addCallback(lambda _: print("closed"))
assert not installed()
"""
)

BUSY_EARLY = (
    MADE
    + """
sh = txStatHat("key", max_waiting=2, max_connections=1)
calls = [sh.count("a", ignore_errors=False) for _ in range(4)]
calls[3].addErrback(lambda failure: print(failure.type.__name__))
print([call.called for call in calls])
"""
)

NEVER_SENT = MADE + 'sh.count("a"); sh.count("b")\n'

LAST_CALLS = """
from twisted.internet import reactor
from txstathat import txStatHat
sh = txStatHat("key", ignore_errors=False)
def use():
    for _ in range(20):
        sh.count("last")
    reactor.callLater(0, reactor.stop)
reactor.callWhenRunning(use)
reactor.run()
"""

TABLE_BEFORE = (
    MADE
    + """
from tests.fixtures.life_table import table
print(json.dumps(table(sh, service, txStatHatClassic("key"))))
assert not installed()
"""
)

TABLE_FORK = (
    MADE
    + """
from twisted.internet import reactor
from tests.fixtures.life_table import table
def fork():
    service.startService()
    read, write = os.pipe()
    if not os.fork():
        try:
            os.write(write, json.dumps(table(sh, service, txStatHatClassic("key"))).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as lines:
        print(lines.read())
    os.wait()
    service.stopService().addCallback(lambda _: reactor.stop())
reactor.callWhenRunning(fork)
reactor.run()
"""
)

IN_A_TASK = """
import asyncio
from txstathat import txStatHat
from txstathat.testing import FakeStatHat, MemoryStatHat
async def main():
    loop = asyncio.get_running_loop()
    from twisted.internet import asyncioreactor
    asyncioreactor.install(loop)
    for stats in (
        MemoryStatHat(),
        txStatHat("key", agent=FakeStatHat()),
        txStatHat("key", url="http://127.0.0.1:1"),
    ):
        try:
            await stats.count("a")
        except RuntimeError as error:
            print("asFuture" in str(error))
        if not str(stats).endswith(":1>"):
            print(await stats.count("a").asFuture(loop))
asyncio.run(main())
"""


class LifeTests(ServerTestCase):
    """Before the reactor and when it stops."""

    async def test_before_a_reactor(self) -> None:
        """Counting installs no reactor, and what was counted is sent once one is there."""
        out = await self.run_program("-c", BEFORE_A_REACTOR)
        self.assertEqual(out, "CancelledError\nTrue\n")
        expected = {
            "early": 3, "thread": 1, "late": 1,
            "service": 1, "service value": 1, "service thread": 1,
        }  # fmt: skip
        self.assertEqual(self.received.totals, expected)

    async def test_closed_before_a_reactor(self) -> None:
        """A client that is closed before there is a reactor lets its calls fail."""
        out = await self.run_program("-c", CLOSED_EARLY)
        self.assertIn("closed before the program had installed a reactor\nclosed", out)

    async def test_bounded_before_a_reactor(self) -> None:
        """As many calls wait for a reactor as may wait for a connection."""
        out = await self.run_program("-c", BUSY_EARLY)
        self.assertEqual(out, "StatHatBusy\n[False, False, False, True]\n")

    async def test_never_a_reactor(self) -> None:
        """A script that counts and runs no reactor says so when it ends."""
        _, err, _ = await getProcessOutputAndValue(
            sys.executable, ["-c", NEVER_SENT], env=self.environ
        )
        self.assertIn(f"calls to {self.url} were not sent", err.decode())
        self.assertIn("has not run a reactor: 2; scripts count with", err.decode())

    async def test_the_reactor_stops(self) -> None:
        """The reactor waits for calls in flight and in line before it stops."""
        await self.run_program("-c", LAST_CALLS)
        self.assertEqual(self.received.totals, {"last": 20})

    async def test_in_a_task(self) -> None:
        """asyncio's tasks cannot await a call, of a fake or a real client; futures can."""
        out = await self.run_program("-c", IN_A_TASK)
        self.assertEqual(out, "True\nTrue\nTrue\nTrue\nTrue\n")


class ShutdownWaitTests(SynchronousTestCase):
    """The trigger that waits for what is in progress."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.wait = ShutdownWait(1.0)

    def triggers(self) -> list[Any]:
        return list(self.reactor.triggers.get("before", {}).get("shutdown", []))

    def test_at_most_the_limit(self) -> None:
        """The reactor waits for the limit, and no longer."""
        self.wait.begin(self.reactor)
        ((trigger, arguments, named),) = self.triggers()
        waiting = trigger(*arguments, **named)
        self.reactor.advance(0.9)
        self.assertNoResult(waiting)
        self.reactor.advance(0.1)
        self.successResultOf(waiting)

    def test_until_the_end(self) -> None:
        """It goes on as soon as nothing is in progress, and no timer is left."""
        self.wait.begin(self.reactor)
        ((trigger, arguments, named),) = self.triggers()
        waiting = trigger(*arguments, **named)
        self.wait.end()
        self.successResultOf(waiting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_clock(self) -> None:
        """A clock does not stop: there is nothing to wait for."""
        self.wait.begin(Clock())
        self.wait.end()


class EarlyCallTests(SynchronousTestCase):
    """Calls that are held until there is a reactor."""

    def test_cancelled_when_made(self) -> None:
        """Cancelling a call that was held ends it too once it is made."""
        cancelled: list[Any] = []
        made: Deferred[None] = Deferred(cancelled.append)
        early: EarlyCalls[None] = EarlyCalls("http://localhost")
        held = early.hold(lambda: made)
        early.release()
        held.cancel()
        self.failureResultOf(held, CancelledError)
        self.assertEqual(cancelled, [made])


class TableTests(ServerTestCase):
    """Each way to count with each kind of object, in each state of the program."""

    def check(
        self, table: dict[str, dict[str, str]], service: str, client: str
    ) -> None:
        """
        No call has raised, and each has the documented result.

        :param service: the result of a good call of the service.
        :param client: the result of a good call of a client.
        """
        good = dict.fromkeys(table, client) | {"null": "True", "fake": "True"}
        good |= {"service": service, "scoped service": service}
        self.assertEqual(len(table), 8)
        for name, results in table.items():
            self.assertEqual(len(results), 18, name)
            for call, result in results.items():
                if call.startswith("thread"):
                    allowed = {"bool"}
                elif name == "null":
                    allowed = {"True"}
                elif call.startswith("strict"):
                    allowed = {"InvalidPoint", "StatHatClosed"}
                elif call.startswith("bad"):
                    allowed = {"False"}
                else:
                    allowed = {good[name]}
                self.assertIn(result, allowed, f"{name}: {call}")

    def make(self) -> tuple[txStatHat, StatHatService, txStatHatClassic]:
        # On a busy machine an answer may take longer than a program would wait.
        patient = {"url": self.url, "timeout": 100.0}
        client = txStatHat("key", **patient)
        service = StatHatService(txStatHat("key", **patient), shutdown_timeout=100)
        self.addCleanup(client.close)
        self.addCleanup(service.stopService)
        classic = txStatHatClassic("key", **patient)
        self.addCleanup(classic.close)
        return client, service, classic

    async def test_before_the_reactor_is_installed(self) -> None:
        """Services record, clients hold, and no reactor is installed."""
        out = await self.run_program("-c", TABLE_BEFORE)
        self.check(json.loads(out), service="True", client="pending")

    async def test_before_the_start(self) -> None:
        """A service records; a client sends."""
        self.check(table(*self.make()), service="True", client="pending")

    async def test_running(self) -> None:
        """A service records; a client sends, and all of it arrives."""
        client, service, classic = self.make()
        service.startService()
        self.check(table(client, service, classic), service="True", client="pending")
        await client.close()
        await classic.close()
        await service.stopService()
        # Each object counts twice, twice from a thread and twice by a bound stat.
        self.assertEqual(self.received.totals["a"], 6 * 4 + 6)
        self.assertEqual(self.received.totals["web1 a"], 6 * 2)
        self.assertEqual(client.health.swallowed.keys(), {"InvalidPoint"})

    async def test_after_the_stop(self) -> None:
        """Both refuse, in words that say why."""
        client, service, classic = self.make()
        service.startService()
        await client.close()
        await classic.close()
        await service.stopService()
        self.check(table(client, service, classic), service="False", client="False")
        error = await self.failure_of(client.count("a", ignore_errors=False))
        self.assertEqual(str(error), "the client is closed")
        error = await self.failure_of(service.count("a", ignore_errors=False))
        self.assertEqual(str(error), "the service has stopped")
        self.assertIs(service.from_threads().count("a"), False)
        self.assertIs(client.from_threads().count("a"), False)

    async def failure_of(self, call: Deferred[bool]) -> Exception:
        try:
            await call
        except StatHatClosed as error:
            return error
        raise AssertionError("it did not fail")

    async def test_after_a_fork(self) -> None:
        """A forked child of a started service: the service refuses, nothing raises."""
        out = await self.run_program("-c", TABLE_FORK)
        self.check(json.loads(out), service="False", client="pending")

    async def test_from_a_thread(self) -> None:
        """What from_threads() returns takes each call, and raises for none."""
        client, service, classic = self.make()
        service.startService()

        def count() -> list[bool]:
            taken = []
            for name, each in everything(client, service, classic).items():
                threads: Any = each.from_threads()
                if name != "classic":
                    taken += [threads.count("a"), threads.value("b", 1)]
                    taken += [
                        threads.tick("a"),
                        threads.count(7),
                        threads.value("", {}),
                    ]
            return taken

        self.assertEqual(await deferToThread(count), [True] * 35)
        await client.close()
        await service.stopService()
        # Five of the seven use the server; tee uses it twice.
        self.assertEqual(self.received.totals["a"], 8)
        self.assertEqual(self.received.totals["web1 a"], 4)


class ClientOfServiceTests(SynchronousTestCase):
    """What a service takes over from its client."""

    def test_ignore_errors(self) -> None:
        """With a strict client a call that is not recorded fails by default."""
        client = txStatHat("key", ignore_errors=False, agent=FakeStatHat())
        service = StatHatService(client, clock=Clock())
        self.failureResultOf(service.count(""), InvalidPoint)
        self.assertIs(
            self.successResultOf(service.count("", ignore_errors=True)), False
        )

    def test_health_shows_a_refused_key(self) -> None:
        """Printed health shows what is wrong when the key is."""
        clock = Clock()
        fake = FakeStatHat(lambda api, key: False)
        client = txStatHat("key", agent=fake, reactor=clock)
        service = StatHatService(client, clock=clock)
        service.startService()
        service.count("a")
        service.count("")
        clock.advance(4)
        text = str(service.health)
        self.assertIn("1 refused", text)
        self.assertIn("blocked: check the URL and the key", text)
        self.assertIn("last error: StatHatAPIError", text)


class OutageTests(SynchronousTestCase):
    """An outage in the log, as observers of every level see it."""

    def test_two_lines(self) -> None:
        """A service logs when it begins and when it ends, and nothing in between."""
        clock, fake = Clock(), FakeStatHat()
        client = txStatHat("key", agent=fake, reactor=clock)
        service = StatHatService(client, clock=clock)
        service.startService()
        fake.fail(ConnectionRefusedError, times=12)
        with logged() as log:
            for _ in range(2000):
                service.count("a")
                clock.advance(1)
        fake.verify()
        self.assertEqual(len(log.events), 2, log.text)
        self.assertIn("batches are not accepted", log.at_level("warn")[0])
        self.assertIn("batches are accepted again", log.at_level("warn")[1])
        self.successResultOf(service.stopService())


class LoopingCallTests(SynchronousTestCase):
    """A loop that counts."""

    def test_it_waits(self) -> None:
        """A LoopingCall waits for a Deferred that its function returns."""
        for returned, beats in ((True, 1), (False, 6)):
            clock, fake = Clock(), FakeStatHat()
            fake.hang(times=9)
            client = txStatHat("key", agent=fake, reactor=clock)

            def beat(
                client: txStatHat = client, returned: bool = returned
            ) -> Deferred[bool] | None:
                call = client.count("beats")
                return call if returned else None

            loop = LoopingCall(beat)
            loop.clock = clock
            loop.start(1)
            clock.pump([1] * 5)
            self.assertEqual(len(fake.requests), beats)
            loop.stop()
            client.close()
            clock.advance(1)


class ExampleTests(ServerTestCase):
    """Glue for other frameworks, as the documentation shows it."""

    async def serve(self, name: str) -> None:
        server = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name)],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            address = (await deferToThread(server.stdout.readline)).strip()
            for number in range(3):
                url = f"{address}books/{number}".encode()
                response: IResponse = await Agent(reactor).request(b"GET", url)
                self.assertEqual(await readBody(response), f"Book {number}".encode())
        finally:
            server.terminate()
            _, errors = await deferToThread(server.communicate)
        self.assertNotIn("Traceback", errors)
        self.assertEqual(self.received.totals, {"books shown": 3})

    async def test_klein(self) -> None:
        """A Klein site counts, and delivers before it ends."""
        await self.serve("klein_site.py")

    async def test_django(self) -> None:
        """So does a Django site in threads."""
        await self.serve("django_site.py")

    async def test_asyncio(self) -> None:
        """A program of asyncio's counts."""
        out = await self.run_program(str(EXAMPLES / "asyncio_program.py"))
        self.assertEqual(out, "counted: True\n")
        self.assertEqual(self.received.totals, {"visits": 1})


class LeakTests(ServerTestCase):
    """A client that a test did not close."""

    async def test_what_trial_names(self) -> None:
        """The timer that is left in the reactor names the package and the mistake."""
        client = txStatHat("key", url=self.url)
        await client.count("a")
        left = [str(call) for call in reactor.getDelayedCalls()]
        await client.close()
        self.assertIn("txstathat: a client was not closed", "".join(left))
