"""
The drill with ``kill -9`` in the midst of a fold of the journal of a store.

See :mod:`tests.drills.test_sender` for the small and the full form.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from threading import Thread
from typing import Any
from uuid import uuid4

from redis import Redis
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.delivery import FULL
from tests.fixtures.drills import report
from tests.fixtures.python_programs import run_python
from tests.fixtures.store_contract import batch
from tests.fixtures.stores import RedisServer, shared
from txstathat.errors import StoreUnavailable
from txstathat.stores import CellKey, WriteOutcome
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.keys import KeyNames
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.sqlite.file.check import check_file

#: A child: the name of the kind of store, its function, and the arguments of that.
CHILD = """
import sys
from tests.drills import test_fold
getattr(getattr(test_fold, sys.argv[1]), sys.argv[2])(*sys.argv[3:])
"""
STATS = 150


def some(round: int | str, n: int) -> Any:
    """A batch of a round: an event for each of 150 cells, for good and for a while."""
    cells = {f"k{stat}": 1 + stat % 3 for stat in range(STATS)}
    return batch(f"{round} {n}", cells, label=str(n % 2), ttl=1e6 if n else None)


class Moments:
    """
    Counts the moments of a process, and kills it at one of them.

    :param last: the number of that moment; 0 for none.
    """

    def __init__(self, last: int) -> None:
        self.number = 0
        self._last = last

    def __call__(self, *_: object) -> None:
        """Note a moment."""
        self.number += 1
        if self.number == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class Kind:
    """A kind of store with a journal."""

    @classmethod
    def backend(cls, place: str, small: bool) -> Any:
        """An open backend, whose journal may be a small one."""
        raise NotImplementedError

    @classmethod
    def plain(cls, place: str) -> Any:
        """An open backend as programs use it."""
        raise NotImplementedError

    @classmethod
    def trace(cls, backend: Any, moment: Callable[..., None]) -> None:
        """Call a function at each moment at which the process may be killed."""
        raise NotImplementedError

    @classmethod
    def cells(cls, backend: Any) -> int:
        """How many cells there are, or how many of their keys."""
        raise NotImplementedError

    @classmethod
    def fold(cls, place: str, round: str, last: str, small: str) -> None:
        """
        A child that adds batches, says so, and folds them; a signal kills it at one of
        the moments of its fold or, with a small journal, of its commits.
        """
        backend = cls.backend(place, bool(int(small)))
        moments = Moments(int(last))
        if int(small):
            cls.trace(backend, moments)
        for n in range(3):
            backend.add([some(int(round), n)])
            print("added, with", cls.cells(backend), "cells", flush=True)
        if not int(small):
            cls.trace(backend, moments)
        while backend.fold():
            pass
        print(moments.number, flush=True)
        os._exit(0)


class OnSqlite(Kind):
    """SQLite; a moment is right before a statement."""

    @classmethod
    def backend(cls, place: str, small: bool) -> SqliteBackend:
        """An open backend."""
        options = {"chunk": 100}
        if small:
            options = {"max_journal": 100, "fold_at": 200, "chunk": 20}
        ticks = map(float, count()).__next__
        backend = SqliteBackend(place, lambda: 1.4e9, monotonic=ticks, **options)
        backend.open()
        return backend

    @classmethod
    def plain(cls, place: str) -> SqliteBackend:
        """An open backend as programs use it."""
        backend = SqliteBackend(place, lambda: 1.4e9)
        backend.open()
        return backend

    @classmethod
    def trace(cls, backend: Any, moment: Callable[..., None]) -> None:
        """Trace the statements."""
        backend._writer.set_trace_callback(moment)

    @classmethod
    def cells(cls, backend: Any) -> int:
        """The number of cells."""
        (cells,) = backend._writer.execute("SELECT count(*) FROM cell").fetchone()
        return int(cells)


class OnRedis(Kind):
    """
    Redis; a moment is before a command, or after it and before its reply is seen.
    """

    @classmethod
    def backend(cls, place: str, small: bool) -> RedisBackend:
        """An open backend."""
        options = {"slice_cells": 20}
        if small:
            options = {"max_journal": 100, "fold_at": 200, "slice_cells": 40}
        backend = RedisBackend(place, monotonic=lambda: 0.0, **options)
        backend.open()
        return backend

    @classmethod
    def plain(cls, place: str) -> RedisBackend:
        """An open backend as programs use it."""
        backend = RedisBackend(place)
        backend.open()
        return backend

    @classmethod
    def trace(cls, backend: Any, moment: Callable[..., None]) -> None:
        """Trace the commands."""
        execute = backend._client.execute_command

        def traced(*words: Any, **options: Any) -> Any:
            moment()
            reply = execute(*words, **options)
            moment()
            return reply

        backend._client.execute_command = traced

    @classmethod
    def cells(cls, backend: Any) -> int:
        """The number of keys with cells."""
        with Redis(port=shared_port(backend)) as client:
            pattern = f'{backend._keys.prefix}:{{?"m",*}}:'
            return len(list(client.scan_iter(match=pattern, count=1000)))

    @classmethod
    def together(cls, place: str, name: str, last: str) -> None:
        """
        A child that adds 40 batches, and folds a slice after each, while another one
        does the same; a signal may kill it.
        """
        backend = cls.backend(place, True)
        cls.trace(backend, Moments(int(last)))
        for n in range(40):
            while not cls.is_added(backend, some(name, n)):
                pass
            backend.fold()
        os._exit(0)

    @classmethod
    def is_added(cls, backend: Any, one: Any) -> bool:
        """Add a batch; what others added may have filled the journal."""
        try:
            backend.add([one])
        except StoreUnavailable:
            return False
        return True


def shared_port(backend: Any) -> int:
    """The port of the server of a backend."""
    return int(backend._client.connection_pool.connection_kwargs["port"])


class FoldDrills:
    """A process that is killed while it folds."""

    kind: type[Kind]
    place: str

    def child(
        self: Any, function: str, *arguments: object
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a child."""
        words = [self.kind.__name__, function, self.place, *map(str, arguments)]
        return run_python(
            [sys.executable, "-c", CHILD, *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=300,
        )

    def fold(
        self: Any, round: int, last: int, small: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a child that folds; it is killed at a certain moment."""
        result: subprocess.CompletedProcess[bytes]
        result = self.child("fold", round, last, int(small))
        return result

    def check_store(self: Any) -> None:
        """Check the store itself, while it is closed."""
        raise NotImplementedError

    def check(self: Any, rounds: int) -> None:
        """Check that all batches so far are counted, each once."""
        backend = self.kind.plain(self.place)
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
        self.check_store()

    def test_killed(self: Any) -> None:
        """
        kill -9 at each moment of a fold: at the next opening nothing is lost, and
        nothing is counted twice.
        """
        for round in range(2):
            whole = self.fold(round, 0)
            self.assertEqual((whole.returncode, whole.stderr), (0, b""))
            self.check(round + 1)
        # Those of the second fold: the first one had to create the time buckets too.
        moments = int(whole.stdout.split()[-1])
        rounds = 200 if FULL else 5
        for round in range(2, rounds + 2):
            # Spread over all moments; with 200 rounds each has its turn.
            last = 1 + (round * (1 if FULL else moments // 6)) % moments
            killed = self.fold(round, last)
            self.assertEqual((killed.returncode, killed.stderr), (-signal.SIGKILL, b""))
            self.check(round + 1)
        report(
            19,
            f"{self.kind.__name__}: {rounds} x kill -9 at one of the {moments} moments "
            f"of a fold: {3 * rounds} batches, lost 0, counted twice 0",
        )

    def test_killed_in_a_commit(self: Any) -> None:
        """
        kill -9 at each moment of commits that fold a part of a full journal: what was
        acknowledged is there, and what is repeated counts once.
        """
        rounds = 100 if FULL else 6
        acknowledged = 0
        for round in range(2):
            whole = self.fold(round, 0, small=True)
            self.assertEqual((whole.returncode, whole.stderr), (0, b""))
            # The first commit does not fold, the others do.
            self.assertEqual(whole.stdout.count(b"with 0 cells"), 1 - round)
            self.check(round + 1)
        moments = int(whole.stdout.split()[-1])
        for round in range(2, rounds + 2):
            last = 1 + round * max(1, moments // rounds) % moments
            killed = self.fold(round, last, small=True)
            self.assertEqual((killed.returncode, killed.stderr), (-signal.SIGKILL, b""))
            added = killed.stdout.count(b"added")
            acknowledged += added
            backend = self.kind.plain(self.place)
            repeated = [backend.add([some(round, n)])[0].outcome for n in range(3)]
            backend.close()
            self.assertEqual(repeated[:added], [WriteOutcome.REPEATED] * added)
            self.check(round + 1)
        report(
            19,
            f"{self.kind.__name__}: {rounds} x kill -9 at one of the {moments} moments "
            f"of commits and folds: {acknowledged} batches acknowledged, lost 0, "
            "counted twice 0",
        )


class SqliteFoldDrills(FoldDrills, SynchronousTestCase):
    """On a SQLite file."""

    kind = OnSqlite

    def setUp(self) -> None:
        self.place = self.mktemp()

    def check_store(self) -> None:
        """Check the file."""
        self.assertTrue(check_file(self.place))


class RedisFoldDrills(FoldDrills, SynchronousTestCase):
    """On a Redis server."""

    kind = OnRedis

    def setUp(self) -> None:
        self.port, self.prefix = shared(RedisServer).port, uuid4().hex
        self.place = f"redis://127.0.0.1:{self.port}/0?prefix={self.prefix}"

    def check_store(self) -> None:
        """Check that the journal is empty."""
        rows, state, *_ = KeyNames(self.prefix).journal()
        with Redis(port=self.port) as client:
            self.assertEqual(client.llen(rows), 0)
            size = client.hmget(state, "additions", "load", "upto", "at")
        self.assertEqual([float(one or 0) for one in size], [0.0] * 4)

    def test_two_processes(self) -> None:
        """
        Two processes write and fold at the same time, and one is killed again and again
        until it has repeated all: each batch counts once.
        """
        kills = 60 if FULL else 4
        steady = Thread(target=self.child, args=("together", "steady", 0))
        steady.start()
        began = time.monotonic()
        for n in range(kills):
            # Adding 40 batches has 80 moments, and more if it folds.
            killed = self.child("together", "killed", 1 + 7 * n % 80)
            self.assertEqual((killed.returncode, killed.stderr), (-signal.SIGKILL, b""))
        self.assertEqual(self.child("together", "killed", 0).returncode, 0)
        steady.join(300)
        backend = self.kind.plain(self.place)
        for label in "01":
            keys = [CellKey("m", "year", label, f"k{stat}") for stat in range(STATS)]
            sums = [cell and (cell.sum, cell.count) for cell in backend.read(keys)]
            self.assertEqual(sums, [(40 * (1 + n % 3), 40) for n in range(STATS)])
        backend.close()
        self.check_store()
        report(
            19,
            f"two processes, one killed {kills} times in "
            f"{time.monotonic() - began:.0f} s: 80 batches, lost 0, counted twice 0",
        )
