"""
``txstathat channels``, and the verbs of ``txstathat alerts`` that need one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from tests.fixtures.alerts_cases import Receiver
from tests.fixtures.shells import ShellCase
from tests.fixtures.support import reactor
from txstathat import Count
from txstathat.cli.commands import txstathat


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

    def test_channels(self) -> Any:
        """A channel is added, tested, listed with its address masked, and removed."""

        async def check() -> None:
            hook = await self.start_all()
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
            for words in ("failing", "HTTP status 404", hook.partition("/hook/")[0]):
                self.assertIn(words, table)
            self.assertNotIn("/hook", table)
            status, _, err = await self.shell(
                *("channels", "add", "ntfy", "n", "--topic", "no topic")
            )
            self.assertEqual(status, 1)
            self.assertIn("topic: must be of 1 to 64", err)
            out = await self.succeed("channels", "edit", "ops", "--hook", f"{hook}/2")
            self.assertEqual(out, "The channel ops is changed.\n")
            self.assertEqual(
                await self.succeed("channels", "test", "ops"), "ops: sent\n"
            )
            self.assertEqual(self.receiver.requests[-1][0], b"/hook/canary-secret/2")
            for words, *arguments in (
                ("topic: a channel of kind webhook has no", "ops", "--topic", "t"),
                ("no channel", "none", "--topic", "t"),
            ):
                status, _, err = await self.shell("channels", "edit", *arguments)
                self.assertEqual(status, 1)
                self.assertIn(words, err)
            status, _, err = await self.shell("channels", "remove", "no")
            self.assertEqual(status, 1)
            self.assertEqual(
                err,
                "txstathat: there is no channel 'no'; see txstathat channels list\n",
            )
            status, _, err = await self.shell("channels", "remove", "ops", stdin="n\n")
            self.assertEqual(status, 1)
            self.assertIn("Remove the channel ops?", err)
            out = await self.succeed("channels", "remove", "ops", "--yes")
            self.assertEqual(out, "The channel ops is removed.\n")
            await self.post(Count("a"))
            _, out, _ = await self.shell(
                *("alerts", "create", "a", "--kind", "data", "--time-window", "1h"),
                "--json",
            )
            status, _, err = await self.shell("alerts", "test", json.loads(out)["id"])
            self.assertEqual(status, 1)
            self.assertEqual(
                err,
                "txstathat: nobody would be notified: add a channel with txstathat "
                "channels add\n",
            )

        return ensureDeferred(check())

    def test_verbs(self) -> Any:
        """An alert is edited, tested, silenced and acknowledged, and has a history."""

        async def check() -> None:
            hook = await self.start_all()
            fields = {"name": "ops", "kind": "webhook"}
            await self.parts.channels.create(
                {**fields, "url": hook.replace("/${secret}", "")}
            )
            now = int(self.parts.archive.store.clock.seconds())
            await self.post(Count("errors", 7, t=now - 120))
            arguments = "--kind value --time-window 1h --operator gt --threshold 10"
            out = await self.succeed(
                *("alerts", "create", "errors", *arguments.split()),
                *("--channel", "ops", "--json"),
            )
            id = json.loads(out)["id"]
            out = await self.succeed("alerts", "edit", id, "--threshold", "5", "--json")
            edited = json.loads(out)
            self.assertEqual((edited["threshold"], edited["channels"]), (5, ["ops"]))
            self.assertEqual(await self.succeed("alerts", "test", id), "ops: sent\n")
            self.assertEqual(self.receiver.messages[0]["event"], "test")
            out = await self.succeed("alerts", "silence", id, "--for", "2h")
            self.assertRegex(out, r"silenced until +│ 20")
            await self.parts.monitor.evaluate()
            out = await self.succeed("alerts", "acknowledge", id, "--json")
            self.assertTrue(json.loads(out)["acknowledged"])
            table = await self.succeed("alerts", "list", COLUMNS="160")
            self.assertIn("firing, acknowledged, silenced", table)
            out = await self.succeed("alerts", "history", id, "--json")
            ((episode,), began) = (json.loads(out), json.loads(out)[0]["began"])
            self.assertEqual((episode["episode"], episode["number"]), (1, 7))
            self.assertLess(abs(began - now), 300)
            self.assertIsNone(episode["ended"])
            self.assertIsNotNone(episode["acknowledged_at"])

        return ensureDeferred(check())


class UsageTests(SynchronousTestCase):
    """
    Wrong usage, which needs no server.
    """

    def test_usage(self) -> None:
        """It is refused with status 2, and a message that says what to pass."""
        for words, *arguments in (
            ("pass --for TIME, or --off", "alerts", "silence", "x"),
            ("not a time such as 30m", "alerts", "silence", "x", "--for", "y"),
            ("pass what to change", "alerts", "edit", "x"),
            (
                "--channel or --all-channels, not both",
                *("alerts", "edit", "x", "--channel", "c", "--all-channels"),
            ),
            ("Missing option '--hook'", "channels", "add", "webhook", "x"),
            ("pass what to change", "channels", "edit", "x"),
            (
                "'9' is not one of",
                *("channels", "add", "ntfy", "x", "--topic", "t", "--priority", "9"),
            ),
            ("--allow-private: 'x' must be", "serve", "--allow-private", "x"),
            ("--secrets: '/nowhere' is not", "serve", "--secrets", "/nowhere"),
            ("--digest-at: 'never' must be", "serve", "--digest-at", "never"),
        ):
            server = {"TXSTATHAT_URL": "http://127.0.0.1:1", "TXSTATHAT_TOKEN": "t"}
            result = CliRunner().invoke(txstathat, arguments, env=server)
            self.assertEqual(result.exit_code, 2, arguments)
            self.assertIn(words, result.output)
