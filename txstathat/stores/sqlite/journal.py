"""
The journal of a SQLite store: what was added and is not yet in its cells.

A commit appends a row. A *fold* adds many rows to the cells at once, and deletes them.
It proceeds in slices, each a transaction of its own, in one order: by time bucket,
Metrica and key. The position after the last slice is stored with it, so that any
process can go on, and a reader knows what is in the cells and what is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from twisted.logger import Logger

from txstathat.stores.journal.pending import Change, Pending, Position, Wanted
from txstathat.stores.journal.prepared import Usage
from txstathat.stores.journal.stored_rows import StoredSection, decode

__all__ = [
    "Journal",
    "Progress",
    "append",
    "finish",
    "first_row",
    "read_journal",
    "read_progress",
    "save_progress",
    "usage",
]

_log = Logger()


class Progress(NamedTuple):
    """
    How far a fold is.

    :ivar upto: the id of its last row.
    :ivar position: what is in the cells; ``None`` for nothing.
    """

    upto: int
    position: Position | None


class Journal(NamedTuple):
    """
    The rows of a journal.

    :ivar first: the id of the first row; ``None`` without any.
    :ivar rows: id, time and sections of each row that can be read, in order.
    :ivar damaged: the ids of the others.
    :ivar progress: how far a fold of them is; ``None`` if none has begun.
    :ivar additions: about how many additions these rows have.
    :ivar is_whole: whether these are all rows.
    """

    first: int | None
    rows: Sequence[tuple[int, float, Sequence[StoredSection]]]
    damaged: Sequence[int]
    progress: Progress | None
    additions: int
    is_whole: bool

    def pending(self, wanted: Wanted | None = None) -> Iterator[Change]:
        """
        Yield what is not in the cells, in the order in which it was added.

        :param wanted: the cells that are of interest; by default all.
        """
        upto, position = self.progress or (0, None)
        for rows, after in (
            ([row for row in self.rows if row[0] <= upto], position),
            ([row for row in self.rows if row[0] > upto], None),
        ):
            pending = Pending(wanted)
            for row in rows:
                pending.add(*row)
            for group in pending.groups():
                yield from pending.changes_of(group, after)


def read_journal(db: sqlite3.Connection, most: int | None = None) -> Journal:
    """
    Read the journal. Call this within a transaction.

    :param db: a connection.
    :param most: read only the rows of the fold that has begun or, if none has, the
        first rows with about so many additions.
    """
    progress = read_progress(db)
    rows, damaged = [], []
    first, additions, is_whole = None, 0, True
    for id, at, size, row in db.execute(
        "SELECT id, at, size, additions FROM journal WHERE NOT damaged ORDER BY id"
    ):
        if most is not None and (
            additions >= most if progress is None else id > progress.upto
        ):
            is_whole = False
            break
        first = first or id
        additions += size
        try:
            rows.append((id, at, decode(row)))
        except ValueError as error:
            _log.error(
                "row {id} of the store's journal is damaged, and not counted: {error}",
                id=id,
                error=str(error),
            )
            damaged.append(id)
    return Journal(
        first, rows, damaged, progress if first else None, additions, is_whole
    )


def read_progress(db: sqlite3.Connection) -> Progress | None:
    """
    Return how far a fold is; ``None`` if none has begun.
    """
    found = db.execute("SELECT upto, bucket, metrica, key FROM folding").fetchone()
    return None if found is None else Progress(found[0], Position(*found[1:]))


def first_row(db: sqlite3.Connection) -> int | None:
    """
    Return the id of the first row of the journal; ``None`` if it is empty. Ids are not
    used twice: so it identifies the contents up to a certain row.
    """
    (id,) = db.execute("SELECT min(id) FROM journal WHERE NOT damaged").fetchone()
    return None if id is None else int(id)


def save_progress(db: sqlite3.Connection, progress: Progress) -> None:
    """
    Store how far a fold is.
    """
    assert progress.position is not None
    db.execute("DELETE FROM folding")
    db.execute(
        "INSERT INTO folding (upto, bucket, metrica, key) VALUES (?, ?, ?, ?)",
        (progress.upto, *progress.position),
    )


def finish(db: sqlite3.Connection, upto: int, damaged: Iterable[int]) -> None:
    """
    Delete the rows of a fold. Rows that could not be read stay, and are marked.

    :param upto: the id of the last row.
    :param damaged: the ids of those that could not be read.
    """
    db.executemany(
        "UPDATE journal SET damaged = 1, load = 0, size = 0 WHERE id = ?",
        [(id,) for id in damaged],
    )
    db.execute("DELETE FROM journal WHERE id <= ? AND NOT damaged", (upto,))
    db.execute("DELETE FROM folding")


def append(db: sqlite3.Connection, at: float, usage: Usage, additions: bytes) -> None:
    """
    Append a row.

    :param at: the time, in Unix seconds.
    :param usage: its size.
    :param additions: its bytes.
    """
    db.execute(
        "INSERT INTO journal (at, load, size, damaged, additions) "
        "VALUES (?, ?, ?, 0, ?)",
        (at, *usage, additions),
    )


def usage(db: sqlite3.Connection) -> Usage:
    """
    Return the size of the journal.
    """
    found = db.execute("SELECT total(load), total(size) FROM journal").fetchone()
    return Usage(found[0], int(found[1]))
