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
