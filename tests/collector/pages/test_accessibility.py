"""
Every page, as axe-core sees it: light and dark, on a screen and on a phone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.fixtures.accessibility import violations
from tests.fixtures.pages import NOW, PagesCase
from txstathat import Count
from txstathat.collector.archive.stats import stat_id

#: The paths of pages for people who are signed in. ``{stat}`` is the id of a stat.
PATHS = (
    "/",
    "/?q=none",
    "/stats/{stat}?t=1d5m",
    "/stats/{stat}?t=x",
    "/stats/{stat}/chart?t=1d1h",
    "/stats/none",
    "/boards",
    "/compare",
    "/notes",
    "/links",
)


class AccessibilityTests(PagesCase):
    """Nothing keeps people from using a page."""

    @inlineCallbacks
    def check(self, path: str) -> Any:
        """Look at a page."""
        yield self.do("open", self.url + path)
        yield self.arrive(
            "!document.querySelector('.txstathat-chart:not([data-drawn])')"
        )
        found = yield deferToThread(violations, self.browser)
        self.assertEqual(found, [], path)

    @inlineCallbacks
    def test_pages(self) -> Any:
        """axe-core finds no violation, without and with stats, signed in and out."""
        link = yield Deferred.fromCoroutine(self.parts.sessions.link())
        for path in ("/sign-in", f"/sign-in/{link}", "/sign-in/used"):
            yield self.check(path)
        yield self.sign_in()
        yield self.check("/")
        yield self.keep(*self.lively(), Count("page views", 1, NOW))
        (stat,) = yield Deferred.fromCoroutine(
            self.parts.archive.find([stat_id("page views")])
        )
        yield Deferred.fromCoroutine(self.parts.archive.notes.add(stat, "version 2"))
        for scheme, width in (("light", 1280), ("dark", 375)):
            yield self.do("prefer", scheme)
            yield self.do("size", width, 800)
            for path in PATHS:
                yield self.check(path.format(stat=stat.id))
