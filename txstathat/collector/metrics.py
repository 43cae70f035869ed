"""
The collector's own metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from time import monotonic

from txstathat.collector.errors import Refusal
from txstathat.errors import StoreError

__all__ = ["BUCKETS", "CollectorMetrics"]

#: The upper bounds, in seconds, of the histogram of how long requests take.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class CollectorMetrics:
    """
    Counts requests, connections and notifications.

    :param now: returns the monotonic time in seconds.

    :ivar points: the number of points stored.
    :ivar batches: the number of requests whose points were stored.
    :ivar repeated: the number of requests that repeated a stored one.
    :ivar refusals: the number of refused requests, by HTTP status.
    :ivar connections: the number of open connections.
    :ivar cut: the number of connections closed to make room for others.
    :ivar bodies_cut: the number of bodies dropped to make room for others.
    :ivar notices_sent: the number of alert notices delivered.
    :ivar notices_failed: the number of failed attempts to deliver one.
    :ivar notices_dropped: the number of notices given up.
    :ivar latencies: how many accepted requests fell into each bucket: one for each of
        :data:`BUCKETS`, and a last one for all that took longer.
    :ivar seconds: how long all accepted requests took together.
    :ivar statsd: returns what became of statsd's datagrams, as numbers by words;
        ``None`` without statsd.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.now = now
        self.points = 0
        self.batches = 0
        self.repeated = 0
        self.refusals: Counter[int] = Counter()
        self.connections = 0
        self.cut = 0
        self.bodies_cut = 0
        self.notices_sent = 0
        self.notices_failed = 0
        self.notices_dropped = 0
        self.latencies = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.statsd: Callable[[], Mapping[str, int]] | None = None

    def stored(self, points: int, new: bool, began: float) -> None:
        """
        Count a request whose points are stored.

        :param points: the number of its points.
        :param new: ``False`` if it repeated a request whose points were stored before.
        :param began: when it arrived, as ``now`` returns it.
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
        Count a refused request.

        :param error: the reason.
        """
        if isinstance(error, Refusal):
            self.refusals[error.http_status] += 1
        else:
            self.refusals[503 if isinstance(error, StoreError) else 500] += 1
