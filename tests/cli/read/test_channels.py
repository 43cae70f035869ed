"""
``txstathat channels``, and the verbs of ``txstathat alerts`` that need one.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.web.server import Site

from tests.fixtures.alerts_cases import Receiver
from tests.fixtures.shells import ShellCase
from tests.fixtures.support import reactor
from txstathat import Count


class ChannelsTests(ShellCase):
    """
    A web hook on loopback, with a secret from a file.
    """

    async def start_all(self) -> str:
        """Start a receiver, and a collector that may post to it; the hook's URL."""
        self.receiver = Receiver()
        site = Site(self.receiver)
        site.log = lambda request: None
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        secrets = Path(self.mktemp())
        (secrets / "127.0.0.1").mkdir(parents=True)
        secret = secrets / "127.0.0.1" / "ops"
        secret.write_text("canary-secret\n")
        os.chmod(secret, 0o600)
        await self.start(secrets=str(secrets), allow_private=["127.0.0.1"])
        return f"http://127.0.0.1:{port.getHost().port}/hook/${{secret}}"

    def test_round(self) -> Any:
        """A channel is added, tested, listed with its address masked, and removed."""

        async def check() -> None:
            hook = await self.start_all()
            out = await self.succeed("channels", "list")
            self.assertEqual(out, "There are no channels.\n")
            out = await self.succeed(
                "channels", "add", "webhook", "ops", "--hook", hook, "--secret", "ops"
            )
            self.assertIn("txstathat channels test ops", out)
            out = await self.succeed("channels", "test", "ops")
            self.assertEqual(out, "ops: sent\n")
            self.assertEqual(self.receiver.requests[0][0], b"/hook/canary-secret")
            self.receiver.answers = [404]
            status, _, err = await self.shell("channels", "test", "ops")
            self.assertEqual((status, err), (1, "ops: not sent: HTTP status 404\n"))
            table = await self.succeed("channels", "list", COLUMNS="160")
            self.assertIn("failing", table)
            self.assertIn("HTTP status 404", table)
            (row,) = csv.DictReader(
                (await self.succeed("channels", "list", "--csv")).splitlines()
            )
            self.assertEqual((row["name"], row["kind"]), ("ops", "webhook"))
            self.assertEqual(row["address"], hook.replace("/hook/${secret}", "/…"))
            self.assertNotIn("canary", table + str(row))
            status, _, err = await self.shell(
                *("channels", "add", "ntfy", "n", "--topic", "no topic")
            )
            self.assertEqual(status, 1)
            self.assertIn("topic: must be of 1 to 64", err)
            out = await self.succeed("channels", "remove", "ops", "--yes")
            self.assertEqual(out, "The channel ops is removed.\n")
            status, _, err = await self.shell("channels", "test", "ops")
            self.assertEqual(status, 1)
            self.assertIn("no channel with the name 'ops'", err)

        return ensureDeferred(check())

    def test_verbs(self) -> Any:
        """An alert is edited, tested, acknowledged, silenced, and tells its history."""

        async def check() -> None:
            hook = await self.start_all()
            await self.succeed(
                "channels",
                "add",
                "webhook",
                "ops",
                "--hook",
                hook.replace("/${secret}", ""),
            )
            await self.post(Count("errors"))
            arguments = "--kind value --time-window 5m --operator gt --threshold 10"
            out = await self.succeed(
                *("alerts", "create", "errors", *arguments.split()),
                *("--channel", "ops", "--json"),
            )
            made = json.loads(out)
            id = made["id"]
            self.assertEqual(made["channels"], ["ops"])
            out = await self.succeed("alerts", "edit", id, "--threshold", "0", "--json")
            self.assertEqual(json.loads(out)["threshold"], 0)
            self.assertEqual(json.loads(out)["channels"], ["ops"])
            self.assertEqual(await self.succeed("alerts", "test", id), "ops: sent\n")
            self.assertEqual(self.receiver.messages[0]["event"], "test")
            status, _, err = await self.shell("alerts", "acknowledge", id)
            self.assertEqual(status, 1)
            self.assertIn("the alert does not fire", err)
            out = await self.succeed("alerts", "silence", id, "--for", "2h")
            self.assertIn("silenced until", out)
            self.assertIn("silenced", await self.succeed("alerts", "list"))
            out = await self.succeed("alerts", "silence", id, "--off")
            self.assertNotIn("silenced until", out)
            out = await self.succeed("alerts", "history", id)
            self.assertEqual(out, "The alert has not fired yet.\n")
            for expected, words, *verb in (
                (2, "pass --for TIME, or --off", "silence", id),
                (2, "not a time such as 30m", "silence", id, "--for", "x"),
                (2, "pass what to change", "edit", id),
                (
                    1,
                    "there is no channel 'x'; there are ops",
                    "edit",
                    id,
                    "--channel",
                    "x",
                ),
                (1, "no alert with the id 'x'", "history", "x"),
            ):
                status, _, err = await self.shell("alerts", *verb)
                self.assertEqual(status, expected, err)
                self.assertIn(words, err)

        return ensureDeferred(check())
