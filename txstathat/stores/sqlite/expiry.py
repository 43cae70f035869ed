"""
Deletes expired and dropped cells of a SQLite store.

The table ``expiry`` has a row for each time at which cells of a time bucket expire:
then a sweep looks at the cells of the bucket, so many at a time. The row has the
position after the last one. The table ``dead`` has the Metricas that were dropped, each
with the first time bucket that may still have cells of it.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

__all__ = ["drop_expired", "drop_expired_before", "drop_metrica"]

# The cells of how many dropped Metricas are looked for at once.
_DEAD_AT_ONCE = 1000


def drop_metrica(db: sqlite3.Connection, id: int) -> None:
    """
    Delete a Metrica, and have its cells deleted later.

    :param db: the connection that writes.
    :param id: the id of the Metrica.
    """
    db.execute("INSERT INTO dead (bucket, metrica) VALUES (0, ?)", (id,))
    db.execute("DELETE FROM choice WHERE metrica = ?", (id,))
    db.execute("DELETE FROM metrica WHERE id = ?", (id,))


def drop_expired_before(
    db: sqlite3.Connection,
    bucket: int,
    cells: Sequence[tuple[int, str]],
    begin: float,
) -> None:
    """
    Delete those of some cells that had expired before something is added to them.

    :param db: the connection that writes.
    :param bucket: the id of their time bucket.
    :param cells: the ids of their Metricas, and their keys.
    :param begin: the time, in Unix seconds.
    """
    has_expired = db.execute(
        "SELECT 1 FROM expiry WHERE bucket = ? AND expires <= ?", (bucket, begin)
    ).fetchone()
    if has_expired:
        db.executemany(
            "DELETE FROM cell "
            "WHERE bucket = ? AND metrica = ? AND key = ? AND expires <= ?",
            [(bucket, *cell, begin) for cell in cells],
        )


def drop_expired(db: sqlite3.Connection, now: float, limit: int) -> int:
    """
    Delete expired rows and cells of dropped Metricas, within a transaction of the
    caller.

    :param db: the connection that writes.
    :param now: the time, in Unix seconds.
    :param limit: how many rows to look at, at most; at least 1.
    :returns: how many rows it looked at or deleted. That number is less than ``limit``
        only if none are left.
    """
    # A row of the journal may have been written to a cell before it expired.
    (oldest,) = db.execute("SELECT min(at) FROM journal WHERE NOT damaged").fetchone()
    before = now if oldest is None else min(now, oldest)
    rows = db.execute(
        "DELETE FROM batch WHERE id IN "
        "(SELECT id FROM batch WHERE expires <= ? LIMIT ?)",
        (now, limit),
    ).rowcount
    while rows < limit:
        some = _drop_expired_cells(db, before, limit - rows)
        some = some or _drop_dead_cells(db, limit - rows)
        if not some:
            break
        rows += some
    return rows


def _drop_expired_cells(db: sqlite3.Connection, before: float, limit: int) -> int:
    """
    Look at the next cells of a time bucket in which some have expired.
    """
    found = db.execute(
        "SELECT bucket, expires, metrica, key FROM expiry WHERE expires <= ? "
        "ORDER BY expires, bucket LIMIT 1",
        (before,),
    ).fetchone()
    if found is None:
        return 0
    bucket, expires, *position = found
    cells = db.execute(
        "SELECT metrica, key, expires <= ? FROM cell "
        "WHERE bucket = ? AND (metrica, key) > (?, ?) ORDER BY metrica, key LIMIT ?",
        (before, bucket, *position, limit),
    ).fetchall()
    expired = [(bucket, *place) for *place, has_expired in cells if has_expired]
    _delete_cells(db, expired)
    if len(cells) == limit:
        db.execute(
            "UPDATE expiry SET metrica = ?, key = ? WHERE bucket = ? AND expires = ?",
            (*cells[-1][:2], bucket, expires),
        )
    else:
        db.execute(
            "DELETE FROM expiry WHERE bucket = ? AND expires = ?", (bucket, expires)
        )
        _delete_if_empty(db, bucket)
    return max(1, len(cells))


def _drop_dead_cells(db: sqlite3.Connection, limit: int) -> int:
    """
    Look for cells of some dropped Metricas in the next time buckets.
    """
    (start,) = db.execute("SELECT max(bucket) FROM dead").fetchone()
    if start is None:
        return 0
    dead = _column(
        db,
        "SELECT metrica FROM dead WHERE bucket = ? ORDER BY metrica LIMIT ?",
        (start, _DEAD_AT_ONCE),
    )
    most = max(1, limit // len(dead))
    buckets = _column(
        db, "SELECT id FROM bucket WHERE id >= ? ORDER BY id LIMIT ?", (start, most + 1)
    )
    go_on_at = buckets.pop() if len(buckets) > most else None
    rows = 0
    for bucket in buckets:
        cells = list(islice(_dead_cells(db, bucket, dead), limit - rows))
        _delete_cells(db, cells)
        _delete_if_empty(db, bucket)
        rows += len(cells)
        if rows == limit:
            go_on_at = bucket  # it may have more of them
            break
    group = start, dead[-1]
    if go_on_at is None:
        db.execute("DELETE FROM dead WHERE bucket = ? AND metrica <= ?", group)
        return min(limit, max(1, rows, len(buckets) * len(dead)))
    db.execute(
        "UPDATE dead SET bucket = ? WHERE bucket = ? AND metrica <= ?",
        (go_on_at, *group),
    )
    return limit


def _dead_cells(
    db: sqlite3.Connection, bucket: int, dead: Sequence[int]
) -> Iterator[tuple[int, int, str]]:
    """
    Yield the cells of dropped Metricas in a time bucket. This takes few steps, whether
    there are few such Metricas or few cells.
    """
    at = 0
    while at < len(dead):
        found = db.execute(
            "SELECT metrica FROM cell WHERE bucket = ? AND metrica >= ? "
            "ORDER BY metrica LIMIT 1",
            (bucket, dead[at]),
        ).fetchone()
        if found is None:
            return
        at = bisect_left(dead, found[0], at)
        if at < len(dead) and dead[at] == found[0]:
            yield from db.execute(
                "SELECT bucket, metrica, key FROM cell "
                "WHERE bucket = ? AND metrica = ?",
                (bucket, *found),
            )
            at += 1


def _column(db: sqlite3.Connection, query: str, values: Sequence[int]) -> list[int]:
    return [value for (value,) in db.execute(query, values)]


def _delete_cells(
    db: sqlite3.Connection, cells: Iterable[tuple[int, int, str]]
) -> None:
    db.executemany(
        "DELETE FROM cell WHERE bucket = ? AND metrica = ? AND key = ?", cells
    )


def _delete_if_empty(db: sqlite3.Connection, bucket: int) -> None:
    db.execute(
        "DELETE FROM bucket WHERE id = ? "
        "AND NOT EXISTS (SELECT 1 FROM cell WHERE cell.bucket = bucket.id)",
        (bucket,),
    )
