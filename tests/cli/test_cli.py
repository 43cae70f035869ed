"""
The command line, as a shell sees it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
from click.testing import CliRunner
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.environments import bare_environ
from tests.fixtures.python_programs import PythonPopen, run_python, run_txstathat
from tests.fixtures.support import Authority, reactor
from tests.fixtures.trouble import TroubleServer, abort, reply, send, stall
from txstathat import Count, Value
from txstathat.cli.commands import txstathat
from txstathat.collector.web.site import CollectorSite
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.testing import FakeStatHat

KEY = "canary-key-of-the-shell"


def web_server() -> TroubleServer:
    """A server without TLS, which closes the connection of a client that tries it."""
    server = TroubleServer()
    server.refuses_tls = True
    return server


class CommandTests(TestCase):
    """
    ``count``, ``value`` and ``check``.
    """

    timeout = 600

    async def run_command(
        self, *arguments: str, **environ: str
    ) -> tuple[int, str, str]:
        out, err, status = await run_txstathat(
            arguments, {**bare_environ(), "TXSTATHAT_EZKEY": KEY, **environ}
        )
        self.assertNotIn(KEY, (out + err).decode())
        self.assertNotIn("Traceback", err.decode())
        return status, out.decode(), err.decode()

    def listen(self) -> str:
        self.received = FakeStatHat(lambda api, key: (api, key) == ("ez", KEY))
        site = CollectorSite(self.received.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{port.getHost().port}"

    def test_points_arrive(self) -> Any:
        """Both commands send their point at its time, and say what went where."""

        async def check() -> None:
            url = self.listen()
            place = url.removeprefix("http://")
            for said, *arguments in (
                ("signups +1", "count", "signups"),
                ("signups +42", "count", "signups", "42", "--t", "1363118126"),
                ("signups -5", "count", "signups", "-5"),
                ("' padded' +1", "count", " padded"),
                ("load 0.50", "value", "load", "0.50", "--t", "2013-03-12T19:55:26Z"),
            ):
                self.assertEqual(
                    await self.run_command(*arguments, TXSTATHAT_URL=url),
                    (0, f"{said} at {place}\n", ""),
                )
            self.assertEqual(
                self.received.points,
                [
                    Count("signups", 1),
                    Count("signups", 42, 1363118126),
                    Count("signups", -5),
                    Count(" padded", 1),
                    Value("load", 0.5, 1363118126),
                ],
            )

        return ensureDeferred(check())

    def test_failures(self) -> Any:
        """The exit status is 1, and the step and what to do are on standard error."""

        async def check() -> None:
            status, out, err = await self.run_command(
                "count", "a", TXSTATHAT_URL="http://127.0.0.1:1"
            )
            self.assertEqual((status, out), (1, ""))
            self.assertIn("txstathat: connection: Connection was refused", err)
            self.assertIn("Check that the server runs", err)
            self.assertIn("refused by 127.0.0.1:1\n", err)
            self.assertIn("txstathat serve", err)

        return ensureDeferred(check())

    def test_interrupted(self) -> Any:
        """Ctrl-C ends the wait for an answer, with a shell's status and no words."""

        async def check() -> None:
            server = TroubleServer()
            self.addCleanup(server.stop)
            for arguments in (("count", "a"), ("value", "a", "1"), ("check",)):
                asked: Deferred[None] = Deferred()
                server.script = [lambda _, go_on, asked=asked: asked.callback(None)]
                process = PythonPopen(
                    [sys.executable, "-m", "txstathat", *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**bare_environ(), "TXSTATHAT_EZKEY": KEY}
                    | {"TXSTATHAT_URL": server.url},
                    cwd=ROOT,
                )
                self.addCleanup(process.kill)
                await asked
                process.send_signal(signal.SIGINT)
                out, err = await deferToThread(process.communicate, timeout=300)
                self.assertEqual((process.returncode, out, err), (130, b"", b""))

        return ensureDeferred(check())

    def test_usage_errors(self) -> Any:
        """The exit status is 2, and the words name the value."""

        async def check() -> None:
            for words, environ, arguments in (
                ("no server is set", {"TXSTATHAT_EZKEY": ""}, ("count", "a")),
                ("'x' is not a decimal number", {}, ("count", "a", "x")),
                ("2026-01-01T00:00:00Z or", {}, ("count", "a", "--t", "2026-01-01")),
                ("No such option", {}, ("count", "a", "--bogus")),
                ("not both", {}, ("dataset", "a", "--csv", "--json")),
                ("must begin with https://", {"TXSTATHAT_URL": "x"}, ("count", "a")),
            ):
                status, out, err = await self.run_command(*arguments, **environ)
                self.assertEqual((status, out), (2, ""))
                self.assertIn(words, err)

        return ensureDeferred(check())

    def test_check_finds_the_step(self) -> Any:
        """Each step that can fail is named, those before it are ticked off."""

        async def check() -> None:
            url = self.listen()
            status, out, _ = await self.run_command("check", TXSTATHAT_URL=url)
            self.assertEqual(status, 0)
            self.assertEqual(
                out.splitlines(),
                [
                    "✓ point",
                    "✓ look-up",
                    "✓ connection",
                    "- TLS: not used, the URL begins with http://",
                    "✓ answer",
                    "✓ key",
                    "One point was accepted for 'txstathat check'.",
                ],
            )
            self.assertEqual(self.received.points, [Count("txstathat check")])
            _, out, _ = await self.run_command(
                "check", "--stat", "a~b,c", TXSTATHAT_URL=url
            )
            self.assertIn("One point was accepted for 'a b' and 'a c'.", out)
            secure = TroubleServer(Authority().server_options("localhost"))
            silent, broken, html, proxy, picky = (web_server() for _ in range(5))
            silent.script = [stall]
            broken.script = [abort]
            html.script = [reply(body=b"<html>")]
            proxy.script = [reply(403, b"<html>")]
            picky.script = [reply(400, b'{"status": 400, "msg": "no monkey"}')]
            for step, words, *arguments in (
                ("look-up", "not found", "http://nowhere.invalid"),
                ("connection", "refused", "http://127.0.0.1:1"),
                ("TLS", "certificate verify failed", secure.url),
                ("answer", "time limit", silent.url, "--timeout", "0.5"),
                ("answer", "was lost", broken.url),
                ("answer", "not an answer", html.url),
                ("answer", "not an answer", proxy.url),
                ("point", "the stat name is empty", url, "--stat", ""),
            ):
                at, *more = arguments
                status, out, _ = await self.run_command(
                    "check", *more, TXSTATHAT_URL=at
                )
                self.assertEqual(status, 1, step)
                self.assertIn(f"✗ {step}: ", out)
                self.assertIn(words, out)
                self.assertTrue(out.splitlines()[-1].endswith("."), "no advice")
            status, out, _ = await self.run_command(
                "check", TXSTATHAT_URL=url, TXSTATHAT_EZKEY="another"
            )
            self.assertEqual(status, 1)
            self.assertIn("✗ key: the server refused (", out)
            status, out, _ = await self.run_command("check", TXSTATHAT_URL=picky.url)
            self.assertEqual(status, 1)
            self.assertEqual(
                out.splitlines()[-1], "✗ answer: the server refused (400): no monkey"
            )
            for server in (secure, silent, broken, html, proxy, picky):
                await server.stop()

        return ensureDeferred(check())

    def test_check_finds_causes(self) -> Any:
        """
        A proxy's page, the wrong scheme either way, a path that is not part of a
        server's URL, and missing CA certificates each have words and advice.
        """

        async def check() -> None:
            url = self.listen()
            secure = TroubleServer(Authority().server_options("localhost"))
            plain, page, down = (web_server() for _ in range(3))
            elsewhere, other, shell = (web_server() for _ in range(3))
            other.script = [reply(body=b'{"ok": true}')]
            shell.script = [send(b"SSH-2.0-OpenSSH_9.2\r\n")]
            page.script = [reply(404, b"<html>Not here</html>")]
            down.script = [reply(502, b"<html>Bad gateway</html>")]
            elsewhere.script = [reply(301, b"", b"Location: https://example.com/\r\n")]
            empty = self.mktemp()
            os.mkdir(empty)
            no_certificates = {
                "SSL_CERT_FILE": f"{empty}/no.pem",
                "SSL_CERT_DIR": empty,
            }
            for words, at, environ in (
                ("answer of a proxy or of another web server", page.url, {}),
                ("answer of a proxy or of another web server", other.url, {}),
                ("this port does not speak HTTP", shell.url, {}),
                ("the server behind it is down", down.url, {}),
                ("The server redirects", elsewhere.url, {}),
                ("speaks TLS", secure.url.replace("https:", "http:"), {}),
                ("Begin the URL with https://", secure.url.replace("s:", ":", 1), {}),
                ("speaks plain HTTP", plain.url.replace("http:", "https:"), {}),
                (f"must not end in /ez. Use {url}\n", f"{url}/ez", {}),
                (f"must not end in /ez. Use {page.url}\n", f"{page.url}/ez/", {}),
                ("no CA certificates", secure.url, no_certificates),
                ("ca-certificates", secure.url, no_certificates),
            ):
                status, out, _ = await self.run_command(
                    "check", TXSTATHAT_URL=at, COLUMNS="200", **environ
                )
                self.assertEqual(status, 1, out)
                self.assertIn(words, out)
            servers = (secure, plain, page, down, elsewhere, other, shell)
            # Other commands find the causes too.
            status, _, err = await self.run_command(
                "count", "a", TXSTATHAT_URL=plain.url.replace("http:", "https:")
            )
            self.assertEqual(status, 1)
            self.assertIn("speaks plain HTTP, not TLS", err)
            for server in servers:
                await server.stop()

        return ensureDeferred(check())

    def test_check_no_content(self) -> Any:
        """An answer of 204 is a success, which says nothing about the key."""

        async def check() -> None:
            server = TroubleServer()
            server.script = [send(b"HTTP/1.1 204 No Content\r\n\r\n")]
            status, out, err = await self.run_command(
                "check", TXSTATHAT_URL=server.url, COLUMNS="200"
            )
            await server.stop()
            self.assertEqual((status, err), (0, ""), out)
            self.assertIn("✓ answer\n", out)
            self.assertIn("- key: not known. The server answered 204", out)
            self.assertIn("not certain that it is a StatHat server.", out)
            self.assertNotIn("accepted", out)
            self.assertEqual(server.requests, 1)

        return ensureDeferred(check())

    def test_check_stathat_com(self) -> Any:
        """StatHat.com has closed: that is said, and no key is sent there."""

        async def check() -> None:
            for at in ("https://api.stathat.com", "https://www.StatHat.com/x"):
                status, out, err = await self.run_command(
                    "check", TXSTATHAT_URL=at, COLUMNS="200"
                )
                self.assertEqual((status, err), (1, ""))
                self.assertIn("appears to have closed in April 2026", out)
                self.assertIn("txstathat serve", out)
                self.assertIn("Nothing was sent", out)

        return ensureDeferred(check())


CONTEXT = click.Context(txstathat)


class HelpTests(SynchronousTestCase):
    """
    ``--help``.
    """

    def all_commands(self) -> Iterator[tuple[list[str], click.Command]]:
        """Each command with its name, groups too."""
        waiting: list[tuple[list[str], click.Command]] = [([], txstathat)]
        while waiting:
            name, command = waiting.pop()
            yield name, command
            if isinstance(command, click.Group):
                for each in command.list_commands(CONTEXT):
                    found = command.get_command(CONTEXT, each)
                    assert found is not None
                    waiting.append(([*name, each], found))

    def test_whole(self) -> None:
        """Each command and option is explained, and no line of a list is cut off."""
        for name, command in self.all_commands():
            done = CliRunner().invoke(txstathat, [*name, "--help"], terminal_width=80)
            self.assertEqual(done.exit_code, 0)
            self.assertTrue(command.help, name)
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    self.assertTrue(parameter.help, (name, parameter.name))
            if isinstance(command, click.Group):
                self.assertNotRegex(done.output, r"(?m)^  .*\.\.\.$", name)
                for each in command.list_commands(CONTEXT):
                    found = command.get_command(CONTEXT, each)
                    assert found is not None
                    help = re.escape(found.get_short_help_str(100))
                    self.assertRegex(done.output, rf"(?m)^  {each} +{help}$")
                    self.assertRegex(done.output, rf"(?m)^  {each} +[A-Z].*\.$")

    def test_order(self) -> None:
        """Commands come in sections, in the order in which they are used."""
        output = CliRunner().invoke(txstathat, ["--help"]).output
        words = ("Begin:", "serve", "demo", "Send:", "count", "Read:", "list", "keys")
        places = [
            output.index(f"\n{word}") if ":" in word else output.index(f"\n  {word} ")
            for word in words
        ]
        self.assertEqual(places, sorted(places))


class ServerTests(SynchronousTestCase):
    """
    ``serve``, and the command without its libraries.
    """

    def test_serve(self) -> None:
        """The first start prints the keys, the next does not; points stay stored."""
        config = Path(self.mktemp()).absolute()
        environ = {
            **bare_environ(),
            "XDG_CONFIG_HOME": str(config),
            "TXSTATHAT_STORE": f"sqlite://{Path(self.mktemp()).absolute()}",
        }
        command = [sys.executable, "-m", "txstathat"]
        for start in (1, 2):
            server = PythonPopen(
                [*command, "serve", "--listen", "tcp:0:interface=127.0.0.1"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environ,
                cwd=ROOT,
            )
            try:
                assert server.stdout is not None
                if start == 1:
                    said = [server.stdout.readline().strip() for _ in range(4)]
                    self.assertIn("shown only now", said[0])
                    keys = dict(line.split(": ") for line in said[1:])
                    self.assertEqual(list(keys), ["EZ key", "user key", "access token"])
                listening = server.stdout.readline()
                self.assertTrue(listening.startswith("Listening on "), listening)
                url = listening.split()[-1]
                self.assertIn("--write-settings", server.stdout.readline())
                self.assertIn("Open this to sign in", server.stdout.readline())
                link = server.stdout.readline().removesuffix("\n")
                self.assertEqual(link.rpartition("/")[0], f"{url}/sign-in")
                with urlopen(link, timeout=120) as page:
                    self.assertIn(
                        b"Press the button to sign in to this server.", page.read()
                    )
                sent = run_python(
                    [*command, "count", "signups", "42"],
                    env={**environ, "TXSTATHAT_EZKEY": keys["EZ key"]}
                    | {"TXSTATHAT_URL": url},
                    cwd=ROOT,
                    capture_output=True,
                )
                self.assertEqual(sent.returncode, 0)
                token = keys["access token"]
                with urlopen(
                    f"{url}/x/{token}/stat?name=signups", timeout=120
                ) as output:
                    id = json.load(output)["id"]
                with urlopen(
                    f"{url}/x/{token}/data/{id}?t=1d1d", timeout=120
                ) as output:
                    (data,) = json.load(output)
                self.assertEqual(data["points"][-1]["value"], 42 * start)
            finally:
                server.send_signal(signal.SIGINT)
                out, err = server.communicate(timeout=300)
            self.assertEqual((server.returncode, out, err), (0, "", ""))
        # Not in a terminal, so nothing is written.
        self.assertFalse(config.exists())

    def test_no_store(self) -> None:
        """Commands for an existing store do not create one."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for arguments in (
            ("keys", "add", "ez", "web"),
            ("keys", "list", "--store", "sqlite:txstathat.sqlite"),
            ("keys", "revoke", "web"),
            ("stats", "add", "a"),
        ):
            done = run_python(
                [sys.executable, "-m", "txstathat", *arguments],
                capture_output=True,
                text=True,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            self.assertEqual(
                (done.returncode, done.stdout, done.stderr),
                (
                    1,
                    "",
                    "Error: no store at txstathat.sqlite. Start txstathat serve "
                    "first, or name the store with --store\n",
                ),
            )
        self.assertEqual([*folder.iterdir()], [])

    def test_stat_twice(self) -> None:
        """A stat has one key; the error says how to get another."""
        path = Path(self.mktemp()).absolute()
        store = SqliteBackend(str(path), time.time)
        store.open()
        store.close()

        def shell(*arguments: str) -> tuple[int, str]:
            done = run_python(
                [sys.executable, "-m", "txstathat", *arguments],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={**os.environ, "TXSTATHAT_STORE": f"sqlite:{path}"},
            )
            return done.returncode, done.stdout + done.stderr

        status, first = shell("stats", "add", "a b")
        self.assertEqual(status, 0)
        status, output = shell("stats", "add", "a b")
        self.assertEqual(
            (status, output),
            (
                1,
                "txstathat: the stat 'a b' already has a key. To create another, "
                "first revoke it: txstathat keys revoke 'stat a b'\n",
            ),
        )
        self.assertEqual(shell("keys", "revoke", "stat a b")[0], 0)
        status, again = shell("stats", "add", "a b")
        self.assertEqual(status, 0)
        self.assertNotEqual(again, first)

    def test_port_in_use(self) -> None:
        """No keys are created; the error says it once, and suggests another port."""
        store = f"sqlite:{Path(self.mktemp()).absolute()}"
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            endpoint = f"tcp:{port}:interface=127.0.0.1"
            for arguments, advice in (
                (("--listen", endpoint), "--listen tcp:8081:interface=127.0.0.1"),
                (("--port", port), "--port 8081"),
            ):
                done = run_python(
                    [
                        *(sys.executable, "-m", "txstathat", "serve"),
                        *(*arguments, "--store", store),
                    ],
                    capture_output=True,
                    text=True,
                    cwd=ROOT,
                )
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertEqual(
                    done.stderr,
                    f"txstathat: cannot listen on '{endpoint}': Address already in "
                    f"use; use another port, such as {advice}\n",
                )
        listed = run_python(
            [sys.executable, "-m", "txstathat", "keys", "list", "--store", store],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        self.assertEqual(listed.stdout, "There are no keys.\n")

    def test_serve_that_cannot_listen(self) -> None:
        """The error names a bad endpoint."""
        for endpoint in ("nonsense:1", "tcp:99999999"):
            done = run_python(
                [
                    *(sys.executable, "-m", "txstathat", "serve"),
                    *("--listen", endpoint, "--store", "memory:"),
                ],
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"cannot listen on '{endpoint}'", done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def test_stats_add(self) -> None:
        """Any stat name can have a key, also the longest one."""
        path = Path(self.mktemp()).absolute()
        store = SqliteBackend(str(path), time.time)
        store.open()
        store.close()
        for name in ("n" * 250, "n" * 255):
            done = run_python(
                [
                    *(sys.executable, "-m", "txstathat", "stats", "add", name),
                    *("--store", f"sqlite:{path}"),
                ],
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"^stat key: \S{32}\n")

    def imported(self, *arguments: str) -> str:
        """What a command prints, and the modules that it imports."""
        code = (
            "import sys\n"
            f"sys.argv = ['txstathat', *{arguments}]\n"
            "from txstathat.cli import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "print([*sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        self.assertEqual(done.stderr, "")
        return done.stdout

    def test_little_is_imported(self) -> None:
        """A count from the shell imports only what it needs."""
        output = self.imported("count", "--help")
        self.assertIn("'txstathat.client'", output)
        for module in ("txstathat.collector", "txstathat.metrica", "txstathat.charts"):
            self.assertNotIn(f"'{module}'", output)

    def test_help_imports_no_command(self) -> None:
        """The version and the help need neither Twisted nor any command."""
        for option, words in (("--version", "txstathat, version"), ("--help", "Begin")):
            output = self.imported(option)
            self.assertIn(words, output)
            self.assertIn("'txstathat.cli.commands'", output)
            for module in ("twisted", "treq", "txstathat.client", "txstathat.cli.send"):
                self.assertNotIn(f"'{module}", output)

    def test_without_its_libraries(self) -> None:
        """The command says what to install."""
        code = (
            "import sys; sys.modules['click'] = None; "
            "from txstathat.cli import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(
            done.stderr,
            "txstathat: the command line needs click; "
            "install it with: pip install 'txStatHat[cli]'\n",
        )


class StoreUrlTests(SynchronousTestCase):
    """
    ``--store``.
    """

    def shell(self, run: Any, *arguments: str) -> tuple[int, str]:
        """Run a command; its status and what it printed."""
        done = run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT
        )
        return done.returncode, done.stdout + done.stderr

    def test_without_redis(self) -> None:
        """Every command says what to install."""
        code = (
            "import sys; sys.modules['redis'] = None; "
            "from txstathat.cli import main; main()"
        )
        url = "redis://127.0.0.1:1/0"
        for arguments in (("keys", "list"), ("serve",), ("export", "/tmp/x/y")):
            status, said = self.shell(
                subprocess.run, "-c", code, *arguments, "--store", url
            )
            self.assertEqual(status, 1)
            self.assertIn(
                "a Redis store needs redis: pip install 'txStatHat[redis]'\n", said
            )
            self.assertEqual(len(said.splitlines()), 1, said)

    def test_paths(self) -> None:
        """A path is not a URL; a folder that is missing is named."""
        for store, words in (
            ("/some/file.sqlite", "write sqlite:///some/file.sqlite"),
            ("file.sqlite", "write sqlite:file.sqlite"),
            ("sqlite:/no/such/x.sqlite", "the folder /no/such does not exist"),
        ):
            status, said = self.shell(
                run_python, "-m", "txstathat", "serve", "--store", store
            )
            self.assertEqual(status, 1)
            self.assertIn(words, said)
            self.assertEqual(len(said.splitlines()), 1, said)
