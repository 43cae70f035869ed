"""
Stores and exports that earlier versions of this package wrote.

The files in ``tests/fixtures/schemas`` have what each of them contained, as the version
that wrote them read it. Those of SQLite are what ``sqlite3.Connection.iterdump`` gives,
after the two pragmas; a new version of the schema needs one more. Those of Redis have
the keys of a store, each with its time to live; bytes that are not UTF-8 are lone
surrogates.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis import Redis
from redis import RedisCluster as ClusterClient
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.store_contract import ADDED, batch
from tests.fixtures.stores import RedisCluster, RedisServer, shared
from txstathat.collector.transfer import check_dump, load_dump
from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores import (
    Amounts,
    Increment,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
    WriteResult,
    open_store,
)
from txstathat.stores.interface import Dump
from txstathat.stores.listing import ListedRow, ListQuery
from txstathat.stores.redis.dump import RedisDump
from txstathat.stores.redis.keys import KeyNames
from txstathat.stores.redis.migration import MIGRATIONS as REDIS_MIGRATIONS
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.sqlite.dump import open_sqlite_dump
from txstathat.stores.sqlite.schema import MIGRATIONS, migrate
from txstathat.stores.store import Inline, Store
from txstathat.stores.sums import event

FOLDER = ROOT / "tests" / "fixtures" / "schemas"
#: When the stores of SQLite were written, in Unix seconds.
WRITTEN = 1_764_414_960.0


def contents(dump: Dump) -> dict[str, Any]:
    """The contents of a store, as the files have them."""
    return {
        "cells": sorted(
            [*cell[:4], cell.expires is not None, list(cell.sums)]
            for cell in dump.cells()
        ),
        "definitions": dump.definitions(None),
        "records": {
            kind: dump.records(kind) for kind in ("comment", "comments", "retention")
        },
    }


def large_batch(name: str, amount: float, id: str = "") -> WriteBatch:
    """A batch that adds to an hour."""
    bucket = TimeBucket("hour", "2035-01-01T00", 1e9)
    cells = {name: {"": event(amount)}}
    amounts = Amounts({name: "d"}, [Increment([bucket], cells)])
    return WriteBatch(id or name, "", lambda: amounts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class RedisSchemas(TestCase):
    """Stores on Redis and on a cluster."""

    def load(self, name: str) -> tuple[str, Any, dict[str, Any]]:
        """
        Write a stored schema to a server.

        :returns: the URL of the store, a client, and what the store contains.
        """
        text = (FOLDER / f"{name}.json").read_text("utf-8")
        self.prefix = uuid4().hex
        stored = json.loads(text.replace('"txstathat:', f'"{self.prefix}:'))
        if "cluster" in name:
            port = shared(RedisCluster).servers[0].port
            url = f"redis+cluster://127.0.0.1:{port}/0?prefix={self.prefix}"
            client: Any = ClusterClient(host="127.0.0.1", port=port)
        else:
            port = shared(RedisServer).port
            url = f"redis://127.0.0.1:{port}/0?prefix={self.prefix}"
            client = Redis(port=port)
        self.addCleanup(client.close)
        self.write(client, stored["keys"])
        return url, client, stored

    def write(self, client: Any, keys: dict[str, Any]) -> None:
        """Write keys with their times to live."""
        for key, (ttl, value) in keys.items():
            if isinstance(value, str):
                client.set(key, _bytes(value))
            elif isinstance(value, list):
                client.sadd(key, *map(_bytes, value))
            elif "list" in value:
                client.rpush(key, *map(_bytes, value["list"]))
            elif "zset" in value:
                client.zadd(key, {_bytes(one): 0 for one in value["zset"]})
            else:
                pairs = {_bytes(name): _bytes(one) for name, one in value.items()}
                client.hset(key, mapping=pairs)
            if ttl is not None:
                client.expire(key, ttl)

    def check(self, url: str, stored: dict[str, Any]) -> None:
        """Compare the contents of the store."""
        expected = dict(stored["expected"])
        expected.pop("choices")
        with closing(RedisDump(url, time.time)) as dump:
            dump.open()
            self.assertEqual(contents(dump), expected)

    @inlineCallbacks
    def migrate(self, name: str) -> Any:
        """Open a store of an older version, and check everything in it."""
        url, client, stored = self.load(name)
        store = yield open_store(url)
        self.addCleanup(store.close)
        self.check(url, stored)
        for metrica, group, choices in stored["expected"]["choices"]:
            self.assertEqual((yield store.choices(metrica, group)), choices)
        # The ids of batches are still known.
        for digest, outcome in (
            ("one", WriteOutcome.REPEATED),
            ("two", WriteOutcome.CONFLICT),
        ):
            (answer,) = yield store.add([batch("plain", {"k": 1}, digest=digest)])
            self.assertEqual(answer.outcome, outcome)
        self.check(url, stored)
        self.assertEqual(list(client.scan_iter(match=f"{self.prefix}:{{??}}:*")), [])
        self.assertEqual(client.get(f"{self.prefix}:{{names}}:version"), b"3")
        # All of it goes with its name.
        yield store.drop("odd ] name")
        self.assertEqual(list(client.scan_iter(match=f"{self.prefix}:*odd*")), [])
        return url, client, stored

    def test_redis_1(self) -> Any:
        """A store of version 1 on one server is migrated when it is opened."""
        return self.migrate("redis-1")

    def test_redis_cluster_1(self) -> Any:
        """A store of version 1 on a cluster is migrated when it is opened."""
        return self.migrate("redis-cluster-1")

    def test_redis_2(self) -> Any:
        """A store of version 2 on one server is migrated when it is opened."""
        return self.migrate("redis-2")

    def test_redis_cluster_2(self) -> Any:
        """A store of version 2 on a cluster is migrated when it is opened."""
        return self.migrate("redis-cluster-2")

    def test_redis_3(self) -> Any:
        """A store of version 3 on one server has what waits in its journal, too."""
        return self.migrate("redis-3")

    @inlineCallbacks
    def test_large_sums(self) -> Any:
        """
        A sum near the limit that version 2 wrote refuses what is too much, with a
        journal too; small ones of the same store do not slow down anything.
        """
        url, client, _ = self.load("redis-2")
        large = {"whole": 2**63 - 9, "real": 1.7e308, "hour": 5 - 2**63}
        more = {"whole": 9, "real": 1e307, "hour": -9}
        store = yield open_store(url)
        yield store.add([large_batch(name, one) for name, one in large.items()])
        yield store.close()
        keys = KeyNames(self.prefix)
        client.delete(keys.journal()[2])
        client.set(keys.version, 2)
        store = yield open_store(url)
        self.addCleanup(store.close)
        answers = yield store.add([large_batch(f"{n}", 1) for n in range(2)])
        self.assertEqual(answers, [ADDED] * 2)
        answers = yield store.add(
            [large_batch(name, one, id=f"more {name}") for name, one in more.items()]
        )
        self.assertEqual(
            answers, [WriteResult(WriteOutcome.OVERFLOW, name) for name in more]
        )
        names = client.smembers(keys.journal()[2])
        self.assertEqual(names, {name.encode() for name in more})

    def test_all(self) -> None:
        """Each version of the layout has a file."""
        found = {int(path.stem[6:]) for path in FOLDER.glob("redis-[0-9]*.json")}
        self.assertEqual(found, set(range(1, len(REDIS_MIGRATIONS) + 2)))

    @inlineCallbacks
    def test_interrupted(self) -> Any:
        """A migration that was interrupted is completed by the next one."""
        for name in ("redis-1", "redis-cluster-1"):
            url, client, stored = self.load(name)
            store = yield open_store(url)
            yield store.close()
            # As if it had stopped before it deleted anything.
            self.write(client, stored["keys"])
            store = yield open_store(url)
            yield store.close()
            self.check(url, stored)

    @inlineCallbacks
    def test_refused(self) -> Any:
        """
        An export does not migrate a store, and only one process migrates it at a time.
        """
        url, client, _ = self.load("redis-1")
        with closing(RedisDump(url, time.time)) as dump:
            error = self.assertRaises(StoreError, dump.open)
            self.assertIn("version 1", str(error))
        client.set(f"{self.prefix}:{{names}}:migrating", "another")
        error = yield self.assertFailure(open_store(url), StoreUnavailable)
        self.assertIn("another process is migrating", str(error))
        self.assertEqual(client.get(f"{self.prefix}:{{names}}:version"), b"1")


class FileSchemas(SynchronousTestCase):
    """Stores on SQLite, and exports."""

    def load(self, name: str) -> tuple[str, dict[str, Any]]:
        """
        Write a stored schema to a file.

        :returns: the path of the file, and what the store contains.
        """
        path = self.mktemp()
        with closing(sqlite3.connect(path)) as db:
            db.executescript((FOLDER / f"sqlite-{name}.sql").read_text("utf-8"))
        stored = json.loads((FOLDER / "sqlite-1.json").read_text("utf-8"))
        return path, stored["expected"]

    def contents(self, path: str) -> dict[str, Any]:
        """The contents of a file, as an export reads it."""
        with open_sqlite_dump(path, lambda: WRITTEN) as dump:
            return contents(dump)

    def check(self, name: str, *, has_records: bool = True) -> None:
        """
        Read a file as it is, and open it, which migrates it: it has all that it
        contained, and takes what a new store takes.
        """
        path, expected = self.load(name)
        if not has_records:
            expected["records"] = {kind: {} for kind in expected["records"]}
        self.assertEqual(self.contents(path), expected)
        clock = Clock()
        clock.advance(WRITTEN)
        backend = SqliteBackend(path, clock.seconds)
        backend.open()
        answers = backend.add([batch("plain", {"k": 1}, digest="one")])
        self.assertEqual(answers[0].outcome, WriteOutcome.REPEATED)
        while backend.fold():
            pass
        self.assertTrue(backend.put_record("alert", "a", "text", None))
        row = ListedRow("load", "value", 0.075, WRITTEN, 0.0, 4, WRITTEN)
        backend.put_listed([row], [])
        self.assertEqual(backend.list_page(ListQuery(("value",))).rows, [row])
        backend.close()
        self.assertEqual(self.contents(path), expected)

    def test_sqlite_1(self) -> None:
        """A SQLite file of version 1 opens with all that it contained."""
        self.check("1")

    def test_sqlite_1_early(self) -> None:
        """So does one of the first days, which has no table of records."""
        self.check("1-early", has_records=False)

    def test_sqlite_2(self) -> None:
        """So does one of version 2, with its listing."""
        self.check("2")
        path, _ = self.load("2")
        backend = SqliteBackend(path, Clock().seconds)
        backend.open()
        self.addCleanup(backend.close)
        rows = backend.list_page(ListQuery(("count", "value"))).rows
        self.assertEqual([row.name for row in rows], ["café", "load"])

    def test_sqlite_2_journal(self) -> None:
        """
        So does one of version 2 that has a journal, with rows that are not folded, and
        no listing.
        """
        self.check("2-journal")

    def test_sqlite_3(self) -> None:
        """So does one of version 3, with rows of its journal that are not folded."""
        self.check("3")

    def test_sqlite_4(self) -> None:
        """So does one of version 4, whose listing has ids."""
        self.check("4")
        path, _ = self.load("4")
        backend = SqliteBackend(path, Clock().seconds)
        backend.open()
        self.addCleanup(backend.close)
        ids = ["quhx3rbzcd7ysd4i", "unknown"]
        self.assertEqual(backend.listed_names(ids), {ids[0]: "café"})

    def test_sqlite_3_folding(self) -> None:
        """
        So does one of version 3 in the midst of a fold, with cells that were dropped or
        have expired and are not deleted yet.
        """
        self.check("3-folding")

    def test_sqlite_5(self) -> None:
        """So does one of version 5, with the same."""
        self.check("5")

    def test_migrated_whole(self) -> None:
        """
        A migration that fails, at whatever statement, does not change the file. One that
        succeeds says so in the log, and copies nothing that was dropped.
        """
        path, _ = self.load("3-folding")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            before = list(db.iterdump())
            for number in range(len(MIGRATIONS[4]) + 1):
                bad = (*MIGRATIONS[:4], (*MIGRATIONS[4][:number], "nonsense"))
                self.assertRaises(sqlite3.OperationalError, migrate, db, bad)
                self.assertEqual(list(db.iterdump()), before)
        self.assertIn(b'["dropped"]', Path(path).read_bytes())
        clock = Clock()
        clock.advance(WRITTEN)
        backend = SqliteBackend(path, clock.seconds)
        with capturedLogs() as logged:
            backend.open()
        backend.close()
        self.assertIn("migrating the SQLite store", logged[0]["log_format"])
        self.assertNotIn(b'["dropped"]', Path(path).read_bytes())

    def test_all(self) -> None:
        """Each version of the schema has a file."""
        names = [path.name for path in FOLDER.glob("sqlite-*.sql")]
        found = {int(name.split("-")[1].split(".")[0]) for name in names}
        self.assertEqual(found, set(range(1, len(MIGRATIONS) + 1)))

    def test_export_1(self) -> None:
        """An export of version 1 is imported with all that it contained."""
        with (FOLDER / "export-1.jsonl").open(encoding="utf-8") as file:
            lines = list(file)
        check_dump(lines)
        path = self.mktemp()
        clock = Clock()
        clock.advance(WRITTEN)
        store = self.successResultOf(
            Store(SqliteBackend(path, clock.seconds), Inline(), clock).open()
        )
        loaded = Deferred.fromCoroutine(load_dump(store, lines, lambda _: None))
        self.assertTrue(self.successResultOf(loaded))
        self.successResultOf(store.close())
        expected = json.loads((FOLDER / "sqlite-1.json").read_text("utf-8"))["expected"]
        stats = set(expected["definitions"]) - {"orders", "odd ] name"}
        with open_sqlite_dump(path, lambda: WRITTEN) as dump:
            found = contents(dump)
        self.assertEqual(
            found["cells"], [cell for cell in expected["cells"] if cell[0] in stats]
        )
        self.assertEqual(found["records"], expected["records"])
