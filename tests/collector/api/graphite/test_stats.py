"""
The search for stats by Graphite's paths.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.fixtures.archives import ArchiveCase
from txstathat import Count
from txstathat.collector.api.graphite import stats
from txstathat.collector.api.graphite.paths import Node, Pattern, path_of_name
from txstathat.collector.api.graphite.stats import StatFinder
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.errors import Refusal

NAMES = [
    *("".join(some) for size in (1, 2, 3, 4) for some in product("a.-", repeat=size)),
    *(
        "a.%.b",
        "a.%2E",
        "\xe9",
        "\xe9.\xe9",
        "\xea.a",
        "a.\U0001f600",
        "b c.d",
        "b c.d.e",
    ),
    *("b", "b.a.a.a", "b.a.a.b", "b.a.b", "b.a-", "b.-.a", "b.c"),
]
PATTERNS = st.text("ab.*-", max_size=7) | st.text("ab.*?-[]{,}%2E3C9", max_size=9)


def node_key(node: Node) -> tuple[bool, str]:
    """By what nodes are sorted."""
    return (not node.branch, node.text)


class SearchTests(ArchiveCase):
    """
    Searches, compared with one that looks at all names.
    """

    def check(self, text: str, few: int) -> None:
        """Both searches by a pattern find what a search among all names finds."""
        try:
            pattern = Pattern(text)
        except Refusal:
            return
        finder = StatFinder(self.archive, few)
        found = self.now(finder.find(pattern, len(NAMES)))
        self.assertEqual(
            [stat.name for stat in found],
            sorted(name for name in NAMES if pattern.matches(path_of_name(name))),
        )
        self.assertEqual(
            self.now(finder.nodes(pattern)),
            sorted(pattern.nodes(map(path_of_name, NAMES)), key=node_key),
        )

    def test_like_a_search_of_all(self) -> None:
        """What is left out does not match, whatever the pattern and the page."""
        self.keep(*map(Count, NAMES))

        @settings(max_examples=300)
        @given(PATTERNS, st.integers(1, 5))
        @example("*", 1)
        @example("a.*", 1)
        @example("{a,b}.{a,%C3*}", 1)
        @example("%C*", 2)
        @example("%C3%A9*", 2)
        @example("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}*", 2)
        def check(text: str, few: int) -> None:
            self.check(text, few)

        check()

    def read(self, text: str) -> tuple[list[str], int]:
        """The nodes that match, and how many rows of the listing were read for them."""
        rows = 0
        list_page = self.store.list_page

        def count(page: Any) -> Any:
            nonlocal rows
            rows += len(page.rows)
            return page

        self.store.list_page = lambda query: list_page(query).addCallback(count)
        nodes = self.now(StatFinder(self.archive, 2).nodes(Pattern(text)))
        self.store.list_page = list_page
        return [node.text for node in nodes], rows

    def test_reads_few(self) -> None:
        """Names that cannot match are not read, nor all that are below a node."""
        self.keep(*(Count(f"web{n % 9}.load.{n}") for n in range(900)))
        self.now(self.archive.listing.names(stats.ListQuery(stats.KINDS)))
        nodes, rows = self.read("*")
        self.assertEqual((nodes, rows), ([f"web{n}" for n in range(9)], 18))
        nodes, rows = self.read("web3.*.11*")
        self.assertEqual((nodes, rows), (["111"], 100))
        self.assertEqual(self.read("web{1,2}.*"), (["load"], 4))
        self.assertEqual(self.read("web*.mem.*"), ([], 18))

    def test_bounded(self) -> None:
        """A request cannot compare any number of names."""
        self.keep(*(Count(f"web{n}") for n in range(30)))
        finder = StatFinder(self.archive, max_names=59)
        self.assertEqual(len(self.now(finder.nodes(Pattern("*0")))), 3)
        refusal = self.fails(finder.nodes(Pattern("*0")), Refusal)
        self.assertIn("at most 59 names", str(refusal))

    def test_out_of_the_trash(self) -> None:
        """A stat that a point takes out of the trash is found at once."""
        self.keep(Count("web.a"), Count("web.b"))
        self.now(self.archive.delete(stat_id("web.a")))
        finder = StatFinder(self.archive)
        self.assertEqual(
            [n.text for n in self.now(finder.nodes(Pattern("web.*")))], ["b"]
        )
        self.keep(Count("web.a"))
        self.assertEqual(
            [n.text for n in self.now(finder.nodes(Pattern("web.*")))], ["a", "b"]
        )
        found = Deferred.fromCoroutine(finder.find(Pattern("*.a"), 5))
        self.assertEqual([stat.name for stat in self.successResultOf(found)], ["web.a"])
