"""
Each public name in each state of a program: it gives the documented result, and does not
raise.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.trial.unittest import SynchronousTestCase

import txstathat
from tests.fixtures.server_case import ServerTestCase
from tests.fixtures.support import reactor
from tests.fixtures.surface import (
    blocking_objects,
    blocking_rows,
    calls_of,
    measure,
    names_of,
    objects,
    public_classes,
    public_functions,
    rows,
    shortcut_rows,
    table,
)
from txstathat import (
    Count,
    StatHatExport,
    StatHatService,
    blocking,
    tee,
    txStatHat,
    txStatHatClassic,
)
from txstathat.client.tee import Tee
from txstathat.client.threads import FromThreads
from txstathat.client.wrappable import ScopedStatHat
from txstathat.testing import FakeStatHat

Tables = dict[str, dict[str, str]]

#: Results that are the same in all states.
ALWAYS = {
    "check_stat": "None",
    "decode": "list",
    "describe_stat": "str",
    "encode": "list",
    "fingerprint": "str",
    "from_threads": "FromThreads",
    "scoped": "ScopedStatHat",
    "stat": "Stat",
    "stats_are_keys": "False",
    "swallows_errors": "True",
    "startService": "None",
    "stopService": "None",
    "close": "None",
}
#: What differs between the kinds of objects, in all states.
OF_KIND = {
    "null": {
        "flush": "NullFlushResult",
        "has_reactor": "True",
        "health": "NullHealth",
        "send": "Outcome accepted",
        "send_payload": "Outcome accepted",
    },
    "client": {"health": "ClientHealth", "has_reactor": "True"},
    "classic": {
        "health": "ClientHealth",
        "has_reactor": "True",
        # A private key has no prefix.
        "scoped": "raises: InvalidPoint",
        "stats_are_keys": "True",
    },
    "service": {"health": "DeliveryHealth", "flush": "FlushResult"},
    "client threads": {"scoped": "FromThreads"},
    "service threads": {"scoped": "FromThreads"},
}
COUNTING = ("count", "value", "tick", "post")
#: The objects whose calls are a service's.
OF_SERVICE = {"service", "scoped service", "bound service", "service threads"}
#: What the export's calls give, with the server's answer to each; in the order of names.
STAT = {"id": "1", "name": "a", "counter": True}
ALERT = {"id": "1", "stat_id": "1", "kind": "data", "time_window": "5m"}
EPISODE = {"episode": 1, "began": 1_500_000_000}
CHANNEL = {"name": "c", "kind": "ntfy", "address": "https://ntfy.sh/…"}
RESULT = {"channel": "c", "error": None}
TRASHED = {"id": "1", "name": "a", "deleted_at": 1, "until": 2}
DATASET = {"name": "a", "timeframe": "1w3h", "points": []}
FULL = {"Name": "a", "Timeframe": "1w3h", "Kind": "count", "Points": []}
READ: dict[str, tuple[str, Any]] = {
    "acknowledge_alert": ("Alert", ALERT),
    "add_note": ("None", {}),
    "alert": ("Alert", ALERT),
    "alert_history": ("list", [EPISODE]),
    "alerts": ("list", [ALERT]),
    "change_stat": ("StatInfo", STAT),
    "channels": ("list", [CHANNEL]),
    "create_alert": ("Alert", ALERT),
    "create_channel": ("ChannelInfo", CHANNEL),
    "data": ("list", [DATASET]),
    "delete": ("None", {}),
    "delete_alert": ("None", {}),
    "delete_channel": ("None", {}),
    "edit_alert": ("Alert", ALERT),
    "edit_channel": ("ChannelInfo", CHANNEL),
    "full_data": ("FullDataset", FULL),
    "purge": ("None", {}),
    "restore": ("None", {}),
    "silence_alert": ("Alert", ALERT),
    "stat": ("StatInfo", STAT),
    "stats": ("list", [STAT]),
    "summary": ("Summary", FULL),
    "test_alert": ("list", [RESULT]),
    "test_channel": ("DeliveryResult", RESULT),
    "trash": ("list", [TRASHED]),
}
MADE = {
    "service_from_env": "StatHatService",
    "stathat_from_env": "NullStatHat",
    "tee": "Tee",
}

CHILD = """
import json, os, sys
import txstathat
from txstathat import StatHatExport, StatHatService, txStatHat, txStatHatClassic
from tests.fixtures.surface import *
made = (
    txStatHat("key"), StatHatService(txStatHat("key")), txStatHatClassic("key"),
    StatHatExport("token"),
)
def tables(*without):
    every = objects(*made)
    result = {kind: table(rows(each, without)) for kind, each in every.items()}
    result["functions"] = table(shortcut_rows(txstathat, every["client"], every["service"]))
    return result
"""

BEFORE_A_REACTOR = (
    CHILD
    + """
results = tables("startService", "stopService", "close")
print(json.dumps(results))
ends = ("close", "stopService")
every = objects(*made).items()
print(json.dumps({
    kind: table({name: row for name, row in rows(each).items() if name in ends})
    for kind, each in every
}))
assert "twisted.internet.reactor" not in sys.modules, "a reactor was installed"
"""
)

IN_A_FORK = """
def in_a_fork(job):
    sys.stdout.flush()
    if not os.fork():
        try:
            print(json.dumps(job()), flush=True)
        finally:
            os._exit(0)
    os.wait()
"""

AFTER_A_FORK = (
    CHILD
    + IN_A_FORK
    + """
from twisted.internet import reactor
def fork():
    made[1].startService()
    in_a_fork(tables)
    made[1].stopService().addCallback(lambda _: reactor.stop())
reactor.callWhenRunning(fork)
reactor.run()
"""
)

BEFORE_A_START = (
    CHILD
    + IN_A_FORK
    + """
service = made[1]
service.from_threads().count("a")
in_a_fork(lambda: [service.flush().result.queued, service.from_threads().count("b")])
print(service.flush().result.queued)
"""
)

BLOCKING = (
    IN_A_FORK
    + """
import json, os, sys
from tests.fixtures.surface import *
url = os.environ["TXSTATHAT_URL"]
made = blocking_objects(url)
print(json.dumps(table(blocking_rows(made, url, "close"))))
in_a_fork(lambda: table(blocking_rows(made, url)))
for each in made.values():
    getattr(each, "close", lambda: None)()
print(json.dumps(table(blocking_rows(made, url))))
assert "twisted.internet.reactor" not in sys.modules, "a reactor was installed"
"""
)


class CompletenessTests(SynchronousTestCase):
    """No public name is missing from the tables."""

    def test_classes(self) -> None:
        """Each class that is exported is in the table, with each of its names."""
        clock = Clock()
        client = txStatHat("key", agent=FakeStatHat(), reactor=clock)
        service = StatHatService(client, clock=clock)
        classic = txStatHatClassic("key", agent=FakeStatHat(), reactor=clock)
        made = objects(client, service, classic, StatHatExport("token", reactor=clock))
        kinds = {type(each) for each in made.values()}
        self.assertEqual(
            kinds, public_classes(txstathat) | {Tee, ScopedStatHat, FromThreads}
        )
        waiting = blocking_objects("http://127.0.0.1:1").values()
        self.assertEqual({type(each) for each in waiting}, public_classes(blocking))
        for each in (*made.values(), *waiting):
            missing = set(names_of(type(each))) - set(calls_of(each))
            self.assertEqual(missing, set(), f"{type(each).__name__} without a call")

    def test_functions(self) -> None:
        """Each function that is exported is in the table."""
        made = shortcut_rows(txstathat, object(), object())
        self.assertEqual(set(made), public_functions(txstathat))
        self.assertEqual(
            set(shortcut_rows(blocking, None, None)), public_functions(blocking)
        )


class SurfaceTests(ServerTestCase):
    """What counts and reads with Deferreds."""

    def check(
        self, tables: Tables, *, client: str, service: str, **others: Any
    ) -> None:
        """
        Compare tables with what is documented.

        :param client: the result of counting with a client.
        :param service: the result of counting with a service.
        :param others: ``send``: the result of sending with a client; ``threads``: that
            of a service's ``from_threads()``, if it is not ``True``; ``export``: that of
            the export's calls; ``shortcut``: that of functions that count once; and
            ``more``: other results, by the kind and the name.
        """
        more = others.get("more", {})
        tables = {kind: dict(results) for kind, results in tables.items()}
        for name, result in tables.pop("functions", {}).items():
            expected = MADE.get(name, others.get("shortcut", client))
            self.assertEqual(result, expected, name)
        for name, result in tables.pop("export").items():
            expected = others["export"] or READ.get(name, ("None",))[0]
            expected = more.get(("export", name), expected)
            self.assertEqual(result, expected, f"export: {name}")
        for kind, results in tables.items():
            counted = service if kind in OF_SERVICE else client
            if kind.endswith(" threads"):
                counted = others.get(kind.replace(" ", "_"), "True")
            if kind == "null":
                counted = "True"
            known = ALWAYS | dict.fromkeys(COUNTING, counted)
            known |= dict.fromkeys(("send", "send_payload"), others["send"])
            known |= OF_KIND.get(kind, {})
            for name, result in results.items():
                expected = more.get((kind, name), known[name])
                self.assertEqual(result, expected, f"{kind}: {name}")

    def make(self, clock: Any, read: bool = True) -> tuple[dict[str, Any], FakeStatHat]:
        """
        Each kind of object, on a server in memory.

        :param read: whether the export gets the answers in ``READ``.
        """
        settings: dict[str, Any] = {"agent": FakeStatHat(), "reactor": clock}
        server = FakeStatHat()
        for _, answer in READ.values() if read else ():
            server.answer(200, json.dumps(answer))
        service = StatHatService(txStatHat("key", **settings), clock=clock)
        made = objects(
            txStatHat("key", **settings),
            service,
            txStatHatClassic("key", **settings),
            StatHatExport("token", agent=server, reactor=clock),
        )
        return made, server

    def tables(self, made: dict[str, Any], clock: Clock) -> Tables:
        """
        Make each call, and wait for what it waits for.
        """
        results = {kind: table(rows(each)) for kind, each in made.items()}
        settings = {"agent": FakeStatHat(), "reactor": clock}
        results["functions"] = table(
            shortcut_rows(txstathat, made["client"], made["service"], **settings)
        )
        clock.pump([0.5] * 20)
        return results

    async def test_before_the_reactor_is_installed(self) -> None:
        """Clients hold calls, services record, and nothing installs a reactor."""
        out = await self.run_program("-c", BEFORE_A_REACTOR)
        first, ends = out.splitlines()
        held = {(kind, "has_reactor"): "False" for kind in ("client", "classic")}
        tables = json.loads(first)
        self.check(
            tables,
            client="pending",
            service="True",
            send="pending",
            export="pending",
            # Nobody would use the client of a shortcut again.
            shortcut="False",
            more=held,
        )
        for kind, results in json.loads(ends).items():
            self.assertLessEqual(set(results.values()), {"None"}, kind)

    def test_before_the_start(self) -> None:
        """Clients send, and services record."""
        clock = Clock()
        made, server = self.make(clock)
        self.check(
            self.tables(made, clock),
            client="True", service="True", send="Outcome accepted", export=None,
        )  # fmt: skip
        server.verify()

    def test_running(self) -> None:
        """Clients send, and services record."""
        clock = Clock()
        made, server = self.make(clock)
        made["service"].startService()
        self.check(
            self.tables(made, clock),
            client="True", service="True", send="Outcome accepted", export=None,
        )  # fmt: skip
        server.verify()

    def test_after_the_stop(self) -> None:
        """All refuse; a service cannot be started again, and says so."""
        clock = Clock()
        made, _ = self.make(clock, read=False)
        made["service"].startService()
        self.successResultOf(made["service"].stopService())
        for kind in ("client", "classic", "export"):
            self.successResultOf(made[kind].close())
        self.check(
            self.tables(made, clock),
            client="False",
            service="False",
            send="Outcome retry",
            client_threads="False",
            service_threads="False",
            export="fails: StatHatClosed",
            shortcut="True",
            more={
                ("export", "close"): "None",
                ("service", "startService"): "raises: StatHatClosed",
            },
        )

    async def test_after_a_fork(self) -> None:
        """In a child of a started service it refuses; clients wait for the reactor."""
        out = await self.run_program("-c", AFTER_A_FORK)
        waiting = {(kind, "close"): "pending" for kind in ("client", "classic")}
        self.check(
            json.loads(out),
            client="pending",
            service="False",
            send="pending",
            service_threads="False",
            export="pending",
            more=waiting,
        )

    async def test_threads_before_a_fork(self) -> None:
        """What threads counted before the fork is the parent's; the child may count."""
        out = await self.run_program("-c", BEFORE_A_START)
        self.assertEqual(out, "[0, true]\n1\n")

    async def test_from_a_thread(self) -> None:
        """Threads make each call in the reactor's thread, and wait for it there."""
        made, server = self.make(reactor)
        made["service"].startService()
        self.addCleanup(made["service"].stopService)

        def use() -> Tables:
            return {
                kind: {
                    name: blockingCallFromThread(reactor, measure, row)
                    for name, row in rows(each).items()
                }
                for kind, each in made.items()
            }

        self.check(
            await deferToThread(use),
            client="True", service="True", send="Outcome accepted", export=None,
        )  # fmt: skip
        server.verify()


class BlockingSurfaceTests(ServerTestCase):
    """What counts with calls that block."""

    def check(self, results: dict[str, str], counted: str, sent: str) -> None:
        """
        :param counted: the result of counting with a client.
        :param sent: the result of its ``send``.
        """
        for call, result in results.items():
            kind, _, name = call.rpartition(" ")
            if name == "stathat_from_env":
                expected = "NullStatHat"
            elif not kind or (kind == "null" and name in COUNTING):
                expected = "True"
            else:
                expected = {
                    "send": sent, "close": "None", "health": "ClientHealth",
                    "stat": "BlockingStat",
                }.get(name, counted)  # fmt: skip
            self.assertEqual(result, expected, call)

    async def test_without_a_reactor(self) -> None:
        """Scripts need no reactor and no start; forks and ends are refused."""
        out = await self.run_program("-c", BLOCKING)
        running, forked, closed = map(json.loads, out.splitlines())
        self.check(running, "True", "Outcome accepted")
        self.check(forked, "False", "Outcome refused")
        self.check(closed, "False", "Outcome refused")

    async def test_from_a_thread(self) -> None:
        """A program with a reactor uses them from its threads."""
        made = blocking_objects(self.url)
        results = await deferToThread(lambda: table(blocking_rows(made, self.url)))
        self.check(results, "True", "Outcome accepted")


class AwaitTests(SynchronousTestCase):
    """What asyncio's tasks cannot await says what to do, whatever the call is."""

    def test_every_call(self) -> None:
        """The calls of clients, of what wraps them, and a flush are alike in this."""
        clock, fake = Clock(), FakeStatHat()
        client = txStatHat("key", agent=fake, reactor=clock)
        service = StatHatService(client, clock=clock)
        many = [Count("a")] * 1001
        null = txstathat.NullStatHat()
        calls = [
            client.count("a"),
            client.post(many),
            client.send(many),
            client.scoped("b ").count("a"),
            tee(client, null).count("a"),
            service.flush(),
            null.post([]),
            null.flush(),
            txstathat.ez_count("key", "a", agent=fake, reactor=clock),
        ]
        for call in calls:
            self.assertIn("asFuture", repr(call))

    def test_cancelled(self) -> None:
        """To cancel a call of several requests cancels them."""
        clock, fake = Clock(), FakeStatHat()
        fake.hang(times=2)
        client = txStatHat("key", agent=fake, reactor=clock)
        call = client.post([Count("a")] * 1001)
        call.cancel()
        self.failureResultOf(call)
        self.successResultOf(client.close())
        self.assertEqual(clock.getDelayedCalls(), [])
