"""
Ranges: whatever is typed, in any form.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.stores import NOW
from txstathat.collector.archive.series import scale_of
from txstathat.collector.archive.stats import RETENTION
from txstathat.collector.pages.forms.forms import Form, WrongField
from txstathat.collector.pages.stat.ranges import (
    MAX_STEPS,
    PRESETS,
    Range,
    pick_step,
    read_range,
)
from txstathat.points.timeframe import Span, Timeframe

_NOW = int(NOW)
_UNITS = st.sampled_from("mhdwMy")
_SPANS = st.builds("{}{}".format, st.integers(0, 10**6), _UNITS)
_DAYS = st.dates().map(str) | st.just("") | st.text(max_size=12)
_STARTS = st.datetimes().map(datetime.isoformat) | _DAYS
_TIMES = _SPANS | st.builds("{}{}".format, _SPANS, _SPANS) | st.text(max_size=9)


def since(scale: str) -> float:
    """Since when a scale is stored by default."""
    seconds = RETENTION[scale]
    return 0.0 if seconds is None else NOW - seconds


class RangeTests(SynchronousTestCase):
    """
    Reading ranges, and stepping through time.
    """

    def check(self, found: Range) -> None:
        """Check that a page can show a range."""
        frame, begin = found.timeframe, found.begin(_NOW)
        edges = (
            frame.edges(_NOW)
            if found.start is None
            else frame.edges_from(found.start, _NOW)
        )
        # Months and years vary in length.
        self.assertLessEqual(len(edges), MAX_STEPS * 32 / 28 + 3)
        self.assertEqual(edges[0], begin)
        self.assertLessEqual(0, begin)
        self.assertLessEqual(begin, _NOW)
        self.assertTrue(found.title(_NOW))

    @given(
        st.fixed_dictionaries(
            {}, optional={"t": _TIMES, "start": _STARTS, "from": _DAYS, "to": _DAYS}
        )
    )
    def test_anything(self, fields: Any) -> None:
        """
        Any text is a range that can be shown, and that its own query gives again, or an
        error of a field.
        """
        try:
            found = read_range(Form(fields), _NOW, since)
        except WrongField as error:
            self.assertIn(error.field, ("t", "from", "to"))
            return
        if found is None:
            self.assertFalse(any(fields.get(name) for name in ("t", "from", "to")))
            return
        self.check(found)
        again = read_range(Form(dict(found.pairs)), _NOW, since)
        assert again is not None
        self.assertEqual(again.timeframe, found.timeframe)
        self.assertEqual(again.begin(_NOW), found.begin(_NOW))

    @given(st.sampled_from([*PRESETS, "5d", "3M1d", "2y1w"]), st.integers(1, 40))
    def test_stepping(self, t: str, steps: int) -> None:
        """
        Each step back is a range of the same length that ends where the last one began,
        with detail that is stored; steps forward lead to now again.
        """
        found = read_range(Form({"t": t}), _NOW, since)
        assert found is not None
        taken = 0
        for _ in range(steps):
            before = found.stepped(-1, _NOW, since)
            if before is None:
                break
            self.check(before)
            self.assertEqual(before.timeframe.duration, found.timeframe.duration)
            begin, interval = before.begin(_NOW), before.timeframe.interval
            self.assertGreaterEqual(begin + interval.longest, since(scale_of(interval)))
            self.assertLess(begin, found.begin(_NOW))
            found, taken = before, taken + 1
        # Steps may be longer in the past, where a range then begins a little earlier.
        for _ in range(2 * taken + 2):
            after = found.stepped(1, _NOW, since)
            if after is None:
                break
            self.check(after)
            found = after
        self.assertIsNone(found.start)
        self.assertIsNone(found.stepped(1, _NOW, since))

    @given(st.integers(1, 2000), _UNITS, st.integers(0, _NOW))
    def test_picked_steps(self, number: int, unit: str, begin: int) -> None:
        """A picked step divides a range into not too many, all of them stored."""
        duration = Span(number, unit)
        step = pick_step(duration, begin, since)
        if step != Span(1, "y"):
            self.assertLessEqual(duration.longest / step.longest, 370)
            first = max(0, step.start(step.bucket(begin)))
            self.assertGreaterEqual(first, since(scale_of(step)))

    def test_titles(self) -> None:
        """A range in words has its length, its beginning, and its steps."""
        start = int(datetime(2014, 5, 1, 13, tzinfo=UTC).timestamp())
        for found, title in (
            (Range(Timeframe.parse("1d5m")), "1 day, in steps of 5 minutes"),
            (
                Range(Timeframe.parse("2d1h"), start),
                "2 days from 1 May 2014, 13:00 UTC, in steps of 1 hour",
            ),
        ):
            self.assertEqual(found.title(_NOW), title)
