"""
The drill with ``kill -9`` in the midst of a fold of the journal of a SQLite store.

See :mod:`tests.drills.test_sender` for the small and the full form.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.drills import report
from tests.fixtures.python_programs import run_python
from tests.fixtures.store_contract import batch
from txstathat.stores import CellKey, WriteOutcome
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.sqlite.file.check import check_file

#: A child that adds batches, says so, and folds them; a signal kills it right before one
#: of the statements of its fold or, with a small journal, of its commits.
CHILD = """
import itertools, os, signal, sys
from tests.drills.test_fold import some
from txstathat.stores.sqlite.backend import SqliteBackend

path, round, last, small = sys.argv[1], *map(int, sys.argv[2:])
options = {"max_journal": 100, "fold_at": 200, "chunk": 20} if small else {"chunk": 100}
ticks = map(float, itertools.count()).__next__
backend = SqliteBackend(path, lambda: 1.4e9, monotonic=ticks, **options)
backend.open()
statements = itertools.count(1)

def trace(statement):
    if next(statements) == last:
        os.kill(os.getpid(), signal.SIGKILL)

if small:
    backend._writer.set_trace_callback(trace)
for n in range(3):
    backend.add([some(round, n)])
    (cells,) = backend._writer.execute("SELECT count(*) FROM cell").fetchone()
    print("added, with", cells, "cells", flush=True)
backend._writer.set_trace_callback(trace)
while backend.fold():
    pass
print(next(statements) - 1, flush=True)
os._exit(0)
"""
STATS = 150


def some(round: int, n: int) -> Any:
    """A batch of a round: an event for each of 150 cells, for good and for a while."""
    cells = {f"k{stat}": 1 + stat % 3 for stat in range(STATS)}
    return batch(f"{round} {n}", cells, label=str(n % 2), ttl=1e6 if n else None)


class FoldDrills(SynchronousTestCase):
    """A process that is killed while it folds."""

    def setUp(self) -> None:
        self.path = self.mktemp()

    def child(
        self, round: int, last: int, small: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a child; it is killed before a certain statement."""
        numbers = [str(int(number)) for number in (round, last, small)]
        return run_python(
            [sys.executable, "-c", CHILD, self.path, *numbers],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=300,
        )

    def check(self, rounds: int) -> None:
        """Check that all batches so far are counted, each once."""
        backend = SqliteBackend(self.path, lambda: 1.4e9)
        backend.open()
        keys = [
            CellKey("m", "year", label, f"k{stat}")
            for label in "01"
            for stat in range(STATS)
        ]
        sums = [cell and (cell.sum, cell.count) for cell in backend.read(keys)]
        expected = [
            ((1 + stat % 3) * times * rounds, times * rounds)
            for times in (2, 1)
            for stat in range(STATS)
        ]
        self.assertEqual(sums, expected)
        repeated = backend.add([some(rounds - 1, n) for n in range(3)])
        self.assertEqual({one.outcome for one in repeated}, {WriteOutcome.REPEATED})
        backend.close()
        self.assertTrue(check_file(self.path))

    def test_killed(self) -> None:
        """
        kill -9 right before each statement of a fold: at the next opening nothing is
        lost, and nothing is counted twice.
        """
        for round in range(2):
            whole = self.child(round, 0)
            self.assertEqual((whole.returncode, whole.stderr), (0, b""))
            self.check(round + 1)
        # Those of the second fold: the first one had to create the time buckets too.
        statements = int(whole.stdout.split()[-1])
        rounds = 200 if FULL else 5
        for round in range(2, rounds + 2):
            # Spread over all statements; with 200 rounds each has its turn.
            last = 1 + (round * (1 if FULL else statements // 6)) % statements
            killed = self.child(round, last)
            self.assertEqual((killed.returncode, killed.stderr), (-signal.SIGKILL, b""))
            self.check(round + 1)
        report(
            19,
            f"{rounds} x kill -9 before one of the {statements} statements of a fold: "
            f"{3 * rounds} batches, lost 0, counted twice 0",
        )

    def test_killed_in_a_commit(self) -> None:
        """
        kill -9 right before each statement of commits that fold a part of a full
        journal: what was acknowledged is there, and what is repeated counts once.
        """
        rounds = 100 if FULL else 6
        acknowledged = 0
        for round in range(2):
            whole = self.child(round, 0, small=True)
            self.assertEqual((whole.returncode, whole.stderr), (0, b""))
            # The first commit does not fold, the others do.
            self.assertEqual(whole.stdout.count(b"with 0 cells"), 1 - round)
            self.check(round + 1)
        statements = int(whole.stdout.split()[-1])
        for round in range(2, rounds + 2):
            last = 1 + round * (statements // rounds) % statements
            killed = self.child(round, last, small=True)
            self.assertEqual((killed.returncode, killed.stderr), (-signal.SIGKILL, b""))
            added = killed.stdout.count(b"added")
            acknowledged += added
            backend = SqliteBackend(self.path, lambda: 1.4e9)
            backend.open()
            repeated = [backend.add([some(round, n)])[0].outcome for n in range(3)]
            backend.close()
            self.assertEqual(repeated[:added], [WriteOutcome.REPEATED] * added)
            self.check(round + 1)
        report(
            19,
            f"{rounds} x kill -9 before one of the {statements} statements of commits "
            f"and folds: {acknowledged} batches acknowledged, lost 0, counted twice 0",
        )
