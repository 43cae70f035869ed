"""
The list of stats in a real browser.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import inlineCallbacks

from tests.fixtures.pages import NOW, TOO_WIDE, PagesCase
from txstathat import Count, Value

NAMES = """
return [...document.querySelectorAll("tbody th a")].map((a) => a.textContent);
"""


class ListBrowserTests(PagesCase):
    """What a person does with the list."""

    @inlineCallbacks
    def fill(self, servers: int = 40) -> Any:
        """Store a day of a program, and stats of several servers."""
        yield self.keep(*self.lively())
        points: list[Any] = []
        for n in range(servers):
            points += [
                Value(f"web{n} load", 0.5 + n / 10, NOW - 60 * n),
                Value(f"web{n} memory", 40 + n, NOW - 60 * n),
                Count(f"web{n} requests", 1000 * n + 7, NOW - 600 * n),
                Count(f"shop.orders.region{n}", n, NOW - 3600 * n),
            ]
        yield self.keep(*points)

    @inlineCallbacks
    def test_looks(self) -> Any:
        """x."""
        yield self.fill()
        yield self.sign_in()
        for scheme in ("light", "dark"):
            yield self.do("prefer", scheme)
            for width, height in ((1280, 900), (375, 812)):
                yield self.do("size", width, height)
                for path, name in (
                    ("/", "list"),
                    ("/?view=groups", "groups"),
                    ("/?sort=total", "total"),
                    ("/?view=groups&group=web1%20", "group"),
                    ("/?q=web1&kind=values&n=1", "search"),
                ):
                    yield self.look(path, f"{name}-{scheme}-{width}")
                    print(path, width, (yield self.do("run", TOO_WIDE)))
        yield self.silent()
