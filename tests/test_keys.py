"""
Keys: made, told, known to all collectors on a store, and revoked.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.stores import Turns
from tests.test_collector import in_memory
from txstathat.collector.auth.keys import (
    CLAIM_SECONDS,
    MAX_LOOKS,
    KeyRefused,
    Keys,
    new_key,
)
from txstathat.errors import StoreUnavailable


class KeyTests(SynchronousTestCase):
    """
    Keys.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = in_memory(self)
        self.keys = Keys(self.store)

    def now(self, waited: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(waited))

    def test_the_first_start_makes_one_of_each(self) -> None:
        """An EZ key, a user key and an access token; and that only once."""
        made = self.now(self.keys.make_first())
        self.assertEqual(list(made), ["EZ key", "user key", "access token"])
        ez, user, access = made.values()
        self.assertEqual(self.now(Keys(self.store).make_first()), {})
        for allowed, asked in (
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
            self.assertIs(asked, allowed)

    def test_first_keys_that_nobody_was_told(self) -> None:
        """When they cannot be told, they are not kept, and the next start makes some."""

        def tell(keys: dict[str, str]) -> None:
            raise OSError("no such folder")

        failed = Deferred.fromCoroutine(self.keys.make_first(tell))
        self.failureResultOf(failed, OSError)
        self.assertEqual(self.successResultOf(self.store.records("key")), {})
        self.assertEqual(len(self.now(self.keys.make_first())), 3)

    def test_kept_hashed(self) -> None:
        """The keys themselves are not kept, neither here nor in the store."""
        key = self.now(self.keys.add("ez", "canary"))
        records = self.successResultOf(self.store.records("key"))
        self.assertIn("canary", repr(records))
        for kept in (records, vars(self.keys), self.now(self.keys.known())):
            self.assertNotIn(key, repr(kept))

    def test_revoked(self) -> None:
        """A revoked key is refused, by others when they look again."""
        other = Keys(self.store)
        key = self.now(self.keys.add("ez", "one"))
        self.assertFalse(other.allow("ez", key))
        self.now(other.look_again())
        self.assertTrue(other.allow("ez", key))
        self.assertEqual(self.now(self.keys.revoke("one")).kind, "ez")
        self.assertFalse(self.keys.allow("ez", key))
        self.now(other.load())
        self.assertFalse(other.allow("ez", key))

    def test_names(self) -> None:
        """A name is there once; what is not there cannot be revoked."""
        self.now(self.keys.add("ez", "one"))
        for wrong in (self.keys.add("user", "one"), self.keys.revoke("two")):
            self.failureResultOf(Deferred.fromCoroutine(wrong), KeyRefused)

    def test_new_keys_differ(self) -> None:
        """A new key has 24 random bytes."""
        self.assertNotEqual(new_key(), new_key())
        self.assertEqual(len(new_key()), 32)

    def test_a_new_key_is_right_for_all_who_come_with_it(self) -> None:
        """Who comes while keys are being read waits, for what is read from then on."""
        turns = Turns(self.store)
        other = Keys(turns)  # type: ignore[arg-type]
        first = self.now(self.keys.add("ez", "first"))
        looks = [Deferred.fromCoroutine(other.look_again()) for _ in range(3)]
        turns.waiting.pop().callback(None)
        second = self.now(self.keys.add("ez", "second"))
        self.successResultOf(looks[0])
        self.assertTrue(other.allow("ez", first))
        # The others share the next time.
        (turn,) = turns.waiting
        self.assertNoResult(looks[1])
        turn.callback(None)
        self.successResultOf(looks[1])
        self.successResultOf(looks[2])
        self.assertTrue(other.allow("ez", second))

    def test_what_was_read_late_is_not_taken_for_new(self) -> None:
        """Of two who read at once, the one that began later is right."""
        turns = Turns(self.store)
        other = Keys(turns)  # type: ignore[arg-type]
        late = Deferred.fromCoroutine(other.load())
        early = Deferred.fromCoroutine(other.load())
        answers = [Deferred(), Deferred()]
        self.store.records = lambda kind: answers.pop(0)
        was, now = answers
        for turn in turns.waiting:
            turn.callback(None)
        del self.store.records
        key = self.now(self.keys.add("ez", "one"))
        now.callback(self.successResultOf(self.store.records("key")))
        was.callback({})
        self.successResultOf(gatherResults([late, early]))
        self.assertTrue(other.allow("ez", key))

    def test_unknown_keys_do_not_keep_the_store_busy(self) -> None:
        """Keys are read so often in a second; who comes then waits for the next one."""
        looks: list[str] = []
        self.store.records = lambda kind: looks.append(kind) or succeed({})  # type: ignore[func-returns-value]
        for _ in range(MAX_LOOKS):
            self.now(self.keys.look_again())
        waiting = [Deferred.fromCoroutine(self.keys.look_again()) for _ in range(50)]
        self.assertNoResult(waiting[0])
        self.assertEqual(len(looks), MAX_LOOKS)
        self.clock.advance(1)
        for one in waiting:
            self.successResultOf(one)
        self.assertLessEqual(len(looks), MAX_LOOKS + 2)

    def test_a_store_that_is_away(self) -> None:
        """What was known before goes on being known."""
        key = self.now(self.keys.add("ez", "one"))
        self.store.records = lambda kind: fail(StoreUnavailable("away"))
        self.clock.advance(1)
        self.now(self.keys.look_again())
        self.assertTrue(self.keys.allow("ez", key))


class FirstKeysTests(SynchronousTestCase):
    """
    The first keys of a store, made by one of several, who may fail.
    """

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0), st.integers(2, 4))
    def test_several_at_once(self, seed: int, many: int) -> None:
        """Whoever is first at each step: one tells keys, these work, and no others."""
        self.clock = Clock()
        store = in_memory(self)
        turns, drawn = Turns(store), random.Random(seed)
        told: list[dict[str, str]] = []
        collectors = [Keys(turns) for _ in range(many)]  # type: ignore[arg-type]
        made = [Deferred.fromCoroutine(k.make_first(told.append)) for k in collectors]
        for _ in range(200):
            while turns.waiting:
                waiting = turns.waiting
                waiting.pop(drawn.randrange(len(waiting))).callback(None)
            self.clock.advance(0.1)
        results = self.successResultOf(gatherResults(made))
        self.assertEqual([keys for keys in results if keys], told)
        (keys,) = told
        reader = Keys(store)
        known = self.successResultOf(Deferred.fromCoroutine(reader.known()))
        self.assertEqual(
            [key.name for key in known],
            ["first access token", "first EZ key", "first user key"],
        )
        for collector in (reader, *collectors):
            self.assertTrue(collector.allow("ez", keys["EZ key"]))
        self.successResultOf(Deferred.fromCoroutine(reader.revoke("first EZ key")))
        self.assertFalse(reader.allow("ez", keys["EZ key"]))

    def test_one_that_dies_amid_it(self) -> None:
        """At whichever step it dies: the next start makes keys that somebody is told."""
        for steps in range(16):
            self.clock = Clock()
            store = in_memory(self)
            turns = Turns(store)
            told: list[dict[str, str]] = []
            dies = Keys(turns)  # type: ignore[arg-type]
            Deferred.fromCoroutine(dies.make_first(told.append))
            for _ in range(steps):
                turns.waiting.pop().callback(None)
            if told:
                break
            restarted = Keys(store)
            made = Deferred.fromCoroutine(restarted.make_first(told.append))
            for _ in range(int(CLAIM_SECONDS / 0.1) + 2):
                self.clock.advance(0.1)
            self.assertEqual(self.successResultOf(made), told[0])
            self.assertTrue(restarted.allow("ez", told[0]["EZ key"]))
            self.assertEqual(
                len(self.successResultOf(store.records("key"))), 3, f"{steps} steps"
            )
            again = Deferred.fromCoroutine(Keys(store).make_first(told.append))
            self.assertEqual(self.successResultOf(again), {})
        self.assertGreater(steps, 10)

    def test_a_store_that_fails_amid_it(self) -> None:
        """What was made is undone, and the next try succeeds at once."""
        for bad in range(8):
            self.clock = Clock()
            store = in_memory(self)
            put, calls = store.put_record, iter(range(99))

            def failing(*args: Any, bad: int = bad, put: Any = put, **more: Any) -> Any:
                if next(calls) == bad:  # noqa: B023
                    return fail(StoreUnavailable("away"))
                return put(*args, **more)

            store.put_record = failing
            told: list[dict[str, str]] = []
            failed = Deferred.fromCoroutine(Keys(store).make_first(told.append))
            self.failureResultOf(failed, StoreUnavailable)
            del store.put_record
            if told:
                continue
            self.assertEqual(self.successResultOf(store.records("key")), {})
            again = Deferred.fromCoroutine(Keys(store).make_first(told.append))
            self.assertEqual(self.successResultOf(again), told[0])

    def test_one_that_takes_too_long(self) -> None:
        """However far it came, it leaves alone what another one has made meanwhile."""
        for steps in range(16):
            self.clock = Clock()
            store = in_memory(self)
            turns = Turns(store)
            told: list[dict[str, str]] = []
            made = Deferred.fromCoroutine(Keys(turns).make_first(told.append))  # type: ignore[arg-type]
            for _ in range(steps):
                turns.waiting.pop().callback(None)
            if told:
                break
            other = Keys(store)
            Deferred.fromCoroutine(other.make_first(told.append))
            for _ in range(int(CLAIM_SECONDS / 0.1) + 2):
                self.clock.advance(0.1)
            while turns.waiting:
                turns.waiting.pop().callback(None)
            self.assertEqual(self.successResultOf(made), {})
            (keys,) = told
            self.successResultOf(Deferred.fromCoroutine(other.load()))
            self.assertTrue(other.allow("ez", keys["EZ key"]))
            self.assertTrue(other.may_read(keys["access token"]))
        self.assertGreater(steps, 10)
