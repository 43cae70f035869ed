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

    def run_backup(self, store: str, file: str, command: str = "backup") -> Any:
        """Run the command."""
        return run_txstathat(
            [command, file, "--store", store], os.environ, folder=os.getcwd()
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
        """A running collector refuses it; a stopped one then has what the backup has."""
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
        out, err, status = yield self.run_backup(store, copy, "restore")
        self.assertEqual((err, status), (b"", 0))
        size = size_text(path.stat().st_size)
        self.assertEqual(out.decode(), f"Restored {path} from {copy} ({size}).\n")
        opened = yield open_store(store)
        self.addCleanup(opened.close)
        totals = yield Deferred.fromCoroutine(Archive(opened).totals())
        self.assertEqual(totals, {"a": Total("count", 1, 2)})

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
