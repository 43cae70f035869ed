"""
Deletes expired and dropped rows of a SQLite store.
"""

from __future__ import annotations

import sqlite3

__all__ = ["drop_expired"]


def drop_expired(
    db: sqlite3.Connection, now: float, limit: int
) -> tuple[list[tuple[int]], int]:
    """
    Delete expired rows, within a transaction of the caller.

    :param db: the connection that writes.
    :param now: the time, in Unix seconds.
    :param limit: how many rows to delete at most; at least 1.
    :returns: the ids of the time buckets that have expired; and how many rows it
        deleted. That number is less than ``limit`` only if none are left.
    """
    # A row of the journal may have been written to a time bucket before it expired.
    (oldest,) = db.execute("SELECT min(at) FROM journal WHERE NOT damaged").fetchone()
    before = now if oldest is None else min(now, oldest)
    expired = db.execute(
        "SELECT id FROM stretch WHERE expires <= ? LIMIT ?", (before, limit)
    ).fetchall()
    db.executemany("INSERT INTO dead (stretch) VALUES (?)", expired)
    db.executemany("DELETE FROM stretch WHERE id = ?", expired)
    batches = db.execute(
        "DELETE FROM batch WHERE id IN "
        "(SELECT id FROM batch WHERE expires <= ? LIMIT ?)",
        (now, limit),
    ).rowcount
    return expired, batches + _drop_cells(db, limit - batches)


def _drop_cells(db: sqlite3.Connection, limit: int) -> int:
    cells = db.execute(
        "SELECT cell.stretch, key FROM dead CROSS JOIN cell "
        "ON cell.stretch = dead.stretch ORDER BY dead.stretch LIMIT ?",
        (limit,),
    ).fetchall()
    db.executemany("DELETE FROM cell WHERE stretch = ? AND key = ?", cells)
    # A time bucket without cells goes at once: else it would use up the limit of the
    # next call, which would then delete too few cells.
    emptied = db.execute(
        "DELETE FROM dead "
        "WHERE stretch IN (SELECT stretch FROM dead ORDER BY stretch LIMIT ?) "
        "AND NOT EXISTS (SELECT 1 FROM cell WHERE cell.stretch = dead.stretch)",
        (limit,),
    ).rowcount
    return max(len(cells), emptied)
