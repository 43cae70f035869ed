"""
One spool file: sealed batches in an SQLite database until they are delivered.

Everything here blocks, and runs in the delivery's thread.
"""

from __future__ import annotations

import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from txstathat.client.payload import CONTENT_TYPES, PATHS, Payload
from txstathat.delivery.batch import PAGE_SIZE, SealedBatch

__all__ = [
    "COLUMNS",
    "RESERVE",
    "UNREADABLE",
    "Damaged",
    "SpoolFile",
    "SpoolRow",
    "is_damage",
    "unpack",
]

#: Bytes that are allocated to a file's log in advance, so that delivered batches can be
#: deleted when the disk is full.
RESERVE = 262_144
#: Seconds for which SQLite waits for a lock: no other process should hold one.
_BUSY_TIMEOUT = 5.0

#: The columns of a row, after its number. A change here needs a new file extension.
COLUMNS = (
    "created", "id", "path", "content_type", "points", "calls", "total", "number",
    "size", "sent", "crc", "body",
)  # fmt: skip


_SCHEMA = f"CREATE TABLE batches (seq INTEGER PRIMARY KEY, {', '.join(COLUMNS)})"

# The ids of batches and of probes, which are sent as a header.
_ID = re.compile(r"[0-9a-f]{32}(-[0-9]+)*")

#: The exceptions that reading a damaged file may raise.
UNREADABLE = (sqlite3.Error, OverflowError, UnicodeDecodeError)

# Causes that lie outside the file (https://sqlite.org/rescode.html).
_OUTSIDE = frozenset(
    {
        sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
    }
)  # fmt: skip


class Damaged(Exception):
    """A spool file, or a batch in it, is not as it was written."""


def is_damage(error: BaseException) -> bool:
    """
    Whether an error means that the file itself is damaged.

    :param error: one of :data:`UNREADABLE`.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in _OUTSIDE


@dataclass(frozen=True, slots=True)
class SpoolRow:
    """
    A batch on disk, without its content.
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


def pack(batch: SealedBatch) -> tuple[Any, ...]:
    """
    Return a batch as the values of :data:`COLUMNS`.
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


def unpack(values: Sequence[Any]) -> SealedBatch:
    """
    Make a batch from the values of :data:`COLUMNS`.

    :raises Damaged: if :func:`pack` did not make them, or if they are not a request of
        StatHat's API: only such requests are ever sent.
    """
    try:
        created, id, path, kind, points, calls, total, number, _, _, crc, body = values
        if _crc(created, id, path, kind, points, calls, body) != crc:
            raise Damaged("a checksum does not match")
        payload = Payload(path, kind, points, body)
        counts = [int(n) for n in calls.split(",")]
        batch = SealedBatch(number, created, payload, counts, id)
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(str(error)) from None
    if batch.total != total or len(batch.calls) != points:
        raise Damaged("the numbers do not agree")
    if path not in PATHS or kind not in CONTENT_TYPES or not _ID.fullmatch(id):
        raise Damaged("it is no request of StatHat's API")
    return batch


class SpoolFile:
    """
    One open file.

    :param path: the file, which is created if it does not exist. A symbolic link is not
        followed.
    :param exclusive: whether it must not exist.
    :raises sqlite3.Error: if it cannot be opened; here and in every method.
    :ivar rows: how many batches it holds.
    :ivar bytes: about how many bytes they take.
    :ivar unread: how many of them :meth:`read` has not returned yet.
    :ivar unread_calls: how many recorded calls are in those.
    :ivar cursor: the row that was read last.
    """

    def __init__(self, path: str, exclusive: bool = False) -> None:
        self.path = path
        self.rows = self.bytes = self.unread = self.unread_calls = 0
        self.cursor = 0
        # Created here and not by SQLite, for its mode; SQLite gives its other files
        # the same mode. It stays open: closing it would release SQLite's locks.
        self._fd = _open(path, os.O_EXCL if exclusive else 0)
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
            self.rows, self.unread_calls, self.bytes, self._last = found
        except BaseException:
            self.close()
            raise
        self.unread = self.rows

    def _prepare(self) -> None:
        execute = self._db.execute
        # A process that is killed while it creates the file leaves one page.
        new = os.fstat(self._fd).st_size <= PAGE_SIZE
        if new:
            execute(f"PRAGMA page_size = {PAGE_SIZE}")
        execute("PRAGMA journal_mode = WAL")
        # FULL survives a power failure. Checkpoints are made here, right after a write,
        # so that the log does not grow and is overwritten in place.
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA wal_autocheckpoint = 0")
        # Some builds overwrite deleted rows, which takes as much room in the log.
        execute("PRAGMA secure_delete = FAST")
        execute("PRAGMA temp_store = MEMORY")
        execute("PRAGMA cache_size = -1024")
        if new and not execute("SELECT 1 FROM sqlite_master").fetchone():
            with self.transaction():
                execute(_SCHEMA)
        if self._db.execute("SELECT 1 FROM batches LIMIT 1").fetchone() or new:
            self._allocate_log()

    def _allocate_log(self) -> None:
        """
        Allocate the log's reserve: deleting needs room in the log.
        """
        log = _open(self.path + "-wal")
        try:
            _allocate(log, RESERVE)
        except OSError:
            # The disk is full already. The batches can still be read.
            pass
        finally:
            os.close(log)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """
        Apply all changes made inside, or none if an exception is raised.
        """
        before = self.rows, self.bytes, self.unread, self.unread_calls
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self.rows, self.bytes, self.unread, self.unread_calls = before
            raise
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def make_room(self, size: int) -> None:
        """
        Allocate room for more batches before they are in the log: batches in the log
        that do not fit into the file would fill the log's reserve.

        :param size: the bytes of all the batches.
        :raises OSError: if the disk has no room.
        """
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        _allocate(self._fd, (pages + 2) * PAGE_SIZE + size + size // 8)

    def add(self, batches: Iterable[SealedBatch]) -> None:
        """
        Add batches; call it inside a :meth:`transaction`.
        """
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        for batch in batches:
            # Numbers are never used again, so that the cursor stays valid.
            self._last += 1
            self._db.execute(
                f"INSERT INTO batches VALUES ({marks})", (self._last, *pack(batch))
            )
            self.rows += 1
            self.unread += 1
            self.unread_calls += batch.total
            self.bytes += batch.size

    def remove(self, seq: int, size: int) -> None:
        """
        Remove a batch that was read; call it inside a :meth:`transaction`.
        """
        gone = self._db.execute("DELETE FROM batches WHERE seq = ?", (seq,)).rowcount
        self.rows -= gone
        self.bytes -= gone * size

    def oldest_unread(self) -> SpoolRow | None:
        """
        Return the batch that would be read next.
        """
        found = self._db.execute(
            "SELECT seq, created, total, number, size FROM batches WHERE seq > ?"
            " ORDER BY seq LIMIT 1",
            (self.cursor,),
        ).fetchone()
        return None if found is None else SpoolRow(*found)

    def skip(self, row: SpoolRow) -> None:
        """
        Remove a batch that was not read; call it inside a :meth:`transaction`.
        """
        self.remove(row.seq, row.size)
        self.unread -= 1
        self.unread_calls -= row.total

    def read(self) -> tuple[SpoolRow, SealedBatch | None, bool] | None:
        """
        Read the next batch.

        :returns: its row, its content (``None`` if that is damaged), and whether it was
            marked as sent; ``None`` if there is no next batch.
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
        Set :attr:`cursor` back to an earlier value.
        """
        self.cursor = cursor
        self.unread, self.unread_calls = self._db.execute(
            "SELECT count(*), coalesce(sum(total), 0) FROM batches WHERE seq > ?",
            (cursor,),
        ).fetchone()

    def mark(self, seqs: Iterable[int], sent: bool) -> None:
        """
        Mark batches as possibly sent, or not; call it inside a :meth:`transaction`.
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
            # One wrong bit in the schema, and the columns mean something else.
            schema = self._db.execute("SELECT sql FROM sqlite_master").fetchall()
            if schema != [(_SCHEMA,)]:
                raise Damaged("the schema is not the expected one")
            for values in self._db.execute(f"SELECT {', '.join(COLUMNS)} FROM batches"):
                unpack(values)
        except UNREADABLE as error:
            if not is_damage(error):
                raise
            raise Damaged(str(error)) from None

    def close(self) -> None:
        """
        Close the file without removing it.
        """
        self._db.close()
        os.close(self._fd)


def _open(path: str, flags: int = 0) -> int:
    flags |= os.O_RDWR | os.O_CREAT
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o600)


def _allocate(fd: int, size: int) -> None:
    """
    Allocate bytes of the disk to a file, where the system can do that.

    :param size: how many bytes, from the beginning of the file.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
