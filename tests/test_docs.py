"""
The examples in the README and the documentation, run.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from fractions import Fraction
from inspect import signature
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.fixtures import ROOT
from tests.fixtures.collectors import start_service
from tests.fixtures.support import reactor, require_program
from txstathat import Count, StatHatService, Value, txStatHat, txStatHatClassic
from txstathat.collector.archive.series import Plan
from txstathat.collector.archive.stats import RETENTION
from txstathat.collector.web.site import CollectorSite
from txstathat.export import StatHatExport
from txstathat.export.requests import RETRY_DELAYS
from txstathat.points.timeframe import Timeframe
from txstathat.stores.redis.cluster.pipelines import PAUSES
from txstathat.testing import FakeStatHat

EXAMPLES = ROOT / "examples"
# How many seconds or bytes are in a unit of the page about bounds.
UNITS = {
    "µs": 1e-6,
    "min": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
    "day": 86_400,
    "days": 86_400,
    "years": 365 * 86_400,
    "%": 0.01,
    "KiB": 2**10,
    "MiB": 2**20,
}
# Those whose value is not one number.
OTHER_DEFAULTS = {
    "collector.archive.stats.RETENTION",
    "export.requests.RETRY_DELAYS",
    "stores.redis.cluster.pipelines.PAUSES",
}


def bounds(table: int | None = None) -> list[tuple[str, str]]:
    """The name and the default of each bound on its page, or in one of its tables."""
    page = (ROOT / "docs" / "bounds.rst").read_text()
    if table is not None:
        page = page.split(".. list-table::")[table + 1]
    found = []
    for names, defaults in re.findall(r"^   \* - (``.*)\n     - (.*)$", page, re.M):
        # A parameter of something else has its name behind its own.
        plain = re.fullmatch(r"``(\w+)``", names)
        each = plain.groups() if plain else re.findall(r"``([\w.]+\.\w+)``", names)
        found += list(zip(each, defaults.split(", "), strict=False))
    return found


def number_of(default: str) -> float:
    """The number that a default means, such as ``2 min`` or ``10\\ :sup:`3```."""
    pattern = r"([\d/.]+)(?:\\ :sup:`(\d+)`)?(?: - (\d))?(?: ([^\s;:]+))?"
    found = re.match(pattern, default.replace(",", ""))
    assert found, default
    number, power, less, unit = found.groups()
    plain = Fraction(number) ** int(power or 1) - int(less or 0)
    return float(plain * Fraction(UNITS.get(unit, 1)))


class DoctestTests(SynchronousTestCase):
    """
    What can be read can be typed.
    """

    def test_pages(self) -> None:
        """Every prompt in the documentation shows what it says."""
        for page in [*sorted((ROOT / "docs").glob("*.rst")), ROOT / "README.rst"]:
            failed, _ = doctest.testfile(
                str(page), module_relative=False, optionflags=doctest.ELLIPSIS
            )
            self.assertEqual(failed, 0, page.name)

    def test_bounds(self) -> None:
        """Each bound with a dotted name exists under this name in the package."""
        found = [name for name, _ in bounds() if "." in name]
        self.assertGreater(len(found), 100)
        for name in found:
            namedAny(f"txstathat.{name}")

    def test_defaults(self) -> None:
        """The defaults of the bounds are those of the package."""
        for name, default in bounds():
            if "." in name and name not in OTHER_DEFAULTS:
                value = float(namedAny(f"txstathat.{name}"))
                self.assertAlmostEqual(value, number_of(default), msg=name)
        self.assertEqual(RETRY_DELAYS, (1, 2, 4, 8))
        self.assertEqual(len(PAUSES), 5)

    def test_parameters(self) -> None:
        """So are those of the bounds that are parameters of a constructor."""
        kinds = [(0, txStatHat), (0, txStatHatClassic)]
        kinds += [(1, StatHatExport), (2, StatHatService)]
        for number, kind in kinds:
            parameters = signature(kind).parameters
            found = [row for row in bounds(number) if "." not in row[0]]
            self.assertGreater(len(found), 2)
            for name, default in found:
                self.assertEqual(parameters[name].default, number_of(default), name)

    def test_modules(self) -> None:
        """Each file that the page about the architecture names exists."""
        page = (ROOT / "docs" / "architecture.rst").read_text()
        paths = [
            f"/{path.relative_to(ROOT)}"
            for folder in ("txstathat", "tests")
            for path in (ROOT / folder).rglob("*.py")
        ]
        for name in re.findall(r"\w[\w/]*\.py\b", page):
            self.assertTrue(any(path.endswith(f"/{name}") for path in paths), name)

    def test_timeframes(self) -> None:
        """The server accepts every timeframe that its pages in the docs show."""
        found = set()
        for page in (ROOT / "docs").glob("own-server*.rst"):
            found |= set(re.findall(r"\b(\d+[mhdwMy]\d+[mhdwMy])\b", page.read_text()))
        self.assertGreater(len(found), 5)
        for text in found:
            Plan(Timeframe.parse(text), time.time(), RETENTION)


class ExampleTests(TestCase):
    """
    The programs in ``examples/``, against a real server.
    """

    timeout = 600

    def setUp(self) -> None:
        self.received = FakeStatHat(lambda api, key: key == "k")
        site = CollectorSite(self.received.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"
        self.environ = {
            **os.environ,
            "TXSTATHAT_EZKEY": "k",
            "TXSTATHAT_URL": self.url,
            "PYTHONPATH": str(ROOT),
        }

    async def run_example(self, name: str) -> str:
        out, err, status = await getProcessOutputAndValue(
            sys.executable, [str(EXAMPLES / name)], env=self.environ
        )
        self.assertEqual(status, 0, err.decode())
        self.assertNotIn("Traceback", err.decode())
        return out.decode()

    def test_readme_example(self) -> Any:
        """The README's program, pasted into a file, sends its two points."""

        async def check() -> None:
            readme = (ROOT / "README.rst").read_text()
            (block,) = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", readme)
            program = Path(self.mktemp()).absolute()
            code = textwrap.dedent(block).replace("http://127.0.0.1:8080", self.url)
            program.write_text(code.replace("your-ez-key", "k"))
            await self.run_example(str(program))
            self.assertEqual(
                self.received.points, [Count("signups"), Value("load", 0.42)]
            )

        return ensureDeferred(check())

    def test_visitors(self) -> Any:
        """The tutorial's program counts what it says."""

        async def check() -> None:
            out = await self.run_example("visitors.py")
            self.assertEqual(self.received.summaries["visitors"].sum, 20)
            self.assertEqual(self.received.summaries["seconds on page"].points, 20)
            self.assertIn("ClientHealth(accepted=", out)

        return ensureDeferred(check())

    def test_tutorial(self) -> Any:
        """The variables that it sets are those that its commands read."""

        async def check() -> None:
            _, url, keys = await start_service(self)
            text = (ROOT / "docs" / "tutorial.rst").read_text()
            environ = {k: v for k, v in os.environ.items() if "TXSTATHAT" not in k}
            environ |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
            for name, value, what in re.findall(
                r"export (\w+)=(\S+)(?: +# the (.*))?\n", text
            ):
                environ[name] = keys[what] if what else url
                self.assertEqual(value, "..." if what else "http://127.0.0.1:8080")
            _, commands = text.split("A program that counts\n", 1)
            commands, _ = commands.split("A server that is down\n", 1)
            out = ""
            for command in re.findall(r"^    ((?:\.venv|curl) ?.*)$", commands, re.M):
                if command.startswith("curl"):
                    require_program("curl", "curl")
                    found = re.findall('"id": "(.*?)"', out)
                    command = command.replace("/ID?", f"/{found[-1]}?" if found else "")
                # The hour may end meanwhile.
                command = command.replace("?t=1h1h", "?t=2h1h")
                command = command.replace(".venv/bin/txstathat", "python -m txstathat")
                command = command.replace(".venv/bin/", "")
                command = re.sub("^python", sys.executable, command)
                told, err, status = await getProcessOutputAndValue(
                    "/bin/sh", ["-c", command], env=environ, path=str(ROOT)
                )
                self.assertEqual(status, 0, err.decode())
                out += told.decode()
            self.assertIn("ClientHealth(accepted=", out)
            self.assertIn("│ visitors", out)
            # If the minute ends meanwhile, the table has more lines and is wider.
            self.assertRegex(out, "│ total +│ 20")
            values = re.findall(r'"value": ([0-9]+)}', out)
            self.assertEqual(sum(map(int, values)), 20)

        return ensureDeferred(check())

    def test_visitors_without_a_server(self) -> Any:
        """With the server away it runs all the same, and so does it without a key."""

        async def check() -> None:
            self.environ["TXSTATHAT_URL"] = "http://127.0.0.1:1"
            out = await self.run_example("visitors.py")
            self.assertIn("accepted=0", out)
            self.assertIn("'ConnectionRefusedError': ", out)
            del self.environ["TXSTATHAT_EZKEY"]
            self.assertEqual(await self.run_example("visitors.py"), "")

        return ensureDeferred(check())

    def test_scripts_and_threads(self) -> Any:
        """Each way to count from elsewhere counts."""

        async def check() -> None:
            for name, points in (
                ("once.py", [Count("nightly jobs")]),
                ("from_a_thread.py", [Count("files read"), Value("bytes", 4096)]),
                ("script.py", [Count("orders")]),
            ):
                self.received.points.clear()
                self.assertEqual(await self.run_example(name), "True\n")
                # Those of a service carry the time.
                received = [replace(point, t=None) for point in self.received.points]
                self.assertEqual(received, points)

        return ensureDeferred(check())

    def test_service(self) -> Any:
        """The service counts under twistd, and stops."""

        async def check() -> None:
            folder = self.mktemp()
            os.mkdir(folder)
            command = [
                str(Path(sys.executable).with_name("twistd")),
                *("-ny", "counting_service.py"),
            ]
            text = (EXAMPLES / "counting_service.py").read_text()
            self.assertIn("``twistd -ny counting_service.py``", text)
            shutil.copy(EXAMPLES / "counting_service.py", folder)
            twistd = subprocess.Popen(
                command,
                cwd=folder,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            try:
                while len(self.received.points) < 2:
                    self.assertIsNone(twistd.poll())
                    await deferLater(reactor, 0.05)
            finally:
                twistd.terminate()
                out, _ = twistd.communicate(timeout=300)
            self.assertEqual({p.stat for p in self.received.points}, {"looks", "load"})
            # Once all is stopped, twistd ends by the signal that it got.
            self.assertIn(twistd.returncode, (0, -signal.SIGTERM))
            self.assertNotIn(b"Traceback", out)

        return ensureDeferred(check())

    def test_signup(self) -> Any:
        """The example test suite passes."""

        async def check() -> None:
            out, err, status = await getProcessOutputAndValue(
                sys.executable,
                [
                    "-m",
                    "twisted.trial",
                    "--temp-directory",
                    os.path.abspath(self.mktemp()),
                    "test_signup",
                ],
                env={**self.environ, "PYTHONPATH": f"{ROOT}:{EXAMPLES}"},
                path=str(EXAMPLES),
            )
            self.assertEqual(status, 0, (out + err).decode())
            self.assertIn("PASSED (successes=3)", out.decode())

        return ensureDeferred(check())
