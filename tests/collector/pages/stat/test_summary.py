"""
The summary of a stat, against all of its points.
"""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import stdev
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat.collector.archive.series import Bucket, Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.pages.frame.formatting import percent
from txstathat.collector.pages.stat.earlier import Earlier
from txstathat.collector.pages.stat.summary import summary_of, whole_of
from txstathat.points.timeframe import Timeframe

_AMOUNTS = st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9).map(float)
#: The points of each step.
_STEPS = st.lists(st.lists(_AMOUNTS, max_size=4), min_size=2, max_size=12)


def series_of(kind: str, steps: list[list[Any]]) -> Series:
    """A series with these points in its steps."""
    buckets = [
        Bucket(
            60 * n,
            list(points),
            len(points),
            min(points, default=None),
            max(points, default=None),
        )
        for n, points in enumerate(steps)
    ]
    stat = Stat("s", kind == "count", 0.0, 0.0, 1, False)
    return Series(stat, Timeframe.parse(f"{len(steps)}m1m"), buckets)


class SummaryTests(SynchronousTestCase):
    """Summaries and changes."""

    def near(self, found: float | None, exact: Fraction | float) -> None:
        """Check a number."""
        assert found is not None
        self.assertTrue(
            math.isclose(found, exact, rel_tol=1e-9, abs_tol=1e-6), (found, exact)
        )

    @given(_STEPS)
    def test_counter(self, steps: Any) -> None:
        """A counter's steps without points are 0; its current step is only in some."""
        found = summary_of(series_of("count", steps), True)
        sums = [sum(map(Fraction, points)) for points in steps]
        finished = sums[:-1]
        self.near(found.total, sum(sums))
        self.near(found.max, max(sums))
        self.near(found.min, min(finished))
        self.near(found.mean, sum(finished) / len(finished))
        if len(finished) > 1:
            self.near(found.deviation, stdev(finished))

    @given(_STEPS)
    def test_value(self, steps: Any) -> None:
        """The extremes and the mean of a value are those of its points."""
        found = summary_of(series_of("value", steps), True)
        points = [point for some in steps for point in some]
        self.assertIsNone(found.total)
        if not points:
            self.assertEqual((found.min, found.max, found.mean), (None,) * 3)
            return
        self.assertEqual((found.min, found.max), (min(points), max(points)))
        self.near(found.mean, sum(map(Fraction, points)) / len(points))

    def test_change(self) -> None:
        """The change is in percent of what was earlier, where that can be said."""
        for whole, now, text in (
            (10, 15, "+50.0 %"),
            (10, 5, "-50.0 %"),
            (-10, -5, "+50.0 %"),
            (-10, -15, "-50.0 %"),
            (3, 3, "±0 %"),
            (1, 1234, "+123,300 %"),
            (0, 3, "–"),  # noqa: RUF001
            (None, 3, "–"),  # noqa: RUF001
            (3, None, "–"),  # noqa: RUF001
            (1e-300, 1e300, "–"),  # noqa: RUF001
            (1.7e308, -1.7e308, "-200 %"),
        ):
            self.assertEqual(percent(Earlier("", [], whole, now).change), text)

    def test_beyond(self) -> None:
        """A whole beyond the largest float is not known."""
        buckets = series_of("count", [[1.7e308], [1.7e308]]).buckets
        self.assertIsNone(whole_of(buckets, True))
        self.assertEqual(whole_of(buckets[:1], True), 1.7e308)
        self.assertIsNone(whole_of([], False))
        self.assertEqual(whole_of([], True), 0)
