"""
Exporting and loading the contents of a store: nothing is lost or added twice.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.archives import DAY, batch
from tests.fixtures.stores import NOW, ClusterHost, MemoryHost, RedisHost, SqliteHost
from txstathat import Count, Value
from txstathat.collector.alerts.conditions.evaluation import AlertState
from txstathat.collector.alerts.history import DeliveryError, Episode, Silence
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.alerts.notices import AlertNotice
from txstathat.collector.alerts.records import AlertRecord, AlertRecords
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.shares import Shares
from txstathat.collector.boards.model import Board, Comparison, Tile
from txstathat.collector.boards.records import BoardRecords
from txstathat.collector.channels import Channels
from txstathat.collector.errors import Refusal
from txstathat.collector.transfer import (
    MAX_CELLS,
    CannotLoad,
    check_dump,
    dump_lines,
    load_dump,
)
from txstathat.errors import StoreError, StoreTooNew, StoreUnavailable
from txstathat.metrica import Metrica, StoredChoiceAxis
from txstathat.stores.dump import open_dump
from txstathat.stores.interface import StoredCell
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, Store

TIMEFRAMES = (
    "1h1m",
    "1d5m",
    "1w3h",
    "1M1h",
    "1M1d",
    "1y1d",
    "1y1w",
    "2y1M",
    "10y1y",
)

amounts = st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300)
counters, values = st.sampled_from(["a", "b/é", "ü"]), st.sampled_from(["v", "w"])
ages = st.integers(0, 7200) | st.integers(0, 3 * 365 * DAY)
steps = st.one_of(
    st.tuples(st.just("count"), counters, amounts, ages),
    st.tuples(st.just("value"), values, amounts, ages),
    st.tuples(st.just("create"), counters | values),
    st.tuples(st.just("delete"), counters | values),
    st.tuples(st.just("comment"), counters | values),
    st.tuples(st.just("wait"), st.integers(1, 40 * DAY)),
)


class Place:
    """
    A collector's store in a file. Its Deferreds fire at once.

    :param case: the test.
    :param clock: the clock of the store.
    """

    def __init__(self, case: SynchronousTestCase, clock: Clock) -> None:
        self.path = case.mktemp()
        self.url = f"sqlite:{self.path}"
        self.clock = clock
        self.case = case
        self.store: Any = Store(
            SqliteBackend(self.path, clock.seconds), Inline(), clock
        )
        case.successResultOf(self.store.open())
        # Otherwise each step would wait for the disk.
        self.store._backend._writer.execute("PRAGMA synchronous = OFF")
        self.archive = Archive(self.store)
        self.alerts = AlertRecords(self.store)

    def close(self) -> None:
        """Close the store."""
        self.case.successResultOf(self.store.close())

    def now(self, waited: Any) -> Any:
        """The result of a coroutine that has finished."""
        return self.case.successResultOf(Deferred.fromCoroutine(waited))

    def export(self, max_cells: int = MAX_CELLS, *, keys: bool = False) -> list[str]:
        """The lines of an export."""
        with open_dump(self.url, self.clock.seconds) as dump:
            return list(dump_lines(dump, max_cells, keys=keys))

    def load(self, lines: Iterable[str]) -> bool:
        """Load an export; whether there was anything to do."""
        done: bool = self.now(load_dump(self.store, lines, lambda more: None))
        return done

    def refusal(self, lines: Iterable[str]) -> str:
        """Why an export cannot be loaded."""
        failed = Deferred.fromCoroutine(load_dump(self.store, lines, lambda more: None))
        return str(self.case.failureResultOf(failed, CannotLoad).value)

    def cells(self) -> list[StoredCell]:
        """All cells of the store."""
        with open_dump(self.url, self.clock.seconds) as dump:
            return list(dump.cells())

    def contents(self) -> dict[str, Any]:
        """All that the collector can return."""
        stats = self.now(self.archive.stats())
        return {
            "stats": stats,
            "totals": self.now(self.archive.totals()),
            "alerts": [
                replace(record, stored="")
                for record in self.now(self.alerts.all()).values()
            ],
            "trash": self.now(self.trash()),
            "comments": self.now(self.archive.comments(stats)),
            **{
                frame: [
                    (series.points, series.buckets)
                    for series in self.now(self.archive.data(stats, frame))
                ]
                for frame in TIMEFRAMES
            },
        }

    async def trash(self) -> dict[str, str]:
        """The records of the trash."""
        found: dict[str, str] = await self.store.records("trash")
        return found

    def do(self, step: tuple[Any, ...]) -> None:
        """Do one thing that can happen to a collector."""
        what, *rest = step
        if what == "wait":
            self.clock.advance(rest[0])
        elif what == "create":
            kind = "value" if rest[0] in "vw" else "count"
            self.now(self.archive.create(rest[0], kind))
        elif what == "comment":
            found = self.now(self.archive.stat(rest[0]))
            if found is not None:
                self.now(self.archive.comment(found, "é <b>"))
        elif what == "delete":
            found = self.now(self.archive.stat(rest[0]))
            if found is not None:
                self.now(self.archive.delete(found.id))
        else:
            name, amount, ago = rest
            t = int(self.clock.seconds()) - ago
            point = (
                Count(name, amount, t) if what == "count" else Value(name, amount, t)
            )
            stored = self.archive.add(batch(point))
            stored.addErrback(lambda failed: failed.trap(Refusal))  # too large a sum
            self.case.successResultOf(stored)


class RoundTripTests(SynchronousTestCase):
    """
    From one store to another.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(steps, min_size=1, max_size=15),
        st.lists(steps.filter(lambda step: step[0] != "wait"), max_size=4),
        st.integers(1, 3),
        st.integers(0, 40),
    )
    def test_nothing_is_lost(
        self, before: list[Any], after: list[Any], per_line: int, broken: int
    ) -> None:
        """
        Whatever happened to a collector: exported, and loaded with an interruption, it
        returns the same, also after more has happened to both. Loading it again changes
        nothing.
        """
        self.setUp()
        old, new = Place(self, self.clock), Place(self, self.clock)
        for step in before:
            old.do(step)
        lines = old.export(per_line)
        self.assertEqual(check_dump(lines), len(lines))
        killed = self.interrupt(new, lines, broken % len(lines) + 1)
        self.assertIsInstance(killed, Interrupted)
        self.assertTrue(new.load(lines))
        self.assert_same(new, old)
        for step in after:
            old.do(step)
            new.do(step)
        self.assertFalse(new.load(lines))
        self.assert_same(new, old)
        old.close()
        new.close()

    def assert_same(self, new: Place, old: Place) -> None:
        """Both have the same cells, with the same expiry, and return the same."""
        pairs = list(zip(new.cells(), old.cells(), strict=True))
        for one, other in pairs:
            self.assertEqual(one._replace(expires=other.expires), other)
            self.assertEqual(one.expires is None, other.expires is None)
            if one.expires is not None and other.expires is not None:
                left = other.expires - self.clock.seconds()
                self.assertGreater(one.expires, other.expires - 0.001)
                self.assertLess(one.expires, other.expires + left / 1000 + 0.001)
        self.assertEqual(new.contents(), old.contents())

    def interrupt(self, place: Place, lines: list[str], at: int) -> Exception:
        """Begin to load lines, and die after some of them."""
        left = at

        def progress(more: int) -> None:
            nonlocal left
            left -= more
            if not left:
                raise Interrupted()

        begun = Deferred.fromCoroutine(load_dump(place.store, lines, progress))
        return self.failureResultOf(begun).value

    def test_trash_and_alerts(self) -> None:
        """A stat in the trash can be restored; alerts have the same state."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        old.do(("count", "a", 2, 0))
        old.do(("count", "b/é", 3, 0))
        old.do(("delete", "a"))
        alert = AlertDefinition(
            "0" * 16, "id", "b/é", "data", "1h", webhook="https://x.org/"
        )
        old.now(old.alerts.create(alert))
        record = old.now(old.alerts.get(alert.id))
        firing = replace(record, state=AlertState(firing=True, episode=3))
        old.now(old.alerts.change(record, firing))
        self.clock.advance(TRASH_SECONDS - 10)
        self.assertTrue(new.load(old.export()))
        self.assertEqual(new.contents(), old.contents())
        moved: AlertRecord = new.now(new.alerts.get(alert.id))
        self.assertEqual((moved.alert, moved.state), (alert, firing.state))
        self.assertEqual(new.now(new.archive.restore("a")).receipts, 1)
        self.assertEqual(new.now(new.archive.totals())["a"].sum, 2)
        self.clock.advance(20)
        self.assertEqual(old.now(old.archive.empty_trash()), 1)
        self.assertEqual(new.now(new.archive.empty_trash()), 0)

    def test_channels(self) -> None:
        """Channels come along, and what alerts remember, with what waits for them."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        old.do(("count", "a", 2, 0))
        for name, fields in (
            ("ops", {"kind": "ntfy", "topic": "t"}),
            ("hook", {"kind": "webhook", "url": "https://x.org/", "body": '"$text"'}),
        ):
            channels = Channels(old.store)
            old.now(channels.create({"name": name, **fields}))
        alert = AlertDefinition("0" * 16, "id", "a", "data", "1h", channels=("ops",))
        old.now(old.alerts.create(alert))
        record = old.now(old.alerts.get(alert.id))
        changed = replace(
            record,
            notices=(AlertNotice("fired", 1, 5.5, None, 3, 6.5, "ops", True),),
            history=(Episode(1, 5.0, 6.0, math.inf, 5.5), Episode(2, 7.0)),
            silence=Silence(1.0, 2.0),
            last_error=DeliveryError(5.5, "ops", "HTTP status 503"),
        )
        old.now(old.alerts.change(record, changed))
        self.assertTrue(new.load(old.export()))
        moved: AlertRecord = new.now(new.alerts.get(alert.id))
        self.assertEqual(replace(moved, stored=""), replace(changed, stored=""))
        found = [old.now(Channels(each.store).records.all()) for each in (old, new)]
        self.assertEqual(found[0], found[1])
        self.assertEqual(list(found[0]), ["hook", "ops"])

    def test_comments(self) -> None:
        """Comments come along, also those of a stat that is in the trash."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        for step in (("count", "a", 2, 0), ("count", "b/é", 3, 0)):
            old.do(step)
        for name in ("a", "b/é", "a"):
            old.do(("comment", name))
            self.clock.advance(60)
        old.do(("delete", "a"))
        self.assertTrue(new.load(old.export()))
        self.assertEqual(new.contents()["comments"], old.contents()["comments"])
        self.assertEqual(len(new.contents()["comments"]["b/é"]), 1)
        stat = new.now(new.archive.restore("a"))
        found = new.now(new.archive.comments([stat]))["a"]
        self.assertEqual([comment.time - int(NOW) for comment in found], [0, 120])

    def test_boards(self) -> None:
        """Boards and comparisons come along; shared links do not."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        board = Board("b", (Tile("1", "chart", ("b/é",), title="c"),))
        id = old.now(BoardRecords(old.store).boards.create(board))
        saved = Comparison("c", ("a", "b/é"), "1w3h", "indexed")
        compared = old.now(BoardRecords(old.store).comparisons.create(saved))
        secret = old.now(Shares(old.store).create("board", id))
        self.assertTrue(new.load(old.export()))
        records = BoardRecords(new.store)
        self.assertEqual(new.now(records.boards.all()), {id: board})
        self.assertEqual(new.now(records.comparisons.all()), {compared: saved})
        self.assertIsNone(new.now(Shares(new.store).find(secret)))

    def test_retention(self) -> None:
        """Detail that was stored for a shorter time is not complete in another store."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        old.now(old.archive.note_retention())
        old.do(("count", "a", 2, 0))
        self.assertTrue(new.load(old.export()))
        archive = Archive(new.store, retention={"minute": 7 * 86_400.0})
        new.now(archive.note_retention())
        (stat,) = new.now(archive.stats())
        failed = Deferred.fromCoroutine(archive.data([stat], "3d5m"))
        self.assertIn(
            "are stored only since", str(self.failureResultOf(failed, Refusal).value)
        )

    def test_one_moment(self) -> None:
        """Points that arrive during an export of a SQLite store are not exported."""
        place = Place(self, self.clock)
        place.do(("count", "a", 2, 0))
        before = [cell._replace(expires=None) for cell in place.cells()]
        with open_dump(place.url, self.clock.seconds) as dump:
            lines = dump_lines(dump)
            first = [next(lines), next(lines)]
            place.do(("count", "a", 3, 0))
            place.do(("count", "b/é", 3, 0))
            place.do(("delete", "a"))
            first += lines
        self.assertGreater(len(place.cells()), len(before))
        new = Place(self, self.clock)
        self.assertTrue(new.load(first))
        found = [cell._replace(expires=None) for cell in new.cells()]
        self.assertEqual(found, before)
        self.assertEqual([stat.name for stat in new.contents()["stats"]], ["a"])

    def test_not_exported(self) -> None:
        """Keys are not exported, nor Metricas of programs that share the store."""
        place = Place(self, self.clock)
        keys = self.successResultOf(
            Deferred.fromCoroutine(Keys(place.store).make_first())
        )
        place.do(("count", "a", 2, 0))
        axes = [("of", StoredChoiceAxis())]
        self.successResultOf(Metrica("m", axes, store=place.store).kick(of="x"))
        text = "".join(place.export())
        self.assertIn('"stat":"a"', text)
        for word in ("key", '"m"', *keys.values(), *self.hashes(place)):
            self.assertNotIn(word, text)

    def test_keys(self) -> None:
        """
        Keys are exported on demand, by their hashes only, and then work in the other
        store.
        """
        place = Place(self, self.clock)
        keys = self.successResultOf(
            Deferred.fromCoroutine(Keys(place.store).make_first())
        )
        place.do(("count", "a", 2, 0))
        lines = place.export(keys=True)
        for key in keys.values():
            self.assertNotIn(key, "".join(lines))
        new = Place(self, self.clock)
        self.assertTrue(new.load(lines))
        moved = Keys(new.store)
        self.successResultOf(Deferred.fromCoroutine(moved.load()))
        self.assertTrue(moved.allow("ez", keys["EZ key"]))
        self.assertTrue(moved.may_change(keys["access token"]))
        self.assertEqual(
            self.successResultOf(Deferred.fromCoroutine(moved.all())),
            self.successResultOf(Deferred.fromCoroutine(Keys(place.store).all())),
        )

    def hashes(self, place: Place) -> list[str]:
        """The names of the keys' records."""
        found = list(self.successResultOf(place.store.records("key")))
        self.assertEqual(len(found), 3)
        return found

    def test_only_into_a_store_without_stats(self) -> None:
        """An export is not mixed with other stats in the store."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        old.do(("count", "a", 2, 0))
        new.do(("count", "b/é", 2, 0))
        before = new.cells()
        self.assertIn("the store has stats already", new.refusal(old.export()))
        fresh = Place(self, self.clock)
        self.assertTrue(fresh.load(old.export()))
        self.assertIn("the store has stats already", fresh.refusal(old.export()))
        self.assertEqual(new.cells(), before)
        self.assert_same(fresh, old)

    def test_points_between(self) -> None:
        """Points that arrive during a load are added; a stat of another kind fails."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        old.do(("count", "a", 2, 0))
        old.do(("count", "b/é", 2, 0))
        lines = old.export()
        self.interrupt(new, lines, 1)
        new.do(("count", "a", 5, 0))
        self.assertTrue(new.load(lines))
        self.assertEqual(new.now(new.archive.totals())["a"].sum, 7)
        other = Place(self, self.clock)
        self.interrupt(other, lines, 1)
        self.successResultOf(other.archive.add(batch(Value("b/é", 1))))
        self.assertIn("'b/é' cannot be added", other.refusal(lines))

    def test_a_file_that_changed(self) -> None:
        """A line that has changed since it was loaded is refused."""
        old, new = Place(self, self.clock), Place(self, self.clock)
        old.do(("count", "a", 2, 0))
        lines = old.export()
        self.interrupt(new, lines, len(lines))
        changed = [line.replace(",2,1,2,2", ",9,1,9,9") for line in lines]
        self.assertNotEqual(changed, lines)
        self.assertIn("has changed since", new.refusal(changed))
        self.assert_same(new, old)

    def test_two_kinds(self) -> None:
        """A file with two kinds of a stat is not loaded."""
        old = Place(self, self.clock)
        old.do(("count", "a", 2, 0))
        lines = old.export()
        (number,) = (n for n, line in enumerate(lines) if '"scale":"all"' in line)
        lines[number] = lines[number].replace('"count"', '"value"')
        self.assertEqual(check_dump(lines), len(lines))
        new = Place(self, self.clock)
        self.assertIn("the export has two kinds of 'a'", new.refusal(lines))
        self.assertEqual(new.cells(), [])

    def test_damaged_lines(self) -> None:
        """The number of a damaged line is reported before anything is loaded."""
        place = Place(self, self.clock)
        place.do(("value", "v", 2.5, 0))
        place.do(("delete", "v"))
        good = place.export()
        self.assertEqual(json.loads(good[1])["note"], "trash")
        row = '{"stat":"v","kind":"value","scale":"all","cells":[["",null,%s]]}\n'
        for words, number, line in (
            ("line 3: is not JSON", 3, good[2][:-5]),
            ("line 3: is not a JSON object", 3, "[]\n"),
            ("line 3: is not a line of an export", 3, "{}\n"),
            ("line 3: is not a line", 3, good[2].replace('"value"', '"other"')),
            ("line 3: stat: must not be empty", 3, good[2].replace('"v"', '""')),
            ("line 3: has a cell", 3, row % "1,1,1,true"),
            ("line 3: has a cell", 3, row % f"{2**64},1,1,1"),
            ("line 3: has a cell", 3, row % "1.5,1,1,1"),
            ("line 3: has a cell", 3, row % "1,1,1,1,2.5"),
            ("line 3: has a cell", 3, row % '1,1,1,"1"'),
            ("line 3: is not", 3, row % "1,1,1"),
            ("line 3: is not JSON", 3, row % "1,1,1,NaN"),
            ("line 2: is not valid", 2, good[1].replace("receipts", "others")),
            ("line 2: is not a line", 2, good[1].replace('"trash"', '"session"')),
            ("line 2: is not valid", 2, good[1].replace('"trash"', '"key"')),
            ("line 1: is an export of version 9", 1, good[0].replace(":1", ":9")),
            ("line 1: is in the wrong place", 1, good[2]),
            ("line 3: is in the wrong place", 3, good[0]),
            ("line 4: is in the wrong place", 3, '{"end":2}\n'),
            ("lines should be before line", len(good), '{"end":2}\n'),
        ):
            bad = [*good[: number - 1], line, *good[number:]]
            error = self.assertRaises(CannotLoad, check_dump, bad)
            self.assertIn(words, str(error), line)
        error = self.assertRaises(CannotLoad, check_dump, good[:-1])
        self.assertIn(f"it ends with line {len(good) - 1}", str(error))
        for lines in ([], [good[0]]):
            self.assertRaises(CannotLoad, check_dump, lines)

    def test_stores_that_cannot_be_read(self) -> None:
        """A store that is not valid, does not exist, or is too new, is an error."""
        text = self.mktemp()
        with open(text, "w") as file:
            file.write("x" * 5_000)
        newer = Place(self, self.clock)
        newer.store._backend._writer.execute("PRAGMA user_version = 99")
        for url, kind in (
            ("memory:", ValueError),
            ("sqlite:", ValueError),
            ("postgres://x", ValueError),
            ("sqlite:nowhere/at.all", StoreUnavailable),
            (f"sqlite:{text}", StoreUnavailable),
            (newer.url, StoreTooNew),
            ("redis://127.0.0.1:1", StoreUnavailable),
        ):
            with self.assertRaises(kind), open_dump(url) as dump:
                list(dump_lines(dump))
        empty = self.mktemp()
        os.close(os.open(empty, os.O_CREAT))
        with self.assertRaises(StoreError), open_dump(f"sqlite:{empty}"):
            pass


class Interrupted(Exception):
    """
    The end of an interrupted load.
    """


class AcrossStoresTests(TestCase):
    """
    From each kind of store to another.
    """

    @inlineCallbacks
    def test_around(self) -> Any:
        """From SQLite to Redis, a Redis Cluster, and back, all is as it was."""
        hosts: list[MemoryHost] = [
            SqliteHost(self),
            RedisHost(self),
            ClusterHost(self),
            SqliteHost(self),
        ]
        store = yield hosts[0].open()
        now = int(hosts[0].clock.seconds())
        archive = Archive(store)
        yield archive.add(
            batch(
                *(Count("a", 2**54 // (n + 1), now - n * 977) for n in range(300)),
                *(Value("v/é", 0.1 * n, now - n * 53) for n in range(300)),
            )
        )
        yield Deferred.fromCoroutine(archive.create("empty", "value"))
        first = yield self.contents(archive)
        cells = self.cells(hosts[0])
        self.assertGreater(len(cells), 400)
        for old, new in pairwise(hosts):
            with open_dump(old.url(), old.clock.seconds) as dump:
                lines = list(dump_lines(dump))
            target = yield new.open()
            yield Deferred.fromCoroutine(load_dump(target, lines, lambda more: None))
            self.assertEqual((yield self.contents(Archive(target))), first)
            found = self.cells(new)
            self.assertEqual(
                [cell._replace(expires=None) for cell in found],
                [cell._replace(expires=None) for cell in cells],
            )
            for one, other in zip(found, cells, strict=True):
                self.assertEqual(one.expires is None, other.expires is None)
                if one.expires is not None and other.expires is not None:
                    # Redis counts the time that the test takes.
                    slack = 60 + 3 * (other.expires - now) / 1000
                    self.assertLess(abs(one.expires - other.expires), slack)

    @inlineCallbacks
    def contents(self, archive: Archive) -> Any:
        """All that the archive returns."""
        stats = yield Deferred.fromCoroutine(archive.stats())
        totals = yield Deferred.fromCoroutine(archive.totals())
        several = []
        for frame in TIMEFRAMES:
            series = yield Deferred.fromCoroutine(archive.data(stats, frame))
            several.append([one.buckets for one in series])
        return stats, totals, several

    def cells(self, host: MemoryHost) -> list[StoredCell]:
        """All cells of the store, sorted."""
        with open_dump(host.url(), host.clock.seconds) as dump:
            return sorted(dump.cells(), key=lambda cell: cell[:4])
