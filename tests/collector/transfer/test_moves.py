"""
Moves between all kinds of stores that have contents to move.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.stores import RedisCluster, RedisServer, shared
from txstathat.collector.archive.stats import DEFINITIONS, EVERYTHING
from txstathat.collector.transfer import check_dump, dump_lines, load_dump
from txstathat.stores import (
    Addition,
    Amounts,
    Increment,
    StoredCell,
    TimeBucket,
    WriteBatch,
    open_dump,
)
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, Store
from txstathat.stores.sums import events

DAY = 86_400.0
KINDS = ("sqlite", "redis", "cluster")
BUCKETS = [
    TimeBucket("all", "", None),
    TimeBucket("received", "", None),
    TimeBucket("year", "2026", None),
    TimeBucket("month", "2026-02", None),
    TimeBucket("day", "2026-02-07", 400 * DAY),
    TimeBucket("day", "2026-02-08", 400 * DAY),
    TimeBucket("hour", "2026-02-07T11+0", 35 * DAY),
    TimeBucket("minute", "2026-02-07T11:59+0", DAY),
    TimeBucket("minute", "2026-02-07T12:00+0", DAY),
]

limit = 2**63 - 1
amounts = (
    st.integers(-limit, limit)
    | st.integers(-100, 100)
    | st.floats(-1e300, 1e300)
    | st.sampled_from([2**53 - 1, 2**53, 2**53 + 1, 2**31, -(2**31), 0.1, -0.0, 2.0])
)
additions = st.lists(amounts, min_size=1, max_size=3).filter(
    lambda some: abs(sum(n for n in some if isinstance(n, int))) <= limit
)
# A write: for each stat, the buckets and the amounts.
writes = st.dictionaries(
    st.sampled_from(["a", "b/é", 'c "]}', "d"]),
    st.tuples(st.sets(st.sampled_from(BUCKETS), min_size=1), additions),
    min_size=1,
)


class MovesTests(SynchronousTestCase):
    """Each store has what the one before it had, to the last digit."""

    timeout = 600

    def open(self, kind: str) -> tuple[str, Any]:
        """A new store; and its URL."""
        clock = Clock()
        clock.advance(time.time())
        if kind == "sqlite":
            path = self.mktemp()
            url, backend = f"sqlite:{path}", SqliteBackend(path, clock.seconds)
        else:
            if kind == "redis":
                scheme, port = "redis", shared(RedisServer).port
            else:
                scheme, port = "redis+cluster", shared(RedisCluster).servers[0].port
            url = f"{scheme}://127.0.0.1:{port}/0?prefix={uuid4().hex}"
            backend = RedisBackend(url)
        return url, self.successResultOf(Store(backend, Inline(), clock).open())

    def cells(self, url: str) -> list[StoredCell]:
        """All cells of a store, sorted."""
        with open_dump(url) as dump:
            return sorted(dump.cells(), key=lambda cell: cell[:4])

    def batches(self, some: Sequence[dict[str, Any]]) -> list[WriteBatch]:
        """Batches for a store."""
        return [
            WriteBatch(
                uuid4().hex,
                "digest",
                lambda write=write: Amounts(  # type: ignore[misc]
                    dict.fromkeys(write, DEFINITIONS["value"]),
                    [
                        Increment(sorted(buckets), {name: {EVERYTHING: events(many)}})
                        for name, (buckets, many) in write.items()
                    ],
                ),
            )
            for write in some
        ]

    @settings(max_examples=200 if FULL else 8, deadline=None)
    @given(
        st.permutations(KINDS),
        st.lists(writes, min_size=1, max_size=5),
        st.booleans(),
        st.integers(1, 4),
    )
    def test_lossless(
        self,
        order: Sequence[str],
        some: list[dict[str, Any]],
        merged: bool,
        per_line: int,
    ) -> None:
        """
        Whatever was added to a store, with floats and with numbers beyond 2**53, in one
        write or several: moved from each kind of store to the next, and back to the
        first, it is the same.
        """
        url, store = self.open(order[0])
        batches = self.batches(some)
        for part in [batches] if merged else [[batch] for batch in batches]:
            self.successResultOf(store.add(part))
        self.successResultOf(store.close())
        before = self.cells(url)
        for _, kind in pairwise([*order, order[0]]):
            with open_dump(url) as dump:
                lines = list(dump_lines(dump, per_line))
            self.assertEqual(check_dump(lines), len(lines))
            url, store = self.open(kind)
            loaded = load_dump(store, lines, lambda more: None)
            self.assertTrue(self.successResultOf(Deferred.fromCoroutine(loaded)))
            self.successResultOf(store.close())
            self.assert_same(self.cells(url), before)

    def assert_same(self, found: list[StoredCell], before: list[StoredCell]) -> None:
        """Compare cells, and their times of expiry."""
        self.assertEqual([cell[:4] for cell in found], [cell[:4] for cell in before])
        for one, other in zip(found, before, strict=True):
            self.assertEqual(one.sums, other.sums)
            self.assertEqual(_kinds(one.sums), _kinds(other.sums))
            self.assertEqual(one.expires is None, other.expires is None)
            if one.expires is not None and other.expires is not None:
                # SQLite prolongs an expiry only by a thousandth or more.
                self.assertLess(abs(one.expires - other.expires), 0.002 * 400 * DAY)


def _kinds(sums: Addition) -> list[type]:
    return [type(sums.least), type(sums.most)]
