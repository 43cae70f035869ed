"""
Prometheus: counts that it can read, the page that it reads, and its metrics as counts.
"""

from __future__ import annotations

import gzip
from base64 import b64encode
from decimal import Decimal
from threading import Thread
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fixtures.support import logged, reactor
from txstathat.errors import InvalidPoint
from txstathat.instruments import MeasuredResource
from txstathat.integrations.prometheus import (
    MetricsResource,
    PrometheusBridge,
    PrometheusStats,
)
from txstathat.integrations.prometheus.names import metric_name
from txstathat.interfaces import IKickProvider, IStatHatProvider
from txstathat.testing import MemoryStatHat


class PrometheusStatsTests(SynchronousTestCase):
    """What is in the registry after a count, a value, a kick."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.stats = PrometheusStats(self.registry, ignore_errors=False)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def refused(self, deferred: Any) -> str:
        return str(self.failureResultOf(deferred, InvalidPoint).value)

    def test_interfaces(self) -> None:
        """It is an IStatHat and an IKick."""
        verifyObject(IStatHatProvider, self.stats)
        verifyObject(IKickProvider, self.stats)

    def test_count(self) -> None:
        """Counts of a stat add up in one counter, whatever number they are."""
        for count in (1, 2.5, Decimal("0.5"), 0):
            self.assertIs(self.successResultOf(self.stats.count("a b", count)), True)
        self.stats.tick("a b")
        self.assertEqual(self.sample("a_b_total"), 5)

    def test_value(self) -> None:
        """Values of a stat are one summary: how many, and their sum."""
        for value in (1.5, -4, 0.5):
            self.successResultOf(self.stats.value("load", value))
        self.assertEqual(self.sample("load_count"), 3)
        self.assertEqual(self.sample("load_sum"), -2)

    def test_several_stats(self) -> None:
        """PREFIX~A,B counts in both."""
        self.successResultOf(self.stats.count("hits~all,new", 2))
        self.assertEqual(self.sample("hits_all_total"), 2)
        self.assertEqual(self.sample("hits_new_total"), 2)

    def test_kick(self) -> None:
        """A kick is a summary whose labels are the axes; what is not known is empty."""
        kick = self.stats.kick
        self.successResultOf(kick(2, page="/", browser="ff"))
        self.successResultOf(kick(3, page="/", browser="ff"))
        self.successResultOf(kick(page=("a", "b"), browser=None))
        self.assertEqual(self.sample("kicks_sum", page="/", browser="ff"), 5)
        self.assertEqual(self.sample("kicks_count", page="/", browser="ff"), 2)
        self.assertEqual(self.sample("kicks_count", page="a/b", browser=""), 1)
        self.assertIn("os", self.refused(kick(os="linux")))

    def test_many_label_sets(self) -> None:
        """Combinations of choices beyond the bound are one, named other."""
        stats = PrometheusStats(self.registry, axes=("n",), max_label_sets=2)
        for n in range(5):
            self.successResultOf(stats.kick(n=n))
        self.assertEqual(self.sample("kicks_count", n="1"), 1)
        self.assertEqual(self.sample("kicks_count", n="other"), 3)

    def test_names(self) -> None:
        """Names become legal in the one way that is documented."""
        for stat, name in (
            ("load user ms", "load_user_ms"),
            ("GET /users/<int:id> 2xx", "GET_users_int_id_2xx"),
            ("5xx", "_5xx"),
            ("größe", "gru00f6u00dfe"),
            ("...", "_"),
            ("a:b__c", "a_b__c"),
        ):
            self.assertEqual(metric_name(stat), name)
            self.successResultOf(self.stats.count(stat))
            self.assertEqual(self.sample(f"{name}_total"), 1)

    def test_prefix_and_total(self) -> None:
        """A prefix is put before each name; _total is there once."""
        stats = PrometheusStats(self.registry, prefix="shop_")
        stats.count("sold total")
        stats.count("sold")
        self.assertEqual(self.sample("shop_sold_total"), 2)

    def test_invalid_points(self) -> None:
        """What is no valid point is refused, never raised, and changes nothing."""
        for stat, count in (
            ("", 1), ("a", True), ("a", float("nan")), ("a", "1"), ([], 1),
            (None, 1), ("a", -1), ("a", 2**63), ("a\n", 1), ("x" * 256, 1),
        ):  # fmt: skip
            self.refused(self.stats.count(stat, count))
        self.refused(self.stats.value("a", float("inf")))
        self.refused(self.stats.count("a", t=1e15))
        self.assertEqual(self.stats.refused, 12)
        self.assertEqual([*self.registry.collect()], [])

    def test_ignored(self) -> None:
        """By default a refused point is False, is counted, and the first is logged."""
        stats = PrometheusStats(self.registry)
        with logged() as log:
            for _ in range(3):
                self.assertIs(self.successResultOf(stats.count("a", -1)), False)
        self.assertEqual(stats.refused, 3)
        (line,) = log.at_level("warn")
        self.assertIn("below 0", line)
        self.refused(stats.count("a", -1, ignore_errors=False))

    def test_one_name_for_two(self) -> None:
        """Counting and measuring under one name is refused; so is a taken name."""
        self.stats.count("a")
        self.assertIn("another name", self.refused(self.stats.value("a", 1)))
        Gauge("mine", "The program's own.", registry=self.registry)
        self.assertIn("mine", self.refused(self.stats.value("mine", 1)))
        self.assertEqual(self.sample("a_total"), 1)

    def test_many_metrics(self) -> None:
        """Stats beyond the bound are refused; those that are there go on."""
        stats = PrometheusStats(self.registry, max_metrics=3, ignore_errors=False)
        for n in range(3):
            self.successResultOf(stats.count(f"n{n}"))
        self.assertIn("max_metrics", self.refused(stats.count("n3")))
        self.assertIn("max_metrics", self.refused(stats.value("n3", 1)))
        self.successResultOf(stats.count("n0"))

    def test_threads(self) -> None:
        """Threads that count the same new stats lose nothing."""

        def count() -> None:
            for n in range(2000):
                self.stats.count(f"n{n % 50}")

        threads = [Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.stats.refused, 0)
        for n in range(50):
            self.assertEqual(self.sample(f"n{n}_total"), 160)


class Broken:
    """A collector that raises."""

    def collect(self) -> Any:
        raise RuntimeError("canary")

    def describe(self) -> Any:
        return []


class MetricsResourceTests(TestCase):
    """The page, asked for over HTTP and read by prometheus_client's own parsers."""

    timeout = 30

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.stats = PrometheusStats(self.registry)
        self.agent = Agent(reactor)
        self.wrap: Any = lambda page: page

    async def get(
        self, query: str = "", method: str = "GET", options: Any = None, **headers: str
    ) -> Any:
        root = Resource()
        page = MetricsResource(self.registry, **(options or {}))
        verifyObject(IResource, page)
        root.putChild(b"metrics", self.wrap(page))
        port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        try:
            url = f"http://127.0.0.1:{port.getHost().port}/metrics{query}"
            response = await self.agent.request(
                method.encode(),
                url.encode(),
                Headers({k.replace("_", "-"): [v] for k, v in headers.items()}),
            )
            self.body = await readBody(response)
        finally:
            await port.stopListening()
        return response

    def header(self, response: Any, name: str) -> Any:
        return (response.headers.getRawHeaders(name) or [None])[0]

    async def test_text(self) -> None:
        """Without a wish it is the text format, and holds what was counted."""
        self.stats.count("sold books", 3)
        self.stats.value("load", 1.5)
        response = await self.get()
        self.assertIn("text/plain", self.header(response, "Content-Type"))
        families = {f.name: f for f in parse_text(self.body.decode())}
        self.assertEqual(families["sold_books"].samples[0].value, 3)
        self.assertEqual(families["load"].type, "summary")
        self.assertEqual({s.value for s in families["load"].samples}, {1, 1.5})

    async def test_openmetrics(self) -> None:
        """A request that prefers OpenMetrics gets it."""
        self.stats.count("sold books", 3)
        self.stats.kick(2, kind='a "quoted"\nchoice')
        response = await self.get(
            Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        )
        self.assertIn("openmetrics", self.header(response, "Content-Type"))
        families = {f.name: f for f in parse_openmetrics(self.body.decode())}
        self.assertEqual(families["sold_books"].type, "counter")
        (labels,) = {s.labels["kind"] for s in families["kicks"].samples}
        self.assertEqual(labels, 'a "quoted"\nchoice')

    async def test_kicks_of_requests(self) -> None:
        """A MeasuredResource kicks PrometheusStats as it kicks a Metrica."""
        stats = PrometheusStats(self.registry, kick_name="requests ms")
        self.wrap = lambda page: MeasuredResource(page, metrica=stats)
        await self.get()
        await self.get()
        families = {f.name: f for f in parse_text(self.body.decode())}
        family = families["requests_ms"]
        labels = {**family.samples[0].labels}
        self.assertIn("MetricsResource", labels.pop("view"))
        self.assertEqual(labels, {"method": "GET", "status": "2xx", "exception": ""})
        values = {sample.name: sample.value for sample in family.samples}
        self.assertEqual(values["requests_ms_count"], 1)
        self.assertGreater(values["requests_ms_sum"], 0)

    async def test_names(self) -> None:
        """name[] picks metrics."""
        self.stats.count("a")
        self.stats.count("b")
        await self.get("?name[]=a_total")
        self.assertIn(b"a_total 1.0", self.body)
        self.assertNotIn(b"b_total", self.body)

    async def test_gzip(self) -> None:
        """A long page is compressed, for those who allow it and for no one else."""
        for n in range(30):
            self.stats.count(f"stat {n}")
        await self.get(Accept_Encoding="identity")
        plain = self.body
        for allowed in ("gzip", "br, GZIP;q=0.5", "*"):
            response = await self.get(Accept_Encoding=allowed)
            self.assertEqual(self.header(response, "Content-Encoding"), "gzip")
            self.assertIn("Accept-Encoding", self.header(response, "Vary"))
            self.assertEqual(gzip.decompress(self.body), plain)
        for not_allowed in ("gzip;q=0", "br", "gzip;q=x", "*, gzip;q=0.0"):
            response = await self.get(Accept_Encoding=not_allowed)
            self.assertIsNone(self.header(response, "Content-Encoding"))
            self.assertEqual(self.body, plain)

    async def test_methods(self) -> None:
        """HEAD has the headers and no body; POST is not allowed."""
        self.stats.count("a")
        response = await self.get(method="HEAD")
        self.assertEqual((response.code, self.body), (200, b""))
        self.assertIn("text/plain", self.header(response, "Content-Type"))
        response = await self.get(method="POST")
        self.assertEqual(response.code, 405)

    async def test_token(self) -> None:
        """With a token only a request that has it sees anything."""
        self.stats.count("secret")
        options = {"token": "canary-töken"}
        for shown in (None, "Bearer wrong", "Bearer", "canary-töken", "Basic !!!"):
            headers = {} if shown is None else {"Authorization": shown}
            response = await self.get(options=options, **headers)
            self.assertEqual(response.code, 401)
            self.assertEqual(
                self.header(response, "WWW-Authenticate"), 'Bearer realm="metrics"'
            )
            self.assertNotIn(b"secret", self.body)
            self.assertNotIn(b"canary", self.body)
        response = await self.get(options=options, Authorization="bearer canary-töken")
        self.assertEqual(response.code, 200)
        self.assertIn(b"secret_total", self.body)

    async def test_basic(self) -> None:
        """Basic credentials, alone or beside a token, either of which is enough."""
        options = {"basic": ("prom", "pass:word"), "token": "t"}

        def basic(text: str) -> str:
            return "Basic " + b64encode(text.encode()).decode()

        for allowed in (basic("prom:pass:word"), "Bearer t"):
            response = await self.get(options=options, Authorization=allowed)
            self.assertEqual(response.code, 200)
        for wrong in (basic("prom:wrong"), basic("prom"), "Bearer prom:pass:word"):
            response = await self.get(options=options, Authorization=wrong)
            self.assertEqual(response.code, 401)
        self.assertEqual(
            self.header(response, "WWW-Authenticate"),
            'Basic realm="metrics", Bearer realm="metrics"',
        )

    def test_guessable(self) -> None:
        """Secrets that anybody could guess are refused when the page is made."""
        for options in ({"token": ""}, {"basic": ("a", "")}, {"basic": ("a:b", "c")}):
            self.assertRaises(ValueError, MetricsResource, self.registry, **options)

    async def test_broken_collector(self) -> None:
        """A collector that raises is a 500 that says where to look, and a log line."""
        self.registry.register(Broken())
        response = await self.get()
        self.assertEqual(response.code, 500)
        self.assertNotIn(b"canary", self.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


@implementer(IStatHatProvider)
class LosingStats:
    """Loses each point: by a Deferred that fails, or by raising."""

    def __init__(self, raises: bool = False) -> None:
        self.raises = raises
        self.points: list[Any] = []

    def count(self, stat: str, count: Any = 1, **options: Any) -> Any:
        self.points.append(count)
        if self.raises:
            raise RuntimeError
        return fail(RuntimeError())

    value = tick = count


class PrometheusBridgeTests(SynchronousTestCase):
    """What is sent of a registry, turn by turn."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)

    def bridge(self, stats: Any = None, **options: Any) -> PrometheusBridge:
        bridge = PrometheusBridge(
            stats or self.stats, self.registry, 10, reactor=self.clock, **options
        )
        bridge.startService()
        self.addCleanup(lambda: bridge.running and bridge.stopService())
        return bridge

    def turn(self) -> dict[str, Any]:
        self.stats.points.clear()
        self.clock.advance(10)
        return {**self.stats.counts, **self.stats.values}

    def test_counter(self) -> None:
        """A counter is sent as what it rose since the last time, by its labels."""
        counter = Counter("hits", "", ["code", "method"], registry=self.registry)
        self.bridge()
        counter.labels("200", "GET").inc(3)
        self.assertEqual(self.turn(), {"hits code=200 method=GET": 3})
        self.assertEqual(self.turn(), {})
        counter.labels("200", "GET").inc(0.5)
        counter.labels("404", "GET").inc()
        self.assertEqual(
            self.turn(),
            {"hits code=200 method=GET": 0.5, "hits code=404 method=GET": 1},
        )

    def test_what_was_there_before(self) -> None:
        """What a counter held at the start is not sent: an earlier run may have."""
        counter = Counter("hits", "", registry=self.registry)
        counter.inc(100)
        self.bridge()
        self.assertEqual(self.turn(), {})
        counter.inc()
        self.assertEqual(self.turn(), {"hits": 1})

    def test_gauge(self) -> None:
        """A gauge is a value each time; what is not finite is left out."""
        gauge = Gauge("queue", "", registry=self.registry)
        gauge.set(7)
        self.bridge(prefix="web1 ")
        self.assertEqual(self.turn(), {"web1 queue": [7]})
        self.assertEqual(self.turn(), {"web1 queue": [7]})
        gauge.set(float("nan"))
        self.assertEqual(self.turn(), {})

    def test_summary_and_histogram(self) -> None:
        """How many observations there were, and their average since the last time."""
        summary = Summary("summary_s", "", registry=self.registry)
        histogram = Histogram("histogram_s", "", registry=self.registry)
        summary.observe(50)
        histogram.observe(50)
        self.bridge()
        summary.observe(1)
        summary.observe(2)
        histogram.observe(3)
        self.assertEqual(
            self.turn(),
            {
                "summary_s count": 2,
                "summary_s": [1.5],
                "histogram_s count": 1,
                "histogram_s": [3],
            },
        )
        self.assertEqual(self.turn(), {})

    def test_others(self) -> None:
        """Info and state metrics are not sent, nor what is not selected."""
        Info("build", "", registry=self.registry).info({"version": "1"})
        Enum("state", "", states=["on", "off"], registry=self.registry)
        Gauge("python_a", "", registry=self.registry)
        Gauge("b", "", registry=self.registry)
        self.bridge(select=lambda name: not name.startswith("python_"))
        self.assertEqual(self.turn(), {"b": [0]})

    def test_reset(self) -> None:
        """After a reset what the counter holds counts: nothing twice, none negative."""
        counter = Counter("hits", "", registry=self.registry)
        counter.inc(10)
        self.bridge()
        counter.inc(5)
        self.assertEqual(self.turn(), {"hits": 5})
        counter.reset()
        counter.inc(2)
        self.assertEqual(self.turn(), {"hits": 2})
        # Beyond what it held before: only the time of creation tells.
        counter.reset()
        counter.inc(7)
        self.assertEqual(self.turn(), {"hits": 7})

    def test_reset_without_times(self) -> None:
        """A counter that says no time of creation was reset when it fell."""
        held = {"value": 10.0}

        class Source:
            def collect(self) -> Any:
                yield CounterMetricFamily("hits", "", value=held["value"])

        self.registry.register(Source())
        self.bridge()
        for value, sent in (
            (12, {"hits": 2}),
            (3, {"hits": 3}),
            (0, {}),
            (1, {"hits": 1}),
        ):
            held["value"] = value
            self.assertEqual(self.turn(), sent)

    def test_restart(self) -> None:
        """Stopping sends the rest; starting again goes on where it stopped."""
        counter = Counter("hits", "", registry=self.registry)
        bridge = self.bridge()
        counter.inc(2)
        bridge.stopService()
        self.assertEqual(self.stats.counts, {"hits": 2})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        counter.inc(3)
        bridge.startService()
        self.assertEqual(self.turn(), {"hits": 3})

    def test_lost(self) -> None:
        """An amount that is lost is counted as a loss, and never sent again."""
        for stats in (LosingStats(), LosingStats(raises=True)):
            self.registry = CollectorRegistry()
            counter = Counter("hits", "", registry=self.registry)
            bridge = self.bridge(stats)
            counter.inc(2)
            self.turn()
            counter.inc(3)
            self.turn()
            self.assertEqual(stats.points, [2, 3])
            self.assertEqual(bridge.losses.total, 2)

    def test_broken_collector(self) -> None:
        """A collector that raises is a loss; the first whole reading is where it begins."""
        broken = Broken()
        self.registry.register(broken)
        counter = Counter("hits", "", registry=self.registry)
        counter.inc(100)
        bridge = self.bridge()
        self.assertEqual(self.turn(), {})
        self.assertEqual(bridge.losses.total, 2)
        self.registry.unregister(broken)
        self.assertEqual(self.turn(), {})
        counter.inc()
        self.assertEqual(self.turn(), {"hits": 1})

    def test_many_series(self) -> None:
        """Series beyond the bound are not sent, and one line in the log says so."""
        gauge = Gauge("n", "", ["n"], registry=self.registry)
        for n in range(5):
            gauge.labels(n).set(n)
        with logged() as log:
            self.bridge(max_series=2)
            self.assertEqual(self.turn(), {"n n=0": [0], "n n=1": [1]})
        self.assertEqual(len(log.at_level("warn")), 1)

    def test_circle(self) -> None:
        """Sending a registry to itself is refused, and so is an interval of 0."""
        stats = PrometheusStats(self.registry)
        error = self.assertRaises(ValueError, self.bridge, stats)
        self.assertIn("another registry", str(error))
        self.assertRaises(ValueError, PrometheusBridge, self.stats, self.registry, 0)
