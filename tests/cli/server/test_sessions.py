"""
``txstathat sessions``, and read-only tokens of ``txstathat keys``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.python_programs import run_txstathat


class SessionTests(ServiceCase):
    """
    Of a collector that runs.
    """

    def shell(self, *arguments: str) -> Any:
        """Run a command on the store; its status and output."""
        store = f"sqlite:{Path(self.path).absolute()}"

        def check(ended: tuple[bytes, bytes, int]) -> tuple[int, str]:
            out, err, status = ended
            self.assertNotIn(b"Traceback", err)
            return status, (out + err).decode()

        environ = {**os.environ, "COLUMNS": "120"}
        running = run_txstathat([*arguments, "--store", store], environ)
        return running.addCallback(check)

    @inlineCallbacks
    def test_sessions(self) -> Any:
        """Sessions are listed, ended one by one, and ended all."""
        yield self.start()
        known = self.parts.sessions
        status, out = yield self.shell("sessions", "list")
        self.assertEqual((status, out), (0, "There are no sessions.\n"))
        token = self.keys["access token"]
        secrets = []
        for _ in range(3):
            secrets.append((yield Deferred.fromCoroutine(known.open(token))))
        status, out = yield self.shell("sessions", "list")
        self.assertEqual(out.count("first access token"), 3)
        ids = list((yield Deferred.fromCoroutine(known.all())))
        for secret in secrets:
            self.assertNotIn(secret, out)
        status, out = yield self.shell("sessions", "end", ids[0][:12])
        self.assertEqual((status, out), (0, "The session is ended.\n"))
        left = yield Deferred.fromCoroutine(known.all())
        self.assertEqual(sorted(left), sorted(ids[1:]))
        status, out = yield self.shell("sessions", "end", "zz")
        self.assertEqual(status, 1)
        self.assertIn("no sessions have ids that begin with 'zz'", out)
        status, out = yield self.shell("sessions", "end")
        self.assertEqual(status, 2)
        status, out = yield self.shell("sessions", "end", "--all")
        self.assertEqual((status, out), (0, "2 sessions are ended.\n"))
        for secret in secrets:
            self.assertFalse((yield Deferred.fromCoroutine(known.knows(secret))))

    @inlineCallbacks
    def test_a_read_only_token(self) -> Any:
        """A read-only token is made, and reads."""
        yield self.start()
        status, out = yield self.shell("keys", "add", "read", "wall")
        self.assertEqual(status, 0)
        self.assertTrue(out.startswith("read-only token: "))
        yield Deferred.fromCoroutine(self.parts.keys.load())
        token = out.split()[-1]
        self.assertTrue(self.parts.keys.may_read(token))
        self.assertFalse(self.parts.keys.may_change(token))
