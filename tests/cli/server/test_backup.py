"""
``txstathat backup`` and ``txstathat restore``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tests.fixtures.archives import batch
from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.python_programs import run_txstathat
from txstathat import Count
from txstathat.cli.output import size_text
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Total
from txstathat.stores import open_store


class BackupTests(ServiceCase):
    """
    ``backup``, of a collector that runs.
    """

    def run_backup(
        self, store: str, file: str, *command: str, stdin: bytes = b""
    ) -> Any:
        """Run the command, by default ``backup``."""
        return run_txstathat(
            [*(command or ["backup"]), file, "--store", store],
            os.environ,
            stdin=stdin,
            folder=os.getcwd(),
        )

    @inlineCallbacks
    def test_copy(self) -> Any:
        """The copy is a store with the same points; the collector continues."""
        yield self.start()
        yield self.parts.archive.add(batch(Count("a", 2)))
        store = f"sqlite:{Path(self.path).absolute()}"
        copy = Path(self.mktemp()).absolute()
        out, err, status = yield self.run_backup(store, str(copy))
        self.assertEqual((err, status), (b"", 0))
        self.assertEqual(
            out.decode(), f"Backed up to {copy} ({size_text(copy.stat().st_size)}).\n"
        )
        yield self.parts.archive.add(batch(Count("a", 3)))
        opened = yield open_store(f"sqlite:{copy}")
        self.addCleanup(opened.close)
        totals = yield Deferred.fromCoroutine(Archive(opened).totals())
        self.assertEqual(totals, {"a": Total("count", 1, 2)})
        self.assertEqual((yield self.totals())["a"].sum, 5)

    @inlineCallbacks
    def test_failures(self) -> Any:
        """An existing file is not changed; only a SQLite store can be copied."""
        there = Path(self.mktemp()).absolute()
        there.write_text("mine")
        for store, words in (
            (f"sqlite:{there}", b"exists already"),
            ("memory:", b"a persistent store"),
            ("redis://127.0.0.1:1", b"only a SQLite store can be copied"),
            (f"sqlite:{there}.not", b"no store at"),
        ):
            out, err, status = yield self.run_backup(store, str(there))
            self.assertEqual((out, status), (b"", 1))
            self.assertIn(words, err)
            self.assertNotIn(b"Traceback", err)
        self.assertEqual(there.read_text(), "mine")

    @inlineCallbacks
    def test_restore(self) -> Any:
        """
        A running collector refuses it; a stopped one then has what the backup has, and
        what it had before is in a file.
        """
        yield self.start()
        yield self.parts.archive.add(batch(Count("a", 2)))
        path = Path(self.path).absolute()
        # Four slashes, as SQLAlchemy's users write an absolute path.
        store = f"sqlite:///{path}"
        copy = str(Path(self.mktemp()).absolute())
        _, err, status = yield self.run_backup(store, copy)
        self.assertEqual((err, status), (b"", 0))
        yield self.parts.archive.add(batch(Count("a", 3)))
        out, err, status = yield self.run_backup(store, copy, "restore")
        self.assertEqual((out, status), (b"", 1))
        self.assertIn(b"a program uses the store", err)
        self.assertEqual((yield self.totals())["a"].sum, 5)
        yield self.service.stopService()
        out, err, status = yield self.run_backup(store, copy, "restore", "--yes")
        self.assertEqual((err, status), (b"", 0))
        size = size_text(path.stat().st_size)
        (before,) = path.parent.glob(f"{path.name}.replaced-*")
        self.assertEqual(
            out.decode(),
            f"Restored {path} from {copy} ({size}).\n"
            f"What it had before is now in {before}.\n",
        )
        self.assertEqual(before.stat().st_mode & 0o777, 0o600)
        for url, total in ((store, 2), (f"sqlite:{before}", 5)):
            opened = yield open_store(url)
            self.addCleanup(opened.close)
            totals = yield Deferred.fromCoroutine(Archive(opened).totals())
            self.assertEqual(totals["a"].sum, total)

    @inlineCallbacks
    def test_restore_asks(self) -> Any:
        """It asks, with the ages of both files; without a yes nothing changes."""
        yield self.start()
        yield self.parts.archive.add(batch(Count("a", 2)))
        path = Path(self.path).absolute()
        store = f"sqlite:{path}"
        copy = str(Path(self.mktemp()).absolute())
        yield self.run_backup(store, copy)
        yield self.service.stopService()
        os.utime(copy, (1_772_355_600, 1_772_355_600))
        for answer in (b"n\n", b""):
            os.utime(path, (1_772_359_200, 1_772_359_200))
            out, err, status = yield self.run_backup(
                store, copy, "restore", stdin=answer
            )
            self.assertEqual((out, status), (b"", 1))
            for words in (
                f"{path} was last written to at 2026-03-01 10:00 UTC",
                f"{copy} at 2026-03-01 09:00 UTC",
                "Nothing was replaced.",
                "add --yes",
            ):
                self.assertIn(words, err.decode())
            self.assertEqual([*path.parent.glob(f"{path.name}?*")], [])
        out, _, status = yield self.run_backup(store, copy, "restore", stdin=b"y\n")
        self.assertEqual(status, 0)
        self.assertIn(b"What it had before is now in", out)

    @inlineCallbacks
    def test_restore_refused(self) -> Any:
        """Only a SQLite store can be restored; a missing backup is an error."""
        for store, words in (
            ("memory:", b"only a SQLite store can be restored"),
            ("redis://127.0.0.1:1", b"only a SQLite store can be restored"),
            (f"sqlite:{self.mktemp()}", b"/no/backup: no such file"),
        ):
            out, err, status = yield self.run_backup(store, "/no/backup", "restore")
            self.assertEqual((out, status), (b"", 1))
            self.assertIn(words, err)
            self.assertNotIn(b"Traceback", err)
