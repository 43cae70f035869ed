"""
The collector's own numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from time import monotonic

from txstathat.collector.errors import Refusal
from txstathat.errors import StoreError

__all__ = ["BUCKETS", "CollectorMetrics"]

#: The upper bounds, in seconds, between which the times that posts took are counted.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class CollectorMetrics:
    """
    Counts what comes in.

    :param now: a clock that is never set, in seconds.

    :ivar points: how many points were kept.
    :ivar batches: how many requests were kept.
    :ivar repeated: how many requests had been kept before.
    :ivar refusals: how many were refused, by status.
    :ivar connections: how many connections are open.
    :ivar cut: how many were closed to make room.
    :ivar notices_sent: how many times an alert was told.
    :ivar notices_failed: how many attempts to tell one failed.
    :ivar notices_dropped: how much of alerts was given up without being told.
    :ivar latencies: how many kept requests took how long: one more than
        :data:`BUCKETS`, of which the last is for all that took longer.
    :ivar seconds: how long they took together.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.now = now
        self.points = 0
        self.batches = 0
        self.repeated = 0
        self.refusals: Counter[int] = Counter()
        self.connections = 0
        self.cut = 0
        self.notices_sent = 0
        self.notices_failed = 0
        self.notices_dropped = 0
        self.latencies = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def kept(self, points: int, new: bool, began: float) -> None:
        """
        Note a request whose points are kept.

        :param points: how many they are.
        :param new: whether they had not been kept before.
        :param began: when it came.
        """
        if new:
            self.points += points
            self.batches += 1
        else:
            self.repeated += 1
        took = self.now() - began
        self.latencies[bisect_left(BUCKETS, took)] += 1
        self.seconds += took

    def refused(self, error: BaseException) -> None:
        """
        Note a request that is refused.
        """
        if isinstance(error, Refusal):
            self.refusals[error.http_status] += 1
        else:
            self.refusals[503 if isinstance(error, StoreError) else 500] += 1
