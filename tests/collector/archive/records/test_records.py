"""
Records that are damaged, or that a newer version wrote, stop nothing else.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures.alerts_cases import AlertCase
from tests.fixtures.stores import RedisServer, SqliteHost
from tests.fixtures.support import logged
from txstathat.collector.archive.records.trash import TRASH_SECONDS
from txstathat.collector.auth.key_record import KeyRefused, hash_key, parse_key
from txstathat.collector.auth.sessions import parse_session
from txstathat.collector.records import BadRecord, RecordReader, parse_record
from txstathat.collector.transfer import RECORDS, BadDump, parse_line
from txstathat.points.model import Count
from txstathat.stores import open_store

#: What parses each kind of records.
PARSERS = {**RECORDS, "key": parse_key, "session": parse_session, "link": parse_session}

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def damaged(text: str) -> dict[str, str]:
    """Ways to damage a record: by name, what becomes of its text."""
    newer = json.loads(text)
    if isinstance(newer, dict):
        newer["of a newer version"] = True
    else:
        newer = [[*each, "of a newer version"] for each in newer]
    return {
        "torn": text[: len(text) // 2],
        "empty": "",
        "newer": json.dumps(newer),
        "no fields": "{}",
        "another shape": '[["a"]]',
        "a number": "7",
        "nothing": "null",
        "deep": "[" * 100_000,
    }


def replace_part(document: Any, at: int, part: Any) -> Any:
    """A copy of a JSON document, with another part at one of its places."""
    places: list[tuple[Any, Any]] = []
    copy = json.loads(json.dumps(document))

    def walk(inner: Any) -> None:
        keys = inner if isinstance(inner, dict) else range(len(inner))
        for key in keys:
            places.append((inner, key))
            if isinstance(inner[key], (dict, list)):
                walk(inner[key])

    walk(copy)
    inner, key = places[at % len(places)]
    inner[key] = part
    return copy


class DrillTests(AlertCase):
    """
    Drill 30: a collector with records of every kind, of which one after the other is
    damaged.
    """

    def setUp(self) -> None:
        super().setUp()
        parts, now = self.parts, self.now
        self.ez = now(parts.keys.add("ez", "one more"))
        self.session = now(parts.sessions.open(self.here.token))
        self.link = now(parts.sessions.link())
        self.alert = self.create_many_errors()
        self.store_points(Count("old", 1))
        for name in ("errors", "old"):
            now(parts.archive.comment(self.stat(name), "a comment"))
        now(parts.archive.delete(self.stat("old").id))
        now(parts.archive.note_retention())
        self.store_points(Count("errors", 100))
        self.minutes(2)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def stat(self, name: str) -> Any:
        """A stat."""
        return self.now(self.parts.archive.stat(name))

    def texts(self, kind: str) -> dict[str, str]:
        """The texts of the records of a kind."""
        texts: dict[str, str] = self.successResultOf(self.here.store.records(kind))
        return texts

    def put(self, kind: str, id: str, text: str | None) -> None:
        """Write or delete a record, as something else might."""
        self.successResultOf(self.here.store.put_record(kind, id, text))

    def uses_everything(self) -> None:
        """Use every function, with other records than the damaged one."""
        here, parts, now = self.here, self.parts, self.now
        now(parts.check_records())
        # Keys: an unknown one is refused, a new one works, a revoked one does not.
        form = {"stat": "errors", "count": "1"}
        status, _ = here.ask("POST", "/ez", {**form, "ezkey": "unknown"})
        self.assertEqual(status, 403)
        key = now(parts.keys.add("ez", "new"))
        status, _ = here.ask("POST", "/ez", {**form, "ezkey": key})
        self.assertEqual(status, 200)
        now(parts.keys.revoke("new"))
        status, _ = here.ask("POST", "/ez", {**form, "ezkey": key})
        self.assertEqual(status, 403)
        # Sessions and links.
        session = now(parts.sessions.redeem(now(parts.sessions.link())))
        self.assertTrue(now(parts.sessions.knows(session)))
        now(parts.sessions.close(session))
        self.assertFalse(now(parts.sessions.knows(session)))
        # Stats, the trash, and comments.
        self.store_points(Count("new", 1))
        new = self.stat("new")
        now(parts.archive.comment(new, "hello"))
        (said,) = now(parts.archive.comments([new]))["new"]
        self.assertEqual(said.text, "hello")
        here.get(f"/data/{self.stat('errors').id}?t=1h1m")
        now(parts.archive.delete(new.id))
        self.assertIsNone(self.stat("new"))
        here.clock.advance(TRASH_SECONDS + 1)
        self.assertGreaterEqual(now(parts.archive.empty_trash()), 1)
        now(parts.archive.note_retention())
        # Alerts: one that is created now fires.
        before = len(self.receiver.messages)
        alert = self.create_many_errors()
        self.assertIn(alert, [each["id"] for each in here.get("/alerts")])
        self.store_points(Count("errors", 100))
        self.minutes(2)
        fired = [each["alert"]["id"] for each in self.receiver.messages[before:]]
        self.assertIn(alert, fired)
        status, _ = here.ask("DELETE", f"/x/{here.token}/alerts/{alert}")
        self.assertEqual(status, 200)

    def health(self) -> Any:
        """The records that /healthz says cannot be read."""
        status, answer = self.here.ask("GET", "/healthz")
        self.assertEqual((status, answer["msg"]), (200, "ok"))
        return answer.get("unreadable_records")

    def metric(self, kind: str) -> float:
        """The number of unreadable records of a kind on /metrics."""
        response = self.successResultOf(
            self.here.begin(
                "GET", "/metrics", Authorization=f"Bearer {self.here.token}"
            )
        )
        text = self.successResultOf(response.text())
        line = f'txstathat_unreadable_records{{kind="{kind}"}} '
        return float(text.partition(line)[2].split()[0])

    def check(self, kind: str, id: str) -> None:
        """Damage a record in each way, and use everything."""
        text = self.texts(kind)[id]
        for way, bad in damaged(text).items():
            self.put(kind, id, bad)
            with logged() as log:
                self.uses_everything()
                self.uses_everything()
            where = f"{kind}, {way}"
            self.assertEqual(self.texts(kind).get(id), bad, where)
            self.assertEqual(self.health(), {kind: 1}, where)
            self.assertEqual(self.metric(kind), 1, where)
            told = [line for line in log.at_level("warn") if "cannot" not in line]
            self.assertEqual(len(told), 1, where)
            self.assertIn(f"the {kind} record {id!r} ", told[0])
            self.put(kind, id, text)
            self.now(self.parts.check_records())
            self.assertIsNone(self.health(), where)
        self.flushLoggedErrors()

    def test_keys(self) -> None:
        """A damaged key does not work, stays revoked when it is revoked, and is back."""
        self.check("key", "one more")
        self.now(self.parts.keys.load())
        self.assertTrue(self.parts.keys.allow("ez", self.ez))
        self.put("key", "one more", "torn")
        self.now(self.parts.keys.load())
        self.assertFalse(self.parts.keys.allow("ez", self.ez))
        self.now(self.parts.keys.revoke("one more"))
        self.assertNotIn("one more", self.texts("key"))
        revoked = Deferred.fromCoroutine(self.parts.keys.revoke("one more"))
        self.failureResultOf(revoked, KeyRefused)

    def test_sessions(self) -> None:
        """A damaged session is no session."""
        self.check("session", hash_key(self.session))
        self.put("session", hash_key(self.session), "torn")
        self.assertFalse(self.now(self.parts.sessions.knows(self.session)))

    def test_links(self) -> None:
        """A damaged link does not work."""
        self.put("link", hash_key(self.link), "torn")
        self.assertIsNone(self.now(self.parts.sessions.redeem(self.link)))

    def test_alerts(self) -> None:
        """A damaged alert silences no other one, and can be deleted."""
        self.check("alert", self.alert)
        self.put("alert", self.alert, "torn")
        path = f"/x/{self.here.token}/alerts/{self.alert}"
        self.assertEqual(self.here.ask("GET", path)[0], 404)
        self.assertEqual(self.here.ask("DELETE", path)[0], 200)
        self.assertEqual(self.texts("alert"), {})

    def test_comments(self) -> None:
        """Damaged comments are not shown, and not replaced by a new one."""
        errors = self.stat("errors")
        self.check("comment", errors.id)
        self.put("comment", errors.id, "torn")
        self.assertEqual(
            self.now(self.parts.archive.comments([errors])), {"errors": []}
        )
        status, answer = self.here.ask(
            "POST",
            "/a1/comments",
            {"id": errors.id, "text": "x"},
            Authorization=f"Bearer {self.here.token}",
        )
        self.assertEqual(status, 409)
        self.assertIn("cannot be read", answer["msg"])
        self.assertEqual(self.texts("comment")[errors.id], "torn")

    def test_retention(self) -> None:
        """With a damaged history, all detail that is there is shown."""
        self.check("retention", "minute")

    def test_trash(self) -> None:
        """A stat with a damaged record in the trash is restored, not lost."""
        (id,) = self.texts("trash")
        text = self.texts("trash")[id]
        for bad in damaged(text).values():
            self.put("trash", id, bad)
            with logged():
                self.uses_everything()
            self.assertEqual(self.texts("trash"), {id: bad})
            self.assertEqual(self.health(), {"trash": 1})
            self.assertIsNotNone(self.stat("old"))


class ParserTests(SynchronousTestCase):
    """
    The parsers of the records.
    """

    VALID = {
        "key": ("one", {"hash": "0" * 64, "kind": "ez", "created_at": 1, "stat": ""}),
        "session": ("0" * 64, {"tokens": ["0" * 64], "until": 1.5}),
        "trash": (
            "zklycewkdo64v6wc",
            {"name": "a", "receipts": 1, "deleted_at": 1},
        ),
        "comment": ("a", [[1, "hello"]]),
        "retention": ("minute", [[0.0, None], [1.0, 60.0]]),
        "alert": (
            "a",
            {
                "alert": {
                    "id": "a",
                    "stat_id": "b",
                    "stat_name": "c",
                    "kind": "delta",
                    "time_window": "1h",
                    "operator": "less than",
                    "threshold": None,
                    "percentage": 5.5,
                    "time_delta": "1d",
                    "webhook": "https://example.com/",
                },
                "state": {
                    "episode": 1,
                    "firing": True,
                    "since": 1.5,
                    "clear_since": None,
                },
                "notices": [
                    {
                        "event": "fired",
                        "episode": 1,
                        "at": 1.5,
                        "number": float("inf"),
                        "attempts": 0,
                        "next_at": 0.0,
                    }
                ],
            },
        ),
    }

    def test_valid(self) -> None:
        """Valid records are read."""
        for kind, (id, fields) in self.VALID.items():
            parsed = parse_record(PARSERS[kind], id, json.dumps(fields))
            self.assertIsNotNone(parsed, kind)

    @given(
        st.sampled_from(sorted(VALID)),
        st.integers(0, 40),
        _JSON,
    )
    def test_wrong_parts(self, kind: str, at: int, part: Any) -> None:
        """
        A record with any other part is refused as such, or means something; an import
        refuses the same ones.
        """
        id, fields = self.VALID[kind]
        text = json.dumps(replace_part(fields, at, part))
        try:
            parsed = parse_record(PARSERS[kind], id, text)
        except BadRecord:
            if kind in RECORDS:
                line = json.dumps({"note": kind, "id": id, "text": text})
                self.assertRaises(BadDump, parse_line, line)
        else:
            self.assertIsNotNone(parsed)

    @given(st.sampled_from(sorted(PARSERS)), st.text())
    def test_any_text(self, kind: str, text: str) -> None:
        """Any text is refused as such, unless it is a valid record."""
        for each in (text, json.dumps(text)):
            try:
                parse_record(PARSERS[kind], "id", each)
            except BadRecord as error:
                self.assertTrue(str(error))

    def test_an_export_with_deep_json(self) -> None:
        """A record of an export that is nested too deeply is refused."""
        line = json.dumps({"note": "alert", "id": "a", "text": "[" * 100_000})
        self.assertRaises(BadDump, parse_line, line)


class BytesTests(TestCase):
    """
    Records with bytes that are no text, in real stores.
    """

    @inlineCallbacks
    def check(self, store: Any) -> Any:
        """Only the damaged record is skipped."""
        reader = RecordReader(store, "key", parse_key)
        with logged() as log:
            found = yield Deferred.fromCoroutine(reader.all())
            self.assertEqual(list(found), ["one"])
            self.assertIsNone((yield Deferred.fromCoroutine(reader.get("bad"))))
        self.assertEqual(len(log.at_level("warn")), 1)
        self.assertEqual(reader.unreadable, 1)
        self.assertTrue((yield store.put_record("key", "bad", None)))
        yield Deferred.fromCoroutine(reader.all())
        self.assertEqual(reader.unreadable, 0)

    RECORD = json.dumps({"hash": "0" * 64, "kind": "ez", "created_at": 1})

    @inlineCallbacks
    def test_sqlite(self) -> Any:
        """In a SQLite file."""
        host = SqliteHost(self)
        store = yield host.open()
        yield store.put_record("key", "one", self.RECORD)
        path = host.url().partition(":")[2]
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(
                "INSERT INTO record (kind, id, text) "
                "VALUES ('key', 'bad', CAST(x'7b22ff' AS TEXT))"
            )
        yield self.check(store)

    @inlineCallbacks
    def test_redis(self) -> Any:
        """In Redis."""
        server = RedisServer()
        self.addCleanup(server.remove)
        store = yield open_store(f"redis://127.0.0.1:{server.port}/0")
        self.addCleanup(store.close)
        yield store.put_record("key", "one", self.RECORD)
        with closing(Redis(port=server.port)) as client:
            (key,) = client.keys("*records*")
            client.hset(key, "bad", b'{"\xff')
        yield self.check(store)
