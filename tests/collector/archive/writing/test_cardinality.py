"""
The limit of the number of stats.
"""

from __future__ import annotations

from tests.fixtures.archives import ArchiveCase
from txstathat.collector.archive.writing.allowance import Allowances
from txstathat.collector.archive.writing.cardinality import (
    RECOUNT,
    CardinalityLimiter,
)
from txstathat.collector.errors import Refusal
from txstathat.stores.interface import Amounts, WriteBatch


class SharedNameTests(ArchiveCase):
    """
    Requests that have new stats in common.
    """

    def create(self, *names: str) -> None:
        """Write stats, as a request does."""
        amounts = Amounts(dict.fromkeys(names, "d"), [])
        new = WriteBatch(repr(names), "", lambda: amounts)
        self.successResultOf(self.store.add([new]))

    def test_the_other_one_is_first(self) -> None:
        """A stat counts once, also if another request creates it than reserved it."""
        limiter = CardinalityLimiter(self.store, 2, self.clock, Allowances(self.store))
        first = self.now(limiter.admit("A", ["x"]))
        second = self.now(limiter.admit("B", ["x"]))
        self.create("x")
        limiter.settled(second, True)
        self.clock.advance(RECOUNT)
        third = self.now(limiter.admit("A", ["y"]))
        self.create("y")
        limiter.settled(third, True)
        limiter.settled(first, True)
        refusal = self.fails(limiter.admit("A", ["z"]), Refusal)
        self.assertIn("there are 2 stats and 2 is the limit", str(refusal))

    def test_the_first_one_fails(self) -> None:
        """A stat of two requests has its room until both of them have ended."""
        limiter = CardinalityLimiter(self.store, 1, self.clock, Allowances(self.store))
        first = self.now(limiter.admit("A", ["x"]))
        second = self.now(limiter.admit("B", ["x"]))
        limiter.settled(first, False)
        refusal = self.fails(limiter.admit("C", ["y"]), Refusal)
        self.assertIn("there are 0 stats and 1 is the limit", str(refusal))
        self.create("x")
        self.assertEqual(limiter.settled(second, True), ["x"])
        self.fails(limiter.admit("C", ["y"]), Refusal)
        # Without the second one there is room.
        limiter = CardinalityLimiter(self.store, 2, self.clock, Allowances(self.store))
        for name in "AB":
            limiter.settled(self.now(limiter.admit(name, ["z"])), False)
        self.now(limiter.admit("C", ["y"]))

    def test_nothing_is_new_any_more(self) -> None:
        """A request whose stats another one has created meanwhile reserves nothing."""
        limiter = CardinalityLimiter(self.store, 9, self.clock, Allowances(self.store))
        first = self.now(limiter.admit("A", ["x"]))
        self.create("x")
        second = self.now(limiter.admit("A", ["x"]))
        self.assertEqual(second.names, [])
        for reservation in (first, second):
            self.assertEqual(limiter.settled(reservation, True), [])

    def test_the_allowance_of_the_other_one(self) -> None:
        """
        A stat counts for the key that creates it, also if the request of another key
        has reserved it first; and once for several requests of a key.
        """
        allowances = Allowances(self.store)
        limiter = CardinalityLimiter(
            self.store, 9, self.clock, allowances, max_new_stats=2
        )
        first = self.now(limiter.admit("A", ["x"]))
        second = [self.now(limiter.admit("B", ["x", "y"])) for _ in range(2)]
        refusal = self.fails(limiter.admit("B", ["z"]), Refusal)
        self.assertIn("created 2 new stats today and 2 is the limit", str(refusal))
        limiter.settled(first, False)
        self.fails(limiter.admit("B", ["z"]), Refusal)
        self.create("x", "y")
        self.assertEqual(limiter.settled(second[0], True), ["x", "y"])
        self.assertEqual(limiter.settled(second[1], True), [])
        self.assertEqual(allowances.usage("B").stats, 2)
        self.now(limiter.admit("A", ["z"]))
