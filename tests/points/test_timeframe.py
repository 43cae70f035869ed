"""
Timeframes: what they look back on, and in which steps.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat import InvalidTimeframe
from txstathat.points.amounts import MAX_TIME
from txstathat.points.timeframe import MAX_BUCKETS, MAX_YEARS, Span, Timeframe

spans = st.builds(Span, st.integers(1, 400), st.sampled_from("mhdw")) | st.builds(
    Span, st.integers(1, MAX_YEARS), st.sampled_from("My")
)
times = st.integers(0, MAX_TIME - 1)


def at(text: str) -> int:
    """
    Unix seconds of a time in UTC, as ISO 8601.
    """
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def day(t: int) -> str:
    """
    The date of Unix seconds, which must be a midnight in UTC.
    """
    return datetime.fromtimestamp(t, UTC).isoformat().removesuffix("T00:00:00+00:00")


class ParseTests(SynchronousTestCase):
    """
    Timeframes as text.
    """

    def test_round_trip(self) -> None:
        """The text of a timeframe reads back as itself, and has words."""
        for text, title in (
            ("1w3h", "1 week @ 3 hours"),
            ("1h1m", "1 hour @ 1 minute"),
            ("2M1d", "2 months @ 1 day"),
            ("10y2M", "10 years @ 2 months"),
        ):
            timeframe = Timeframe.parse(text)
            self.assertEqual((str(timeframe), timeframe.title), (text, title))

    @settings(max_examples=100)
    @given(spans, spans)
    def test_any_round_trip(self, duration: Span, interval: Span) -> None:
        """Any duration and interval make a timeframe that reads back as itself."""
        timeframe = Timeframe(duration, interval)
        self.assertEqual(Timeframe.parse(str(timeframe)), timeframe)

    def test_case_matters(self) -> None:
        """1m is a minute and 1M a month; no other unit has an upper case."""
        self.assertEqual(Timeframe.parse("1M1m").duration.unit, "M")
        for text in ("1W3h", "1w3H", "1D1h", "1Y1M"):
            self.assertRaises(InvalidTimeframe, Timeframe.parse, text)

    @settings(max_examples=100)
    @given(spans, spans, spans)
    def test_a_third_part(self, duration: Span, interval: Span, third: Span) -> None:
        """Of three parts the first two are served."""
        self.assertEqual(
            Timeframe.parse(f"{duration}{interval}{third}"),
            Timeframe(duration, interval),
        )

    def test_a_bad_third_part(self) -> None:
        """A third part must be a length of time as well."""
        for text, words in (
            ("1d15m0w", "0w is zero"),
            ("1d15m101y", "101y is longer than 100 years"),
        ):
            error = self.assertRaises(InvalidTimeframe, Timeframe.parse, text)
            self.assertIn(words, str(error))

    @settings(max_examples=100)
    @given(spans)
    def test_spans(self, span: Span) -> None:
        """A length of time alone reads back as itself, and only alone."""
        self.assertEqual(Span.parse(str(span)), span)
        for text in ("", f"{span}1h", f" {span}", f"-{span}", "0d", "101y", None, 7):
            self.assertRaises(InvalidTimeframe, Span.parse, text)

    def test_refusals(self) -> None:
        """What is no timeframe is refused in words that show it and an example."""
        for text in ("", "1w", "w3h", "1w3", " 1w3h", "1w3h\n", "1w-3h", "1.5w3h", "\u0661w3h",
                     "1w 3h", "1w3h3", "1w3h3h3h", "x" * 1000, None, 7, b"1w3h"):  # fmt: skip
            error = self.assertRaises(InvalidTimeframe, Timeframe.parse, text)
            self.assertIn("such as 1w3h", str(error))
            self.assertLess(len(str(error)), 200)
        self.assertIsInstance(error, ValueError)
        error = self.assertRaises(InvalidTimeframe, Timeframe.parse, "1w0h")
        self.assertEqual(str(error), "timeframe '1w0h': 0h is zero")
        for text in ("101y1M", "1201M1d", "999999999w1w", "1d999999999y"):
            error = self.assertRaises(InvalidTimeframe, Timeframe.parse, text)
            self.assertIn("is longer than 100 years", str(error))


class GridTests(SynchronousTestCase):
    """
    Where buckets lie.
    """

    def test_the_usual_timeframes(self) -> None:
        """They have as many points as their duration has intervals."""
        now = at("2026-03-04T05:06:07")
        for text, buckets in (
            ("1h1m", 60), ("1d5m", 288), ("1w3h", 56), ("1M1h", 28 * 24), ("1y1d", 365),
            ("1y1M", 12), ("1d1d", 1), ("1h1d", 1),
        ):  # fmt: skip
            edges = Timeframe.parse(text).edges(now)
            self.assertEqual(len(edges) - 1, buckets, text)

    def test_weeks_begin_on_mondays(self) -> None:
        """So do buckets of several weeks; the last holds now."""
        edges = Timeframe.parse("3w1w").edges(at("2026-11-22T23:59:59"))
        self.assertEqual(
            [day(t) for t in edges],
            ["2026-11-02", "2026-11-09", "2026-11-16", "2026-11-23"],
        )

    def test_months_and_years_follow_the_calendar(self) -> None:
        """Their lengths differ; several months divide the year where they can."""
        now = at("2024-03-31T12:00:00")
        self.assertEqual(
            [day(t) for t in Timeframe.parse("3M1M").edges(now)],
            ["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"],
        )
        self.assertEqual(
            [day(t) for t in Timeframe.parse("1y3M").edges(now)],
            ["2023-04-01", "2023-07-01", "2023-10-01", "2024-01-01", "2024-04-01"],
        )
        self.assertEqual(
            [day(t) for t in Timeframe.parse("20y10y").edges(now)],
            ["2010-01-01", "2020-01-01", "2030-01-01"],
        )

    def test_a_month_back_from_a_day_it_has_not(self) -> None:
        """It is the last day of that month."""
        self.assertEqual(day(Span(1, "M").before(at("2024-03-31"))), "2024-02-29")
        self.assertEqual(day(Span(1, "y").before(at("2024-02-29"))), "2023-02-28")

    def test_the_first_bucket_is_whole(self) -> None:
        """Where the duration ends amid a bucket, all of the bucket is in."""
        edges = Timeframe.parse("1M1w").edges(at("2026-11-25"))
        self.assertEqual(day(edges[-1]), "2026-11-30")
        # A month before that is a Friday, in the week of the 26th of October.
        self.assertEqual(day(edges[0]), "2026-10-26")

    def test_nothing_is_before_the_epoch(self) -> None:
        """No point can be older, so no bucket is."""
        edges = Timeframe.parse("100y1y").edges(at("1975-05-05"))
        self.assertEqual([day(edges[0]), day(edges[-1])], ["1970-01-01", "1976-01-01"])
        for frame in ("1w1w", "100y3y", "100y7M", "60y7M", "100y100y"):
            edges = Timeframe.parse(frame).edges(at("1975-05-05"))
            self.assertGreaterEqual(edges[0], 0)
        week = Timeframe.parse("1w1w").edges(0)
        self.assertEqual([day(t) for t in week], ["1970-01-01", "1970-01-05"])

    def test_too_many_points(self) -> None:
        """10,000 points are a timeframe, one more is an error that says what to do."""
        now = at("2026-03-04T05:06:07")
        self.assertEqual(len(Timeframe.parse("10000m1m").edges(now)), MAX_BUCKETS + 1)
        timeframe = Timeframe.parse("10001m1m")
        error = self.assertRaises(InvalidTimeframe, timeframe.edges, now)
        self.assertEqual(
            str(error),
            "timeframe '10001m1m': has 10,001 points; ask for at most 10,000, "
            "with a shorter duration or a longer interval",
        )
        # Told at once, without counting fifty million buckets one by one.
        self.assertRaises(InvalidTimeframe, Timeframe.parse("100y1m").edges, now)

    @settings(max_examples=300)
    @given(spans, times)
    def test_every_time_has_one_bucket(self, span: Span, t: int) -> None:
        """A bucket's start belongs to it, and so does all up to the next one's."""
        bucket = span.bucket(t)
        start, end = span.start(bucket), span.start(bucket + 1)
        self.assertTrue(start <= t < end)
        self.assertTrue(end - start <= span.longest or span.unit in "My")
        self.assertEqual((span.bucket(start), span.bucket(end - 1)), (bucket, bucket))

    @settings(max_examples=300)
    @given(spans, spans, times)
    def test_edges(self, duration: Span, interval: Span, now: int) -> None:
        """
        The last bucket holds now, all buckets are on the grid and whole (but at the
        epoch), and they reach back over the duration from the last one's end, by less
        than a bucket more.
        """
        assume(duration.longest < 2000 * interval.longest)
        edges = Timeframe(duration, interval).edges(now)
        self.assertTrue(edges[-2] <= now < edges[-1])
        for start, end in pairwise(edges):
            bucket = interval.bucket(start)
            self.assertEqual(
                (max(0, interval.start(bucket)), interval.start(bucket + 1)),
                (start, end),
            )
        reach = max(0, duration.before(edges[-1]))
        self.assertTrue(edges[0] <= reach < edges[1])

    def test_from_a_start(self) -> None:
        """A timeframe from a start has its whole duration, in steps on the grid."""
        now = at("2026-03-04T05:06:07")
        edges = Timeframe.parse("1w3h").edges_from(at("2026-02-01T04:30:00"), now)
        self.assertEqual(len(edges) - 1, 56)
        self.assertEqual(edges[0], at("2026-02-01T03:00:00"))
        edges = Timeframe.parse("1M1d").edges_from(at("2026-01-31T12:00:00"), now)
        self.assertEqual((day(edges[0]), day(edges[-1])), ("2026-01-31", "2026-02-28"))
        # No step lies in the future.
        edges = Timeframe.parse("1w1d").edges_from(at("2026-03-03"), now)
        self.assertEqual((day(edges[0]), day(edges[-1])), ("2026-03-03", "2026-03-05"))
        error = self.assertRaises(
            InvalidTimeframe, Timeframe.parse("1y1m").edges_from, 0, now
        )
        self.assertIn("at most 10,000", str(error))

    @settings(max_examples=300)
    @given(spans, spans, times, st.integers(0, 10**9))
    def test_edges_from(
        self, duration: Span, interval: Span, now: int, ago: int
    ) -> None:
        """
        The first bucket holds the start; they are the grid's, and reach over the
        duration, or to the bucket that holds now.
        """
        assume(duration.longest < 2000 * interval.longest)
        start = max(0, now - ago)
        edges = Timeframe(duration, interval).edges_from(start, now)
        self.assertTrue(edges[0] <= start < edges[1])
        buckets = [interval.bucket(edge) for edge in edges]
        self.assertEqual(buckets, list(range(buckets[0], buckets[0] + len(edges))))
        end = min(now + 1, duration.after(edges[0]))
        self.assertTrue(edges[-2] < end <= edges[-1])

    @settings(max_examples=100)
    @given(spans, times, st.integers(0, 10**8))
    def test_the_grid_does_not_move(self, interval: Span, now: int, later: int) -> None:
        """Whoever asks later sees the same edges, where both look."""
        timeframe = Timeframe(Span(interval.number * 3, interval.unit), interval)
        early, late = (
            timeframe.edges(now),
            timeframe.edges(min(now + later, MAX_TIME - 1)),
        )
        for t in late:
            if t < early[-1]:
                self.assertEqual(early[bisect_right(early, t) - 1], t)

    def test_against_the_calendar(self) -> None:
        """A hundred years of days, weeks and months agree with datetime's own."""
        t = datetime(1970, 1, 1, tzinfo=UTC)
        while t.year < 2070:
            seconds = int(t.timestamp()) + 4321
            for unit, start in (
                ("d", t),
                ("w", t - timedelta(days=t.weekday())),
                ("M", t.replace(day=1)),
                ("y", t.replace(month=1, day=1)),
            ):
                span = Span(1, unit)
                self.assertEqual(
                    span.start(span.bucket(seconds)), int(start.timestamp())
                )
            t += timedelta(days=17)
