"""
statsd's datagrams, from the clients that programs use, over UDP.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from datadog.dogstatsd import DogStatsd
from statsd import StatsClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.delivery import FULL
from tests.fixtures.support import logged, reactor
from txstathat.datagrams import MAX_UNREAD, SEND_AT
from txstathat.integrations.statsd import StatsDReceiver
from txstathat.points.statsd import MAX_LINES, MAX_NAMES, MAX_PENDING
from txstathat.testing import MemoryStatHat

#: How many datagrams the flood sends.
DATAGRAMS = 100_000 if FULL else 5_000


class ReceiverTests(SynchronousTestCase):
    """
    ``StatsDReceiver``, with datagrams and time given by hand.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat()

    def start(self, **options: Any) -> StatsDReceiver:
        stats = options.pop("stats", self.stats)
        receiver = StatsDReceiver(stats, reactor=self.clock, **options)
        receiver.startProtocol()
        return receiver

    def receive(self, receiver: StatsDReceiver, *datagrams: bytes) -> None:
        for each in datagrams:
            receiver.datagramReceived(each, ("127.0.0.1", 1))

    def test_interval(self) -> None:
        """Each interval sends one count for each counter; a quiet one sends nothing."""
        receiver = self.start(interval=2, prefix="app.")
        self.receive(receiver, b"a:1|c", b"a:2|c", b"t:5|ms")
        self.clock.advance(1.9)
        self.assertEqual(self.stats.points, [])
        self.clock.advance(0.1)
        self.assertEqual(self.stats.counts, {"app.a": 3})
        self.assertEqual(self.stats.values, {"app.t": [5]})
        self.assertEqual(len(self.stats.points), 2)
        self.clock.advance(2)
        self.assertEqual(len(self.stats.points), 2)

    def test_stop(self) -> None:
        """The end of the port sends the rest, and leaves no timer behind."""
        receiver = self.start()
        self.receive(receiver, b"a:1|c")
        receiver.stopProtocol()
        self.assertEqual(self.stats.counts, {"a": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        receiver.stopProtocol()

    def test_flood(self) -> None:
        """
        A flood of values and of new names within an interval is held within limits:
        values are sent early, and further names are refused and counted.
        """
        receiver = self.start()
        for n in range(30_000):
            self.receive(receiver, b"t:%d|ms" % n, b"name%d:1|c" % n)
            self.assertLess(receiver.reader.pending, SEND_AT + MAX_LINES)
        self.clock.advance(1)
        self.assertEqual(len(self.stats.counts), MAX_NAMES - 1)
        account = receiver.account()
        self.assertEqual(account["datagrams"], 60_000)
        self.assertEqual(account["refused: too many names"], 30_000 - MAX_NAMES + 1)
        self.assertEqual(account["accepted"], 30_000 + MAX_NAMES - 1)

    def test_large_datagrams(self) -> None:
        """Datagrams full of values do not hold more of them than the limit."""
        receiver = self.start()
        self.receive(receiver, *[b"t:" + b"1:" * 4000 + b"1|ms"] * (MAX_UNREAD - 1))
        self.assertEqual(self.stats.points, [])
        self.clock.advance(1)
        self.assertLessEqual(len(self.stats.points), MAX_PENDING)
        account = receiver.account()
        self.assertEqual(
            account["accepted"] + account["refused: too many values"], MAX_UNREAD - 1
        )

    def test_losses(self) -> None:
        """A point that is not accepted, or a stats object that raises, is a loss."""

        class Broken(MemoryStatHat):
            def count(self, *args: Any, **kwargs: Any) -> Any:
                raise RuntimeError("broken")

        receiver = self.start(stats=Broken())
        with logged() as log:
            self.receive(receiver, b"a:1|c", b"t:1|ms")
            self.clock.advance(1)
        self.assertEqual(receiver.account()["points lost"], 1)
        self.assertIn("StatsDReceiver: 1 points lost", log.text)
        self.receive(receiver, b"t:2|ms")
        self.clock.advance(1)
        self.assertEqual(receiver.account()["points lost"], 1)

    def test_interval_is_checked(self) -> None:
        """An interval must be above 0."""
        with self.assertRaisesRegex(ValueError, "above 0"):
            self.start(interval=0)


class ClientTests(TestCase):
    """
    Clients from PyPI, which send over loopback.
    """

    timeout = 300

    def listen(self, receiver: StatsDReceiver) -> int:
        self.receiver = receiver
        self.port = reactor.listenUDP(0, receiver, interface="127.0.0.1")
        self.addCleanup(lambda: self.port.stopListening())
        return self.port.getHost().port  # type: ignore[no-any-return]

    async def lines(self, count: int) -> None:
        """Wait until so many lines are read, or dropped by the kernel."""
        while self.receiver.account()["datagrams"] < count:
            await deferLater(reactor, 0.01)
            self.receiver.flush()

    async def test_statsd(self) -> None:
        """All that the client ``statsd`` sends arrives, also as a pipeline."""
        stats = MemoryStatHat()
        port = self.listen(StatsDReceiver(stats))
        client = StatsClient("127.0.0.1", port, prefix="app")
        client.incr("signups", 3)
        client.decr("signups")
        client.gauge("queue", 7)
        client.gauge("queue", -3, delta=True)
        client.timing("load", 320.5)
        with client.pipeline() as pipe:
            pipe.incr("piped")
            pipe.timing("load", 100)
        await self.lines(6)
        self.assertEqual(stats.values, {"app.queue": [7, 4], "app.load": [320.5, 100]})
        self.assertEqual(stats.counts, {"app.signups": 2, "app.piped": 1})
        self.assertEqual(self.receiver.account()["accepted"], 7)

    async def test_datadog(self) -> None:
        """All metrics of the client ``datadog`` arrive, with the tags asked for."""
        stats = MemoryStatHat()
        port = self.listen(StatsDReceiver(stats, tags=["env"]))
        client = DogStatsd(
            *("127.0.0.1", port),
            disable_telemetry=True,
            disable_buffering=True,
            constant_tags=["env:prod", "user:7"],
        )
        client.increment("signups", 3)
        client.decrement("signups")
        client.gauge("queue", 7)
        client.timing("load", 320)
        client.histogram("size", 1.5)
        client.distribution("spread", 2)
        client.set("users", "bob")
        client.event("title", "text")
        client.service_check("db", client.OK)
        await self.lines(9)
        self.assertEqual(
            stats.values,
            {
                "queue env:prod": [7],
                "load env:prod": [320],
                "size env:prod": [1.5],
                "spread env:prod": [2],
            },
        )
        self.assertEqual(stats.counts, {"signups env:prod": 2})
        self.assertEqual(self.receiver.reader.refused, {"set": 1, "event": 2})

    async def test_flood(self) -> None:
        """
        Every datagram of a flood is accounted for: it was accepted, refused, or dropped
        by the kernel before it was received.
        """
        stats = _Sums()
        port = self.listen(StatsDReceiver(stats))
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ("-m", "tests.fixtures.statsd_flood", str(port), str(DATAGRAMS)),
            env=None,
            path=str(ROOT),
        )
        self.assertEqual((code, err), (0, b""))
        sent = json.loads(out)
        await deferLater(reactor, 0.1)
        self.receiver.flush()
        account = self.receiver.account()
        dropped = account["dropped by the kernel"]
        refused = sum(n for what, n in account.items() if "refused" in what)
        self.assertGreaterEqual(sent["sent"], DATAGRAMS)
        self.assertEqual(account["datagrams"] + dropped, sent["sent"])
        self.assertEqual(account["accepted"] + refused, account["datagrams"])
        self.assertLessEqual(refused, sent["refused"])
        if not dropped:
            self.assertEqual(refused, sent["refused"])
        self.assertEqual(
            stats.sums["dog.count"] / 2 + stats.sums["etsy.count"] + stats.measured,
            account["accepted"],
        )
        self.assertEqual(account["points lost"], 0)
        if FULL:
            print(f"statsd flood: {account}")

    async def test_kernel_drops(self) -> None:
        """What the kernel drops while the reactor is busy is counted."""
        port = self.listen(StatsDReceiver(MemoryStatHat()))
        self.port.socket.setsockopt(1, 8, 2048)  # SOL_SOCKET, SO_RCVBUF
        client = StatsClient("127.0.0.1", port)
        for _ in range(1000):
            client.incr("a")
        await deferLater(reactor, 0.1)
        self.receiver.flush()
        account = self.receiver.account()
        self.assertGreater(account["dropped by the kernel"], 0)
        self.assertEqual(account["dropped by the kernel"] + account["accepted"], 1000)


class _Sums(MemoryStatHat):
    """
    Adds up counts, and counts values: a fake that stores all points would be large.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sums: dict[str, Any] = {}
        self.measured = 0

    def count(self, stat: str, count: Any = 1, **_: Any) -> Deferred[bool]:
        self.sums[stat] = self.sums.get(stat, 0) + count
        return succeed(True)

    def value(self, stat: str, value: Any, **_: Any) -> Deferred[bool]:
        self.measured += 1
        return succeed(True)
