"""
Every page, as axe-core sees it: light and dark, on a screen and on a phone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.fixtures.accessibility import violations
from tests.fixtures.pages import NOW, PagesCase
from txstathat.collector.alerts.conditions.evaluation import AlertState
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.auth.key_record import hash_key
from txstathat.collector.boards.model import Board, Tile

#: The paths of pages. ``{stat}`` is the id of a stat, ``{board}`` that of a board, and
#: ``{secret}`` and ``{shown}`` are in links to a stat and to a board.
PATHS = (
    "/",
    "/?q=none",
    "/?groups=1",
    "/stats/{stat}?t=1h1m",
    "/stats/{stat}?t=x",
    "/stats/{stat}/chart?t=1d1h",
    "/stats/none",
    "/boards",
    "/boards/add?s={stat}",
    "/boards/{board}",
    "/boards/{board}/edit",
    "/boards/{board}/tile",
    "/boards/{board}/wall",
    "/compare",
    "/compare?s={stat}&s={other}&t=1d1h",
    "/notes",
    "/links",
    "/stats/{stat}/edit",
    "/alerts",
    "/alerts/new",
    "/alerts/{alert}",
    "/channels",
    "/channels/new?kind=webhook",
    "/channels/new?kind=email",
    "/channels/chat/edit",
    "/keys",
    "/keys?revoke=first+EZ+key",
    "/links?revoke={shown_id}",
    "/alerts/{alert}?delete=yes",
    "/channels?delete=chat",
    "/settings?end=all",
    "/trash",
    "/trash/{gone}",
    "/settings",
    "/shared/{secret}",
    "/shared/{secret}/embed",
    "/shared/{shown}",
    "/shared/none",
)
#: The rules about what depends on colors and on the size of the window.
SEEN = ("color-contrast", "scrollable-region-focusable", "target-size")
TILES = (
    Tile("1", "number", ("page views",)),
    Tile("2", "sparkline", ("response time ms",)),
    Tile("3", "chart", ("page views",), size="medium"),
    Tile("4", "comparison", ("page views", "response time ms"), size="large"),
)


class AccessibilityTests(PagesCase):
    """Nothing keeps people from using a page."""

    @inlineCallbacks
    def check(self, path: str, *rules: str) -> Any:
        """Look at a page, by all rules or by some."""
        yield self.do("open", self.url + path)
        yield self.arrive(
            "!document.querySelector('.txstathat-chart:not([data-drawn])')"
        )
        found = yield deferToThread(violations, self.browser, rules)
        self.assertEqual(found, [], path)

    async def things(self) -> dict[str, str]:
        """Make what the paths name; returns its ids by the words in the paths."""
        parts = self.parts
        board = await parts.boards.boards.create(Board("The shop", TILES))
        names = ("page views", "response time ms")
        stat, other = await parts.archive.find([stat_id(name) for name in names])
        await parts.archive.notes.add(stat, "version 2")
        await parts.archive.details.change(stat, description="of the shop", pinned=True)
        await parts.archive.details.change(other, unit="ms")
        hook = {"kind": "webhook", "name": "chat", "url": "https://h.example/x"}
        await parts.channels.create({**hook, "headers": "A: b"})
        gone = stat_id("mails sent")
        await parts.archive.delete(gone)
        return {
            "alert": await self.firing(stat),
            "gone": gone,
            "stat": stat.id,
            "other": other.id,
            "board": board,
            "secret": await parts.shares.create("stat", stat.name),
            "shown": (shown := await parts.shares.create("board", board)),
            "shown_id": hash_key(shown),
        }

    @inlineCallbacks
    def test_pages(self) -> Any:
        """axe-core finds no violation, without and with stats, signed in and out."""
        link = yield Deferred.fromCoroutine(self.parts.sessions.link())
        for path in ("/sign-in", f"/sign-in/{link}", "/sign-in/used"):
            yield self.check(path)
        yield self.sign_in()
        yield self.check("/")
        yield self.keep(*self.lively())
        things = yield Deferred.fromCoroutine(self.things())
        for scheme, width, rules in (("light", 1280, ()), ("dark", 375, SEEN)):
            yield self.do("prefer", scheme)
            yield self.do("size", width, 800)
            for path in PATHS:
                yield self.check(path.format(**things), *rules)
            yield self.check_done(*rules)

    @inlineCallbacks
    def check_done(self, *rules: str) -> Any:
        """Look at a page that says what a form has done."""
        yield self.do("open", f"{self.url}/notes")
        yield self.do("type", "#text", "version 3\n")
        yield self.arrive("document.querySelector('.flash')")
        found = yield deferToThread(violations, self.browser, rules)
        self.assertEqual(found, [])

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
