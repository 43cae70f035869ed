"""
The Metrica, end to end on each kind of store.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import gatherResults, inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.fixtures.stores import ClusterHost, MemoryHost, RedisHost, SqliteHost
from txstathat.errors import DefinitionMismatch
from txstathat.metrica import (
    AveragedMetrica,
    Axis,
    HierarchicalAxis,
    Metrica,
    StoredChoiceAxis,
)

D = datetime(2010, 2, 7)
DAY = timedelta(days=1)
P = D - 31 * DAY


class WorkedExamples:
    """The examples of the documentation."""

    host: Any

    @inlineCallbacks
    def test_guests(self: Any) -> Any:
        """Totals and breakdowns of guests by gender and age."""
        store = yield self.host(self).open()
        axes = [
            ("gender", Axis(choices=["boy", "girl"])),
            ("age", StoredChoiceAxis(value_type=int)),
        ]
        guests = Metrica("guests", axes, store)
        kicks = []
        for number, date, gender, age in [
            (1, P - DAY, "boy", 17),
            (1, P, "girl", 18),
            (1, P, "girl", 19),
            (5, D - 2 * DAY, "boy", 18),
            (4, D - DAY, "girl", 17),
            (4, D - DAY, "boy", 17),
            (12, D, "boy", 18),
            (6, D, "boy", 17),
            (2, D, "girl", 19),
            (1, D, "boy", 120),
        ]:
            for _ in range(number):
                kicks.append(guests.kick(date=date, gender=gender, age=age))
        # Nobody waited for the kicks, and the questions see them nevertheless.
        self.assertEqual((yield guests.timespan(year=2010).total()), 37)
        self.assertEqual((yield guests.filter(gender="girl").total()), 8)
        self.assertEqual((yield guests.filter(gender="girl", age=19).total()), 3)
        boys = guests.filter(gender="boy").timespan(year=2010, month=2)
        self.assertEqual((yield boys.filter(age=17).total()), 10)
        self.assertEqual(
            (
                yield guests.timespan(year=2010, month=2)
                .filter(gender="boy")
                .iterate("age")
            ),
            [(17, 10), (18, 17), (19, 0), (120, 1)],
        )
        months = yield guests.timespan(year=2010).iterate()
        self.assertEqual(months, [(1, 3), (2, 34)] + [(n, 0) for n in range(3, 13)])
        self.assertEqual((yield guests.values().iterate()), [(2010, 37)])
        self.assertEqual((yield guests.choices("gender")), ["boy", "girl"])
        yield gatherResults(kicks)
        self.assertEqual((guests.written, guests.lost, guests.waiting), (37, 0, 0))

    @inlineCallbacks
    def test_averaged(self: Any) -> Any:
        """Totals, counts and averages, exact to a hundredth."""
        store = yield self.host(self).open()
        axes = [("c", Axis(choices=["a", "b"]))]
        averaged = AveragedMetrica("a", axes=axes, multiplier=100, store=store)
        yield averaged.kick(12, date=datetime(2010, 2, 7), c="a")
        yield averaged.kick(2, date=datetime(2010, 2, 7), c="b")
        yield averaged.kick(7.5, date=datetime(2010, 2, 8), c="a")
        yield averaged.kick(0.16, date=datetime(2010, 2, 8), c="a")
        yield averaged.kick(date=datetime(2010, 2, 9), c="b")
        self.assertEqual((yield averaged.total()), 22.66)
        self.assertEqual((yield averaged.count()), 5)
        self.assertEqual((yield averaged.average()), 4.532)
        day = averaged.timespan(year=2010, month=2, day=8)
        self.assertEqual((yield day.total()), 7.66)
        self.assertEqual((yield day.count()), 2)
        self.assertEqual((yield day.average()), 3.83)
        values = averaged.values()
        span = (datetime(2010, 2, 6), datetime(2010, 2, 10), "day")
        days = [datetime(2010, 2, n, tzinfo=UTC) for n in range(6, 11)]
        counts, averages = [0, 2, 2, 1, 0], [None, 7, 3.83, 1, None]
        self.assertEqual(
            (yield values.timeserie_counts(*span)),
            list(zip(days, counts, strict=True)),
        )
        self.assertEqual(
            (yield values.timeserie_averages(*span)),
            list(zip(days, averages, strict=True)),
        )
        self.assertEqual(
            (yield values.timeserie_counts_and_averages(*span)),
            list(zip(days, counts, averages, strict=True)),
        )
        month = averaged.timespan(year=2010, month=2)
        self.assertEqual(dict((yield month.iterate_counts()))[8], 2)
        self.assertEqual(dict((yield month.iterate_averages()))[8], 3.83)
        self.assertEqual((yield values.iterate_counts("c")), [("a", 3), ("b", 2)])
        by_choice = dict((yield values.iterate_averages("c")))
        self.assertAlmostEqual(by_choice["a"], (12 + 7.5 + 0.16) / 3, places=14)
        self.assertEqual(by_choice["b"], 1.5)

    @inlineCallbacks
    def test_hierarchical(self: Any) -> Any:
        """Events at a path count under all paths above it."""
        store = yield self.host(self).open()
        axes = [
            ("action", StoredChoiceAxis()),
            ("label", HierarchicalAxis()),
            ("id", StoredChoiceAxis(value_type=int)),
        ]
        site = Metrica("site", axes, store)
        for action, label, id_ in [
            ("impression", ("exp", "city", "all", 1), 1),
            ("impression", ("exp", "city", "all", 1), 1),
            ("impression", ("exp", "city", "tag", 1, 1), 1),
            ("impression", ("exp", "city", "tag", 1, 2), 1),
            ("page view", ("out", "se", "google", "Экскурсия"), 1),
            ("page view", ("out", "se", "google", "Москва"), 2),
            ("page view", ("out", "link", "tripster.ru"), 1),
            ("page view", ("out", "link", "sociation.org"), 2),
        ]:
            yield site.kick(action=action, label=label, id=id_)
        self.assertEqual((yield site.total()), 8)
        self.assertEqual((yield site.filter(label=("exp", "city")).total()), 4)
        google = site.filter(id=1, label=("out", "se", "google"))
        self.assertEqual((yield google.total()), 1)
        city = site.filter(id=1, label=("exp", "city"))
        self.assertEqual(
            (yield city.iterate("label")),
            [(("exp", "city", "all"), 2), (("exp", "city", "tag"), 2)],
        )
        self.assertEqual((yield site.choices("label")), [("exp",), ("out",)])
        self.assertEqual((yield site.choices("id")), [1, 2])

    @inlineCallbacks
    def test_definition(self: Any) -> Any:
        """A Metrica with the same name and other axes is refused, with a clear message."""
        store = yield self.host(self).open()
        yield Metrica("m", [("a", StoredChoiceAxis())], store).kick(a=1)
        other = Metrica("m", [("b", StoredChoiceAxis())], store)
        error = yield self.assertFailure(other.kick(b=1), DefinitionMismatch)
        self.assertIn("another definition", str(error))
        yield self.assertFailure(other.total(), DefinitionMismatch)
        averaged = AveragedMetrica("m", [("a", StoredChoiceAxis())], store)
        yield self.assertFailure(averaged.kick(a=1), DefinitionMismatch)
        again = Metrica("m", [("a", StoredChoiceAxis())], store)
        self.assertEqual((yield again.total()), 1)


class MemoryTests(WorkedExamples, TestCase):
    """In memory."""

    host = MemoryHost


class SqliteTests(WorkedExamples, TestCase):
    """On SQLite."""

    host = SqliteHost


class RedisTests(WorkedExamples, TestCase):
    """On Redis."""

    host = RedisHost


class ClusterTests(WorkedExamples, TestCase):
    """On a Redis Cluster."""

    host = ClusterHost
