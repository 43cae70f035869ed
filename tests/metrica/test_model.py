"""
The Metrica against a naive model: a list of events, gone through for each question.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.stores import NOW, RedisCluster, RedisServer, shared
from txstathat.metrica import (
    AveragedMetrica,
    Axis,
    HierarchicalAxis,
    StoredChoiceAxis,
)
from txstathat.metrica.calendar import SCALES
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, Store

# Changes of the clock (with an hour, with half an hour, a minute past midnight), a leap
# day, the end of a year, and a day that never was (Samoa, 30 December 2011).
ZONES = {
    "UTC": ["2012-02-28T23:00", "2012-12-31T22:30", "2010-02-07T12:00"],
    "Europe/Berlin": ["2010-03-27T23:30", "2010-10-30T22:30", "2012-02-28T22:00"],
    "Australia/Lord_Howe": ["2010-04-03T13:30", "2010-10-02T13:30"],
    "America/St_Johns": ["2010-03-14T02:00", "2010-11-07T01:00"],
    "Asia/Kathmandu": ["2011-12-31T17:00"],
    "Pacific/Apia": ["2011-12-30T08:00"],
}
# What hypothesis found only by luck: the time buckets around Samoa's missing day, and
# around a midnight that comes twice.
_SAMOA = datetime(2011, 12, 30, 10, tzinfo=UTC)
_ST_JOHNS = datetime(2010, 11, 7, 2, 30, tzinfo=UTC)
EXAMPLES = [
    (
        zone,
        [],
        [(1, change + timedelta(hours=hours), {}) for hours in (-30, -1, 0, 1, 30)],
        [(4, 3, set(), None, scale) for scale in SCALES],
    )
    for zone, change in (("Pacific/Apia", _SAMOA), ("America/St_Johns", _ST_JOHNS))
]
TEXT = st.text(max_size=3) | st.sampled_from(["", ":", "a", "null", "0", "é"])
PATH = st.lists(st.sampled_from(["a", "b", "", "/"]), min_size=1, max_size=3)
AXES = {
    "kind": (Axis(choices=["x", "y", 0]), st.sampled_from(["x", "y", 0])),
    "text": (StoredChoiceAxis(), TEXT),
    "size": (StoredChoiceAxis(value_type=int), st.integers(-2, 2)),
    "path": (HierarchicalAxis(), PATH.map(tuple)),
}


@st.composite
def worlds(draw: Any) -> tuple[str, list[str], list[Any], list[Any]]:
    """A zone, axes, events and queries, near a time that is special in this zone."""
    zone = draw(st.sampled_from(sorted(ZONES)))
    start = datetime.fromisoformat(draw(st.sampled_from(ZONES[zone]))).replace(
        tzinfo=UTC
    )
    axes = draw(st.lists(st.sampled_from(sorted(AXES)), max_size=3, unique=True))
    minutes = st.integers(0, 240) | st.integers(0, 3 * 1440) | st.just(366 * 1440)
    times = minutes.map(lambda n: start + timedelta(minutes=n, seconds=n % 60))
    choices = st.fixed_dictionaries(
        {}, optional={word: AXES[word][1] | st.none() for word in axes}
    )
    amounts = st.integers(-5, 5) | st.sampled_from([2**53, 0.25, 1e10])
    events = draw(st.lists(st.tuples(amounts, times, choices), min_size=1, max_size=8))
    questions = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(events) - 1),
                st.integers(0, 5),
                st.sets(st.sampled_from(axes)) if axes else st.just(set()),
                st.sampled_from([None, *axes]),
                st.sampled_from(SCALES),
            ),
            min_size=1,
            max_size=3,
        )
    )
    return zone, axes, events, questions


class Model:
    """The events, in a list."""

    def __init__(self, zone: str, events: list[Any]) -> None:
        self.zone = ZoneInfo(zone)
        self.events = events

    def numbers(self, when: datetime) -> tuple[int, ...]:
        """Year, month, day, hour and minute in the zone."""
        local = when.astimezone(self.zone)
        return local.year, local.month, local.day, local.hour, local.minute

    def chosen(self, choices: dict[str, Any]) -> list[tuple[Any, datetime]]:
        """The events with these choices."""
        return [
            (amount, when)
            for amount, when, axes in self.events
            if all(self.matches(axes.get(word), one) for word, one in choices.items())
        ]

    @staticmethod
    def matches(had: Any, wanted: Any) -> bool:
        """Whether an event with one choice counts under another choice."""
        if had is None:
            return False
        if isinstance(wanted, tuple):
            return bool(had[: len(wanted)] == wanted)
        return bool(str(had) == str(wanted))

    def choices(self, word: str, path: tuple[str, ...]) -> list[Any]:
        """The choices of an axis, in order; on a path, those one level below it."""
        if word == "kind":
            return list(AXES["kind"][0].choices or ())
        had = {axes[word] for _, _, axes in self.events if axes.get(word) is not None}
        if word == "path":
            n = len(path)
            had = {one[: n + 1] for one in had if len(one) > n and one[:n] == path}
        return sorted(had)

    def sums(self, choices: dict[str, Any], span: tuple[int, ...]) -> tuple[Any, int]:
        """The sum and the number of events with choices in a timespan."""
        amounts = [
            amount
            for amount, when in self.chosen(choices)
            if self.numbers(when)[: len(span)] == span
        ]
        return exactly(amounts), len(amounts)

    def stretches(self, since: datetime, until: datetime, scale: str) -> list[Any]:
        """
        Starts of stretches, and what tells an event's stretch: minute by minute, by
        looking at the clock on the wall.
        """
        depth = SCALES.index(scale) + 1
        reach = {"year": 366, "month": 31, "day": 2, "hour": 1, "minute": 1}[scale]
        step = timedelta(minutes={5: 1, 4: 1, 3: 60}.get(depth, 720))
        begin = since.replace(second=0) - timedelta(days=reach)
        if depth <= 3:
            begin = begin.replace(minute=0)
        steps = (until - begin) // step + 1
        found: list[Any] = []
        first, before = 0, begin
        for at in sorted({since, until, *(begin + n * step for n in range(steps))}):
            stretch = self.stretch(at, depth)
            if not found:
                found.append((at, stretch))
            elif found[-1][1] != stretch:
                found.append((self.beginning(before, at, depth), stretch))
            before = at
            if at <= since:
                first = len(found) - 1
        return found[first:]

    def beginning(self, low: datetime, high: datetime, depth: int) -> datetime:
        """The first second after ``low`` that is in the stretch of ``high``."""
        stretch = self.stretch(high, depth)
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            if self.stretch(middle, depth) == stretch:
                high = middle
            else:
                low = middle
        return high

    def stretch(self, when: datetime, depth: int) -> Any:
        """The identity of a time bucket: for hours and minutes it includes the offset."""
        local = when.astimezone(self.zone)
        offset = local.utcoffset() if depth > 3 else None
        return self.numbers(when)[:depth], offset


def exactly(amounts: list[Any]) -> int | float:
    """The sum, rounded once; an int if all amounts are ints."""
    if all(isinstance(amount, int) for amount in amounts):
        return sum(amounts)
    return float(sum(map(Fraction, amounts)))


class ModelTests(SynchronousTestCase):
    """Random events and queries, on every kind of store."""

    def backend(self, kind: str) -> Any:
        """An empty backend."""
        if kind == "memory":
            return SqliteBackend(":memory:", lambda: NOW)
        if kind == "sqlite":
            return SqliteBackend(self.mktemp(), lambda: NOW)
        from txstathat.stores.redis.backend import RedisBackend

        if kind == "redis":
            server, scheme = shared(RedisServer), "redis"
        else:
            server, scheme = shared(RedisCluster).servers[0], "redis+cluster"
        prefix = uuid4().hex
        return RedisBackend(f"{scheme}://127.0.0.1:{server.port}/0?prefix={prefix}")

    def check(self, kind: str, world: tuple[Any, ...]) -> None:
        """Make the same queries to a Metrica and to the model."""
        zone, axes, events, questions = world
        clock = Clock()
        clock.advance(NOW)
        store = self.successResultOf(Store(self.backend(kind), Inline(), clock).open())
        self.addCleanup(store.close)
        named = [(word, AXES[word][0]) for word in axes]
        metrica = AveragedMetrica("m", named, store, tz=zone)
        model = Model(zone, events)
        for amount, when, choices in events:
            self.successResultOf(metrica.kick(amount, when, **choices))
        for about, depth, words, by, scale in questions:
            self.ask(metrica, model, events[about], depth, words, by, scale)

    def ask(
        self,
        metrica: AveragedMetrica,
        model: Model,
        about: Any,
        depth: int,
        words: set[str],
        by: str | None,
        scale: str,
    ) -> None:
        """One query about the time and choices of one event."""
        _, when, had = about
        choices = {word: had[word] for word in words if had.get(word) is not None}
        span = model.numbers(when)[:depth]
        timespan = dict(zip(SCALES, span, strict=False))
        selection = metrica.filter(**choices).timespan(**timespan)
        got = self.successResultOf
        self.same(
            (got(selection.total()), got(selection.count())), model.sums(choices, span)
        )
        if by is not None:
            path = tuple(choices.get(by, ())) if by == "path" else ()
            told = got(selection.iterate(by))
            self.assertEqual([choice for choice, _ in told], model.choices(by, path))
            for choice, total in told:
                self.same(total, model.sums({**choices, by: choice}, span)[0])
        if depth < 5:
            for number, total in got(selection.iterate()):
                self.same(total, model.sums(choices, (*span, number))[0])
            total = sum(n for _, n in got(selection.iterate_counts()))
            self.assertEqual(total, model.sums(choices, span)[1])
        width = {"minute": 1, "hour": 30, "day": 300, "month": 2000, "year": 9000}
        since, until = when - timedelta(hours=width[scale]), when + timedelta(hours=2)
        points = got(metrica.filter(**choices).timeserie(since, until, scale))
        stretches = model.stretches(since, until, scale)
        per_stretch: dict[Any, list[Any]] = {}
        for amount, at in model.chosen(choices):
            stretch = model.stretch(at, SCALES.index(scale) + 1)
            per_stretch.setdefault(stretch, []).append(amount)
        self.assertEqual(len(points), len(stretches))
        for (start, total), (begins, stretch) in zip(points, stretches, strict=True):
            if start.astimezone(UTC) != begins:
                # Only a midnight that comes twice may count as either of the two.
                self.assertEqual(metrica.tz, "America/St_Johns")
                self.assertEqual(start.date().isoformat(), "2010-11-07")
                self.assertLessEqual(abs(start - begins), timedelta(hours=1))
            self.same(total, exactly(per_stretch.get(stretch, [])))
        finest = got(metrica.filter(**choices).timeserie(since, until))
        # (Within one zone, Python compares what clocks show.)
        starts = [start.timestamp() for start, _ in finest]
        self.assertEqual(starts, sorted(starts))

    def same(self, got: Any, expected: Any) -> None:
        """Compare results; floats to 15 digits of the largest amount."""
        if isinstance(expected, tuple):
            for one, other in zip(got, expected, strict=True):
                self.same(one, other)
        elif isinstance(expected, float):
            self.assertIsInstance(got, float)
            self.assertLessEqual(abs(got - expected), 1e-15 * abs(expected))
        else:
            self.assertEqual((got, type(got)), (expected, type(expected)))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(worlds())
    @example(EXAMPLES[0])
    @example(EXAMPLES[1])
    def test_memory(self, world: Any) -> None:
        """In memory, results equal those of the model."""
        self.check("memory", world)

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(worlds())
    def test_sqlite(self, world: Any) -> None:
        """On SQLite, results equal those of the model."""
        self.check("sqlite", world)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(worlds())
    def test_redis(self, world: Any) -> None:
        """On Redis, results equal those of the model."""
        self.check("redis", world)

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(worlds())
    def test_cluster(self, world: Any) -> None:
        """On a Redis Cluster, results equal those of the model."""
        self.check("cluster", world)
