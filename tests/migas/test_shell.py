"""
``txstathat migas`` and the example, as shell commands.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import DNSLookupError
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.fixtures import ROOT
from tests.fixtures.migas_server import FLAGGED, LATEST, PROJECT, MigasServer
from tests.fixtures.python_programs import PythonReactor
from tests.fixtures.support import reactor
from txstathat.cli.migas import failure_text
from txstathat.migas.wire.answers import DISABLED, explain


class ShellTests(TestCase):
    """
    Programs in processes of their own, against a server on the loopback interface.
    """

    timeout = 600

    def setUp(self) -> None:
        self.server = MigasServer()
        port = reactor.listenTCP(0, self.server.site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.environ = {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "TXSTATHAT_MIGAS_ENDPOINT": f"http://127.0.0.1:{port.getHost().port}",
        }
        for name in ("XDG_CONFIG_HOME", "MIGAS_OPTOUT", "DO_NOT_TRACK"):
            self.environ.pop(name, None)

    @inlineCallbacks
    def run_python(self, *arguments: str) -> Any:
        out, err, code = yield getProcessOutputAndValue(
            sys.executable, arguments, env=self.environ, reactor=PythonReactor()
        )
        self.assertNotIn(b"Traceback", err)
        self.assertEqual(self.server.violations, [])
        return code, out.decode(), err.decode()

    def migas(self, *arguments: str) -> Any:
        return self.run_python("-m", "txstathat", "migas", *arguments)

    @inlineCallbacks
    def test_answers(self) -> Any:
        """Each command prints the server's answer as JSON."""
        for arguments, expected in [
            (
                ["usage", PROJECT, "2022-07-01", "2022-08-01", "--unique"],
                {"hits": 7, "message": "", "unique": True, "success": True},
            ),
            (
                ["check", PROJECT, FLAGGED],
                {"success": True, "flagged": True, "latest": LATEST, "message": ""},
            ),
            (
                ["add", PROJECT, "1", "--status", "C", "--user-type", "ci"],
                {"success": True, "message": ""},
            ),
        ]:
            code, out, err = yield self.migas(*arguments)
            self.assertEqual((code, json.loads(out), err), (0, expected, ""))
        [crumb] = self.server.crumbs
        self.assertEqual((crumb["status"], crumb["user_type"]), ("C", "ci"))

    def test_unknown_server(self) -> None:
        """If the server's name is not found, the message has the name."""
        endpoint = "https://migas.invalid/api"
        not_found = explain(DNSLookupError(), 5.0)
        self.assertEqual(
            failure_text(not_found, endpoint),
            "the server's name was not found: migas.invalid",
        )
        for message, text in ((DISABLED, DISABLED), (None, "the server refused")):
            self.assertEqual(failure_text(message, endpoint), text)

    @inlineCallbacks
    def test_failures(self) -> Any:
        """A failure is on standard error, with exit status 1; misuse has status 2."""
        code, out, err = yield self.migas("check", "a/b", "1")
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err, "txstathat: Project is not registered.\n")
        code, out, err = yield self.migas("usage", PROJECT, "yesterday")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("start: must be a date", err)
        code, out, err = yield self.migas("check", "a/b", "1", "--endpoint", "x")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("the URL must begin with https://", err)
        for project in ("txstathat", "a/", "/b"):
            code, out, err = yield self.migas("check", project, "1")
            self.assertEqual((code, out), (2, ""))
            self.assertIn(f"'{project}' is not OWNER/REPO", err)

    @inlineCallbacks
    def test_opted_out(self) -> Any:
        """After opting out, the command says so, and nothing is sent."""
        self.environ["MIGAS_OPTOUT"] = "1"
        code, out, err = yield self.migas("add", PROJECT, "1")
        self.assertEqual(
            (code, out, err), (1, "", "txstathat: telemetry is disabled\n")
        )
        self.assertEqual(self.server.requests, [])

    @inlineCallbacks
    def test_config_and_forget(self) -> Any:
        """Commands show what would be sent, and delete the user id."""
        code, out, err = yield self.migas("config")
        self.assertEqual((code, err), (0, ""))
        kept = self.home / ".config" / "migas" / "user_id"
        self.assertIn(f"user_id: {kept.read_text()} - to count", out)
        code, out, err = yield self.migas("forget")
        self.assertEqual((code, out), (0, "Removed the user id.\n"))
        self.assertFalse(kept.exists())
        code, out, err = yield self.migas("forget")
        self.assertEqual((code, out), (0, "There was no user id to remove.\n"))
        self.assertEqual(self.server.requests, [])

    @inlineCallbacks
    def test_example(self) -> Any:
        """The example reports how it ends, and works without a server too."""
        example = str(ROOT / "examples" / "telemetry.py")
        code, out, err = yield self.run_python(example)
        self.assertEqual((code, out, err), (0, "Working\n", ""))
        code, out, err = yield self.run_python(example, "fail")
        self.assertEqual((code, out), (1, "Working\n"))
        statuses = [crumb["status"] for crumb in self.server.crumbs]
        self.assertEqual(statuses, ["R", "C", "R", "F"])
        self.environ["TXSTATHAT_MIGAS_ENDPOINT"] = "http://127.0.0.1:9"
        code, out, err = yield self.run_python(example)
        self.assertEqual((code, out, err), (0, "Working\n", ""))
