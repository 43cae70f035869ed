"""
The parser of targets, and times.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat.collector.api.graphite.targets import (
    MAX_DEPTH,
    MAX_TARGET,
    Call,
    Path,
    parse,
)
from txstathat.collector.api.graphite.times import parse_interval, parse_time
from txstathat.collector.errors import Refusal

NOW = 1_400_000_000
CHARACTERS = "ab.*{}[]()'\", =-+1e9%|\\\u00e9 \n"


class ParseTests(SynchronousTestCase):
    """
    From text to calls.
    """

    def refused(self, text: str, words: str) -> None:
        """A target is refused, with the reason."""
        with self.assertRaises(Refusal) as raised:
            parse(text)
        self.assertEqual(raised.exception.status, 400)
        self.assertIn(words, raised.exception.msg)

    def test_valid(self) -> None:
        """Paths, calls, quoted texts, numbers, constants and names of arguments."""
        for text, expected in (
            ("a.b%20c", Path("a.b%20c")),
            (" {a,b}.[0-9]* ", Path("{a,b}.[0-9]*")),
            ("f(a, 'x, y')", Call("f", [Path("a"), "x, y"])),
            ('f(a,"it\'s",-1)', Call("f", [Path("a"), "it's", -1])),
            ("f( g(a) , 0.5 )", Call("f", [Call("g", [Path("a")]), 0.5])),
            ("f(a, true, None)", Call("f", [Path("a"), True, None])),
            ("f(a, n=2)", Call("f", [Path("a")], {"n": 2})),
            ("f()", Call("f")),
            ("f(1e3)", Call("f", [1000.0])),
            ("f(4xx.count)", Call("f", [Path("4xx.count")])),
        ):
            self.assertEqual(parse(text), expected, text)

    def test_invalid(self) -> None:
        """Each error says where it is, and what was expected."""
        self.refused("", "expected a path")
        self.refused("f(a", "',' or ')' at character 4")
        self.refused("f(a))", "expected the end of the target at character 5")
        self.refused("f(a,,b)", "at character 5, not ',b)'")
        self.refused("f('a)", 'not "\'a)"')
        self.refused("f(n=1, a)", "another argument by name")
        self.refused("f(n=1, n=2)", "passed twice")
        self.refused("5", "no path and no function")
        self.refused("'x'", "no path and no function")
        self.refused("f(1e999)", "largest float")

    def test_bounds(self) -> None:
        """A target that is too long or too deep is refused."""
        parse("f(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH)
        self.refused("f(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), "deeper")
        self.refused("a" * (MAX_TARGET + 1), "longer")
        self.refused("f(" * 4000, "deeper")

    @given(st.text(CHARACTERS, max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is a target, or refused."""
        try:
            self.assertIsInstance(parse(text), Path | Call)
        except Refusal as refusal:
            self.assertEqual(refusal.status, 400)


class TimeTests(SynchronousTestCase):
    """
    Graphite's times and intervals.
    """

    def test_times(self) -> None:
        """Unix seconds, now, intervals from now, and dates in UTC."""
        for text, expected in (
            ("1399999000", 1_399_999_000),
            ("now", NOW),
            ("-1h", NOW - 3600),
            ("-5min", NOW - 300),
            ("now-1d", NOW - 86_400),
            ("now+30s", NOW + 30),
            ("-1mon", NOW - 30 * 86_400),
            ("20140513", 1_399_939_200),
            ("12:30_20140513", 1_399_984_200),
            ("-90y", 0),
        ):
            self.assertEqual(parse_time(text, NOW, "from"), expected, text)

    def test_intervals(self) -> None:
        """A number and a unit, or several."""
        for text, expected in (
            ("10s", 10),
            ("5min", 300),
            ("5minutes", 300),
            ("-1h30min", -5400),
            ("+2w", 1_209_600),
            ("1y", 31_536_000),
        ):
            self.assertEqual(parse_interval(text, "x"), expected, text)

    def test_refused(self) -> None:
        """What is no time or interval is refused by name of its field."""
        times = ("", "x", "-1", "-5m", "nowish", "20141399", "9" * 15, "25:00_20140513")
        for text in times:
            with self.assertRaises(Refusal) as raised:
                parse_time(text, NOW, "from")
            self.assertIn("from", raised.exception.msg)
        for text in ("", "5", "min", "5x", "1h-5min", "101y", "9" * 9 + "y", "5 min"):
            self.assertRaises(Refusal, parse_interval, text, "x")
