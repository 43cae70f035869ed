"""
Which server a client talks to, and which agents it refuses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import (
    BrowserLikeRedirectAgent,
    ContentDecoderAgent,
    GzipDecoder,
    ProxyAgent,
)

from txstathat import (
    StatHatExport,
    ez_count,
    stathat_from_env,
    txStatHat,
    txStatHatClassic,
)
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.http.servers import API_URL, EXPORT_URL, URL_SETTING
from txstathat.migas import MigasClient
from txstathat.testing import FakeStatHat

CLIENTS: list[Any] = [txStatHat, txStatHatClassic, StatHatExport]


class ServerTests(SynchronousTestCase):
    """
    The URL of a client that is given none.
    """

    def setUp(self) -> None:
        before = os.environ.get(URL_SETTING)
        self.addCleanup(self.set, before)

    def set(self, url: str | None) -> None:
        """Set the variable, or remove it."""
        if url is None:
            os.environ.pop(URL_SETTING, None)
        else:
            os.environ[URL_SETTING] = url

    def origins(self, **settings: Any) -> list[str]:
        """Where the clients are that are made now."""
        return [
            repr(make("k", **settings)).split(" at ")[1].rstrip(">") for make in CLIENTS
        ]

    def test_without_a_setting(self) -> None:
        """Without the variable, or with an empty one, StatHat's addresses are used."""
        for unset in (None, ""):
            self.set(unset)
            self.assertEqual(self.origins(), [API_URL, API_URL, EXPORT_URL])
            self.assertEqual(self.origins(url=None), [API_URL, API_URL, EXPORT_URL])

    def test_the_variable_names_the_server_of_all(self) -> None:
        """Sending and reading go to the one URL in the variable, path included."""
        self.set("http://localhost:8080/stats/")
        self.assertEqual(self.origins(), ["http://localhost:8080"] * 3)
        fake = FakeStatHat()
        client = txStatHat("k", agent=fake.agent)
        client.count("a")
        export = StatHatExport("token", agent=fake.agent)
        export.stats().addErrback(lambda _: None)
        self.assertEqual(
            [request.path for request in fake.requests],
            ["/stats/ez", "/stats/x/token/statlist"],
        )

    def test_it_is_read_when_a_client_is_made(self) -> None:
        """A change of the variable holds for the next client, not for those before."""
        self.set("http://one")
        first = txStatHat("k")
        self.set("http://two")
        self.assertEqual(repr(first), "<txStatHat at http://one>")
        self.assertEqual(self.origins(), ["http://two"] * 3)

    def test_url_wins(self) -> None:
        """What the program says holds, whatever the variable says."""
        self.set("not even a URL")
        self.assertEqual(self.origins(url="http://here"), ["http://here"] * 3)

    def test_stathats_own_addresses_stay_two(self) -> None:
        """A variable that names StatHat's API does not send readers there."""
        for named in (API_URL, EXPORT_URL, API_URL + "/"):
            self.set(named)
            self.assertEqual(self.origins(), [API_URL, API_URL, EXPORT_URL])

    def test_a_wrong_variable(self) -> None:
        """The error names the variable, and shows nothing of the value."""
        self.set("localhost/canary")
        for make in CLIENTS:
            error = self.assertRaises(ValueError, make, "k")
            self.assertEqual(
                str(error),
                "TXSTATHAT_URL: the URL must begin with https:// (or http://)",
            )
        failure = self.failureResultOf(ez_count("k", "a"), ValueError)
        self.assertNotIn("canary", str(failure.value))

    def test_shortcuts(self) -> None:
        """A shortcut goes where the variable says, too."""
        self.set("http://localhost:8080/here")
        fake = FakeStatHat()
        ez_count("k", "a", agent=fake.agent, reactor=Clock())
        self.assertEqual(fake.requests[0].path, "/here/ez")

    def test_a_client_from_another_environment(self) -> None:
        """stathat_from_env looks only at the environment that it is given."""
        self.set("http://elsewhere")
        environ = {"TXSTATHAT_EZKEY": "k"}
        self.assertEqual(repr(stathat_from_env(environ)), f"<txStatHat at {API_URL}>")
        client = stathat_from_env(environ | {URL_SETTING: "http://here"}, url=None)
        self.assertEqual(repr(client), "<txStatHat at http://here>")


class NoticeTests(SynchronousTestCase):
    """
    What a process logs in which nobody has named a server.
    """

    def run_program(self, code: str, **environ: str) -> str:
        """
        Run a program of its own, which writes its warnings to standard output.
        """
        prelude = """
import sys, os
from twisted.logger import globalLogBeginner, formatEvent
def show(event):
    if event["log_level"].name == "warn":
        print(formatEvent(event))
globalLogBeginner.beginLoggingTo([show], redirectStandardIO=False)
from txstathat import *
"""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("TXSTATHAT_")}
        done = subprocess.run(
            [sys.executable, "-c", prelude + code],
            capture_output=True,
            text=True,
            env=kept | environ,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_once_in_a_process(self) -> None:
        """The first client logs that StatHat.com is closed, and names both settings."""
        out = self.run_program(
            """
print("before")
for make in (txStatHat, txStatHatClassic, StatHatExport):
    make("canary")
stathat_from_env({"TXSTATHAT_EZKEY": "canary"})
"""
        )
        before, notice = out.splitlines()
        self.assertEqual(before, "before")
        self.assertIn("StatHat.com appears to have closed in April 2026", notice)
        self.assertIn("url=", notice)
        self.assertIn("TXSTATHAT_URL", notice)
        self.assertIn(API_URL, notice)
        self.assertNotIn("canary", notice)

    def test_silence_where_a_server_is_named(self) -> None:
        """Either setting is enough, even if the variable is set after the import."""
        named = """
os.environ["TXSTATHAT_URL"] = "http://localhost:8080"
print(txStatHat("k"), StatHatExport("k"))
"""
        self.assertEqual(
            self.run_program(named),
            "<txStatHat at http://localhost:8080> "
            "<StatHatExport at http://localhost:8080>\n",
        )
        given = "for make in (txStatHat, StatHatExport): make('k', url='http://here')"
        self.assertEqual(self.run_program(given), "")
        self.assertEqual(
            self.run_program("txStatHat('k')", TXSTATHAT_URL="http://here"), ""
        )


class ProxyTests(SynchronousTestCase):
    """
    Twisted's ProxyAgent, which does not encrypt.
    """

    def agents(self) -> list[Any]:
        """The agent, bare and inside Twisted's other agents."""
        proxy = ProxyAgent(None, MemoryReactorClock())
        return [
            proxy,
            BrowserLikeRedirectAgent(proxy),
            ContentDecoderAgent(
                BrowserLikeRedirectAgent(proxy), [(b"gzip", GzipDecoder)]
            ),
        ]

    def test_refused_for_https(self) -> None:
        """Whatever takes an agent refuses it with https://, and says what would happen."""
        makers: list[Any] = [
            lambda agent: txStatHat("canary", url="https://here", agent=agent),
            lambda agent: txStatHatClassic("canary", url="https://here", agent=agent),
            lambda agent: StatHatExport("canary", url="https://here", agent=agent),
            lambda agent: MigasClient("https://here", agent=agent, environ={}),
            lambda agent: Webhooks(["https://here/canary"], agent=agent),
        ]
        for make in makers:
            for agent in self.agents():
                error = self.assertRaises(ValueError, make, agent)
                self.assertIn("in plain text, with the key", str(error))
                self.assertIn("tunnel", str(error))
                self.assertNotIn("canary", str(error))

    def test_through_the_deferred_of_a_shortcut(self) -> None:
        """A shortcut fails with it, as with other wrong settings."""
        (agent, *_) = self.agents()
        called = ez_count("k", "a", url="https://here", agent=agent)
        self.failureResultOf(called, ValueError)

    def test_taken_for_http(self) -> None:
        """With http:// nothing would be encrypted without it either."""
        for agent in self.agents():
            client = txStatHat("k", url="http://here", agent=agent)
            self.assertEqual(repr(client), "<txStatHat at http://here>")
