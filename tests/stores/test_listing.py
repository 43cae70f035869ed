"""
The listing of a store, tested on every kind of store, against a model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.stores import (
    NOW,
    ClusterHost,
    MemoryHost,
    RedisHost,
    SqliteHost,
    ValkeyHost,
)
from txstathat.stores import Group, ListedRow, ListPage, ListQuery, open_store
from txstathat.stores.listing import (
    ORDERS,
    end_of_prefix,
    first_part,
    group_key,
    sort_key,
)

KINDS = ("count", "value")
NAMES = [
    *("web1 load", "web1 mem", "web1", "web10 load", "Web1 Load", "web1 ", "web"),
    *("a.b.c", "a.b", "a.b.d", "a.c", "a", "b/c:d", "b/c", ".", "..", ".a"),
    *("ÄPFEL straße", "äpfel", "É", "é", "é x", "日本 x", "\U0010ffff a", "\U0010ffff"),
    *("%_'\"[]*?", "x\u202ey", "z\u200b"),
]


def rows_of(names: list[str]) -> list[ListedRow]:
    """Rows with numbers of which some are equal, and some have a fraction."""
    return [
        ListedRow(
            name,
            KINDS[n % 3 == 0],
            float("-inf") if n % 3 == 0 else n * 37 % 11 - 2.5,
            NOW - n * 13 % 7 / 8,
            float(n % 4),
            n,
            NOW,
            f"id {name}",
        )
        for n, name in enumerate(names)
    ]


def matches(row: ListedRow, query: ListQuery) -> bool:
    """Whether a row matches a query."""
    folded = row.name.casefold()
    return (
        row.kind in query.kinds
        and row.name.startswith(query.prefix)
        and all(word.casefold() in folded for word in query.words)
    )


def expected_page(rows: list[ListedRow], query: ListQuery) -> ListPage:
    """The page that a query has of rows."""
    found = sorted(
        (row for row in rows if matches(row, query)),
        key=lambda row: sort_key(row, query.order),
        reverse=query.descending,
    )
    after = query.after
    left = [
        row
        for row in found
        if after is None
        or (
            sort_key(row, query.order) < after
            if query.descending
            else sort_key(row, query.order) > after
        )
    ]
    page = left[: query.limit]
    if not query.counted:
        return ListPage(page, len(left) > query.limit)
    return ListPage(page, len(left) > query.limit, len(found), len(rows))


def expected_groups(rows: list[ListedRow], query: ListQuery) -> list[Group]:
    """All groups below a prefix."""
    groups: dict[tuple[bool, str], list[str]] = {}
    for row in sorted(rows):
        if matches(row, query):
            part = first_part(row.name, query.prefix)
            key = (part is not None, row.name if part is None else part)
            groups.setdefault(key, []).append(row.name)
    return [Group(part, len(names), names[0]) for (_, part), names in groups.items()]


QUERIES = [
    ListQuery(kinds, order, descending, words, prefix, limit=limit)
    for kinds in (KINDS, ("value",))
    for order in ORDERS
    for descending in (False, True)
    for words, prefix, limit in (
        ((), "", 4),
        ((), "", 50),
        (("WEB1",), "", 2),
        (("l", "O"), "web1 ", 1),
        ((), "a.", 2),
        (("STRASSE",), "", 5),
        (("%",), "", 5),
        (("nothing",), "", 5),
    )
]


class ListingContract:
    """What every store must do."""

    host: Any

    @inlineCallbacks
    def setUp(self: Any) -> Any:
        self.here = self.host(self)
        self.store = yield self.here.open()

    @inlineCallbacks
    def pages(self: Any, query: ListQuery, rows: list[ListedRow]) -> Any:
        """Read all pages of a query, each after the one before."""
        seen = []
        for _ in range(len(rows) + 1):
            page = yield self.store.list_page(query)
            self.assertEqual(page, expected_page(rows, query), query)
            seen += page.rows
            if not page.more:
                break
            after = sort_key(page.rows[-1], query.order)
            query = ListQuery(
                *(query.kinds, query.order, query.descending, query.words),
                *(query.prefix, after, query.limit),
            )
        return seen

    @inlineCallbacks
    def test_pages(self: Any) -> Any:
        """
        The pages have all matching rows once, in each order and both directions, with
        the counts, also where numbers are equal.
        """
        rows = rows_of(NAMES)
        yield self.store.put_listed(rows)
        for query in QUERIES:
            seen = yield self.pages(query, rows)
            self.assertEqual(len(seen), sum(matches(row, query) for row in rows))

    @inlineCallbacks
    def test_changes(self: Any) -> Any:
        """
        A row replaces the one with its name, with another kind too; the others stay.
        Deleting a name that is not there has no effect.
        """
        one, two, three = rows_of(["one", "two", "drei"])
        yield self.store.put_listed([one, two, three])
        one = one._replace(total=7.0, activity=1e300, newest=0.1, refreshed=NOW + 1)
        two = two._replace(kind=KINDS[two.kind == "count"], total=-7.0)
        yield self.store.put_listed([two, one], ["drei", "vier"])
        for order in ORDERS:
            for kinds in (KINDS, *((kind,) for kind in KINDS)):
                query = ListQuery(kinds, order)
                page = yield self.store.list_page(query)
                self.assertEqual(page, expected_page([one, two], query))
        yield self.store.put_listed([], ["one", "two"])
        self.assertEqual(
            (yield self.store.list_page(ListQuery(KINDS))), ListPage([], False)
        )

    @inlineCallbacks
    def test_ids(self: Any) -> Any:
        """A name is found by the id of its row, until the row is deleted."""
        one, two, three = rows_of(["one", "zwei é", "three"])
        yield self.store.put_listed([one, two, three._replace(id="")])
        ids = ["", "nothing", one.id, two.id, three.id]
        both = {one.id: "one", two.id: "zwei é"}
        self.assertEqual((yield self.store.listed_names(ids)), both)
        self.assertEqual((yield self.store.listed_names([])), {})
        many = [f"unknown {n}" for n in range(1_200)]
        self.assertEqual((yield self.store.listed_names([*many, *ids])), both)
        # A row that has no id yet gets it.
        yield self.store.put_listed([three, one._replace(total=9.0)])
        self.assertEqual(
            (yield self.store.listed_names(ids)), {**both, three.id: "three"}
        )
        yield self.store.put_listed([], ["one", "three", "nothing"])
        self.assertEqual((yield self.store.listed_names(ids)), {two.id: "zwei é"})

    @inlineCallbacks
    def test_after_what_has_moved(self: Any) -> Any:
        """A page begins after a place, also if the row that was there is gone."""
        rows = rows_of(NAMES)
        yield self.store.put_listed(rows)
        for order in ORDERS:
            for descending in (False, True):
                for after in ((1.5, "m"), (2.0, ""), (NOW, "a.b.c"), (-1e9, "zz")):
                    query = ListQuery(KINDS, order, descending, after=after, limit=3)
                    if order == "name":
                        query = ListQuery(
                            *(KINDS, order, descending),
                            after=(0.0, after[1]),
                            limit=3,
                        )
                    page = yield self.store.list_page(query)
                    self.assertEqual(page, expected_page(rows, query), query)

    @inlineCallbacks
    def test_without_counting(self: Any) -> Any:
        """Rows can be read without counting the others."""
        rows = rows_of(NAMES)
        yield self.store.put_listed(rows)
        query = ListQuery(KINDS, limit=3, counted=False)
        page = yield self.store.list_page(query)
        self.assertEqual(page, expected_page(rows, query))

    @inlineCallbacks
    def test_groups(self: Any) -> Any:
        """The groups below a prefix are read in pages, each name in one group."""
        rows = rows_of(NAMES)
        yield self.store.put_listed(rows)
        for kinds in (KINDS, ("value",)):
            for prefix in ("", "a.", "a.b.", "web1 ", "no"):
                expected = expected_groups(rows, ListQuery(kinds, prefix=prefix))
                seen: list[Group] = []
                after = None
                for _ in range(len(rows)):
                    groups = yield self.store.list_groups(
                        ListQuery(kinds, prefix=prefix, after=after, limit=2)
                    )
                    if not groups:
                        break
                    seen += groups
                    part = groups[-1].part
                    after = (float(first_part(part, prefix) is not None), part)
                self.assertEqual(seen, expected, prefix)

    @inlineCallbacks
    def test_groups_backwards(self: Any) -> Any:
        """The pages of groups are the same when they are read from the end."""
        rows = rows_of(NAMES)
        yield self.store.put_listed(rows)
        for kinds in (KINDS, ("value",)):
            for prefix in ("", "a.", "a.b.", "web1 ", "no"):
                query = ListQuery(kinds, prefix=prefix, limit=2, descending=True)
                expected = expected_groups(rows, query)
                groups = yield self.store.list_groups(query)
                self.assertEqual(groups, expected[::-1][:2])
                for at, group in enumerate(expected):
                    groups = yield self.store.list_groups(
                        replace(query, after=group_key(group, prefix))
                    )
                    self.assertEqual(groups, expected[:at][::-1][:2], group)

    @inlineCallbacks
    def test_many(self: Any) -> Any:
        """There may be more rows than one command writes or reads."""
        rows = rows_of([f"n{n:04}" for n in range(5_200)])
        yield self.store.put_listed(rows)
        query = ListQuery(KINDS, "activity", True, ("n",), limit=600)
        page = yield self.store.list_page(query)
        self.assertEqual(page, expected_page(rows, query))


class MemoryListingTests(ListingContract, TestCase):
    """In memory."""

    host = MemoryHost


class SqliteListingTests(ListingContract, TestCase):
    """In a file."""

    timeout = 60
    host = SqliteHost


class RedisListingTests(ListingContract, TestCase):
    """On Redis."""

    timeout = 60
    host = RedisHost


class ValkeyListingTests(ListingContract, TestCase):
    """On Valkey."""

    timeout = 60
    host = ValkeyHost


class ClusterListingTests(ListingContract, TestCase):
    """On a Redis Cluster."""

    timeout = 120
    host = ClusterHost


TEXTS = st.text(
    st.sampled_from("aAb ./:é\u0307\U0010ffff") | st.characters(exclude_categories="C"),
    max_size=5,
)


class AnyListingTests(SynchronousTestCase):
    """Any rows and queries, in memory."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(TEXTS.filter(str.strip), unique=True, max_size=20),
        st.sampled_from(ORDERS),
        st.booleans(),
        st.lists(TEXTS, max_size=2),
        TEXTS,
        st.none() | st.tuples(st.sampled_from([0.0, 1.0, -2.5]), TEXTS),
        st.integers(1, 5),
    )
    def test_like_the_model(
        self,
        names: list[str],
        order: str,
        descending: bool,
        words: list[str],
        prefix: str,
        after: tuple[float, str] | None,
        limit: int,
    ) -> None:
        """Every page and every group is that of the model."""
        clock: Any = Clock()
        store = self.successResultOf(open_store("memory:", reactor=clock, clock=clock))
        rows = rows_of(names)
        self.successResultOf(store.put_listed(rows))
        if order == "name" and after is not None:
            after = (0.0, after[1])
        query = ListQuery(KINDS, order, descending, tuple(words), prefix, after, limit)
        page = self.successResultOf(store.list_page(query))
        self.assertEqual(page, expected_page(rows, query))
        query = ListQuery(KINDS, prefix=prefix, limit=100)
        groups = self.successResultOf(store.list_groups(query))
        self.assertEqual(groups, expected_groups(rows, query))
        backwards = replace(query, descending=True)
        found = self.successResultOf(store.list_groups(backwards))
        self.assertEqual(found, groups[::-1])
        self.successResultOf(store.close())

    @given(TEXTS, TEXTS)
    def test_end_of_prefix(self, prefix: str, rest: str) -> None:
        """All texts with a prefix are before its end, and it is after no others."""
        end = end_of_prefix(prefix)
        self.assertTrue(end is None or prefix + rest < end)
        if end is not None and prefix <= rest < end:
            self.assertTrue(rest.startswith(prefix))

    def test_wrong_order(self) -> None:
        """An unknown order is refused, with the known ones."""
        error = self.assertRaises(ValueError, ListQuery, KINDS, "size")
        self.assertIn("name, total, newest, activity", str(error))
