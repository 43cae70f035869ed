"""
The archive: what is kept of stats, and what is told of them.
"""

from __future__ import annotations

from collections.abc import Awaitable
from fractions import Fraction
from math import ulp
from typing import Any, TypeVar, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.stores import NOW, ClusterHost, MemoryHost, RedisHost, SqliteHost
from txstathat import Count, Value
from txstathat.collector import archive as archives
from txstathat.collector import newcomers
from txstathat.collector.archive import MAX_WAITING_POINTS, Archive
from txstathat.collector.ingest import Batch, Refusal
from txstathat.collector.stats import Stat, Total, stat_id
from txstathat.collector.trash import KEEP
from txstathat.errors import InvalidPoint, StoreBusy, StoreUnavailable
from txstathat.metrica import AveragedMetrica, Metrica
from txstathat.points import MAX_INTEGER, Point
from txstathat.stores import open_store
from txstathat.timeframe import Timeframe

T = TypeVar("T")
DAY = 86_400
#: A whole minute.
START = int(NOW) // 60 * 60


def batch(
    *points: Point, id: str | None = None, key: str = "k", body: str = ""
) -> Batch:
    """A batch as the ingest makes it."""
    digest = (body or repr(points)).encode()
    parts = [
        ("count", point.stat, point.count, point.t)
        if isinstance(point, Count)
        else ("value", point.stat, point.value, point.t)
        for point in points
    ]
    return Batch("ez", key, cast(Any, parts), False, id, digest)


class ArchiveCase(SynchronousTestCase):
    """
    An archive in memory, and its clock.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store: Any = self.successResultOf(
            open_store("memory:", reactor=self.clock, clock=self.clock)
        )
        self.addCleanup(self.store.close)
        self.archive = Archive(self.store)

    def now(self, waited: Awaitable[T]) -> T:
        """What has come of it already."""
        return self.successResultOf(Deferred.fromCoroutine(waited))  # type: ignore[arg-type]

    def fails(self, waited: Awaitable[Any], *kinds: Any) -> Any:
        """The error it has come to."""
        return self.failureResultOf(Deferred.fromCoroutine(waited), *kinds).value  # type: ignore[arg-type]

    def keep(self, *points: Point, **more: Any) -> bool:
        """Keep points, and tell whether they are new."""
        return self.successResultOf(self.archive.keep(batch(*points, **more)))

    def refused(self, *points: Point, **more: Any) -> str:
        """Why points are refused."""
        failed = self.archive.keep(batch(*points, **more))
        return str(self.failureResultOf(failed, Refusal).value)

    def points(self, name: str, timeframe: str) -> list[tuple[int, Any]]:
        """A stat's points."""
        stat = self.now(self.archive.stat(name))
        assert stat is not None
        (series,) = self.now(self.archive.data([stat], timeframe))
        return series.points


class KeepTests(ArchiveCase):
    """
    What goes in.
    """

    def test_sums(self) -> None:
        """Counters sum, values average; both remember how many points there were."""
        self.keep(Count("a", 2), Value("b", 1), Count("a", 4))
        self.keep(Count("a", -5), Value("b", 2.5))
        totals = self.now(self.archive.totals())
        self.assertEqual(totals["a"], Total("count", 3, 1))
        self.assertEqual(totals["b"], Total("value", 2, 3.5))
        self.assertEqual(totals["b"].average, 1.75)
        self.assertIsNone(Total("value").average)

    def test_kind_is_that_of_the_first_point(self) -> None:
        """A point of the other kind refuses its batch, which changes nothing."""
        self.keep(Count("a", 2))
        words = self.refused(Count("new"), Value("a", 1))
        self.assertIn("'a' is a count stat", words)
        self.assertIn("'b' is a value stat", self.refused(Value("b", 1), Count("b")))
        self.assertEqual([s.name for s in self.now(self.archive.stats())], ["a"])

    def test_an_id_counts_once_for_each_key(self) -> None:
        """Ids are of a sender: another's may be the same."""
        self.assertTrue(self.keep(Count("a"), id="id"))
        self.assertFalse(self.keep(Count("a"), id="id"))
        self.assertTrue(self.keep(Count("a"), id="id", key="other"))
        self.assertTrue(self.keep(Count("a")))
        self.assertTrue(self.keep(Count("a")))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 4)

    def test_another_body_under_an_id_is_a_conflict(self) -> None:
        """409, and nothing is added."""
        self.keep(Count("a"), id="id")
        self.assertIn("another body", self.refused(Count("a", 2), id="id"))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 1)

    def test_overflow(self) -> None:
        """A sum that is too large for exactness refuses its batch, stat and all."""
        for points in (
            [Count("a", MAX_INTEGER), Count("a", 1)],
            [Value("a", 1.7e308), Value("a", 1.7e308)],
        ):
            self.assertIn("a sum of 'a'", self.refused(Count("b"), *points))
        self.keep(Count("a", MAX_INTEGER))
        self.assertIn("a sum of 'a'", self.refused(Count("b"), Count("a", 1)))
        self.assertEqual(len(self.now(self.archive.stats())), 1)

    def test_times(self) -> None:
        """A point counts in its own time, however old; a day ahead is too far."""
        self.keep(Count("a", 1, 5), Count("a", 2, START - 60), Count("a", 4))
        self.assertEqual(self.points("a", "2m1m"), [(START - 60, 2), (START, 4)])
        self.assertEqual(sum(value for _, value in self.points("a", "60y1y")), 7)
        self.assertIn("day ahead", self.refused(Count("a", 1, START + 2 * DAY)))

    def test_new_stats_are_limited(self) -> None:
        """So many in all, and so many in a day for each key; old ones go on."""
        self.patch(newcomers, "MAX_NEW_STATS", 3)
        self.archive = Archive(self.store, max_stats=5)
        self.keep(Count("a"), Count("b"), Count("c"))
        self.assertIn("3 new stats today", self.refused(Count("a"), Count("d")))
        self.keep(Count("d"), key="other")
        self.clock.advance(DAY)
        self.assertIn("there are 4 stats", self.refused(Count("e"), Count("f")))
        self.keep(Count("e"), Count("a"))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 2)

    def test_old_stats_do_not_wait_for_all(self) -> None:
        """After a restart all stats are learned only for a new one, and only once."""
        self.keep(*[Count(f"s{number}") for number in range(9)])
        self.archive = Archive(self.store)
        asked: list[Any] = []
        waiting: list[Any] = []
        definitions = self.store.definitions

        def slow(names: Any = None) -> Any:
            asked.append(names)
            if names is not None:
                return definitions(names)
            waiting.append(Deferred())
            return waiting[-1]

        self.store.definitions = slow
        self.keep(Count("s1"))
        self.assertEqual(asked, [["s1"]])
        new = [self.archive.keep(batch(Count(name))) for name in ("a", "b", "c")]
        self.keep(Count("s2"))
        self.assertEqual(asked.count(None), 1)
        # A reading that fails fails for all that wait for it, and is made again.
        waiting.pop().errback(StoreUnavailable("away"))
        for each in new:
            self.failureResultOf(each, StoreUnavailable)
        new = [self.archive.keep(batch(Count(name))) for name in ("a", "b", "c")]
        self.assertEqual(asked.count(None), 2)
        waiting[0].callback(self.successResultOf(definitions()))
        self.assertEqual([self.successResultOf(each) for each in new], [True] * 3)
        self.keep(Count("d"))
        self.assertEqual(asked.count(None), 2)

    def test_many_stats_are_learned_in_parts(self) -> None:
        """So that the ids of many hold up nobody; nor do their cells."""
        self.patch(newcomers, "_NAMES_AT_ONCE", 4)
        self.patch(archives, "_STATS_AT_ONCE", 4)
        names = [f"s{number}" for number in range(9)]
        self.keep(*map(Count, names))
        self.archive = Archive(self.store)
        learned: list[int] = []
        learn = self.archive._newcomers.learn
        self.archive._newcomers.learn = lambda names: (
            learned.append(len(names)) or learn(names)
        )
        found = Deferred.fromCoroutine(self.archive.find([stat_id("s8")]))
        self.assertEqual(learned, [4])
        self.assertNoResult(found)
        # Each part is a call of its own; the clock makes them one after the other.
        self.clock.advance(0)
        self.assertEqual(learned, [4, 4, 1])
        self.assertEqual([stat.name for stat in self.successResultOf(found)], ["s8"])
        reads: list[int] = []
        read = self.store.read
        self.store.read = lambda keys: reads.append(len(keys)) or read(keys)
        stats = self.now(self.archive.stats())
        self.assertEqual([stat.name for stat in stats], names)
        self.assertEqual(reads, [4, 4, 1])

    def test_waiting_points_are_limited(self) -> None:
        """More than so many may not wait; who waits no more makes room."""
        held: Deferred[Any] = Deferred()
        answers = [held]
        self.archive.gather._write = lambda batches: (
            answers.pop() if answers else fail(StoreUnavailable("away"))
        )
        points = [Count("a")] * MAX_WAITING_POINTS
        waiting = self.archive.keep(batch(*points))
        self.failureResultOf(self.archive.keep(batch(Count("a"))), StoreBusy)
        held.errback(StoreUnavailable("away"))
        self.clock.pump([0.1] * 20)
        self.failureResultOf(waiting, StoreUnavailable)
        self.assertEqual(self.archive._waiting_points, 0)

    def test_waiting_batches_are_one_write(self) -> None:
        """What comes during a write is the next one, all of it."""
        self.keep(Count("a"))
        writes: list[tuple[int, Deferred[Any]]] = []

        def write(batches: Any) -> Deferred[Any]:
            writes.append((len(batches), Deferred()))
            return writes[-1][1]

        self.archive.gather._write = write
        waiting = [self.archive.keep(batch(Count("a"))) for _ in range(20)]
        self.successResultOf(
            self.store.add([]).addCallback(lambda _: writes[0][1].errback(OSError()))
        )
        self.failureResultOf(waiting[0], OSError)
        self.assertEqual([size for size, _ in writes], [1, 19])
        writes[1][1].errback(OSError())
        for one in waiting[1:]:
            self.failureResultOf(one, OSError)

    def test_one_bad_request_among_many(self) -> None:
        """Requests are written together, but each is taken or refused for itself."""
        self.keep(Count("a", 1), Count("full", MAX_INTEGER))
        write, held = self.archive.gather._write, []
        self.archive.gather._write = lambda requests: (
            held.append(Deferred()) or held[-1]
        )  # type: ignore[func-returns-value]
        first = self.archive.keep(batch(Count("a", 1)))
        waiting = {
            "good": self.archive.keep(batch(Count("a", 2), Count("new", 1))),
            "kind": self.archive.keep(batch(Value("a", 2), Count("other", 1))),
            "more": self.archive.keep(batch(Count("a", 4), Count("new", 1))),
            "named": self.archive.keep(batch(Count("a", 8), id="x")),
            "again": self.archive.keep(batch(Count("a", 8), id="x")),
            "full": self.archive.keep(batch(Count("full", 1), Count("other", 1))),
            "odd": self.archive.keep(batch(Value("new", 1))),
        }
        self.archive.gather._write = write
        held[0].errback(OSError())
        self.failureResultOf(first, OSError)
        for name in ("kind", "full", "odd"):
            self.failureResultOf(waiting.pop(name), Refusal)
        taken = {name: self.successResultOf(one) for name, one in waiting.items()}
        self.assertEqual(
            taken, {"good": True, "more": True, "named": True, "again": False}
        )
        sums = {
            name: total.sum for name, total in self.now(self.archive.totals()).items()
        }
        self.assertEqual(sums, {"a": 15, "new": 2, "full": MAX_INTEGER})

    def test_a_stat_is_a_metrica(self) -> None:
        """What is kept can be asked as a Metrica, and drawn as one."""
        self.keep(Count("a", 2), Value("b", 1), Value("b", 2))
        counter = Metrica("a", [], self.store)
        value = AveragedMetrica("b", [], self.store)
        self.assertEqual(self.successResultOf(counter.total()), 2)
        self.assertEqual(self.successResultOf(value.average()), 1.5)

    def test_metricas_are_no_stats(self) -> None:
        """What a program counts in the same store is not in the list."""
        self.successResultOf(Metrica("visits", [], self.store).kick())
        self.assertEqual(self.now(self.archive.stats()), [])

    def test_create(self) -> None:
        """A stat can be made before its first point."""
        stat = self.now(self.archive.create("a", "value"))
        self.assertEqual((stat.kind, stat.receipts), ("value", 0))
        self.assertIn("value stat", self.refused(Count("a")))
        self.keep(Value("a", 1))
        self.fails(self.archive.create("a", "count"), Refusal)
        self.fails(self.archive.create("\n", "count"), InvalidPoint)

    def test_retention(self) -> None:
        """What is no scale, or no time, is told."""
        for wrong in ({"week": 5.0}, {"minute": 0.0}, {"minute": -1.0}):
            self.assertRaises(ValueError, Archive, self.store, retention=wrong)


class DataTests(ArchiveCase):
    """
    What comes out.
    """

    def test_stats(self) -> None:
        """By name, with ids that stay, and the times of the first and last receipt."""
        self.keep(Value("b", 1, 5), Count("a"))
        self.clock.advance(90.5)
        self.keep(Count("a"))
        stats = self.now(self.archive.stats())
        self.assertEqual(
            [(s.name, s.kind, s.created_at, s.received_at) for s in stats],
            [("a", "count", NOW, NOW + 90.5), ("b", "value", NOW, NOW)],
        )
        ids = [stat.id for stat in stats]
        self.assertRegex(" ".join(ids), r"^[a-z2-7]{16} [a-z2-7]{16}$")
        again = Archive(self.store)
        self.assertEqual(self.now(again.find(ids[::-1])), stats[::-1])
        self.assertEqual(self.now(again.stat("a")), stats[0])
        self.assertIsNone(self.now(again.stat("c")))
        self.assertIn("'nonsense'", str(self.fails(again.find(["nonsense"]), Refusal)))

    def test_gaps(self) -> None:
        """A counter's gap is 0, a value's gap is no point."""
        self.keep(Count("a", 3, START - 120), Value("b", 3, START - 120))
        self.assertEqual(
            self.points("a", "3m1m"), [(START - 120, 3), (START - 60, 0), (START, 0)]
        )
        self.assertEqual(self.points("b", "3m1m"), [(START - 120, 3)])

    def test_averages_stay_right_when_zoomed_out(self) -> None:
        """An hour's average is that of its points, not of its minutes' averages."""
        self.keep(
            Value("b", 10, START), Value("b", 1, START - 60), Value("b", 1, START - 60)
        )
        self.assertEqual(self.points("b", "2m1m"), [(START - 60, 1), (START, 10)])
        hour = START // 3600 * 3600
        self.assertEqual(self.points("b", "1h1h"), [(hour, 4)])

    def test_usual_timeframes_are_whole(self) -> None:
        """Something in each of their minutes, hours and days is there to the last."""
        self.archive = Archive(self.store)
        for frame, points in (
            ("1h1m", 60), ("1d5m", 288), ("1w3h", 56), ("1M1h", 700), ("1y1d", 365),
            ("10y1M", 120), ("10y1y", 10), ("4w1w", 4),
        ):  # fmt: skip
            edges = Timeframe.parse(frame).edges(int(self.clock.seconds()))
            self.keep(
                *[Count(frame, 1, t) for t in edges[:-1] if t <= self.clock.seconds()]
            )
            told = self.points(frame, frame)
            self.assertGreaterEqual(len(told), points)
            self.assertEqual({value for _, value in told}, {1}, frame)

    def test_kept_for_as_long_as_told(self) -> None:
        """Just before the oldest detail that a timeframe needs is dropped it is whole."""
        self.keep(Count("a", 1, START))
        for frame, later in (
            ("1d5m", DAY - 300),
            ("1M1h", 27 * DAY),
            ("1y1d", 330 * DAY),
        ):
            self.clock.advance(NOW + later - self.clock.seconds())
            self.assertEqual(sum(value for _, value in self.points("a", frame)), 1)

    def test_steps_are_added_up_exactly(self) -> None:
        """A coarse step's sum is that of its points, whatever was lost in a fine one."""
        five = START // 300 * 300
        self.clock.advance(five + 240 - NOW)
        for at, amount in enumerate((1e16, 1.0, -1e16)):
            self.keep(Count("a", amount, five + 60 * at))
        for frame in ("5m5m", "1h5m", "1h1h", "1d1d", "1y1y"):
            self.assertEqual(sum(n for _, n in self.points("a", frame)), 1.0, frame)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 1.0)

    def test_beyond_the_largest_float(self) -> None:
        """A step whose sum no float can hold is refused with words; finer ones are not."""
        # April 29 and May 2 are in one week, but not in one day, month or year.
        april, may = START - 14 * DAY, START - 11 * DAY
        for name, kind in (("a", Count), ("b", Value)):
            self.keep(kind(name, -1.7e308, START - 70 * DAY))
            self.keep(kind(name, 1.7e308, april))
            self.keep(kind(name, 1.7e308, may))
            stat = self.now(self.archive.stat(name))
            (fine,) = self.now(self.archive.data([stat], "1y1d"))
            self.assertEqual(max(n for _, n in fine.points), 1.7e308)
            whole = 1.7e308 if name == "a" else 1.7e308 / 3
            self.assertEqual(fine.whole, whole)
            (coarse,) = self.now(self.archive.data([stat], "3w1w"))
            self.assertIsNone(coarse.whole)
            with self.assertRaises(Refusal) as caught:
                coarse.points  # noqa: B018
            self.assertIn("beyond the largest float", caught.exception.msg)

    def restart(self, **retention: float | None) -> None:
        """An archive on the same store, as a collector that starts makes one."""
        self.archive = Archive(self.store, retention=retention)
        self.now(self.archive.note_retention())

    def test_kept_for_longer_than_before(self) -> None:
        """Until all detail is there that it needs, a timeframe is refused."""
        self.restart()
        for _ in range(72):
            self.keep(Count("a"))
            self.clock.advance(3600)
        for _ in range(2):
            self.restart(minute=7 * DAY)
            stat = self.now(self.archive.stat("a"))
            error = self.fails(self.archive.data([stat], "3d5m"), Refusal)
            self.assertIn("only since 2014-05-15 14:53 UTC", error.msg)
            self.assertEqual(sum(n for _, n in self.points("a", "3d1h")), 71)
            self.assertEqual(sum(n for _, n in self.points("a", "1d5m")), 23)
        for _ in range(72):
            self.fails(self.archive.data([stat], "3d5m"), Refusal)
            self.keep(Count("a"))
            self.clock.advance(3600)
        (series,) = self.now(self.archive.data([stat], "3d5m"))
        self.assertEqual(series.whole, 71)

    @settings(max_examples=30)
    @given(
        st.lists(
            st.tuples(st.sampled_from([1, 2, 3, 5, None]), st.integers(1, 7)),
            min_size=1,
            max_size=5,
        )
    )
    def test_whatever_was_kept_before(
        self, lives: list[tuple[int | None, int]]
    ) -> None:
        """However often it is changed: told are all points, or a refusal."""
        self.setUp()
        began = None
        for keep, hours in lives:
            self.restart(minute=None if keep is None else keep * 3600.0)
            for _ in range(hours):
                self.clock.advance(3600)
                self.keep(Count("a"))
                began = began or self.clock.seconds()
                stat = self.now(self.archive.stat("a"))
                now = self.clock.seconds()
                for frame in ("50m1m", "110m1m", "4h7m", "9h90m"):
                    begins = Timeframe.parse(frame).edges(int(now))[0]
                    told = Deferred.fromCoroutine(self.archive.data([stat], frame))
                    told.addErrback(lambda failure: failure.value)
                    answer: Any = self.successResultOf(told)
                    if isinstance(answer, Refusal):
                        continue
                    received = int((now - max(began, begins)) // 3600) + 1
                    self.assertEqual(answer[0].whole, received, frame)

    def test_too_much(self) -> None:
        """Finer than kept, too many points, too many stats, no timeframe: with words."""
        self.keep(Count("a"))
        stat = self.now(self.archive.stat("a"))
        for words, frame, stats in (
            ("minutes are kept for 26 hours", "6d1m", 1),
            ("hours are kept for 35 days", "1y3h", 1),
            ("days are kept for 400 days", "10y1d", 1),
            ("at most 10,000", "1M1m", 1),
            ("must be a duration", "1w", 1),
            ("at most 138 of them", "1d1m", 139),
        ):
            error = self.fails(self.archive.data([stat] * stats, frame), Refusal)
            self.assertEqual(error.status, 400)
            self.assertIn(words, error.msg)

    @settings(max_examples=40)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, DAY - 3600),
                st.integers(-(2**62) // 40, 2**62 // 40)
                | st.floats(-1e9, 1e9, allow_subnormal=False)
                | st.sampled_from([1e16, -1e16, 1.0, 3e20, -3e20]),
            ),
            min_size=1,
            max_size=40,
        ),
        st.sampled_from(["1d1m", "1d7m", "1d1h", "1d5h", "2d1d", "3d1d", "1w1w"]),
        st.sampled_from(["1d5m", "1w3h", "1M1h", "1M1M", "1y1y", "1y1w", "2y1M"]),
    )
    @example([(120, 1e16), (60, 1.0), (0, -1e16)], "1d5m", "1y1y")
    @example([(3600, 2**60), (120, 0.25), (60, -(2**60)), (0, 1)], "1d7m", "1M1M")
    def test_zooming_changes_no_total(
        self, points: list[tuple[int, Any]], one: str, other: str
    ) -> None:
        """Any points, any two timeframes that cover them: the same sum and number."""
        self.setUp()
        now = int(NOW)
        self.keep(*[Count("a", amount, now - ago) for ago, amount in points])
        stat = self.now(self.archive.stat("a"))
        told = []
        for frame in (one, other):
            (series,) = self.now(self.archive.data([stat], frame))
            told.append(
                (
                    sum(each.count for each in series.buckets),
                    series.whole,
                    min(each.min for each in series.buckets if each.min is not None),
                    max(each.max for each in series.buckets if each.max is not None),
                )
            )
        (count, total, least, most), (count2, total2, least2, most2) = told
        self.assertEqual((count, least, most), (count2, least2, most2))
        self.assertEqual(count, len(points))
        exact = sum(Fraction(amount) for _, amount in points)
        if all(isinstance(amount, int) for _, amount in points):
            self.assertEqual((total, total2), (exact, exact))
            return
        # A cell's sum has twice a float's digits: 106 bits of the largest in it.
        room = sum(abs(Fraction(amount)) for _, amount in points) / 2**98
        for found in (total, total2):
            off = abs(Fraction(found) - exact)
            self.assertLessEqual(off, room + Fraction(ulp(float(exact))) / 2)


class TrashTests(ArchiveCase):
    """
    What was deleted.
    """

    def delete(self, name: str) -> Stat:
        stat = self.now(self.archive.stat(name))
        assert stat is not None
        return self.now(self.archive.delete(stat.id))

    def test_delete(self) -> None:
        """A deleted stat is in no list, has no data, and cannot be deleted again."""
        self.keep(Count("a"), Count("b"))
        gone = self.delete("a")
        for archive in (self.archive, Archive(self.store)):
            self.assertEqual([s.name for s in self.now(archive.stats())], ["b"])
            self.assertIsNone(self.now(archive.stat("a")))
            self.fails(archive.find([gone.id]), Refusal)
            self.fails(archive.delete(gone.id), Refusal)
            self.assertEqual(list(self.now(archive.totals())), ["b"])

    def test_back_with_its_next_point(self) -> None:
        """A new point brings it back whole, and it stays."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.keep(Count("a", 3))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 5)
        self.clock.advance(KEEP + 1)
        self.assertEqual(self.now(self.archive.empty_trash()), 0)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 5)
        self.assertEqual(self.successResultOf(self.store.records("trash")), {})

    def test_restore(self) -> None:
        """It can be taken back for 48 hours."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.clock.advance(KEEP - 1)
        self.assertEqual(self.now(self.archive.empty_trash()), 0)
        self.assertEqual(self.now(self.archive.restore("a")).name, "a")
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 2)
        self.fails(self.archive.restore("a"), Refusal)

    def test_made_again(self) -> None:
        """Making it, as for the Classic API, brings it back too."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.fails(self.archive.create("a", "value"), Refusal)
        made = self.now(self.archive.create("a", "count"))
        self.assertEqual((made.name, made.receipts), ("a", 1))
        self.keep(Count("b"))
        self.delete("b")
        self.keep(Count("b"))
        self.assertIn("'b' is a count stat", self.refused(Value("b", 1)))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 2)
        self.clock.advance(KEEP)
        self.assertEqual(self.now(self.archive.empty_trash()), 0)

    def test_forgotten(self) -> None:
        """After 48 hours it is gone, and its name can become another kind of stat."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.assertIn(
            "was a count stat; it is deleted, and in the trash until 2014-05-15 16:53",
            self.refused(Value("a", 1)),
        )
        self.clock.advance(KEEP)
        self.assertEqual(self.now(self.archive.empty_trash()), 1)
        self.fails(self.archive.restore("a"), Refusal)
        self.keep(Value("a", 1))
        self.assertEqual(self.now(self.archive.totals())["a"], Total("value", 1, 1))


class OnStores:
    """
    The same on every store.
    """

    host: Any

    @inlineCallbacks
    def test_round(self: Any) -> Any:
        """Points, lists, data, ids, conflicts and the trash: on any store alike."""
        store = yield self.host(self).open()
        archive, other = Archive(store), Archive(store)
        first = batch(Count("a", 2), Value("b/é", 0.5), id="x")
        self.assertTrue((yield archive.keep(first)))
        self.assertFalse((yield other.keep(first)))
        try:
            yield other.keep(batch(Count("a", 3), id="x"))
            self.fail("no conflict")
        except Refusal as refusal:
            self.assertEqual(refusal.status, 409)
        try:
            yield other.keep(batch(Count("new"), Value("a", 1)))
            self.fail("no refusal")
        except Refusal as refusal:
            self.assertIn("'a' is a count stat", refusal.msg)
        stats = yield Deferred.fromCoroutine(other.stats())
        self.assertEqual([stat.name for stat in stats], ["a", "b/é"])
        series = yield Deferred.fromCoroutine(other.data(stats, "2h1m"))
        self.assertEqual(sum(value for _, value in series[0].points), 2)
        self.assertEqual([value for _, value in series[1].points], [0.5])
        yield Deferred.fromCoroutine(archive.delete(stats[0].id))
        self.assertIsNone((yield Deferred.fromCoroutine(other.stat("a"))))
        yield other.keep(batch(Count("a", 1)))
        totals = yield Deferred.fromCoroutine(archive.totals())
        self.assertEqual(totals["a"], Total("count", 2, 3))


class MemoryTests(OnStores, TestCase):
    """In memory."""

    host = MemoryHost


class SqliteTests(OnStores, TestCase):
    """On SQLite."""

    host = SqliteHost


class RedisTests(OnStores, TestCase):
    """On Redis."""

    host = RedisHost


class ClusterTests(OnStores, TestCase):
    """On a Redis Cluster."""

    host = ClusterHost
