"""
The collector's pages in a real browser.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, inlineCallbacks

from tests.fixtures.pages import DRAWN, NOW, REFUSED, TEXT, TOO_WIDE, PagesCase
from txstathat import Count, txStatHat
from txstathat.collector.archive.stats import stat_id
from txstathat.errors import StoreUnavailable

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
NAMES = """
return [...document.querySelectorAll("tbody th a")].map((a) => a.textContent);
"""


class SigningInTests(PagesCase):
    """Signing in and out."""

    @inlineCallbacks
    def test_sign_in_and_out(self) -> Any:
        """
        A page redirects to the form; a wrong token gives a message; the right one leads
        to the page, and is in no address. Signing out also works for the back button.
        """
        yield self.keep(Count("signups", 3, NOW))
        path = f"/stats/{stat_id('signups')}?t=1w3h"
        text = yield self.look(path, "pages-sign-in")
        self.assertIn("Access token", text)
        self.assertNotIn("signups", text)
        focused = yield self.do("run", "return document.activeElement.id")
        self.assertEqual(focused, "token")
        yield self.do("type", "#token", "wrong\n")
        yield self.arrive("document.querySelector('[role=alert]')")
        yield self.do("screenshot", "pages-wrong-token")
        text = yield self.do("run", TEXT)
        self.assertIn("Wrong access token.", text)
        yield self.do("type", "#token", f"{self.token}\n")
        yield self.arrive(DRAWN)
        where = yield self.do("run", "return location.pathname + location.search")
        self.assertEqual(where, path)
        seen = yield self.do(
            "run", "return document.cookie + document.documentElement.outerHTML"
        )
        self.assertNotIn(self.token, seen)
        self.assertNotIn("txstathat=", seen)
        yield self.do("click", ".top form button")
        yield self.arrive("location.pathname === '/sign-in'")
        yield self.do("run", "history.back()")
        yield self.arrive("document.querySelector('#token')")
        text = yield self.look("/")
        self.assertIn("Access token", text)
        yield self.silent(REFUSED)

    @inlineCallbacks
    def test_a_link_used_twice(self) -> Any:
        """A link works once; the second time its page says why it does not."""
        link = yield Deferred.fromCoroutine(self.parts.sessions.link())
        yield self.do("open", f"{self.url}/sign-in/{link}")
        yield self.do("click", "main button")
        yield self.arrive(
            "document.querySelector('h1')?.textContent === 'No stats yet'"
        )
        text = yield self.look(f"/sign-in/{link}", "pages-used-link")
        self.assertIn("This link no longer works", text)
        self.assertIn("It was used before", text)
        yield self.silent(REFUSED)


class LookingTests(PagesCase):
    """Looking at stats."""

    @inlineCallbacks
    def test_from_nothing_to_the_first_stat(self) -> Any:
        """
        The empty page shows how to send a point. Its example works, and the page shows
        the stat by itself.
        """
        yield self.sign_in()
        text = yield self.look("/", "pages-empty")
        self.assertIn(f"curl {self.url}/ez -d ezkey=YOUR-EZ-KEY", text)
        client = txStatHat(self.ez, url=self.url, ignore_errors=False)
        yield client.count("first light")
        yield client.close()
        # As when the viewer returns from another window.
        yield self.do("run", "document.dispatchEvent(new Event('visibilitychange'))")
        yield self.arrive("document.querySelector('tbody th a')")
        yield self.arrive("document.querySelector('#q')")
        self.assertEqual((yield self.do("run", NAMES)), ["first light"])
        yield self.silent()

    @inlineCallbacks
    def test_a_page_on_a_wall(self) -> Any:
        """An error does not replace a page; the next update succeeds."""
        yield self.keep(Count("a"))
        yield self.sign_in()
        records = self.store.records
        self.store.records = lambda kind: fail(StoreUnavailable("away"))
        yield self.do("run", "document.dispatchEvent(new Event('visibilitychange'))")
        yield self.arrive(
            "performance.getEntriesByType('resource')"
            ".some((each) => each.responseStatus === 503)"
        )
        self.store.records = records
        yield self.keep(Count("b"))
        yield self.do("run", "document.dispatchEvent(new Event('visibilitychange'))")
        yield self.arrive("document.querySelectorAll('tbody th a').length === 2")
        yield self.silent("the server responded with a status of 503")

    @inlineCallbacks
    def test_list_search_and_stat(self) -> Any:
        """
        The list, the search, and a stat with its chart and summary work: light and
        dark, wide and on a phone, where nothing is too wide.
        """
        yield self.keep(*self.lively())
        yield self.sign_in()
        for scheme in ("light", "dark"):
            yield self.do("prefer", scheme)
            for width, height in ((1000, 800), (390, 844)):
                yield self.do("size", width, height)
                name = f"{scheme}-{width}"
                text = yield self.look("/", f"pages-list-{name}")
                self.assertIn("8 stats", text)
                self.assertEqual((yield self.do("run", TOO_WIDE)), 0)
                yield self.do(
                    "open", f"{self.url}/stats/{stat_id('page views')}?t=1d5m"
                )
                yield self.arrive(DRAWN)
                yield self.do("screenshot", f"pages-stat-{name}")
                self.assertEqual((yield self.do("run", TOO_WIDE)), 0)
        yield self.do("size", 1000, 800)
        yield self.look("/")
        yield self.do("type", "#q", "TIME resp\n")
        yield self.arrive("location.search === '?q=TIME+resp'")
        self.assertEqual((yield self.do("run", NAMES)), ["response time ms"])
        yield self.do("click", "tbody a")
        yield self.arrive(DRAWN)
        (series,) = yield Deferred.fromCoroutine(
            self.series("response time ms", "1h1m")
        )
        drawn = yield self.do(
            "run",
            # The first line is that of an hour earlier.
            "return Array.from(document.querySelector('.txstathat-picture').data[1].y)",
        )
        self.assertEqual(drawn, series.values)
        yield self.do("click", ".timeframes a:nth-child(3)")
        yield self.arrive("location.search.startsWith('?t=1w3h&list=')")
        yield self.arrive(DRAWN)
        text = yield self.do("run", TEXT)
        self.assertIn("1 week, in steps of 3 hours", text)
        (series,) = yield Deferred.fromCoroutine(
            self.series("response time ms", "1w3h")
        )
        most = max(bucket.max for bucket in series.buckets if bucket.count)
        self.assertIn(f"Max\n{most:.5g}\n", text)
        yield self.silent()

    async def series(self, name: str, t: str) -> Any:
        """The series of a stat, as the archive has it."""
        stats = await self.parts.archive.find([stat_id(name)])
        return await self.parts.archive.data(stats, t)

    @inlineCallbacks
    def test_layout(self) -> Any:
        """The header is aligned with the page; large numbers are not wrapped."""
        yield self.keep(Count("revenue", 123_456_789_012))
        yield self.sign_in()
        yield self.do("size", 1280, 400)
        yield self.do("open", f"{self.url}/stats/{stat_id('revenue')}?t=1d5m")
        yield self.arrive(DRAWN)
        home, title = yield self.do(
            "run",
            "return ['.home', 'h1'].map("
            "each => document.querySelector(each).getBoundingClientRect().left)",
        )
        self.assertEqual(home, title)
        heights = yield self.do(
            "run",
            "return Array.from(document.querySelectorAll('dd'), "
            "each => each.clientHeight)",
        )
        self.assertEqual(len(set(heights)), 1, heights)
        yield self.silent()

    @inlineCallbacks
    def test_points_between_gaps_are_seen(self) -> Any:
        """Points between gaps are drawn as dots."""
        yield self.keep(*self.lively())
        yield self.sign_in()
        yield self.do("open", f"{self.url}/stats/{stat_id('backup GB')}?t=1d5m")
        yield self.arrive(DRAWN)
        yield self.do("screenshot", "pages-sparse")
        dots = yield self.do(
            "run", "return document.querySelectorAll('.scatterlayer .point').length"
        )
        self.assertEqual(dots, 6)
        yield self.silent()

    @inlineCallbacks
    def test_a_hostile_name(self) -> Any:
        """A name with HTML and a script is plain text, in the list and on its page."""
        yield self.keep(Count(HOSTILE, 3, NOW))
        yield self.sign_in()
        yield self.look("/", "pages-hostile")
        self.assertEqual((yield self.do("run", NAMES)), [HOSTILE])
        yield self.look("/?q=%3Cscript%3Ealert(3)%3C/script%3E")
        for path in ("", "?t=1d5m"):
            yield self.do("open", f"{self.url}/stats/{stat_id(HOSTILE)}{path}")
            yield self.arrive(DRAWN)
            title = yield self.do(
                "run", "return document.querySelector('h1').innerText"
            )
            self.assertEqual(title, f"{HOSTILE} counter")
        images = yield self.do("run", "return document.images.length")
        self.assertEqual(images, 0)
        yield self.silent()
