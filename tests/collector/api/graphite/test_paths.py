"""
The names of stats as Graphite's paths, and patterns.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat.collector.api.graphite.paths import (
    MAX_ALTERNATIVES,
    Pattern,
    name_of,
    path_of_name,
)
from txstathat.collector.errors import Refusal

NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=255
) | st.text("a.%*{ é", min_size=1, max_size=12)


class PathTests(SynchronousTestCase):
    """
    From names to paths, and back.
    """

    def test_examples(self) -> None:
        """Dots between other characters separate nodes; odd characters are escaped."""
        for name, path in (
            ("web.requests.2xx", "web.requests.2xx"),
            ("page views", "page%20views"),
            ("load/é", "load%2F%C3%A9"),
            ("100%", "100%25"),
            ("a..b", "a%2E%2Eb"),
            (".a.", "%2Ea%2E"),
            (".", "%2E"),
        ):
            self.assertEqual(path_of_name(name), path)
            self.assertEqual(name_of(path), name)

    @given(NAMES)
    def test_there_and_back(self, name: str) -> None:
        """Each name has a path of its own, with no empty node and nothing special."""
        path = path_of_name(name)
        self.assertEqual(name_of(path), name)
        self.assertRegex(path, re.compile(r"\A[\w%-]+(\.[\w%-]+)*\Z", re.ASCII))
        self.assertTrue(Pattern(path).exact)
        self.assertTrue(Pattern(path).matches(path))

    @given(st.text(max_size=30) | st.text("a.%2E0F", max_size=8))
    def test_no_second_path(self, path: str) -> None:
        """What is not the path of a name is the path of no name."""
        name = name_of(path)
        if name is not None:
            self.assertEqual(path_of_name(name), path)


class PatternTests(SynchronousTestCase):
    """
    Graphite's wildcards.
    """

    def test_wildcards(self) -> None:
        """Wildcards match within a node."""
        for text, path, expected in (
            ("*", "a", True),
            ("*", "a.b", False),
            ("a.*.c", "a.b.c", True),
            ("a.*", "a", False),
            ("a?c", "abc", True),
            ("a[0-9]", "a5", True),
            ("a[!0-9]", "a5", False),
            ("{get,post}.2xx", "post.2xx", True),
            ("{get,post}.2xx", "put.2xx", False),
            ("a{b{c,d},e}", "abd", True),
            ("a{b{c,d},e}", "ae", True),
            ("x{a,b*}", "xbcd", True),
            ("A", "a", False),
        ):
            self.assertIs(Pattern(text).matches(path), expected, (text, path))

    @given(st.text("ab*?[]!-", max_size=10), st.text("ab-", min_size=1, max_size=8))
    def test_like_fnmatch(self, pattern: str, path: str) -> None:
        """Without braces a node is what fnmatch says."""
        self.assertIs(Pattern(pattern).matches(path), fnmatchcase(path, pattern))

    def test_nodes(self) -> None:
        """A search returns branches, then leaves; a node can be both."""
        paths = ["web", "web.get", "web.get.ms", "app.x", "zero"]
        found = [(n.text, n.leaf, n.branch) for n in Pattern("*").nodes(paths)]
        self.assertEqual(
            found, [("app", False, True), ("web", True, True), ("zero", True, False)]
        )
        self.assertEqual([n.text for n in Pattern("web.*").nodes(paths)], ["get"])

    def test_bounds(self) -> None:
        """Braces that stand for too much are refused, and stars cost little."""
        with self.assertRaises(Refusal) as raised:
            Pattern("{a,b}" * 10)
        self.assertIn(str(MAX_ALTERNATIVES), raised.exception.msg)
        self.assertRaises(Refusal, Pattern, "*" * 4000)
        self.assertFalse(Pattern("*a" * 200 + "b").matches("a" * 3000))
