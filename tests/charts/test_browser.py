"""
Charts in a real browser: they draw the numbers of the Metrica.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from tests.fixtures import ROOT
from tests.fixtures.browser import Browser, shared_browser
from tests.fixtures.page_server import serve_pages
from txstathat.charts import (
    ChartAssets,
    LatestCountAndAverageChart,
    PieChart,
    TimelineChart,
    TimeserieChart,
    content_security_policy,
)
from txstathat.collector.web.site import CollectorSite
from txstathat.metrica import Metrica, request_metrica
from txstathat.stores import open_store

NOW = datetime(2026, 7, 5, 20, 30, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>"
VIEWS = ["/", "/users/<int:id>", "/search", "unmatched", HOSTILE]

#: What is drawn, as plotly has it: the numbers of each trace.
DRAWN = """
return [...document.querySelectorAll(".txstathat-picture")].map((picture) =>
  picture.data.map((trace) => Array.from(
    trace.values || (trace.orientation === "h" ? trace.x : trace.y))));
"""
#: The rows of the table: labels and numbers, as they are read.
TABLE = """
return [...document.querySelectorAll("tbody tr")].map((tr) =>
  [...tr.children].map((cell) => cell.textContent));
"""
READY = """
document.querySelectorAll(".txstathat-chart").length > 0 &&
[...document.querySelectorAll(".txstathat-chart")].every((chart) =>
  chart.dataset.drawn === "yes")
"""
#: Whether the scale is another one, now or within half a minute.
ZOOMED = """
const [scale] = arguments, late = Date.now() + 30_000;
return new Promise((resolve) => {
  (function look() {
    const changed = document.querySelector("section").dataset.scale !== scale;
    if (changed || Date.now() > late) { resolve(changed); }
    else { setTimeout(look, 20); }
  })();
});
"""
TOTAL = 'return document.querySelector(".txstathat-total strong").textContent'


#: The file of a store that :func:`fill` has filled, read once by each process.
_filled: list[bytes] = []


@inlineCallbacks
def fill(clock: Clock) -> Iterator[Any]:
    """Kick one Metrica at random and another once a day; the store's file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        store = yield open_store(f"sqlite:{path}", reactor=reactor, clock=clock)
        metrica = request_metrica(store, tz="America/New_York")
        chance = random.Random(6)
        yield gatherResults(
            [
                metrica.kick(
                    round(chance.expovariate(0.1), 1),
                    NOW - timedelta(minutes=chance.expovariate(1 / 900)),
                    view=chance.choices(VIEWS, [5, 4, 3, 2, 1])[0],
                    method="GET",
                    status=chance.choice(["2xx", "2xx", "2xx", "5xx"]),
                )
                for _ in range(1500)
            ]
        )
        plain = Metrica("plain", [], store)
        yield gatherResults(
            [plain.kick(days, NOW - timedelta(days=days)) for days in range(400)]
        )
        yield store.close()
        return path.read_bytes()


class Embedding(Resource):
    """Another page that shows two charts under the strict policy."""

    isLeaf = True

    def __init__(self, *charts: tuple[str, Any]) -> None:
        super().__init__()
        self.charts = charts

    def render_GET(self, request: Request) -> Any:
        request.setHeader("Content-Security-Policy", content_security_policy())
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        made = gatherResults([chart.fragment(path) for path, chart in self.charts])

        def finish(fragments: list[bytes]) -> None:
            request.write(
                b'<!DOCTYPE html><title>Mine</title><link rel="icon" href="data:,">'
                b'<link rel="stylesheet" href="/assets/charts.css">'
                b'<script src="/assets/plotly.js" defer></script>'
                b'<script src="/assets/charts.js" defer></script><h1>Mine</h1>'
            )
            request.write(b"".join(fragments))
            request.finish()

        made.addCallback(finish)
        return NOT_DONE_YET


class BrowserCase(TestCase):
    """A site of charts, and a browser."""

    timeout = 600

    @inlineCallbacks
    def setUp(self) -> Iterator[Any]:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        if not _filled:
            _filled.append((yield fill(self.clock)))
        # Each test changes a store of its own.
        path = self.mktemp()
        Path(path).write_bytes(_filled[0])
        self.store = yield open_store(
            f"sqlite:{path}", reactor=reactor, clock=self.clock
        )
        self.addCleanup(self.store.close)
        self.metrica = request_metrica(self.store, tz="America/New_York")
        self.plain = Metrica("plain", [], self.store)
        self.root = Resource()
        self.charts = {
            "pie": PieChart(self.metrica, "view"),
            "timeline": TimelineChart(self.metrica),
            "timeserie": TimeserieChart(self.metrica, "view"),
            "latest": LatestCountAndAverageChart(self.metrica),
            "plain": TimeserieChart(self.plain, refresh=0.2),
        }
        for name, chart in self.charts.items():
            self.root.putChild(name.encode(), chart)
        self.url = serve_pages(self, CollectorSite(self.root, reactor))
        self.browser: Browser = yield deferToThread(shared_browser)
        yield self.do("size", 1000, 700)

    def do(self, name: str, *arguments: Any) -> Any:
        return deferToThread(getattr(self.browser, name), *arguments)

    @inlineCallbacks
    def look(self, path: str, screenshot: str | None = None) -> Any:
        """Open a page, wait until its charts are drawn, and read what they draw."""
        yield self.do("open", self.url + path)
        yield self.do("wait", READY)
        if screenshot is not None:
            yield self.do("screenshot", screenshot)
        drawn = yield self.do("run", DRAWN)
        yield self.silent()
        return drawn

    @inlineCallbacks
    def silent(self) -> Any:
        """Check that the console is empty."""
        lines = yield self.do("console")
        self.assertEqual(lines, [])


class DrawingTests(BrowserCase):
    """Each chart is drawn with the Metrica's numbers and an empty console."""

    @inlineCallbacks
    def test_timeserie_at_every_scale(self) -> Any:
        """The lines and the table are the Metrica's series, at every scale."""
        for scale, back in (
            ("minute", 90),
            ("hour", 48),
            ("day", 10),
            ("month", 3),
            ("year", 2),
        ):
            ((total, *lines),) = yield self.look(
                f"/timeserie?measure=total&scale={scale}&back={back}",
                f"timeserie-{scale}",
            )
            since = {
                "minute": NOW - timedelta(minutes=back - 1),
                "hour": NOW - timedelta(hours=back - 1),
                "day": NOW - timedelta(days=back - 1),
                "month": datetime(2026, 5, 1, 12, tzinfo=UTC),
                "year": datetime(2025, 2, 1, tzinfo=UTC),
            }[scale]
            expected = yield self.metrica.values().timeserie(since, NOW, scale)
            self.assertEqual(total, [n for _, n in expected])
            for view in VIEWS:
                chosen = self.metrica.filter(view=view)
                series = yield chosen.timeserie(since, NOW, scale)
                self.assertIn([n for _, n in series], lines)
            rows = yield self.do("run", TABLE)
            self.assertEqual([float(row[1]) for row in rows], total)

    @inlineCallbacks
    def test_pie_and_latest(self) -> Any:
        """Slices and panels have the Metrica's sums, counts and averages."""
        ((slices,),) = yield self.look("/pie?measure=total", "pie")
        expected = yield self.metrica.values().iterate("view")
        self.assertEqual(slices, sorted((n for _, n in expected), reverse=True))
        ((counts, averages),) = yield self.look("/latest?scale=year&back=2", "latest")
        expected = yield self.metrica.values().iterate_counts("view")
        self.assertEqual(counts, sorted((n for _, n in expected), reverse=True))
        expected = yield self.metrica.values().iterate_averages("view")
        for average, wanted in zip(
            sorted(averages), sorted(n for _, n in expected), strict=True
        ):
            self.assertAlmostEqual(average, wanted, 8)
        # What would be HTML is text.
        images = yield self.do("run", "return document.images.length")
        self.assertEqual(images, 0)

    @inlineCallbacks
    def test_latest_as_lines(self) -> Any:
        """Counts and averages over time are two lines, each with an axis of its own."""
        ((counts, averages),) = yield self.look(
            "/latest?shape=lines&scale=hour&back=12", "latest-lines"
        )
        since = NOW - timedelta(hours=11)
        expected = yield self.metrica.values().timeserie_counts_and_averages(
            since, NOW, "hour"
        )
        self.assertEqual(counts, [n for _, n, _ in expected])
        for drawn, (_, _, average) in zip(averages, expected, strict=True):
            self.assertAlmostEqual(drawn, average, 8)
        titles = yield self.do(
            "run",
            "return [...document.querySelectorAll('.ytitle, .y2title')]"
            ".map((title) => title.textContent)",
        )
        self.assertEqual(titles, ["count", "average"])

    @inlineCallbacks
    def test_expired(self) -> Any:
        """Expired hours are gaps, and a line says from when on there are hours."""
        self.clock.advance(14 * 86_400 + 4 * 3600)
        yield self.metrica.kick(1, view="new")
        ((total, *_),) = yield self.look(
            "/timeserie?scale=hour&back=360&measure=count&axis=", "expired"
        )
        self.assertIsNone(total[0])
        self.assertEqual(total[-1], 1)
        note = yield self.do(
            "run", "return document.querySelector('.txstathat-note').textContent"
        )
        self.assertRegex(note, "^Hours are stored from 2026-07-")

    @inlineCallbacks
    def test_zooming(self) -> Any:
        """
        Zooming in by a click on a bar, and out by the trail, never changes a total, and
        never loads a page anew.
        """
        yield self.look("/timeline?measure=total", "timeline-years")
        yield self.do("run", "window.same = true")
        whole = yield self.metrica.total()
        totals = []
        for scale in ("year", "month", "day", "hour", "minute"):
            yield self.do(
                "wait",
                f"document.querySelector('section').dataset.scale === '{scale}'"
                f" && {READY}",
            )
            ((bars,),) = yield self.do("run", DRAWN)
            total = yield self.do("run", TOTAL)
            self.assertAlmostEqual(sum(bars), float(total), 6)
            totals.append(float(total))
            if scale == "minute":
                break
            highest = bars.index(max(bars))
            yield self.zoom_in(highest, scale)
            self.inside = bars[highest]
            total = yield self.do("run", TOTAL)
            self.assertEqual(float(total), self.inside)
        yield self.do("screenshot", "timeline-minutes")
        self.assertEqual(totals[0], whole)
        for scale, wanted in zip(
            ("hour", "day", "month", "year"), reversed(totals[:-1]), strict=True
        ):
            yield self.do("click", ".txstathat-trail a:last-child")
            # The total alone may be the same before and after.
            yield self.do(
                "wait",
                f"document.querySelector('section').dataset.scale === '{scale}'"
                " && document.querySelector('.txstathat-total strong').textContent"
                f" == {wanted} && {READY}",
            )
        same = yield self.do("run", "return window.same")
        self.assertTrue(same)
        yield self.silent()

    @inlineCallbacks
    def zoom_in(self, number: int, scale: str) -> Any:
        """
        Click on a bar until the scale is another one: on a busy machine a click is lost
        while the chart is drawn.
        """
        for _ in range(5):
            yield self.press_bar(number)
            if (yield self.do("run", ZOOMED, scale)):
                return
        self.fail(f"no click leads from the scale {scale}")

    @inlineCallbacks
    def press_bar(self, number: int) -> Any:
        """Click on a bar, where it is on the screen."""
        x, y = yield self.do(
            "run",
            """
            const bar = document.querySelectorAll(".bars .point")[arguments[0]];
            const box = bar.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
            """,
            number,
        )
        yield deferToThread(self.browser.press, x, y)

    @inlineCallbacks
    def test_hover(self) -> Any:
        """Hovering shows the numbers of a time."""
        ((line,),) = yield self.look("/timeserie?scale=hour&back=6&axis=")
        x, y = yield self.do(
            "run",
            """
            const points = [...document.querySelectorAll(".scatterlayer .point")];
            const box = points.at(-1).getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
            """,
        )
        yield deferToThread(self.browser.move, x, y)
        yield self.do("wait", "document.querySelector('.hoverlayer').textContent")
        text = yield self.do(
            "run", "return document.querySelector('.hoverlayer').textContent"
        )
        self.assertIn(f"{line[-1]:g}", text.replace(",", ""))
        yield self.do("screenshot", "hover")

    @inlineCallbacks
    def test_zones(self) -> Any:
        """Hours are in the viewer's zone, days in the Metrica's; the axis names it."""
        yield deferToThread(self.browser.zone, "Asia/Kolkata")
        yield self.look("/timeserie?scale=hour&back=2")
        rows = yield self.do("run", TABLE)
        # 20:00 UTC is half past one of the next day in Kolkata.
        self.assertEqual(rows[-1][0], "2026-07-06 01:30")
        axis = "return document.querySelector('.xtitle').textContent"
        title = yield self.do("run", axis)
        self.assertRegex(title, r"^Times in Asia/(Kolkata|Calcutta)$")
        yield self.look("/timeserie?scale=day&back=2")
        rows = yield self.do("run", TABLE)
        self.assertEqual(rows[-1][0], "2026-07-05")
        title = yield self.do("run", axis)
        self.assertEqual(title, "Times in America/New_York")

    @inlineCallbacks
    def test_hour_that_comes_twice(self) -> Any:
        """
        Where the viewer's clock is changed, the table shows offsets, and the line and
        the bars are drawn at one offset: they never run back.
        """
        change = datetime(2026, 11, 1, 6, tzinfo=UTC)
        self.clock.advance((change - NOW).total_seconds() + 3 * 3600 - 60)
        for minutes in range(-120, 180, 5):
            at = change + timedelta(minutes=minutes)
            yield self.plain.kick(1, at)
            yield self.metrica.kick(1.0, at, view="/", method="GET", status="2xx")
        yield deferToThread(self.browser.zone, "America/New_York")
        drawn = """
            const picture = document.querySelector(".txstathat-picture");
            return [Array.from(picture.data[0].x), Array.from(picture.data[0].y),
                    document.querySelector(".xtitle").textContent];
        """
        yield self.look("/plain?scale=hour&back=5")
        rows = yield self.do("run", TABLE)
        self.assertEqual(
            [row[0] for row in rows],
            [
                "2026-11-01 00:00 -04:00",
                "2026-11-01 01:00 -04:00",
                "2026-11-01 01:00 -05:00",
                "2026-11-01 02:00 -05:00",
                "2026-11-01 03:00 -05:00",
            ],
        )
        x, y, title = yield self.do("run", drawn)
        self.assertEqual(
            x,
            [
                "2026-10-31 23:00",
                "2026-11-01 00:00",
                "2026-11-01 01:00",
                "2026-11-01 02:00",
                "2026-11-01 03:00",
            ],
        )
        self.assertEqual(y, [12] * 5)
        self.assertEqual(title, "Times at UTC-05:00: the clock is changed here")
        yield self.look("/plain?scale=minute&back=300")
        x, y, title = yield self.do("run", drawn)
        self.assertEqual(x, sorted(set(x)))
        self.assertEqual((len(x), sum(y)), (300, 60))
        yield self.look("/timeline?year=2026&month=11&day=1")
        x, _, _ = yield self.do("run", drawn)
        self.assertEqual((len(x), x), (25, sorted(set(x))))
        # Past the change, and for a viewer whose clock is not changed, all is as ever.
        yield deferToThread(self.browser.zone, "Asia/Kolkata")
        yield self.look("/plain?scale=hour&back=5")
        rows = yield self.do("run", TABLE)
        self.assertEqual(rows[0][0], "2026-11-01 09:30")
        x, _, title = yield self.do("run", drawn)
        self.assertEqual(x, [row[0] for row in rows])
        self.assertRegex(title, r"^Times in Asia/(Kolkata|Calcutta)$")

    @inlineCallbacks
    def test_dark_and_narrow(self) -> Any:
        """In dark mode and on a phone all is visible, and nothing is too wide."""
        yield self.do("prefer", "dark")
        yield self.do("size", 390, 844)
        for name in ("pie", "timeline", "timeserie", "latest"):
            yield self.look(f"/{name}", f"{name}-dark-narrow")
            wide = yield self.do(
                "run", "return document.documentElement.scrollWidth - innerWidth"
            )
            self.assertLessEqual(wide, 0, name)
        color = yield self.do(
            "run",
            "return document.querySelector('.legendtext, .xtick text').style.fill",
        )
        self.assertEqual(color, "rgb(223, 230, 238)")


class UsingTests(BrowserCase):
    """What a viewer does with a chart."""

    @inlineCallbacks
    def test_extremes(self) -> Any:
        """Charts draw very large numbers, very many choices, one and none."""
        empty, one, many = (
            request_metrica(self.store, name) for name in ("empty", "one", "many")
        )
        yield one.kick(12.5, NOW, view="only")
        for n in range(40):
            view = f"{HOSTILE} {'long ' * 12}{n}"
            yield many.kick(10**13 * (n + 1) + n, NOW - timedelta(days=n), view=view)
        for metrica in (empty, one, many):
            for name, chart in (
                ("pie", PieChart(metrica, "view")),
                ("timeserie", TimeserieChart(metrica, "view")),
                ("timeline", TimelineChart(metrica)),
                ("latest", LatestCountAndAverageChart(metrica)),
            ):
                self.root.putChild(f"{metrica.name}-{name}".encode(), chart)
        drawn = """return document.querySelector(".txstathat-chart").dataset.drawn"""
        width = "return document.documentElement.scrollWidth - innerWidth"
        yield self.do("size", 390, 844)
        for path in ("pie", "timeserie?scale=day&back=60", "timeline", "latest"):
            for metrica in (empty, one, many):
                yield self.do("open", f"{self.url}/{metrica.name}-{path}")
                yield self.do("wait", f"(() => {{ {drawn} }})()")
                name = path.partition("?")[0]
                yield self.do("screenshot", f"{metrica.name}-{name}")
                over = yield self.do("run", width)
                self.assertLessEqual(over, 0, f"{metrica.name} {path}: too wide")
                yield self.silent()

    @inlineCallbacks
    def test_fresh_data(self) -> Any:
        """New numbers appear without a reload and do not disturb the controls."""
        yield self.look("/plain?scale=day&back=2")
        yield self.do("run", "window.same = document.querySelector('select')")
        yield self.plain.kick(1000, NOW)
        yield self.do(
            "wait",
            "document.querySelector('.txstathat-total strong').textContent === '1001'",
        )
        ((line,),) = yield self.do("run", DRAWN)
        self.assertEqual(line, [1, 1000])
        same = yield self.do(
            "run", "return window.same === document.querySelector('select')"
        )
        self.assertTrue(same)
        yield self.silent()

    @inlineCallbacks
    def test_keyboard(self) -> Any:
        """The keyboard operates the controls and the table; the address follows."""
        yield self.look("/timeserie?scale=day&back=3&axis=")
        yield self.do("type", "select[name=axis]", "status")
        yield self.do(
            "wait", f"document.querySelectorAll('thead th').length === 4 && {READY}"
        )
        address = yield self.do("run", "return location.search")
        self.assertIn("axis=status", address)
        focused = yield self.do("run", "return document.activeElement.name")
        self.assertEqual(focused, "axis")
        yield self.do("type", "summary", "\ue007")
        opened = yield self.do("run", "return document.querySelector('details').open")
        self.assertTrue(opened)
        yield self.do("screenshot", "table")
        label = yield self.do(
            "run",
            "return document.querySelector('[role=img]').getAttribute('aria-label')",
        )
        self.assertIn("table below", label)
        yield self.silent()

    @inlineCallbacks
    def test_refused(self) -> Any:
        """A refusal shows the server's message, and the chart stays."""
        yield self.look("/timeserie?scale=day&back=3")
        yield self.do("run", "document.querySelector('[name=back]').min = ''")
        yield self.do("type", "[name=back]", "\ue003\ue00099999\ue007")
        yield self.do("wait", "document.querySelector('[role=alert]')")
        words = yield self.do(
            "run", "return document.querySelector('[role=alert]').textContent"
        )
        self.assertIn("must be from 1 to 2000", words)
        drawn = yield self.do("run", DRAWN)
        self.assertEqual(len(drawn[0][0]), 3)

    @inlineCallbacks
    def test_embedded(self) -> Any:
        """Fragments work in another page, inserted early or late."""
        self.root.putChild(b"assets", ChartAssets())
        charts = [(f"/{name}", self.charts[name]) for name in ("pie", "plain")]
        self.root.putChild(b"mine", Embedding(*charts))
        pie, plain = yield self.look("/mine", "embedded")
        self.assertEqual((len(pie), len(plain)), (1, 1))
        yield self.do(
            "run",
            """
            return fetch("/latest?format=fragment&scale=year&back=2")
              .then((answer) => answer.text()).then((html) => {
                const page = new DOMParser().parseFromString(html, "text/html");
                document.body.append(page.querySelector("section"));
              });
            """,
        )
        yield self.do(
            "wait", f"document.querySelectorAll('section').length === 3 && {READY}"
        )
        drawn = yield self.do("run", DRAWN)
        self.assertEqual([len(traces) for traces in drawn], [1, 1, 2])
        # A control asks within the page, whose address stays.
        yield self.do("type", "select[name=axis]", "status")
        yield self.do(
            "wait",
            f"document.querySelector('thead th').textContent === 'status' && {READY}",
        )
        path = yield self.do("run", "return location.pathname")
        self.assertEqual(path, "/mine")
        yield self.silent()


class ExampleTests(TestCase):
    """The example site."""

    timeout = 600

    @inlineCallbacks
    def test_measured_site(self) -> Iterator[Any]:
        """It prints its address, and draws the requests of its own visitors."""
        site = yield deferToThread(
            subprocess.Popen,
            [sys.executable, str(ROOT / "examples" / "measured_site.py")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

        def stop() -> None:
            site.terminate()
            site.wait()
            site.stdout.close()

        self.addCleanup(deferToThread, stop)
        line = yield deferToThread(site.stdout.readline)
        address = line.removeprefix("Open ").strip()
        browser = yield deferToThread(shared_browser)
        yield deferToThread(browser.size, 1000, 700)
        yield deferToThread(browser.open, address)
        yield deferToThread(browser.click, "a[href*=latest]")
        # It refreshes itself until each kind of page was visited.
        yield deferToThread(
            browser.wait, "document.querySelectorAll('tbody th').length >= 3"
        )
        yield deferToThread(browser.wait, READY)
        yield deferToThread(browser.screenshot, "example-latest")
        lines = yield deferToThread(browser.console)
        # The index page has no icon of its own.
        self.assertEqual([line for line in lines if "favicon" not in line], [])
