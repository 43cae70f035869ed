"""
The write batcher: it combines many small writes into few large ones.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txstathat.errors import StoreBusy, StoreUnavailable
from txstathat.stores.batching import WriteBatcher, write_retry_delay


class WriteBatcherTests(SynchronousTestCase):
    """A batcher with writes that the test ends itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.writes: list[tuple[list[str], Deferred[list[str]]]] = []

    def batcher(self, **options: Any) -> WriteBatcher[str, str]:
        """A batcher with a delay of a second between attempts."""

        def write(entries: list[str]) -> Deferred[list[str]]:
            result: Deferred[list[str]] = Deferred()
            self.writes.append((entries, result))
            return result

        return WriteBatcher(write, self.clock, delay=lambda attempt: 1.0, **options)

    def test_idle(self) -> None:
        """An idle batcher writes at once, and passes on the result of the writer."""
        batcher = self.batcher()
        result = batcher.put("a")
        self.assertEqual(self.writes[0][0], ["a"])
        self.assertNoResult(result)
        self.writes[0][1].callback(["A"])
        self.assertEqual(self.successResultOf(result), "A")
        self.assertEqual(batcher.waiting, 0)

    def test_next_write(self) -> None:
        """Entries that arrive during a write are the next write, with results in order."""
        batcher = self.batcher()
        results = [batcher.put(entry) for entry in "abc"]
        self.assertEqual(len(self.writes), 1)
        self.writes[0][1].callback(["A"])
        self.assertEqual(self.writes[1][0], ["b", "c"])
        self.writes[1][1].callback(["B", "C"])
        self.assertEqual(
            [self.successResultOf(one) for one in results], ["A", "B", "C"]
        )

    def test_largest_write(self) -> None:
        """A write has a maximal size; further entries go to the next one."""
        batcher = self.batcher(max_write=2)
        for entry in "abcd":
            batcher.put(entry)
        self.writes[0][1].callback(["A"])
        self.assertEqual(self.writes[1][0], ["b", "c"])
        self.writes[1][1].callback(["B", "C"])
        self.assertEqual(self.writes[2][0], ["d"])

    def test_room(self) -> None:
        """A write takes entries while there is room, and at least one."""

        def room() -> Any:
            left = [5]

            def has_room(entry: str) -> bool:
                left[0] -= len(entry)
                return left[0] >= 0

            return has_room

        batcher = self.batcher(room=room)
        for entry in ("a", "bb", "cc", "dd", "e" * 9, "f"):
            batcher.put(entry)
        for number, entries in enumerate(
            [["a"], ["bb", "cc"], ["dd"], ["e" * 9], ["f"]]
        ):
            self.assertEqual(self.writes[number][0], entries)
            self.writes[number][1].callback(entries)

    def test_bounded(self) -> None:
        """One entry too many is refused at once and counted; the error shows the limit."""
        batcher = self.batcher(max_entries=2)
        batcher.put("a")
        batcher.put("b")
        error = self.failureResultOf(batcher.put("c"), StoreBusy).value
        self.assertIn("2 writes already wait", str(error))
        self.assertEqual(batcher.refused, 1)
        self.assertEqual(batcher.waiting, 2)

    def test_synchronous_writer(self) -> None:
        """A synchronous writer does not cause recursion, for any number of entries."""
        batcher: WriteBatcher[int, int] = WriteBatcher(
            lambda entries: entries, self.clock
        )
        for n in range(5000):
            self.assertEqual(self.successResultOf(batcher.put(n)), n)

    def test_put_from_callback(self) -> None:
        """An entry that the callback of a result puts is written too."""
        batcher: WriteBatcher[int, int] = WriteBatcher(
            lambda entries: entries, self.clock
        )
        seen: list[int] = []

        def more(n: int) -> None:
            seen.append(n)
            if n < 3:
                batcher.put(n + 1).addCallback(more)

        batcher.put(0).addCallback(more)
        self.assertEqual(seen, [0, 1, 2, 3])

    def test_put_from_callbacks(self) -> None:
        """Entries that the callbacks of a write put are one write, after all of them."""
        batcher = self.batcher()
        batcher.put("a")
        for entry in "bc":
            batcher.put(entry).addCallback(batcher.put)
        self.writes[0][1].callback(["A"])
        self.writes[1][1].callback(["B", "C"])
        self.assertEqual(self.writes[2][0], ["B", "C"])

    def test_put_from_errbacks(self) -> None:
        """An entry that an errback puts, even of an abandoned one, is written too."""
        batcher = self.batcher()
        result = batcher.put("a").addErrback(lambda _: batcher.put("b"))
        batcher.abandon(StoreUnavailable("closed"))
        self.assertEqual(self.writes[1][0], ["b"])
        self.writes[1][1].callback(["B"])
        self.assertEqual(self.successResultOf(result), "B")

    def lingering_batcher(self) -> WriteBatcher[str, str]:
        """A batcher that lingers, and has just written three entries in a second."""
        batcher = self.batcher(linger=0.1)
        for entry in "abc":
            batcher.put(entry)
        self.clock.advance(1)
        self.writes.pop()[1].callback(["A"])
        batcher.put("d")
        self.clock.advance(1)
        self.writes.pop()[1].callback(["B", "C", "D"])
        return batcher

    def test_waits_for_as_many(self) -> None:
        """After a write of several entries, the next write waits for as many."""
        batcher = self.lingering_batcher()
        for entry in "de":
            batcher.put(entry)
            self.clock.advance(0.09)
        self.assertEqual(self.writes, [])
        batcher.put("f")
        self.assertEqual(self.writes[0][0], ["d", "e", "f"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_only_a_little(self) -> None:
        """Lingering has a time limit, and the next time fewer entries are expected."""
        batcher = self.lingering_batcher()
        batcher.put("d")
        self.clock.advance(0.05)
        batcher.put("e")
        self.clock.advance(0.11)
        self.assertEqual(self.writes[0][0], ["d", "e"])
        self.clock.advance(1)
        self.writes.pop()[1].callback(["D", "E"])
        batcher.put("f")
        self.clock.advance(0.11)
        self.assertEqual(self.writes[0][0], ["f"])
        self.clock.advance(1)
        self.writes.pop()[1].callback(["F"])
        batcher.put("g")
        self.assertEqual(self.writes[0][0], ["g"])

    def test_single_entry_does_not_wait(self) -> None:
        """After a write of one entry, the next entry is written at once."""
        batcher = self.batcher(linger=0.1)
        for _ in range(3):
            batcher.put("a")
            self.assertEqual([entries for entries, _ in self.writes], [["a"]])
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.clock.advance(1)
            self.writes.pop()[1].callback(["A"])

    def test_abandoned_while_it_waits(self) -> None:
        """Abandoning also fails the entries of a batcher that lingers."""
        batcher = self.lingering_batcher()
        result = batcher.put("d")
        batcher.abandon(StoreUnavailable("closed"))
        self.failureResultOf(result, StoreUnavailable)
        self.clock.advance(9)
        self.assertEqual(self.writes, [])

    def test_retry(self) -> None:
        """A write that fails with StoreUnavailable is repeated with the same entries."""
        batcher = self.batcher()
        result = batcher.put("a")
        batcher.put("b")
        self.writes[0][1].errback(StoreUnavailable("down"))
        self.assertEqual(len(self.writes), 1)
        self.clock.advance(1)
        self.assertEqual(self.writes[1][0], ["a"])
        self.writes[1][1].callback(["A"])
        self.assertEqual(self.successResultOf(result), "A")
        self.assertEqual(self.writes[2][0], ["b"])
        self.assertEqual(batcher.retries, 1)

    def test_delays_by_attempt(self) -> None:
        """The delays follow the number of failed attempts, anew for each write."""
        attempts: list[int] = []
        writes: list[Deferred[list[Any]]] = []

        def write(entries: list[Any]) -> Deferred[list[Any]]:
            writes.append(Deferred())
            return writes[-1]

        def delay(attempt: int) -> float:
            attempts.append(attempt)
            return 1.0

        batcher: WriteBatcher[Any, Any] = WriteBatcher(write, self.clock, delay=delay)
        for entry in "ab":
            done = batcher.put(entry)
            for _ in range(3):
                writes.pop().errback(StoreUnavailable("away"))
                self.clock.advance(1)
            writes.pop().callback([entry])
            self.assertEqual(self.successResultOf(done), entry)
        self.assertEqual(attempts, [1, 2, 3, 1, 2, 3])

    def test_given_up(self) -> None:
        """After the timeout an entry fails with the reason; later ones are still tried."""
        batcher = self.batcher(timeout=2.5)
        first = batcher.put("a")
        self.clock.advance(1)
        second = batcher.put("b")
        for _ in range(2):
            self.writes[-1][1].errback(StoreUnavailable("down"))
            self.clock.advance(1)
        self.assertIn("down", str(self.failureResultOf(first, StoreUnavailable).value))
        self.assertNoResult(second)
        self.assertEqual(self.writes[-1][0], ["b"])
        self.writes[-1][1].callback(["B"])
        self.assertEqual(self.successResultOf(second), "B")
        self.assertEqual(batcher.given_up, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_other_failure(self) -> None:
        """Any other failure is final for its write, and does not affect the next one."""
        batcher = self.batcher()
        result = batcher.put("a")
        later = batcher.put("b")
        self.writes[0][1].errback(ZeroDivisionError())
        self.failureResultOf(result, ZeroDivisionError)
        self.writes[1][1].callback(["B"])
        self.assertEqual(self.successResultOf(later), "B")

    def test_wrong_number_of_answers(self) -> None:
        """If a writer returns too few results, all entries of the write fail."""
        batcher = self.batcher()
        result = batcher.put("a")
        self.writes[0][1].callback([])
        self.failureResultOf(result, ValueError)
        self.assertEqual(batcher.waiting, 0)

    def test_settled(self) -> None:
        """settled() waits for the entries put before, not for later ones."""
        batcher = self.batcher()
        self.successResultOf(batcher.settled())
        batcher.put("a")
        batcher.put("b")
        settled = batcher.settled()
        self.writes[0][1].callback(["A"])
        self.assertNoResult(settled)
        batcher.put("c")
        self.writes[1][1].callback(["B"])
        self.assertIsNone(self.successResultOf(settled))
        self.assertEqual(batcher.waiting, 1)

    def test_settled_by_failure(self) -> None:
        """An entry that failed is settled too."""
        batcher = self.batcher(timeout=0.5)
        result = batcher.put("a")
        settled = batcher.settled()
        self.writes[0][1].errback(StoreUnavailable("down"))
        self.failureResultOf(result, StoreUnavailable)
        self.successResultOf(settled)

    def test_abandon(self) -> None:
        """Abandoning fails all entries, counts them, and cancels the next attempt."""
        batcher = self.batcher()
        results = [batcher.put(entry) for entry in "ab"]
        self.writes[0][1].errback(StoreUnavailable("down"))
        batcher.abandon(StoreUnavailable("closed"))
        for result in results:
            self.assertIn("closed", str(self.failureResultOf(result).value))
        self.assertEqual(batcher.given_up, 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Cancelling the Deferred of an entry does not affect its write or other entries."""
        batcher = self.batcher()
        result = batcher.put("a")
        result.addErrback(lambda failure: None)
        result.cancel()
        self.writes[0][1].callback(["A"])
        self.assertEqual(batcher.waiting, 0)

    def test_delays(self) -> None:
        """Delays double up to two seconds; the jitter draws between half and all of them."""
        longest = [
            write_retry_delay(n, lambda low, high: high) for n in (1, 2, 3, 7, 1000)
        ]
        self.assertEqual(longest, [0.05, 0.1, 0.2, 2.0, 2.0])
        self.assertEqual(write_retry_delay(1, lambda low, high: low), 0.025)
