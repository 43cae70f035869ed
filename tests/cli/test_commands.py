"""
Commands that are mistyped, where the server listens, and texts that must fit.
"""

from __future__ import annotations

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from twisted.trial.unittest import SynchronousTestCase

from txstathat.cli.commands import txstathat
from txstathat.cli.output import age_text
from txstathat.cli.tables import cut_middle
from txstathat.collector.options import listen_endpoint


class CommandTests(SynchronousTestCase):
    """
    What the shell answers without a server.
    """

    def refused(self, *arguments: str) -> str:
        """The error of a command with wrong usage."""
        result = CliRunner().invoke(txstathat, arguments)
        self.assertEqual(result.exit_code, 2, result.output)
        return result.output

    def test_suggestions(self) -> None:
        """A mistyped command, also one in a group, suggests those like it."""
        for arguments, hint in (
            (["serv"], "Did you mean serve"),
            (["lst"], "Did you mean list"),
            (["COUNT"], "Did you mean count"),
            (["keys", "revok"], "Did you mean revoke?"),
            (["stats", "ad"], "Did you mean add?"),
            (["alerts", "lists"], "Did you mean list"),
            (["qqqq"], "See txstathat --help."),
        ):
            out = self.refused(*arguments)
            self.assertIn(f"No such command {arguments[-1]!r}. ", out)
            self.assertIn(hint, out)

    def test_where_to_listen(self) -> None:
        """The port and the address are options; both ways at once are refused."""
        for words in (
            ("--port", "0", "--listen", "tcp:0"),
            ("--host", "::1", "--listen", "tcp:0"),
        ):
            self.assertIn(
                "--listen, or --port and --host", self.refused("serve", *words)
            )
        self.assertIn("0.0.0.0 for all", self.refused("serve", "--host", "example.com"))
        self.assertIn("70000", self.refused("serve", "--port", "70000"))
        self.assertIn("--max-stats", self.refused("serve", "--max-stats", "0"))
        for arguments, endpoint in (
            ((), "tcp:8080:interface=127.0.0.1"),
            ((9000,), "tcp:9000:interface=127.0.0.1"),
            ((None, "0.0.0.0"), "tcp:8080:interface=0.0.0.0"),
            ((0, "::1"), "tcp:0:interface=\\:\\:1"),
        ):
            self.assertEqual(listen_endpoint(*arguments), endpoint)

    def test_ages(self) -> None:
        """A time that has passed is short."""
        for seconds, text in (
            (-3, "now"),
            (59, "now"),
            (60, "1 min ago"),
            (7_300, "2 h ago"),
            (86_400 * 1234, "1,234 d ago"),
        ):
            self.assertEqual(age_text(seconds), text)

    @given(st.text(), st.integers(2, 40))
    def test_cutting(self, text: str, width: int) -> None:
        """A text that does not fit is cut in its middle; both ends are shown."""
        cut = cut_middle(text, width)
        self.assertLessEqual(cell_len(cut), max(width, 0))
        if cut != text:
            self.assertGreater(cell_len(text), width)
            first, _, last = cut.partition("…")
            self.assertTrue(text.startswith(first))
            self.assertTrue(text.endswith(last) or "…" in text)
