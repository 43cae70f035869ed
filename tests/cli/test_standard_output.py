"""
Commands whose standard output is closed or full.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.environments import bare_environ
from tests.fixtures.python_programs import run_python
from tests.fixtures.shells import ShellCase
from txstathat import Count
from txstathat.cli.standard_output import OUTPUT_CLOSED


def run_unread(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command whose output nobody reads, like "| true"."""
    unread, output = os.pipe()
    os.close(unread)
    try:
        done = run_python(
            [sys.executable, "-m", "txstathat", *arguments],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
            cwd=ROOT,
            env={**bare_environ(), **environ},
        )
    finally:
        os.close(output)
    return done.returncode, done.stderr


class ClosedTests(ShellCase):
    """
    Commands that ask a server.
    """

    def test_quiet(self) -> Any:
        """They end without a message: nothing is wrong with the server."""

        async def check() -> None:
            await self.start()
            await self.post(Count("c"))
            environ = {"TXSTATHAT_TOKEN": self.token, "TXSTATHAT_URL": self.url}
            for arguments in (("list",), ("summary", "c"), ("top", "--once")):
                ended = await deferToThread(run_unread, *arguments, **environ)
                self.assertEqual(ended, (OUTPUT_CLOSED, ""), arguments)

        return ensureDeferred(check())


class OtherTests(SynchronousTestCase):
    """
    Commands that do not.
    """

    def test_quiet(self) -> None:
        """Servers and help end like that, too."""
        for arguments in (
            ("--help",),
            ("serve", "--store", "memory:", "--listen", "tcp:0:interface=127.0.0.1"),
            ("demo", "--seconds", "9"),
        ):
            self.assertEqual(run_unread(*arguments), (OUTPUT_CLOSED, ""), arguments)

    def test_first_keys(self) -> None:
        """Keys that could not be printed are discarded: the next start creates others."""
        store = f"sqlite:{Path(self.mktemp()).absolute()}"
        options = ("--store", store, "--listen", "tcp:0:interface=127.0.0.1")
        self.assertEqual(run_unread("serve", *options), (OUTPUT_CLOSED, ""))
        listed = run_python(
            [sys.executable, "-m", "txstathat", "keys", "list", "--store", store],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        self.assertEqual(listed.stdout, "There are no keys.\n", listed.stderr)

    def test_full(self) -> None:
        """Another error of standard output is explained."""
        with open("/dev/full", "w") as full:
            done = run_python(
                [sys.executable, "-m", "txstathat", "--help"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        self.assertEqual(
            (done.returncode, done.stderr),
            (1, "txstathat: standard output: No space left on device\n"),
        )
