"""
One spool file: sealed batches in an SQLite database, until they are accepted.

Everything here blocks, and belongs in the delivery's thread.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from txstathat.client.payload import Payload
from txstathat.delivery.batch import PAGE_SIZE, Batch

__all__ = ["COLUMNS", "RESERVE", "UNREADABLE", "Damaged", "Row", "Spool", "is_damage"]

#: Bytes that a file's log holds ready: batches that were accepted can be deleted when
#: the disk has no room left.
RESERVE = 262_144
#: Seconds for which SQLite waits for a lock: nobody else should hold one.
_BUSY_TIMEOUT = 5.0

#: The columns of a row, after its number. A change here needs a new file name.
COLUMNS = (
    "created", "id", "path", "content_type", "points", "calls", "total", "number",
    "size", "sent", "crc", "body",
)  # fmt: skip


_SCHEMA = f"CREATE TABLE batches (seq INTEGER PRIMARY KEY, {', '.join(COLUMNS)})"

#: What reading a damaged file may raise.
UNREADABLE = (sqlite3.Error, OverflowError, UnicodeDecodeError)

# Causes that lie in the surroundings, not in the file (https://sqlite.org/rescode.html).
_SURROUNDINGS = frozenset(
    {
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    }
)  # fmt: skip


class Damaged(Exception):
    """A spool file cannot be read as a whole."""


def is_damage(error: BaseException) -> bool:
    """
    Whether an error means that the file itself is damaged.

    :param error: one of :data:`UNREADABLE`.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in _SURROUNDINGS


@dataclass(frozen=True, slots=True)
class Row:
    """
    A batch that is on disk, without its content.
    """

    seq: int
    created: float
    total: int
    number: int
    size: int


def _crc(
    created: float, id: str, path: str, kind: str, points: int, calls: str, body: bytes
) -> int:
    text = repr((created, id, path, kind, points, calls)).encode()
    return zlib.crc32(body, zlib.crc32(text))


def pack(batch: Batch) -> tuple[Any, ...]:
    """
    A batch as the values of :data:`COLUMNS`.
    """
    payload = batch.payload
    calls = ",".join(map(str, batch.calls))
    content = (
        batch.created, batch.id, payload.path, payload.content_type, payload.points,
        calls,
    )  # fmt: skip
    return (
        *content, batch.total, batch.number, batch.size, 0,
        _crc(*content, payload.body), payload.body,
    )  # fmt: skip


def unpack(values: Sequence[Any]) -> Batch:
    """
    A batch from the values of :data:`COLUMNS`.

    :raises Damaged: if they are not what :func:`pack` made.
    """
    try:
        created, id, path, kind, points, calls, total, number, _, _, crc, body = values
        if _crc(created, id, path, kind, points, calls, body) != crc:
            raise Damaged("a checksum does not match")
        payload = Payload(path, kind, points, body)
        batch = Batch(number, created, payload, [int(n) for n in calls.split(",")], id)
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(str(error)) from None
    if batch.total != total or len(batch.calls) != points:
        raise Damaged("the numbers do not agree")
    return batch


class Spool:
    """
    One open file.

    :param path: the file; it is made when it is not there.
    :raises sqlite3.Error: if it cannot be opened; here and in every method.
    :ivar rows: how many batches it holds.
    :ivar calls: how many recorded calls are in them.
    :ivar bytes: about how many bytes they take.
    :ivar unread: how many of them :meth:`read` has not returned yet.
    :ivar unread_calls: how many recorded calls are in those.
    :ivar cursor: the row that was read last.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.rows = self.calls = self.bytes = self.unread = self.unread_calls = 0
        self.cursor = 0
        # Made here and not by SQLite, for its mode; SQLite gives its helpers the same.
        # It stays open, since closing it would release the locks that SQLite has on it.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._db = sqlite3.connect(
                path,
                timeout=_BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
        except BaseException:
            os.close(self._fd)
            raise
        try:
            self._prepare()
            found = self._db.execute(
                "SELECT count(*), coalesce(sum(total), 0), coalesce(sum(size), 0),"
                " coalesce(max(seq), 0) FROM batches"
            ).fetchone()
            self.rows, self.calls, self.bytes, self._last = found
        except BaseException:
            self.close()
            raise
        self.unread, self.unread_calls = self.rows, self.calls

    def _prepare(self) -> None:
        execute = self._db.execute
        # One page is what a process leaves that was killed while it made the file.
        new = os.fstat(self._fd).st_size <= PAGE_SIZE
        if new:
            execute(f"PRAGMA page_size = {PAGE_SIZE}")
        execute("PRAGMA journal_mode = WAL")
        # Against a power failure too. Checkpoints are made here, right after a write,
        # so that the log never grows and can be written again in place.
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA wal_autocheckpoint = 0")
        # Some builds overwrite what is deleted, which takes as much room in the log.
        execute("PRAGMA secure_delete = FAST")
        execute("PRAGMA temp_store = MEMORY")
        execute("PRAGMA cache_size = -1024")
        if new and not execute("SELECT 1 FROM sqlite_master").fetchone():
            with self.transaction():
                execute(_SCHEMA)
        if self._db.execute("SELECT 1 FROM batches LIMIT 1").fetchone() or new:
            self._hold_log()

    def _hold_log(self) -> None:
        """
        Give the log its reserve, in which batches can be deleted on a full disk.
        """
        log = os.open(self.path + "-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _allocate(log, RESERVE)
        except OSError:
            # A disk that is full already; what is here can be read all the same.
            pass
        finally:
            os.close(log)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        All that is done inside happens, or nothing of it.
        """
        before = self.rows, self.calls, self.bytes, self.unread, self.unread_calls
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self.rows, self.calls, self.bytes, self.unread, self.unread_calls = before
            raise
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def make_room(self, size: int) -> None:
        """
        See that the disk has room for more batches, before they are in the log: what
        is there but does not fit into the file would fill the log's reserve.

        :param size: of all the batches together.
        :raises OSError: if it has not.
        """
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        _allocate(self._fd, (pages + 2) * PAGE_SIZE + size + size // 8)

    def add(self, batches: Iterable[Batch]) -> None:
        """
        Add batches; call it inside a :meth:`transaction`.
        """
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        for batch in batches:
            # Numbers are never used again, so that the cursor stays right.
            self._last += 1
            self._db.execute(
                f"INSERT INTO batches VALUES ({marks})", (self._last, *pack(batch))
            )
            self.rows += 1
            self.unread += 1
            self.calls += batch.total
            self.unread_calls += batch.total
            self.bytes += batch.size

    def remove(self, seq: int, total: int, size: int) -> None:
        """
        Remove a batch that was read; call it inside a :meth:`transaction`.
        """
        gone = self._db.execute("DELETE FROM batches WHERE seq = ?", (seq,)).rowcount
        self.rows -= gone
        self.calls -= gone * total
        self.bytes -= gone * size

    def oldest_unread(self) -> Row | None:
        """
        The batch that would be read next.
        """
        found = self._db.execute(
            "SELECT seq, created, total, number, size FROM batches WHERE seq > ?"
            " ORDER BY seq LIMIT 1",
            (self.cursor,),
        ).fetchone()
        return None if found is None else Row(*found)

    def skip(self, row: Row) -> None:
        """
        Remove a batch that was not read; call it inside a :meth:`transaction`.
        """
        self.remove(row.seq, row.total, row.size)
        self.unread -= 1
        self.unread_calls -= row.total

    def read(self) -> tuple[Row, Batch | None, bool] | None:
        """
        The next batch: its row, its content (``None`` if that is damaged), and whether
        it was marked as sent.
        """
        row = self.oldest_unread()
        if row is None:
            self.unread = self.unread_calls = 0
            return None
        values = self._db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM batches WHERE seq = ?", (row.seq,)
        ).fetchone()
        self.cursor = row.seq
        self.unread -= 1
        self.unread_calls -= row.total
        try:
            return row, unpack(values), bool(values[COLUMNS.index("sent")])
        except Damaged:
            return row, None, False

    def rewind(self, cursor: int) -> None:
        """
        Go back to where :attr:`cursor` was.
        """
        self.cursor = cursor
        self.unread, self.unread_calls = self._db.execute(
            "SELECT count(*), coalesce(sum(total), 0) FROM batches WHERE seq > ?",
            (cursor,),
        ).fetchone()

    def mark(self, seqs: Iterable[int], sent: bool) -> None:
        """
        Note which batches may have been sent; call it inside a :meth:`transaction`.
        """
        self._db.executemany(
            "UPDATE batches SET sent = ? WHERE seq = ?", [(sent, seq) for seq in seqs]
        )

    def verify(self) -> None:
        """
        Check the whole file.

        :raises Damaged: if any of it is not as it was written.
        """
        try:
            answer = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if answer != ("ok",):
                raise Damaged(str(answer[0]))
            # One bit there, and the columns mean something else.
            schema = self._db.execute("SELECT sql FROM sqlite_master").fetchall()
            if schema != [(_SCHEMA,)]:
                raise Damaged("the schema is another")
            for values in self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM batches"):
                unpack(values)
        except UNREADABLE as error:
            if not is_damage(error):
                raise
            raise Damaged(str(error)) from None

    def close(self) -> None:
        """
        Close the file, which stays.
        """
        self._db.close()
        os.close(self._fd)


def _allocate(fd: int, size: int) -> None:
    """
    Let a file have at least so many bytes on the disk, where the system can do that.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
