"""
Follow the README's first screen word by word.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.browser import shared_browser
from tests.fixtures.stores import free_port

#: How many lines a reader sees at first.
SCREEN = 40
#: Seconds that an installation may take.
INSTALL = 900


def first_screen() -> str:
    """The README's first lines."""
    return "\n".join((ROOT / "README.rst").read_text().splitlines()[:SCREEN])


def commands() -> list[str]:
    """The lines to type, up to where the page is shown."""
    before = first_screen().partition(".. image::")[0]
    blocks = re.findall(r"::\n\n((?:    .*\n)+)", before)
    return [line.strip() for block in blocks for line in block.splitlines()]


def empty_home(folder: Path) -> dict[str, str]:
    """
    The environment of somebody without any settings; pip's alone are this machine's.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TXSTATHAT_", "XDG_", "PYTHON"))
    }
    theirs = Path.home() / ".config" / "pip" / "pip.conf"
    if theirs.is_file():
        inherited.setdefault("PIP_CONFIG_FILE", str(theirs))
    inherited.setdefault("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
    folder.mkdir()
    return {**inherited, "HOME": str(folder)}


def copy_checkout(to: Path) -> None:
    """What an installation needs of the checkout."""
    to.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, to)
    for name in ("txstathat", "twisted"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, to / name, ignore=ignored)


def is_free(port: int) -> bool:
    """Whether nothing listens on a port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class FirstScreenTests(SynchronousTestCase):
    """
    From nothing to a number on a page.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.checkout = self.folder / "checkout"
        copy_checkout(self.checkout)
        self.environ = empty_home(self.folder / "home")

    def run_shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return subprocess.run(
            command,
            shell=True,
            cwd=self.checkout,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=INSTALL,
        )

    def install(self, command: str) -> None:
        """Type the installation; skip the test if there is no package index."""
        done = self.run_shell(command)
        if done.returncode == 0:
            return
        probe = self.run_shell(".venv/bin/pip download -q --no-deps -d probe treq")
        if probe.returncode and os.environ.get("CI") != "true":
            raise SkipTest(f"no package index can be reached: {probe.stderr[-300:]}")
        self.fail(done.stdout + done.stderr)

    def serve(self, command: str) -> str:
        """Type the server's command in a terminal; what it prints."""
        ours, theirs = os.openpty()
        self.addCleanup(os.close, ours)
        server = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.checkout,
            env=self.environ,
            start_new_session=True,
        )
        os.close(theirs)
        self.addCleanup(server.wait, 30)
        self.addCleanup(server.send_signal, signal.SIGINT)
        said = b""
        while not re.search(rb"/sign-in/\S+\r\n", said):
            said += os.read(ours, 65_536)
        return said.decode()

    def test_number_on_a_page(self) -> None:
        """
        In a fresh virtual environment and an empty home, the commands work as they
        stand, print what the README says, and the number is on the page.
        """
        install, serve, count = commands()
        port = 8080
        if not is_free(port):
            # Somebody else's server: the words are the same but for the port.
            port = free_port()
            serve += f" --listen tcp:{port}:interface=127.0.0.1"
        self.install(install)
        said = self.serve(serve)
        settings = self.folder / "home" / ".config" / "txstathat.toml"
        self.assertIn(f"Wrote the settings to {settings}", said)
        self.assertEqual(settings.stat().st_mode & 0o777, 0o600)

        done = self.run_shell(count)
        (promised,) = re.findall(r"prints ``(.*?)``", first_screen())
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout, promised.replace("8080", str(port)) + "\n")

        found = re.search(r"http://\S+/sign-in/\S+", said)
        assert found is not None
        browser = shared_browser()
        browser.size(1000, 420)
        browser.open(found[0])
        browser.click("form button")
        browser.wait("document.querySelector('table') !== null")
        rows = browser.run(
            "return [...document.querySelectorAll('tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
        )
        browser.screenshot("first-number")
        self.assertEqual(len(rows), 1)
        # The first cell has the star that pins a stat.
        self.assertEqual(rows[0][1:4], ["signups", "counter", "1"])
