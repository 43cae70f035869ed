"""
Shared links in a store.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from tests.fixtures.archives import ArchiveCase
from tests.fixtures.stores import NOW
from txstathat.collector.auth.key_record import hash_key
from txstathat.collector.auth.shares import Share, Shares, parse_share
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, parse_record


class ShareTests(ArchiveCase):
    """What the store has of links."""

    def setUp(self) -> None:
        super().setUp()
        self.shares = Shares(self.store)

    def refused(self, waited: Any) -> int:
        """The status with which a coroutine is refused."""
        failing: Deferred[Any] = Deferred.fromCoroutine(waited)
        status: int = self.failureResultOf(failing, Refusal).value.status
        return status

    def test_life(self) -> None:
        """
        A link is found by its secret, by every collector on the store, until it is
        revoked. The store does not have the secret.
        """
        secret = self.now(self.shares.create("stat", "a"))
        other = self.now(self.shares.create("board", "b"))
        self.assertEqual(
            self.now(Shares(self.store).find(secret)), Share("stat", "a", int(NOW))
        )
        stored = self.successResultOf(self.store.records("share"))
        self.assertNotIn(secret, repr(stored))
        self.assertNotIn(other, repr(stored))
        self.now(self.shares.revoke(hash_key(secret)))
        self.assertIsNone(self.now(self.shares.find(secret)))
        self.assertEqual(self.refused(self.shares.revoke(hash_key(secret))), 404)
        self.assertEqual(list(self.now(self.shares.all())), [hash_key(other)])
        for wrong in ("", hash_key(other), f"{other}x", "\N{SNOWMAN}"):
            self.assertIsNone(self.now(self.shares.find(wrong)))

    def test_newest_first(self) -> None:
        """The links are listed with the newest first."""
        for name in "abc":
            self.now(self.shares.create("stat", name))
            self.clock.advance(1)
        found = [share.target for share in self.now(self.shares.all()).values()]
        self.assertEqual(found, ["c", "b", "a"])

    def test_revoke_all(self) -> None:
        """All links to a board are revoked, and no others."""
        secrets = [
            self.now(self.shares.create(*what))
            for what in (("board", "a"), ("board", "a"), ("board", "b"), ("stat", "a"))
        ]
        self.now(self.shares.revoke_all("board", "a"))
        found = [self.now(self.shares.find(secret)) is None for secret in secrets]
        self.assertEqual(found, [True, True, False, False])

    def test_too_many(self) -> None:
        """There is a limit; revoking one makes room."""
        self.shares = Shares(self.store, max_shares=1)
        secret = self.now(self.shares.create("stat", "a"))
        self.assertEqual(self.refused(self.shares.create("stat", "a")), 429)
        self.now(self.shares.revoke(hash_key(secret)))
        self.now(self.shares.create("stat", "a"))

    def test_what_is_no_record(self) -> None:
        """A record that is not as this version writes it shows nothing."""
        good = {"kind": "stat", "target": "a", "created_at": 1}
        id = hash_key("x")
        self.assertEqual(parse_share(id, json.dumps(good)), Share("stat", "a", 1))
        for change in (
            {"kind": "all"},
            {"kind": []},
            {"target": ""},
            {"target": 5},
            {"created_at": "now"},
            {"until": 5},
        ):
            with self.assertRaises(BadRecord, msg=str(change)):
                parse_record(parse_share, id, json.dumps({**good, **change}))
        with self.assertRaises(BadRecord):
            parse_record(parse_share, "x", json.dumps(good))
