"""
Keys: they are created, shared by all collectors on a store, and revoked.
"""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.collectors import in_memory
from tests.fixtures.stores import Turns
from tests.fixtures.support import logged
from txstathat.collector.auth.key_record import KeyRefused, new_key
from txstathat.collector.auth.keys import (
    CLAIM_SECONDS,
    MAX_REFRESHES,
    REFRESH_SECONDS,
    STALE_SECONDS,
    Keys,
)
from txstathat.collector.errors import Refusal
from txstathat.errors import StoreUnavailable


class KeyTests(SynchronousTestCase):
    """
    The keys of a store, as one collector sees them.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = in_memory(self)
        self.keys = Keys(self.store)

    def now(self, waited: Any) -> Any:
        """The result of a coroutine that has finished."""
        return self.successResultOf(Deferred.fromCoroutine(waited))

    def test_the_first_start_makes_one_of_each(self) -> None:
        """The first start creates an EZ key, a user key and an access token, once."""
        made = self.now(self.keys.make_first())
        self.assertEqual(list(made), ["EZ key", "user key", "access token"])
        ez, user, access = made.values()
        self.assertEqual(self.now(Keys(self.store).make_first()), {})
        for expected, found in (
            (True, self.keys.allow("ez", ez)),
            (True, self.keys.allow("classic", user)),
            (True, self.keys.may_read(access)),
            (False, self.keys.allow("ez", user)),
            (False, self.keys.allow("ez", access)),
            (False, self.keys.allow("ez", "")),
            (False, self.keys.allow("ez", "\ud800")),
            (False, self.keys.allow("classic", ez)),
            (False, self.keys.may_read(ez)),
            (None, self.keys.stat(ez)),
        ):
            self.assertIs(found, expected)

    def test_first_keys_that_cannot_be_shown(self) -> None:
        """First keys that nobody saw are deleted, and the next start creates others."""

        def show(keys: dict[str, str]) -> None:
            raise OSError("no such folder")

        failed = Deferred.fromCoroutine(self.keys.make_first(show))
        self.failureResultOf(failed, OSError)
        self.assertEqual(self.successResultOf(self.store.records("key")), {})
        self.assertEqual(len(self.now(self.keys.make_first())), 3)

    def test_only_hashes_are_stored(self) -> None:
        """The keys themselves are neither in the store nor in memory."""
        key = self.now(self.keys.add("ez", "canary"))
        records = self.successResultOf(self.store.records("key"))
        self.assertIn("canary", repr(records))
        for stored in (records, vars(self.keys), self.now(self.keys.all())):
            self.assertNotIn(key, repr(stored))

    def test_revoked(self) -> None:
        """A revoked key is refused; other collectors see that when they read again."""
        other = Keys(self.store)
        key = self.now(self.keys.add("ez", "one"))
        self.assertFalse(other.allow("ez", key))
        self.now(other.refresh())
        self.assertTrue(other.allow("ez", key))
        self.assertEqual(self.now(self.keys.revoke("one")).kind, "ez")
        self.assertFalse(self.keys.allow("ez", key))
        self.now(other.load())
        self.assertFalse(other.allow("ez", key))

    def test_names(self) -> None:
        """A second key of the same name is refused, and so is revoking an unknown name."""
        self.now(self.keys.add("ez", "one"))
        for wrong in (self.keys.add("user", "one"), self.keys.revoke("two")):
            self.failureResultOf(Deferred.fromCoroutine(wrong), KeyRefused)

    def test_new_keys_differ(self) -> None:
        """A new key has 24 random bytes."""
        self.assertNotEqual(new_key(), new_key())
        self.assertEqual(len(new_key()), 32)

    def test_a_new_key_works_at_once(self) -> None:
        """A caller that comes during a read waits for a read that begins after that."""
        turns = Turns(self.store)
        other = Keys(turns)  # type: ignore[arg-type]
        first = self.now(self.keys.add("ez", "first"))
        refreshes = [Deferred.fromCoroutine(other.refresh()) for _ in range(3)]
        turns.waiting.pop().callback(None)
        second = self.now(self.keys.add("ez", "second"))
        self.successResultOf(refreshes[0])
        self.assertTrue(other.allow("ez", first))
        # The others share the next read.
        (turn,) = turns.waiting
        self.assertNoResult(refreshes[1])
        turn.callback(None)
        self.successResultOf(refreshes[1])
        self.successResultOf(refreshes[2])
        self.assertTrue(other.allow("ez", second))

    def test_a_read_that_began_earlier_does_not_win(self) -> None:
        """Of two concurrent reads, the result of the one that began later stays."""
        turns = Turns(self.store)
        other = Keys(turns)  # type: ignore[arg-type]
        reads = [Deferred.fromCoroutine(other.load()) for _ in range(2)]
        answers = [Deferred(), Deferred()]
        self.store.records = lambda kind: answers.pop(0)
        before, after = answers
        for turn in turns.waiting:
            turn.callback(None)
        del self.store.records
        key = self.now(self.keys.add("ez", "one"))
        after.callback(self.successResultOf(self.store.records("key")))
        before.callback({})
        self.successResultOf(gatherResults(reads))
        self.assertTrue(other.allow("ez", key))

    def test_unknown_keys_do_not_overload_the_store(self) -> None:
        """After so many reads further ones are at even intervals; callers share them."""
        reads: list[float] = []

        def records(kind: str) -> Deferred[dict[str, str]]:
            reads.append(self.clock.seconds())
            return succeed({})

        self.store.records = records
        interval = 1 / MAX_REFRESHES
        for _ in range(MAX_REFRESHES):
            self.now(self.keys.refresh())
        waiting = [Deferred.fromCoroutine(self.keys.refresh()) for _ in range(50)]
        self.assertNoResult(waiting[0])
        self.assertEqual(len(reads), MAX_REFRESHES)
        self.clock.advance(interval)
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(len(reads), MAX_REFRESHES + 1)
        for _ in range(100 * MAX_REFRESHES):
            Deferred.fromCoroutine(self.keys.refresh())
            self.clock.advance(interval / 10)
        gaps = [
            after - before for before, after in pairwise(reads[MAX_REFRESHES + 1 :])
        ]
        self.assertGreater(min(gaps), interval * 0.8)
        self.assertLess(max(gaps), interval * 1.2)
        self.assertIn(10 * MAX_REFRESHES - len(gaps), range(3))

    def fails(self, waited: Any, kind: type[Exception] = StoreUnavailable) -> Any:
        """The failure of a coroutine that has ended."""
        return self.failureResultOf(Deferred.fromCoroutine(waited), kind).value

    def test_a_store_that_fails(self) -> None:
        """The keys that were read before still work; no other key is called wrong."""
        key = self.now(self.keys.add("ez", "one"))
        self.store.records = lambda kind: fail(StoreUnavailable("away"))
        self.clock.advance(1)
        self.fails(self.keys.refresh())
        self.assertTrue(self.keys.allow("ez", key))

    def test_a_store_that_fails_for_long(self) -> None:
        """Keys that may have been revoked meanwhile are refused until it is read."""
        key = self.now(self.keys.add("ez", "one"))
        token = self.now(self.keys.add("access", "two"))
        records = self.store.records
        self.store.records = lambda kind: fail(StoreUnavailable("away"))
        clock = self.store.clock
        for _ in range(11):
            self.fails(self.keys.load())
            clock.advance(REFRESH_SECONDS)
        self.assertTrue(self.keys.allow("ez", key))
        clock.advance(REFRESH_SECONDS)
        self.assertEqual(REFRESH_SECONDS * 12, STALE_SECONDS)
        for check in (
            lambda: self.keys.allow("ez", key),
            lambda: self.keys.may_read(token),
            lambda: self.keys.stat(key),
            lambda: self.keys.readers,
        ):
            self.assertRaises(StoreUnavailable, check)
        self.store.records = records
        self.now(self.keys.load())
        self.assertTrue(self.keys.allow("ez", key))
        self.assertTrue(self.keys.may_read(token))

    def test_revoked_although_the_keys_cannot_be_read(self) -> None:
        """A key that is deleted does not work, even if reading the keys then fails."""
        key = self.now(self.keys.add("ez", "one"))
        records, reads = self.store.records, []

        def read_once(kind: str) -> Deferred[dict[str, str]]:
            reads.append(kind)
            return records(kind) if len(reads) == 1 else fail(StoreUnavailable("away"))

        self.store.records = read_once
        self.fails(self.keys.revoke("one"))
        self.assertFalse(self.keys.allow("ez", key))

    def put(self, name: str, record: str) -> None:
        """Write a key's record, as another version might."""
        self.successResultOf(self.store.put_record("key", name, record))

    def test_a_record_of_a_newer_version(self) -> None:
        """
        A key with a record that has an unknown field is neither accepted nor called
        wrong: the field may restrict it. It can be revoked.
        """
        key = self.now(self.keys.add("ez", "one"))
        fields = json.loads(self.successResultOf(self.store.records("key"))["one"])
        for newer in ({**fields, "scopes": ["post"]}, {**fields, "kind": "signed"}):
            self.put("one", json.dumps(newer))
            self.now(self.keys.refresh())
            for check in (
                lambda: self.keys.allow("ez", key),
                lambda: self.keys.may_read(key),
                lambda: self.keys.stat(key),
            ):
                refusal = self.assertRaises(Refusal, check)
                self.assertEqual((refusal.http_status, refusal.retry_after), (503, 60))
            self.assertFalse(self.keys.allow("ez", "another"))
            self.assertEqual(self.now(self.keys.all()), [])
        self.assertEqual(self.now(self.keys.revoke("one")).kind, "")
        self.assertFalse(self.keys.allow("ez", key))

    def test_records_that_cannot_be_read(self) -> None:
        """They are skipped and logged, without what is in them; other keys work."""
        key = self.now(self.keys.add("ez", "one"))
        digest = "0" * 64
        for name, record in (
            ("not JSON", "canary"),
            ("torn", '{"hash": "canary'),
            ("deep", "[" * 100_000),
            ("no object", '["canary"]'),
            ("no fields", "{}"),
            ("no hash", '{"hash": "canary", "kind": "ez", "created_at": 1}'),
            ("no kind", f'{{"hash": "{digest}", "kind": "canary", "created_at": 1}}'),
            ("no text", f'{{"hash": "{digest}", "kind": ["ez"], "created_at": 1}}'),
            (
                "no time",
                f'{{"hash": "{digest}", "kind": "ez", "created_at": "canary"}}',
            ),
            ("far off", f'{{"hash": "{digest}", "kind": "ez", "created_at": 1e400}}'),
            ("no stat", f'{{"hash": "{digest}", "kind": "stat", "created_at": 1}}'),
        ):
            self.put(name, record)
            with logged() as log:
                self.now(self.keys.refresh())
                self.put("other", "canary")
                self.now(self.keys.refresh())
            self.assertEqual(log.text.count(f"the key record {name!r} "), 1)
            self.assertNotIn("canary", log.text)
            self.assertTrue(self.keys.allow("ez", key))
            for each in (name, "other"):
                self.successResultOf(self.store.put_record("key", each, None))
        self.put("one", "canary")
        with logged():
            # A store with keys gets no first keys, even if none can be read.
            self.assertEqual(self.now(Keys(self.store).make_first()), {})

    def test_an_unexpected_failure_stops_no_later_check(self) -> None:
        """Whatever a read fails with is logged, and the next check reads again."""
        records = self.store.records
        self.store.records = lambda kind: fail(ZeroDivisionError())
        self.fails(self.keys.refresh())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.records = records
        key = self.now(Keys(self.store).add("ez", "one"))
        self.now(self.keys.refresh())
        self.assertTrue(self.keys.allow("ez", key))


class FirstKeysTests(SynchronousTestCase):
    """
    The first keys of a store: one of several collectors creates them, and may fail.
    """

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0), st.integers(2, 4))
    def test_several_at_once(self, seed: int, many: int) -> None:
        """In whatever order they proceed, one shows keys, and only these work."""
        self.clock = Clock()
        store = in_memory(self)
        turns, drawn = Turns(store), random.Random(seed)
        shown: list[dict[str, str]] = []
        collectors = [Keys(turns) for _ in range(many)]  # type: ignore[arg-type]
        made = [Deferred.fromCoroutine(k.make_first(shown.append)) for k in collectors]
        for _ in range(200):
            while turns.waiting:
                waiting = turns.waiting
                waiting.pop(drawn.randrange(len(waiting))).callback(None)
            self.clock.advance(0.1)
        results = self.successResultOf(gatherResults(made))
        self.assertEqual([keys for keys in results if keys], shown)
        (keys,) = shown
        reader = Keys(store)
        found = self.successResultOf(Deferred.fromCoroutine(reader.all()))
        self.assertEqual(
            [key.name for key in found],
            ["first access token", "first EZ key", "first user key"],
        )
        for collector in (reader, *collectors):
            self.assertTrue(collector.allow("ez", keys["EZ key"]))
        self.successResultOf(Deferred.fromCoroutine(reader.revoke("first EZ key")))
        self.assertFalse(reader.allow("ez", keys["EZ key"]))

    def test_a_collector_that_dies(self) -> None:
        """At whichever step it dies, the next start creates keys and shows them."""
        for steps in range(16):
            self.clock = Clock()
            store = in_memory(self)
            turns = Turns(store)
            shown: list[dict[str, str]] = []
            dies = Keys(turns)  # type: ignore[arg-type]
            Deferred.fromCoroutine(dies.make_first(shown.append))
            for _ in range(steps):
                turns.waiting.pop().callback(None)
            if shown:
                break
            restarted = Keys(store)
            made = Deferred.fromCoroutine(restarted.make_first(shown.append))
            for _ in range(int(CLAIM_SECONDS / 0.1) + 2):
                self.clock.advance(0.1)
            self.assertEqual(self.successResultOf(made), shown[0])
            self.assertTrue(restarted.allow("ez", shown[0]["EZ key"]))
            self.assertEqual(
                len(self.successResultOf(store.records("key"))), 3, f"{steps} steps"
            )
            again = Deferred.fromCoroutine(Keys(store).make_first(shown.append))
            self.assertEqual(self.successResultOf(again), {})
        self.assertGreater(steps, 10)

    def test_a_store_that_fails(self) -> None:
        """What was created is deleted, and the next attempt succeeds at once."""
        for bad in range(8):
            self.clock = Clock()
            store = in_memory(self)
            put, calls = store.put_record, iter(range(99))

            def failing(*args: Any, bad: int = bad, put: Any = put, **more: Any) -> Any:
                if next(calls) == bad:  # noqa: B023
                    return fail(StoreUnavailable("away"))
                return put(*args, **more)

            store.put_record = failing
            shown: list[dict[str, str]] = []
            failed = Deferred.fromCoroutine(Keys(store).make_first(shown.append))
            self.failureResultOf(failed, StoreUnavailable)
            del store.put_record
            if shown:
                continue
            self.assertEqual(self.successResultOf(store.records("key")), {})
            again = Deferred.fromCoroutine(Keys(store).make_first(shown.append))
            self.assertEqual(self.successResultOf(again), shown[0])

    def test_a_collector_that_takes_too_long(self) -> None:
        """However far it came, it does not change what another has created since."""
        for steps in range(16):
            self.clock = Clock()
            store = in_memory(self)
            turns = Turns(store)
            shown: list[dict[str, str]] = []
            made = Deferred.fromCoroutine(Keys(turns).make_first(shown.append))  # type: ignore[arg-type]
            for _ in range(steps):
                turns.waiting.pop().callback(None)
            if shown:
                break
            other = Keys(store)
            Deferred.fromCoroutine(other.make_first(shown.append))
            for _ in range(int(CLAIM_SECONDS / 0.1) + 2):
                self.clock.advance(0.1)
            while turns.waiting:
                turns.waiting.pop().callback(None)
            self.assertEqual(self.successResultOf(made), {})
            (keys,) = shown
            self.successResultOf(Deferred.fromCoroutine(other.load()))
            self.assertTrue(other.allow("ez", keys["EZ key"]))
            self.assertTrue(other.may_read(keys["access token"]))
        self.assertGreater(steps, 10)
