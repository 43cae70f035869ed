"""
``txstathat serve``: its options for statsd.
"""

from __future__ import annotations

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from txstathat.cli.commands import txstathat


class StatsDOptionTests(SynchronousTestCase):
    """
    ``--statsd`` and ``--statsd-key``.
    """

    def test_wrong(self) -> None:
        """What is no UDP port is refused, with an example, before anything starts."""
        result = CliRunner().invoke(txstathat, ["serve", "--statsd", "8125"])
        self.assertEqual(result.exit_code, 2, result.output)
        self.assertIn("--statsd: '8125' must be like udp:8125", result.output)

    def test_help(self) -> None:
        """The help says that datagrams have no key, and which key they count under."""
        output = " ".join(
            CliRunner().invoke(txstathat, ["serve", "--help"]).output.split()
        )
        self.assertIn("They have no key", output)
        self.assertIn("[default: first EZ key]", output)
