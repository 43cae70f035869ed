"""
The list of stats in a real browser.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.fixtures.pages import NOW, TEXT, TOO_WIDE, PagesCase
from tests.fixtures.visitors import HOSTILE
from txstathat import Count, Value
from txstathat.collector.archive.stats import stat_id

NAMES = """
return [...document.querySelectorAll("tbody th a")].map((a) => a.innerText);
"""
#: The left edges and widths of the columns.
COLUMNS = """
return [...document.querySelectorAll("thead th")].map(
  (th) => [th.getBoundingClientRect().left, th.offsetWidth]);
"""
STRANGE = ["a\u202eb", "\u200b", HOSTILE, "x" * 255]


class ListBrowserTests(PagesCase):
    """What a person does with the list."""

    @inlineCallbacks
    def fill(self) -> Any:
        """Store a day of a program, and stats of several servers."""
        yield self.keep(*self.lively())
        points: list[Any] = []
        for n in range(40):
            points += [
                Value(f"web{n} load", 0.5 + n / 10, NOW - 60 * n),
                Count(f"web{n} requests", 1000 * n + 7, NOW - 600 * n),
            ]
        yield self.keep(*points)
        yield self.sign_in()
        yield self.do("size", 1280, 900)

    def names(self) -> Any:
        """The names in the list, in order."""
        return self.do("run", NAMES)

    @inlineCallbacks
    def follow(self, selector: str, query: str) -> Any:
        """Click on a link, and wait for the list with a query."""
        yield self.do("click", selector)
        yield self.arrive(
            f"decodeURIComponent(location.search) === '{query}' && "
            "document.querySelector('.foot')"
        )

    @inlineCallbacks
    def enter(self, selector: str) -> Any:
        """Go to an element, and press the key Enter."""
        yield self.do("run", "document.querySelector(arguments[0]).focus()", selector)
        yield self.do("type", selector, "\n")

    @inlineCallbacks
    def test_find_and_return(self) -> Any:
        """
        The key / leads to the search; from a stat that was found, and from another
        range of it, the link leads back to the same search and order.
        """
        yield self.fill()
        yield self.do("type", "body", "/")
        yield self.do("type", "#q", "LOAD web1\n")
        yield self.arrive("location.search === '?q=LOAD+web1'")
        self.assertIn("11 of 88 stats match “LOAD web1”.", (yield self.do("run", TEXT)))
        yield self.follow("thead th:nth-child(8) a", "?q=LOAD+web1&sort=newest")
        names = yield self.names()
        self.assertEqual(names[:3], ["web1 load", "web10 load", "web11 load"])
        yield self.enter("tbody th a")
        yield self.arrive(f"location.pathname === '/stats/{stat_id('web1 load')}'")
        yield self.do("click", ".timeframes a:nth-child(3)")
        yield self.arrive("location.search.includes('1w3h')")
        yield self.follow(".back a", "?q=LOAD+web1&sort=newest")
        self.assertEqual((yield self.names()), names)
        yield self.silent()

    @inlineCallbacks
    def test_orders_and_pages(self) -> Any:
        """
        Heads sort, in both directions; pages go on and back; kinds are filtered. No
        column moves meanwhile.
        """
        yield self.fill()
        columns = yield self.do("run", COLUMNS)
        yield self.follow("thead th:nth-child(6) a", "?sort=total")
        first = yield self.names()
        self.assertEqual(first[:2], ["web39 requests", "web38 requests"])
        self.assertEqual((yield self.do("run", COLUMNS)), columns)
        yield self.do("click", ".pages [rel=next]")
        yield self.arrive("location.search.includes('after')")
        yield self.arrive("document.querySelector('.foot')")
        second = yield self.names()
        self.assertEqual(len(set(first) & set(second)), 0)
        self.assertEqual(len(first + second), 88)
        text = yield self.do("run", TEXT)
        self.assertIn("88 stats. Showing 51 to 88.", text)
        self.assertEqual((yield self.do("run", COLUMNS)), columns)
        yield self.do("click", ".pages [rel=prev]")
        yield self.arrive("!document.querySelector('[rel=prev]')")
        self.assertEqual((yield self.names()), first)
        yield self.enter("thead [aria-sort=descending] a")
        yield self.arrive("document.querySelector('[aria-sort=ascending]')")
        self.assertEqual((yield self.names())[0], "backup GB")
        yield self.do("click", "[aria-label=Kind] a:nth-child(3)")
        yield self.arrive("location.search.includes('kind=values')")
        yield self.arrive("document.querySelector('.foot')")
        kinds = yield self.do(
            "run",
            "return [...new Set([...document.querySelectorAll("
            "'tbody td:nth-child(3)')].map((td) => td.innerText))]",
        )
        self.assertEqual(kinds, ["value"])
        self.assertEqual((yield self.do("run", COLUMNS)), columns)
        yield self.silent()

    @inlineCallbacks
    def test_groups_and_pins(self) -> Any:
        """
        A group is opened and left; a star pins a stat, which is then on top and is
        stored, and the key Enter on it unpins it.
        """
        yield self.fill()
        yield self.follow("[aria-label=View] a:nth-child(2)", "?view=groups")
        yield self.do("screenshot", "list-groups")
        names = yield self.names()
        self.assertEqual(names[-1], "web9 …")
        selector = f"tbody tr:nth-child({names.index('web0 …') + 1}) th a"
        yield self.follow(selector, "?view=groups&group=web0+")
        self.assertEqual((yield self.names()), ["web0 load", "web0 requests"])
        yield self.do("screenshot", "list-group")
        star = f"button[value={stat_id('web0 requests')}]"
        yield self.do("click", star)
        yield self.arrive(f"document.querySelector('{star}[name=unpin]')")
        yield self.look("/", "list-pinned")
        self.assertEqual((yield self.names())[0], "web0 requests")
        details = yield Deferred.fromCoroutine(self.parts.archive.details.all())
        self.assertTrue(details[stat_id("web0 requests")].pinned)
        # An update preserves the focus.
        yield self.do("run", "document.querySelector(arguments[0]).focus()", star)
        yield self.keep(Count("a new stat", 1, NOW))
        yield self.do("run", "document.dispatchEvent(new Event('visibilitychange'))")
        yield self.arrive(
            "document.querySelector('main').innerText.includes('a new stat')"
        )
        focused = yield self.do("run", "return document.activeElement.value")
        self.assertEqual(focused, stat_id("web0 requests"))
        yield self.enter(star)
        yield self.arrive(f"!document.querySelector('{star}[name=unpin]')")
        details = yield Deferred.fromCoroutine(self.parts.archive.details.all())
        self.assertEqual(details, {})
        yield self.silent()

    @inlineCallbacks
    def test_looks(self) -> Any:
        """
        Light and dark, wide and on a phone, with hostile names, nothing is too wide; on
        the phone the name has half of the room, and the links sort.
        """
        yield self.keep(*(Count(name, 10**n, NOW) for n, name in enumerate(STRANGE)))
        yield self.fill()
        for scheme in ("light", "dark"):
            yield self.do("prefer", scheme)
            for width, height in ((1280, 900), (375, 812)):
                yield self.do("size", width, height)
                for path, name in (("/", "list"), ("/?view=groups", "list-groups")):
                    yield self.look(path, f"{name}-{scheme}-{width}")
                    self.assertEqual((yield self.do("run", TOO_WIDE)), 0, path)
        share = yield self.do(
            "run",
            "return document.querySelector('thead th:nth-child(2)').offsetWidth / "
            "document.querySelector('table').offsetWidth",
        )
        self.assertGreater(share, 0.5)
        yield self.look("/")
        yield self.follow("[aria-label=Order] a:nth-child(2)", "?sort=total")
        self.assertEqual((yield self.names())[0], "web39 requests")
        yield self.look("/?q=%E2%80%8B")
        self.assertEqual((yield self.names()), ["U+200B"])
        yield self.look("/?q=%3Cscript")
        self.assertEqual((yield self.names()), [HOSTILE])
        yield self.silent()
