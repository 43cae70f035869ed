"""
``txstathat export``, and ``txstathat import`` of what it wrote.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread

from tests.fixtures import ROOT
from tests.fixtures.archives import batch
from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.python_programs import PythonPopen, run_txstathat
from tests.fixtures.stores import wait_until
from txstathat import Count, Value
from txstathat.cli.output import size_text
from txstathat.collector.archive.archive import Archive
from txstathat.stores import open_store
from txstathat.stores.dump import open_dump
from txstathat.stores.interface import StoredCell


class ExportTests(ServiceCase):
    """
    ``export``, of a collector that runs.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.file = self.folder / "all.jsonl"
        self.target = f"sqlite:{self.folder / 'new.sqlite'}"

    def shell(self, *arguments: str) -> Any:
        """Run a command; its status and output."""

        def check(ended: tuple[bytes, bytes, int]) -> tuple[int, str]:
            out, err, status = ended
            self.assertNotIn(b"Traceback", err)
            return status, (out + err).decode()

        return run_txstathat(arguments, os.environ).addCallback(check)

    @property
    def store(self) -> str:
        """The store of the collector that runs."""
        return f"sqlite:{Path(self.path).absolute()}"

    def cells(self, url: str) -> list[StoredCell]:
        """All cells in a store, without their expiry."""
        with open_dump(url) as dump:
            return [cell._replace(expires=None) for cell in dump.cells()]

    @inlineCallbacks
    def test_round(self) -> Any:
        """Everything is in the other store, once; only the owner can read the file."""
        yield self.start()
        yield self.parts.archive.add(
            batch(Count("a", 2), Value("b/é <b>", 0.5), Count("a", 3, 1_363_118_126))
        )
        status, output = yield self.shell(
            "export", str(self.file), "--store", self.store
        )
        size = self.file.stat().st_size
        self.assertEqual(
            (status, output), (0, f"Exported to {self.file} ({size_text(size)}).\n")
        )
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        for key in self.keys.values():
            self.assertNotIn(key, self.file.read_text())
        other = str(self.folder / "keys.jsonl")
        status, _ = yield self.shell("export", other, "--keys", "--store", self.store)
        self.assertEqual(
            (status, Path(other).read_text().count('"note":"key"')), (0, 3)
        )
        before = self.cells(self.store)
        yield self.parts.archive.add(batch(Count("a", 4)))
        for words in ("into the store.", "is already in the store."):
            status, output = yield self.shell(
                "import", str(self.file), "--store", self.target
            )
            self.assertEqual(status, 0)
            self.assertIn(words, output)
            self.assertEqual(self.cells(self.target), before)
        opened = yield open_store(self.target)
        self.addCleanup(opened.close)
        stats = yield Deferred.fromCoroutine(Archive(opened).stats())
        self.assertEqual(
            [(stat.name, stat.kind) for stat in stats],
            [("a", "count"), ("b/é <b>", "value")],
        )

    @inlineCallbacks
    def test_killed(self) -> Any:
        """An import that was killed continues where it stopped."""
        yield self.start()
        now = int(self.parts.archive.store.clock.seconds())
        yield self.parts.archive.add(
            batch(*(Count(f"s{n % 400}", n, now - 61 * n) for n in range(4_000)))
        )
        status, _ = yield self.shell("export", str(self.file), "--store", self.store)
        self.assertEqual(status, 0)
        process = PythonPopen(
            [
                *(sys.executable, "-m", "txstathat", "import", str(self.file)),
                *("--store", self.target),
            ],
            cwd=ROOT,
        )
        self.addCleanup(process.kill)
        path = self.target.removeprefix("sqlite:")

        def some() -> bool:
            try:
                with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                    return bool(
                        db.execute("SELECT count(*) FROM journal").fetchone()[0]
                    )
            except sqlite3.Error:
                return False

        yield deferToThread(wait_until, some)
        process.kill()
        yield deferToThread(process.wait)
        all_cells = self.cells(self.store)
        self.assertLess(len(self.cells(self.target)), len(all_cells))
        status, output = yield self.shell(
            "import", str(self.file), "--store", self.target
        )
        self.assertEqual(
            (status, output), (0, f"Imported {self.file} into the store.\n")
        )
        self.assertEqual(self.cells(self.target), all_cells)

    @inlineCallbacks
    def test_failures(self) -> Any:
        """Failures are explained, and leave nothing half done."""
        yield self.start()
        yield self.parts.archive.add(batch(Count("a", 2)))
        self.file.write_text("mine")
        export = ("export", str(self.file), "--store")
        for words, store in (
            ("exists already", self.store),
            ("a persistent store", "memory:"),
            ("no store at", f"sqlite:{self.folder / 'nowhere'}"),
        ):
            if store != self.store:
                self.file.unlink(missing_ok=True)
            status, output = yield self.shell(*export, store)
            self.assertEqual(status, 1)
            self.assertIn(words, output)
        self.assertEqual(list(self.folder.iterdir()), [])
        status, output = yield self.shell(
            "export", str(self.folder / "no" / "x"), "--store", self.store
        )
        self.assertEqual(status, 1)
        self.assertIn(f"the folder {self.folder / 'no'} does not exist", output)
        yield self.shell(*export, self.store)
        lines = self.file.read_text().splitlines(keepends=True)
        for words, text, store in (
            ("line 2: is not JSON", [lines[0], "x\n", *lines[2:]], self.target),
            ("it ends with line 2", lines[:2], self.target),
            ("the store has stats already", lines, self.store),
        ):
            self.file.write_text("".join(text))
            status, output = yield self.shell(
                "import", str(self.file), "--store", store
            )
            self.assertEqual(status, 1)
            self.assertIn(words, output)
        self.assertEqual(list(self.folder.iterdir()), [self.file])
        self.assertEqual((yield self.totals())["a"].sum, 2)
