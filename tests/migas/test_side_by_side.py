"""
The published Python client and this one, side by side against the same server.

What differs is in :data:`DIFFERENCES`, and in the docs (migas-from-migas-py).
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.fixtures.migas_server import FLAGGED, PROJECT, MigasServer
from tests.fixtures.support import reactor
from txstathat.migas import MigasClient

USER = "6d8f6d6b-3f0d-4c43-9d3e-0a7b8a1d1a11"
SESSION = "0e2dfb0d-5f33-4f9f-9a6b-6a7f4c3f2b22"

#: The same calls for both: function, arguments, keywords.
CALLS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("add_project", [PROJECT, "1.0.0"], {}),
    ("add_project", [PROJECT, "1.0.0"], {"status": "C", "status_desc": 'a "b" \\ é'}),
    ("add_project", ["a/unregistered", "1.0.0"], {}),
    ("check_project", [PROJECT, "1.0.0"], {}),
    ("check_project", [PROJECT, FLAGGED], {}),
    ("check_project", ["a/unregistered", "1.0.0"], {}),
    ("get_usage", [PROJECT, "2022-07-01"], {}),
    ("get_usage", [PROJECT, "2022-07-01T00:00:00Z"], {"end": "2022-08-01"}),
    ("get_usage", [PROJECT, "2022-07-01"], {"unique": True}),
    ("get_usage", ["a/unregistered", "2022-07-01"], {}),
    ("add_breadcrumb", [PROJECT, "1.0.0"], {}),
    (
        "add_breadcrumb",
        [PROJECT, "1.0.0"],
        {
            "status": "F",
            "error_type": "KeyError",
            "error_desc": "k",
            "user_type": "dev",
        },
    ),
    ("add_breadcrumb", ["a/unregistered", "1.0.0"], {}),
]

#: What the published client answers where this one answers otherwise, by the number of
#: the call: a breadcrumb's answer has no message there, since it asks for none.
DIFFERENCES = {
    10: ({"success": True}, {"success": True, "message": ""}),
    11: ({"success": True}, {"success": True, "message": ""}),
    12: (
        {"success": False},
        {"success": False, "message": "Project is not registered."},
    ),
}

_CHILD = """
import json, sys, warnings
warnings.simplefilter("ignore")
import migas
from migas.operations import add_project
endpoint, user, session, config, calls = sys.argv[1:]
migas.setup(endpoint=endpoint, user_id=user, session_id=session, filename=config)
functions = {
    "add_project": add_project,
    "check_project": migas.check_project,
    "get_usage": migas.get_usage,
    "add_breadcrumb": migas.add_breadcrumb,
}
print(json.dumps([
    functions[name](*args, **kwargs) for name, args, kwargs in json.loads(calls)
]))
"""


class SideBySideTests(TestCase):
    """
    The same calls give the same answers, and the same records on the server.
    """

    timeout = 600

    def setUp(self) -> None:
        if find_spec("migas") is None:
            missing = "needs migas-py: pip install migas==0.4.0"
            if os.environ.get("CI") == "true":
                raise AssertionError(missing)
            raise SkipTest(missing)
        self.server = MigasServer(old=True)
        port = reactor.listenTCP(0, self.server.site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.endpoint = f"http://127.0.0.1:{port.getHost().port}/graphql"
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    @inlineCallbacks
    def theirs(self) -> Any:
        out, err, code = yield getProcessOutputAndValue(
            sys.executable,
            [
                "-c",
                _CHILD,
                self.endpoint,
                USER,
                SESSION,
                str(self.folder / "migas.json"),
                json.dumps(CALLS),
            ],
            env={"HOME": str(self.folder), "TMPDIR": str(self.folder)},
        )
        self.assertEqual(code, 0, err)
        return json.loads(out)

    @inlineCallbacks
    def ours(self) -> Any:
        client = MigasClient(
            self.endpoint, user_id=USER, session_id=SESSION, environ={}
        )
        self.addCleanup(client.close)
        answers = []
        for name, arguments, options in CALLS:
            answers.append((yield getattr(client, name)(*arguments, **options)))
        return answers

    def taken(self) -> list[dict[str, Any]]:
        """
        What the server took, apart from what is for a project that it does not
        know.
        """
        crumbs, self.server.crumbs = self.server.crumbs, []
        return [
            {"status": "R", **crumb} for crumb in crumbs if crumb["project"] == PROJECT
        ]

    def asked(self) -> list[Any]:
        questions, self.server.questions = self.server.questions, []
        return [(name, {"unique": False, **asked}) for name, asked in questions]

    @inlineCallbacks
    def test_same_answers(self) -> Any:
        """All answers are the same, except for the listed differences."""
        theirs = yield self.theirs()
        their_crumbs, their_questions = self.taken(), self.asked()
        ours = yield self.ours()
        self.assertEqual(self.server.violations, [])
        for number, (call, their, our) in enumerate(
            zip(CALLS, theirs, ours, strict=True)
        ):
            expected = DIFFERENCES.get(number, (their, their))
            self.assertEqual((their, our), expected, call)
        self.assertEqual(self.taken(), their_crumbs)
        self.assertEqual(self.asked(), their_questions)
        self.assertEqual(len(their_crumbs), 4)
        self.assertEqual(len(their_questions), 7)
