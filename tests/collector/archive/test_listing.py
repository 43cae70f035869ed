"""
The rows from which the list of stats is sorted.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.task import Clock
from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.archives import ArchiveCase, batch
from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW, RedisHost, SqliteHost
from txstathat import Count, Value
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.listing import (
    CHECK_SECONDS,
    KINDS,
    REFRESH_SECONDS,
    VIEWED_SECONDS,
)
from txstathat.collector.archive.stats import DEFINITIONS, stat_id
from txstathat.collector.errors import Refusal
from txstathat.errors import StoreUnavailable
from txstathat.stores import Amounts, IStore, ListedRow, ListQuery, WriteBatch

HOUR = 3600


class SlowClock(Clock):
    """A clock for which everything takes a while."""

    def seconds(self) -> float:
        """Unix seconds, later each time."""
        self.rightNow += 20
        return float(self.rightNow)


class SlowNames(proxyForInterface(IStore)):  # type: ignore[misc]
    """A store that takes a while to read the names of all stats."""

    def __init__(self, store: IStore) -> None:
        super().__init__(store)
        self.definitions_read: Deferred[None] = Deferred()

    def definitions(self, names: Any = None) -> Any:
        """Wait, if all are read."""
        found = self.original.definitions(names)
        if names is not None:
            return found
        return self.definitions_read.addCallback(lambda _: found)


class ListingCase(ArchiveCase):
    """
    An archive in memory.
    """

    def rows(self, archive: Archive | None = None, **query: Any) -> list[ListedRow]:
        """The rows of the list, as a page gets them."""
        listing = (archive or self.archive).listing
        return self.now(listing.page(ListQuery(KINDS, **query))).rows

    def names(self, archive: Archive | None = None, **query: Any) -> list[str]:
        """The names of these rows."""
        return [row.name for row in self.rows(archive, **query)]

    def row(self, name: str) -> ListedRow:
        """The row of a stat."""
        (row,) = (row for row in self.rows() if row.name == name)
        return row


class RowTests(ListingCase):
    """
    The contents of rows.
    """

    def test_numbers(self) -> None:
        """
        A row has the total of a counter, the newest point's own time, and the number of
        points in 24 hours; a value has no total.
        """
        self.keep(
            Count("hits", 5, NOW - 30 * HOUR), Count("hits", 2.5, NOW - 23 * HOUR)
        )
        self.keep(Count("hits", 1, NOW - 7200), Value("load", 3, NOW - 60))
        hits, load = self.rows()
        self.assertEqual((hits.kind, hits.total, hits.activity), ("count", 8.5, 2.0))
        self.assertEqual(hits.newest, (NOW - 7200) // 60 * 60)
        self.assertEqual((load.kind, load.total), ("value", float("-inf")))
        self.assertEqual((load.activity, load.newest), (1.0, (NOW - 60) // 60 * 60))

    def test_orders(self) -> None:
        """Stats are listed by each number, in both directions."""
        self.keep(*(Count("a", 1, NOW - 600) for _ in range(3)))
        self.keep(Count("b", 100, NOW - 40 * 86_400), Count("c", 50, NOW))
        for order, names in (
            ("name", ["a", "b", "c"]),
            ("total", ["a", "c", "b"]),
            ("newest", ["b", "a", "c"]),
            ("activity", ["b", "c", "a"]),
        ):
            self.assertEqual(self.names(order=order), names)
            self.assertEqual(self.names(order=order, descending=True), names[::-1])

    def test_a_minute_apart(self) -> None:
        """New stats are listed at once; numbers are made anew once a minute."""
        self.keep(Count("a", 1, NOW))
        self.assertEqual(self.row("a").total, 1)
        self.keep(Count("a", 2, NOW), Count("b", 5, NOW))
        self.assertEqual(self.names(), ["a", "b"])
        self.assertEqual(self.row("a").total, 1)
        self.clock.advance(REFRESH_SECONDS)
        self.assertEqual((self.row("a").total, self.row("b").total), (3, 5))

    def test_passing_hours(self) -> None:
        """The activity of a stat without further points ends after 24 hours."""
        self.keep(Count("a", 1, NOW))
        self.assertEqual(self.row("a").activity, 1)
        self.clock.advance(23 * HOUR)
        self.now(self.archive.listing.check())
        self.assertEqual(self.row("a").activity, 1)
        self.clock.advance(HOUR)
        self.now(self.archive.listing.check())
        self.assertEqual(self.row("a").activity, 0)

    def test_many(self) -> None:
        """Many rows are made in the background, with pauses for other work."""
        self.keep(*(Count(f"n{n:03}", n, NOW) for n in range(250)))
        self.assertEqual(len(self.names(limit=300)), 250)
        self.clock.pump([1] * 10)
        numbers = [row.total for row in self.rows(limit=300)]
        self.assertEqual(numbers, [*range(250)])

    def test_while_many_are_made(self) -> None:
        """A page does not wait for many rows, also if few others changed meanwhile."""
        timers = SlowClock()
        archive = Archive(self.store, timers=timers)
        points = [Count(f"n{n:03}", n, NOW) for n in range(250)]
        self.successResultOf(archive.add(batch(*points)))
        self.assertEqual(len(self.names(archive, limit=300)), 250)
        self.successResultOf(archive.add(batch(Count("n249", 1, NOW))))
        timers.advance(REFRESH_SECONDS)
        self.assertEqual(self.rows(archive, limit=300)[249].total, 0)
        for _ in range(20):
            timers.advance(REFRESH_SECONDS)
        self.assertEqual(self.rows(archive, limit=300)[249].total, 250)

    def test_complete_later(self) -> None:
        """
        A list with many rows is shown at once after a start, while what a crash has
        left out is added.
        """
        many = [ListedRow(f"n{n:04}", "count", 0, 0, 0, -1, 0) for n in range(2_001)]
        self.keep(*(Count(row.name, 1, NOW) for row in many), Count("z", 1, NOW))
        self.successResultOf(self.store.put_listed(many, ["z"]))
        store = SlowNames(self.store)
        archive = Archive(store, timers=self.clock)
        self.assertEqual(self.names(archive, descending=True, limit=1), ["n2000"])
        store.definitions_read.callback(None)
        self.assertEqual(self.names(archive, descending=True, limit=1), ["z"])

    def test_created_meanwhile(self) -> None:
        """A stat that another collector creates while all names are read keeps its row."""
        self.keep(Count("a", 1, NOW))
        store = SlowNames(self.store)
        archive = Archive(store, timers=self.clock)
        checking = Deferred.fromCoroutine(archive.listing.check())
        self.keep(Count("b", 1, NOW))
        store.definitions_read.callback(None)
        self.successResultOf(checking)
        page = self.successResultOf(self.store.list_page(ListQuery(KINDS)))
        self.assertEqual([row.name for row in page.rows], ["a", "b"])


class ViewTests(ListingCase):
    """
    Rows are made while somebody looks.
    """

    def total(self) -> float:
        """The total in the store's row, without looking at the list."""
        page = self.successResultOf(self.store.list_page(ListQuery(KINDS)))
        return page.rows[0].total

    def test_nobody_looks(self) -> None:
        """
        Rows are made once a minute for ten minutes after somebody looked, through any
        collector on the store, and else only by the check of each hour.
        """
        other = Archive(self.store)
        self.keep(Count("a", 1, NOW))
        self.names()
        self.clock.advance(VIEWED_SECONDS - 60)
        self.keep(Count("a", 1, NOW))
        self.now(self.archive.listing.refresh_if_viewed())
        self.assertEqual(self.total(), 2)
        self.clock.advance(61)
        self.keep(Count("a", 1, NOW))
        self.now(self.archive.listing.refresh_if_viewed())
        self.assertEqual(self.total(), 2)
        self.names(other)
        self.now(self.archive.listing.refresh_if_viewed())
        self.assertEqual(self.total(), 3)
        self.clock.advance(VIEWED_SECONDS + 1)
        self.keep(Count("a", 1, NOW))
        self.now(self.archive.listing.check())
        self.assertEqual(self.total(), 4)

    def test_a_strange_record(self) -> None:
        """A record that no collector wrote does not keep the list from working."""
        self.successResultOf(self.store.put_record("listing", "viewed", "soon"))
        self.keep(Count("a", 1, NOW))
        self.now(self.archive.listing.refresh_if_viewed())
        self.assertEqual(self.total(), 0)
        self.assertEqual(self.row("a").total, 1)


class ChangeTests(ListingCase):
    """
    Rows follow what happens to stats.
    """

    def test_trash(self) -> None:
        """A deleted stat has no row; a point, or restoring it, brings it back."""
        self.keep(Count("a", 1, NOW), Count("b", 2, NOW))
        self.assertEqual(self.names(), ["a", "b"])
        self.now(self.archive.delete(stat_id("a")))
        self.assertEqual(self.names(), ["b"])
        self.now(self.archive.restore("a"))
        self.assertEqual(self.row("a").total, 1)
        self.now(self.archive.delete(stat_id("a")))
        self.keep(Count("a", 1, NOW))
        self.clock.advance(REFRESH_SECONDS)
        self.assertEqual(self.row("a").total, 2)

    def test_deleted_for_good(self) -> None:
        """A stat that is gone from the trash can come back as another kind."""
        self.keep(Count("a", 1, NOW))
        self.now(self.archive.delete(stat_id("a")))
        self.clock.advance(49 * HOUR)
        self.now(self.archive.empty_trash())
        self.assertEqual(self.names(), [])
        self.keep(Value("a", 1))
        self.assertEqual([row.kind for row in self.rows()], ["value"])

    def test_created(self) -> None:
        """A stat without points is listed."""
        self.now(self.archive.create("none", "count"))
        self.assertEqual((self.row("none").newest, self.row("none").total), (0, 0))

    def test_another_collector(self) -> None:
        """Collectors on one store share the rows."""
        other = Archive(self.store)
        self.assertEqual(self.names(other), [])
        self.keep(Count("a", 1, NOW))
        self.assertEqual(self.names(other), ["a"])
        self.clock.advance(REFRESH_SECONDS)
        self.successResultOf(self.archive.listing.refresh())
        self.assertEqual([row.total for row in self.rows(other)], [1])

    def test_after_a_crash(self) -> None:
        """What a collector had not listed when it ended is found by the next one."""
        self.keep(Count("a", 1, NOW), Count("b", 1, NOW))
        self.names()
        self.keep(Count("a", 1, NOW))
        self.successResultOf(self.store.put_listed([], ["b"]))
        extra = ListedRow("no stat", "count", 1.0, 1.0, 1.0, 1, NOW)
        self.successResultOf(self.store.put_listed([extra]))
        after = Archive(self.store)
        self.assertEqual(
            [(row.name, row.total) for row in self.rows(after)], [("a", 2), ("b", 1)]
        )

    def test_rows_of_an_older_version(self) -> None:
        """
        Rows without ids are no hindrance: their stats are found by id, also by several
        requests at once. So is a stat whose row could not be written.
        """
        self.keep(*(Count(name, 1, NOW) for name in "abc"))
        rows = self.rows()
        old = [row._replace(id="") for row in rows]
        self.successResultOf(self.store.put_listed([], ["a", "b", "c"]))
        self.successResultOf(self.store.put_listed(old[:2]))
        after = Archive(self.store)
        asked = [Deferred.fromCoroutine(after.find([stat_id(name)])) for name in "abc"]
        found = [self.successResultOf(one)[0].name for one in asked]
        self.assertEqual(found, ["a", "b", "c"])
        self.assertEqual(self.rows(after), rows)

    def test_found_by_id(self) -> None:
        """
        A new stat is found by id before it has a row; so is one that a point has taken
        out of the trash, by any collector.
        """
        self.keep(Count("a", 1, NOW))
        other = Archive(self.store)
        self.rows()
        self.rows(other)
        self.now(self.archive.delete(stat_id("a")))
        for archive in (self.archive, other):
            self.fails(archive.find([stat_id("a")]), Refusal)
        self.keep(Count("a", 1, NOW))
        for archive in (self.archive, other):
            self.assertEqual(self.now(archive.find([stat_id("a")]))[0].name, "a")
        put, held = self.store.put_listed, Deferred()
        self.store.put_listed = lambda *rows: held.addCallback(lambda _: put(*rows))
        self.keep(Count("b", 1, NOW))
        self.assertEqual(self.now(self.archive.find([stat_id("b")]))[0].name, "b")
        held.callback(None)

    def test_points_of_an_older_version(self) -> None:
        """A check finds stats that a collector without this list has written."""
        self.keep(Count("a", 1, NOW))
        self.names()
        old = Archive(self.store)
        old.listing.note = lambda names: None  # type: ignore[method-assign]
        self.successResultOf(old.add(batch(Count("a", 5, NOW))))
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.row("a").total, 1)
        self.now(self.archive.listing.check())
        self.assertEqual(self.row("a").total, 6)

    def test_not_a_stat(self) -> None:
        """A Metrica that a program has in the same store is not listed."""
        amounts = Amounts({"mine": DEFINITIONS["count"]}, [])
        self.successResultOf(self.store.add([WriteBatch("b", "", lambda: amounts)]))
        self.assertEqual(self.names(), [])

    def test_a_store_that_fails(self) -> None:
        """
        Points are accepted if the row of their stat cannot be written; the row follows
        when it can.
        """
        put = self.store.put_listed
        self.store.put_listed = lambda *_: fail(StoreUnavailable("away"))
        self.keep(Count("a", 1, NOW))
        self.fails(self.archive.listing.page(ListQuery(KINDS)), StoreUnavailable)
        self.store.put_listed = put
        self.assertEqual(self.row("a").total, 1)
        self.keep(Count("a", 2, NOW))
        self.clock.advance(REFRESH_SECONDS)
        self.store.put_listed = lambda *_: fail(StoreUnavailable("away"))
        self.failureResultOf(self.archive.listing.refresh(), StoreUnavailable)
        self.store.put_listed = put
        self.successResultOf(self.archive.listing.refresh())
        self.assertEqual(self.row("a").total, 3)


class LimitTests(SynchronousTestCase):
    """
    The largest number of stats.
    """

    def test_option(self) -> None:
        """A collector takes as many stats as it was told, and says how to raise it."""
        self.clock = Clock()
        self.clock.advance(NOW)
        here = Collector(self, max_stats=2)
        self.successResultOf(here.parts.archive.add(batch(Count("a"), Count("b"))))
        adding = here.parts.archive.add(batch(Count("c")))
        refusal = self.failureResultOf(adding, Refusal).value
        self.assertEqual(refusal.status, 429)
        self.assertIn("2 is the limit", str(refusal))
        self.assertIn("--max-stats", str(refusal))
        page = here.now(here.parts.archive.listing.page(ListQuery(KINDS)))
        self.assertEqual([row.name for row in page.rows], ["a", "b"])


class LatestTests(ListingCase):
    """
    The newest point of a stat.
    """

    def latest(self, name: str) -> Any:
        """The time, scale and value of the newest point."""
        found = self.now(self.archive.latest([self.stat(name)])).get(name)
        return found and (found.time, found.scale, found.value)

    def test_as_exact_as_stored(self) -> None:
        """It is exact to the minute, or to the finest detail that has not expired."""
        now = int(NOW)
        for seconds, scale, length in (
            (0, "minute", 60),
            (200, "minute", 60),
            (20 * HOUR, "minute", 60),
            (30 * 86_400, "hour", HOUR),
            (200 * 86_400, "day", 86_400),
        ):
            name = f"before {seconds}"
            t = now - seconds
            self.keep(Count(name, 3, t), Count(name, 4, t), Value(f"v {name}", 2.5, t))
            self.keep(Value(f"v {name}", 3.5, t), Count(name, 9, t - 2 * length))
            start = t - t % length
            self.assertEqual(self.latest(name), (start, scale, 7))
            self.assertEqual(self.latest(f"v {name}"), (start, scale, 3.0))

    def test_years_ago(self) -> None:
        """A month of an earlier year is found, and is as exact as it is stored."""
        self.keep(Count("old", 3, 1_000_000_000))
        self.assertEqual(self.latest("old"), (999_302_400, "month", 3))

    def test_without_points(self) -> None:
        """A stat without points has none."""
        self.now(self.archive.create("none", "count"))
        self.assertIsNone(self.latest("none"))

    def test_ahead(self) -> None:
        """A point a minute ahead of its receipt is the newest."""
        self.keep(Count("a", 1, NOW), Count("a", 5, NOW + 60))
        self.assertEqual(self.latest("a"), ((NOW + 60) // 60 * 60, "minute", 5))


class SharingTests(TestCase):
    """
    Two collectors on one store with threads.
    """

    timeout = 120

    @inlineCallbacks
    def check_rows(self, host: Any) -> Any:
        """Add stats through both, and list them through both."""
        archives = []
        for _ in range(2):
            store = yield host.open()
            archives.append(Archive(store, timers=Clock()))
        for number, archive in enumerate(archives):
            points = [Count(f"{number} {n}", n + 1) for n in range(30)]
            yield archive.add(batch(*points))
            yield Deferred.fromCoroutine(archive.settled())
        query = ListQuery(KINDS, "total", True, limit=100)
        for archive in archives:
            yield Deferred.fromCoroutine(archive.listing.page(query))
        for archive in archives:
            page = yield Deferred.fromCoroutine(archive.listing.page(query))
            self.assertEqual(page.found, 60)
            self.assertEqual([row.total for row in page.rows][:4], [30, 30, 29, 29])

    def test_sqlite(self) -> Any:
        """On one SQLite file."""
        return self.check_rows(SqliteHost(self))

    def test_redis(self) -> Any:
        """On one Redis."""
        return self.check_rows(RedisHost(self))
