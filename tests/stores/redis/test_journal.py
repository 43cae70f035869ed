"""
The journal of a Redis server: whatever waits in it is read, and is added once.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.journals import EVERY_KEY, NAMES, Steps, amounts, check_refusals
from tests.fixtures.store_contract import ADDED, batch, key
from tests.fixtures.stores import NOW, RedisHost, RedisServer, shared
from txstathat.errors import StoreUnavailable
from txstathat.stores import (
    Amounts,
    Cell,
    CellKey,
    Increment,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.journal.due import FOLD_SECONDS
from txstathat.stores.journal.prepared import Prepared
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.dump import RedisDump
from txstathat.stores.redis.keys import KeyNames, unit_tag
from txstathat.stores.redis.server.adder import JournalAdder
from txstathat.stores.redis.server.journal import Journal, Progress, encode_row, spans
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, Store
from txstathat.stores.sums import Events, event, events

MAX = 2**63 - 1
STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(amounts(), min_size=1, max_size=2)),
    st.tuples(st.just("repeat"), st.none()),
    st.tuples(st.just("fold"), st.integers(1, 5)),
    st.tuples(st.just("take over"), st.none()),
    st.tuples(st.just("drop"), st.sampled_from(NAMES)),
    st.tuples(st.just("rename"), st.permutations(NAMES)),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("read"), st.none()),
)


class ModelTests(SynchronousTestCase):
    """
    Two backends on one server beside a store in memory, which has no journal.
    """

    def backend(self, url: str, **options: int) -> RedisBackend:
        """A backend that folds unit by unit."""
        backend = RedisBackend(url, slice_cells=1, monotonic=Steps(), **options)
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
        Whatever two processes add, fold in part, drop, rename and read in turn: the
        cells are the same as without a journal; so is a dump. The second process has a
        small journal, so that its commits fold.
        """
        port, prefix = shared(RedisServer).port, uuid4().hex
        url = f"redis://127.0.0.1:{port}/0?prefix={prefix}"
        memory = SqliteBackend(":memory:", lambda: NOW)
        memory.open()
        options = [{}, {"max_journal": 8, "fold_at": 3}]
        both = [self.backend(url, **each) for each in options]
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
            elif what == "take over":
                assert backend._folds is not None
                backend._folds.run_most(0.0)
            elif what == "drop":
                for name in (f"{how} True", f"{how} False"):
                    self.assertEqual(backend.drop(name, None), memory.drop(name, None))
            elif what == "rename":
                names = [f"{name} True" for name in how[:2]]
                self.assertEqual(backend.rename(*names), memory.rename(*names))
            elif what == "reopen":
                backend.close()
                both[which] = self.backend(url, **options[which])
            elif what == "read":
                self.compare(both, memory)
        self.compare(both, memory)
        with closing(RedisDump(url, lambda: NOW)) as dump:
            dump.open()
            dumped = {cell[:4]: cell.sums.whole for cell in dump.cells()}
        found = memory.read(EVERY_KEY)
        expected = {
            tuple(key): one.parts[0]
            for key, one in zip(EVERY_KEY, found, strict=True)
            if one is not None
        }
        self.assertEqual(dumped, expected)
        for backend in both:
            backend.close()
        with closing(Redis(port=port)) as client:
            self.assertFalse(client.exists(KeyNames(prefix).journal()[0]))

    def compare(self, both: list[RedisBackend], memory: SqliteBackend) -> None:
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


class RowTests(SynchronousTestCase):
    """The bytes of a row."""

    def row(self, one: Amounts) -> bytes:
        """A row, with its time."""
        row, _ = encode_row([Prepared(WriteBatch("b", "", lambda: one))])
        return bytes(6) + row

    @settings(deadline=None)
    @given(amounts(), st.data())
    def test_damaged(self, one: Amounts, data: Any) -> None:
        """Damaged bytes are noticed, or are another row; nothing else is raised."""
        row = self.row(one)
        place = data.draw(st.integers(0, len(row) - 1))
        damaged = row[:place] + data.draw(st.binary(max_size=3)) + row[place + 1 :]
        with capturedLogs():
            for bytes_of in (damaged, row[:place]):
                journal = Journal(Progress("0", "", ""), [bytes_of, row])
                self.assertEqual(len(journal.rows) + len(journal.damaged), 2)
                self.assertEqual(journal.rows[-1].number, 2)

    def test_spans(self) -> None:
        """
        What is summed up has each time bucket with one time to live, and is over before
        a bucket expires.
        """

        def row(at: int, ttl: float | None, label: str = "x", name: str = "m") -> bytes:
            cells = {name: {"k": event(1)}}
            bucket = TimeBucket("hour", label, ttl)
            one = self.row(Amounts({name: "d"}, [Increment([bucket], cells)]))
            return at.to_bytes(6, "little") + one[6:]

        rows = [
            *(row(1000, 5.0), row(5999, 5.0), row(6000, 5.0)),
            *(row(6001, None), row(6002, None, "y")),
            *(row(6003, 1.0, "y"), row(9000, None)),
        ]
        journal = Journal(Progress("7", "", ""), rows)
        numbers = [[one.number for one in some] for some in spans(journal.rows)]
        self.assertEqual(numbers, [[8, 9], [10], [11, 12], [13], [14]])
        # Another Metrica may have another one.
        rows = [row(9000, n % 2 or None, name=f"m{n % 2}") for n in range(9)]
        (span,) = spans(Journal(Progress("0", "", ""), rows).rows)
        self.assertEqual(len(span), 9)


class JournalCase(TestCase):
    """Backends whose journal is folded when the test says so."""

    def setUp(self) -> None:
        self.here = RedisHost(self)
        self.keys = KeyNames(self.here.prefix)
        self.client = Redis(port=self.here.port)
        self.addCleanup(self.client.close)

    def backend(self, **options: Any) -> RedisBackend:
        """An open backend; by default a fold is one slice, however long it takes."""
        options.setdefault("monotonic", lambda: 0.0)
        options.setdefault("slice_cells", 10_000)
        backend = RedisBackend(self.here.url(), **options)
        backend.open()
        self.addCleanup(backend.close)
        return backend

    def rows(self) -> int:
        """The number of rows of the journal."""
        return int(self.client.llen(self.keys.journal()[0]))

    def hashes(self, name: str = "m") -> int:
        """The number of units of a Metrica that have cells."""
        begin = self.keys.key(unit_tag(name, ""), "")[: -len('""]}:')]
        return len(list(self.client.scan_iter(match=f"{begin.replace('[', '?')}*}}:")))


class JournalTests(JournalCase):
    """What is added, read and folded."""

    def test_one_row_for_a_commit(self) -> None:
        """A commit adds one row to the journal, and no cell; a fold does the opposite."""
        backend = self.backend()
        for n in range(3):
            backend.add([batch(f"{n} {m}", {"k": 1, "j": 0.5}) for m in range(5)])
        self.assertEqual((self.rows(), self.hashes()), (3, 0))
        self.assertFalse(backend.fold())
        self.assertEqual((self.rows(), self.hashes()), (0, 2))
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
        for amount, limit, name in ((MAX // 20, 20, "m"), (1.7e307, 10, "f")):
            backend = self.backend()
            outcomes = []
            for n in range(limit + 2):
                one = batch(f"{name}{n}", {"k": amount}, name=name)
                outcomes += backend.add([one])
                if n % 3 == 0:
                    backend.fold()
            self.assertEqual(outcomes[:limit], [ADDED] * limit)
            self.assertEqual(
                {one.outcome for one in outcomes[limit:]}, {WriteOutcome.OVERFLOW}
            )
            backend.add([batch(f"b{name}", {"k": 1}, name="other")])
            self.assertEqual(self.rows(), 1)
            backend.fold()

    def test_sums_that_are_no_number(self) -> None:
        """A batch whose floats have no sum is refused; those beside it are added."""
        backend = self.backend()
        bucket = TimeBucket("year", "2014", None)
        for n, some in enumerate([[1.5e308, 1.5e308], [1.5e308] * 20]):
            many = Events([bucket], ["m"] * len(some), some)
            one = WriteBatch(f"b{n}", "", lambda it=many: Amounts({"m": "d"}, [it]))
            answers = backend.add([batch(f"a{n}", {"k": 1}), one])
            overflow = WriteResult(WriteOutcome.OVERFLOW, "m")
            self.assertEqual(answers, [ADDED, overflow])
        self.assertEqual(backend.read([key("k"), key("[]")]), [Cell(2, 2, 1, 1), None])

    def test_a_new_name_keeps_its_limit(self) -> None:
        """A Metrica with large sums has them under a new name too, until it is dropped."""
        backend = self.backend()
        backend.add([batch("a", {"k": MAX - 1})])
        backend.rename("m", "n")
        self.assertEqual(backend.add([batch("b", {"k": 1}, name="n")]), [ADDED])
        (answer,) = backend.add([batch("c", {"k": 1}, name="n")])
        self.assertEqual(answer, WriteResult(WriteOutcome.OVERFLOW, "n"))
        self.assertEqual(self.rows(), 0)
        backend.drop("n")
        self.client.delete(self.keys.journal()[3])  # as if its time were over
        backend.add([batch("d", {"k": 1})])
        self.assertEqual(backend.add([batch("e", {"k": 1}, name="n")]), [ADDED])
        self.assertEqual(self.rows(), 2)

    def test_bounded(self) -> None:
        """A commit folds first when the journal has too many additions."""
        backend = self.backend(max_journal=10)
        most = 0
        for n in range(20):
            backend.add([batch(f"a{n}", {"k": 1, "j": 1, "i": 1})])
            most = max(most, self.rows())
        self.assertLessEqual(most, 5)
        self.assertEqual(backend.read([key("k")]), [Cell(20, 20, 1, 1)])

    def test_full(self) -> None:
        """
        If another process adds much more than this one allows, and has not folded it,
        commits are refused until it is folded.
        """
        one, other = self.backend(max_journal=10), self.backend()
        for n in range(5):
            more = {f"k{m}": events([1, m]) for m in range(10)}
            other.add([batch(f"a{n}", more)])
        error = self.assertRaises(StoreUnavailable, one.add, [batch("b", {"k0": 1})])
        self.assertIn("journal of the Redis store is full", str(error))
        self.assertIsNotNone(one.fold_due())
        self.assertEqual(one.add([batch("b", {"k0": 1})]), [ADDED])
        self.assertEqual(one.read([key("k0")]), [Cell(6, 11, 0, 1)])

    def test_slices(self) -> None:
        """
        A fold goes on slice by slice; what is added meanwhile waits for the next fold,
        and is read nevertheless, by every process.
        """
        backend, other = self.backend(slice_cells=10), self.backend()
        backend.add([batch("a", {f"k{n:02d}": n for n in range(100)})])
        for n in range(9):
            self.assertTrue(backend.fold())
            backend.add([batch(f"b{n}", {"k05": 1, "k95": 1})])
            for reader in (backend, other):
                cells = reader.read([key("k05"), key("k95"), key("k99")])
                sums = [cell and cell.sum for cell in cells]
                self.assertEqual(sums, [6 + n, 96 + n, 99])
        self.assertEqual(self.hashes(), 90)
        backend.fold()
        self.assertEqual((self.rows(), self.hashes()), (9, 100))

    def test_the_other_process_goes_on(self) -> None:
        """A process goes on with the fold of another one that ended amid it."""
        first = self.backend(slice_cells=10)
        first.add([batch("a", {f"k{n}": 1 for n in range(100)})])
        for _ in range(5):
            first.fold()
        second = self.backend()
        self.assertEqual(self.rows(), 0)
        first.fold()
        cells = second.read([key(f"k{n}") for n in range(100)])
        self.assertEqual(cells, [Cell(1, 1, 1, 1)] * 100)

    def test_a_lost_reply(self) -> None:
        """A slice whose reply was lost is not added again."""
        backend = self.backend(slice_cells=10)
        backend.add([batch("a", {f"k{n}": 1 for n in range(30)})])
        assert backend._folds is not None
        folding = backend._folds._folding
        fold, _ = folding.begin(False)
        again, _ = folding.begin(False)
        assert fold is not None
        assert again is not None
        for one in (fold, again):
            one.prepare()
        self.assertEqual([folding.step(one)[0] for one in (fold, again)], [True, None])
        self.assertEqual(self.hashes(), 10)
        while backend.fold():
            pass
        cells = backend.read([key(f"k{n}") for n in range(30)])
        self.assertEqual(cells, [Cell(1, 1, 1, 1)] * 30)

    def test_other_rows_with_the_same_numbers(self) -> None:
        """
        After a failover to a server without the last rows, a fold that has begun with
        them adds nothing, and deletes none that were appended since.
        """
        for slice_cells in (10_000, 1):
            self.here.prefix = uuid4().hex
            backend = self.backend(slice_cells=slice_cells)
            keys = KeyNames(self.here.prefix).journal()[:2]
            backend.add([batch("a", {"k": 1, "j": 1})])
            copies = [self.client.dump(one) for one in keys]
            backend.add([batch("b", {"k": 10})])
            assert backend._folds is not None
            folding = backend._folds._folding
            fold, _ = folding.begin(False)
            assert fold is not None
            fold.prepare()
            for name, copy in zip(keys, copies, strict=True):
                assert copy is not None
                self.client.restore(name, 0, copy, replace=True)
            backend.add([batch("c", {"k": 100})])
            self.assertEqual(folding.step(fold)[0], None)
            while backend.fold():
                pass
            cells = backend.read([key("k"), key("j")])
            self.assertEqual([cell and cell.sum for cell in cells], [101, 1])

    def test_rows_that_were_evicted(self) -> None:
        """If Redis deletes the journal amid a fold, later rows are whole."""
        backend = self.backend(slice_cells=1, max_journal=1)
        backend.add([batch("a", {f"k{n}": 1 for n in range(9)})])
        for _ in range(5):
            self.assertTrue(backend.fold())
        self.client.delete(self.keys.journal()[0])
        backend = self.backend(slice_cells=1, max_journal=1)
        backend.add([batch("b", {f"k{n}": 2 for n in range(9)})])
        keys = [key(f"k{n}") for n in range(9)]
        expected = [3] * 5 + [2] * 4
        for _ in range(2):
            sums = [cell and cell.sum for cell in backend.read(keys)]
            self.assertEqual(sums, expected)
            while backend.fold():
                pass

    def test_only_one_process_folds(self) -> None:
        """While a process folds, others leave the journal to it and look again later."""
        first, second = self.backend(slice_cells=10), self.backend()
        first.add([batch("a", {f"k{n}": 1 for n in range(100)})])
        self.assertTrue(first.fold())
        self.assertEqual(second.read([key("k99")]), [Cell(1, 1, 1, 1)])
        self.assertFalse(second.fold())
        self.assertEqual(self.hashes(), 10)
        self.assertEqual(second.fold_due(), FOLD_SECONDS)

    def test_a_clock_that_was_set_back(self) -> None:
        """A process that ended amid a fold holds up the others for some seconds only."""
        first, second = self.backend(slice_cells=10), self.backend()
        first.add([batch("a", {f"k{n}": 1 for n in range(100)})])
        self.assertTrue(first.fold())
        state = self.keys.journal()[1]
        until = self.client.hget(state, "until")
        assert until is not None
        self.client.hset(state, "until", int(until) + 100_000)
        self.assertFalse(second.fold())
        self.assertEqual((self.rows(), self.hashes()), (0, 100))

    def test_closing(self) -> None:
        """Closing folds; what it has no time for is not lost."""
        backend = self.backend(slice_cells=1, monotonic=Steps())
        backend.add([batch("a", {f"k{n}": 1 for n in range(100)})])
        backend.close()
        self.assertEqual(self.rows(), 1)
        again = self.backend()
        self.assertEqual((self.rows(), self.hashes()), (0, 100))
        again.add([batch("b", {"k0": 1})])
        again.close()
        self.assertEqual(self.rows(), 0)

    def test_damaged(self) -> None:
        """A damaged row is set aside and logged; all others count."""
        backend = self.backend()
        for n in range(3):
            backend.add([batch(f"a{n}", {"k": 1})])
        self.client.lset(self.keys.journal()[0], 1, b"\0" * 5)
        with capturedLogs() as logged:
            for _ in range(2):
                self.assertEqual(backend.read([key("k")]), [Cell(2, 2, 1, 1)])
                backend.fold()
        self.assertEqual([one["number"] for one in logged], [2, 2])
        self.assertEqual(self.rows(), 0)
        self.assertEqual(self.client.lrange(self.keys.damaged(), 0, -1), [b"\0" * 5])
        backend.add([batch("b", {"k": 1})])
        self.assertEqual(backend.read([key("k")]), [Cell(3, 3, 1, 1)])

    def test_a_sum_that_cannot_be(self) -> None:
        """Should an addition not fit, it is logged, and all others are folded."""
        backend = self.backend()
        backend.add([batch("a", {"k": MAX, "j": 1})])
        backend.add([batch("b", {"k": 1, "j": 1}, name="n")])
        # As if it had been damaged.
        rows = self.keys.journal()[0]
        self.assertEqual(self.rows(), 1)
        row = self.client.lindex(rows, 0)
        self.client.lset(rows, 0, row.replace(b'"n"', b'"m"'))
        with capturedLogs() as logged:
            self.assertFalse(backend.fold())
        self.assertIn("is too large", logged[0]["log_format"])
        self.assertEqual((logged[0]["name"], logged[0]["key"]), ("m", "k"))
        cells = backend.read([key("k"), key("j")])
        self.assertEqual([cell and cell.sum for cell in cells], [MAX, 2])

    def test_a_damaged_cell(self) -> None:
        """What cannot be added is logged; all others are added, and once."""
        names = [f"k{n}" for n in range(5)]
        for damage in (None, b"damaged".ljust(60), b"1", b"1 2 x 4".ljust(60)):
            self.here.prefix = uuid4().hex
            keys, backend = KeyNames(self.here.prefix), self.backend()
            place = keys.key(unit_tag("m", "k2"), "")
            backend.add([batch(f"a{damage!r}", dict.fromkeys(names, 1))])
            backend.fold()
            if damage is None:
                self.client.delete(place)
                self.client.set(place, "")
            else:
                self.client.hset(place, "year:2014", damage)
            backend.add([batch(f"b{damage!r}", dict.fromkeys(names, 1))])
            with capturedLogs() as logged:
                for _ in range(2):
                    self.assertFalse(backend.fold())
            self.assertEqual(
                [(one["name"], one["key"]) for one in logged], [("m", "k2")]
            )
            self.assertFalse(self.client.exists(keys.journal()[0]))
            cells = backend.read([key(name) for name in names if name != "k2"])
            self.assertEqual(cells, [Cell(2, 2, 1, 1)] * 4)

    def test_a_damaged_index(self) -> None:
        """A key of another type, which is met after something was written, does no more."""
        backend, names = self.backend(), ["k0", "k1", "k2"]
        self.client.set(self.keys.key(unit_tag("m", "k1"), "*"), "")
        bucket = TimeBucket("hour", "2035-01-01T00", 1e9)
        cells = {"m": dict.fromkeys(names, event(1))}
        one = Amounts({"m": "d"}, [Increment([bucket], cells)])
        backend.add([WriteBatch("a", "", lambda: one)])
        with capturedLogs() as logged:
            for _ in range(2):
                self.assertFalse(backend.fold())
        self.assertEqual([one["key"] for one in logged], ["k1"])
        keys = [CellKey("m", "hour", "2035-01-01T00", name) for name in names]
        self.assertEqual(backend.read(keys), [Cell(1, 1, 1, 1)] * 3)

    @inlineCallbacks
    def test_expiry(self) -> Any:
        """
        A time to live begins with the commit, whenever that is folded; what had expired
        before is not added to.
        """
        backend = self.backend()
        names = {"a": (0.15, 0.0), "b": (60.0, 0.0), "c": (0.15, 60.0)}

        def add(id: str, when: int) -> None:
            for name, ttls in names.items():
                if ttls[when]:
                    one = batch(f"{id}{name}", {"k": 1}, label=name, ttl=ttls[when])
                    backend.add([one])

        def counts() -> list[int]:
            cells = backend.read([key("k", label=name) for name in names])
            return [0 if cell is None else cell.count for cell in cells]

        add("first", 0)
        self.assertEqual(counts(), [1, 1, 1])
        yield deferLater(reactor, 0.2)
        self.assertEqual(counts(), [0, 1, 0])
        add("second", 1)
        self.assertEqual(counts(), [0, 1, 1])
        while backend.fold():
            pass
        self.assertEqual((self.rows(), counts()), (0, [0, 1, 1]))

    def test_many_hashes_of_one_unit(self) -> None:
        """Points of many hours, as an import has them, are added once."""
        backend = self.backend()
        for n in range(5):
            hours = [f"20{y:02}-01-{d:02}" for y in range(31) for d in range(31)]
            increments = [
                Events([TimeBucket("minute", f"{day}T{n}{h}:00", 1e9)], ["m"], [1])
                for day in hours
                for h in range(2)
            ]
            increments.append(Events([TimeBucket("year", "2014", None)], ["m"], [1]))
            one = Amounts({"m": "d"}, increments)
            backend.add([WriteBatch(f"a{n}", "", lambda one=one: one)])
        self.assertFalse(backend.fold())
        keys = [key("[]"), CellKey("m", "minute", "2030-01-30T41:00", "[]")]
        self.assertEqual(backend.read(keys), [Cell(5, 5, 1, 1), Cell(1, 1, 1, 1)])
        # The endings of all of them are noted, so they go with the name.
        backend.drop("m")
        self.assertEqual(self.hashes(), 0)
        self.assertEqual(backend.read(keys), [None, None])

    def test_very_long_lifetimes(self) -> None:
        """What lives for as good as ever is read before and after a fold."""
        backend = self.backend()
        for n, ttl in enumerate((1e12, 1e16, 1e300, float("inf"))):
            answers = backend.add([batch(f"a{n}", {"k": 1}, ttl=ttl, id_ttl=ttl)])
            self.assertEqual(answers, [ADDED])
            for _ in range(2):
                self.assertEqual(backend.read([key("k")]), [Cell(n + 1, n + 1, 1, 1)])
                self.assertFalse(backend.fold())
            self.assertEqual(self.rows(), 0)
            answers = backend.add([batch(f"a{n}", {"k": 1}, ttl=ttl, id_ttl=ttl)])
            self.assertEqual(answers, [WriteResult(WriteOutcome.REPEATED)])

    def test_one_fold_for_several_lifetimes(self) -> None:
        """Metricas with another time to live are folded together, each with its own."""
        backend = self.backend()
        for n in range(6):
            ttl = None if n % 2 else 100.0
            backend.add([batch(f"a{n}", {"k": 1}, name=f"m{n % 2}", ttl=ttl)])
        keys = [key("k", name=f"m{n}") for n in range(2)]
        self.assertEqual(backend.read(keys), [Cell(3, 3, 1, 1)] * 2)
        self.assertFalse(backend.fold())
        self.assertEqual(self.rows(), 0)
        self.assertEqual(backend.read(keys), [Cell(3, 3, 1, 1)] * 2)
        with closing(RedisDump(self.here.url(), time.time)) as dump:
            dump.open()
            lasting = {cell.name: cell.expires is None for cell in dump.cells()}
        self.assertEqual(lasting, {"m0": False, "m1": True})

    def test_the_last_commit_decides(self) -> None:
        """Whether a bucket expires depends on the last commit, not on the last fold."""
        backend = self.backend()
        for id, ttl in (("a", 100.0), ("b", None), ("c", 100.0)):
            backend.add([batch(id, {"k": 1}, ttl=ttl), batch(f"{id}2", {"k": 1})])
        while backend.fold():
            pass
        with closing(RedisDump(self.here.url(), time.time)) as dump:
            dump.open()
            (cell,) = dump.cells()
        self.assertEqual((cell.sums.whole, cell.expires), (6, None))
        backend.add([batch("d", {"k": 1}, ttl=100.0)])
        backend.fold()
        with closing(RedisDump(self.here.url(), time.time)) as dump:
            dump.open()
            (cell,) = dump.cells()
        self.assertEqual(cell.sums.whole, 7)
        self.assertIsNotNone(cell.expires)


class MetricaTests(JournalCase):
    """Metricas that are deleted and renamed while others write."""

    def test_dropped_with_its_rows(self) -> None:
        """What the journal has of a Metrica goes with it; the rest stays."""
        backend, other = self.backend(slice_cells=1), self.backend()
        backend.add([batch("a", {"k": 1, "j": 1}), batch("b", {"k": 1}, name="n")])
        self.assertTrue(backend.fold())
        other.add([batch("c", {"k": 1})])
        self.assertTrue(other.drop("m"))
        cells = backend.read([key("k"), key("j"), key("k", name="n")])
        self.assertEqual(cells, [None, None, Cell(1, 1, 1, 1)])
        backend.add([batch("d", {"k": 5}, definition="new")])
        backend.fold()
        self.assertEqual(other.read([key("k")]), [Cell(5, 1, 5, 5)])

    def added_meanwhile(
        self, name: str, most: int = 3, is_slow: bool = False
    ) -> tuple[RedisBackend, list[int]]:
        """
        A backend to which another process adds to a Metrica, at the first moments at
        which the journal was just looked at; when the hold of its name is over, if the
        backend is slow.
        """
        backend, other = self.backend(), self.backend()
        client, held = self.client, self.keys.journal()[3]
        backend.add([batch("a", {"k": 1}), batch("b", {"k": 1}, name="n")])
        server = backend._cells
        looked: list[int] = []

        class Watched:
            """The server, with another process that adds."""

            def __getattr__(self, name: str) -> Any:
                return getattr(server, name)

            def rows(self) -> Any:
                """Look at the journal, then add something."""
                found = server.rows()
                is_early = len(looked) < most
                if is_early and is_slow:
                    client.delete(held)
                if is_early:
                    other.add([batch(f"c{len(looked)}", {"k": 1}, name=name)])
                if is_early and is_slow:
                    server.hold([name])  # as another process may do
                looked.append(1)
                return found

        assert backend._folds is not None
        backend._adder = JournalAdder(
            Watched(),  # type: ignore[arg-type]
            *(backend._folds, backend._due, 1000),
        )
        return backend, looked

    def test_renamed_meanwhile(self) -> None:
        """
        What is added while a Metrica is renamed is there under its new name; however
        much it is, the renaming comes to an end.
        """
        for name in ("m", "n"):
            backend, looked = self.added_meanwhile(name, 1000)
            self.assertTrue(backend.rename("m", "new"))
            self.assertIn(len(looked), (2, 3))
            expected = 1 + (len(looked) if name == "m" else 0)
            cells = backend.read([key("k", name="new"), key("k")])
            sums = [cell and cell.sum for cell in cells]
            self.assertEqual(sums, [expected, None])
            self.here.prefix = uuid4().hex

    def test_renamed_slowly(self) -> None:
        """A renaming that takes longer than the hold of the name begins again."""
        backend, looked = self.added_meanwhile("m", is_slow=True)
        self.assertTrue(backend.rename("m", "new"))
        self.assertGreater(len(looked), 3)
        cells = backend.read([key("k", name="new"), key("k")])
        self.assertEqual([cell and cell.sum for cell in cells], [4, None])

    def test_a_hold_ends(self) -> None:
        """
        What is added to a Metrica that was deleted just now goes to the cells, with all
        of its batch; but that does not keep these out of the journal any longer.
        """
        backend, held = self.backend(), self.keys.journal()[3]
        backend.drop("m")
        self.client.pexpire(held, 5_000)
        names = ["m", "n"]
        bucket = TimeBucket("year", "2014", None)
        one = Amounts(dict.fromkeys(names, "d"), [Events([bucket], names, [1, 1])])
        backend.add([WriteBatch("a", "", lambda: one)])
        self.assertEqual(self.rows(), 0)
        self.assertEqual(self.client.smembers(held), {b"m", b"n"})
        self.assertLessEqual(self.client.pttl(held), 5_000)
        self.client.delete(held)  # as if that time were over
        backend.add([WriteBatch("b", "", lambda: one)])
        self.assertEqual(self.rows(), 1)

    def test_dropped_if_unchanged(self) -> None:
        """A conditional drop does nothing if something was added at that moment."""
        backend, looked = self.added_meanwhile("m")
        self.assertFalse(backend.drop("m", (key("k"), Cell(1, 1, 1, 1))))
        (seen,) = backend.read([key("k")])
        assert seen is not None
        self.assertEqual(seen.sum, 1 + min(3, len(looked)))
        for _ in range(3):
            self.assertFalse(backend.drop("m", (key("k"), Cell(1, 1, 1, 1))))
        (seen,) = backend.read([key("k")])
        assert seen is not None
        self.assertEqual(seen.sum, 4)
        self.assertTrue(backend.drop("m", (key("k"), seen)))


class StoreTests(TestCase):
    """The asynchronous store, which folds by itself."""

    def test_folds_after_a_time(self) -> None:
        """A store folds some seconds after a commit, and sooner if it is read."""
        here = RedisHost(self)
        clock = Clock()
        clock.advance(NOW)
        backend = RedisBackend(here.url(), monotonic=clock.seconds)
        store = self.successResultOf(Store(backend, Inline(), clock).open())
        self.addCleanup(store.close)
        client = Redis(port=here.port)
        self.addCleanup(client.close)
        journal = KeyNames(here.prefix).journal()[0]
        for n, (reads, seconds) in enumerate([(False, FOLD_SECONDS), (True, 0.5)]):
            self.successResultOf(store.add([batch(f"a{n}", {"k": 1})]))
            if reads:
                (cell,) = self.successResultOf(store.read([key("k")]))
                self.assertEqual(cell, Cell(2, 2, 1, 1))
            clock.advance(seconds - 0.4)
            self.assertEqual(client.llen(journal), 1)
            clock.advance(0.4)
            self.assertEqual(client.llen(journal), 0)
        self.successResultOf(store.close())
        self.assertEqual(clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_threads(self) -> Any:
        """Writers, readers and folds in threads of their own lose nothing."""
        here = RedisHost(self)
        store = yield here.open()
        backend = store._backend
        backend._due._fold_at = 500
        for n in range(60):
            yield store.add([batch(f"a{n}", {f"k{m}": 1 for m in range(100)})])
            cells = yield store.read([key("k0"), key("k99")])
            self.assertEqual([cell.sum for cell in cells], [n + 1] * 2)
        keys = [CellKey("m", "year", "2014", f"k{m}") for m in range(100)]
        cells = yield store.read(keys)
        self.assertEqual({cell.sum for cell in cells}, {60})
