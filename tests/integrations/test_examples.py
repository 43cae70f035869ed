"""
The examples of the integrations, as programs of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from statsd import StatsClient
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.server import Site
from twisted.web.static import Data

from tests.fixtures import ROOT
from tests.fixtures.support import reactor
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat

EXAMPLES = ROOT / "examples"


class ExampleTests(TestCase):
    """What the documentation shows runs, and counts what it says."""

    timeout = 60

    def environ(self, **variables: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), **variables}

    async def start(self, name: str, **variables: str) -> str:
        """Start a server, and return its address once it has printed it."""
        server = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name)],
            env=self.environ(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def stop() -> None:
            server.terminate()
            _, errors = server.communicate(timeout=20)
            self.assertNotIn("Traceback", errors)

        self.addCleanup(stop)
        assert server.stdout is not None
        address: str = await deferToThread(server.stdout.readline)
        return address.strip()

    async def get(self, url: str, **headers: str) -> tuple[int, str]:
        wanted = Headers({name: [value] for name, value in headers.items()})
        response = await Agent(reactor).request(b"GET", url.encode(), wanted)
        return response.code, (await readBody(response)).decode()

    async def test_prometheus_page(self) -> None:
        """The page needs its token, and shows the site's requests."""
        address = await self.start("prometheus_page.py", METRICS_TOKEN="secret")
        self.assertEqual(await self.get(f"{address}shop/"), (200, "Buy something."))
        code, _ = await self.get(f"{address}metrics")
        self.assertEqual(code, 401)
        code, page = await self.get(f"{address}metrics", Authorization="Bearer secret")
        self.assertEqual(code, 200)
        self.assertRegex(page, 'shop_requests_ms_count{.*status="2xx".*} 1.0')

    async def test_measured_flask(self) -> None:
        """The application's views are counted."""
        address = await self.start("measured_flask.py")
        self.assertEqual(await self.get(f"{address}books/7"), (200, "Book 7"))
        page = ""
        # A request is counted in its thread, a little after its answer is here.
        while "book_2xx_total" not in page:
            _, page = await self.get(f"{address}metrics")
        self.assertIn("book_2xx_total 1.0", page)

    async def test_crawl(self) -> None:
        """The spider's stats arrive."""
        received = FakeStatHat(lambda api, key: key == "k")
        urls = []
        for site in (
            CollectorSite(received.resource, reactor),
            Site(Data(b"<title>Home</title>", "text/html")),
        ):
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            urls.append(f"http://127.0.0.1:{port.getHost().port}")
        command: list[Any] = [str(EXAMPLES / "crawl.py"), urls[1]]
        environ = self.environ(TXSTATHAT_EZKEY="k", TXSTATHAT_URL=urls[0])
        out, err, status = await getProcessOutputAndValue(
            sys.executable, command, env=environ
        )
        self.assertEqual(status, 0, err.decode())
        self.assertNotIn(b"Traceback", out + err)
        counted = received.totals["titles downloader/request_count"]
        self.assertEqual(counted, 1, err.decode())

    async def test_statsd_relay(self) -> None:
        """What a client of statsd sends arrives."""
        received = FakeStatHat(lambda api, key: key == "k")
        site = CollectorSite(received.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        relay = await self.start(
            "statsd_relay.py",
            STATSD_PORT="0",
            TXSTATHAT_EZKEY="k",
            TXSTATHAT_URL=f"http://127.0.0.1:{port.getHost().port}",
        )
        client = StatsClient("127.0.0.1", int(relay))
        client.incr("signups", 3)
        client.timing("load", 50)
        while len(received.totals) < 3:
            await deferLater(reactor, 0.05)
        self.assertEqual(
            received.totals,
            {"app.signups": 3, "app.load": 50, "app.load up to 100 ms": 1},
        )
