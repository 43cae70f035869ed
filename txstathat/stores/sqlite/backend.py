"""
The SQLite backend: one file, no server.

A commit appends what it adds to a journal, and is synced to disk: data that was added
survives a crash of the process or the machine. Later many commits are folded into the
cells at once (:mod:`txstathat.stores.sqlite.journal`); readers add up both. SQLite
itself uses a write-ahead log. One connection writes and another reads, so that a long
write does not block readers, and no reader sees half of a write.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from zope.interface import implementer

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import ANY, Cell, CellKey, WriteBatch, WriteResult
from txstathat.stores.journal.due import (
    CLOSE_SECONDS,
    FOLD_AT,
    MAX_JOURNAL,
    OPEN_SECONDS,
    REFUSE_AT,
    FoldDue,
)
from txstathat.stores.journal.fold_runner import FoldRunner
from txstathat.stores.journal.prepared import Prepared
from txstathat.stores.listing import Group, ListedRow, ListPage, ListQuery
from txstathat.stores.sqlite import listing
from txstathat.stores.sqlite.adder import Adder
from txstathat.stores.sqlite.cells import read_cells
from txstathat.stores.sqlite.definitions import (
    count_definitions,
    definitions_after,
    read_definitions,
)
from txstathat.stores.sqlite.expiry import drop_expired, drop_metrica
from txstathat.stores.sqlite.file.erase import erase_deleted
from txstathat.stores.sqlite.file.private import check_folder
from txstathat.stores.sqlite.fold import CHUNK, fold_all
from txstathat.stores.sqlite.folding import SqliteFolding
from txstathat.stores.sqlite.id_cache import MAX_KNOWN, Tables
from txstathat.stores.sqlite.schema import (
    MIGRATIONS,
    migrate,
    read_records,
    record_text,
    transaction,
)
from txstathat.stores.store import IBackend

__all__ = [
    "BUSY_SECONDS",
    "MAX_LOG",
    "SWEEP_EVERY",
    "SWEEP_ROWS",
    "SqliteBackend",
]

#: For how many seconds a write waits while another process writes, before it fails.
BUSY_SECONDS = 3.0
#: While there are writes: after how many seconds the next sweep deletes expired rows.
SWEEP_EVERY = 60.0
#: How many rows one sweep looks at, at most, or twice as many as the writes before it
#: changed. If more are left, the next write sweeps again.
SWEEP_ROWS = 2000
#: The size in bytes to which SQLite truncates the write-ahead log after a checkpoint.
MAX_LOG = 16 * 2**20

# SQLite's number for syncing only before checkpoints.
_NORMAL = 1


@implementer(IBackend)
class SqliteBackend:
    """
    A SQLite database.

    :param path: the path of the file, or ``':memory:'``.
    :param seconds: returns the time, in Unix seconds.
    :param busy_seconds: for how many seconds a write waits while another process
        writes.
    :param sweep_rows: how many rows one sweep looks at, at most, after a small write.
    :param max_known: how many time buckets and choices to remember
        (:class:`~txstathat.stores.sqlite.id_cache.Tables`).
    :param max_journal: how many additions wait to be folded before a commit at most; 0
        to add all batches to the cells at once.
    :param fold_at: with how many additions the journal is folded at once; and how many
        a fold has if there are more than twice as many.
    :param chunk: how many cells a fold adds between two looks at the clock.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        path: str,
        seconds: Callable[[], float],
        *,
        busy_seconds: float = BUSY_SECONDS,
        sweep_rows: int = SWEEP_ROWS,
        max_known: int = MAX_KNOWN,
        max_journal: int = MAX_JOURNAL,
        fold_at: int = FOLD_AT,
        chunk: int = CHUNK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._is_memory = path == ":memory:"
        self._seconds = seconds
        self._busy_seconds = busy_seconds
        self._sweep_rows = sweep_rows
        self._max_known = max_known
        self._max_journal = 0 if self._is_memory else max_journal
        self._monotonic = monotonic
        self._chunk = chunk
        self._fold_at = fold_at
        self._due = FoldDue(fold_at, max_journal, monotonic)
        self._next_sweep = 0.0
        self._to_sweep = 0
        # How many rows were changed since the last sweep.
        self._changes = 0
        self._write_lock = threading.Lock()

    def open(self) -> None:
        """
        Connect to the database, and create or migrate it.

        :raises StoreTooNew: if a newer version of this package wrote the file.
        :raises StoreError: if the file is not a store of this package.
        :raises StoreUnavailable: if it cannot be opened.
        """
        if not self._is_memory:
            try:
                check_folder(self._path)
            except OSError as error:
                raise StoreUnavailable(f"cannot open {self._path}: {error}") from None
            # The file contains secrets: only its owner may read it. (SQLite gives its
            # -wal and -shm files the same mode.) Do not open a file that exists:
            # closing it would release all locks that this process holds on it. SQLite
            # itself reports any other problem.
            with suppress(OSError):
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
                os.close(os.open(self._path, flags, 0o600))
        with _translate_errors(f" at {self._path}"):
            self._writer = self._connect()
            try:
                migrate(self._writer, MIGRATIONS)
            except StoreError as error:
                raise type(error)(f"{self._path}: {error}") from None
            self._tables = Tables(self._writer, self._max_known)
            self._adder = Adder(
                self._writer, self._tables, REFUSE_AT * self._max_journal
            )
            folding = SqliteFolding(
                self._reading_journal,
                partial(self._adding, sync=False),
                self._tables,
                fold_at=self._fold_at,
                chunk=self._chunk,
                monotonic=self._monotonic,
            )
            self._folds = FoldRunner(folding, self._due, self._monotonic)
            self._reader = self._writer if self._is_memory else self._connect()
        with suppress(StoreError):
            self._folds.run_most(OPEN_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        # Several threads use a connection, but never two at the same time.
        connection = sqlite3.connect(
            self._path,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG}")
        # Copies of the file must not have what was deleted.
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    def close(self) -> None:
        """Fold as much as there is time for, and disconnect."""
        if hasattr(self, "_reader"):
            with suppress(StoreError):
                self._folds.run_most(CLOSE_SECONDS)
        for name in ("_reader", "_writer"):
            connection = getattr(self, name, None)
            if connection is not None:
                connection.close()

    @contextmanager
    def _writing(self, sync: bool = True) -> Iterator[sqlite3.Connection]:
        """
        Run the body in a transaction that writes. Only one thread does so at a time.

        :param sync: whether the transaction is on the disk at the end. If not, it is
            lost as a whole if the machine crashes before the next one that is.
        """
        with self._write_lock, _translate_errors():
            (synchronous,) = self._writer.execute("PRAGMA synchronous").fetchone()
            if not sync:
                normal = min(synchronous, _NORMAL)
                self._writer.execute(f"PRAGMA synchronous = {normal}")
            try:
                with transaction(self._writer, "IMMEDIATE"):
                    self._tables.invalidate_if_changed()
                    yield self._writer
            except BaseException:
                self._tables.forget()
                raise
            finally:
                if not sync:
                    self._writer.execute(f"PRAGMA synchronous = {synchronous}")

    @contextmanager
    def _adding(self, sync: bool) -> Iterator[sqlite3.Connection]:
        """
        Run the body in a transaction that adds, and count the rows that it changes.
        """
        with self._writing(sync) as db:
            changes = db.total_changes
            yield db
            self._changes += db.total_changes - changes

    @contextmanager
    def _reading_journal(self) -> Iterator[sqlite3.Connection]:
        """
        Run the body in a transaction that reads, and sees all commits.
        """
        db = self._writer
        with self._write_lock, _translate_errors(), transaction(db, "DEFERRED"):
            yield db

    # -- writing

    def add(self, batches: Sequence[WriteBatch]) -> list[WriteResult]:
        """See :meth:`.IStore.add`."""
        prepared = [Prepared(batch) for batch in batches]
        if self._max_journal:
            self._folds.make_room(sum(one.usage.additions for one in prepared))
        try:
            with self._adding(sync=True):
                results = self._adder.add(prepared, self._seconds())
        finally:
            self._due.note_added(self._adder.usage.additions)
        if self._is_memory:
            while self._sweep():
                pass
        return results

    def drop(self, name: str, unchanged: tuple[CellKey, Cell] | None = None) -> bool:
        """See :meth:`.IStore.drop`."""
        self._folds.run_most()
        with self._writing() as db:
            fold_all(db, self._tables)
            if unchanged is not None:
                key, cell = unchanged
                if read_cells(db, [key], self._seconds())[0] != [cell]:
                    return False
            row = db.execute(
                "SELECT id FROM metrica WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                return False
            drop_metrica(db, *row)
            self._tables.forget()
            return True

    def rename(self, name: str, new: str) -> bool:
        """See :meth:`.IStore.rename`."""
        with self._writing() as db:
            self._tables.forget()
            renamed = db.execute(
                "UPDATE metrica SET name = :new WHERE name = :name AND NOT EXISTS "
                "(SELECT 1 FROM metrica WHERE name = :new)",
                {"name": name, "new": new},
            )
            return renamed.rowcount == 1

    def erase_deleted(self) -> None:
        """See :meth:`.IStore.erase_deleted`."""
        self._folds.run_most()
        with self._write_lock, _translate_errors():
            erase_deleted(self._writer)

    def drop_expired(self, limit: int) -> int:
        """See :meth:`.IStore.drop_expired`."""
        self._folds.run_most()
        with self._writing() as db:
            self._tables.forget_buckets()
            return drop_expired(db, self._seconds(), limit)

    # -- folding

    def fold(self) -> bool:
        """See :meth:`.IBackend.fold`."""
        return self._folds.run_slice() or self._sweep()

    def fold_due(self) -> float | None:
        """See :meth:`.IBackend.fold_due`."""
        return None if self._is_memory else self._due.seconds()

    def _sweep(self) -> bool:
        """
        Delete some expired rows.

        :returns: whether to call this again.
        """
        now = self._seconds()
        if now >= self._next_sweep:
            # A write adds far more to cells than it adds cells, and a cell is looked at
            # a few times. So a sweep that looks at more rows than the writes before it
            # changed catches up, however many rows expire.
            self._to_sweep = max(self._sweep_rows, 2 * self._changes)
            self._next_sweep = now + SWEEP_EVERY
            self._changes = 0
        if self._to_sweep <= 0:
            return False
        limit = min(self._to_sweep, self._sweep_rows)
        with self._writing(sync=False) as db:
            self._tables.forget_buckets()
            rows = drop_expired(db, now, limit)
        self._to_sweep -= rows
        if rows < limit:
            self._to_sweep = 0
        elif self._to_sweep <= 0:
            self._next_sweep = 0.0
        return self._to_sweep > 0

    # -- reading

    def read(self, keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""
        with _translate_errors(), transaction(self._reader, "DEFERRED"):
            cells, complete = read_cells(self._reader, keys, self._seconds())
        if not complete:
            self._due.note_read()
        return cells

    def choices(self, name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""
        with _translate_errors():
            rows = self._reader.execute(
                "SELECT choice FROM choice JOIN metrica ON metrica.id = choice.metrica "
                "WHERE name = ? AND grouped = ? ORDER BY choice",
                (name, group),
            ).fetchall()
        return [choice for (choice,) in rows]

    def definitions(self, names: Sequence[str]) -> dict[str, str]:
        """See :meth:`.IBackend.definitions`."""
        with _translate_errors():
            return read_definitions(self._reader, names)

    def definitions_after(self, name: str | None) -> tuple[dict[str, str], str | None]:
        """See :meth:`.IBackend.definitions_after`."""
        with _translate_errors():
            return definitions_after(self._reader, name)

    def count_definitions(self, apart_from: Sequence[str]) -> int:
        """See :meth:`.IStore.count_definitions`."""
        with _translate_errors(), transaction(self._reader, "DEFERRED"):
            return count_definitions(self._reader, apart_from)

    def size(self) -> int:
        """See :meth:`.IStore.size`."""
        with _translate_errors():
            (pages,) = self._reader.execute("PRAGMA page_count").fetchone()
            (length,) = self._reader.execute("PRAGMA page_size").fetchone()
        log = 0
        with suppress(OSError):  # there is none in memory
            log = os.path.getsize(f"{self._path}-wal")
        return int(pages) * int(length) + log

    # -- records

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""
        with _translate_errors():
            return read_records(self._reader, kind)

    def record(self, kind: str, id: str) -> str | None:
        """See :meth:`.IStore.record`."""
        with _translate_errors():
            return _record(self._reader, kind, id)

    def put_record(self, kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""
        with self._writing() as db:
            if was not in (ANY, _record(db, kind, id)):
                return False
            if text is None:
                db.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind, id))
            else:
                db.execute(
                    "INSERT OR REPLACE INTO record (kind, id, text) VALUES (?, ?, ?)",
                    (kind, id, text),
                )
            return True

    # -- the listing

    def put_listed(self, rows: Sequence[ListedRow], gone: Sequence[str]) -> None:
        """See :meth:`.IStore.put_listed`."""
        with self._writing() as db:
            listing.put_listed(db, rows, gone)

    def list_page(self, query: ListQuery) -> ListPage:
        """See :meth:`.IStore.list_page`."""
        with _translate_errors(), transaction(self._reader, "DEFERRED"):
            return listing.list_page(self._reader, query)

    def listed_names(self, ids: Sequence[str]) -> dict[str, str]:
        """See :meth:`.IStore.listed_names`."""
        with _translate_errors(), transaction(self._reader, "DEFERRED"):
            return listing.listed_names(self._reader, ids)

    def list_groups(self, query: ListQuery) -> list[Group]:
        """See :meth:`.IStore.list_groups`."""
        with _translate_errors(), transaction(self._reader, "DEFERRED"):
            return listing.list_groups(self._reader, query)


def _record(db: sqlite3.Connection, kind: str, id: str) -> str | None:
    row = db.execute(
        "SELECT CAST(text AS BLOB) FROM record WHERE kind = ? AND id = ?", (kind, id)
    ).fetchone()
    return None if row is None else record_text(row[0])


@contextmanager
def _translate_errors(where: str = "") -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"SQLite{where}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"SQLite{where}: {error}") from error
