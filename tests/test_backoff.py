"""
The delay before another attempt.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txstathat.backoff import backoff_delay


def highest(low: float, high: float) -> float:
    """A jitter that draws the largest number."""
    return high


def lowest(low: float, high: float) -> float:
    """A jitter that draws the smallest number."""
    return low


class BackoffDelayTests(SynchronousTestCase):
    """Exponential backoff with jitter."""

    def test_doubles(self) -> None:
        """The delay doubles with each failed attempt, up to the longest one."""
        delays = [
            backoff_delay(attempts, highest, first=3.0, longest=20.0)
            for attempts in (1, 2, 3, 4, 5, 10_000)
        ]
        self.assertEqual(delays, [3.0, 6.0, 12.0, 20.0, 20.0, 20.0])

    def test_spread(self) -> None:
        """The jitter draws between two multiples of the nominal delay."""
        for attempts, nominal in ((1, 2.0), (2, 4.0)):
            ends = [
                backoff_delay(
                    attempts, jitter, first=2.0, longest=9.0, spread=(0.25, 1.5)
                )
                for jitter in (lowest, highest)
            ]
            self.assertEqual(ends, [0.25 * nominal, 1.5 * nominal])

    def test_shortest(self) -> None:
        """The jitter never draws less than the shortest delay."""
        delays = [
            backoff_delay(
                attempts, lowest, first=2.0, longest=300.0, shortest=1.5, spread=(0, 1)
            )
            for attempts in (1, 5)
        ]
        self.assertEqual(delays, [1.5, 1.5])
