"""
The journal of a SQLite store: whatever waits in it is read, and is added once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.journals import EVERY_KEY, NAMES, Steps, amounts, check_refusals
from tests.fixtures.store_contract import ADDED, batch, key
from tests.fixtures.stores import NOW, SqliteHost
from txstathat.errors import StoreUnavailable
from txstathat.stores import (
    Addition,
    Amounts,
    Cell,
    Increment,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    backup_store,
)
from txstathat.stores.interface import IncrementLike, Key
from txstathat.stores.journal.due import FOLD_SECONDS, FoldDue
from txstathat.stores.journal.fold_runner import FoldRunner
from txstathat.stores.journal.rows import SUMMED_FROM, encode, sections_of
from txstathat.stores.journal.stored_rows import decode
from txstathat.stores.spread import key_parts, spread
from txstathat.stores.sqlite import open_sqlite_dump, restore_store
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.sqlite.folding import SqliteFolding
from txstathat.stores.sqlite.id_cache import Tables
from txstathat.stores.sqlite.schema import MIGRATIONS, migrate
from txstathat.stores.store import Inline, Store
from txstathat.stores.sums import Events, event, events

MAX = 2**63 - 1


def additions_of(increment: IncrementLike) -> list[tuple[str, Key, Addition]]:
    """The additions of an increment, each with the name of its Metrica and its key."""
    if isinstance(increment, Events):
        _, names, amounts = increment
        return [(n, (), event(one)) for n, one in zip(names, amounts, strict=True)]
    return [
        (name, key, sums)
        for name, additions in increment.cells.items()
        for key, sums in additions.items()
    ]


STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(amounts(), min_size=1, max_size=2)),
    st.tuples(st.just("repeat"), st.none()),
    st.tuples(st.just("fold"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.sampled_from([1, 40, 70])),
    st.tuples(st.just("drop"), st.sampled_from(NAMES)),
    st.tuples(st.just("expire"), st.none()),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("read"), st.none()),
)


class RowTests(SynchronousTestCase):
    """The bytes of a row."""

    @settings(deadline=None)
    @given(st.lists(amounts(), max_size=3))
    def test_round(self, several: list[Amounts]) -> None:
        """A row holds exactly the additions of its batches."""
        ids = {
            f"{name} {rolls}": 100 * n + rolls
            for n, name in enumerate(NAMES)
            for rolls in (False, True)
        }
        sections = [section for one in several for section in sections_of(one)]
        row = encode([(section, ids) for section in sections])
        got: list[Any] = []
        for section in decode(row):
            for cell, sums in section.additions():
                types = [type(one) for one in sums]
                got += [
                    (*bucket[:2], *cell, *sums, types) for bucket in section.buckets
                ]
        expected = [
            (*bucket[:2], ids[name], key, *sums, [type(one) for one in sums])
            for one in several
            for increment in one.increments
            for name, key, sums in additions_of(increment)
            for bucket in increment.buckets
        ]
        self.assertCountEqual(got, expected)

    @settings(deadline=None)
    @given(amounts(), st.data())
    def test_damaged(self, one: Amounts, data: Any) -> None:
        """Damaged bytes are noticed, or are another row; nothing else is raised."""
        ids = dict.fromkeys(one.definitions, 1)
        row = encode([(section, ids) for section in sections_of(one)])
        place = data.draw(st.integers(0, len(row) - 1))
        damaged = row[:place] + data.draw(st.binary(max_size=3)) + row[place + 1 :]
        try:
            for section in decode(damaged):
                list(section.additions())
        except ValueError:
            pass

    def test_a_missing_part(self) -> None:
        """A row whose key has a part that the row lacks is damaged."""
        cells = {"s": {("a",): event(1), ("b",): event(2)}}
        one = Amounts({}, [Increment([TimeBucket("all", "", None)], cells)])
        row = encode([(section, {"s": 1}) for section in sections_of(one)])
        missing = row.replace(b'["a","b"]', b'["a"]    ')
        self.assertNotEqual(missing, row)
        self.assertEqual(len(decode(row)), 1)
        self.assertRaises(ValueError, decode, missing)

    def test_small(self) -> None:
        """A thousand counters, of one event each, take some ten bytes each."""
        cells = {f"s{n}": {(): event(n % 90 + 1)} for n in range(1000)}
        one = Amounts({}, [Increment([TimeBucket("all", "", None)], cells)])
        ids = {name: 100_000 + n for n, name in enumerate(cells)}
        row = encode([(section, ids) for section in sections_of(one)])
        self.assertLess(len(row), 10_000)

    def test_events_and_additions(self) -> None:
        """Events, and a sum of each of them, are the same row."""
        names, amounts = [f"s{n}" for n in range(300)], [n * 0.5 for n in range(300)]
        buckets = [TimeBucket("all", "", None)]
        ids = {name: n for n, name in enumerate(names)}
        for some in (amounts, [3.5] * 300, [*range(300)], [7] * 300):
            single = Events(buckets, names, some)
            rows = []
            for one in (single, Increment(buckets, single.cells)):
                (section,) = sections_of(Amounts({}, [one]))
                rows.append(encode([(section, ids)]))
            self.assertEqual(*rows)

    def test_many_events(self) -> None:
        """Many events of a Metrica are summed up before they are written."""
        buckets = [TimeBucket("all", "", None)]
        for number, additions in ((SUMMED_FROM - 1, SUMMED_FROM - 1), (SUMMED_FROM, 1)):
            amounts = [n * 0.5 for n in range(number)]
            one = Amounts({}, [Events(buckets, ["m"] * number, amounts)])
            (section,) = decode(encode([(row, {"m": 1}) for row in sections_of(one)]))
            added = [sums for _, sums in section.additions()]
            self.assertEqual(len(added), additions)
            self.assertEqual(
                sum(sums.events for sums in map(Addition._make, added)), number
            )

    @given(st.lists(st.sampled_from(["null", '"a,]"', '["x","]"]', "12", '"\\""'])))
    def test_parts_of_a_key(self, parts: list[str]) -> None:
        """A key is divided into the parts that it was made of."""
        self.assertEqual(key_parts(f"[{','.join(parts)}]"), tuple(parts))


class ModelTests(SynchronousTestCase):
    """
    Two backends on one file beside a store in memory, which has no journal.
    """

    def setUp(self) -> None:
        self.now = NOW

    def backend(self, path: str, **options: int) -> SqliteBackend:
        """A backend that folds cell by cell."""
        backend = SqliteBackend(
            path, lambda: self.now, chunk=1, monotonic=Steps(), **options
        )
        backend.open()
        return backend

    @settings(
        max_examples=400 if FULL else 40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(STEPS, st.integers(0, 1)), max_size=12))
    def test_same_as_without(self, steps: list[Any]) -> None:
        """
        Whatever two processes add, fold in part, drop and read in turn: the cells are
        the same as without a journal; so is a dump. The second process has a small
        journal, so that its commits fold.
        """
        self.now = NOW
        path = self.mktemp()
        memory = self.backend(":memory:")
        options = [{}, {"max_journal": 8, "fold_at": 3}]
        both = [self.backend(path, **each) for each in options]
        added: list[list[WriteBatch]] = []
        for (what, how), which in steps:
            backend = both[which]
            if what == "add":
                added.append(
                    [
                        WriteBatch(f"{len(added)} {n}", "", lambda one=one: one)
                        for n, one in enumerate(how)
                    ]
                )
                self.assertEqual(backend.add(added[-1]), memory.add(added[-1]))
            elif what == "repeat" and added:
                self.assertEqual(backend.add(added[0]), memory.add(added[0]))
            elif what == "fold":
                for _ in range(how):
                    backend.fold()
            elif what == "wait":
                self.now += how
            elif what == "drop":
                for name in (f"{how} True", f"{how} False"):
                    self.assertEqual(backend.drop(name, None), memory.drop(name, None))
            elif what == "expire":
                backend.drop_expired(1000)
                memory.drop_expired(1000)
            elif what == "reopen":
                backend.close()
                both[which] = self.backend(path, **options[which])
            elif what == "read":
                self.compare(both, memory, path)
        self.compare(both, memory, path)
        # A fold that the other one has gone on with is left to it, once.
        for backend in (*both, *both):
            while backend.fold():
                pass
        for backend in both:
            backend.close()
        with closing(sqlite3.connect(path)) as db:
            (left,) = db.execute("SELECT count(*) FROM journal").fetchone()
        self.assertEqual(left, 0)

    def compare(
        self, both: list[SqliteBackend], memory: SqliteBackend, path: str
    ) -> None:
        """Compare all that can be read."""
        expected = memory.read(EVERY_KEY)
        for backend in both:
            for one, other in zip(backend.read(EVERY_KEY), expected, strict=True):
                self.assertEqual(one, other)
                if one is not None and other is not None:
                    self.assertEqual(type(one.sum), type(other.sum))
            self.assertEqual(
                backend.definitions_after(None), memory.definitions_after(None)
            )
        some = EVERY_KEY[7]
        self.assertEqual(both[0].read([some]), memory.read([some]))
        with open_sqlite_dump(path, lambda: self.now) as dump:
            dumped = {cell[:4]: cell.sums for cell in dump.cells()}
        found = {
            tuple(key): one.parts
            for key, one in zip(EVERY_KEY, expected, strict=True)
            if one is not None
        }
        self.assertEqual(dumped.keys(), found.keys())
        for cell, sums in dumped.items():
            self.assertEqual(sums.whole, found[cell][0])

    @settings(deadline=None)
    @given(amounts())
    def test_spread(self, one: Amounts) -> None:
        """
        A batch that was spread beforehand, as for Redis, adds the same: each time
        bucket is in one increment, and each key is a text.
        """
        spreaded = Amounts(one.definitions, spread(one))
        places = [bucket[:2] for each in spreaded.increments for bucket in each.buckets]
        self.assertEqual(len(places), len(set(places)))
        stores = [self.backend(":memory:"), self.backend(":memory:")]
        for store, each in zip(stores, (one, spreaded), strict=True):
            store.add([WriteBatch("b", "", lambda each=each: each)])
        self.assertEqual(*(store.read(EVERY_KEY) for store in stores))


class JournalTests(SynchronousTestCase):
    """A backend whose journal is folded when the test says so."""

    def setUp(self) -> None:
        self.now = NOW
        self.path = self.mktemp()

    def backend(self, **options: Any) -> SqliteBackend:
        """An open backend; by default a fold is one slice, however long it takes."""
        options.setdefault("monotonic", lambda: 0.0)
        backend = SqliteBackend(self.path, lambda: self.now, **options)
        backend.open()
        self.addCleanup(backend.close)
        return backend

    def rows(self, backend: SqliteBackend, table: str = "journal") -> int:
        """The number of rows of a table."""
        (number,) = backend._writer.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(number)

    def test_one_row_for_a_commit(self) -> None:
        """A commit adds one row to the journal, and no cell; a fold does the opposite."""
        backend = self.backend()
        for n in range(3):
            backend.add([batch(f"{n} {m}", {"k": 1, "j": 0.5}) for m in range(5)])
        self.assertEqual((self.rows(backend), self.rows(backend, "cell")), (3, 0))
        self.assertFalse(backend.fold())
        self.assertEqual((self.rows(backend), self.rows(backend, "cell")), (0, 2))
        cells = backend.read([key("k"), key("j")])
        self.assertEqual(cells, [Cell(15, 15, 1, 1), Cell(7.5, 15, 0.5, 0.5)])

    def test_refused_before_the_answer(self) -> None:
        """
        Another definition, another digest, and a sum that is too large with what the
        journal holds are refused at once, and leave nothing.
        """
        check_refusals(self, self.backend())

    def test_large_sums_in_small_steps(self) -> None:
        """
        Sums approach the limit from below in many commits: the first one beyond it is
        refused, and none before; other stats go on through the journal.
        """
        backend = self.backend()
        step = MAX // 20
        outcomes = []
        for n in range(22):
            outcomes += backend.add([batch(f"a{n}", {"k": step})])
            if n % 3 == 0:
                backend.fold()
        self.assertEqual(outcomes[:20], [ADDED] * 20)
        self.assertEqual(
            {one.outcome for one in outcomes[20:]}, {WriteOutcome.OVERFLOW}
        )
        backend.add([batch("b", {"k": 1}, name="other")])
        self.assertEqual(self.rows(backend), 1)

    def test_sums_that_cancel_out(self) -> None:
        """A Metrica of large amounts whose sums stay small is measured anew."""
        backend = self.backend()
        for n in range(60):
            amount = MAX // 5 * (1 if n % 2 else -1)
            self.assertEqual(backend.add([batch(f"a{n}", {"k": amount})]), [ADDED])
            backend.fold()
        ((load,),) = backend._writer.execute("SELECT load FROM metrica").fetchall()
        self.assertLess(load, 1.3)

    def test_bounded(self) -> None:
        """A commit folds first when the journal has too many additions."""
        backend = self.backend(max_journal=10)
        most = 0
        for n in range(20):
            backend.add([batch(f"a{n}", {"k": 1, "j": 1, "i": 1})])
            most = max(most, self.rows(backend))
        self.assertLessEqual(most, 5)
        self.assertEqual(backend.read([key("k")]), [Cell(20, 20, 1, 1)])

    def test_a_full_journal(self) -> None:
        """
        A commit that finds a full journal folds at most twice as much as it adds: it
        does not wait until all is folded, and the journal does not grow.
        """
        backend = self.backend(
            max_journal=1000, fold_at=500, chunk=10, monotonic=Steps()
        )
        folded = [0]
        for n in range(60):
            more = {f"k{n} {m}": events([1, m]) for m in range(100)}
            backend.add([batch(f"a{n}", more)])
            folded.append(self.rows(backend, "cell"))
            self.assertLessEqual(folded[-1] - folded[-2], 210)
            self.assertLessEqual(100 * (n + 1) - folded[-1], 1200)
            self.assertLessEqual(self.rows(backend), 16)
        self.assertEqual(folded[11], 0)
        cells = backend.read([key(f"k{n} {m}") for n in range(60) for m in range(100)])
        sums = [cell and (cell.sum, cell.count) for cell in cells]
        self.assertEqual(sums, [(1 + m, 2) for m in range(100)] * 60)

    def test_refused(self) -> None:
        """
        If another process adds much more than this one allows, and has not folded it,
        commits are refused until it is folded.
        """
        one, other = self.backend(max_journal=10), self.backend()
        for n in range(5):
            more = {f"k{m}": events([1, m]) for m in range(10)}
            other.add([batch(f"a{n}", more)])
        error = self.assertRaises(StoreUnavailable, one.add, [batch("b", {"k0": 1})])
        self.assertIn("journal of the SQLite store is full", str(error))
        self.assertIsNotNone(one.fold_due())
        self.assertEqual(one.add([batch("b", {"k0": 1})]), [ADDED])
        self.assertEqual(one.read([key("k0")]), [Cell(6, 11, 0, 1)])

    def test_no_wait_for_a_preparation(self) -> None:
        """
        A commit does not wait while another thread prepares a fold, unless the journal
        has become twice as large as it should be.
        """
        for unfolded, waits in ((15, False), (25, True)):
            self.assertEqual(self.waits_for_a_preparation(unfolded), waits, unfolded)

    def waits_for_a_preparation(self, unfolded: int) -> bool:
        """Whether a commit waits, with a limit of ten additions."""
        prepares, ends = threading.Event(), threading.Event()

        @contextmanager
        def slow_read() -> Iterator[sqlite3.Connection]:
            prepares.set()
            ends.wait(60)
            raise StoreUnavailable("closed")
            yield

        due = FoldDue(10, 10, lambda: 0.0)
        folding = SqliteFolding(
            *(slow_read, slow_read, Tables(sqlite3.connect(":memory:"))),
            fold_at=10,
            chunk=1,
            monotonic=lambda: 0.0,
        )
        runner = FoldRunner(folding, due, lambda: 0.0)
        due.note_added(unfolded)

        def commit() -> None:
            with contextlib.suppress(StoreUnavailable):
                runner.make_room(1)

        folds = threading.Thread(
            target=lambda: self.assertRaises(StoreUnavailable, runner.run_slice)
        )
        folds.start()
        prepares.wait(60)
        commits = threading.Thread(target=commit, daemon=True)
        commits.start()
        commits.join(1)
        is_waiting = commits.is_alive()
        ends.set()
        folds.join(60)
        commits.join(60)
        return is_waiting

    def test_slices(self) -> None:
        """
        A fold goes on slice by slice; what is added meanwhile waits for the next fold,
        and is read nevertheless.
        """
        backend = self.backend(chunk=10, monotonic=Steps())
        backend.add([batch("a", {f"k{n:02d}": n for n in range(100)})])
        for n in range(10):
            self.assertTrue(backend.fold())
            backend.add([batch(f"b{n}", {"k05": 1, "k95": 1})])
            cells = backend.read([key("k05"), key("k95"), key("k99")])
            self.assertEqual([cell and cell.sum for cell in cells], [6 + n, 96 + n, 99])
        backend.fold()
        self.assertEqual(self.rows(backend, "folding"), 0)
        self.assertEqual(self.rows(backend), 10)

    def test_closing_takes_no_longer(self) -> None:
        """Closing and opening fold for a limited time; what is left is not lost."""
        backend = self.backend(chunk=1, monotonic=Steps())
        backend.add([batch("a", {f"k{n}": 1 for n in range(100)})])
        backend.close()
        backend = self.backend(chunk=1, monotonic=Steps())
        self.assertEqual(self.rows(backend, "folding"), 1)
        while backend.fold():
            pass
        cells = backend.read([key(f"k{n}") for n in range(100)])
        self.assertEqual(cells, [Cell(1, 1, 1, 1)] * 100)

    def test_the_other_process_goes_on(self) -> None:
        """A process goes on with the fold of another one that ended amid it."""
        first = self.backend(chunk=10, monotonic=Steps())
        first.add([batch("a", {f"k{n}": 1 for n in range(100)})])
        for _ in range(5):
            first.fold()
        second = self.backend()
        self.assertEqual(self.rows(second), 0)
        first.fold()
        cells = second.read([key(f"k{n}") for n in range(100)])
        self.assertEqual(cells, [Cell(1, 1, 1, 1)] * 100)

    def test_damaged(self) -> None:
        """A damaged row is set aside and logged; all others count."""
        backend = self.backend()
        for n in range(3):
            backend.add([batch(f"a{n}", {"k": 1})])
        backend._writer.execute("UPDATE journal SET additions = x'00' WHERE id = 2")
        with capturedLogs() as logged:
            for _ in range(2):
                self.assertEqual(backend.read([key("k")]), [Cell(2, 2, 1, 1)])
                backend.fold()
        self.assertEqual(self.rows(backend), 1)
        self.assertEqual([one["id"] for one in logged], [2, 2])

    def test_damaged_and_expired(self) -> None:
        """What expires is deleted, whether or not a damaged row is left."""
        now = [NOW]
        backend = SqliteBackend(self.path, lambda: now[0])
        self.addCleanup(backend.close)
        backend.open()
        hours = [Increment([TimeBucket("hour", "x", 60.0)], {"m": {"k": event(1)}})]
        backend.add([WriteBatch("a", "", lambda: Amounts({"m": "d"}, hours))])
        backend.fold()
        backend.add([WriteBatch("b", "", lambda: Amounts({"m": "d"}, hours))])
        backend._writer.execute("UPDATE journal SET additions = x'00'")
        backend.fold()
        now[0] += 3600
        self.assertEqual(backend.drop_expired(1000), 1)
        self.assertEqual((self.rows(backend), self.rows(backend, "cell")), (1, 0))

    def test_a_sum_that_cannot_be(self) -> None:
        """Should an addition not fit, it is logged, and all others are folded."""
        backend = self.backend()
        backend.add([batch("a", {"k": 5, "j": 1})])
        backend.fold()
        backend.add([batch("b", {"k": 1, "j": 1})])
        backend._writer.execute("UPDATE cell SET whole = ? WHERE key = 'k'", (MAX,))
        backend.add([batch("c", {"k": 1}, name="other")])
        with capturedLogs() as logged:
            backend.fold()
        self.assertIn("cannot be added", logged[0]["log_format"])
        cells = backend.read([key("k"), key("j"), key("k", name="other")])
        self.assertEqual([cell and cell.sum for cell in cells], [MAX, 2, 1])
        self.assertEqual(self.rows(backend), 0)

    def test_locked(self) -> None:
        """While another process writes, what waits in the journal is read."""
        backend = self.backend(busy_seconds=0.05)
        backend.add([batch("a", {"k": 1})])
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.assertEqual(backend.read([key("k")]), [Cell(1, 1, 1, 1)])
            self.assertRaises(StoreUnavailable, backend.fold)
        self.assertFalse(backend.fold())
        self.assertEqual(self.rows(backend, "cell"), 1)

    def test_older_store(self) -> None:
        """A store of the version without a journal is migrated; it can be dumped before."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            migrate(db, MIGRATIONS[:1])
            db.execute("INSERT INTO metrica (name, definition) VALUES ('m', 'd')")
            db.execute(
                "INSERT INTO stretch (metrica, scale, label) VALUES (1, 'year', '2014')"
            )
            db.execute(
                "INSERT INTO cell VALUES (1, 'k', ?, 1, 5, 5, NULL, NULL)", (MAX - 5,)
            )
        with open_sqlite_dump(self.path, lambda: NOW) as dump:
            (cell,) = dump.cells()
        self.assertEqual(cell[:4], key("k"))
        backend = self.backend()
        answers = backend.add([batch("a", {"k": 6}), batch("b", {"k": 5})])
        self.assertEqual(
            [one.outcome for one in answers],
            [WriteOutcome.OVERFLOW, WriteOutcome.ADDED],
        )
        self.assertEqual(backend.read([key("k")]), [Cell(MAX, 2, 5, 5)])

    def test_full_at_opening(self) -> None:
        """What a killed process left in the journal is folded at the next opening."""
        dead = self.backend()
        dead.add([batch("a", {f"k{n}": n for n in range(3000)})])
        # Without closing it, as after a kill.
        again = self.backend()
        self.assertEqual((self.rows(again), self.rows(again, "cell")), (0, 3000))
        self.assertEqual(
            again.add([batch("a", {"k1": 1})])[0].outcome.value, "repeated"
        )

    def test_restored_backup(self) -> None:
        """A backup contains the journal, and so does the store restored from it."""
        backend = self.backend()
        backend.add([batch("a", {"k": 1})])
        copy = self.mktemp()
        with (
            closing(sqlite3.connect(self.path)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
        place = self.mktemp()
        restore_store(f"sqlite:{place}", copy)
        with open_sqlite_dump(place, lambda: NOW) as dump:
            self.assertEqual([cell[3] for cell in dump.cells()], ["k"])
        self.path = place
        self.assertEqual(self.backend().read([key("k")]), [Cell(1, 1, 1, 1)])


class StoreTests(TestCase):
    """The asynchronous store, which folds by itself."""

    def test_folds_after_a_time(self) -> None:
        """A store folds some seconds after a commit, and sooner if it is read."""
        clock = Clock()
        clock.advance(NOW)
        backend = SqliteBackend(self.mktemp(), clock.seconds, monotonic=clock.seconds)
        store = self.successResultOf(Store(backend, Inline(), clock).open())
        self.addCleanup(store.close)

        def rows() -> int:
            return int(
                backend._writer.execute("SELECT count(*) FROM journal").fetchone()[0]
            )

        for n, (reads, seconds) in enumerate([(False, FOLD_SECONDS), (True, 0.5)]):
            self.successResultOf(store.add([batch(f"a{n}", {"k": 1})]))
            if reads:
                (cell,) = self.successResultOf(store.read([key("k")]))
                self.assertEqual(cell, Cell(2, 2, 1, 1))
            clock.advance(seconds - 0.4)
            self.assertEqual(rows(), 1)
            clock.advance(0.4)
            self.assertEqual(rows(), 0)
        self.successResultOf(store.close())
        self.assertEqual(clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_threads(self) -> Any:
        """Writers, readers and folds in threads of their own lose nothing."""
        host = SqliteHost(self)
        store = yield host.open()
        backend = store._backend
        backend._due._fold_at = 500
        for n in range(60):
            yield store.add([batch(f"a{n}", {f"k{m}": 1 for m in range(100)})])
            cells = yield store.read([key("k0"), key("k99")])
            self.assertEqual([cell.sum for cell in cells], [n + 1] * 2)
        yield store.close()
        with closing(sqlite3.connect(host.path)) as db:
            rows = [
                db.execute(f"SELECT count(*) FROM {one}").fetchone()[0]
                for one in ("journal", "folding", "cell")
            ]
        self.assertEqual(rows, [0, 0, 100])

    @inlineCallbacks
    def test_backup(self) -> Any:
        """A backup of a store in use has what waits in its journal."""
        host = SqliteHost(self)
        store = yield host.open()
        yield store.add([batch("a", {"k": 1})])
        copy = self.mktemp()
        yield backup_store(host.url(), copy, reactor=reactor)
        self.assertTrue(Path(copy).stat().st_size)
        host.path = copy
        again = yield host.open()
        self.assertEqual((yield again.read([key("k")])), [Cell(1, 1, 1, 1)])
