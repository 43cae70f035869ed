"""
The SQLite backend: one file, no server.

The journal is a write-ahead log, and every commit is synced to disk: data that was
added survives a crash of the process or the machine. One connection writes and another
reads, so that a long write does not block readers, and no reader sees half of a write.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from zope.interface import implementer

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import (
    ANY,
    Amounts,
    Cell,
    CellKey,
    Increment,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.sqlite.cells import add_cells, read_cells
from txstathat.stores.sqlite.expiry import drop_expired
from txstathat.stores.sqlite.files import check_folder
from txstathat.stores.sqlite.id_cache import MAX_KNOWN, BatchRefused, Tables
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
#: How many rows one sweep deletes at most, or twice as many as the write before it
#: changed. If more are left, the next write sweeps again.
SWEEP_ROWS = 2000
#: The size in bytes to which SQLite truncates the write-ahead log after a checkpoint.
MAX_LOG = 16 * 2**20


@implementer(IBackend)
class SqliteBackend:
    """
    A SQLite database.

    :param path: the path of the file, or ``':memory:'``.
    :param seconds: returns the time, in Unix seconds.
    :param busy_seconds: for how many seconds a write waits while another process
        writes.
    :param sweep_rows: how many rows one sweep deletes at most, after a small write.
    :param max_known: how many time buckets to remember
        (:class:`~txstathat.stores.sqlite.id_cache.Tables`).
    """

    def __init__(
        self,
        path: str,
        seconds: Callable[[], float],
        *,
        busy_seconds: float = BUSY_SECONDS,
        sweep_rows: int = SWEEP_ROWS,
        max_known: int = MAX_KNOWN,
    ) -> None:
        self._path = path
        self._seconds = seconds
        self._busy_seconds = busy_seconds
        self._sweep_rows = sweep_rows
        self._max_known = max_known
        self._next_sweep = 0.0

    def open(self) -> None:
        """
        Connect to the database, and create or migrate it.

        :raises StoreTooNew: if a newer version of this package wrote the file.
        :raises StoreError: if the file is not a store of this package.
        :raises StoreUnavailable: if it cannot be opened.
        """
        if self._path != ":memory:":
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
            self._reader = self._writer if self._path == ":memory:" else self._connect()

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
        return connection

    def close(self) -> None:
        """Disconnect."""
        for name in ("_reader", "_writer"):
            connection = getattr(self, name, None)
            if connection is not None:
                connection.close()

    # -- writing

    def add(self, batches: Sequence[WriteBatch]) -> list[WriteResult]:
        """See :meth:`.IStore.add`."""
        amounts = [batch.amounts() for batch in batches]
        changes = self._writer.total_changes
        with _translate_errors():
            try:
                with transaction(self._writer, "IMMEDIATE"):
                    now = self._seconds()
                    self._tables.invalidate_if_changed()
                    results = [
                        self._add_once(batch, amount, now)
                        for batch, amount in zip(batches, amounts, strict=True)
                    ]
            except BaseException:
                self._tables.forget()
                raise
            self._sweep(now, self._writer.total_changes - changes)
        return results

    def _add_once(self, batch: WriteBatch, amounts: Amounts, now: float) -> WriteResult:
        db = self._writer
        row = db.execute(
            "SELECT digest FROM batch WHERE id = ? AND expires > ?", (batch.id, now)
        ).fetchone()
        if row is not None:
            same = row[0] == batch.digest
            return WriteResult(WriteOutcome.REPEATED if same else WriteOutcome.CONFLICT)
        db.execute("SAVEPOINT one")
        try:
            self._add_amounts(amounts, now)
        except BatchRefused as refused:
            db.execute("ROLLBACK TO one")
            self._tables.forget()
            return refused.result
        finally:
            db.execute("RELEASE one")
        db.execute(
            "INSERT OR REPLACE INTO batch (id, digest, expires) VALUES (?, ?, ?)",
            (batch.id, batch.digest, now + batch.id_ttl),
        )
        return WriteResult(WriteOutcome.ADDED)

    def _add_amounts(self, amounts: Amounts, now: float) -> None:
        ids = self._tables.metrica_ids(amounts.definitions)
        db = self._writer
        db.execute("SAVEPOINT cells")
        try:
            add_cells(db, self._tables, ids, amounts.increments, now)
        except (sqlite3.IntegrityError, OverflowError):
            # Add them one by one, to find the one that is too large.
            db.execute("ROLLBACK TO cells")
            self._tables.forget()
            for buckets, cells in amounts.increments:
                for name, additions in cells.items():
                    one = Increment(buckets, {name: additions})
                    try:
                        add_cells(db, self._tables, ids, [one], now)
                    except (sqlite3.IntegrityError, OverflowError):
                        raise BatchRefused(WriteOutcome.OVERFLOW, name) from None
        db.execute("RELEASE cells")
        db.executemany(
            "INSERT OR IGNORE INTO choice (metrica, grouped, choice) VALUES (?, ?, ?)",
            (
                (ids[name], group, choice)
                for (name, group), choices in amounts.choices.items()
                for choice in choices
            ),
        )

    def drop(self, name: str, unchanged: tuple[CellKey, Cell] | None = None) -> bool:
        """See :meth:`.IStore.drop`."""
        db = self._writer
        with _translate_errors(), transaction(db, "IMMEDIATE"):
            if unchanged is not None:
                key, cell = unchanged
                if read_cells(db, [key], self._seconds()) != [cell]:
                    return False
            row = db.execute(
                "SELECT id FROM metrica WHERE name = ?", (name,)
            ).fetchone()
            if row is None:
                return False
            db.execute("INSERT INTO dead SELECT id FROM stretch WHERE metrica = ?", row)
            db.execute("DELETE FROM stretch WHERE metrica = ?", row)
            db.execute("DELETE FROM choice WHERE metrica = ?", row)
            db.execute("DELETE FROM metrica WHERE id = ?", row)
            self._tables.forget()
            return True

    def drop_expired(self, limit: int) -> int:
        """See :meth:`.IStore.drop_expired`."""
        with _translate_errors(), transaction(self._writer, "IMMEDIATE"):
            expired, rows = drop_expired(self._writer, self._seconds(), limit)
            if expired:
                self._tables.forget()
            return rows

    def _sweep(self, now: float, changes: int) -> None:
        if now < self._next_sweep:
            return
        # Each row expires at most once. So a sweep that deletes more rows than the
        # write before it changed catches up, however many rows expire.
        limit = max(self._sweep_rows, 2 * changes)
        self._next_sweep = now + SWEEP_EVERY
        try:
            if self.drop_expired(limit) >= limit:
                self._next_sweep = 0.0
        except StoreUnavailable:
            pass  # the write itself succeeded; the next sweep tries again

    # -- reading

    def read(self, keys: Sequence[CellKey]) -> list[Cell | None]:
        """See :meth:`.IStore.read`."""
        with _translate_errors(), transaction(self._reader, "DEFERRED"):
            return read_cells(self._reader, keys, self._seconds())

    def choices(self, name: str, group: str) -> list[str]:
        """See :meth:`.IStore.choices`."""
        with _translate_errors():
            rows = self._reader.execute(
                "SELECT choice FROM choice JOIN metrica ON metrica.id = choice.metrica "
                "WHERE name = ? AND grouped = ? ORDER BY choice",
                (name, group),
            ).fetchall()
        return [choice for (choice,) in rows]

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.IStore.definitions`."""
        with _translate_errors():
            if names is None:
                rows = self._reader.execute(
                    "SELECT name, definition FROM metrica ORDER BY name"
                ).fetchall()
            else:
                rows = [
                    row
                    for name in names
                    for row in self._reader.execute(
                        "SELECT name, definition FROM metrica WHERE name = ?", (name,)
                    ).fetchall()
                ]
        return dict(rows)

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
        db = self._writer
        with _translate_errors(), transaction(db, "IMMEDIATE"):
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
