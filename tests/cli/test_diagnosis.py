"""
What the commands say about servers that cannot be reached.
"""

from __future__ import annotations

from twisted.internet.error import (
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TimeoutError,
)
from twisted.trial.unittest import SynchronousTestCase

from txstathat.cli.diagnosis import diagnose


class UnreachableTests(SynchronousTestCase):
    """
    The server is named, without what may be secret in its URL.
    """

    def test_server_is_named(self) -> None:
        """Each failure before TLS names the host, and the port if that matters."""
        slow = TimeoutError()
        slow.__cause__ = ConnectionRefusedError()
        for error, step, words in (
            (ConnectionRefusedError(), "connection", "refused by stats.example:81"),
            (NoRouteError("no route"), "connection", "stats.example:81: "),
            (slow, "connection", "stats.example:81: no answer within the time limit"),
            (DNSLookupError(), "look-up", "the host name stats.example was not found"),
        ):
            found = diagnose(error, "http://user:canary@stats.example:81/canary")
            self.assertEqual(found.step, step)
            self.assertIn(words, found.problem)
            self.assertNotIn("canary", found.problem + found.advice)
            self.assertNotIn("txstathat serve", found.advice)

    def test_on_this_machine(self) -> None:
        """If the server would be on this machine, the advice is to start one."""
        for host in ("127.0.0.1", "127.0.0.2", "[::1]", "localhost", "LOCALHOST"):
            found = diagnose(ConnectionRefusedError(), f"http://{host}:8080")
            self.assertIn("txstathat serve", found.advice)
        for host in ("10.0.0.1", "[2001:db8::1]", "localhost.example"):
            found = diagnose(ConnectionRefusedError(), f"http://{host}:8080")
            self.assertIn("firewall", found.advice)
