"""
The contract of a store, tested on every kind of store.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from itertools import permutations
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.fixtures.store_contract import ADDED, batch, key
from tests.fixtures.stores import (
    ClusterHost,
    MemoryHost,
    RedisHost,
    SqliteHost,
    ValkeyHost,
)
from txstathat.errors import StoreClosed
from txstathat.stores import (
    Addition,
    Amounts,
    Cell,
    CellKey,
    Increment,
    IStore,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.sums import Events, event, events, merge

MAX = 2**63 - 1
AMOUNTS = (
    st.integers(-MAX, MAX)
    | st.floats(-1e300, 1e300)
    | st.sampled_from([0.1, 0.3, 1e16, -1e16])
)


class Contract:
    """What every store must do."""

    host: Any

    @inlineCallbacks
    def setUp(self: Any) -> Any:
        self.here = self.host(self)
        self.store = yield self.here.open()

    @inlineCallbacks
    def one(self: Any, what: str = "k", **where: str) -> Any:
        """Read one cell."""
        (cell,) = yield self.store.read([key(what, **where)])
        return cell

    def test_interface(self: Any) -> None:
        """A store provides IStore."""
        self.assertTrue(verifyObject(IStore, self.store))

    @inlineCallbacks
    def test_sums(self: Any) -> Any:
        """A cell has the sum, the number, the smallest and the largest amount."""
        for n, amount in enumerate([5, -3, 10, 0]):
            answers = yield self.store.add([batch(f"b{n}", {"k": amount, "once": 1})])
            self.assertEqual(answers, [ADDED])
        cells = yield self.store.read([key("k"), key("nothing"), key("once"), key("k")])
        whole = Cell(12, 4, -3, 10)
        self.assertEqual(cells, [whole, None, Cell(4, 4, 1, 1), whole])
        self.assertEqual((yield self.store.read([])), [])

    @inlineCallbacks
    def test_once(self: Any) -> Any:
        """The same id adds once; with another digest it is a conflict."""
        first = batch("b", {"k": 1}, digest="one")
        self.assertEqual((yield self.store.add([first])), [ADDED])
        other = batch("b", {"k": 5, "other": 1}, digest="two")
        answers = yield self.store.add([first, other, first])
        outcomes = [answer.outcome for answer in answers]
        self.assertEqual(
            outcomes,
            [WriteOutcome.REPEATED, WriteOutcome.CONFLICT, WriteOutcome.REPEATED],
        )
        self.assertEqual((yield self.one()), Cell(1, 1, 1, 1))
        self.assertIsNone((yield self.one("other")))

    @inlineCallbacks
    def test_conflict_elsewhere(self: Any) -> Any:
        """The same id is a conflict even if the batches have no common cell."""
        yield self.store.add([batch("b", {"k": 1}, digest="one")])
        there = batch("b", {"k": 1}, digest="two", name="n", label="1999")
        answers = yield self.store.add([there])
        self.assertEqual(answers[0].outcome, WriteOutcome.CONFLICT)
        self.assertIsNone((yield self.one(name="n", label="1999")))

    @inlineCallbacks
    def test_same_batch_twice_in_one_call(self: Any) -> Any:
        """Batches of one call see each other."""
        answers = yield self.store.add([batch("b", {"k": 1}), batch("b", {"k": 1})])
        self.assertEqual(answers, [ADDED, WriteResult(WriteOutcome.REPEATED)])
        self.assertEqual((yield self.one()), Cell(1, 1, 1, 1))

    @inlineCallbacks
    def test_at_once(self: Any) -> Any:
        """The same batch a hundred times at once adds once."""
        yield gatherResults(
            [self.store.add([batch("b", {"k": 1})]) for _ in range(100)]
        )
        self.assertEqual((yield self.one()), Cell(1, 1, 1, 1))

    @inlineCallbacks
    def test_exact(self: Any) -> Any:
        """Whole numbers are exact up to 2**63 - 1, in sums, minima and maxima."""
        for n, amount in enumerate([2**53, 1, MAX - 2**53 - 2]):
            yield self.store.add([batch(f"b{n}", {"k": amount, "low": -amount})])
        cell = yield self.one()
        self.assertEqual((cell.sum, type(cell.sum)), (MAX - 1, int))
        self.assertEqual((yield self.one("low")).sum, 1 - MAX)
        for n, amount in enumerate([MAX - 1, MAX, MAX - 2, 5 - MAX, -MAX]):
            where = {"name": "n", "label": str(n % 2)}
            yield self.store.add([batch(f"c{n}", {"k": amount, "d": amount}, **where)])
        extremes = yield self.one(name="n", label="0")
        self.assertEqual((extremes.min, extremes.max), (-MAX, MAX - 1))
        extremes = yield self.one(name="n", label="1")
        self.assertEqual((extremes.min, extremes.max), (5 - MAX, MAX))

    @inlineCallbacks
    def test_exact_extremes(self: Any) -> Any:
        """
        Extremes are exact beyond 2**53, of negative numbers too, in whatever order the
        amounts arrive: also of numbers that are the same as floats.
        """
        same = [2**53, 2**53 + 1], [10**16 - 1, 10**16, 10**16 + 1], [MAX - 2, MAX - 1]
        batches, expected = [], {}
        for sign in (1, -1):
            for numbers in same:
                for order in permutations([sign * number for number in numbers]):
                    label = str(order)
                    expected[label] = (min(order), max(order))
                    for n, amount in enumerate(order):
                        added = Addition(0, 1, amount, amount)
                        batches.append(batch(f"{label} {n}", {"k": added}, label=label))
        answers = yield self.store.add(batches)
        self.assertEqual(set(answers), {ADDED})
        cells = yield self.store.read([key("k", label=label) for label in expected])
        self.assertEqual(
            [(cell.min, cell.max) for cell in cells], list(expected.values())
        )

    @inlineCallbacks
    def test_overflow(self: Any) -> Any:
        """A sum beyond 2**63 - 1 refuses its whole batch; its id can be used again."""
        yield self.store.add([batch("b", {"k": MAX - 1, "low": 1 - MAX})])
        for n, cells in enumerate([{"k": 4}, {"low": -5}]):
            answers = yield self.store.add(
                [
                    batch(f"before{n}", {"k": -1, "low": 1}),
                    batch(f"x{n}", {"a": 1, **cells, "z": 1}),
                    batch(f"after{n}", {"fine": 1}),
                ]
            )
            self.assertEqual(
                answers, [ADDED, WriteResult(WriteOutcome.OVERFLOW, "m"), ADDED]
            )
            self.assertIsNone((yield self.one("a")))
            self.assertIsNone((yield self.one("z")))
        self.assertEqual((yield self.one("fine")).sum, 2)
        self.assertEqual((yield self.one()).sum, MAX - 3)
        self.assertEqual((yield self.store.add([batch("x0", {"k": 2})])), [ADDED])
        self.assertEqual((yield self.one()).sum, MAX - 1)

    @inlineCallbacks
    def test_overflow_before_it_is_added(self: Any) -> Any:
        """An addition that is too large by itself is refused, even to an empty cell."""
        huge = merge(event(MAX), event(1))
        answers = yield self.store.add([batch("b", {"k": huge})])
        self.assertEqual(answers, [WriteResult(WriteOutcome.OVERFLOW, "m")])
        self.assertEqual((yield self.store.definitions()), {})

    @inlineCallbacks
    def test_floats(self: Any) -> Any:
        """Sums of any number of floats are exact to 15 digits."""
        for n in range(50):
            several = event(0.1)
            for _ in range(199):
                several = merge(several, event(0.1))
            yield self.store.add([batch(f"b{n}", {"k": several})])
        cell = yield self.one()
        self.assertEqual(f"{cell.sum:.15g}", "1000")
        self.assertEqual((cell.count, cell.min, cell.max), (10_000, 0.1, 0.1))
        for n, amount in enumerate([1e16, 1.0, 1.0, -1e16, 0.25]):
            yield self.store.add([batch(f"c{n}", {"lost": amount})])
        self.assertEqual((yield self.one("lost")).sum, 2.25)

    @inlineCallbacks
    def test_sums_of_several_floats(self: Any) -> Any:
        """Additions that are sums of several floats lose nothing when they are added."""
        several = [[1e16, 1.0, 0.25], [1.0, 1e16], [-1e16, 1.0], [-1e16, 1.0]]
        for n, amounts in enumerate(several):
            yield self.store.add([batch(f"b{n}", {"k": events(amounts)})])
        self.assertEqual((yield self.one()), Cell(4.25, 9, -1e16, 1e16))
        merged = merge(
            merge(*map(events, several[:2])), merge(*map(events, several[2:]))
        )
        yield self.store.add([batch("c", {"merged": merged})])
        self.assertEqual((yield self.one("merged")), Cell(4.25, 9, -1e16, 1e16))

    @inlineCallbacks
    def test_floats_and_ints(self: Any) -> Any:
        """The sum of ints and a float is a float."""
        for n, amount in enumerate([3, 0.5, -7, 2.0]):
            yield self.store.add([batch(f"b{n}", {"k": amount})])
        cell = yield self.one()
        self.assertEqual(cell, Cell(-1.5, 4, -7, 3))
        self.assertIsInstance(cell.sum, float)
        yield self.store.add([batch("c", {"f": 1e-320, "g": -1.5e300})])
        self.assertEqual((yield self.one("f")).sum, 1e-320)
        self.assertEqual((yield self.one("g")).min, -1.5e300)

    @inlineCallbacks
    def test_float_overflow(self: Any) -> Any:
        """A float sum beyond the largest float refuses its batch."""
        yield self.store.add([batch("b", {"k": 1.5e308})])
        answers = yield self.store.add([batch("c", {"k": 1.5e308, "a": 1})])
        self.assertEqual(answers, [WriteResult(WriteOutcome.OVERFLOW, "m")])
        self.assertEqual((yield self.one()), Cell(1.5e308, 1, 1.5e308, 1.5e308))
        self.assertIsNone((yield self.one("a")))

    @inlineCallbacks
    def test_events(self: Any) -> Any:
        """
        Single events count as their sums do. If those of several batches are too large
        together, the batches that fit are added.
        """

        def of(id: str, names: str, amounts: list[int | float]) -> WriteBatch:
            bucket = TimeBucket("year", "2014", None)
            increment = Events([bucket], [*names], amounts)
            return WriteBatch(
                id, "", lambda: Amounts(dict.fromkeys(names, "d"), [increment])
            )

        answers = yield self.store.add(
            [of("a", "mnm", [1, 2.5, 3]), of("b", "m", [0.5]), of("c", "n", [-7])]
        )
        self.assertEqual(answers, [ADDED] * 3)
        large = [of(id, "o", [1.5e308]) for id in "de"]
        answers = yield self.store.add([*large, of("f", "m", [2])])
        overflow = WriteResult(WriteOutcome.OVERFLOW, "o")
        self.assertEqual(answers, [ADDED, overflow, ADDED])
        cells = yield self.store.read([key("[]", name=name) for name in "mno"])
        self.assertEqual(
            cells,
            [
                Cell(6.5, 4, 0.5, 3),
                Cell(-4.5, 2, -7, 2.5),
                Cell(1.5e308, 1, 1.5e308, 1.5e308),
            ],
        )

    @inlineCallbacks
    def test_definitions(self: Any) -> Any:
        """The definition of a name does not change; a batch with another one is refused."""
        yield self.store.add([batch("b", {"k": 1}), batch("c", {"k": 1}, name="n")])
        answers = yield self.store.add([batch("d", {"k": 1}, definition="other")])
        self.assertEqual(answers, [WriteResult(WriteOutcome.MISMATCH, "m")])
        self.assertEqual((yield self.one()).sum, 1)
        everything = yield self.store.definitions()
        self.assertEqual(everything, {"m": "d", "n": "d"})
        some = yield self.store.definitions(["n", "nothing"])
        self.assertEqual(some, {"n": "d"})
        self.assertEqual((yield self.store.definitions([])), {})

    @inlineCallbacks
    def test_count_definitions(self: Any) -> Any:
        """The number of Metricas, and of those without some, follows what is stored."""
        self.assertEqual((yield self.store.count_definitions()), 0)
        names = [f"{number} é" for number in range(200)]
        yield self.store.add([batch(name, {"k": 1}, name=name) for name in names])
        self.assertEqual((yield self.store.count_definitions()), 200)
        self.assertEqual([*(yield self.store.definitions())], sorted(names))
        some = yield self.store.count_definitions([*names[:7], "nothing"])
        self.assertEqual(some, 193)
        yield self.store.drop(names[0])
        yield self.store.rename(names[1], "new")
        self.assertEqual((yield self.store.count_definitions()), 199)

    @inlineCallbacks
    def test_choices(self: Any) -> Any:
        """Choices are read by name and group, sorted, each once."""
        choices = {("m", "g"): ["b", "a"], ("m", "h"): ["c"]}
        yield self.store.add([batch("b", {"k": 1}, choices=choices)])
        yield self.store.add([batch("c", {"k": 1}, choices={("m", "g"): ["a", "d"]})])
        self.assertEqual((yield self.store.choices("m", "g")), ["a", "b", "d"])
        self.assertEqual((yield self.store.choices("m", "h")), ["c"])
        self.assertEqual((yield self.store.choices("n", "g")), [])

    @inlineCallbacks
    def test_drop(self: Any) -> Any:
        """Dropping deletes this name and no other; it can be defined again."""
        choices = {("m", "g"): ["a"]}
        names = ["m", "m*", "?", "m\\", '["m",', "n"]
        for name in names:
            yield self.store.add(
                [
                    batch(name, {"k": 1}, name=name, choices=choices)
                    if name == "m"
                    else batch(name, {"k": 1}, name=name)
                ]
            )
        self.assertTrue((yield self.store.drop("m")))
        self.assertFalse((yield self.store.drop("m")))
        self.assertIsNone((yield self.one()))
        self.assertEqual((yield self.store.choices("m", "g")), [])
        self.assertTrue((yield self.store.drop("?")))
        self.assertTrue((yield self.store.drop("m*")))
        left = yield self.store.definitions()
        self.assertEqual(set(left), {"m\\", '["m",', "n"})
        for name in left:
            self.assertEqual((yield self.one(name=name)).sum, 1)
        again = yield self.store.add([batch("again", {"k": 5}, definition="new")])
        self.assertEqual(again, [ADDED])
        self.assertEqual((yield self.one()), Cell(5, 1, 5, 5))

    @inlineCallbacks
    def test_drop_what_is_unchanged(self: Any) -> Any:
        """A conditional drop does nothing if something was added meanwhile."""
        yield self.store.add([batch("a", {"k": 1})])
        seen = yield self.one()
        yield self.store.add([batch("b", {"k": 1})])
        self.assertFalse((yield self.store.drop("m", (key("k"), seen))))
        seen = yield self.one()
        self.assertEqual(seen.sum, 2)
        self.assertIn("m", (yield self.store.definitions()))
        self.assertTrue((yield self.store.drop("m", (key("k"), seen))))
        self.assertFalse((yield self.store.drop("m", (key("k"), seen))))
        self.assertIsNone((yield self.one()))
        self.assertEqual((yield self.store.definitions()), {})

    @inlineCallbacks
    def test_any_text(self: Any) -> Any:
        """Names, labels and keys may be any text, and do not collide."""
        texts = [
            "",
            ":",
            "a:b",
            "a",
            "b",
            "%",
            "{x}",
            "[",
            "é",
            "\U0001f600",
            "'",
            "\n",
            '"',
            "\\",
            "null",
            "\x00" if self.here.lasting else " ",
            "][",
        ]
        for n, text in enumerate(texts):
            answers = yield self.store.add(
                [
                    batch(f"b{n}", {text: n}, name="m" + text, label=text),
                    batch(f"c{n}", {"k": n}, name="m", label=text),
                ]
            )
            self.assertEqual(answers, [ADDED, ADDED])
        for n, text in enumerate(texts):
            cell = yield self.one(text, name="m" + text, label=text)
            self.assertEqual(cell, Cell(n, 1, n, n))
            self.assertEqual((yield self.one(label=text)), Cell(n, 1, n, n))

    @inlineCallbacks
    def test_large(self: Any) -> Any:
        """Thousands of cells, in several time buckets, are added and read."""
        cells = {f"k{n}": event(n) for n in range(2500)}
        amounts = Amounts(
            {"m": "d"},
            [
                Increment(
                    [TimeBucket("day", f"2014-01-{n:02d}", None) for n in range(1, 4)],
                    {"m": cells},
                )
            ],
            {("m", "g"): [str(n) for n in range(2500)]},
        )
        for n in range(2):
            yield self.store.add([WriteBatch(f"b{n}", "", lambda: amounts)])
        keys = [CellKey("m", "day", "2014-01-02", f"k{n}") for n in range(2500)]
        found = yield self.store.read(keys)
        self.assertEqual([cell.sum for cell in found], [2 * n for n in range(2500)])
        self.assertEqual(len((yield self.store.choices("m", "g"))), 2500)

    @inlineCallbacks
    def wait(self: Any, seconds: float) -> Any:
        """Let time pass for the store."""
        if self.here.clocked:
            self.here.clock.advance(seconds)
        else:
            from twisted.internet import reactor

            yield deferLater(reactor, seconds, lambda: None)

    @inlineCallbacks
    def test_rename(self: Any) -> Any:
        """A renamed Metrica has all it had; its old name is free."""
        group = {("m", "g"): ["one", "two"]}
        yield self.store.add(
            [
                batch("a", {"k": 7, "r": 0.1}, choices=group),
                batch("b", {"k": 2**60}, label="2014-06-01", ttl=0.6),
                batch("c", {"k": 3}, label='x*[y]"'),
                batch("other", {"k": 1}, name="other"),
            ]
        )
        wanted = [("k", "2014"), ("r", "2014"), ("k", "2014-06-01"), ("k", 'x*[y]"')]
        before = yield self.store.read([key(k, label=label) for k, label in wanted])
        self.assertNotIn(None, before)
        new = 'new "m" [*]'
        self.assertTrue((yield self.store.rename("m", new)))
        moved = [key(k, name=new, label=label) for k, label in wanted]
        self.assertEqual((yield self.store.read(moved)), before)
        self.assertEqual(
            (yield self.store.read([key(k, label=label) for k, label in wanted])),
            [None] * 4,
        )
        self.assertEqual((yield self.store.definitions()), {new: "d", "other": "d"})
        self.assertEqual((yield self.store.choices(new, "g")), ["one", "two"])
        self.assertEqual((yield self.store.choices("m", "g")), [])
        # Batches are known by their ids; new ones are added to a new Metrica.
        answers = yield self.store.add(
            [batch("a", {"k": 7, "r": 0.1}, choices=group), batch("d", {"k": 1})]
        )
        self.assertEqual([a.outcome.value for a in answers], ["repeated", "added"])
        self.assertEqual((yield self.one()), Cell(1, 1, 1, 1))
        yield self.store.add([batch("e", {"k": 1}, name=new)])
        self.assertEqual((yield self.one(name=new)).sum, 8)
        yield self.wait(0.7)
        self.assertIsNone((yield self.one(name=new, label="2014-06-01")))

    @inlineCallbacks
    def test_rename_refused(self: Any) -> Any:
        """No Metrica gets a name that is in use, and none that does not exist."""
        yield self.store.add([batch("a", {"k": 1}), batch("b", {"k": 2}, name="n")])
        for name, new in (("m", "n"), ("n", "m"), ("m", "m"), ("none", "free")):
            self.assertFalse((yield self.store.rename(name, new)))
        self.assertEqual((yield self.one()).sum, 1)
        self.assertEqual((yield self.one(name="n")).sum, 2)
        done = yield gatherResults(
            [self.store.rename(name, "new") for name in ("m", "n")]
        )
        self.assertEqual(sum(done), 1)
        self.assertEqual(len((yield self.store.definitions())), 2)

    @inlineCallbacks
    def test_size(self: Any) -> Any:
        """The size grows with what is stored."""
        before = yield self.store.size()
        for n in range(20):
            yield self.store.put_record("kind", str(n), "x" * 10_000)
        self.assertGreater((yield self.store.size()), before + 100_000)

    @inlineCallbacks
    def test_erase_deleted(self: Any) -> Any:
        """Erasing what was deleted changes nothing else."""
        yield self.store.add(
            [
                batch("a", {"k": 1}, choices={("m", "g"): ["x"]}),
                batch("b", {"k": 2}, name="gone"),
            ]
        )
        yield self.store.put_record("kind", "id", "text")
        yield self.store.drop("gone")
        while (yield self.store.drop_expired()):
            pass
        yield self.store.erase_deleted()
        yield self.store.add([batch("c", {"k": 1})])
        self.assertEqual((yield self.one()).sum, 2)
        self.assertEqual((yield self.store.choices("m", "g")), ["x"])
        self.assertEqual((yield self.store.records("kind")), {"id": "text"})
        self.assertEqual((yield self.store.definitions()), {"m": "d"})

    @inlineCallbacks
    def test_records(self: Any) -> Any:
        """Records with any text are written, replaced and deleted, by kind and id."""
        self.assertEqual((yield self.store.records("key")), {})
        texts = {"a": "{}", "": "", "'\"é☃": "\x00\n☃"}
        for id, text in texts.items():
            self.assertTrue((yield self.store.put_record("key", id, text)))
        self.assertTrue((yield self.store.put_record("other", "a", "else")))
        self.assertEqual((yield self.store.records("key")), texts)
        self.assertTrue((yield self.store.put_record("key", "a", "new")))
        self.assertTrue((yield self.store.put_record("key", "", None)))
        del texts[""]
        self.assertEqual((yield self.store.records("key")), texts | {"a": "new"})
        self.assertEqual((yield self.store.records("other")), {"a": "else"})

    @inlineCallbacks
    def test_record(self: Any) -> Any:
        """A single record is read by kind and id, whatever its id and text are."""
        texts = {"a": "{}", "": "", "'\"é☃": "\x00\n☃"}
        for id, text in texts.items():
            yield self.store.put_record("key", id, text)
        for id, text in texts.items():
            self.assertEqual((yield self.store.record("key", id)), text)
        self.assertIsNone((yield self.store.record("key", "b")))
        self.assertIsNone((yield self.store.record("other", "a")))
        yield self.store.put_record("key", "a", "new")
        self.assertEqual((yield self.store.record("key", "a")), "new")
        yield self.store.put_record("key", "a", None)
        self.assertIsNone((yield self.store.record("key", "a")))

    @inlineCallbacks
    def test_records_compared(self: Any) -> Any:
        """A conditional change needs the expected text; of many callers, one succeeds."""
        put = self.store.put_record
        self.assertFalse((yield put("k", "a", "new", was="old")))
        self.assertFalse((yield put("k", "a", None, was="old")))
        done = yield gatherResults([put("k", "a", str(n), was=None) for n in range(20)])
        self.assertEqual(sum(done), 1)
        now = str(done.index(True))
        self.assertEqual((yield self.store.records("k")), {"a": now})
        self.assertFalse((yield put("k", "a", "x", was="")))
        self.assertTrue((yield put("k", "a", None, was=now)))
        self.assertEqual((yield self.store.records("k")), {})

    @inlineCallbacks
    def test_expiry(self: Any) -> Any:
        """A time bucket expires its time to live after the last write."""
        yield self.store.add(
            [batch("a", {"k": 1}, ttl=0.4), batch("b", {"k": 1}, label="x")]
        )
        yield self.wait(0.25)
        yield self.store.add([batch("c", {"k": 1}, ttl=0.4)])
        yield self.wait(0.25)
        self.assertEqual((yield self.one()).sum, 2)
        yield self.wait(0.25)
        self.assertIsNone((yield self.one()))
        self.assertEqual((yield self.one(label="x")).sum, 1)
        # It begins anew, with nothing of what it was.
        yield self.store.add([batch("d", {"j": 1}, ttl=None)])
        self.assertIsNone((yield self.one()))
        yield self.store.drop_expired()
        yield self.wait(0.5)
        self.assertEqual((yield self.one("j")).sum, 1)

    @inlineCallbacks
    def test_expiry_changes(self: Any) -> Any:
        """The last write decides when a time bucket expires, and whether it does."""
        for id, ttl in (("limited", 0.4), ("endless", None)):
            yield self.store.add([batch(f"a {id}", {"k": 1}, label=id, ttl=ttl)])
        for id, ttl in (("limited", None), ("endless", 0.4)):
            yield self.store.add([batch(f"b {id}", {"k": 1}, label=id, ttl=ttl)])
        yield self.wait(0.5)
        yield self.store.drop_expired()
        self.assertEqual((yield self.one(label="limited")).sum, 2)
        self.assertIsNone((yield self.one(label="endless")))

    @inlineCallbacks
    def test_forgotten_id(self: Any) -> Any:
        """The id of a batch is remembered for its time to live."""
        yield self.store.add([batch("b", {"k": 1}, id_ttl=0.2)])
        yield self.store.add([batch("c", {"k": 1})])
        yield self.wait(0.25)
        yield self.store.add([batch("b", {"k": 1}), batch("c", {"k": 1})])
        self.assertEqual((yield self.one()).sum, 3)

    @inlineCallbacks
    def test_close(self: Any) -> Any:
        """A closed store fails with a message; closing twice is allowed."""
        yield gatherResults([self.store.close(), self.store.close()])
        yield self.store.close()
        error = yield self.assertFailure(self.store.read([key("k")]), StoreClosed)
        self.assertEqual(str(error), "the store is closed")
        yield self.assertFailure(self.store.add([batch("b", {"k": 1})]), StoreClosed)

    @inlineCallbacks
    def test_lasting(self: Any) -> Any:
        """Data and batch ids are there after reopening."""
        if not self.here.lasting:
            return
        yield self.store.add([batch("b", {"k": 7})])
        yield self.store.close()
        self.store = yield self.here.open()
        self.assertEqual((yield self.one()), Cell(7, 1, 7, 7))
        answers = yield self.store.add([batch("b", {"k": 7})])
        self.assertEqual(answers[0].outcome, WriteOutcome.REPEATED)


class MemoryTests(Contract, TestCase):
    """In memory."""

    host = MemoryHost


class SqliteTests(Contract, TestCase):
    """On SQLite."""

    host = SqliteHost


class RedisTests(Contract, TestCase):
    """On Redis."""

    host = RedisHost


class ValkeyTests(Contract, TestCase):
    """On Valkey, where it is installed."""

    host = ValkeyHost


class ClusterTests(Contract, TestCase):
    """On a Redis Cluster."""

    host = ClusterHost


class SumTests(SynchronousTestCase):
    """
    Many amounts as one addition.
    """

    @given(st.lists(AMOUNTS, min_size=1, max_size=20))
    def test_events(self, amounts: list[int | float]) -> None:
        """The sum of whole numbers is exact, the sum of floats is exact to its last digits."""
        one = events(amounts)
        whole = [amount for amount in amounts if isinstance(amount, int)]
        floats = [amount for amount in amounts if isinstance(amount, float)]
        self.assertEqual(one.whole, sum(whole))
        self.assertEqual(one.events, len(amounts))
        self.assertEqual((one.least, one.most), (min(amounts), max(amounts)))
        if not floats:
            self.assertIsNone(one.real)
            return
        assert one.real is not None
        exact = sum(map(Fraction, floats))
        self.assertEqual(one.real, float(exact))
        self.assertEqual(one.rest, float(exact - Fraction(one.real)))

    @given(st.lists(st.lists(AMOUNTS, min_size=1, max_size=5), min_size=2, max_size=6))
    @example([[1e16, 1.0], [-1e16, 1.0]])
    @example([[0.1, 1e16], [3], [0.1], [-1e16, 0.3]])
    def test_merge(self, lists: list[list[int | float]]) -> None:
        """Merging sums is exact for whole numbers, and to 30 digits for floats."""
        merged = reduce(merge, map(events, lists))
        amounts = [amount for one in lists for amount in one]
        floats = [Fraction(one) for one in amounts if isinstance(one, float)]
        self.assertEqual(merged.whole, sum(n for n in amounts if isinstance(n, int)))
        self.assertEqual(merged.events, len(amounts))
        self.assertEqual((merged.least, merged.most), (min(amounts), max(amounts)))
        self.assertEqual(merged.real is None, not floats)
        if merged.real is not None:
            found = Fraction(merged.real) + Fraction(merged.rest)
            size = sum(map(abs, floats))
            self.assertLessEqual(abs(found - sum(floats)), size / 10**30)

    def test_too_large(self) -> None:
        """A sum beyond the largest float raises an error; it does not become infinite."""
        self.assertRaises(OverflowError, events, [1.7e308, 1.7e308])
