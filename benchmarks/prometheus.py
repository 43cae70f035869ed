"""
What a count costs in PrometheusStats, beside prometheus_client's own labelled ``inc``.

    python benchmarks/prometheus.py [rounds counts]

Each round counts with both in turn; the figure is the median of the rounds' ratios of
CPU time. The peer is ``counter.labels(name).inc()``, which is how a program counts
things whose names it learns while it runs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from txstathat.integrations.prometheus import PrometheusStats

NAMES = [f"stat {n}" for n in range(20)]


def spent(count: Callable[[str], object], counts: int) -> float:
    """The CPU time of so many counts."""
    before = time.process_time()
    for n in range(counts):
        count(NAMES[n % 20])
    return time.process_time() - before


def main() -> None:
    rounds, counts = (int(a) for a in (sys.argv[1:] or ["51", "20000"]))
    counter = Counter("own", "The peer.", ["name"], registry=CollectorRegistry())
    stats = PrometheusStats(CollectorRegistry())

    def labelled(name: str) -> None:
        counter.labels(name).inc()

    def counted(name: str) -> None:
        stats.count(name)

    spent(labelled, counts), spent(counted, counts)
    ratios = []
    for _ in range(rounds):
        ours, theirs = spent(counted, counts), spent(labelled, counts)
        ratios.append(ours / theirs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"PrometheusStats.count takes {middle:.2f} times the CPU of a labelled inc "
        f"(middle half of the rounds: {low:.2f} to {high:.2f}); goal: at most 1.2"
    )


if __name__ == "__main__":
    main()
