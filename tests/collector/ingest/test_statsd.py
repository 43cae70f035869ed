"""
statsd's datagrams on the collector.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

from statsd import StatsClient
from treq import get
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.collectors import Collector
from tests.fixtures.support import logged, reactor
from txstathat.collector.archive.stats import Total
from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.statsd import REFUSED_SECONDS, StatsDIngest
from txstathat.collector.options import parse_statsd
from txstathat.collector.service import CannotListen, CollectorService
from txstathat.collector.tap import Options
from txstathat.errors import StoreBusy


class IngestTests(SynchronousTestCase):
    """
    ``StatsDIngest``, with an archive in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.collector = Collector(self)
        self.start()

    def start(self, **options: Any) -> None:
        parts = self.collector.parts
        add = options.pop("add", parts.archive.add)
        self.ingest = StatsDIngest(
            add, parts.keys, metrics=parts.metrics, reactor=self.clock, **options
        )
        self.ingest.startProtocol()

    def receive(self, *lines: bytes) -> None:
        for line in lines:
            self.ingest.datagramReceived(line, ("127.0.0.1", 1))
        self.clock.pump([1, 0.1, 0.1])

    def test_points(self) -> None:
        """Counters and timers become stats, stored once each interval."""
        self.receive(b"a:1|c", b"a:2|c|@0.5", b"t:5|ms", b"t:7|ms")
        self.assertEqual(
            self.collector.totals,
            {"a": Total("count", 1, 5), "t": Total("value", 2, 12)},
        )
        self.assertEqual(self.collector.parts.metrics.points, 3)
        self.assertEqual(self.ingest.lost, {})

    def test_other_kind(self) -> None:
        """
        A stat of the other kind costs no point of another stat. It is asked for again
        after a while only.
        """
        self.assertEqual(
            self.collector.ask("GET", f"/ez?ezkey={self.collector.ez}&stat=b&value=1")[
                0
            ],
            200,
        )
        with logged() as log:
            self.receive(*(b"%c:1|c" % name for name in b"abcdefg"))
        self.assertEqual(sorted(self.collector.totals), list("abcdefg"))
        self.assertEqual(self.ingest.lost, {"refused": 1})
        self.assertIn("'b'", log.text)
        batches = self.collector.parts.metrics.batches
        self.receive(b"a:1|c", b"b:1|c")
        self.assertEqual(self.collector.parts.metrics.batches, batches + 1)
        self.assertEqual(self.ingest.account()["points lost: refused"], 2)
        self.clock.advance(REFUSED_SECONDS)
        self.receive(b"b:1|c")
        self.assertEqual(self.ingest.lost, {"refused": 3})
        self.assertEqual(self.collector.totals["a"].sum, 2)

    def test_limits(self) -> None:
        """New stats beyond the key's limit of a day are lost, and the others stored."""
        limit = 3

        def add(batch: Any) -> Deferred[bool]:
            self.assertEqual(batch.api, "statsd")
            if len({point[1] for point in batch.points} | self.known) > limit:
                return fail(Refusal(429, "too many new stats today"))
            self.known |= {point[1] for point in batch.points}
            return self.collector.parts.archive.add(batch)

        self.known: set[str] = set()
        self.start(add=add)
        self.receive(*(b"%c:1|c" % name for name in b"abcdef"))
        self.assertEqual(len(self.collector.totals), limit)
        self.assertEqual(self.ingest.lost, {"refused": 3})

    def test_key(self) -> None:
        """Without the key points are lost, also when it is revoked meanwhile."""
        self.receive(b"a:1|c")
        self.collector.now(self.collector.parts.keys.revoke("first EZ key"))
        with logged() as log:
            self.receive(b"a:1|c")
        self.assertEqual(self.ingest.lost, {"key": 1})
        self.assertIn("there is no EZ key named 'first EZ key'", log.text)
        self.assertEqual(self.collector.totals, {"a": Total("count", 1, 1)})

    def test_busy(self) -> None:
        """Points that the store does not accept now are lost, and counted."""
        for error in (StoreBusy(1), Refusal(503, "later")):
            self.start(add=lambda _, error=error: fail(error))
            self.receive(b"a:1|c", b"b:1|c")
            self.assertEqual(self.ingest.lost, {"not stored": 2})

    def test_failure(self) -> None:
        """A failure that nobody expected is logged, and its points are lost."""
        self.start(add=lambda _: fail(ZeroDivisionError("canary")))
        self.receive(b"a:1|c")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.ingest.lost, {"not stored": 1})

    def test_close(self) -> None:
        """Closing waits for what is being stored."""
        written: Deferred[bool] = Deferred()
        self.start(add=lambda _: written)
        self.receive(b"a:1|c")
        self.ingest.stopProtocol()
        closed = Deferred.fromCoroutine(self.ingest.close())
        self.assertNoResult(closed)
        written.callback(True)
        self.successResultOf(closed)


class OptionTests(SynchronousTestCase):
    """
    ``--statsd``.
    """

    def test_parse(self) -> None:
        """Loopback is the default; another address must be named."""
        self.assertEqual(parse_statsd("udp:8125"), ("127.0.0.1", 8125))
        self.assertEqual(parse_statsd("udp:1:interface=0.0.0.0"), ("0.0.0.0", 1))
        self.assertEqual(parse_statsd(r"udp:1:interface=\:\:1"), ("::1", 1))

    def test_wrong(self) -> None:
        """Anything else is refused, with an example."""
        for text in ("8125", "tcp:8125", "udp:", "udp:65536", "udp:1:interface=host"):
            with self.assertRaisesRegex(ValueError, re.escape(text) + ".* udp:8125"):
                parse_statsd(text)

    def test_twist(self) -> None:
        """``twist stathat`` has the option, off by default, and checks it."""
        options = Options()
        options.parseOptions([])
        self.assertEqual(options["statsd"], "")
        Options().parseOptions(["--statsd", "udp:8125"])
        with self.assertRaisesRegex(UsageError, "--statsd: '8125' must be like"):
            Options().parseOptions(["--statsd", "8125"])


@inlineCallbacks
def until(done: Callable[[], bool]) -> Any:
    """Let the reactor run until something is done; the test's timeout ends it."""
    while not done():
        yield deferLater(reactor, 0.01)


class ServiceTests(ServiceCase):
    """
    A collector that receives statsd over real UDP, on SQLite.
    """

    @inlineCallbacks
    def test_udp(self) -> Any:
        """What a client sends is stored, the last of it at the end, and in /metrics."""
        yield self.start(statsd="udp:0")
        address = self.service.statsd_address
        self.assertEqual(address.host, "127.0.0.1")
        client = StatsClient("127.0.0.1", address.port)
        client.incr("signups", 3)
        client.timing("load", 320)
        client.set("users", "bob")
        yield until(lambda: self.parts.metrics.points == 2)
        response = yield get(
            f"{self.url}/metrics",
            auth=(self.keys["access token"], ""),
            persistent=False,
        )
        text = yield response.text()
        self.assertIn('txstathat_statsd_total{what="accepted"} 2.0', text)
        self.assertIn('txstathat_statsd_total{what="refused: set"} 1.0', text)
        self.assertIn('txstathat_statsd_total{what="dropped by the kernel"} 0.0', text)
        client.incr("last")
        yield until(lambda: self.parts.metrics.statsd()["datagrams"] == 4)
        yield self.service.stopService()
        self.assertIsNone(self.service.statsd_address)
        yield self.start()
        totals = yield self.totals()
        self.assertEqual(totals["signups"], Total("count", 1, 3))
        self.assertEqual(totals["load"], Total("value", 1, 320))
        self.assertEqual(totals["last"], Total("count", 1, 1))
        self.assertIsNone(self.service.statsd_address)

    @inlineCallbacks
    def test_warning(self) -> Any:
        """Another address than loopback logs a warning; loopback does not."""
        with logged() as log:
            yield self.start(statsd="udp:0:interface=0.0.0.0")
        self.assertIn("UDP carries no key", log.text)
        yield self.service.stopService()
        with logged() as log:
            yield self.start(statsd="udp:0")
        self.assertNotIn("UDP carries no key", log.text)

    @inlineCallbacks
    def test_cannot(self) -> Any:
        """A key that does not exist, or a port in use, ends the start, with a reason."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            for options, words in (
                ({"statsd": "udp:0", "statsd_key": "none"}, "keys add ez 'none'"),
                ({"statsd": f"udp:{port}"}, "cannot receive statsd: .*in use"),
            ):
                service = CollectorService(
                    "memory:", "tcp:0:interface=127.0.0.1", reactor=reactor, **options
                )
                ready = service.ready()
                service.startService()
                error = yield self.assertFailure(ready, CannotListen)
                self.assertRegex(str(error), words)
                yield service.stopService()

    def test_wrong(self) -> None:
        """An endpoint that is not valid is refused when the service is made."""
        with self.assertRaisesRegex(ValueError, "must be like udp:8125"):
            CollectorService("memory:", statsd="8125")
