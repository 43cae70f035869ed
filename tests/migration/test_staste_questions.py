"""
Every shape of question that staste's own tests ask, against a count of the events by
hand.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txstathat.metrica import (
    AveragedMetrica,
    Axis,
    HierarchicalAxis,
    Metrica,
    StoredChoiceAxis,
)
from txstathat.stores import open_store

BIRTHDAY = datetime(2010, 2, 7)
DAY = timedelta(days=1)
#: Days before the birthday, and how many guests came.
PARTY = ((32, 1), (31, 2), (2, 5), (1, 8), (0, 20))


class QuestionTests(SynchronousTestCase):
    """Questions, one shape in each test."""

    def setUp(self) -> None:
        clock = Clock()
        # The party was years ago, and is counted today.
        clock.advance(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
        self.store: Any = self.ok(open_store("memory:", clock=clock))
        self.addCleanup(self.store.close)
        self.random = random.Random(14)

    def ok(self, result: Deferred[Any]) -> Any:
        """The result of a Deferred that has fired."""
        return self.successResultOf(result)

    def party(self) -> Metrica:
        metrica = Metrica("visits", axes=[], store=self.store)
        for days, guests in PARTY:
            for _ in range(guests):
                self.ok(metrica.kick(date=BIRTHDAY - days * DAY))
        return metrica

    def test_timespans(self) -> None:
        """A year, a month, a month of a year, a day, an empty month, all time."""
        metrica = self.party()
        for span, total in (
            ({"year": 2010, "month": 1}, 3),
            ({"year": 2010, "month": 2}, 33),
            ({"year": 2010, "month": 3}, 0),
            ({"year": 2010, "month": 2, "day": 7}, 20),
            ({"year": 2010}, 36),
            ({}, 36),
        ):
            self.assertEqual(self.ok(metrica.timespan(**span).total()), total)
        narrowed = metrica.timespan(year=2010).timespan(month=2)
        self.assertEqual(self.ok(narrowed.total()), 33)
        self.assertEqual(self.ok(metrica.total()), 36)

    def test_parts(self) -> None:
        """The months of a year, and the years of all time."""
        metrica = self.party()
        months = self.ok(metrica.timespan(year=2010).iterate())[:3]
        self.assertEqual(months, [(1, 3), (2, 33), (3, 0)])
        self.assertEqual(self.ok(metrica.timespan().iterate()), [(2010, 36)])

    def test_timeserie(self) -> None:
        """A time line over years, without a scale: all guests are in it."""
        metrica = self.party()
        points = self.ok(
            metrica.values().timeserie(datetime(2006, 1, 1), datetime(2011, 3, 1))
        )
        self.assertEqual(sum(n for _, n in points), 36)
        starts = [at for at, _ in points]
        self.assertEqual(starts, sorted(starts))

    def test_axis(self) -> None:
        """A filter alone, one in a timespan, and each choice of an axis."""
        genders = Axis(choices=["boy", "girl"])
        metrica = Metrica("genders", axes=[("gender", genders)], store=self.store)
        for days, gender, guests in (
            (32, "boy", 1),
            (31, "girl", 2),
            (2, "boy", 5),
            (1, "girl", 4),
            (1, "boy", 4),
            (0, "boy", 18),
            (0, "girl", 2),
        ):
            for _ in range(guests):
                self.ok(metrica.kick(date=BIRTHDAY - days * DAY, gender=gender))
        self.assertEqual(self.ok(metrica.timespan(year=2010).total()), 36)
        self.assertEqual(self.ok(metrica.filter(gender="girl").total()), 8)
        boys = metrica.timespan(year=2010, month=2).filter(gender="boy")
        self.assertEqual(self.ok(boys.total()), 27)
        self.assertEqual(self.ok(boys.filter(gender=None).total()), 33)
        by_gender = set(self.ok(metrica.timespan().iterate("gender")))
        self.assertEqual(by_gender, {("girl", 8), ("boy", 28)})

    def test_weights(self) -> None:
        """Sums of weights, in all and on a day."""
        metrica = Metrica("weights", axes=[], store=self.store, multiplier=100)
        for day, value in ((7, 12), (7, 2), (8, 7.5), (8, 0.16), (9, 1)):
            self.ok(metrica.kick(date=datetime(2010, 2, day), value=value))
        self.assertEqual(self.ok(metrica.total()), 22.66)
        day = metrica.timespan(year=2010, month=2, day=8)
        self.assertEqual(self.ok(day.total()), 7.66)

    def test_paths(self) -> None:
        """Questions below a path, and of a path of one, as a tuple or a text."""
        metrica = Metrica("paths", [("p", HierarchicalAxis())], self.store)
        for path in (("out", "se"), ("out", "link"), ("out", "se"), ("exp",)):
            self.ok(metrica.kick(p=path))
        for path in (("out",), "out"):
            below = self.ok(metrica.filter(p=path).iterate("p"))
            self.assertEqual(below, [(("out", "link"), 1), (("out", "se"), 2)])
            self.assertEqual(
                self.ok(metrica.choices("p", path)), [("out", "link"), ("out", "se")]
            )

    def test_random(self) -> None:
        """300 random kicks: each question has the answer that counting them has."""
        axes = [
            ("kind", Axis(choices=["a", "b", "c"])),
            ("size", StoredChoiceAxis(value_type=int)),
        ]
        metrica = AveragedMetrica("random", axes, self.store)
        pick = self.random.choice
        events = []
        for _ in range(300):
            when = BIRTHDAY - timedelta(minutes=self.random.randrange(3 * 525_600))
            event = {"kind": pick(["a", "b", "c", None]), "size": pick([1, 2, 30])}
            events.append((when, self.random.randint(-9, 99), event))
        self.ok(gatherResults([metrica.kick(n, when, **e) for when, n, e in events]))
        for _ in range(300):
            when = pick(events)[0]
            scales = ("year", "month", "day", "hour", "minute")
            scales = scales[: self.random.randrange(6)]
            span = {scale: getattr(when, scale) for scale in scales}
            choices: dict[str, Any] = {}
            if self.random.random() < 0.5:
                choices["kind"] = pick(["a", "b", "c"])
            if self.random.random() < 0.5:
                choices["size"] = pick([1, 2, 30])
            found = [
                (n, event)
                for at, n, event in events
                if all(getattr(at, scale) == span[scale] for scale in scales)
                and all(event[word] == one for word, one in choices.items())
            ]
            chosen = metrica.filter(**choices).timespan(**span)
            total = sum(n for n, _ in found)
            self.assertEqual(self.ok(chosen.total()), total)
            self.assertEqual(self.ok(chosen.count()), len(found))
            self.assertEqual(
                self.ok(chosen.average()), total / len(found) if found else None
            )
            sizes = Counter(event["size"] for _, event in found)
            if "size" not in choices:
                by_size = dict(self.ok(chosen.iterate_counts("size")))
                self.assertEqual(by_size, {one: sizes[one] for one in (1, 2, 30)})
            if len(scales) in (1, 2, 3, 4):
                parts = self.ok(chosen.iterate_counts())
                self.assertEqual(sum(n for _, n in parts), len(found))
