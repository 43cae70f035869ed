"""
Text from outside without control characters.
"""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txstathat.printable import printable


class PrintableTests(SynchronousTestCase):
    """
    ``printable``.
    """

    def test_substitutes(self) -> None:
        """Control characters are replaced; all other characters stay."""
        self.assertEqual(printable("a\x1b[31m\r\nb\u202e é"), "a�[31m��b� é")
        self.assertEqual(printable("a\n\x9bb", " "), "a  b")
        self.assertEqual(printable(ValueError("a\0")), "a�")
        family = "👩\u200d👧 \u0645\u06cc\u200c\u062e"
        self.assertEqual(printable(family), family)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """No control, format or separator character is left; the length is the same."""
        shown = printable(text)
        self.assertEqual(len(shown), len(text))
        for before, after in zip(text, shown, strict=True):
            if before.isprintable():
                self.assertEqual(after, before)
            kind = unicodedata.category(after)
            self.assertTrue(kind[0] not in "CZ" or after in " \u200c\u200d", kind)
