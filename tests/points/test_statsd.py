"""
The lines of statsd.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat.points.amounts import MAX_INTEGER
from txstathat.points.model import Parts, as_point, expand_point
from txstathat.points.statsd import (
    IDLE_SECONDS,
    MAX_DIFFERENT,
    MAX_LINES,
    MAX_PENDING,
    SWEEP_SECONDS,
    StatsDReader,
)


class StatsDReaderTests(SynchronousTestCase):
    """
    ``StatsDReader``.
    """

    def read(self, *datagrams: bytes, **options: object) -> list[Parts]:
        """Read datagrams with a new reader, and take the points."""
        self.reader = StatsDReader(**options)  # type: ignore[arg-type]
        self.reader.read(datagrams, 0)
        return self.reader.take(0)

    def assert_refused(self, reason: str, *lines: bytes) -> None:
        for line in lines:
            self.assertEqual(self.read(line), [], line)
            self.assertEqual(self.reader.refused, {reason: 1}, line)
            self.assertEqual(self.reader.accepted, 0)

    def test_counters(self) -> None:
        """The counts of a counter are added up, in one datagram or in several."""
        points = self.read(b"a:1|c\nb:2.5|c", b"a:1|c", b"a:-4|c\n", b"c:+3|c\r\n")
        self.assertEqual(
            points,
            [
                ("count", "a", -2, None),
                ("count", "b", 2.5, None),
                ("count", "c", 3, None),
            ],
        )
        self.assertEqual(self.reader.accepted, 5)
        self.assertEqual(self.reader.refused, {})

    def test_sample_rates(self) -> None:
        """A counter is divided by its sample rate; whole sums are whole numbers."""
        self.assertEqual(
            self.read(b"a:1|c|@0.1", b"a:1|c|@0.1", b"b:3|c|@.5", b"c:2|c|@1"),
            [
                ("count", "a", 20, None),
                ("count", "b", 6, None),
                ("count", "c", 2, None),
            ],
        )
        ((_, _, amount, _),) = self.read(b"a:1|c|@0.3")
        self.assertEqual(amount, 1 / 0.3)

    def test_values(self) -> None:
        """Timers, histograms and distributions become one value for each."""
        points = self.read(b"t:320|ms", b"t:1.5|ms|@0.1", b"t:320|ms", b"h:3|h\nd:4|d")
        self.assertEqual(
            Counter(points),
            Counter(
                {
                    ("value", "t", 320, None): 2,
                    ("value", "t", 1.5, None): 1,
                    ("value", "h", 3, None): 1,
                    ("value", "d", 4, None): 1,
                }
            ),
        )

    def test_packed_values(self) -> None:
        """DogStatsD packs several values of a stat into a line."""
        self.assertEqual(
            self.read(b"t:1:2.5:3|h|#env:prod", b"c:1:2|c"),
            [
                ("value", "t", 1, None),
                ("value", "t", 2.5, None),
                ("value", "t", 3, None),
                ("count", "c", 3, None),
            ],
        )

    def test_gauges(self) -> None:
        """A gauge is set, or moved by an amount with a sign, in the order of the lines."""
        points = self.read(b"g:5|g", b"g:+1.5|g", b"g:5|g\ng:-7|g", b"new:-2|g")
        self.assertEqual([point[2] for point in points], [5, 6.5, 5, -2, -2])
        self.reader.read([b"g:+10|g"], 1)
        self.assertEqual(self.reader.take(1), [("value", "g", 8, None)])

    def test_buckets(self) -> None:
        """Each timer is also counted by its duration, where asked."""
        points = self.read(
            *(b"t:10|ms", b"t:11|ms|@0.5", b"t:1000|ms", b"t:2000|ms", b"h:5|h"),
            buckets=(10, 100),
        )
        self.assertEqual(
            [point for point in points if point[0] == "count"],
            [
                ("count", "t up to 10 ms", 1, None),
                ("count", "t up to 100 ms", 2, None),
                ("count", "t over 100 ms", 2, None),
            ],
        )
        self.reader.read([b"t:1|ms"], 0)
        self.assertEqual(len(self.reader.take(0)), 2)

    def test_tags(self) -> None:
        """Tags are dropped, or become parts of names, in the order asked for."""
        lines = (
            b"a:1|c|#zone:eu,env:prod,user:7",
            b"a:1|c|@0.5|#env:prod|c:ci-1",
            b"a:1|c",
        )
        self.assertEqual(self.read(*lines), [("count", "a", 4, None)])
        self.assertEqual(
            self.read(*lines, tags=["env", "zone"], prefix="app."),
            [
                ("count", "app.a env:prod zone:eu", 1, None),
                ("count", "app.a env:prod", 2, None),
                ("count", "app.a", 1, None),
            ],
        )

    def test_refused(self) -> None:
        """What is no metric, or no point of StatHat, is refused and counted."""
        self.assert_refused("set", b"users:7|s", b"users:bob|s|#a:b")
        self.assert_refused("event", b"_e{1,1}:t|x", b"_e{1,1}:t|x|#a", b"_sc|db|0")
        self.assert_refused(
            "syntax", b"a", b"a:1", b"a|c", b"\0\xff", b"a:1|c|what", b"a:1|c:2|c"
        )
        self.assert_refused("type", b"a:1|m", b"a:1|", b"a:1|C")
        self.assert_refused("name", b":1|c", b"\xff:1|c", b"a~b:1|c", b"a\0:1|c")
        self.assert_refused("name", b"x" * 256 + b":1|c")
        self.assert_refused(
            "amount",
            *(b"a:|c", b"a:x|c", b"a:nan|ms", b"a:inf|ms", b"a:1_0|c", b"a: 1|c"),
            *(b"a:1e999|g", b"a:1e19|ms", b"a:1:|ms", b"a:\xb2|c", b"a:.|c"),
            b"a:9223372036854775807|c|@0.1",
        )
        self.assert_refused(
            "rate", b"a:1|c|@0", b"a:1|c|@2", b"a:1|c|@-1", b"a:1|c|@x", b"a:1|c|@nan"
        )
        self.assert_refused("time", b"a:1|c|T1656581400")

    def test_kinds(self) -> None:
        """A name is that of a counter or of values, and stays so."""
        self.read(b"a:1|c", b"b:1|g")
        self.reader.read([b"a:5|ms", b"a:5|g", b"a:2|c", b"b:1|c"], 0)
        self.assertEqual(self.reader.take(0), [("count", "a", 2, None)])
        self.assertEqual(self.reader.refused, {"kind": 3})

    def test_names(self) -> None:
        """Further names are refused; names that are idle make room in time."""
        reader = StatsDReader(max_names=2)

        def read(lines: bytes, now: float) -> set[str]:
            reader.read([lines], now)
            return {point[1] for point in reader.take(now)}

        self.assertEqual(read(b"a:1|c\nb:1|c\nc:1|c\nc:1|c\na:1|c", 0), {"a", "b"})
        self.assertEqual(reader.refused, {"too many names": 2})
        later = IDLE_SECONDS - 1
        self.assertEqual(read(b"a:1|c", later), {"a"})
        self.assertEqual(read(b"c:1|c", later), set())
        self.assertEqual(reader.refused, {"too many names": 3})
        self.assertEqual(read(b"c:1|c\nd:1|c", later + SWEEP_SECONDS), {"c"})
        self.assertEqual(reader.refused, {"too many names": 4})

    def test_pending(self) -> None:
        """Values beyond the limit are refused; taking makes room."""
        reader = StatsDReader()
        many = b"t:" + b":".join([b"1"] * (MAX_PENDING // 2)) + b"|ms"
        reader.read([many, many, b"t:1|ms", b"a:1|c"], 0)
        self.assertEqual(len(reader.take(0)), MAX_PENDING + 1)
        self.assertEqual(reader.refused, {"too many values": 1})
        self.assertEqual(reader.accepted, 3)
        reader.read([b"t:1|ms"], 0)
        self.assertEqual(len(reader.take(0)), 1)

    def test_lines(self) -> None:
        """Lines are parsed before too many wait, be they equal or different."""
        reader = StatsDReader()
        reader.read([b"t:1|ms"] * (MAX_LINES - 1), 0)
        self.assertEqual(reader.pending, 0)
        reader.read([b"t:1|ms"], 0)
        self.assertEqual(reader.pending, MAX_LINES)
        reader.read([b"t:%d|ms" % n for n in range(MAX_DIFFERENT)], 0)
        self.assertEqual(reader.pending, MAX_LINES + MAX_DIFFERENT)

    def test_options(self) -> None:
        """Options that cannot work are refused."""
        with self.assertRaisesRegex(ValueError, "rising order"):
            StatsDReader(buckets=(10, 10))
        with self.assertRaisesRegex(ValueError, "at least 1"):
            StatsDReader(max_names=0)

    @given(
        st.lists(
            st.binary(max_size=40)
            | st.from_regex(
                rb"[ab~]{0,2}:[-+0-9.e:]{0,5}\|(c|ms|g|h|s|x)(\|@[0-9.]{1,3})?(\|#[a-c:,]{0,5})?",
                fullmatch=True,
            ),
            max_size=20,
        )
    )
    def test_anything(self, datagrams: list[bytes]) -> None:
        """Whatever arrives, each line is accepted or refused, and each point is valid."""
        points = self.read(*datagrams, tags=["a"], buckets=(1,))
        lines = sum(1 for each in datagrams for line in each.split(b"\n") if line)
        accounted = self.reader.accepted + sum(self.reader.refused.values())
        self.assertEqual(accounted, lines)
        for point in points:
            self.assertEqual(len(expand_point(as_point(point))), 1)
            self.assertTrue(math.isfinite(point[2]))
        self.assertEqual(self.reader.take(0), [])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.integers(-MAX_INTEGER // 64, MAX_INTEGER // 64),
            ),
            max_size=50,
        )
    )
    def test_sums(self, counts: list[tuple[str, int]]) -> None:
        """Whole counts are added up exactly, however they share datagrams."""
        points = self.read(*(f"{name}:{n}|c".encode() for name, n in counts))
        expected: Counter[str] = Counter()
        for name, n in counts:
            expected[name] += n
        found = {name: Fraction(amount) for _, name, amount, _ in points}
        self.assertEqual(found, expected)
