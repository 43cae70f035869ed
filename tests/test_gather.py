"""
Gathering: many small writes made into few large ones.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txstathat.errors import StoreBusy, StoreUnavailable
from txstathat.stores.batching import WriteBatcher, retry_delay


class GatherTests(SynchronousTestCase):
    """A gather whose writes the test answers itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.writes: list[tuple[list[str], Deferred[list[str]]]] = []

    def batcher(self, **options: Any) -> WriteBatcher[str, str]:
        """A gather with a delay of a second between attempts."""

        def write(entries: list[str]) -> Deferred[list[str]]:
            result: Deferred[list[str]] = Deferred()
            self.writes.append((entries, result))
            return result

        return WriteBatcher(write, self.clock, delay=lambda attempt: 1.0, **options)

    def test_idle(self) -> None:
        """An idle gather writes at once, and answers what the writer answered."""
        gather = self.batcher()
        result = gather.put("a")
        self.assertEqual(self.writes[0][0], ["a"])
        self.assertNoResult(result)
        self.writes[0][1].callback(["A"])
        self.assertEqual(self.successResultOf(result), "A")
        self.assertEqual(gather.waiting, 0)

    def test_next_write(self) -> None:
        """What arrives during a write is the next write, answered in order."""
        gather = self.batcher()
        results = [gather.put(entry) for entry in "abc"]
        self.assertEqual(len(self.writes), 1)
        self.writes[0][1].callback(["A"])
        self.assertEqual(self.writes[1][0], ["b", "c"])
        self.writes[1][1].callback(["B", "C"])
        self.assertEqual(
            [self.successResultOf(one) for one in results], ["A", "B", "C"]
        )

    def test_largest_write(self) -> None:
        """A write has a largest size; the rest is another one."""
        gather = self.batcher(max_write=2)
        for entry in "abcd":
            gather.put(entry)
        self.writes[0][1].callback(["A"])
        self.assertEqual(self.writes[1][0], ["b", "c"])
        self.writes[1][1].callback(["B", "C"])
        self.assertEqual(self.writes[2][0], ["d"])

    def test_bounded(self) -> None:
        """One entry too many is refused at once, counted, and told how many wait."""
        gather = self.batcher(max_entries=2)
        gather.put("a")
        gather.put("b")
        error = self.failureResultOf(gather.put("c"), StoreBusy).value
        self.assertIn("2 writes already wait", str(error))
        self.assertEqual(gather.refused, 1)
        self.assertEqual(gather.waiting, 2)

    def test_synchronous_writer(self) -> None:
        """A writer that answers at once is no recursion, however much is put."""
        gather: WriteBatcher[int, int] = WriteBatcher(
            lambda entries: entries, self.clock
        )
        for n in range(5000):
            self.assertEqual(self.successResultOf(gather.put(n)), n)

    def test_put_from_callback(self) -> None:
        """What is put by the callback of an answer is written too."""
        gather: WriteBatcher[int, int] = WriteBatcher(
            lambda entries: entries, self.clock
        )
        seen: list[int] = []

        def more(n: int) -> None:
            seen.append(n)
            if n < 3:
                gather.put(n + 1).addCallback(more)

        gather.put(0).addCallback(more)
        self.assertEqual(seen, [0, 1, 2, 3])

    def crowded(self) -> WriteBatcher[str, str]:
        """A gather that lingers, and has just written three entries in a second."""
        gather = self.batcher(linger=0.1)
        for entry in "abc":
            gather.put(entry)
        self.clock.advance(1)
        self.writes.pop()[1].callback(["A"])
        gather.put("d")
        self.clock.advance(1)
        self.writes.pop()[1].callback(["B", "C", "D"])
        return gather

    def test_waits_for_as_many(self) -> None:
        """After a write of several, as many are waited for, and written together."""
        gather = self.crowded()
        for entry in "de":
            gather.put(entry)
            self.clock.advance(0.09)
        self.assertEqual(self.writes, [])
        gather.put("f")
        self.assertEqual(self.writes[0][0], ["d", "e", "f"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_only_a_little(self) -> None:
        """Those who do not come are not waited for, and not expected the next time."""
        gather = self.crowded()
        gather.put("d")
        self.clock.advance(0.05)
        gather.put("e")
        self.clock.advance(0.11)
        self.assertEqual(self.writes[0][0], ["d", "e"])
        self.clock.advance(1)
        self.writes.pop()[1].callback(["D", "E"])
        gather.put("f")
        self.clock.advance(0.11)
        self.assertEqual(self.writes[0][0], ["f"])
        self.clock.advance(1)
        self.writes.pop()[1].callback(["F"])
        gather.put("g")
        self.assertEqual(self.writes[0][0], ["g"])

    def test_one_who_comes_alone_waits_for_nobody(self) -> None:
        """After a write of one, the next is written at once."""
        gather = self.batcher(linger=0.1)
        for _ in range(3):
            gather.put("a")
            self.clock.advance(1)
            self.writes.pop()[1].callback(["A"])

    def test_abandoned_while_it_waits(self) -> None:
        """What waits for others can be given up, too."""
        gather = self.crowded()
        result = gather.put("d")
        gather.abandon(StoreUnavailable("closed"))
        self.failureResultOf(result, StoreUnavailable)
        self.clock.advance(9)
        self.assertEqual(self.writes, [])

    def test_retry(self) -> None:
        """A write that failed for now is repeated after a while, as it was."""
        gather = self.batcher()
        result = gather.put("a")
        gather.put("b")
        self.writes[0][1].errback(StoreUnavailable("down"))
        self.assertEqual(len(self.writes), 1)
        self.clock.advance(1)
        self.assertEqual(self.writes[1][0], ["a"])
        self.writes[1][1].callback(["A"])
        self.assertEqual(self.successResultOf(result), "A")
        self.assertEqual(self.writes[2][0], ["b"])
        self.assertEqual(gather.retries, 1)

    def test_given_up(self) -> None:
        """After the patience an entry fails with why; later ones are still tried."""
        gather = self.batcher(patience=2.5)
        first = gather.put("a")
        self.clock.advance(1)
        second = gather.put("b")
        for _ in range(2):
            self.writes[-1][1].errback(StoreUnavailable("down"))
            self.clock.advance(1)
        self.assertIn("down", str(self.failureResultOf(first, StoreUnavailable).value))
        self.assertNoResult(second)
        self.assertEqual(self.writes[-1][0], ["b"])
        self.writes[-1][1].callback(["B"])
        self.assertEqual(self.successResultOf(second), "B")
        self.assertEqual(gather.given_up, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_failure(self) -> None:
        """Any other failure is final for its write, and does not stop the next one."""
        gather = self.batcher()
        result = gather.put("a")
        later = gather.put("b")
        self.writes[0][1].errback(ZeroDivisionError())
        self.failureResultOf(result, ZeroDivisionError)
        self.writes[1][1].callback(["B"])
        self.assertEqual(self.successResultOf(later), "B")

    def test_wrong_number_of_answers(self) -> None:
        """A writer that answers for fewer entries than it got fails them all."""
        gather = self.batcher()
        result = gather.put("a")
        self.writes[0][1].callback([])
        self.failureResultOf(result, ValueError)
        self.assertEqual(gather.waiting, 0)

    def test_settled(self) -> None:
        """Waiting for what was put ends with that, not with what was put later."""
        gather = self.batcher()
        self.successResultOf(gather.settled())
        gather.put("a")
        gather.put("b")
        settled = gather.settled()
        self.writes[0][1].callback(["A"])
        self.assertNoResult(settled)
        gather.put("c")
        self.writes[1][1].callback(["B"])
        self.assertIsNone(self.successResultOf(settled))
        self.assertEqual(gather.waiting, 1)

    def test_settled_by_failure(self) -> None:
        """What was given up is settled too."""
        gather = self.batcher(patience=0.5)
        result = gather.put("a")
        settled = gather.settled()
        self.writes[0][1].errback(StoreUnavailable("down"))
        self.failureResultOf(result, StoreUnavailable)
        self.successResultOf(settled)

    def test_abandon(self) -> None:
        """Abandoning fails all that waits, cancels the next attempt, and is counted."""
        gather = self.batcher()
        results = [gather.put(entry) for entry in "ab"]
        self.writes[0][1].errback(StoreUnavailable("down"))
        gather.abandon(StoreUnavailable("closed"))
        for result in results:
            self.assertIn("closed", str(self.failureResultOf(result).value))
        self.assertEqual(gather.given_up, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Cancelling an entry's Deferred leaves its write, and the others, alone."""
        gather = self.batcher()
        result = gather.put("a")
        result.addErrback(lambda failure: None)
        result.cancel()
        self.writes[0][1].callback(["A"])
        self.assertEqual(gather.waiting, 0)

    def test_delays(self) -> None:
        """Delays double up to two seconds, and spread between a half and the whole."""
        longest = [retry_delay(n, lambda: 1.0) for n in (1, 2, 3, 7, 1000)]
        self.assertEqual(longest, [0.05, 0.1, 0.2, 2.0, 2.0])
        self.assertEqual(retry_delay(1, lambda: 0.0), 0.025)
