"""
The service in whole programs: twistd, twist and task.react, as in ``examples/``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.fixtures import ROOT
from tests.fixtures.support import reactor
from txstathat.collector.web.site import CollectorSite
from txstathat.testing import FakeStatHat


def fetch(url: str) -> str:
    """Get a page on a connection of its own."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read())


class ProgramTests(TestCase):
    """
    Each counts on a real server, and ends cleanly.
    """

    timeout = 600

    def setUp(self) -> None:
        self.received = FakeStatHat(allow=lambda api, key: key == "k")
        site = CollectorSite(self.received.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.place = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.place)
        # A copy: twist writes down which plugins it found.
        self.examples = os.path.join(self.place, "examples")
        shutil.copytree(ROOT / "examples", self.examples)
        self.spool = os.path.join(self.place, "spool")
        self.environ = {
            **os.environ,
            "TXSTATHAT_EZKEY": "k",
            "TXSTATHAT_URL": f"http://127.0.0.1:{port.getHost().port}",
            "STATS_FOLDER": self.spool,
        }
        # What is said to be run says itself where the program is, and nothing else does.
        self.environ.pop("PYTHONPATH", None)
        os.symlink(ROOT / "txstathat", os.path.join(self.examples, "txstathat"))

    async def run_until_term(self, file: str) -> bytes:
        """
        Run what a file says that it is run with, until it has counted a while, and stop
        it.
        """
        text = Path(self.examples, file).read_text()
        (command,) = re.findall("PYTHONPATH=[^\n`]*", text)
        where, script, *arguments = command.split()
        program = subprocess.Popen(
            [str(Path(sys.executable).with_name(script)), *arguments],
            env={**self.environ, **dict([where.split("=")])},
            cwd=self.examples,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            # It delivers every few seconds, or in the end: it counts from the start.
            while not (os.path.isdir(self.spool) and len(os.listdir(self.spool)) >= 2):
                self.assertIsNone(program.poll())
                await deferLater(reactor, 0.05)
            await deferLater(reactor, 0.5)
        finally:
            program.terminate()
            while program.poll() is None:
                await deferLater(reactor, 0.05)
            out, _ = program.communicate()
        self.assertIn(program.returncode, (0, -signal.SIGTERM), out.decode())
        return out

    def check(self, out: bytes) -> None:
        self.assertGreaterEqual(self.received.summaries["looks"].sum, 4)
        self.assertNotIn(b"Traceback", out)
        self.assertIn(b" 0 pending", out)
        self.assertEqual(os.listdir(self.spool), [])

    def test_twistd(self) -> Any:
        """A .tac file under twistd delivers what it counted before it ends."""

        async def check() -> None:
            self.check(await self.run_until_term("counting.tac"))

        return ensureDeferred(check())

    def test_twistd_as_a_daemon(self) -> Any:
        """A daemon counts too: nothing is opened before it becomes one."""

        async def check() -> None:
            pidfile = Path(self.place, "pid")
            log = Path(self.place, "log")
            _, err, status = await getProcessOutputAndValue(
                str(Path(sys.executable).with_name("twistd")),
                [
                    f"--pidfile={pidfile}", f"--logfile={log}",
                    "--python", str(Path(self.examples, "counting.tac")),
                ],
                env={**self.environ, "PYTHONPATH": self.examples},
                path=self.examples,
            )  # fmt: skip
            self.assertEqual(status, 0, err.decode())
            while not pidfile.exists():
                await deferLater(reactor, 0.05)
            await deferLater(reactor, 1)
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
            while pidfile.exists():
                await deferLater(reactor, 0.05)
            self.check(log.read_bytes())

        return ensureDeferred(check())

    def test_twist(self) -> Any:
        """A plugin under twist delivers what it counted before it ends."""

        async def check() -> None:
            self.check(await self.run_until_term("twisted/plugins/counting_plugin.py"))

        return ensureDeferred(check())

    def test_prefork(self) -> Any:
        """Each worker of a server that forks delivers what it counted, once."""

        async def check() -> None:
            program = subprocess.Popen(
                [sys.executable, "prefork_server.py"],
                env={**self.environ, "PYTHONPATH": ".", "PORT": "0"},
                cwd=self.examples,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert program.stdout is not None
            workers: set[str] = set()
            requests = 0
            try:
                line = await deferToThread(program.stdout.readline)
                url = f"http://127.0.0.1:{line.split()[-1]}"
                while len(workers) < 2:
                    workers.add(await deferToThread(fetch, url))
                    requests += 1
            finally:
                program.terminate()
                out, _ = await deferToThread(program.communicate)
            self.assertEqual((program.returncode, out), (0, ""))
            self.assertEqual(self.received.totals["requests"], requests)
            self.assertEqual(os.listdir(self.spool), [])

        return ensureDeferred(check())

    def test_react(self) -> Any:
        """A program under task.react ends when everything was delivered."""

        async def check() -> None:
            out, err, status = await getProcessOutputAndValue(
                sys.executable,
                [os.path.join(self.examples, "counting_react.py")],
                env=self.environ,
            )
            self.assertEqual((status, err), (0, b""))
            self.assertIn(b"20 recorded, 0 recovered, 20 delivered, 0 pending", out)
            self.assertEqual(self.received.summaries["pages read"].sum, 10)
            self.assertEqual(self.received.summaries["page length"].points, 10)
            self.assertEqual(os.listdir(self.spool), [])

        return ensureDeferred(check())
