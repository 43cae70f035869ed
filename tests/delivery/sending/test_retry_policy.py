"""
When a batch is sent again, and what is done after each kind of outcome.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.delivery import FULL
from txstathat.client.outcome import Outcome, Verdict
from txstathat.delivery.sending.retry_policy import (
    MAX_DELAY,
    MAX_RETRY_AFTER,
    MIN_DELAY,
    Action,
    batch_retry_delay,
    decide,
    slowest_delay,
)
from txstathat.errors import StatHatAPIError


class RetryPolicyTests(SynchronousTestCase):
    """
    The pure part: what to do, and when.
    """

    def test_delays(self) -> None:
        """A delay is within its bounds, and never sooner than the server asked."""
        given_after = st.none() | st.floats(0, 1e9)

        @settings(max_examples=2_000 if FULL else 100, deadline=None)
        @given(st.integers(1, 10_000), given_after, st.randoms())
        def check(tries: int, after: float | None, random: Any) -> None:
            delay = batch_retry_delay(tries, random.uniform, after)
            least = min(after or 0, MAX_RETRY_AFTER)
            ceiling = min(MAX_DELAY, 2.0 ** min(tries, 30))
            self.assertTrue(least + MIN_DELAY <= delay <= least + ceiling)
            slow = slowest_delay(random.uniform, after)
            self.assertTrue(least + 0.8 * MAX_DELAY <= slow <= least + MAX_DELAY)

        check()

    def test_bounds_of_delays(self) -> None:
        """Delays are drawn from between these bounds; what a server asks for is added."""
        for tries, after, low, high in (
            (1, None, 1, 2), (2, None, 1, 4), (8, None, 1, 256), (9, None, 1, 300),
            (10_000, None, 1, 300), (1, 7.5, 8.5, 9.5), (1, 0, 1, 2), (1, -5, 1, 2),
            (1, 3600, 3601, 3602), (1, 86_400, 3601, 3602),
        ):  # fmt: skip
            self.assertEqual(
                batch_retry_delay(tries, lambda low, high: low, after), low
            )
            self.assertEqual(
                batch_retry_delay(tries, lambda low, high: high, after), high
            )
        for after, low, high in (
            (None, 240, 300), (0, 240, 300), (-5, 240, 300), (7.5, 247.5, 307.5),
            (86_400, 3840, 3900),
        ):  # fmt: skip
            self.assertEqual(slowest_delay(lambda low, high: low, after), low)
            self.assertEqual(slowest_delay(lambda low, high: high, after), high)

    def test_full_jitter(self) -> None:
        """The whole range is used, evenly."""
        random = Random(1)
        delays = sorted(batch_retry_delay(6, random.uniform) for _ in range(1000))
        for tenth in range(1, 10):
            expected = MIN_DELAY + (64 - MIN_DELAY) * tenth / 10
            self.assertLess(abs(delays[tenth * 100] - expected), 5)

    def test_decisions(self) -> None:
        """Each outcome leads to the action in the documentation's table."""
        error = StatHatAPIError(0, "")

        def outcome(verdict: Verdict, status: int | None = 400) -> Outcome:
            return Outcome(verdict, error, status)

        table = [
            (Outcome(Verdict.ACCEPTED, status=200), 5, Action.DELIVERED),
            (outcome(Verdict.RETRY, 503), 5, Action.RETRY),
            (outcome(Verdict.RETRY, None), 5, Action.RETRY),
            (outcome(Verdict.TOO_LARGE), 5, Action.SPLIT),
            (outcome(Verdict.TOO_LARGE), 2, Action.SPLIT),
            (outcome(Verdict.TOO_LARGE), 1, Action.WAIT),
            (
                Outcome(Verdict.TOO_LARGE, error, 413, from_stathat=True),
                1,
                Action.REJECT,
            ),
            (outcome(Verdict.REFUSED), 2, Action.SEARCH),
            (outcome(Verdict.REFUSED), 1, Action.REJECT),
            (outcome(Verdict.NOT_STATHAT), 2, Action.WAIT),
            (outcome(Verdict.NOT_STATHAT), 1, Action.WAIT),
            (outcome(Verdict.KEY_REFUSED), 2, Action.WAIT),
            (outcome(Verdict.KEY_REFUSED), 1, Action.WAIT),
        ]
        for each, points, action in table:
            for resend in (True, False):
                self.assertIs(decide(each, points, resend), action, each)
        lost, unclear = outcome(Verdict.AMBIGUOUS, None), outcome(Verdict.AMBIGUOUS)
        for resent in (0, 2, 3, 99):
            self.assertIs(decide(lost, 3, True, resent), Action.RETRY)
            self.assertIs(decide(lost, 3, False, resent), Action.DROP)
            again = Action.RESEND if resent < 3 else Action.DROP
            self.assertIs(decide(unclear, 3, True, resent), again)
            self.assertIs(decide(unclear, 3, False, resent), Action.DROP)
