"""
Renaming stats, and deleting them for good.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.trial.unittest import TestCase

from tests.fixtures.archives import DAY, START, ArchiveCase, batch
from tests.fixtures.stores import (
    ClusterHost,
    MemoryHost,
    RedisHost,
    SqliteHost,
)
from tests.fixtures.support import logged, reactor
from txstathat import Count, InvalidPoint, Value
from txstathat.collector.alerts.model import parse_alert
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.comments import Comment
from txstathat.collector.archive.records.renames import Renaming
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.archive.stats import Total, stat_id
from txstathat.collector.boards.model import Board, Comparison, Tile
from txstathat.collector.errors import Refusal
from txstathat.collector.service import build_collector
from txstathat.collector.transfer.dump_format import dump_lines
from txstathat.errors import StoreUnavailable
from txstathat.stores.dump import open_dump
from txstathat.stores.sqlite.file.backup import backup_store

FRAMES = ("1h1m", "1d5m", "1w3h", "1M1h", "1y1d", "3y1M")


class RenameTests(ArchiveCase):
    """
    In a store in memory.
    """

    def rename(self, name: str, new: str) -> Any:
        """Rename a stat."""
        return self.now(self.archive.rename(stat_id(name), new))

    def refusal(self, name: str, new: str) -> Refusal:
        """Why a stat cannot be renamed."""
        refused: Refusal = self.fails(self.archive.rename(stat_id(name), new), Refusal)
        return refused

    def test_history(self) -> None:
        """The points at every zoom, the total and the dates stay."""
        times = [0, 70, 3700, 90_000, 20 * DAY, 300 * DAY, 700 * DAY]
        for n, ago in enumerate(times):
            self.keep(Count("a", n + 1, START - ago), Value("v", 0.1, START - ago))
        self.clock.advance(100)
        for name in ("a", "v"):
            before = [self.points(name, frame) for frame in FRAMES]
            total, stat = self.now(self.archive.totals())[name], self.stat(name)
            new = self.rename(name, f"new {name}")
            self.assertEqual(
                (new.created_at, new.received_at, new.receipts, new.kind),
                (stat.created_at, stat.received_at, stat.receipts, stat.kind),
            )
            self.assertIsNone(self.now(self.archive.stat(name)))
            self.fails(self.archive.find([stat.id]), Refusal)
            self.assertEqual([self.points(new.name, frame) for frame in FRAMES], before)
            self.assertEqual(self.now(self.archive.totals())[new.name], total)
        names = [stat.name for stat in self.now(Archive(self.store).stats())]
        self.assertEqual(names, ["new a", "new v"])

    def test_nothing_is_forwarded(self) -> None:
        """A point under the old name makes a new stat, also of the other kind."""
        self.keep(Count("a", 2))
        self.rename("a", "b")
        self.keep(Value("a", 7), Count("b", 1))
        self.assertEqual(
            self.now(self.archive.totals()),
            {"a": Total("value", 1, 7), "b": Total("count", 2, 3)},
        )

    def test_records_follow(self) -> None:
        """Comments, unit, description, pin and stat keys follow."""
        parts = build_collector(self.store)
        self.keep(Count("a"), Count("other"))
        stat, other = self.stat("a"), self.stat("other")
        self.now(parts.archive.comment(stat, "released"))
        self.now(parts.archive.comment(other, "stays"))
        self.now(parts.archive.details.change(stat, unit="ms", pinned=True))
        key = self.now(parts.keys.add("stat", "stat a", "a"))
        new = self.now(parts.archive.rename(stat.id, "b"))
        comments = self.now(parts.archive.comments([new, other]))
        now = int(self.clock.seconds())
        self.assertEqual(
            comments,
            {"b": [Comment(now, "released")], "other": [Comment(now, "stays")]},
        )
        details = self.now(parts.archive.details.all())
        self.assertEqual(list(details), [new.id])
        self.assertEqual((details[new.id].unit, details[new.id].pinned), ("ms", True))
        self.assertEqual(parts.keys.stat(key), "b")

    def test_what_names_it(self) -> None:
        """Alerts, boards, comparisons and shared links follow, and go with the stat."""
        parts = build_collector(self.store)
        self.keep(Count("a"), Count("other"))
        fields = {"kind": "data", "time_window": "1h"}
        for name in ("a", "other"):
            alert = parse_alert(fields, self.stat(name), self.archive.retention, str)
            self.now(parts.alerts.create(alert))
            self.now(parts.shares.create("stat", name))
            tile = Tile(name, "number", (name,))
            self.now(parts.boards.boards.create(Board(f"board {name}", (tile,))))
        both = Comparison("both", ("a", "other"), "1w3h")
        self.now(parts.boards.comparisons.create(both))
        self.now(parts.boards.comparisons.create(Comparison("alone", ("a",), "1w3h")))

        def named() -> list[list[str]]:
            alerts = self.now(parts.alerts.all()).values()
            boards = self.now(parts.boards.boards.all()).values()
            comparisons = self.now(parts.boards.comparisons.all()).values()
            shares = self.now(parts.shares.all()).values()
            return [
                sorted(record.alert.stat_name for record in alerts),
                sorted(record.alert.stat_id for record in alerts),
                [name for board in boards for name in board.stats],
                [name for each in comparisons for name in each.stats],
                sorted(share.target for share in shares),
            ]

        self.now(parts.archive.rename(stat_id("a"), "new"))
        ids = sorted(map(stat_id, ("new", "other")))
        every = ["new", "other"]
        self.assertEqual(named(), [every, ids, every, ["new", *every], every])
        self.now(parts.archive.delete(stat_id("new")))
        self.now(parts.archive.purge(stat_id("new")))
        one = ["other"]
        self.assertEqual(named(), [one, [stat_id("other")], one, one, one])

    def test_refused(self) -> None:
        """A name in use, in the trash, of a Metrica, or not valid; an unknown stat."""
        self.keep(Count("a", 1), Count("b", 2), Count("gone", 3))
        self.now(self.archive.delete(stat_id("gone")))
        for new, words in (
            ("b", "there is a stat 'b' already"),
            ("a", "is named 'a' already"),
            ("gone", "'gone' is in the trash; restore it, or delete it for good"),
        ):
            refusal = self.refusal("a", new)
            self.assertEqual(refusal.status, 409)
            self.assertIn(words, refusal.msg)
        self.assertEqual(self.refusal("nothing", "c").status, 404)
        self.assertEqual(self.refusal("gone", "c").status, 404)
        for new in ("", "x" * 256, "a\nb"):
            self.fails(self.archive.rename(stat_id("a"), new), InvalidPoint)
        self.assertEqual(
            {
                name: total.sum
                for name, total in self.now(self.archive.totals()).items()
            },
            {"a": 1, "b": 2},
        )
        self.assertEqual(self.successResultOf(self.store.records("renaming")), {})

    def test_made_meanwhile(self) -> None:
        """A point that makes a stat of the new name at the last moment wins."""
        self.keep(Count("a", 1))
        rename = self.store.rename

        def late(*args: str) -> Any:
            self.clock.advance(1)
            self.keep(Count("b", 5))
            return rename(*args)

        self.store.rename = late
        self.now(self.archive.details.change(self.stat("a"), unit="ms"))
        self.assertEqual(self.refusal("a", "b").status, 409)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 1)
        self.assertEqual(self.now(self.archive.totals())["b"].sum, 5)
        self.assertEqual(self.now(self.archive.details.read(self.stat("a"))).unit, "ms")
        self.assertEqual(self.successResultOf(self.store.records("renaming")), {})

    def test_died(self) -> None:
        """Whenever the collector dies, another one completes what it began."""
        for method in ("rename", "read", "record", "put_record"):
            for allowed in range(1, 7):
                with self.subTest(method=method, allowed=allowed):
                    self.setUp()
                    self.keep(Count("a", 2))
                    self.now(self.archive.details.change(self.stat("a"), unit="ms"))
                    self.now(self.archive.comment(self.stat("a"), "x"))
                    self.die_in(method, allowed)
                    dying: Deferred[Any] = Deferred.fromCoroutine(
                        self.archive.rename(stat_id("a"), "b")
                    )
                    dying.addErrback(lambda failure: failure.trap(StoreUnavailable))
                    self.successResultOf(dying)
                    setattr(self.store, method, self.whole)
                    begun = bool(self.successResultOf(self.store.records("renaming")))
                    other = Archive(self.store)
                    self.now(other.complete_renames())
                    self.now(other.complete_renames())
                    (stat,) = self.now(other.stats())
                    # It was renamed whole, or not at all.
                    self.assertIn(stat.name, ("a", "b"))
                    if begun:
                        self.assertEqual(stat.name, "b")
                    self.assertEqual(self.now(other.totals())[stat.name].sum, 2)
                    self.assertEqual(self.now(other.details.read(stat)).unit, "ms")
                    self.assertEqual(
                        len(self.now(other.comments([stat]))[stat.name]), 1
                    )
                    for kind in ("comment", "details"):
                        records = self.successResultOf(self.store.records(kind))
                        self.assertEqual(list(records), [stat.id])
                    self.assertEqual(
                        self.successResultOf(self.store.records("renaming")), {}
                    )

    def die_in(self, method: str, allowed: int) -> None:
        """Let a method of the store fail, after some calls."""
        self.whole = getattr(self.store, method)
        calls = []

        def call(*args: Any, **more: Any) -> Any:
            calls.append(args)
            if len(calls) >= allowed:
                return fail(StoreUnavailable("died"))
            return self.whole(*args, **more)

        setattr(self.store, method, call)

    def test_the_name_of_an_interrupted_renaming(self) -> None:
        """A stat is renamed by one call at a time."""
        self.keep(Count("a"))
        text = json.dumps({"name": "a", "new": "b", "created": 1})
        self.successResultOf(self.store.put_record("renaming", stat_id("a"), text))
        self.assertEqual(Renaming(**json.loads(text)).new, "b")
        self.assertIn("just being renamed", self.refusal("a", "c").msg)
        # The store has no stat of that time under either name.
        self.keep(Count("b"))
        self.now(self.archive.complete_renames())
        self.assertEqual(self.rename("a", "c").name, "c")


class PurgeTests(ArchiveCase):
    """
    Deleting for good, in a store in memory.
    """

    def test_trash(self) -> None:
        """The trash lists what can be restored, and no stat that a point restored."""
        self.keep(Count("b"), Count("a"), Count("c"))
        for name in "abc":
            self.now(self.archive.delete(stat_id(name)))
        self.keep(Count("b"))
        found = self.now(self.archive.trash())
        self.assertEqual([each.name for each in found], ["a", "c"])
        self.assertEqual(found[0].until, int(self.clock.seconds()) + TRASH_SECONDS)
        self.assertEqual(self.now(self.archive.restore_id(found[0].id)).name, "a")
        for name in ("a", "b", "nothing"):
            refusal = self.fails(self.archive.restore_id(stat_id(name)), Refusal)
            self.assertEqual(refusal.status, 404)
        self.assertEqual([each.name for each in self.now(self.archive.trash())], ["c"])

    def test_the_wrong_kind(self) -> None:
        """A name that was counted as the wrong kind is free at once."""
        self.keep(Count("latency"))
        self.now(self.archive.delete(stat_id("latency")))
        self.assertIn(
            "as soon as it is deleted for good", self.refused(Value("latency", 1))
        )
        self.assertEqual(self.now(self.archive.purge(stat_id("latency"))), "latency")
        self.keep(Value("latency", 1))
        self.assertEqual(self.stat("latency").kind, "value")
        self.assertEqual(self.now(self.archive.totals())["latency"].sum, 1)

    def test_refused(self) -> None:
        """Only what is in the trash is deleted for good, and no point is lost."""
        self.keep(Count("a", 2))
        id = stat_id("a")
        self.assertEqual(self.fails(self.archive.purge(id), Refusal).status, 404)
        self.now(self.archive.delete(id))
        self.keep(Count("a", 3))
        self.assertEqual(self.fails(self.archive.purge(id), Refusal).status, 409)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 5)
        self.now(self.archive.delete(id))
        drop = self.store.drop

        def late(*args: Any) -> Any:
            self.keep(Count("a", 4))
            return drop(*args)

        self.store.drop = late
        self.assertEqual(self.fails(self.archive.purge(id), Refusal).status, 409)
        self.assertEqual(self.now(self.archive.totals())["a"].sum, 9)

    def test_all_of_it_goes(self) -> None:
        """Its records and stat keys go too, and others stay."""
        parts = build_collector(self.store)
        self.keep(Count("a"), Count("b"))
        for name in "ab":
            self.now(parts.archive.comment(self.stat(name), f"on {name}"))
            self.now(parts.archive.details.change(self.stat(name), unit=name))
        keys = [self.now(parts.keys.add("stat", f"stat {n}", n)) for n in "ab"]
        self.now(parts.archive.delete(stat_id("a")))
        self.now(parts.archive.purge(stat_id("a")))
        for kind in ("comment", "details"):
            records = self.successResultOf(self.store.records(kind))
            self.assertEqual(list(records), [stat_id("b")])
        self.assertEqual([parts.keys.stat(key) for key in keys], [None, "b"])
        self.assertEqual(self.successResultOf(self.store.records("trash")), {})

    def test_the_log_is_in_use(self) -> None:
        """What could not be overwritten is said, and is overwritten later."""
        self.keep(Count("a"))
        self.now(self.archive.delete(stat_id("a")))
        erase = self.store.erase_deleted
        self.store.erase_deleted = lambda: fail(StoreUnavailable("somebody reads"))
        with logged() as lines:
            self.now(self.archive.purge(stat_id("a")))
        self.assertIn("will be overwritten later: somebody reads", lines.text)
        calls = []

        def again() -> Any:
            calls.append(1)
            return erase()

        self.store.erase_deleted = again
        self.now(self.archive.empty_trash())
        self.now(self.archive.empty_trash())
        self.assertEqual(len(calls), 1)


class OnStores:
    """
    The same on every store.
    """

    host: Any

    @inlineCallbacks
    def test_rename_and_purge(self: Any) -> Any:
        """A stat is renamed with its points, and then deleted for good."""
        store = yield self.host(self).open()
        archive = Archive(store)
        now = int(store.clock.seconds())
        yield archive.add(batch(Count("a", 2, now - 4000), Count("a", 3, now)))
        (stat,) = yield Deferred.fromCoroutine(archive.stats())
        before = yield Deferred.fromCoroutine(archive.data([stat], "1d5m"))
        new = yield Deferred.fromCoroutine(archive.rename(stat.id, "new"))
        after = yield Deferred.fromCoroutine(archive.data([new], "1d5m"))
        self.assertEqual(after[0].points, before[0].points)
        self.assertEqual(sum(value for _, value in after[0].points), 5)
        yield archive.add(batch(Count("new", 4)))
        totals = yield Deferred.fromCoroutine(archive.totals())
        self.assertEqual(totals, {"new": Total("count", 3, 9)})
        yield Deferred.fromCoroutine(archive.delete(new.id))
        yield Deferred.fromCoroutine(archive.purge(new.id))
        yield archive.add(batch(Value("new", 1), Value("a", 1)))
        totals = yield Deferred.fromCoroutine(archive.totals())
        self.assertEqual(totals, {name: Total("value", 1, 1) for name in ("a", "new")})


class AmongOthers(OnStores):
    """
    On a store that other collectors use, too.
    """

    @inlineCallbacks
    def test_rename_while_points_arrive(self: Any) -> Any:
        """Of the points that another collector stores meanwhile, each counts once."""
        host = self.host(self)
        mine, others = (yield host.open()), (yield host.open())
        archive, other = Archive(mine), Archive(others, timers=reactor)
        now = int(mine.clock.seconds())
        yield other.add(batch(Count("a", 1, now)))
        renamed = Deferred.fromCoroutine(archive.rename(stat_id("a"), "b"))
        added = 1
        # The clock of the test stands still.
        while added < 40 or not renamed.called:
            yield other.add(batch(Count("a", 1, now - added % 7 * 3600)))
            added += 1
        yield renamed
        totals = yield Deferred.fromCoroutine(Archive(mine).totals())
        self.assertEqual(sum(total.sum for total in totals.values()), added)
        stats = yield Deferred.fromCoroutine(Archive(mine).stats())
        series = yield Deferred.fromCoroutine(archive.data(stats, "1w1h", now))
        drawn = sum(value for one in series for _, value in one.points)
        self.assertEqual(drawn, added)


class MemoryTests(OnStores, TestCase):
    """In memory."""

    host = MemoryHost


class RedisTests(AmongOthers, TestCase):
    """On Redis."""

    host = RedisHost


class ClusterTests(AmongOthers, TestCase):
    """On a Redis Cluster."""

    host = ClusterHost


class SqliteTests(AmongOthers, TestCase):
    """On SQLite."""

    host = SqliteHost

    @inlineCallbacks
    def test_nothing_is_left_in_the_file(self) -> Any:
        """
        Neither the file, a copy nor an export has the name of a stat that is deleted
        for good, or the texts about it, though many stats came before and after it.
        """
        here = self.host(self)
        store = yield here.open()
        parts = build_collector(store)
        archive = parts.archive
        names = [f"stat-{n * 7919 % 1000:04}" for n in range(300)]
        gone = names[3:300:30]
        for start in range(0, len(names), 20):
            yield archive.add(batch(*(Count(n) for n in names[start : start + 20])))
        for name in names[::3]:
            stat = yield Deferred.fromCoroutine(archive.stat(name))
            yield Deferred.fromCoroutine(archive.comment(stat, f"comment on {name}"))
            yield Deferred.fromCoroutine(
                archive.details.change(stat, description=f"what {name} is")
            )
        yield Deferred.fromCoroutine(archive.rename(stat_id(names[4]), "a better name"))
        for name in gone:
            yield Deferred.fromCoroutine(parts.keys.add("stat", f"key of {name}", name))
            yield Deferred.fromCoroutine(archive.delete(stat_id(name)))
            yield Deferred.fromCoroutine(archive.purge(stat_id(name)))
        copy = self.mktemp()
        yield backup_store(here.url(), copy)
        stored = b"".join(Path(here.path + end).read_bytes() for end in ("", "-wal"))
        with open_dump(here.url()) as dump:
            exported = "".join(dump_lines(dump)).encode()
        for data in (stored, Path(copy).read_bytes(), exported):
            self.assertIn(b"a better name", data)
            self.assertEqual([n for n in [*gone, names[4]] if n.encode() in data], [])
            self.assertEqual([n for n in gone if stat_id(n).encode() in data], [])
            others = [n for n in names if n not in gone and n != names[4]]
            self.assertEqual([n for n in others if n.encode() not in data], [])
