"""
Where commands find their server, and how ``txstathat serve`` writes it down.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from click.testing import CliRunner
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.environments import bare_environ
from tests.fixtures.python_programs import PythonPopen
from txstathat.cli.commands import txstathat
from txstathat.cli.program import program
from txstathat.cli.server.write_settings import offer_settings, own_url
from txstathat.cli.settings import (
    MAX_SETTINGS,
    Server,
    find_reader,
    find_sender,
    read_settings,
    settings_path,
    write_settings,
)
from txstathat.collector.auth.keys import Keys
from txstathat.stores import open_store

HERE, THERE = "http://here:8080", "http://there:8080"
KEYS = {"EZ key": "new-ez", "user key": "new-user", "access token": "new-token"}


class FolderCase(SynchronousTestCase):
    """
    A folder for settings.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.path = self.folder / "txstathat.toml"
        self.environ = {"XDG_CONFIG_HOME": str(self.folder)}

    def write(self, **settings: str) -> None:
        """Write the settings file."""
        self.folder.mkdir(exist_ok=True)
        lines = (f'{name} = "{value}"\n' for name, value in settings.items())
        self.path.write_text("".join(lines))
        self.path.chmod(0o600)


class FindTests(FolderCase):
    """
    Flags, environment, file: in this order, and never a key from one for another's URL.
    """

    def test_order(self) -> None:
        """The first place that has both wins."""
        self.write(url=HERE, ezkey="file-key", token="file-token")
        self.assertEqual(
            find_sender(None, None, self.environ), Server(HERE, "file-key")
        )
        self.assertEqual(
            find_reader(None, None, self.environ), Server(HERE, "file-token")
        )
        self.environ |= {"TXSTATHAT_URL": THERE, "TXSTATHAT_EZKEY": "env-key"}
        self.environ |= {"TXSTATHAT_TOKEN": "env-token"}
        self.assertEqual(
            find_sender(None, None, self.environ), Server(THERE, "env-key")
        )
        self.assertEqual(
            find_reader(None, None, self.environ), Server(THERE, "env-token")
        )
        self.assertEqual(
            find_sender("http://flag", "flag-key", self.environ),
            Server("http://flag", "flag-key"),
        )

    def test_keys_stay_with_their_url(self) -> None:
        """
        A place with only a URL or only a key is an error that names what is missing,
        and no secret.
        """
        env_url, env_key = {"TXSTATHAT_URL": THERE}, {"TXSTATHAT_EZKEY": "env-key"}
        self.write(url=HERE, ezkey="file-key")
        for words, url, key, environ in (
            ("TXSTATHAT_URL is set, but TXSTATHAT_EZKEY is not", None, None, env_url),
            ("TXSTATHAT_EZKEY is set, but TXSTATHAT_URL is not", None, None, env_key),
            ("--url is set, but --ezkey is not", THERE, None, {}),
            ("--url is set, but --ezkey is not", "http://a", None, env_url | env_key),
            ("--ezkey is set, but --url is not", None, "flag-key", {}),
            ("--ezkey is set, but --url is not", None, "flag-key", env_url | env_key),
        ):
            with self.assertRaises(click.UsageError) as caught:
                find_sender(url, key, self.environ | environ)
            self.assertIn(words, caught.exception.message)
            self.assertNotIn("-key ", caught.exception.message.replace("--ezkey", ""))

    def test_file_that_is_not_complete(self) -> None:
        """The error names the missing setting, and the file."""
        for words, find, settings in (
            ("holds an EZ key but no url", find_sender, {"ezkey": "k"}),
            ('add ezkey = "…" to', find_sender, {"url": HERE, "token": "t"}),
            ('add token = "…" to', find_reader, {"url": HERE, "ezkey": "k"}),
        ):
            self.write(**settings)
            with self.assertRaises(click.UsageError) as caught:
                find(None, None, self.environ)
            self.assertIn(words, caught.exception.message)
            self.assertIn(str(self.path), caught.exception.message)

    def test_same_url_elsewhere(self) -> None:
        """A URL that is set twice is one server: its key is used."""
        self.write(url=f"{HERE}/", ezkey="file-key")
        for url, environ in ((HERE, {}), (None, {"TXSTATHAT_URL": HERE})):
            found = find_sender(url, None, self.environ | environ)
            self.assertEqual(found, Server(HERE, "file-key"))

    def test_empty_flag(self) -> None:
        """An empty flag is an error, and not a reason to use another key."""
        self.write(url=HERE, ezkey="file-key", token="file-token")
        for words, find, url, secret in (
            ("--ezkey is empty", find_sender, None, ""),
            ("--token is empty", find_reader, None, " "),
            ("--url is empty", find_sender, "", "key"),
        ):
            with self.assertRaises(click.UsageError) as caught:
                find(url, secret, self.environ)
            self.assertEqual(caught.exception.message, words)

    def test_nothing_set(self) -> None:
        """There is no default server; the error says what to do, also without a home."""
        for environ in (self.environ, {}, {"HOME": ""}, {"TXSTATHAT_URL": ""}):
            for find in (find_sender, find_reader):
                with self.assertRaises(click.UsageError) as caught:
                    find(None, None, environ)
                self.assertIn("no server is set", caught.exception.message)
                self.assertIn("txstathat serve", caught.exception.message)

    def test_file_that_is_not_needed(self) -> None:
        """A bad file does not matter when earlier sources have the settings."""
        self.write(nonsense="x")
        environ = {**self.environ, "TXSTATHAT_URL": THERE, "TXSTATHAT_EZKEY": "k"}
        self.assertEqual(find_sender(None, None, environ), Server(THERE, "k"))
        self.assertRaises(click.UsageError, find_sender, None, None, self.environ)

    def test_secret_is_not_shown(self) -> None:
        """The repr of a server does not show its key."""
        self.assertNotIn("canary", repr(Server(HERE, "canary")))

    def test_all_sending_commands_say_what_to_do(self) -> None:
        """Without a server none of them posts anywhere: status 2, and words."""
        past = self.mktemp()
        Path(past).write_text("stat,count,t\na,1,5\n")
        for arguments in (
            ["count", "a"],
            ["value", "a", "1"],
            ["post"],
            ["import", past],
            ["time", "--name", "a", "false"],
            ["check"],
            ["list"],
        ):
            done = CliRunner(
                env={name: "" for name in os.environ if "TXSTATHAT_" in name}
                | {"HOME": "", "XDG_CONFIG_HOME": ""}
            ).invoke(txstathat, arguments)
            self.assertEqual(done.exit_code, 2, done.output)
            self.assertIn("no server is set", done.output)


class FileTests(FolderCase):
    """
    The file itself.
    """

    def test_path(self) -> None:
        """TXSTATHAT_CONFIG, then XDG's folder, then the home; else there is none."""
        for expected, environ in (
            ("/c/x", {"TXSTATHAT_CONFIG": "/c/x", "XDG_CONFIG_HOME": "/x"}),
            ("/x/txstathat.toml", {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}),
            ("/h/.config/txstathat.toml", {"XDG_CONFIG_HOME": "x", "HOME": "/h"}),
            ("/h/.config/txstathat.toml", {"HOME": "/h"}),
            (None, {"HOME": ""}),
            (None, {}),
        ):
            path = settings_path(environ)
            self.assertEqual(path and str(path), expected)

    def test_round_trip(self) -> None:
        """Written settings are read back, and only their owner can read the file."""
        write_settings(self.path, HERE, 'k"\\', "t")
        self.assertEqual(
            read_settings(self.path), {"url": HERE, "ezkey": 'k"\\', "token": "t"}
        )
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_nothing_is_overwritten(self) -> None:
        """Neither a file nor a link, even one that leads nowhere."""
        self.write(url=HERE)
        before = self.path.read_bytes()
        self.assertRaises(FileExistsError, write_settings, self.path, THERE, "k", "t")
        self.assertEqual(self.path.read_bytes(), before)
        self.path.unlink()
        target = self.folder / "target"
        self.path.symlink_to(target)
        self.assertRaises(FileExistsError, write_settings, self.path, THERE, "k", "t")
        self.assertFalse(target.exists())

    def test_what_is_not_read(self) -> None:
        """A file that others can read, that is not TOML, or too large is refused."""
        self.write(url=HERE)
        self.path.chmod(0o644)
        for words, text in (
            ("chmod 600", None),
            ("not valid TOML", "url = canary"),
            ("not valid TOML", "\udcff"),
            ("'uri' is not a setting", 'uri = "canary"'),
            ("'url' is not a setting", "url = 7"),
            ("larger than", "#" * (MAX_SETTINGS + 1)),
        ):
            if text is not None:
                self.path.write_bytes(text.encode("utf-8", "surrogateescape"))
                self.path.chmod(0o600)
            with self.assertRaises(click.UsageError) as caught:
                read_settings(self.path)
            self.assertIn(words, caught.exception.message)
            self.assertNotIn("canary", caught.exception.message)

    def test_no_file(self) -> None:
        """No file, no folder, and a file in the folder's place are no settings."""
        self.assertEqual(read_settings(None), {})
        self.assertEqual(read_settings(self.path), {})
        self.assertEqual(read_settings(Path("/dev/null/txstathat.toml")), {})


def address(host: str | None) -> Any:
    """The address of a server."""
    return SimpleNamespace(host=host) if host else SimpleNamespace(name="socket")


class OfferTests(FolderCase):
    """
    What the start of a server does with the file.
    """

    def setUp(self) -> None:
        super().setUp()
        store = self.successResultOf(open_store("memory:", clock=Clock()))
        self.keys = Keys(store)
        self.names = [f"first {kind}" for kind in ("ez", "access")]
        for kind, name, key in zip(
            ("ez", "access"), self.names, ("new-ez", "new-token"), strict=True
        ):
            self.successResultOf(
                Deferred.fromCoroutine(self.keys.add(kind, name, key=key))
            )

    def offer(
        self,
        url: str | None = HERE,
        keys: dict[str, str] = KEYS,
        asked: bool = False,
    ) -> str:
        """Offer the settings; the message."""
        return self.successResultOf(
            Deferred.fromCoroutine(
                offer_settings(url, keys, self.keys, self.environ, asked)
            )
        )

    def test_own_url(self) -> None:
        """Only an http:// URL, and only if all addresses are this machine's."""
        here = "http://127.0.0.1:1"
        for expected, hosts, urls in (
            (here, ["127.0.0.1"], [here]),
            (here, ["127.0.0.2", "::1"], [here, "http://[::1]:1"]),
            (here, [None, "127.0.0.1"], ["UNIXAddress('x')", here]),
            (None, ["0.0.0.0"], ["http://0.0.0.0:1"]),
            (None, ["127.0.0.1", "::"], [here, "http://[::]:1"]),
            (None, ["127.0.0.1", "192.168.0.7"], [here, "http://192.168.0.7:1"]),
            (None, ["127.0.0.1"], ["https://127.0.0.1:1"]),
        ):
            self.assertEqual(own_url([address(host) for host in hosts], urls), expected)

    def test_first_start(self) -> None:
        """The first start writes the file, and says so; the next one finds it."""
        said = self.offer()
        self.assertIn(f"Wrote the settings to {self.path}", said)
        self.assertEqual(
            find_sender(None, None, self.environ), Server(HERE, KEYS["EZ key"])
        )
        self.assertEqual(
            find_reader(None, None, self.environ), Server(HERE, KEYS["access token"])
        )
        self.assertIn("sends here", self.offer(keys={}))

    def test_nothing_is_changed(self) -> None:
        """An existing file is not changed; the message says what it means."""
        for words, settings in (
            ("names another server, there:8080; it was not changed", {"url": THERE}),
            ("names no server; it was not changed", {"token": "t"}),
            ("no key of this server; it was not changed", {"url": HERE, "ezkey": "x"}),
        ):
            self.write(**settings)
            before = self.path.read_bytes()
            self.assertIn(words, self.offer())
            self.assertEqual(self.path.read_bytes(), before)
        self.path.chmod(0o644)
        self.assertIn("chmod 600", self.offer())

    def test_later_start(self) -> None:
        """A later start says how to get the file; on request it writes new keys."""
        self.assertIn("start this server with --write-settings", self.offer(keys={}))
        self.assertFalse(self.folder.exists())
        said = self.offer(keys={}, asked=True)
        self.assertIn(f"Wrote the settings to {self.path}", said)
        self.assertTrue(
            self.keys.allow("ez", find_sender(None, None, self.environ).secret)
        )
        self.assertTrue(
            self.keys.may_read(find_reader(None, None, self.environ).secret)
        )
        self.assertIn("sends here", self.offer(keys={}))

    def test_later_start_that_cannot_write(self) -> None:
        """New keys that could not be written are revoked: nobody knows them."""
        self.environ = {"TXSTATHAT_CONFIG": "/dev/null/x"}
        self.assertIn("Could not write", self.offer(keys={}, asked=True))
        known = self.successResultOf(Deferred.fromCoroutine(self.keys.all()))
        self.assertEqual({key.name for key in known}, set(self.names))

    def test_nothing_is_written(self) -> None:
        """
        Not for other machines, not without a home, not through a link; who asked for it
        hears why.
        """
        self.assertEqual(self.offer(url=None), "")
        self.assertIn("other machines", self.offer(url=None, asked=True))
        self.folder.mkdir()
        self.path.symlink_to(self.folder / "nowhere")
        self.assertIn("it was not changed", self.offer())
        self.path.unlink()
        self.environ = {"TXSTATHAT_CONFIG": "/dev/null/x"}
        self.assertIn("Could not write the settings to /dev/null/x", self.offer())
        self.environ = {}
        self.assertEqual(self.offer(), "")
        self.assertIn("no home directory", self.offer(asked=True))
        self.assertEqual(os.listdir(self.folder), [])


class ProgramTests(FolderCase):
    """
    The words that start the command.
    """

    def test_path(self) -> None:
        """The path by which it was called, where the shell would not find the name."""
        self.folder.mkdir()
        called = self.folder / "a b" / "txstathat"
        called.parent.mkdir()
        called.touch()
        self.assertEqual(program([str(called)]), f"'{called}'")
        self.assertEqual(program(["txstathat"]), "txstathat")
        found = shutil.which("sh")
        assert found is not None
        self.assertEqual(program([found]), "sh")
        self.assertEqual(
            program(["/x/txstathat/__main__.py"]), f"{sys.executable} -m txstathat"
        )


class ServeTests(FolderCase):
    """
    ``serve`` itself, in a terminal and without one.
    """

    def serve(self, *options: str, terminal: bool) -> str:
        """Start it on an empty store, stop it once it runs; what it printed."""
        ours, theirs = os.openpty()
        store = f"sqlite:{Path(self.mktemp()).absolute()}"
        server = PythonPopen(
            [sys.executable, "-m", "txstathat", "serve", "--store", store, *options],
            stdin=subprocess.DEVNULL,
            stdout=theirs if terminal else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**bare_environ(), **self.environ},
            cwd=ROOT,
        )
        os.close(theirs)
        try:
            output = ours if terminal else server.stdout.fileno()  # type: ignore[union-attr]
            said = b""
            while not re.search(rb"/sign-in/\S+\r?\n", said):
                more = os.read(output, 65_536)
                self.assertTrue(more, said.decode())
                said += more
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
            os.close(ours)
            if server.stdout is not None:
                server.stdout.close()
        self.assertNotIn(b"Traceback", said)
        return said.decode()

    def test_terminal(self) -> None:
        """In a terminal the file is written; the next server does not change it."""
        local = ("--listen", "tcp:0:interface=127.0.0.1")
        said = self.serve(*local, terminal=True)
        self.assertIn("Wrote the settings to", said)
        first = self.path.read_bytes()
        found = find_sender(None, None, self.environ)
        self.assertIn(f"Listening on {found.url}", said)
        self.assertIn(f"EZ key: {found.secret}", said)
        said = self.serve(*local, terminal=True)
        self.assertIn("names another server", said)
        self.assertEqual(self.path.read_bytes(), first)

    def test_no_terminal(self) -> None:
        """Without a terminal the file is written only on request, as it says."""
        local = ("--listen", "tcp:0:interface=127.0.0.1")
        said = self.serve(*local, terminal=False)
        self.assertIn("start this server with --write-settings", said)
        self.assertFalse(self.path.exists())
        said = self.serve(*local, "--write-settings", terminal=False)
        self.assertIn("Wrote the settings to", said)
        self.assertTrue(self.path.exists())

    def test_for_other_machines(self) -> None:
        """A server that others can reach writes nothing, even when asked to."""
        everywhere = ("--listen", "tcp:0")
        self.assertNotIn("ettings", self.serve(*everywhere, terminal=True))
        said = self.serve(*everywhere, "--write-settings", terminal=True)
        self.assertIn("this computer's other addresses", said)
        self.assertRegex(said, r"(?m)^http://127\.0\.0\.1:[0-9]+/sign-in/\S+\r$")
        self.assertIn("No settings were written", said)
        self.assertFalse(self.folder.exists())

    def test_only_serve(self) -> None:
        """``twist stathat`` and the demo do not even have the code that writes it."""
        for module in ("txstathat.collector.tap", "txstathat.cli.demo.command"):
            code = (
                f"import sys, {module}\n"
                "print([name for name in sys.modules if 'cli.serve' in name])"
            )
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
            )
            self.assertEqual((done.stdout, done.stderr), ("[]\n", ""), module)
