"""
The archive: what is kept of stats, and what is told of them.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from math import ulp
from threading import get_ident
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from tests.fixtures.archives import DAY, START, ArchiveCase, batch
from tests.fixtures.stores import (
    NOW,
    ClusterHost,
    MemoryHost,
    RedisCluster,
    RedisHost,
    SqliteHost,
    shared,
)
from tests.fixtures.support import logged
from txstathat import Count, Value
from txstathat.collector.archive.all_time import INTERVALS
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.health import FAILURE_SECONDS, PROBE_SECONDS
from txstathat.collector.archive.listing import LOOKUP_SECONDS
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.archive.series import Plan
from txstathat.collector.archive.stats import (
    EVERYTHING,
    RETENTION,
    Stat,
    Total,
    received_key,
    stat_id,
    total_key,
)
from txstathat.collector.archive.writing import cardinality as cardinality
from txstathat.collector.archive.writing.commit import (
    FINISH_SECONDS,
    MAX_SUMS,
    PendingWrite,
    write_requests,
)
from txstathat.collector.archive.writing.delta import BatchDelta
from txstathat.collector.archive.writing.writer import MAX_WAITING_POINTS
from txstathat.collector.errors import PointAhead, Refusal
from txstathat.collector.ingest.parse import PostedBatch
from txstathat.collector.service import limit_redis
from txstathat.errors import (
    InvalidPoint,
    StoreBusy,
    StoreInterrupted,
    StoreUnavailable,
)
from txstathat.metrica import AveragedMetrica, Metrica
from txstathat.points.amounts import MAX_INTEGER
from txstathat.points.timeframe import MAX_BUCKETS, Span, Timeframe
from txstathat.stores import open_store
from txstathat.stores.interface import Amounts, CellKey, WriteOutcome, WriteResult


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
        self.assertIn("'a' is a counter", words)
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
        self.assertIn("another request", self.refused(Count("a", 2), id="id"))
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
        self.assertIn(
            "a day in the future", self.refused(Count("a", 1, START + 2 * DAY))
        )

    def test_a_clock_that_is_behind(self) -> None:
        """While its clock is behind the newest receipt, it asks for points later."""
        now = self.clock.seconds()
        self.keep(Count("a"), Count("b"))
        behind = Clock()
        behind.advance(now - 3 * DAY)
        self.store.clock = behind
        for archive in (self.archive, Archive(self.store)):
            failed = archive.add(batch(Count("a"), Count("b", 1, START)))
            refusal = self.failureResultOf(failed, Refusal).value
            self.assertEqual((refusal.status, refusal.retry_after), (503, 60))
            self.assertIn("clock of this collector may be wrong", refusal.msg)
            # No clock is right for this one.
            failed = archive.add(batch(Count("b", 1, START + 2 * DAY)))
            refusal = self.failureResultOf(failed, PointAhead).value
            self.assertEqual((refusal.status, refusal.number), (400, 0))
        self.assertEqual(self.now(self.archive.totals())["a"].points, 1)
        behind.advance(3 * DAY)
        self.keep(Count("a"), Count("b", 1, START))

    def test_the_newest_receipt_is_read_once(self) -> None:
        """Many points ahead of the clock do not read all receipts each time."""
        self.keep(Count("a"))
        reads: list[Any] = []
        read = self.store.read
        self.store.read = lambda keys: reads.append(keys) or read(keys)
        for _ in range(5):
            self.assertIn(
                "a day in the future", self.refused(Count("a", 1, START + 2 * DAY))
            )
        self.assertEqual(len(reads), 1)

    def test_receipts_ahead_of_now(self) -> None:
        """A receipt that was noted while the clock was ahead counts as one of now."""
        self.clock.advance(30 * DAY)
        self.keep(Count("a"))
        self.store.clock = right = Clock()
        right.advance(NOW)
        stat = self.stat("a")
        self.assertEqual((stat.created_at, stat.received_at), (NOW, NOW))

    def test_new_stats_are_limited(self) -> None:
        """So many in all, and so many in a day for each key; old ones go on."""
        self.archive = Archive(self.store, max_stats=5, max_new_stats=3)
        self.keep(Count("a"), Count("b"), Count("c"))
        self.assertIn("3 new stats today", self.refused(Count("a"), Count("d")))
        self.keep(Count("d"), key="other")
        self.clock.advance(DAY)
        self.assertIn("there are 4 stats", self.refused(Count("e"), Count("f")))
        self.keep(Count("e"), Count("a"))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 2)

    def test_the_limit_of_new_stats_outlasts_a_restart(self) -> None:
        """What a key has created today counts in every collector, until tomorrow."""
        self.archive, other, restarted = (
            Archive(self.store, max_new_stats=3) for _ in range(3)
        )
        self.keep(Count("a"), Count("b"))
        self.now(self.archive.settled())
        self.successResultOf(other.add(batch(Count("c"))))
        self.now(other.settled())
        self.archive = restarted
        self.assertIn("3 new stats today", self.refused(Count("d")))
        self.keep(Count("d"), key="other")
        self.clock.advance(DAY)
        self.keep(*[Count(f"e{number}") for number in range(3)])
        self.assertIn("3 new stats today", self.refused(Count("f")))

    def test_allowances_while_the_store_fails(self) -> None:
        """What could not be saved is saved with the next change."""
        put = self.store.put_record
        self.store.put_record = lambda *args, **more: fail(StoreUnavailable("away"))
        self.keep(Count("a"))
        self.store.put_record = put
        self.keep(Count("b"))
        self.now(self.archive.settled())
        (text,) = self.successResultOf(self.store.records("allowance")).values()
        self.assertEqual(json.loads(text), [int(NOW) // DAY, 2, 0])

    def test_the_past_takes_little_room(self) -> None:
        """Detail that is too old to be read is not stored: 44 years are 650 cells."""
        ages = range(0, 44 * 365 * DAY, 4 * DAY + 60)
        old = batch(*[Count("a", 1, START - age) for age in ages])
        self.assertTrue(self.successResultOf(self.archive.add(old)))
        amounts = BatchDelta(old.points, NOW).amounts(RETENTION)
        stored = {bucket for one in amounts.increments for bucket in one.buckets}
        scales = Counter(bucket.scale for bucket in stored)
        self.assertLessEqual(scales["month"], 530)
        self.assertLessEqual(scales["day"], 102)
        self.assertLessEqual(scales["hour"], 10)
        self.assertEqual(scales["minute"], 1)
        self.assertEqual(
            sum(value for _, value in self.points("a", "60y1y")), len(ages)
        )

    def test_points_of_the_past_are_limited(self) -> None:
        """A key can add so many old buckets in a day; repetitions count once."""
        self.archive, restarted = (Archive(self.store, max_past=30) for _ in range(2))
        old = [Count("a", 1, START - (20 + day) * DAY) for day in range(20)]
        for _ in range(3):
            self.keep(*old)
        self.keep(*[Count("b", 1, START - (20 + day) * DAY) for day in range(10)])
        self.now(self.archive.settled())
        for archive in (self.archive, restarted):
            self.archive = archive
            self.assertIn(
                "30 is the limit", self.refused(Count("c", 1, START - 99 * DAY))
            )
        # Others, and points that may have waited for a delivery, are accepted.
        self.keep(Count("c", 1, START - 99 * DAY), key="other")
        self.keep(*[Count("d", 1, START - hour * 3600) for hour in range(8 * 24)])
        self.clock.advance(DAY)
        self.keep(Count("c", 1, START - 98 * DAY))

    def test_what_was_not_written_uses_no_room(self) -> None:
        """What comes with refused points, or in vain, leaves no name behind."""
        self.archive = Archive(self.store, max_stats=5, max_new_stats=5)
        self.keep(Count("c"))
        new = [Count(f"x{number}") for number in range(4)]
        self.assertIn("is a counter", self.refused(Value("c", 1), *new))
        add = self.store.add
        self.store.add = lambda batches: fail(StoreUnavailable("away"))
        lost = self.archive.add(batch(*new))
        self.failureResultOf(lost, StoreUnavailable)
        self.store.add = add
        for number in range(4):
            self.keep(Count(f"honest {number}"))
        self.assertIn("there are 5 stats", self.refused(Count("one more")))
        self.archive = Archive(self.store, max_stats=6)
        self.keep(Count("one more"), key="other")

    def test_places_are_held_while_they_are_written(self) -> None:
        """New stats under way have their places, once for all that bring them."""
        self.archive = Archive(self.store, max_stats=3)
        self.keep(Count("a"))
        write: Deferred[Any] = Deferred()
        add = self.store.add
        self.store.add = lambda batches: write
        first = self.archive.add(batch(Count("b"), Count("c")))
        again = self.archive.add(batch(Count("c"), key="other"))
        self.assertIn("there are 1 stats", self.refused(Count("d")))
        # The first is in vain; the second brings what it would have brought.
        self.store.add = add
        write.callback([WriteResult(WriteOutcome.OVERFLOW, "b")])
        self.failureResultOf(first, Refusal)
        self.assertIs(self.successResultOf(again), True)
        self.keep(Count("d"))
        self.assertIn("there are 3 stats", self.refused(Count("e")))

    def test_what_another_collector_forgot(self) -> None:
        """Before stats are refused they are counted again, from time to time."""
        for one in (self.archive, other := Archive(self.store, max_stats=3)):
            for name in ("a", "b", "c"):
                self.successResultOf(one.add(batch(Count(name))))
        self.archive, emptier = other, self.archive
        self.assertIn("there are 3 stats", self.refused(Count("d")))
        counts: list[Any] = []
        count = self.store.count_definitions
        self.store.count_definitions = lambda names: (
            counts.append(names) or count(names)
        )
        for name in ("a", "b"):
            self.now(emptier.delete(stat_id(name)))
        self.clock.advance(TRASH_SECONDS + 1)
        self.now(emptier.empty_trash())
        self.keep(Count("d"), Count("e"))
        self.assertEqual(len(counts), 1)
        for _ in range(3):
            self.assertIn("there are 3 stats", self.refused(Count("f")))
        self.assertEqual(len(counts), 1)
        self.clock.advance(cardinality.RECOUNT)
        self.refused(Count("f"))
        self.assertEqual(len(counts), 2)

    def test_what_another_collector_created(self) -> None:
        """It counts too, some seconds later, although nothing is refused before."""
        other = Archive(self.store, max_stats=3)
        self.archive, mine = other, self.archive
        self.keep(Count("a"))
        self.successResultOf(mine.add(batch(Count("b"), Count("c"))))
        self.clock.advance(cardinality.RECOUNT)
        self.assertIn("there are 3 stats", self.refused(Count("d")))

    def test_new_stats_do_not_wait_for_all_names(self) -> None:
        """
        After a restart the stats are counted only for a new one, and only once; the
        names of all are not read.
        """
        self.keep(*[Count(f"s{number}") for number in range(9)])
        self.archive = Archive(self.store, max_stats=13)
        asked: list[Any] = []
        waiting: list[Deferred[int]] = []
        definitions, count = self.store.definitions, self.store.count_definitions

        def slow(apart_from: Any) -> Deferred[int]:
            waiting.append(Deferred())
            return waiting[-1]

        self.store.count_definitions = slow
        self.store.definitions = lambda names=None: (
            asked.append(names) or definitions(names)
        )
        self.keep(Count("s1"))
        self.assertEqual((asked, waiting), ([["s1"]], []))
        new = [self.archive.add(batch(Count(name))) for name in ("a", "b", "c")]
        self.keep(Count("s2"))
        self.assertEqual(len(waiting), 1)
        # A count that fails fails for all that wait for it, and is made again.
        waiting.pop().errback(StoreUnavailable("away"))
        for each in new:
            self.failureResultOf(each, StoreUnavailable)
        new = [self.archive.add(batch(Count(name))) for name in ("a", "b", "c")]
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(self.successResultOf(count()))
        self.assertEqual([self.successResultOf(each) for each in new], [True] * 3)
        self.keep(Count("d"))
        self.assertIn("there are 13 stats", self.refused(Count("e")))
        self.assertEqual(len(waiting), 1)
        self.assertNotIn(None, asked)

    def test_stats_under_way_count_once(self) -> None:
        """A stat that is written while the stats are counted counts once."""
        self.archive = Archive(self.store, max_stats=4)
        self.keep(Count("a"))
        add = self.store.add
        held: list[Deferred[None]] = []

        def answer_later(batches: Any) -> Deferred[Any]:
            held.append(Deferred())
            return add(batches).addCallback(
                lambda results: held[-1].addCallback(lambda _: results)
            )

        self.store.add = answer_later
        under_way = self.archive.add(batch(Count("b")))
        self.store.add = add
        # "b" is in the store, and the next new stat makes the archive count again.
        self.clock.advance(cardinality.RECOUNT)
        next_one = self.archive.add(batch(Count("c")))
        held[0].callback(None)
        self.assertTrue(self.successResultOf(under_way))
        self.clock.advance(cardinality.RECOUNT / 2)  # the batcher waits for more
        self.assertTrue(self.successResultOf(next_one))
        self.keep(Count("d"))
        self.assertIn("there are 4 stats", self.refused(Count("e")))

    def test_many_stats_are_read_in_parts(self) -> None:
        """So that the cells of many hold up nobody."""
        names = [f"s{number}" for number in range(9)]
        self.keep(*map(Count, names))
        self.archive = Archive(self.store, stats_at_once=4)
        reads: list[int] = []
        read = self.store.read
        self.store.read = lambda keys: reads.append(len(keys)) or read(keys)
        stats = self.now(self.archive.stats())
        self.assertEqual([stat.name for stat in stats], names)
        self.assertEqual(reads, [4, 4, 1])

    def test_a_known_id_does_not_read_all_stats(self) -> None:
        """After a start the stat with an id is found, and nothing else is read."""
        self.keep(Count("a"), Count("b"))
        archive = Archive(self.store)
        asked = self.asked_definitions()
        (stat,) = self.now(archive.find([stat_id("b")]))
        self.assertEqual((stat.name, asked), ("b", [["b"]]))
        # So is one that another collector creates.
        self.keep(Count("c"))
        (stat,) = self.now(archive.find([stat_id("c")]))
        self.assertEqual(stat.name, "c")
        self.assertNotIn(None, asked)

    def test_unknown_ids_do_not_read_all_stats_again(self) -> None:
        """Requests for unknown ids share one read of all stats in a minute."""
        self.keep(Count("a"))
        archive = Archive(self.store)
        asked = self.asked_definitions()
        for number in range(5):
            self.fails(archive.find([f"x{number}", f"y{number}"]), Refusal)
        self.assertEqual(asked.count(None), 1)
        # Another collector creates a stat, and dies before it writes the row.
        self.keep(Count("b"))
        self.successResultOf(self.store.put_listed([], ["b"]))
        self.clock.advance(LOOKUP_SECONDS)
        (stat,) = self.now(archive.find([stat_id("b")]))
        self.assertEqual(stat.name, "b")
        self.assertEqual(asked.count(None), 2)

    def test_an_id_whose_row_is_written_meanwhile(self) -> None:
        """A stat is found whose row is written while rows are read for its id."""
        self.keep(Count("a"))
        self.fails(self.archive.find(["unknown"]), Refusal)
        read = self.store.listed_names
        held: Deferred[None] = Deferred()

        def slow(ids: Any) -> Any:
            found = read(ids)  # as it is now
            self.store.listed_names = read
            return held.addCallback(lambda _: found)

        self.store.listed_names = slow
        finding = Deferred.fromCoroutine(self.archive.find([stat_id("b")]))
        self.keep(Count("b"))
        held.callback(None)
        (stat,) = self.successResultOf(finding)
        self.assertEqual(stat.name, "b")

    def asked_definitions(self) -> list[Any]:
        """Note which definitions are read from the store, from now on."""
        asked: list[Any] = []
        definitions = self.store.definitions
        self.store.definitions = lambda names=None: (
            asked.append(names) or definitions(names)
        )
        return asked

    def test_waiting_points_are_limited(self) -> None:
        """More than so many may not wait; who waits no more makes room."""
        held: Deferred[Any] = Deferred()
        answers = [held]
        self.archive.batcher._write = lambda batches: (
            answers.pop() if answers else fail(StoreUnavailable("away"))
        )
        points = [Count("a")] * MAX_WAITING_POINTS
        waiting = self.archive.add(batch(*points))
        self.failureResultOf(self.archive.add(batch(Count("a"))), StoreBusy)
        held.errback(StoreUnavailable("away"))
        self.clock.pump([0.1] * 20)
        self.failureResultOf(waiting, StoreUnavailable)
        self.assertEqual(self.archive._writer.waiting_points, 0)

    def test_a_batch_that_exactly_fills_the_room(self) -> None:
        """A batch of either API that takes up exactly what is left is accepted."""
        self.archive = Archive(self.store, max_stats=3, max_new_stats=3)
        self.keep(Count("a"), Count("b"))
        classic = PostedBatch(
            "classic", "u", [("count", "c", 1, None)], False, None, b""
        )
        self.assertTrue(self.successResultOf(self.archive.add(classic)))
        self.assertIn("there are 3 stats", self.refused(Count("d")))
        held: list[Deferred[Any]] = []
        self.archive.batcher._write = lambda batches: (
            held.append(Deferred()) or held[-1]
        )
        self.archive.add(batch(*[Count("a")] * (MAX_WAITING_POINTS - 1)))
        last = self.archive.add(classic)
        self.assertNoResult(last)
        self.failureResultOf(self.archive.add(classic), StoreBusy)

    def test_waiting_batches_are_one_write(self) -> None:
        """What comes during a write is the next one, all of it."""
        self.keep(Count("a"))
        writes: list[tuple[int, Deferred[Any]]] = []

        def write(batches: Any) -> Deferred[Any]:
            writes.append((len(batches), Deferred()))
            return writes[-1][1]

        self.archive.batcher._write = write
        waiting = [self.archive.add(batch(Count("a"))) for _ in range(20)]
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
        write, held = self.archive.batcher._write, []
        self.archive.batcher._write = lambda requests: (
            held.append(Deferred()) or held[-1]
        )  # type: ignore[func-returns-value]
        first = self.archive.add(batch(Count("a", 1)))
        waiting = {
            "good": self.archive.add(batch(Count("a", 2), Count("new", 1))),
            "kind": self.archive.add(batch(Value("a", 2), Count("other", 1))),
            "more": self.archive.add(batch(Count("a", 4), Count("new", 1))),
            "named": self.archive.add(batch(Count("a", 8), id="x")),
            "again": self.archive.add(batch(Count("a", 8), id="x")),
            "full": self.archive.add(batch(Count("full", 1), Count("other", 1))),
            "odd": self.archive.add(batch(Value("new", 1))),
        }
        self.archive.batcher._write = write
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

    def test_what_the_store_repeats_counts_once(self) -> None:
        """A store's connection that adds a batch twice is told that it was there."""
        add = self.store.add
        self.store.add = lambda batches: add(batches).addCallback(
            lambda _: add(batches)
        )
        held: list[Deferred[Any]] = [Deferred()]
        write = self.archive.batcher._write
        self.archive.batcher._write = lambda requests: held[0]
        first = self.archive.add(batch(Count("a")))
        waiting = [self.archive.add(batch(Count("a", 2))) for _ in range(3)]
        self.archive.batcher._write = write
        held[0].errback(OSError())
        self.failureResultOf(first, OSError)
        for each in waiting:
            self.assertIs(self.successResultOf(each), True)
        self.keep(Count("a", 1))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 7)

    def test_what_was_cut_in_half_is_finished(self) -> None:
        """The same batches again for a few seconds; then it is given up."""
        seen: list[Any] = []
        add = self.store.add

        def away(batches: Any) -> Any:
            seen.append([one.id for one in batches])
            self.assertIs(type(batches[0].amounts()), Amounts)
            kind = StoreInterrupted if len(seen) == 1 else StoreUnavailable
            return fail(kind("away"))

        self.store.add = away
        kept = self.archive.add(batch(Count("a", 2)))
        steps = range(int(FINISH_SECONDS / 0.1))
        for _ in steps:
            if len(seen) >= 3:
                break
            self.assertNoResult(kept)
            self.clock.advance(0.1)
        self.assertEqual(len(seen), 3)
        self.store.add = add
        self.clock.advance(2)
        self.assertIs(self.successResultOf(kept), True)
        self.assertEqual(len({id for (id,) in seen}), 1)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 2)
        seen.clear()
        self.store.add = away
        kept = self.archive.add(batch(Count("a", 2)))
        for _ in steps:
            if not kept.called:
                self.clock.advance(0.1)
        self.failureResultOf(kept, StoreUnavailable)
        self.assertGreater(len(seen), 3)
        # What is not begun is not waited for.
        seen[:] = ["begun"]
        kept = self.archive.add(batch(Count("a", 2)))
        self.failureResultOf(kept, StoreUnavailable)

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

    def test_much_is_read_in_parts(self) -> None:
        """So that no answer, however large, holds up all else while it is made."""
        names = [f"s{number}" for number in range(9)]
        self.keep(*[Count(name, at) for at, name in enumerate(names)])
        stats = self.now(self.archive.stats())
        whole = self.now(self.archive.data(stats, "1d1h"))
        reads: list[int] = []
        read = self.store.read
        self.store.read = lambda keys: reads.append(len(keys)) or read(keys)
        archive = Archive(self.store, cells_at_once=100)
        self.assertEqual(self.now(archive.data(stats, "1d1h")), whole)
        self.assertEqual(reads, [96, 96, 24])
        self.assertEqual([one.whole for one in whole], [*range(9)])
        reads.clear()
        self.now(archive.data(stats[:2], "1d5m"))
        self.assertEqual(reads, [1440, 1440])

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

    def test_what_was_ahead_is_kept_as_long(self) -> None:
        """A point of a clock that is ahead is whole for as long from its time on."""
        hour = 3600
        for keep, window, fine, coarse in (
            (26 * hour, DAY, "1d5m", "2d1h"),
            (3 * hour, 2 * hour, "2h5m", "3h1h"),
        ):
            for ahead in (1, 90, 5 * hour, DAY - 400):
                self.setUp()
                self.archive = Archive(self.store, retention={"minute": keep})
                t = START + ahead
                self.keep(Count("a", 2, t), Count("a", 3, t - 60), Count("a", 1, t))
                self.clock.advance(t + window - 400 - self.clock.seconds())
                self.keep(Count("b"))  # with which what has expired is dropped
                for frame in (fine, coarse):
                    told = sum(value for _, value in self.points("a", frame))
                    self.assertEqual(told, 6, (keep, ahead, frame))
                self.clock.advance(keep + hour)
                self.keep(Count("b"))
                minute = datetime.fromtimestamp(t, UTC).isoformat()[:16] + "+0"
                cell = CellKey("a", "minute", minute, EVERYTHING)
                gone = self.successResultOf(self.store.read([cell]))
                self.assertEqual(gone, [None])

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

    @settings(max_examples=30, deadline=None)
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
            ("minutes are stored for 26 hours", "6d1m", 1),
            ("hours are stored for 35 days", "1y3h", 1),
            ("days are stored for 400 days", "10y1d", 1),
            ("at most 10,000", "1M1m", 1),
            ("must be a duration", "1w", 1),
            ("request at most 138 at once", "1d1m", 139),
        ):
            error = self.fails(self.archive.data([stat] * stats, frame), Refusal)
            self.assertEqual(error.status, 400)
            self.assertIn(words, error.msg)

    def test_too_much_detail(self) -> None:
        """Steps that would take too many cells each are refused with words too."""
        archive = Archive(self.store, retention={"minute": None})
        self.keep(Count("a"))
        stat = self.now(archive.stat("a"))
        error = self.fails(archive.data([stat], "1y61m"), Refusal)
        self.assertEqual(error.status, 400)
        self.assertIn("more than 100000 points", error.msg)

    def test_from_a_start(self) -> None:
        """What is not stored any more, or is still to come, cannot be the start."""
        self.keep(Count("a", 3, START - 7200))
        stat = self.now(self.archive.stat("a"))
        (series,) = self.now(self.archive.data([stat], "1h1m", start=START - 7200))
        self.assertEqual((len(series.buckets), series.whole), (60, 3))
        for words, start in (
            ("in the future", START + 60),
            ("minutes are stored for 26 hours", START - 2 * DAY),
        ):
            error = self.fails(self.archive.data([stat], "1h1m", start=start), Refusal)
            self.assertIn(words, error.msg)

    def test_all_time_of_the_future(self) -> None:
        """A stat of which all points are still to come has one step without data."""
        self.keep(Count("a", 3, START + 7200))
        frame = self.now(self.archive.all_time(self.stat("a")))
        self.assertEqual(str(frame), "1m1m")

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.integers(0, 12 * 366 * DAY), min_size=1, max_size=6),
        st.sampled_from(
            [{}, {"minute": None}, {"minute": 9.0 * DAY, "hour": None}, {"day": None}]
        ),
    )
    @example([0], {})
    @example([9999 * 60], {"minute": None})
    @example([10_000 * 60], {"minute": None})
    def test_all_time(self, ages: list[int], retention: dict[str, Any]) -> None:
        """
        For all time: every point is in it, from the first step to the last, in at most
        10,000 steps; and no finer interval could be had.
        """
        self.setUp()
        archive = Archive(self.store, retention=retention)
        now = int(NOW)
        points = [Count("a", 1, now - age) for age in ages]
        self.successResultOf(archive.add(batch(*points)))
        stat = self.now(archive.stat("a"))
        frame = self.now(archive.all_time(stat))
        (series,) = self.now(archive.data([stat], frame))
        self.assertEqual(sum(each.count for each in series.buckets), len(ages))
        self.assertLessEqual(len(series.buckets), MAX_BUCKETS)
        self.assertTrue(series.buckets[0].count)
        for finer in INTERVALS[: INTERVALS.index(frame.interval)]:
            first = finer.bucket(now - max(ages))
            steps = finer.bucket(now) - first + 1
            wanted = Timeframe(Span(steps * finer.number, finer.unit), finer)
            self.fails(archive.data([stat], wanted), Refusal)

    @settings(max_examples=40, deadline=None)
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


class HealthTests(ArchiveCase):
    """
    Whether the store can be written.
    """

    def break_writes(self) -> None:
        error = StoreUnavailable("SQLite: database or disk is full")
        self.works = self.store.add, self.store.put_record
        self.store.add = self.store.put_record = lambda *args, **more: fail(error)

    def repair(self) -> None:
        self.store.add, self.store.put_record = self.works

    def test_probe(self) -> None:
        """A check writes; many checks share a write; it finds that writes fail."""
        writes: list[Any] = []
        put = self.store.put_record
        self.store.put_record = lambda *args, **more: (
            writes.append(args) or put(*args, **more)
        )
        for _ in range(5):
            self.now(self.archive.health.check())
        self.assertEqual(len(writes), 1)
        self.break_writes()
        self.clock.advance(PROBE_SECONDS)
        with logged() as log:
            for _ in range(5):
                error = self.fails(self.archive.health.check(), StoreUnavailable)
        self.assertIn("disk is full", str(error))
        self.assertEqual(
            log.at_level("warn"),
            ["the store cannot be written: SQLite: database or disk is full"],
        )
        self.repair()
        with logged() as log:
            self.clock.advance(FAILURE_SECONDS)
            self.now(self.archive.health.check())
        self.assertEqual(log.at_level("warn"), ["the store can be written again"])

    def test_failed_points(self) -> None:
        """A failed write of points counts for a while, though a probe succeeds."""
        self.now(self.archive.health.check())
        self.break_writes()
        failed = self.archive.add(batch(Count("a")))
        self.failureResultOf(failed, StoreUnavailable)
        self.repair()
        self.fails(self.archive.health.check(), StoreUnavailable)
        self.clock.advance(PROBE_SECONDS)
        self.fails(self.archive.health.check(), StoreUnavailable)
        self.clock.advance(FAILURE_SECONDS - PROBE_SECONDS)
        self.now(self.archive.health.check())
        # Written points count at once.
        self.break_writes()
        self.failureResultOf(self.archive.add(batch(Count("a"))), StoreUnavailable)
        self.repair()
        self.keep(Count("a"))
        self.now(self.archive.health.check())


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
        self.clock.advance(TRASH_SECONDS + 1)
        self.assertEqual(self.now(self.archive.empty_trash()), 0)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 5)
        self.assertEqual(self.successResultOf(self.store.records("trash")), {})

    def test_restore(self) -> None:
        """It can be taken back for 48 hours."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.clock.advance(TRASH_SECONDS - 1)
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
        self.assertIn("'b' is a counter", self.refused(Value("b", 1)))
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 2)
        self.clock.advance(TRASH_SECONDS)
        self.assertEqual(self.now(self.archive.empty_trash()), 0)

    def test_forgotten(self) -> None:
        """After 48 hours it is gone, and its name can become another kind of stat."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.assertIn(
            "was a count stat; it is deleted, and in the trash until 2014-05-15 16:53",
            self.refused(Value("a", 1)),
        )
        self.clock.advance(TRASH_SECONDS)
        self.assertEqual(self.now(self.archive.empty_trash()), 1)
        self.fails(self.archive.restore("a"), Refusal)
        self.keep(Value("a", 1))
        self.assertEqual(self.now(self.archive.totals())["a"], Total("value", 1, 1))

    def test_a_point_that_comes_while_it_is_emptied(self) -> None:
        """It was acknowledged, so its stat stays, whole."""
        self.keep(Count("a", 2))
        self.delete("a")
        self.clock.advance(TRASH_SECONDS + 1)
        drop = self.store.drop

        def late(*args: Any) -> Any:
            self.keep(Count("a", 3))
            return drop(*args)

        self.store.drop = late
        self.assertEqual(self.now(self.archive.empty_trash()), 0)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 5)
        self.assertEqual(self.successResultOf(self.store.records("trash")), {})


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
        self.assertTrue((yield archive.add(first)))
        self.assertFalse((yield other.add(first)))
        try:
            yield other.add(batch(Count("a", 3), id="x"))
            self.fail("no conflict")
        except Refusal as refusal:
            self.assertEqual(refusal.status, 409)
        try:
            yield other.add(batch(Count("new"), Value("a", 1)))
            self.fail("no refusal")
        except Refusal as refusal:
            self.assertIn("'a' is a counter", refusal.msg)
        stats = yield Deferred.fromCoroutine(other.stats())
        self.assertEqual([stat.name for stat in stats], ["a", "b/é"])
        series = yield Deferred.fromCoroutine(other.data(stats, "2h1m"))
        self.assertEqual(sum(value for _, value in series[0].points), 2)
        self.assertEqual([value for _, value in series[1].points], [0.5])
        yield Deferred.fromCoroutine(archive.delete(stats[0].id))
        self.assertIsNone((yield Deferred.fromCoroutine(other.stat("a"))))
        yield other.add(batch(Count("a", 1)))
        totals = yield Deferred.fromCoroutine(archive.totals())
        self.assertEqual(totals["a"], Total("count", 2, 3))


class MemoryTests(OnStores, TestCase):
    """In memory."""

    host = MemoryHost


class SqliteTests(OnStores, TestCase):
    """On SQLite."""

    host = SqliteHost

    @inlineCallbacks
    def test_large_requests_are_not_merged(self) -> Any:
        """
        Requests with more distinct stats than one write may have are several writes;
        those with the same stats are one.
        """
        archive = Archive((yield self.host(self).open()))
        sizes: list[int] = []
        add = archive.store.add

        def noted(batches: Any) -> Any:
            found = [one for each in batches for one in each.amounts().increments]
            # Besides, each stat has a sum of its receipts.
            sizes.append(sum(len(one.cells) for one in found if len(one.buckets) > 1))
            return add(batches)

        archive.store.add = noted
        few = MAX_SUMS * 2 // 5
        minutes = [
            [Count(f"s{n}", 1, START - 60 * minute) for n in range(few)]
            for minute in range(3)
        ]
        yield archive.add(batch(*minutes[0]))
        for requests in ([0, 1, 2, 0], [2, 2, 2, 2, 2]):
            yield gatherResults(
                [archive.add(batch(Count("s0", 0)))]
                + [archive.add(batch(*minutes[minute])) for minute in requests]
            )
        self.assertLessEqual(max(sizes), MAX_SUMS)
        # The second time they come in a callback of the first, so they are one write.
        self.assertEqual(sizes, [few, 1, 2 * few, 2 * few, few + 1])
        totals = yield Deferred.fromCoroutine(archive.totals())
        self.assertEqual(totals["s1"].sum, 10)

    @inlineCallbacks
    def test_requests_are_merged_in_the_stores_thread(self) -> Any:
        """What requests add together is not worked out where the reactor runs."""
        store = yield self.host(self).open()
        threads: list[int] = []

        def noted(several: Any) -> BatchDelta:
            threads.append(get_ident())
            return BatchDelta.merge(several)

        deltas = [
            BatchDelta(batch(Count("a"), Count(f"s{n}")).points, NOW) for n in range(9)
        ]
        requests = [PendingWrite(delta, None, "") for delta in deltas]
        yield Deferred.fromCoroutine(
            write_requests(store, requests, RETENTION, store.clock, merge=noted)
        )
        self.assertEqual(len(threads), 1)
        self.assertNotEqual(threads[0], get_ident())
        totals = yield Deferred.fromCoroutine(Archive(store).totals())
        self.assertEqual(totals["a"].sum, 9)


class RedisTests(OnStores, TestCase):
    """On Redis."""

    host = RedisHost

    @inlineCallbacks
    def test_many_stats_at_once(self) -> Any:
        """
        Ten senders with thousands of new stats each, all at once, are answered within
        the collector's time limit for Redis; and repeated, nothing is added twice.
        """
        store = yield open_store(limit_redis(self.host(self).url()))
        self.addCleanup(store.close)
        archive = Archive(store)
        each = MAX_SUMS // 4
        requests = [
            batch(*(Count(f"{k}/{n}", 3) for n in range(each)), id=f"x{k}", key=f"k{k}")
            for k in range(10)
        ]
        yield gatherResults([archive.add(request) for request in requests])
        added = yield gatherResults([archive.add(request) for request in requests])
        self.assertEqual(added, [False] * 10)
        totals = yield Deferred.fromCoroutine(archive.totals())
        self.assertEqual(len(totals), 10 * each)
        self.assertEqual({total.sum for total in totals.values()}, {3})


class ClusterTests(OnStores, TestCase):
    """On a Redis Cluster."""

    host = ClusterHost

    @inlineCallbacks
    def test_a_commit_cut_in_half(self) -> Any:
        """It is completed, and each part counts once, also without an id."""
        store: Any = yield self.host(self).open()
        ticking = LoopingCall(store.clock.advance, 0.1)
        ticking.start(0.01)
        self.addCleanup(ticking.stop)
        cluster = shared(RedisCluster)
        names = [f"stat {n}" for n in range(20)]
        archive = Archive(store)
        # The definitions are there already, since a write fails whole without them.
        for name in names:
            yield Deferred.fromCoroutine(archive.create(name, "count"))
        full = cluster.servers[0]
        full.command("CONFIG", "SET", "maxmemory", "1")
        self.addCleanup(full.command, "CONFIG", "SET", "maxmemory", "0")
        added = archive.add(batch(*(Count(name, 5) for name in names)))
        yield deferLater(reactor, 0.3)
        self.assertNoResult(added)
        partly = yield store.read([total_key(name) for name in names])
        self.assertIn(None, partly)
        self.assertNotEqual(set(partly), {None})
        full.command("CONFIG", "SET", "maxmemory", "0")
        self.assertIs((yield added), True)
        totals = yield store.read([total_key(name) for name in names])
        self.assertEqual({total.sum for total in totals}, {5})
        now = int(store.clock.seconds())
        for name in names:
            cells = yield store.read(
                [
                    received_key(name),
                    *Plan(Timeframe.parse("1h1h"), now, RETENTION).keys(name),
                    *Plan(Timeframe.parse("1d1d"), now, RETENTION).keys(name),
                    *Plan(Timeframe.parse("1y1y"), now, RETENTION).keys(name),
                ]
            )
            self.assertEqual([cell.count for cell in cells], [1] * 4)
