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
from txstathat.collector.alerts.evaluation import AlertState
from txstathat.collector.alerts.model import parse_alert
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
    "/stats/{stat}/edit",
    "/alerts",
    "/alerts/new",
    "/alerts/{alert}",
    "/channels",
    "/channels/new?kind=webhook",
    "/channels/new?kind=email",
    "/keys",
    "/trash",
    "/trash/{gone}",
    "/settings",
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
        alert = yield Deferred.fromCoroutine(self.firing(stat))
        gone = stat_id("mails sent")
        yield Deferred.fromCoroutine(self.parts.archive.delete(gone))
        for scheme, width in (("light", 1280), ("dark", 375)):
            yield self.do("prefer", scheme)
            yield self.do("size", width, 800)
            for path in PATHS:
                yield self.check(path.format(stat=stat.id, alert=alert, gone=gone))

    async def firing(self, stat: Any) -> str:
        """The id of an alert that fires, and of which a notice was not delivered."""
        fields = {"kind": "value", "time_window": "1h", "operator": "gt"}
        fields["threshold"] = "5"
        alert = parse_alert(fields, stat, self.parts.archive.retention, str)
        await self.parts.alerts.create(alert)
        record = await self.parts.alerts.get(alert.id)
        fired = record.advanced(AlertState(1, True, NOW), 7, NOW)
        await self.parts.alerts.change(record, fired.with_error("chat", "no", NOW))
        return alert.id
