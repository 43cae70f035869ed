"""
The page of a stat in a real browser: its chart, ranges, updates, keys and downloads.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.fixtures.pages import DRAWN, NOW, TEXT, TOO_WIDE, PagesCase
from tests.fixtures.stores import wait_until
from txstathat import Count, Value
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.stats import stat_id

#: The traces of the picture.
TRACES = """
return document.querySelector(".txstathat-picture").data.map((trace) => ({
  type: trace.type, mode: trace.mode ?? "", dash: trace.line?.dash ?? "",
  y: Array.from(trace.y), x: Array.from(trace.x),
  shape: trace.marker?.pattern?.shape ?? [] }));
"""
#: The texts along the axis of numbers, and its title.
AXIS = """
return [[...document.querySelectorAll(".ytick text")].map((each) => each.textContent),
        document.querySelector(".ytitle")?.textContent ?? ""];
"""
LABELS = """
return [...document.querySelectorAll("tbody th")].map((each) => each.textContent);
"""
#: How much of the page has moved by itself since it was opened.
SHIFTS = """
return new Promise((resolve) => {
  new PerformanceObserver((list) => resolve(list.getEntries().reduce(
    (sum, each) => sum + each.value, 0))).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(0)));
});
"""
SHOWN_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
#: The statuses of the requests that the page made for itself.
STATUSES = """
performance.getEntriesByType("resource").filter((each) =>
  each.initiatorType === "fetch").map((each) => each.responseStatus)
"""


class StatPageCase(PagesCase):
    """A stat page with what it can show."""

    @inlineCallbacks
    def setUp(self) -> Any:
        yield super().setUp()
        yield self.keep(*self.lively())
        yield self.sign_in()

    @inlineCallbacks
    def see(self, name: str, query: str = "") -> Any:
        """Open the page of a stat, and wait for its chart."""
        yield self.do("open", f"{self.url}/stats/{stat_id(name)}{query}")
        yield self.arrive(DRAWN)

    async def stat(self, name: str) -> Any:
        """A stat."""
        (stat,) = await self.parts.archive.find([stat_id(name)])
        return stat

    def focused(self) -> Any:
        """What has the focus."""
        return self.do("run", "return document.activeElement.id")


class ChartTests(StatPageCase):
    """What is drawn."""

    @inlineCallbacks
    def test_counter_and_value(self) -> Any:
        """
        A counter is bars with whole numbers along the axis, a value a line; the current
        step is dotted, the time before a faint dashed line; the unit is on the axis.
        """
        few = [Count("few", 1, NOW - minutes * 60) for minutes in (0, 7, 7, 7, 90)]
        yield self.keep(*few, *(Value("gauge", 1500 + n, NOW + n) for n in range(9)))
        yield self.keep(*(Value("gauge", 1200, NOW - n * 60) for n in range(1, 120)))
        details = self.parts.archive.details
        gauge = yield Deferred.fromCoroutine(self.stat("gauge"))
        yield Deferred.fromCoroutine(details.change(gauge, unit="req/s <b>"))
        yield self.see("few", "?t=1h1m")
        bars, earlier = yield self.do("run", TRACES)
        self.assertEqual((bars["type"], earlier["dash"]), ("bar", "dash"))
        self.assertEqual([sum(bars["y"]), sum(earlier["y"])], [4, 1])
        self.assertEqual(bars["shape"], [""] * 59 + ["."])
        self.assertEqual((yield self.do("run", AXIS)), [["0", "1", "2", "3"], ""])
        yield self.do("screenshot", "stat-counter")
        # The hour before had more, and the axis has not as many ticks.
        yield self.keep(Count("few", 900, NOW - 90 * 60))
        yield self.see("few", "?t=1h1m")
        ticks, _ = yield self.do("run", AXIS)
        self.assertIn("800", ticks)
        self.assertLess(len(ticks), 12)
        yield self.see("gauge", "?t=1h1m")
        earlier, line, dotted, end = yield self.do("run", TRACES)
        self.assertEqual(line["y"][-1], None)
        self.assertEqual((dotted["dash"], dotted["y"][-2:]), ("dot", [1200, 1504]))
        self.assertEqual(end["y"][-1], 1504)
        ticks, unit = yield self.do("run", AXIS)
        self.assertEqual(unit, "req/s <b>")
        self.assertIn("1,400", ticks)
        title = yield self.do("run", "return document.title")
        self.assertEqual(title, "1,504 req/s <b> · gauge · txStatHat")
        text = yield self.do("run", TEXT)
        self.assertIn("Max\n1,508 req/s <b>", text)
        self.assertIn("1,504 req/s <b>", (yield self.hover(-1)))
        yield self.do("screenshot", "stat-value")
        yield self.silent()

    @inlineCallbacks
    def hover(self, number: int) -> Any:
        """Move the mouse over a point; returns what is shown beside it."""
        x, y = yield self.do(
            "run",
            """
            const picture = document.querySelector(".txstathat-picture");
            const { xaxis, yaxis } = picture._fullLayout;
            const box = picture.getBoundingClientRect();
            const trace = picture.data.at(-1);
            const at = trace.x.length + arguments[0];
            return [box.x + xaxis._offset + xaxis.d2p(trace.x[at]),
                    box.y + yaxis._offset + 60];
            """,
            number,
        )
        yield self.do("move", x, y)
        yield self.arrive("document.querySelector('.hoverlayer').textContent")
        return (
            yield self.do(
                "run", "return document.querySelector('.hoverlayer').textContent"
            )
        )

    @inlineCallbacks
    def test_notes_and_levels(self) -> Any:
        """
        Notes are vertical lines with their words on hover and in the table; limits of
        alerts are horizontal lines with theirs.
        """

        parts = self.parts
        stat = yield Deferred.fromCoroutine(self.stat("response time ms"))
        fields = {"kind": "value", "time_window": "1h", "operator": "gt"}
        fields["threshold"] = "80"
        alert = parse_alert(fields, stat, parts.archive.retention, str)
        yield Deferred.fromCoroutine(parts.alerts.create(alert))
        yield Deferred.fromCoroutine(
            parts.archive.notes.add(stat, "moved <b>the</b> server")
        )
        yield self.see("response time ms", "?t=1d5m")
        shapes = yield self.do(
            "run",
            "return document.querySelector('.txstathat-picture').layout.shapes"
            ".map((each) => each.yref === 'paper' ? each.x0 : each.y0)",
        )
        self.assertEqual(shapes, ["2026-07-05 20:30", 80])
        self.assertIn("moved <b>the</b> server", (yield self.hover(-1)))
        yield self.do("screenshot", "stat-notes")
        rows = yield self.do(
            "run",
            "return [...document.querySelectorAll('tbody .txstathat-marks')]"
            ".map((each) => each.textContent)",
        )
        self.assertEqual((rows[-1], set(rows[:-1])), ("moved <b>the</b> server", {""}))
        words = "alert over 1 hour: greater than 80"
        self.assertIn(words, (yield self.do("run", TEXT)))
        yield self.silent()

    @inlineCallbacks
    def test_place_of_levels(self) -> Any:
        """
        The heights of levels are beside the picture, where no point can be; a saved
        picture says what they mean, too.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        yield self.do(
            "devtools_of",
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(folder)},
        )
        for name, threshold in (("response time ms", "50"), ("page views", "900")):
            stat = yield Deferred.fromCoroutine(self.stat(name))
            fields = {"kind": "value", "time_window": "1h", "operator": "gt"}
            fields["threshold"] = threshold
            alert = parse_alert(fields, stat, self.parts.archive.retention, str)
            yield Deferred.fromCoroutine(self.parts.alerts.create(alert))
            for width in (1000, 375):
                yield self.do("size", width, 700)
                yield self.see(name, "?t=1d1h")
                inside, text, outside, figure = yield self.do(
                    "run",
                    "const edge = (query, side) => document.querySelector(query)"
                    ".getBoundingClientRect()[side];"
                    "return [edge('.plotly .bglayer, .nsewdrag', 'right'),"
                    "edge('.annotation-text', 'left'),"
                    "edge('.txstathat-picture', 'right')"
                    " - edge('.annotation-text', 'right'),"
                    "document.querySelector('.annotation-text').textContent]",
                )
                self.assertGreaterEqual(text, inside)
                self.assertGreaterEqual(outside, 0)
                self.assertEqual(figure, threshold)
            yield self.do("click", ".txstathat-forms button:nth-of-type(2)")
            yield deferToThread(wait_until, lambda: any(folder.glob("*.svg")))
            (path,) = folder.glob("*.svg")
            words = f"alert over 1 hour: greater than {threshold}"
            self.assertIn(words, path.read_text("utf-8"))
            path.unlink()
        yield self.silent()

    @inlineCallbacks
    def test_hour_that_comes_twice(self) -> Any:
        """The line never runs back, and no two labels of the table are equal."""
        after = datetime(2026, 11, 1, 9, 59, tzinfo=UTC).timestamp()
        self.clock.advance(after - NOW)
        yield self.keep(*(Value("v", n, after - n * 300) for n in range(60)))
        yield self.sign_in()
        yield self.do("zone", "America/New_York")
        yield self.see("v", "?t=5h5m")
        for trace in (yield self.do("run", TRACES)):
            for before, later in pairwise(trace["x"]):
                self.assertLess(before, later)
        labels = yield self.do("run", LABELS)
        self.assertEqual(len(set(labels)), 60)
        self.assertIn("2026-11-01 01:55 -04:00", labels)
        self.assertIn("2026-11-01 01:55 -05:00", labels)
        yield self.silent()

    @inlineCallbacks
    def test_downloads(self) -> Any:
        """The picture can be saved as PNG and SVG, the numbers as CSV and JSON."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        yield self.do(
            "devtools_of",
            "Browser.setDownloadBehavior",
            {"behavior": "allow", "downloadPath": str(folder)},
        )
        yield self.see("page views", "?t=1d1h")
        name = "page-views-counter-1-day-in-steps-of-1-hour"
        for number, form, begin in ((1, "png", b"\x89PNG"), (2, "svg", b"<svg ")):
            yield self.do("click", f".txstathat-forms button:nth-of-type({number})")
            path = folder / f"{name}.{form}"
            yield deferToThread(wait_until, path.exists)
            self.assertTrue(path.read_bytes().startswith(begin))
        yield self.see("page views", "?t=1d1h")
        for number, form, words in (
            (1, "csv", "hour,sum"),
            (2, "json", '"kind": "bars"'),
        ):
            yield self.do("click", f".txstathat-forms a:nth-of-type({number})")
            path = folder / f"{name}.{form}"
            yield deferToThread(wait_until, path.exists)
            self.assertIn(words, path.read_text())
        address = yield self.do("run", "return location.pathname")
        self.assertEqual(address, f"/stats/{stat_id('page views')}")
        yield self.silent()


class UseTests(StatPageCase):
    """What a person does."""

    @inlineCallbacks
    def test_keys(self) -> Any:
        """
        The keyboard alone changes the range, steps in time, shows the list of keys, and
        types a range; a wrong one is kept, with the error beside it and the focus in it.
        """
        yield self.see("page views", "?t=1d5m")
        path = f"/stats/{stat_id('page views')}"
        for key, query in (
            ("\ue014", "?t=1w3h"),
            ("\ue012", "?t=1d5m"),
            ("\ue008\ue012", "?t=1d1h&start=2026-07-03T20%3A35"),
            ("\ue008\ue014", "?t=1d1h&start=2026-07-04T20%3A00"),
            ("\ue008\ue014", "?t=1d5m"),
        ):
            yield self.do("type", "body", key)
            yield self.arrive(f"location.href === '{self.url}{path}{query}'")
            yield self.arrive(DRAWN)
        yield self.do("type", "body", "?")
        yield self.arrive("document.querySelector('dialog').open")
        keys = yield self.do("run", "return document.querySelector('.keys').innerText")
        for line in ("Shift ←\nStep one range earlier", "?\nShow this list"):
            self.assertIn(line, keys)
        yield self.do("screenshot", "stat-keys")
        yield self.do("type", "dialog button", "\ue00c")
        yield self.arrive("!document.querySelector('dialog').open")
        yield self.do("type", "#t", "\ue009a\ue0005x?\ue012\n")
        yield self.arrive("document.querySelector('.wrong')")
        value = yield self.do("run", "return document.querySelector('#t').value")
        self.assertEqual(value, "5x?")
        self.assertEqual((yield self.focused()), "t")
        yield self.do("screenshot", "stat-wrong-range")
        yield self.do("type", "#t", "\ue009a\ue0005d\n")
        yield self.arrive("location.search === '?t=5d'")
        yield self.arrive(DRAWN)
        text = yield self.do("run", TEXT)
        self.assertIn("5 days, in steps of 1 hour", text)
        yield self.do("type", "#from", "07012026")
        yield self.do("type", "#to", "07042026\n")
        yield self.arrive("location.search === '?from=2026-07-01&to=2026-07-04'")
        yield self.arrive(DRAWN)
        text = yield self.do("run", TEXT)
        self.assertIn("4 days from 1 Jul 2026, in steps of 1 hour", text)
        yield self.do("open", f"{self.url}/")
        yield self.do("type", "body", "/")
        self.assertEqual((yield self.focused()), "q")
        yield self.silent("the server responded with a status of 400")

    @inlineCallbacks
    def test_updates(self) -> Any:
        """
        The summary, the chart and the title follow the store. While nothing changes,
        the answers are empty. The page can be paused, says when it was updated, and
        says so when the stat is deleted.
        """
        yield self.do("size", 1280, 800)
        yield self.see("signups", "?t=1h1m")
        yield self.do("run", "window.same = true")
        for status in ("200", "200, 304"):
            yield self.do("run", SHOWN_AGAIN)
            yield self.arrive(f"({STATUSES.strip()}).join(', ') === '{status}'")
        yield self.keep(Count("signups", 1000, NOW))
        yield self.do("run", SHOWN_AGAIN)
        yield self.arrive("document.title.startsWith('1,00')")
        latest = yield self.do(
            "run", "return document.querySelector('.facts dd').textContent"
        )
        drawn = yield self.do("run", TRACES)
        self.assertEqual(drawn[0]["y"][-1], float(latest.replace(",", "")))
        self.assertGreaterEqual(drawn[0]["y"][-1], 1000)
        age = yield self.do(
            "run", "return document.querySelector('.updates').innerText"
        )
        self.assertRegex(age, r"^Updated\s+[0-9] s ago\s+Pause$")
        yield self.do("click", ".updates button")
        yield self.keep(Count("signups", 5000, NOW))
        yield self.do("run", SHOWN_AGAIN)
        title = yield self.do("run", "return document.title")
        self.assertTrue(title.startswith("1,00"), title)
        yield self.do("click", ".updates button")
        yield self.arrive("document.title.startsWith('6,00')")
        self.assertTrue((yield self.do("run", "return window.same")))
        yield Deferred.fromCoroutine(self.parts.archive.delete(stat_id("signups")))
        yield self.do("run", SHOWN_AGAIN)
        yield self.arrive("document.querySelector('main > [role=alert]')")
        text = yield self.do("run", TEXT)
        self.assertIn("This stat does not exist; it may have been deleted", text)
        yield self.do("screenshot", "stat-deleted")
        yield self.silent("the server responded with a status of 404")

    @inlineCallbacks
    def test_themes_and_sizes(self) -> Any:
        """
        Light, dark and the system's theme can be chosen, and the choice lasts; tabs do
        not move; nothing is too wide on a phone, where the name has the room.
        """
        background = "return getComputedStyle(document.body).backgroundColor"
        light, dark = "rgb(246, 248, 250)", "rgb(16, 20, 24)"
        yield self.do("size", 1280, 900)
        yield self.see("response time ms", "?t=1d5m")
        left = """
        return [...document.querySelectorAll(".timeframes a")].map((each) =>
          each.getBoundingClientRect().left);
        """
        tabs = yield self.do("run", left)
        self.assertLess((yield self.do("run", SHIFTS)), 0.01)
        self.assertEqual((yield self.do("run", background)), light)
        yield self.do("type", ".theme select", "D")
        self.assertEqual((yield self.do("run", background)), dark)
        yield self.arrive(
            "document.querySelector('.xtick text').style.fill === 'rgb(223, 230, 238)'"
        )
        yield self.see("response time ms", "?t=1w3h")
        self.assertEqual((yield self.do("run", background)), dark)
        self.assertEqual((yield self.do("run", left)), tabs)
        yield self.do("screenshot", "stat-1280-dark")
        yield self.do("type", ".theme select", "S")
        self.assertEqual((yield self.do("run", background)), light)
        yield self.do("prefer", "dark")
        self.assertEqual((yield self.do("run", background)), dark)
        yield self.do("prefer", "light")
        yield self.do("screenshot", "stat-1280-light")
        yield self.do("size", 375, 812)
        long = "a stat with a long name that says in detail what is counted"
        for name in ("page views", long):
            yield self.see(name, "?t=1d5m")
            self.assertEqual((yield self.do("run", TOO_WIDE)), 0)
            yield self.do("screenshot", f"stat-375-{len(name)}")
        wide = yield self.do(
            "run", "return document.querySelector('h1').clientWidth / innerWidth"
        )
        self.assertGreater(wide, 0.9)
        yield self.silent()
