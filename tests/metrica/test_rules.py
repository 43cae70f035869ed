"""
The Metrica's rules: what it accepts, what it refuses, and with which words.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from weakref import ref
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fixtures.stores import NOW
from txstathat.errors import (
    AmountOverflow,
    InvalidPoint,
    StoreBusy,
    StoreUnavailable,
)
from txstathat.interfaces import IKickProvider
from txstathat.metrica import (
    AveragedMetrica,
    AveragedSelection,
    Axis,
    HierarchicalAxis,
    Metrica,
    Selection,
    StoredChoiceAxis,
    request_metrica,
)
from txstathat.metrica.cells import cell_key, choice_group
from txstathat.metrica.kick_batch import KickBatch
from txstathat.metrica.metrica import MAX_CELLS
from txstathat.points.amounts import amount_text, parse_amount
from txstathat.stores import open_store
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, Store

MAX = 2**63 - 1
HOUR = 3600


class MetricaCase(SynchronousTestCase):
    """Tests on a store in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store: Any = self.successResultOf(open_store("memory:", clock=self.clock))

    def metrica(self, axes: Any = (), **options: Any) -> AveragedMetrica:
        """Create a Metrica."""
        name = options.pop("name", "m")
        return AveragedMetrica(name, axes, self.store, **options)

    @contextmanager
    def writes_held(self) -> Iterator[list[str]]:
        """Hold writes back in a block. The list gets the id of each batch."""
        gate: Deferred[None] = Deferred()
        add, ids = self.store.add, []

        def held(batches: Any) -> Any:
            ids.extend(batch.id for batch in batches)
            if gate.called:
                return add(batches)
            return gate.addCallback(lambda _: add(batches))

        self.store.add = held
        yield ids
        gate.callback(None)
        self.store.add = add

    def ok(self, result: Deferred[Any]) -> Any:
        """The result of a Deferred that has fired."""
        return self.successResultOf(result)


class KickTests(MetricaCase):
    """Kicking."""

    def test_interface(self) -> None:
        """A Metrica provides IKick."""
        self.assertTrue(verifyObject(IKickProvider, self.metrica()))

    def test_refused(self) -> None:
        """An invalid kick fails with a message; it raises nothing and counts nothing."""
        axes = [
            ("c", Axis(choices=["a", "b"])),
            ("n", StoredChoiceAxis(value_type=int)),
            ("p", HierarchicalAxis()),
        ]
        metrica = self.metrica(axes)
        for words, error, kick in [
            ("has no axis 'd'; its axes are: c, n, p", TypeError, {"d": 1}),
            (
                "axis 'c': 'x' is not one of the choices: 'a', 'b'",
                ValueError,
                {"c": "x"},
            ),
            ("axis 'n': True is not a whole number", ValueError, {"n": True}),
            ("axis 'n': 'x' is not a whole number", ValueError, {"n": "x"}),
            ("axis 'n': 1.0 is not a whole number", ValueError, {"n": 1.0}),
            ("axis 'p': 7 is not a path", ValueError, {"p": 7}),
            ("axis 'p': a path has 1 to 16 parts, not 0", ValueError, {"p": ()}),
            ("not True", InvalidPoint, {"value": True}),
            ("must be finite", InvalidPoint, {"value": float("nan")}),
            ("beyond", InvalidPoint, {"value": MAX + 1}),
            ("'2010' is not a date", ValueError, {"date": "2010"}),
        ]:
            failure = self.failureResultOf(metrica.kick(**kick), error)
            self.assertIn(words, str(failure.value))
        self.assertEqual(self.ok(metrica.count()), 0)
        self.assertEqual((metrica.waiting, metrica.lost), (0, 0))

    def test_not_known(self) -> None:
        """An event without a choice counts in totals, and under no choice."""
        metrica = self.metrica([("a", StoredChoiceAxis()), ("b", StoredChoiceAxis())])
        self.ok(metrica.kick(a="x"))
        self.ok(metrica.kick(a="x", b=None))
        self.ok(metrica.kick(b="None"))
        self.assertEqual(self.ok(metrica.total()), 3)
        self.assertEqual(self.ok(metrica.filter(a="x").total()), 2)
        self.assertEqual(self.ok(metrica.values().iterate("b")), [("None", 1)])

    def test_falsy_choices(self) -> None:
        """0, False and the empty text are choices like any other."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        for choice in [0, False, "", "0"]:
            self.ok(metrica.kick(a=choice))
        expected = [("", 1), ("0", 2), ("False", 1)]
        self.assertEqual(self.ok(metrica.values().iterate("a")), expected)
        self.assertEqual(self.ok(metrica.filter(a=0).total()), 2)

    def test_equal_values(self) -> None:
        """Values that are equal, and differ as texts, are different choices."""
        metrica = self.metrica([("a", StoredChoiceAxis()), ("p", HierarchicalAxis())])

        class Shouted(str):
            def __str__(self) -> str:
                return self.upper()

        values = [1, 1.0, True, Decimal("1.00"), 0.0, -0.0, "x", Shouted("x")]
        with self.writes_held():
            first = metrica.kick()
            kicks = [metrica.kick(a=one, p=("up", one)) for one in values]
            kicks.append(metrica.kick(a=["x"], p=["up", "x"]))  # not hashable
        for kick in [first, *kicks]:
            self.ok(kick)
        texts = ["-0.0", "0.0", "1", "1.0", "1.00", "True", "X", "['x']", "x"]
        self.assertEqual(
            self.ok(metrica.values().iterate("a")), [(text, 1) for text in texts]
        )
        under = self.ok(metrica.filter(p="up").iterate("p"))
        self.assertEqual(dict(under)["up", "1.00"], 1)
        self.assertEqual(dict(under)["up", "x"], 2)

    def test_own_axis(self) -> None:
        """The method of an axis of a program's own decides about its choices."""

        class Lower(StoredChoiceAxis):
            def encode(self, value: Any) -> Any:
                return super().encode(value.lower())

        metrica = self.metrica([("a", Lower())])
        for choice in ("x", "X"):
            self.ok(metrica.kick(a=choice))
        self.assertEqual(self.ok(metrica.values().iterate("a")), [("x", 2)])

    @given(
        st.integers(-MAX, MAX)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.decimals(allow_nan=False, allow_infinity=False, places=3)
    )
    def test_amounts(self, amount: Any) -> None:
        """An amount is stored as the number that its decimal text means."""
        expected = parse_amount(amount_text(amount))
        found = self.metrica().schema.amount(amount)
        self.assertEqual((found, type(found)), (expected, type(expected)))

    def test_fired_in_order(self) -> None:
        """Kicks of one write fire in the order in which they were made."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        fired: list[int] = []
        with self.writes_held():
            metrica.kick()
            for n in range(10):
                metrica.kick(a=n % 3).addCallback(lambda _, n=n: fired.append(n))
        self.assertEqual(fired, list(range(10)))

    def test_next_second(self) -> None:
        """Kicks of one second share a batch; those of the next have another one."""
        metrica = self.metrica()
        with self.writes_held() as ids:
            metrica.kick()
            self.clock.advance(0.5)
            metrica.kick()
            metrica.kick(date=date(2010, 1, 1))
            self.clock.advance(0.5)
            metrica.kick()
        self.assertEqual(len({*ids}), 3)
        self.assertEqual(self.ok(metrica.count()), 4)

    def test_few_sums(self) -> None:
        """A batch has so many distinct events at most; equal ones are not more."""
        axes = [(f"a{n}", StoredChoiceAxis()) for n in range(9)]
        metrica = self.metrica(axes)
        event = {word: "x" for word, _ in axes}
        most = MAX_CELLS // (2**9 * 6)
        with self.writes_held() as ids:
            metrica.kick(**event)
            for n in range(2 * most):
                metrica.kick(**event | {"a0": n // most * most})
                metrica.kick(**event | {"a0": n})
        self.assertEqual(len({*ids}), 3)

    def test_overflow_in_another_minute(self) -> None:
        """Of kicks in several minutes, only those in the sum that overflows fail."""
        metrica = self.metrica([("a", StoredChoiceAxis())], scales=["minute"])
        minutes = [datetime(2010, 1, 1, 0, n) for n in range(5)]
        self.ok(metrica.kick(MAX - 10, a="x"))
        self.ok(metrica.kick(10 - MAX, a="y"))
        with self.writes_held():
            metrica.kick()
            kicks = [
                metrica.kick(6 if (n, a) == (2, "x") else 1, date=minutes[n], a=a)
                for n in (*range(5), *range(5))
                for a in "yx"
            ]
        for n in (5, 15):
            self.failureResultOf(kicks[n], AmountOverflow)
        for kick in kicks[:5] + kicks[6:15] + kicks[16:]:
            self.ok(kick)
        self.assertEqual((metrica.written, metrica.lost, metrica.waiting), (21, 2, 0))

    def test_overflow_takes_only_its_own(self) -> None:
        """A kick that overflows fails alone, although others share its batch."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        self.ok(metrica.kick(MAX - 10, a="x"))
        gate: Deferred[None] = Deferred()
        add = self.store.add
        self.store.add = lambda batches: gate.addCallback(lambda _: add(batches))
        first = metrica.kick(1, a="y")
        kicks = [metrica.kick(n, a=str(n)) for n in (1, 100, 2)]
        self.store.add = add
        gate.callback(None)
        self.ok(first)
        failure = self.failureResultOf(kicks.pop(1), AmountOverflow)
        self.assertIn("'m'", str(failure.value))
        for kick in kicks:
            self.ok(kick)
        self.assertEqual(self.ok(metrica.total()), MAX - 10 + 1 + 1 + 2)
        self.assertEqual((metrica.written, metrica.lost, metrica.waiting), (4, 1, 0))

    def test_overflow_among_many(self) -> None:
        """Among thousands of kicks in a batch, only the one that overflows is not written."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        self.ok(metrica.kick(MAX - 10_000, a="x"))
        gate: Deferred[None] = Deferred()
        add = self.store.add
        self.store.add = lambda batches: gate.addCallback(lambda _: add(batches))
        kicks = [metrica.kick(1, a=str(n)) for n in range(3000)]
        kicks.insert(1500, metrica.kick(9999, a="much"))
        kicks += [metrica.kick(1, a=str(n)) for n in range(3000, 4000)]
        self.store.add = add
        gate.callback(None)
        self.failureResultOf(kicks.pop(1500), AmountOverflow)
        for kick in kicks:
            self.ok(kick)
        self.assertEqual(self.ok(metrica.total()), MAX - 10_000 + 4000)

    def test_hostile_value(self) -> None:
        """An exception in the methods of a value fails the Deferred."""

        class Hostile:
            def __str__(self) -> str:
                raise KeyError("no text")

        metrica = self.metrica([("a", StoredChoiceAxis())])
        self.failureResultOf(metrica.kick(a=Hostile()), KeyError)
        self.assertEqual(metrica.waiting, 0)

    def test_patience_of_late_kicks(self) -> None:
        """A kick does not join a batch that is much older."""
        metrica = self.metrica()
        self.store.add = lambda batches: self.down()
        first = metrica.kick()
        self.clock.pump([0.5] * 60)
        late = metrica.kick()
        self.clock.pump([0.5] * 66)
        self.failureResultOf(first, StoreUnavailable)
        self.assertNoResult(late)
        self.clock.pump([0.5] * 60)
        self.failureResultOf(late, StoreUnavailable)

    def test_overflow_before_the_store(self) -> None:
        """A kick that makes a waiting sum overflow is refused."""
        kicks = self.batch()
        kicks.kick("t", (), MAX, Deferred())
        self.assertRaises(AmountOverflow, kicks.kick, "t", (), 1, Deferred())
        kicks.kick("t", (), -5, Deferred())
        self.assertEqual(kicks.sums["t"][()][:4], [MAX - 5, 2, -5, MAX])

    def batch(self) -> KickBatch:
        """Create a batch that is not written."""
        return KickBatch(
            self.store, lambda sums: self.fail("written"), int(NOW), "t", 9
        )

    def test_freed(self) -> None:
        """A batch is freed when it is no longer used, not by the garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        kicks = self.batch()
        kicks.kick("t", (), 1, Deferred())
        kicks.encode()
        batch = ref(kicks)
        del kicks
        self.assertIsNone(batch())

    def test_busy(self) -> None:
        """One kick too many is refused at once, and counted."""
        metrica = self.metrica(max_waiting=3)
        self.store.add = lambda batches: Deferred()
        kicks = [metrica.kick() for _ in range(3)]
        failure = self.failureResultOf(metrica.kick(), StoreBusy)
        self.assertIn("3 writes already wait", str(failure.value))
        self.assertEqual((metrica.waiting, metrica.refused), (3, 1))
        for kick in kicks:
            self.assertNoResult(kick)

    def test_given_up(self) -> None:
        """Kicks that cannot be written fail with the reason; queries do not hang."""
        metrica = self.metrica()
        self.store.add = lambda batches: self.down()
        kicks = [metrica.kick() for _ in range(3)]
        question = metrica.total()
        self.clock.pump([0.5] * 11)
        failure = self.failureResultOf(question, StoreUnavailable)
        self.assertIn("not written within 5 seconds", str(failure.value))
        self.clock.pump([0.5] * 120)
        for kick in kicks:
            self.failureResultOf(kick, StoreUnavailable)
        self.assertEqual((metrica.lost, metrica.waiting), (3, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def down(self) -> Deferred[Any]:
        """Fail like a store that is down."""
        failed: Deferred[Any] = Deferred()
        failed.errback(StoreUnavailable("down"))
        return failed

    def test_cancelled(self) -> None:
        """A cancelled kick counts, and does not affect others."""
        metrica = self.metrica()
        gate: Deferred[None] = Deferred()
        add = self.store.add
        self.store.add = lambda batches: gate.addCallback(lambda _: add(batches))
        kick, other = metrica.kick(), metrica.kick()
        self.assertIsNot(kick, other)
        kick.cancel()
        self.failureResultOf(kick, CancelledError)
        self.store.add = add
        gate.callback(None)
        self.ok(other)
        self.assertEqual(self.ok(metrica.total()), 2)

    def test_merged(self) -> None:
        """All kicks that wait for a write form one batch."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        gate: Deferred[None] = Deferred()
        add = self.store.add
        self.store.add = lambda batches: gate.addCallback(lambda _: add(batches))
        written: list[int] = []
        metrica.kick(a=1)
        for n in range(1000):
            metrica.kick(a=n % 10)

        def counted(batches: Any) -> Any:
            for one in batches[0].amounts().increments:
                written.extend([len(one.cells["m"])] * len(one.buckets))
            return add(batches)

        self.store.add = counted
        gate.callback(None)
        self.assertEqual(written, [10] * 6)
        self.assertEqual(self.ok(metrica.total()), 1001)

    def test_floats_in_one_batch(self) -> None:
        """Floats that wait for the same write are summed up as precisely as others."""
        metrica = self.metrica()
        gate: Deferred[None] = Deferred()
        add = self.store.add
        self.store.add = lambda batches: gate.addCallback(lambda _: add(batches))
        metrica.kick(0.1)
        for amount in [1e16, *[0.1] * 9, -1e16]:
            metrica.kick(amount)
        self.store.add = add
        gate.callback(None)
        self.assertAlmostEqual(self.ok(metrica.total()), 1.0, places=14)

    def test_multiplier(self) -> None:
        """Amounts are exact to a fraction; smaller fractions are rounded half to even."""
        metrica = self.metrica([("a", StoredChoiceAxis())], multiplier=100)
        for n, (amount, kept) in enumerate(
            [
                (0.285, 0.28),
                (0.295, 0.3),
                (Decimal("2.675"), 2.68),
                (-0.005, 0.0),
                (1e15 + 0.5, 1e15 + 0.5),
                (3, 3.0),
            ]
        ):
            self.ok(metrica.kick(amount, a=n))
            self.assertEqual(self.ok(metrica.filter(a=n).total()), kept)
        failure = self.failureResultOf(metrica.kick(1e17), InvalidPoint)
        self.assertIn("times the multiplier 100", str(failure.value))
        for _ in range(10):
            self.ok(metrica.kick(0.1, a="tenths"))
        self.assertEqual(self.ok(metrica.filter(a="tenths").total()), 1.0)

    def test_dates(self) -> None:
        """A naive datetime is in the zone of the Metrica; a date is its midnight there."""
        metrica = self.metrica(tz="Europe/Berlin")
        self.ok(metrica.kick(date=datetime(2010, 2, 7, 0, 30)))
        self.ok(metrica.kick(date=datetime(2010, 2, 6, 23, 30, tzinfo=UTC)))
        self.ok(metrica.kick(date=date(2010, 2, 7)))
        day = metrica.timespan(year=2010, month=2, day=7)
        self.assertEqual(self.ok(day.timespan(hour=0).total()), 3)
        self.assertEqual(self.ok(day.timespan(hour=0, minute=30).total()), 2)


class QuestionTests(MetricaCase):
    """Queries."""

    def test_timespans(self) -> None:
        """A timespan needs every coarser scale, and must exist."""
        metrica = self.metrica()
        for error, words, timespan in [
            (TypeError, "a timespan with month also needs year", {"month": 2}),
            (TypeError, "also needs month", {"year": 2010, "day": 2}),
            (TypeError, "'week' is not a part", {"week": 2}),
            (TypeError, "year must be an int", {"year": "2010"}),
            (ValueError, "day", {"year": 2011, "month": 2, "day": 29}),
            (ValueError, "month", {"year": 2010, "month": 13}),
        ]:
            raised = self.assertRaises(error, metrica.timespan, **timespan)
            self.assertIn(words, str(raised))

    def test_filters(self) -> None:
        """A filter needs an existing axis and an allowed choice."""
        metrica = self.metrica([("c", Axis(choices=["a"]))])
        self.assertRaises(TypeError, metrica.filter, d=1)
        self.assertRaises(ValueError, metrica.filter, c="b")
        self.assertRaises(TypeError, metrica.filter, d=None)
        self.failureResultOf(metrica.values().iterate("d"), TypeError)
        self.failureResultOf(metrica.choices("d"), TypeError)

    def test_filter_taken_back(self) -> None:
        """None takes a filter back, and leaves the others."""
        metrica = self.metrica([("a", StoredChoiceAxis()), ("b", StoredChoiceAxis())])
        for a, b in ("xx", "xy", "yy"):
            self.ok(metrica.kick(a=a, b=b))
        both = metrica.filter(a="x", b="y")
        self.assertEqual(self.ok(both.count()), 1)
        self.assertEqual(self.ok(both.filter(a=None).count()), 2)
        self.assertEqual(self.ok(metrica.filter(a=None).count()), 3)
        self.assertEqual(repr(both.filter(a=None)), repr(metrica.filter(b="y")))

    def test_path_of_one(self) -> None:
        """A text is a path of one part, in kicks and in filters."""
        metrica = self.metrica([("p", HierarchicalAxis())])
        self.ok(metrica.kick(p="out"))
        self.ok(metrica.kick(p=("out", "se")))
        self.assertEqual(self.ok(metrica.filter(p="out").count()), 2)
        self.assertEqual(self.ok(metrica.choices("p", "out")), [("out", "se")])
        self.assertEqual(self.ok(metrica.choices("p", ("out",))), [("out", "se")])
        below = metrica.filter(p="out")
        self.assertEqual(self.ok(below.choices("p", ())), [("out",)])
        other = self.metrica([("c", StoredChoiceAxis())], name="other")
        self.failureResultOf(other.choices("c", "x"), ValueError)

    def test_queries_of_the_metrica(self) -> None:
        """Every query about a selection can be made for all events of a Metrica."""
        axes = [("a", StoredChoiceAxis())]
        since, until = date(2010, 2, 6), date(2010, 2, 8)
        arguments: dict[str, tuple[Any, ...]] = {"choices": ("a",)}
        for made, selection in [
            (Metrica("sum", axes, self.store), Selection),
            (AveragedMetrica("average", axes, self.store), AveragedSelection),
        ]:
            self.ok(made.kick(3, date=date(2010, 2, 7), a="x"))
            self.ok(made.kick(4, date=date(2010, 2, 7), a="y"))
            everything: Any = made.values()
            self.assertIs(type(everything), selection)
            queries = [
                name
                for name in dir(selection)
                # All time never expires.
                if not name.startswith("_")
                and name not in ("timespan", "filter", "expired")
            ]
            self.assertIn("timeserie", queries)
            for name in queries:
                if name.startswith("timeserie"):
                    arguments[name] = (since, until, "day")
                given = arguments.get(name, ())
                expected = self.ok(getattr(everything, name)(*given))
                self.assertEqual(self.ok(getattr(made, name)(*given)), expected, name)
            for name in queries:
                if name.startswith("iterate"):
                    by_choice = self.ok(getattr(made, name)("a"))
                    self.assertEqual([choice for choice, _ in by_choice], ["x", "y"])

    def test_immutable(self) -> None:
        """Narrowing a selection does not change it."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        self.ok(metrica.kick(a=1))
        self.ok(metrica.kick(a=2))
        everything = metrica.values()
        narrow = everything.filter(a=1)
        self.assertEqual(self.ok(narrow.total()), 1)
        self.assertEqual(self.ok(narrow.filter(a=2).total()), 1)
        self.assertEqual(self.ok(everything.total()), 2)

    def test_hour_that_comes_twice(self) -> None:
        """The hour that comes twice is one label in iterate, and two points of a timeline."""
        metrica = self.metrica(tz="Europe/Berlin")
        change = datetime(2010, 10, 31, 0, 30, tzinfo=UTC)
        for hours, amount in [(0, 1), (1, 10), (2, 100)]:
            self.ok(metrica.kick(amount, change + timedelta(hours=hours)))
        day = metrica.timespan(year=2010, month=10, day=31)
        self.assertEqual(self.ok(day.iterate())[2:4], [(2, 11), (3, 100)])
        self.assertEqual(self.ok(day.timespan(hour=2, minute=30).total()), 11)
        points = self.ok(
            metrica.values().timeserie(change, change + timedelta(hours=2), "hour")
        )
        zone = ZoneInfo("Europe/Berlin")
        expected = [
            (datetime(2010, 10, 31, 2, tzinfo=zone), 0, 1),
            (datetime(2010, 10, 31, 2, tzinfo=zone, fold=1), 1, 10),
            (datetime(2010, 10, 31, 3, tzinfo=zone), 0, 100),
        ]
        self.assertEqual([(at, at.fold, n) for at, n in points], expected)

    def test_hour_that_is_left_out(self) -> None:
        """The skipped hour is an empty label in iterate, and no point of a timeline."""
        metrica = self.metrica(tz="Europe/Berlin")
        self.ok(metrica.kick(date=datetime(2010, 3, 28, 2, 30)))  # shown as 3:30
        day = metrica.timespan(year=2010, month=3, day=28)
        self.assertEqual(self.ok(day.iterate())[1:4], [(1, 0), (2, 0), (3, 1)])
        since = datetime(2010, 3, 28, 1)
        points = self.ok(
            metrica.values().timeserie(since, since + timedelta(hours=2), "hour")
        )
        self.assertEqual([(at.hour, n) for at, n in points], [(1, 0), (3, 1)])

    def test_day_that_never_was(self) -> None:
        """The skipped day of Samoa is no point of a timeline; the days around it are."""
        metrica = self.metrica(tz="Pacific/Apia")
        change = datetime(2011, 12, 30, 10, tzinfo=UTC)  # midnight, before and after
        for hours, amount in [(-25, 1), (-24, 10), (-1, 100), (0, 1000), (24, 10_000)]:
            self.ok(metrica.kick(amount, change + timedelta(hours=hours)))
        since, until = change - timedelta(hours=25), change + timedelta(hours=24)
        points = self.ok(metrica.values().timeserie(since, until, "day"))
        self.assertEqual(
            [(at.isoformat(), total) for at, total in points],
            [
                ("2011-12-28T00:00:00-10:00", 1),
                ("2011-12-29T00:00:00-10:00", 110),
                ("2011-12-31T00:00:00+14:00", 1000),
                ("2012-01-01T00:00:00+14:00", 10_000),
            ],
        )
        hours = self.ok(
            metrica.values().timeserie(
                change - timedelta(hours=1), change + timedelta(hours=1), "hour"
            )
        )
        self.assertEqual(
            [(at.isoformat()[:13], total) for at, total in hours],
            [("2011-12-29T23", 100), ("2011-12-31T00", 1000), ("2011-12-31T01", 0)],
        )
        month = metrica.timespan(year=2011, month=12)
        self.assertEqual(
            self.ok(month.iterate())[-4:], [(28, 1), (29, 110), (30, 0), (31, 1000)]
        )

    def test_leap_day(self) -> None:
        """February has 29 days in a leap year."""
        metrica = self.metrica()
        self.ok(metrica.kick(date=datetime(2012, 2, 29)))
        days = self.ok(metrica.timespan(year=2012, month=2).iterate())
        self.assertEqual((len(days), days[-1]), (29, (29, 1)))
        self.assertEqual(
            len(self.ok(metrica.timespan(year=2011, month=2).iterate())), 28
        )

    def test_years(self) -> None:
        """Without a timespan, iterate has the years from the first to the last one."""
        metrica = self.metrica()
        self.assertEqual(self.ok(metrica.values().iterate()), [])
        self.ok(metrica.kick(date=datetime(2009, 1, 1)))
        self.ok(metrica.kick(date=datetime(2011, 1, 1)))
        years = self.ok(metrica.values().iterate())
        self.assertEqual(years, [(2009, 1), (2010, 0), (2011, 1)])

    def test_scales(self) -> None:
        """A scale that is not stored is summed up from finer ones, or refused."""
        metrica = self.metrica(scales=["day"])
        self.ok(metrica.kick(2, date=datetime(2010, 2, 7, 12, 30)))
        self.ok(metrica.kick(3, date=datetime(2010, 2, 8)))
        self.assertEqual(self.ok(metrica.total()), 5)
        self.assertEqual(self.ok(metrica.timespan(year=2010).total()), 5)
        months = self.ok(metrica.timespan(year=2010).iterate())
        self.assertEqual(months[:3], [(1, 0), (2, 5), (3, 0)])
        day = metrica.timespan(year=2010, month=2, day=7)
        self.assertEqual(self.ok(day.total()), 2)
        failure = self.failureResultOf(day.iterate(), ValueError)
        self.assertIn("does not store the scale 'hour', only: day", str(failure.value))
        failure = self.failureResultOf(day.timespan(hour=12).count(), ValueError)
        failure = self.failureResultOf(
            metrica.values().timeserie(date(2010, 1, 1), date(2010, 1, 2), "hour"),
            ValueError,
        )
        self.assertIn("'m' does not store the scale 'hour'", str(failure.value))

    def test_retention(self) -> None:
        """Detail expires some time after its last write; totals stay."""
        metrica = self.metrica()
        then = datetime(2010, 2, 7, 12, 30)
        self.ok(metrica.kick(date=then))
        day = metrica.timespan(year=2010, month=2, day=7)
        minute = day.timespan(hour=12, minute=30)
        self.clock.advance(23 * HOUR)
        self.assertEqual(self.ok(minute.total()), 1)
        self.ok(metrica.kick(date=then))
        self.clock.advance(23 * HOUR)
        self.assertEqual(self.ok(minute.total()), 2)
        self.clock.advance(2 * HOUR)
        self.assertEqual(self.ok(minute.total()), 0)
        self.assertEqual(self.ok(day.timespan(hour=12).total()), 2)
        self.clock.advance(14 * 24 * HOUR)
        self.assertEqual(self.ok(day.timespan(hour=12).total()), 0)
        self.assertEqual(self.ok(day.total()), 2)
        self.clock.advance(4 * 366 * 24 * HOUR)
        self.assertEqual(self.ok(metrica.timespan(year=2010, month=2).total()), 0)
        self.assertEqual(self.ok(metrica.timespan(year=2010).total()), 2)

    def test_configured_retention(self) -> None:
        """The retention of each scale can be set."""
        metrica = self.metrica(retention={"minute": 60, "day": None})
        self.ok(metrica.kick())
        self.clock.advance(61)
        now = datetime.fromtimestamp(NOW, UTC)
        points = self.ok(metrica.values().timeserie(now, now, "minute"))
        self.assertEqual([n for _, n in points], [None])
        self.clock.advance(300 * 24 * HOUR)
        points = self.ok(metrica.values().timeserie(now, now, "day"))
        self.assertEqual([n for _, n in points], [1])

    def test_dropped_detail_is_no_zero(self) -> None:
        """
        What has expired is None, and what is empty is 0, in each kind of series and for
        each selection.
        """
        metrica = self.metrica([("a", StoredChoiceAxis())])
        begin = datetime.fromtimestamp(NOW, UTC).replace(minute=0)
        for hours, number, choice in ((0, 7, "x"), (2, 1, "y"), (30, 3, "x")):
            self.clock.advance(NOW + hours * HOUR - self.clock.seconds())
            for _ in range(number):
                self.ok(metrica.kick(a=choice))
        span = (begin, begin + timedelta(hours=31), "hour")
        expected: list[Any] = [0] * 32
        expected[0], expected[2], expected[30] = 7, 1, 3
        numbers = [n for _, n in self.ok(metrica.values().timeserie(*span))]
        self.assertEqual(numbers, expected)
        # 14 days after the second kick: its day has expired hours, the next has none.
        self.clock.advance(14 * 24 * HOUR - 20 * HOUR)
        midnight = 24 - begin.hour
        gone: list[Any] = [None] * midnight
        numbers = [n for _, n in self.ok(metrica.values().timeserie(*span))]
        self.assertEqual(numbers, gone + expected[midnight:])
        points = self.ok(metrica.values().timeserie_counts_and_averages(*span))
        self.assertEqual(
            [one[1:] for one in points[:midnight]], [(None, None)] * midnight
        )
        self.assertEqual(points[midnight][1:], (0, None))
        day = {"year": begin.year, "month": begin.month, "day": begin.day}
        hours_of_day = dict(self.ok(metrica.timespan(**day).iterate()))
        self.assertEqual(self.ok(metrica.timespan(**day).total()), 8)
        self.assertEqual(set(hours_of_day.values()), {None})
        hour = metrica.timespan(**day, hour=begin.hour)
        self.assertEqual(self.ok(hour.expired()), True)
        self.assertEqual(self.ok(metrica.timespan(**day).expired()), False)
        # Nothing of this choice was dropped from the second day, but from the first.
        selected = metrica.filter(a="y").timeserie(*span)
        numbers = [n for _, n in self.ok(selected)]
        self.assertEqual(numbers, gone + [0] * (32 - midnight))
        nothing = metrica.filter(a="z").timeserie(*span)
        self.assertEqual({n for _, n in self.ok(nothing)}, {0})

    def test_day_in_part_dropped(self) -> None:
        """Of a day whose first hours have expired, the later ones are shown."""
        metrica = self.metrica()
        begin = datetime(2014, 5, 20, tzinfo=UTC)
        for hour in (0, 3, 12, 14):
            at = (begin + timedelta(hours=hour)).timestamp()
            self.clock.advance(at - self.clock.seconds())
            self.ok(metrica.kick())
        self.clock.advance(14 * 24 * HOUR - 5 * HOUR)  # 09:00, two weeks later
        points = self.ok(
            metrica.values().timeserie(begin, begin + timedelta(hours=15), "hour")
        )
        # Until 09:00 hours have expired, empty ones or not: nobody knows.
        self.assertEqual([n for _, n in points], [None] * 10 + [0, 0, 1, 0, 1, 0])

    def test_choice_that_expires_before_another(self) -> None:
        """
        A choice whose hour has expired has no 0 there, also if the hour still has later
        events with other choices.
        """
        metrica = self.metrica(axes=[("plan", StoredChoiceAxis())])
        hour = datetime(2014, 5, 20, 10, tzinfo=UTC)
        for minute, plan in ((5, "free"), (50, "paid")):
            at = (hour + timedelta(minutes=minute)).timestamp()
            self.clock.advance(at - self.clock.seconds())
            self.ok(metrica.kick(plan=plan))
        self.clock.advance(14 * 24 * HOUR - HOUR / 3)  # 10:30, two weeks later
        for plan, counted in (("free", None), ("paid", 1)):
            points = self.ok(metrica.filter(plan=plan).timeserie(hour, hour, "hour"))
            self.assertEqual([n for _, n in points], [counted])

    def test_kick_long_before_its_date(self) -> None:
        """An event that was kicked long before its date is no 0 after it expired."""
        metrica = self.metrica()
        later = datetime.fromtimestamp(NOW, UTC).replace(minute=0) + timedelta(days=99)
        for _ in range(7):
            self.ok(metrica.kick(date=later))
        span = (later - timedelta(hours=1), later + timedelta(hours=1), "hour")
        points = self.ok(metrica.values().timeserie(*span))
        self.assertEqual([n for _, n in points], [0, 7, 0])
        self.clock.advance(15 * 24 * HOUR)
        points = self.ok(metrica.values().timeserie(*span))
        self.assertEqual([n for _, n in points], [None, None, None])

    def test_late_kick_in_an_old_day(self) -> None:
        """A kick with an old date does not make its expired hours zeros."""
        metrica = self.metrica(scales=["day", "hour"])
        begin = datetime.fromtimestamp(NOW, UTC).replace(minute=0)
        self.ok(metrica.kick(date=begin))
        self.clock.advance(20 * 24 * HOUR)
        self.ok(metrica.kick(date=begin + timedelta(hours=1)))
        points = self.ok(
            metrica.values().timeserie(begin, begin + timedelta(hours=2), "hour")
        )
        self.assertEqual([n for _, n in points], [None, 1, None])

    def test_bound_later(self) -> None:
        """A Metrica without a store fails clearly; once it has one, it works."""
        metrica = Metrica("later", [("a", StoredChoiceAxis())])
        selection = metrica.filter(a="x")
        for called in (metrica.kick(), metrica.total(), selection.total()):
            failure = self.failureResultOf(called, StoreUnavailable)
            self.assertIn("'later' has no store: call its bind(store)", str(failure))
        self.assertRaises(StoreUnavailable, getattr, metrica, "store")
        self.assertEqual((metrica.waiting, metrica.lost), (0, 0))
        metrica.bind(self.store)
        self.assertIs(metrica.clock, self.store.clock)
        self.ok(metrica.kick(a="x"))
        self.assertEqual(self.ok(selection.total()), 1)
        other = self.ok(open_store("memory:", clock=self.clock))
        self.addCleanup(other.close)
        metrica.bind(other)
        self.assertEqual(self.ok(selection.total()), 0)

    def test_repr(self) -> None:
        """A Metrica, a selection and a store say what they are."""
        metrica = Metrica("guests", [("gender", StoredChoiceAxis())], self.store)
        self.assertEqual(repr(metrica), "<Metrica 'guests', axes: gender>")
        self.assertEqual(
            repr(metrica.timespan(year=2010).filter(gender="boy")),
            "<Selection of 'guests': year=2010, gender='boy'>",
        )
        self.assertEqual(repr(metrica.values()), "<Selection of 'guests': all events>")
        self.assertEqual(repr(self.store), "<Store: Sqlite>")

    def test_finest(self) -> None:
        """Without a scale, a timeline has the finest stored detail, and no event is missing."""
        metrica = self.metrica([("a", StoredChoiceAxis())])
        old = datetime.fromtimestamp(NOW, UTC) - timedelta(days=400)
        self.ok(metrica.kick(1, date=old, a="x"))
        self.clock.advance(20 * 24 * HOUR)
        now = datetime.fromtimestamp(self.clock.seconds(), UTC)
        self.ok(metrica.kick(10, date=now - timedelta(hours=30), a="x"))
        self.clock.advance(2 * 24 * HOUR)
        now += timedelta(days=2)
        self.ok(metrica.kick(100, date=now, a="y"))
        # Of an event that is old, but was kicked just now, there are minutes too.
        self.ok(metrica.kick(1000, date=old + timedelta(days=40), a="y"))
        points = self.ok(metrica.values().timeserie(old, now))
        self.assertEqual(sum(n for _, n in points), 1111)
        starts = [at for at, _ in points]
        self.assertEqual(starts, sorted(starts))
        widths = {
            n: (starts[place + 1] - starts[place])
            for place, (_, n) in enumerate(points[:-1])
            if n
        }
        self.assertEqual(widths[1], timedelta(days=1))
        self.assertEqual(widths[10], timedelta(hours=1))
        self.assertEqual(widths[1000], timedelta(minutes=1))
        self.assertEqual(points[-1], (now.replace(second=0), 100))
        filtered = self.ok(metrica.filter(a="x").timeserie(old, now))
        self.assertEqual([at for at, _ in filtered], starts)
        self.assertEqual(sum(n for _, n in filtered), 11)

    def test_too_many_points(self) -> None:
        """A timeline with too many points is refused before reading."""
        metrica = self.metrica()
        failure = self.failureResultOf(
            metrica.values().timeserie(date(1, 1, 1), date(9999, 12, 31), "minute"),
            ValueError,
        )
        self.assertIn("more than 100000 points", str(failure.value))
        values = metrica.values()
        self.assertEqual(
            self.ok(values.timeserie(date(2010, 1, 2), date(2010, 1, 1))), []
        )

    def test_requests(self) -> None:
        """The Metrica for requests has its axes, and durations exact to a tenth."""
        requests = request_metrica(self.store)
        self.assertEqual(list(requests.axes), ["view", "method", "status", "exception"])
        self.ok(requests.kick(12.34, view="a", method="GET", status="2xx"))
        self.assertEqual(self.ok(requests.average()), 12.3)


class DefinitionTests(MetricaCase):
    """Creating a Metrica."""

    def test_refused(self) -> None:
        """Invalid parameters are refused when a Metrica is created."""
        for words, options in [
            ("name", {"name": ""}),
            ("identifier", {"axes": [("a b", Axis())]}),
            ("must not be 'date'", {"axes": [("date", Axis())]}),
            ("two axes", {"axes": [("a", Axis()), ("a", Axis())]}),
            ("must be an Axis", {"axes": [("a", "b")]}),
            ("multiplier", {"multiplier": 0}),
            ("'Mars/Base' is not a time zone", {"tz": "Mars/Base"}),
            ("'week' is not a scale", {"scales": ["week"]}),
            ("at least one", {"scales": []}),
            ("retention of day", {"retention": {"day": 0}}),
        ]:
            arguments: dict[str, Any] = {"name": "m", "axes": [], "store": self.store}
            error = self.assertRaises(ValueError, Metrica, **(arguments | options))
            self.assertIn(words, str(error))

    def test_axes_refused(self) -> None:
        """Choices must differ as texts, and must not be empty."""
        self.assertRaises(ValueError, Axis, choices=[18, "18"])
        self.assertRaises(ValueError, Axis, choices=[])
        self.assertRaises(ValueError, Axis, value_type=float)

    def test_choices_come_back_as_given(self) -> None:
        """Allowed choices come back as they were given, in the same order."""
        metrica = self.metrica([("c", Axis(choices=[3, "x", True]))])
        self.ok(metrica.kick(c="3"))
        counts = self.ok(metrica.values().iterate("c"))
        self.assertEqual(counts, [(3, 1), ("x", 0), (True, 0)])

    def test_listed(self) -> None:
        """A store lists the definitions of its Metricas."""
        metrica = self.metrica()
        self.ok(metrica.kick())
        definitions = self.ok(self.store.definitions())
        self.assertEqual(definitions, {"m": metrica.schema.definition})


class KeyTests(SynchronousTestCase):
    """The keys of cells."""

    text = (
        st.none()
        | st.text(st.characters())
        | st.lists(st.text(), min_size=1).map(tuple)
    )

    @settings(max_examples=300)
    @given(st.lists(text, max_size=3).map(tuple), st.lists(text, max_size=3).map(tuple))
    def test_no_collisions(self, one: Any, other: Any) -> None:
        """Different choices have different keys, which are printable ASCII."""
        self.assertEqual(cell_key(one) == cell_key(other), one == other)
        self.assertTrue(cell_key(one).isascii() and cell_key(one).isprintable())

    @settings(max_examples=100)
    @given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
    def test_groups(self, one: Any, other: Any) -> None:
        """Different paths have different keys."""
        same = choice_group(one[0], one[1:]) == choice_group(other[0], other[1:])
        self.assertEqual(same, one == other)

    def test_any_text_end_to_end(self) -> None:
        """Lone surrogates and NULs are choices too."""
        store = Store(SqliteBackend(self.mktemp(), lambda: NOW), Inline(), Clock())
        self.successResultOf(store.open())
        metrica = Metrica("m", [("a", StoredChoiceAxis())], store)
        for text in ["\ud800", "\x00", "\x00a", "null"]:
            self.successResultOf(metrica.kick(a=text))
        counts = self.successResultOf(metrica.values().iterate("a"))
        self.assertEqual(
            counts, [("\x00", 1), ("\x00a", 1), ("null", 1), ("\ud800", 1)]
        )
        self.successResultOf(store.close())
