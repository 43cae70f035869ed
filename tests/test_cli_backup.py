"""
``txstathat backup``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue

from tests.test_archive import batch
from tests.test_collector_service import ROOT, ServiceCase
from txstathat import Count
from txstathat.cli.output import size_text
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Total
from txstathat.stores import open_store


class BackupTests(ServiceCase):
    """
    ``backup``, of a collector that runs.
    """

    def run_backup(self, store: str, file: str) -> Any:
        """Run the command."""
        return getProcessOutputAndValue(
            sys.executable,
            ["-m", "txstathat", "backup", file, "--store", store],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
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
