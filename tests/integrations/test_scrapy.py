"""
Scrapy: real crawls of a local site, in processes of their own, that count over HTTP.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from unittest import SkipTest

import scrapy.crawler
from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.fixtures import ROOT
from tests.fixtures.support import logged, reactor
from txstathat.collector.web.site import CollectorSite
from txstathat.integrations.scrapy import StatHatExtension
from txstathat.testing import FakeStatHat, MemoryStatHat

PAGES = 8
ASYNCIO = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"


class Shelf(Resource):
    """Pages, each with a link to the next; the last links to one that is not there."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        number = int(request.path[1:] or b"1")
        if number > PAGES:
            request.setResponseCode(404)
            return b""
        page = f'<title>Book {number}</title><a href="/{number + 1}">next</a>'
        return page.encode()


class CrawlTests(TestCase):
    """What arrives at a StatHat when a spider runs with the extension."""

    timeout = 60

    def setUp(self) -> None:
        self.received = FakeStatHat(lambda api, key: key == "canary-key")
        self.site = self.listen(Site(Shelf()))
        self.stathat = self.listen(CollectorSite(self.received.resource, reactor))

    def listen(self, site: Any) -> str:
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def crawl(self, **settings: Any) -> str:
        """Crawl to the end, and return what was logged."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TXSTATHAT_EZKEY": "canary-key",
            "TXSTATHAT_URL": self.stathat,
        }
        out, err, status = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "tests.fixtures.scrapy_child", self.site, json.dumps(settings)],
            env=environ,
            path=str(ROOT),
        )
        log = (out + err).decode()
        self.assertEqual(status, 0, log)
        self.assertIn("'item_scraped_count': 8", log)
        self.assertNotIn("Traceback", log)
        self.assertNotIn("canary", log)
        return log

    def assert_counted(self) -> None:
        totals = self.received.summaries
        for stat, count in (
            ("item_scraped_count", PAGES),
            ("response_received_count", PAGES + 1),
            ("downloader/response_status_count/404", 1),
            ("finish_reason/finished", 1),
        ):
            self.assertEqual(totals[f"books {stat}"].sum, count, stat)
        self.assertGreater(totals["books elapsed_time_seconds"].sum, 0)
        self.assertNotIn("books start_time", totals)

    async def test_default(self) -> None:
        """
        With Scrapy's own choice of a reactor, asyncio's, and a client made from the
        environment, deltas arrive while the spider runs, and the rest at its end.
        """
        log = await self.crawl()
        self.assertIn(ASYNCIO, log)
        self.assertNotIn("deprecat", log.lower())
        self.assert_counted()
        points = self.received.summaries["books response_received_count"].points
        self.assertGreater(points, 1)
        depth = self.received.summaries["books request_depth_max"]
        self.assertLessEqual(depth.sum, depth.points * (PAGES + 1))

    async def test_service_and_another_reactor(self) -> None:
        """A service is started and stopped, on another reactor too."""
        log = await self.crawl(
            STATHAT_STATS="tests.fixtures.scrapy_child.make_service",
            TWISTED_REACTOR="twisted.internet.selectreactor.SelectReactor",
        )
        self.assertNotIn(ASYNCIO, log)
        self.assert_counted()

    async def test_stats_that_raise(self) -> None:
        """Stats that raise are losses: the crawl goes on to its end."""
        log = await self.crawl(STATHAT_STATS="tests.fixtures.scrapy_child.make_broken")
        self.assertRegex(log, "[0-9]+ points of the spider were lost, the last to Runt")
        self.assertIn("'finish_reason': 'finished'", log)

    async def test_refused(self) -> None:
        """A StatHat that refuses each point shows in Scrapy's log, without the key."""
        self.received = FakeStatHat(lambda api, key: False)
        self.stathat = self.listen(CollectorSite(self.received.resource, reactor))
        log = await self.crawl()
        self.assertRegex(log, "points of the spider were lost, the last to StatHatAPIE")

    async def test_no_reactor(self) -> None:
        """Without a reactor Scrapy leaves the extension out, and says why."""
        if not hasattr(scrapy.crawler, "AsyncCrawlerProcess"):
            raise SkipTest("this version of Scrapy always has a reactor")
        log = await self.crawl(TWISTED_REACTOR_ENABLED=False)
        self.assertIn("StatHatExtension needs a reactor", log)
        self.assertEqual(self.received.points, [])


class Crawler:
    """As much of a crawler as the extension looks at."""

    def __init__(self) -> None:
        self.stats = self
        self.numbers: dict[str, Any] = {}

    def get_stats(self) -> dict[str, Any]:
        return self.numbers


class Spider:
    name = "s"


class ExtensionTests(SynchronousTestCase):
    """What is sent of a crawl's stats, turn by turn."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.stats = MemoryStatHat(ignore_errors=False)
        self.crawler = Crawler()

    def extension(self, stats: Any = None, **options: Any) -> StatHatExtension:
        crawler: Any = self.crawler
        extension = StatHatExtension(
            crawler, lambda: stats or self.stats, reactor=self.clock, **options
        )
        spider: Any = Spider()
        extension.spider_opened(spider)
        return extension

    def test_deltas(self) -> None:
        """Counts are what they rose by; a fall and what is no number send nothing."""
        self.extension()
        for number, sent in (
            (3, {"s n": 3}),
            (5, {"s n": 2}),
            (1, {}),
            (2, {"s n": 1}),
        ):
            self.stats.points.clear()
            self.crawler.numbers = {"n": number, "ok": True, "text": "a"}
            self.clock.advance(60)
            self.assertEqual(self.stats.counts, sent)
        self.assertEqual(self.stats.values, {})

    def test_values(self) -> None:
        """What matches the patterns of values is sent as it is, under a name to choose."""
        self.extension(values=["queue*"], name="crawl {stat}", interval=5)
        self.crawler.numbers = {"queue/length": 4, "depth_max": 2}
        self.clock.pump([5, 5])
        self.assertEqual(self.stats.values, {"crawl queue/length": [4, 4]})
        self.assertEqual(self.stats.counts, {"crawl depth_max": 2})

    def test_settings(self) -> None:
        """An interval of 0 is refused with the settings' names."""
        error = self.assertRaises(ValueError, self.extension, interval=0)
        self.assertIn("STATHAT_INTERVAL", str(error))

    def test_stats_collector_that_raises(self) -> None:
        """A stats collector that raises is a loss, and the next turn comes."""
        extension = self.extension()
        del self.crawler.numbers
        with logged() as log:
            self.clock.advance(60)
        self.assertEqual(extension.losses.total, 1)
        self.assertEqual(len(log.at_level("warn")), 1)
        self.crawler.numbers = {"n": 1}
        self.clock.advance(60)
        self.assertEqual(self.stats.counts, {"s n": 1})
