"""
What is particular to SQLite, and to stores as a Twisted program sees them.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from itertools import count
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, execute, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.store_contract import ADDED, batch, key
from tests.fixtures.stores import NOW, SqliteHost
from txstathat.errors import StoreClosed, StoreError, StoreTooNew, StoreUnavailable
from txstathat.metrica import Metrica
from txstathat.stores import (
    Addition,
    Amounts,
    Cell,
    CellKey,
    Increment,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    open_dump,
    open_store,
)
from txstathat.stores.sqlite import backend as sqlite
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.sqlite.definitions import AT_ONCE
from txstathat.stores.sqlite.dump import open_sqlite_dump
from txstathat.stores.sqlite.file.check import check_file
from txstathat.stores.sqlite.schema import MIGRATIONS, migrate
from txstathat.stores.store import Inline, Store, Threads
from txstathat.stores.sums import event


class BackendTests(SynchronousTestCase):
    """The backend, without the asynchronous store."""

    def setUp(self) -> None:
        self.now = NOW
        self.path = self.mktemp()

    def backend(self, **options: Any) -> SqliteBackend:
        """An open backend."""
        backend = SqliteBackend(self.path, lambda: self.now, **options)
        backend.open()
        self.addCleanup(backend.close)
        return backend

    def fold(self, backend: SqliteBackend) -> None:
        """Fold all of the journal, and delete what has expired, as a store does."""
        while backend.fold():
            pass

    def test_opened_twice(self) -> None:
        """A second backend of this process does not release the locks of the first."""
        self.backend()
        self.backend()
        program = (
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
            "db.execute('SELECT * FROM batch'); db.close()"
        )
        subprocess.run([sys.executable, "-c", program, self.path], check=True)
        # It is deleted when the last process that has the file open closes it.
        self.assertTrue(os.path.exists(f"{self.path}-wal"))

    def test_check_ends_in_time(self) -> None:
        """Of a file that is too large to be checked in the time, a part is checked."""
        backend = self.backend()
        cells = {f"k{n}": 1 for n in range(20_000)}
        backend.add([batch("b", cells)])
        self.fold(backend)
        for step, is_whole in ((0.0, True), (3.0, False)):
            clock = Clock()

            def monotonic(clock: Clock = clock, step: float = step) -> float:
                clock.advance(step)
                return clock.seconds()

            self.assertEqual(check_file(self.path, 5.0, monotonic), is_whole)

    def test_durable(self) -> None:
        """Commits are synced, in a write-ahead log of bounded size."""
        db = self.backend()._writer
        pragmas = ["synchronous", "journal_mode", "journal_size_limit"]
        got = [db.execute(f"PRAGMA {one}").fetchone()[0] for one in pragmas]
        self.assertEqual(got, [2, "wal", sqlite.MAX_LOG])
        self.assertEqual(sqlite.MAX_LOG, 16_777_216)

    def test_nobody_else_can_read_it(self) -> None:
        """A new file can be read by its owner only; an existing file keeps its mode."""
        self.addCleanup(os.umask, os.umask(0))
        chosen = self.mktemp()
        os.close(os.open(chosen, os.O_CREAT, 0o640))
        for path, mode in ((self.path, 0o600), (chosen, 0o640)):
            self.path = path
            self.backend().add([batch("a", {"k": 1})])
            for end in ("", "-wal", "-shm"):
                self.assertEqual(stat.S_IMODE(os.stat(path + end).st_mode), mode, end)

    def test_newer(self) -> None:
        """A file of a newer version is refused, with the version, and not changed."""
        backend = self.backend()
        backend._writer.execute("PRAGMA user_version = 99")
        backend.close()
        error = self.assertRaises(StoreTooNew, self.backend)
        self.assertIn("version 99", str(error))

    def test_something_else(self) -> None:
        """A SQLite file of another program, and any other file, is refused."""
        with sqlite3.connect(self.path) as other:
            other.execute("CREATE TABLE something (else_ TEXT)")
        other.close()
        self.assertIn(
            "another program", str(self.assertRaises(StoreError, self.backend))
        )
        self.path = self.mktemp()
        with open(self.path, "w") as file:
            file.write("no database" * 1000)
        self.assertIn(
            "not a database", str(self.assertRaises(StoreError, self.backend))
        )

    def test_migrated(self) -> None:
        """An older file is migrated step by step, with its data."""
        backend = self.backend()
        backend.add([batch("b", {"k": 3})])
        self.fold(backend)
        more = (
            *MIGRATIONS,
            ("ALTER TABLE cell ADD COLUMN note TEXT",),
            ("CREATE TABLE extra (x)", "INSERT INTO extra VALUES (1)"),
        )
        migrate(backend._writer, more)
        migrate(backend._writer, more)
        rows = backend._writer.execute("SELECT whole, note, x FROM cell, extra")
        self.assertEqual(rows.fetchall(), [(3, None, 1)])
        self.assertRaises(StoreTooNew, migrate, backend._writer, MIGRATIONS)

    def test_failed_migration(self) -> None:
        """A failed migration does not change the file."""
        backend = self.backend()
        bad = (*MIGRATIONS, ("CREATE TABLE extra (x)", "nonsense"))
        self.assertRaises(sqlite3.OperationalError, migrate, backend._writer, bad)
        migrate(backend._writer, MIGRATIONS)
        tables = backend._writer.execute("SELECT name FROM sqlite_master").fetchall()
        self.assertNotIn(("extra",), tables)

    def rows(self, backend: SqliteBackend, table: str) -> int:
        """The number of rows of a table."""
        (number,) = backend._writer.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(number)

    def test_sweeps(self) -> None:
        """After writes expired rows are deleted, so many each time, until none are left."""
        backend = self.backend(sweep_rows=20)
        cells = {f"k{n}": 1 for n in range(50)}
        backend.add([batch("b", cells, ttl=5, id_ttl=5)])
        self.fold(backend)
        self.now += 61
        self.assertEqual(backend.read([key("k1")]), [None])
        left = []
        for n in range(5):
            backend.add([batch(f"c{n}", {"other": 1}, label="x")])
            self.fold(backend)
            left.append(self.rows(backend, "cell") - 1)
        self.assertEqual(left, [31, 11, 0, 0, 0])
        self.assertEqual(self.rows(backend, "dead"), 0)
        self.assertEqual(self.rows(backend, "batch"), 5)

    def test_drop_expired(self) -> None:
        """The rows of a dropped Metrica are deleted in bounded steps."""
        backend = self.backend()
        backend.add([batch("b", {f"k{n}": 1 for n in range(25)})])
        backend.drop("m")
        backend.add([batch("c", {"k1": 1})])
        self.assertEqual([backend.drop_expired(20) for _ in range(3)], [20, 5, 0])
        self.assertEqual(self.rows(backend, "cell"), 1)

    def test_drop_expired_says_when_it_is_done(self) -> None:
        """
        It deletes fewer rows than its limit only when none are left, whatever the
        numbers of cells in the time buckets.
        """
        for limit in (1, 2, 3, 7, 20):
            backend = self.backend()
            buckets = {f"{limit}-{n}": n % 4 for n in range(40)}
            for label, size in buckets.items():
                cells = {f"k{k}": 1 for k in range(size)}
                backend.add([batch(label, cells, label=label, ttl=5, id_ttl=5)])
            self.now += 50
            while (deleted := backend.drop_expired(limit)) == limit:
                pass
            self.assertLess(deleted, limit)
            self.assertEqual(
                [self.rows(backend, one) for one in ("cell", "batch", "dead")],
                [0, 0, 0],
            )

    def drop_all_expired(self, backend: SqliteBackend, limit: int) -> int:
        """Delete what has expired; return the number of calls that this took."""
        for number in count(1):
            deleted = backend.drop_expired(limit)
            self.assertLessEqual(deleted, limit)
            if not deleted:
                return number
        raise AssertionError

    def test_expires_by_cell(self) -> None:
        """
        Each cell of a time bucket expires its time to live after the last write to it.
        A sweep deletes only those that have expired, and the bucket after the last one.
        """
        backend = self.backend()
        cells = {f"k{n:02}": 1 for n in range(30)}
        backend.add([batch("a", cells, ttl=50, id_ttl=5)])
        backend.add([batch("b", {"k": 1}, name="n", ttl=500, id_ttl=5)])
        self.fold(backend)
        self.now += 40
        again = {name: 1 for name in cells if name < "k10"}
        backend.add([batch("c", again, ttl=50, id_ttl=5)])
        self.fold(backend)
        self.now += 20
        self.assertEqual(self.drop_all_expired(backend, 7), 6)
        self.assertEqual(self.rows(backend, "cell"), 11)
        found = backend.read([key("k09"), key("k10"), key("k", name="n")])
        self.assertEqual([cell and cell.sum for cell in found], [2, None, 1])
        for wait, left in ((100, 1), (400, 0)):
            self.now += wait
            self.drop_all_expired(backend, 7)
            tables = ("cell", "expiry", "bucket")
            self.assertEqual([self.rows(backend, one) for one in tables], [left] * 3)

    def test_expired_and_written_again(self) -> None:
        """
        A cell that has expired begins anew, before a sweep, after a part of one, and if
        the clock goes back; then it expires as any other.
        """
        backend = self.backend()
        for limit in (0, 2, 4):
            names = ["a", "b", "c"]
            cells = dict.fromkeys(names, 1)
            backend.add([batch(f"{limit} a", cells, ttl=50, id_ttl=1)])
            self.fold(backend)
            written = self.now
            self.now += 100
            for _ in range(limit):
                backend.drop_expired(1)
            expected = [1, 1, 1]
            if limit == 2:
                # The cell "a" is gone, and gets the same time of expiry again.
                self.now = written
                expected = [1, 2, 2]
            backend.add([batch(f"{limit} b", cells, ttl=50, id_ttl=1)])
            with open_sqlite_dump(self.path, lambda: self.now) as dump:
                dumped = [cell.sums.whole for cell in dump.cells()]
            self.assertEqual(dumped, expected)
            for _ in range(2):
                found = backend.read([key(name) for name in names])
                self.assertEqual([cell and cell.sum for cell in found], expected)
                self.fold(backend)
            self.now += 100
            self.drop_all_expired(backend, 2)
            self.assertEqual(self.rows(backend, "cell"), 0)

    def test_many_dropped(self) -> None:
        """
        The cells of many Metricas that were dropped, in many time buckets, are deleted in
        bounded steps, and no others. So are buckets that only they had.
        """
        backend = self.backend()
        names = [f"m{n}" for n in range(50)]
        for number, name in enumerate(names):
            labels = [str(label) for label in range(number % 9)]
            buckets = [TimeBucket("year", label, None) for label in ("all", *labels)]
            amounts = Amounts(
                {name: "d"}, [Increment(buckets, {name: {"k": event(1), "": event(2)}})]
            )
            backend.add([WriteBatch(name, "", lambda it=amounts: it)])
        left = names[::5]
        for name in sorted(set(names) - {*left}):
            backend.drop(name)
            if name.endswith("7"):
                # The others are not as far as this one then.
                backend.drop_expired(5)
        expected = {
            (name, label): 2
            for number, name in zip(range(0, 50, 5), left, strict=True)
            for label in ("all", *map(str, range(number % 9)))
        }
        with open_sqlite_dump(self.path, lambda: self.now) as dump:
            self.assertEqual({cell[0:3:2] for cell in dump.cells()}, expected.keys())
        self.assertGreater(self.drop_all_expired(backend, 5), 30)
        labels = ["all", *map(str, range(9))]
        places = [(name, label) for name in names for label in labels]
        found = backend.read(
            [key("", name=name, label=label) for name, label in places]
        )
        sums = {
            place: cell.sum for place, cell in zip(places, found, strict=True) if cell
        }
        self.assertEqual(sums, expected)
        self.assertEqual(self.rows(backend, "cell"), 2 * len(expected))
        self.assertEqual(
            (self.rows(backend, "dead"), self.rows(backend, "bucket")), (0, 9)
        )
        for name in left:
            backend.drop(name)
        self.drop_all_expired(backend, 100)
        tables = ("cell", "dead", "bucket")
        self.assertEqual([self.rows(backend, one) for one in tables], [0] * 3)

    def test_sweeps_catch_up(self) -> None:
        """After a time of many expiring rows, sweeps delete more than the writes add."""
        backend = self.backend(sweep_rows=10)
        for n in range(8):
            backend.add([batch(f"a{n}", dict.fromkeys(map(str, range(250)), 1), ttl=5)])
            backend.add([batch(f"b{n}", {str(n): 1}, label=f"x{n}", ttl=5)])
            cells = {f"{n} {k}": 1 for k in range(250)}
            backend.add([batch(f"c{n}", cells, label="x", ttl=5)])
            self.fold(backend)
        self.now += 100
        left = []
        for n in range(6):
            cells = {f"{n} {k}": 1 for k in range(250)}
            backend.add([batch(f"d{n}", cells, label="new")])
            self.fold(backend)
            left.append(self.rows(backend, "cell") - 250 * (n + 1))
        self.assertEqual(left[-1], 0)

    def test_steady_state(self) -> None:
        """
        With far more expiring rows than one sweep deletes, the number of rows and the
        size of the file stay constant: 10,000 stats a minute, stored ten minutes.
        """
        stats, minutes = (10_000, 60) if FULL else (400, 40)
        backend = self.backend(sweep_rows=stats // 5)
        names = [f"s{n}" for n in range(stats)]
        sizes, pages = [], []
        for minute in range(minutes):
            label = str(minute)
            for part in range(4):
                increment = Increment(
                    [TimeBucket("minute", label, 600)],
                    {name: {"k": event(1)} for name in names[part::4]},
                )
                amounts = Amounts(dict.fromkeys(names[part::4], "d"), [increment])
                one = WriteBatch(f"{label} {part}", "", lambda it=amounts: it, 600)
                self.assertEqual(backend.add([one]), [ADDED])
                self.fold(backend)
                self.now += 15
            tables = ("cell", "bucket", "expiry", "dead", "batch")
            sizes.append(sum(self.rows(backend, table) for table in tables))
            pages.append(backend._writer.execute("PRAGMA page_count").fetchone()[0])
        # Ten minutes are stored; a sweep comes at most a minute late, and then needs
        # as long again.
        self.assertLess(max(sizes), 2 * stats * 13)
        self.assertLessEqual(max(sizes[20:]), max(sizes[:20]))
        self.assertLess(pages[-1], pages[19] * 1.1)

    def sums(self, backend: SqliteBackend, *labels: str) -> list[int | None]:
        """The sums in the cell ``k`` of some time buckets."""
        cells = backend.read([key("k", label=label) for label in labels])
        return [None if cell is None else int(cell.sum) for cell in cells]

    def test_what_is_remembered_may_have_changed(self) -> None:
        """Cached ids are not used after another connection has changed the tables."""
        ours, others = self.backend(), self.backend()
        for n, backend in enumerate([ours, others, ours, others]):
            backend.add([batch(f"a{n}", {"k": 1}, ttl=9)])
        self.assertEqual(self.sums(ours, "2014"), [4])
        others.drop("m")
        self.assertEqual(ours.add([batch("b", {"k": 7}, definition="new")]), [ADDED])
        self.assertEqual(self.sums(ours, "2014"), [7])
        self.now += 10
        ours.add([batch("c", {"k": 1}, definition="new", label="x", ttl=5)])
        self.now += 20
        others.drop_expired(100)
        ours.add([batch("d", {"k": 2}, definition="new", label="x", ttl=5)])
        self.assertEqual(self.sums(ours, "2014", "x"), [7, 2])

    def test_what_is_remembered_may_be_taken_back(self) -> None:
        """Ids from a refused or failed batch are not used for the next one."""
        backend = self.backend()
        backend.add([batch("a", {"k": 2**63 - 1})])
        stretches = [TimeBucket("year", label, None) for label in ("x", "2014")]
        amounts = Amounts({"m": "d"}, [Increment(stretches, {"m": {"k": event(1)}})])
        refused = WriteBatch("b", "", lambda: amounts)
        too_large = batch("c", {"k": Addition(2**63, 1, 1, 1)}, name="new")
        answers = backend.add([too_large, refused])
        self.assertEqual({one.outcome for one in answers}, {WriteOutcome.OVERFLOW})
        backend.add([batch("d", {"k": 3}, label="x"), batch("e", {"k": 4}, name="new")])
        self.assertEqual(self.sums(backend, "x"), [3])
        self.assertEqual(backend.read([key("k", name="new")]), [Cell(4, 1, 4, 4)])
        broken = batch("f", {"k": Addition(1, 1, object(), 1)})  # type: ignore[arg-type]
        lost = batch("g", {"k": 1}, label="y")
        self.assertRaises(StoreError, backend.add, [lost, broken])
        backend.add([batch("h", {"k": 5}, label="y")])
        self.assertEqual(self.sums(backend, "y"), [5])

    def test_what_is_remembered_may_be_dropped(self) -> None:
        """A dropped or expired time bucket starts empty, even if the clock goes back."""
        backend = self.backend()
        backend.add([batch("a", {"k": 1})])
        backend.drop("m")
        backend.add([batch("b", {"k": 2}), batch("c", {"k": 1}, label="x", ttl=1000)])
        self.now += 2000
        backend.drop_expired(100)
        self.now -= 2000
        backend.add([batch("d", {"k": 3}, label="x", ttl=1000)])
        self.assertEqual(self.sums(backend, "2014", "x"), [2, 3])

    def test_only_so_much_is_remembered(self) -> None:
        """Beyond a limit all cached ids are forgotten, and results stay correct."""
        backend = self.backend(max_known=10)
        labels = [str(n) for n in range(30)]
        for round in range(2):
            for label in labels:
                backend.add([batch(f"{round} {label}", {"k": 1}, label=label)])
                self.fold(backend)
                self.assertLessEqual(len(backend._tables._buckets), 11)
        self.assertEqual(self.sums(backend, *labels), [2] * 30)

    def test_prolonged(self) -> None:
        """A time bucket expires up to a thousandth later, so that not every write
        changes its expiry."""
        backend = self.backend()
        expires = set()
        for n in range(100):
            backend.add([batch(f"b{n}", {"k": 1}, ttl=1000)])
            self.fold(backend)
            ((until,),) = backend._writer.execute("SELECT expires FROM cell")
            self.assertTrue(self.now + 1000 <= until <= self.now + 1001, until)
            expires.add(until)
            self.now += 0.1
        self.assertLessEqual(len(expires), 11)

    def test_locked(self) -> None:
        """While another process writes for too long, adding fails with StoreUnavailable."""
        backend = self.backend(busy_seconds=0.05)
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        error = self.assertRaises(StoreUnavailable, backend.add, [batch("b", {"k": 1})])
        self.assertIn("locked", str(error))
        self.assertEqual(backend.read([key("k")]), [None])
        other.execute("ROLLBACK")
        self.assertEqual(backend.add([batch("b", {"k": 1})]), [ADDED])

    def test_full(self) -> None:
        """With a full disk no part of a batch is added; with space again it works."""
        backend = self.backend()
        backend.add([batch("a", {"k": 1})])
        (pages,) = backend._writer.execute("PRAGMA page_count").fetchone()
        backend._writer.execute(f"PRAGMA max_page_count = {pages}")
        cells = {"x" * 1000 + str(n): 1 for n in range(100)}
        large = [batch("small", {"k": 1}), batch("large", cells)]
        error = self.assertRaises(StoreUnavailable, backend.add, large)
        self.assertIn("full", str(error))
        self.assertEqual(backend.read([key("k")])[0].sum, 1)  # type: ignore[union-attr]
        backend._writer.execute("PRAGMA max_page_count = 1000000")
        self.assertEqual(backend.add(large), [ADDED, ADDED])


class Turns:
    """A runner that runs each function when the test says so."""

    def __init__(self) -> None:
        self.pending: list[tuple[Deferred[Any], Any, Any]] = []
        self.stopped = False

    def write(self, function: Any, *args: Any) -> Deferred[Any]:
        """Like the method of a runner."""
        result: Deferred[Any] = Deferred()
        self.pending.append((result, function, args))
        return result

    read = write

    def stop(self) -> None:
        """Like the method of a runner."""
        self.stopped = True

    def run_next(self) -> None:
        """Run the function that has waited longest."""
        result, function, args = self.pending.pop(0)
        execute(function, *args).chainDeferred(result)


class CloseTests(SynchronousTestCase):
    """Closing, with functions that the test runs itself."""

    def test_waits_for_what_runs(self) -> None:
        """
        Closing waits until all calls that run have ended; these succeed. Only then the
        database is closed, and last the threads stop.
        """
        runner = Turns()
        clock = Clock()
        backend = SqliteBackend(":memory:", clock.seconds)
        opening = Store(backend, runner, clock).open()
        runner.run_next()
        store = self.successResultOf(opening)
        writing = store.add([batch("b", {"k": 1})])
        reading = store.read([key("k")])
        closed = store.close()
        self.failureResultOf(store.read([key("k")]), StoreClosed)
        for result, value in ((writing, [ADDED]), (reading, [Cell(1, 1, 1, 1)])):
            self.assertNotIn(backend.close, [one for _, one, _ in runner.pending])
            self.assertNoResult(result)
            runner.run_next()
            self.assertEqual(self.successResultOf(result), value)
            self.assertNoResult(closed)
        self.assertEqual([one for _, one, _ in runner.pending], [backend.close])
        self.assertFalse(runner.stopped)
        runner.run_next()
        self.assertIsNone(self.successResultOf(closed))
        self.assertTrue(runner.stopped)


class StoreTests(TestCase):
    """The asynchronous store."""

    @inlineCallbacks
    def test_reading_while_writing(self) -> Any:
        """A long write does not block a reader, and the reader sees no half of it."""
        store = yield SqliteHost(self).open()
        yield store.add([batch("a", {"k": 1, "j": 1})])
        yield store.drop_expired()
        backend = store._backend
        halfway, go_on = threading.Event(), threading.Event()

        def add_slowly() -> None:
            backend._writer.execute("BEGIN IMMEDIATE")
            backend._writer.execute("UPDATE cell SET whole = 100 WHERE key = 'k'")
            halfway.set()
            go_on.wait(10)
            backend._writer.execute("UPDATE cell SET whole = 100 WHERE key = 'j'")
            backend._writer.execute("COMMIT")

        writing = store._runner.write(add_slowly)
        while not halfway.is_set():
            yield deferLater(reactor, 0.01)
        cells = yield store.read([key("k"), key("j")])
        self.assertEqual([cell.sum for cell in cells], [1, 1])
        go_on.set()
        yield writing
        cells = yield store.read([key("k"), key("j")])
        self.assertEqual([cell.sum for cell in cells], [100, 100])

    @inlineCallbacks
    def test_locked_under_load(self) -> Any:
        """While another process writes, the reactor is not blocked; then all is written."""
        path = self.mktemp()
        clock: Any = reactor
        backend = SqliteBackend(path, clock.seconds, busy_seconds=0.2)
        store = yield Store(backend, Threads(clock, 1), clock).open()
        self.addCleanup(store.close)
        metrica = Metrica("m", [], store)
        yield metrica.kick()
        other = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        kicks = []
        longest = 0.0
        last = time.monotonic()
        for _ in range(100):
            kicks.append(metrica.kick())
            yield deferLater(reactor, 0.01)
            longest = max(longest, time.monotonic() - last)
            last = time.monotonic()
        self.assertLess(longest, 0.2)
        self.assertEqual(metrica.waiting, 100)
        other.execute("ROLLBACK")
        self.assertEqual((yield metrica.total()), 101)
        self.assertGreater(store.batcher.retries, 0)

    @inlineCallbacks
    def test_close_writes(self) -> Any:
        """Closing first writes what waits in the batcher."""
        host = SqliteHost(self)
        store = yield host.open()
        metrica = Metrica("m", [], store)
        for _ in range(10):
            metrica.kick()
        yield store.close()
        self.assertEqual(metrica.written, 10)
        store = yield host.open()
        self.assertEqual((yield Metrica("m", [], store).total()), 10)

    def test_reactor_stops(self) -> None:
        """A program that stops right after its kicks has written all of them."""
        path = self.mktemp()
        program = """if True:
            from twisted.internet import reactor
            from txstathat.metrica import Metrica
            from txstathat.stores import CellKey, open_store

            def opened(store):
                metrica = Metrica("m", [], store)
                for n in range(1000):
                    metrica.kick()
                reactor.stop()

            open_store({!r}).addCallback(opened)
            reactor.run()
        """.format(f"sqlite:{os.path.abspath(path)}")
        done = subprocess.run(
            [
                sys.executable,
                "-W",
                "always::DeprecationWarning:txstathat",
                "-c",
                program,
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=300,
            check=True,
        )
        self.assertEqual(done.stderr + done.stdout, b"")
        backend = SqliteBackend(path, lambda: NOW)
        backend.open()
        self.addCleanup(backend.close)
        (cell,) = backend.read([CellKey("m", "all", "", "[]")])
        assert cell is not None
        self.assertEqual(cell.sum, 1000)

    def test_services_stop(self) -> None:
        """A service can still write and read while it is being stopped."""
        path = self.mktemp()
        program = """if True:
            from twisted.internet import reactor
            from twisted.internet.defer import Deferred
            from twisted.internet.task import deferLater
            from txstathat.metrica import Metrica
            from txstathat.stores import open_store

            async def stop(store, metrica):
                await deferLater(reactor, 0.2)
                await metrica.kick(42)
                print(await metrica.total())
                await store.close()

            def opened(store):
                metrica = Metrica("m", [], store)
                reactor.addSystemEventTrigger(
                    "before", "shutdown",
                    lambda: Deferred.fromCoroutine(stop(store, metrica)),
                )
                reactor.stop()

            open_store({!r}).addCallback(opened)
            reactor.run()
        """.format(f"sqlite:{os.path.abspath(path)}")
        done = subprocess.run(
            [sys.executable, "-W", "always::DeprecationWarning", "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=300,
        )
        self.assertEqual((done.stderr, done.stdout), (b"", b"42\n"))

    def test_shutdown_amid_a_close(self) -> None:
        """Threads can be stopped twice."""
        threads = Threads(Clock(), 1)
        threads.stop()
        threads.stop()

    @inlineCallbacks
    def test_close_twice_at_once(self) -> Any:
        """A second call of close waits until the store is closed."""
        host = SqliteHost(self)
        store = yield host.open()
        order: list[str] = []
        first = store.close().addCallback(lambda _: order.append("first"))
        reading = store.close().addCallback(lambda _: order.append("second"))
        self.assertEqual(order, [])
        yield first
        yield reading
        self.assertEqual(order, ["first", "second"])

    @inlineCallbacks
    def test_unusable(self) -> Any:
        """A path that cannot be opened, and an invalid URL, fail with a message."""
        error = yield self.assertFailure(
            open_store("sqlite:///nowhere/at/all.sqlite"), StoreUnavailable
        )
        self.assertIn("/nowhere/at does not exist", str(error))
        for url in [
            "sqlite:",
            "sqlite://host/path",
            "sqlite:///",
            "mysql://u:pw@h/",
            "unix+cluster:///run/redis.sock?password=pw",
            "memory:shared",
            "",
        ]:
            error = yield self.assertFailure(open_store(url), ValueError)
            self.assertNotIn("pw", str(error))

    def test_memory_has_no_dump(self) -> None:
        """A store in memory cannot be dumped; the error says which stores can."""
        with self.assertRaises(ValueError) as raised, open_dump("memory:"):
            pass
        self.assertIn("persistent store: sqlite:", str(raised.exception))

    def test_memory_is_synchronous(self) -> None:
        """A store in memory is synchronous, and needs no reactor."""
        store = self.successResultOf(open_store("memory:", clock=Clock()))
        metrica = Metrica("m", [], store)
        self.successResultOf(metrica.kick(5))
        self.assertEqual(self.successResultOf(metrica.total()), 5)
        self.successResultOf(store.close())

    def test_reads_beside_all_names(self) -> None:
        """While all names are read, other reads have their turn."""

        class OneReader(Inline):
            """Runs each function that reads when the test says so."""

            def __init__(self) -> None:
                self.waiting: list[tuple[Deferred[Any], Any]] = []

            def read(self, function: Any, *args: Any) -> Deferred[Any]:
                self.waiting.append((Deferred(), lambda: function(*args)))
                return self.waiting[-1][0]

            def step(self) -> None:
                result, function = self.waiting.pop(0)
                result.callback(function())

        runner = OneReader()
        store = Store(SqliteBackend(":memory:", lambda: NOW), runner, Clock())
        self.successResultOf(store.open())
        names = [f"s{number:05d}" for number in range(2 * AT_ONCE + 1)]
        amounts = Amounts(dict.fromkeys(reversed(names), "d"), [])
        self.successResultOf(store.add([WriteBatch("b", "", lambda: amounts)]))
        everything = store.definitions()
        some = store.definitions(names[:2])
        runner.step()
        runner.step()
        self.assertEqual(self.successResultOf(some), dict.fromkeys(names[:2], "d"))
        self.assertNoResult(everything)
        while runner.waiting:
            runner.step()
        self.assertEqual(list(self.successResultOf(everything)), names)
        self.successResultOf(store.close())

    def test_closed_before_the_reactor(self) -> None:
        """A store that is closed leaves nothing to do when the reactor stops."""
        phases: list[str] = []

        class Reactor(Clock):
            def addSystemEventTrigger(self, phase: str, *event: Any) -> str:
                phases.append(phase)
                return phase

            def removeSystemEventTrigger(self, phase: str) -> None:
                phases.remove(phase)

        clock: Any = Reactor()
        store = Store(SqliteBackend(":memory:", clock.seconds), Inline(), clock, clock)
        self.successResultOf(store.open())
        self.assertEqual(phases, ["before", "during"])
        self.successResultOf(store.close())
        self.assertEqual(phases, [])

    def test_wall_clock_set_back(self) -> None:
        """A write that is tried again does not wait for the wall clock."""

        class FailsOnce(SqliteBackend):
            failed = False

            def add(self, batches: Any) -> Any:
                if not self.failed:
                    self.failed = True
                    raise StoreUnavailable("busy")
                return super().add(batches)

        wall, timers = Clock(), Clock()
        backend = FailsOnce(":memory:", wall.seconds)
        store = Store(backend, Inline(), wall, timers=timers)
        self.successResultOf(store.open())
        metrica = Metrica("m", [], store)
        kicked = metrica.kick(5)
        self.assertNoResult(kicked)
        timers.advance(10)
        self.successResultOf(kicked)
        self.assertEqual(self.successResultOf(metrica.total()), 5)
        self.assertEqual(wall.getDelayedCalls(), [])
        self.successResultOf(store.close())
