"""
``txstathat demo`` in a process of its own, with a browser.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fixtures import ROOT
from tests.fixtures.browser import shared_browser
from tests.fixtures.python_programs import PythonPopen
from tests.fixtures.stores import wait_until
from txstathat.cli.demo.comparison import (
    Comparison,
    RecordingStatHat,
    comparison_table,
)
from txstathat.interfaces import IStatHatProvider
from txstathat.testing import MemoryStatHat

DRAWN = """
[...document.querySelectorAll(".txstathat-chart")].length == %d &&
[...document.querySelectorAll(".txstathat-chart")].every(
  (chart) => chart.dataset.drawn == "yes")
"""


def start_demo(*options: str, **environ: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    return PythonPopen(
        [sys.executable, "-m", "txstathat", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100", **environ},
        cwd=ROOT,
    )


class DemoTests(SynchronousTestCase):
    """What the command shows, and its result."""

    def finish(self, demo: subprocess.Popen[str]) -> str:
        """Wait for a successful end; the rest of its output."""
        out, err = demo.communicate(timeout=300)
        self.assertFalse(err, err)
        self.assertEqual(demo.returncode, 0, out)
        self.assertNotIn("✗", out)
        self.assertIn("Everything arrived.", out)
        return out

    def test_ends_by_itself(self) -> None:
        """The result shows what was sent beside what the server received, equal."""
        out = self.finish(start_demo("--seconds", "0.5"))
        self.assertIn("Sent and received", out)
        for stat in ("page views", "sales", "requests 2xx", "orders, in a Metrica"):
            self.assertRegex(
                out, rf"{stat} +│ +([1-9][0-9,]*) │ +\1 │ +│ +│ +✓", f"no {stat}"
            )
        self.assertRegex(out, r"basket EUR +│ +([0-9,]+) │ +\1 │ +([0-9.]+) │ +\2 │ +✓")

    def test_pages(self) -> None:
        """
        Its links lead to live stats and charts; Ctrl-C ends it with the comparison.
        """
        demo = start_demo("--seconds", "600")
        self.addCleanup(demo.kill)
        assert demo.stdout is not None
        said = "".join(demo.stdout.readline() for _ in range(6))
        board, stats, charts = re.findall(r"http://127\.0\.0\.1:\S+", said)
        browser = shared_browser()
        browser.size(1000, 760)
        browser.open(board)
        browser.click("main button")
        wait_until(lambda: "/boards/" in browser.run("return location.pathname"))
        board = browser.run("return location.href")
        browser.open(stats)
        wait_until(lambda: "sales" in browser.run("return document.body.innerText"))
        # The list changes a second after points were counted.
        wait_until(lambda: self.shows_more(browser))
        browser.screenshot("demo-stats")
        browser.open(board)
        tiles = "[...document.querySelectorAll('.tile')].map((tile) => tile.innerText)"
        wait_until(lambda: self.is_filled(browser, f"return {tiles}"))
        marks = browser.run("return document.querySelectorAll('.mark').length")
        self.assertEqual(marks, 3)
        browser.size(1120, 920)
        browser.screenshot("demo-board")
        browser.size(1000, 1180)
        browser.open(charts)
        browser.wait(DRAWN % 4)
        browser.screenshot("demo-charts")
        self.assertEqual(browser.console(), [])
        demo.send_signal(signal.SIGINT)
        self.finish(demo)

    def test_interrupted_early(self) -> None:
        """Whenever Ctrl-C comes, it ends without a traceback, and leaves no files."""
        for n, seconds in enumerate((0.0, 0.1, 0.2, 0.4)):
            folder = Path(self.mktemp())
            folder.mkdir()
            demo = start_demo("--seconds", "600", TMPDIR=str(folder.absolute()))
            self.addCleanup(demo.kill)
            wait_until(lambda at=folder: bool([*at.iterdir()]))  # type: ignore[misc]
            with contextlib.suppress(subprocess.TimeoutExpired):
                demo.wait(seconds)
            demo.send_signal(signal.SIGINT)
            _, err = demo.communicate(timeout=300)
            self.assertEqual(err, "", n)
            self.assertIn(demo.returncode, (0, 130))
            self.assertEqual([*folder.iterdir()], [])

    def is_filled(self, browser: Any, script: str) -> bool:
        """Whether all tiles of the board have numbers."""
        browser.open(browser.run("return location.href"))
        tiles = browser.run(script)
        return len(tiles) == 7 and all(re.search(r"\d", tile) for tile in tiles)

    def shows_more(self, browser: Any) -> bool:
        """Whether the list of stats has changed since the last call."""
        browser.open(browser.run("return location.href"))
        before, self.text = (
            getattr(self, "text", ""),
            browser.run("return document.querySelector('tbody').innerText"),
        )
        return bool(before) and before != self.text


class ComparisonTests(SynchronousTestCase):
    """Recording and comparing."""

    def test_passes_on(self) -> None:
        """Every call is recorded, and passed on unchanged."""
        real = MemoryStatHat()
        recorder = RecordingStatHat(real)
        verifyObject(IStatHatProvider, recorder)
        self.successResultOf(recorder.count("a", 2, t=60))
        self.successResultOf(recorder.tick("a"))
        self.successResultOf(recorder.value("b", 0.5))
        self.assertEqual(recorder.sent.points, real.points)
        self.assertEqual(real.counts, {"a": 3})

    def test_difference(self) -> None:
        """A difference of one, or of a mean, is found and shown."""
        for comparison, equal in (
            (Comparison("a", 3, 3), True),
            (Comparison("a", 3, 2), False),
            (Comparison("b", 2, 2, 0.1 + 0.2, 0.3), True),
            (Comparison("b", 2, 2, 0.3, 0.31), False),
            (Comparison("b", 2, 0, 0.3, None), False),
        ):
            self.assertEqual(comparison.equal, equal, comparison)
            console = Console(record=True, file=StringIO(), width=80)
            console.print(comparison_table([comparison]))
            self.assertEqual("✗" in console.export_text(), not equal)
