"""
Adds to the cells of a SQLite store, and reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

from txstathat.stores.interface import Addition, Cell, CellKey
from txstathat.stores.journal.pending import Change
from txstathat.stores.sqlite.expiry import drop_expired_before
from txstathat.stores.sqlite.id_cache import Tables, expiry, in_bulk
from txstathat.stores.sqlite.journal import Journal, read_journal
from txstathat.stores.sums import as_cell, merge

__all__ = ["Found", "add_cells", "add_to_found", "read_cells"]

Place = TypeVar("Place")

_ADD_WHOLE = """
    INSERT INTO cell (bucket, metrica, key, expires, whole, events, least, most)
    VALUES {rows}
    ON CONFLICT (bucket, metrica, key) DO UPDATE SET
        expires = excluded.expires,
        whole = whole + excluded.whole,
        events = events + excluded.events,
        least = min(least, excluded.least),
        most = max(most, excluded.most)"""

# With t = r + x and p = t - r, the rounding error of t is (r - (t - p)) + (x - p), as
# in txstathat.stores.sums.add_floats.
_ADD_REAL = """
    INSERT INTO cell
        (bucket, metrica, key, expires, whole, events, least, most, real, rest)
    VALUES {rows}
    ON CONFLICT (bucket, metrica, key) DO UPDATE SET
        expires = excluded.expires,
        whole = whole + excluded.whole,
        events = events + excluded.events,
        least = min(least, excluded.least),
        most = max(most, excluded.most),
        real = {t},
        rest = coalesce(rest, 0.0) + excluded.rest
            + (({r} - ({t} - ({t} - {r}))) + (excluded.real - ({t} - {r})))""".format(
    rows="{rows}",
    r="coalesce(real, 0.0)",
    t="(coalesce(real, 0.0) + excluded.real)",
)

_IDS = """
    WITH wanted (name) AS (VALUES {rows})
    SELECT metrica.name, id
    FROM wanted CROSS JOIN metrica ON metrica.name = wanted.name"""

_READ = """
    WITH wanted (number, name, scale, label, key) AS (VALUES {rows})
    SELECT number, expires, whole, events, least, most, real, coalesce(rest, 0.0)
    FROM wanted
    CROSS JOIN metrica ON metrica.name = wanted.name
    CROSS JOIN bucket
        ON bucket.scale = wanted.scale AND bucket.label = wanted.label
    CROSS JOIN cell ON cell.bucket = bucket.id
        AND cell.metrica = metrica.id AND cell.key = wanted.key"""

#: When a cell expires (``None`` for never), and its contents.
Found = tuple[float | None, Addition]


def add_cells(
    db: sqlite3.Connection,
    tables: Tables,
    change: Change,
    cells: Sequence[tuple[tuple[int, str], Addition]],
) -> None:
    """
    Add to cells, within a transaction of the caller.

    :param db: the connection that writes.
    :param tables: finds or creates the time buckets.
    :param change: the change that the cells are a part of.
    :param cells: the sums, sorted by id of the Metrica and key.
    :raises OverflowError: if an addition is too large.
    :raises sqlite3.IntegrityError: if a sum would be too large.
    """
    bucket, expires = tables.bucket_id(change.bucket, change.end)
    drop_expired_before(db, bucket, [place for place, _ in cells], change.begin)
    whole: list[tuple[Any, ...]] = []
    real: list[tuple[Any, ...]] = []
    for (metrica, key), sums in cells:
        if sums[4] is None:
            whole.append((bucket, metrica, key, expires, *sums[:4]))
        else:
            real.append((bucket, metrica, key, expires, *sums))
    for statement, rows in ((_ADD_WHOLE, whole), (_ADD_REAL, real)):
        for sql, values in in_bulk(statement, rows):
            db.execute(sql, values)


def read_cells(
    db: sqlite3.Connection, keys: Sequence[CellKey], now: float
) -> tuple[list[Cell | None], bool]:
    """
    Read cells, with what the journal adds to them. Call this within a transaction.

    :param db: a connection.
    :param keys: the names of the cells.
    :param now: the time, in Unix seconds.
    :returns: a cell for each key, ``None`` for an empty or expired one; and whether the
        journal was empty.
    """
    cells: list[Cell | None] = [None] * len(keys)
    wanted = [(number, *key) for number, key in enumerate(keys)]
    rows = (
        row for sql, values in in_bulk(_READ, wanted) for row in db.execute(sql, values)
    )
    journal = read_journal(db)
    if not journal.rows:
        for number, until, *sums in rows:
            if until is None or until > now:
                cells[number] = as_cell(*sums)
        return cells, True
    found = {number: (until, Addition(*sums)) for number, until, *sums in rows}
    _add_journal(db, journal, keys, found)
    for number, (until, one) in found.items():
        if until is None or until > now:
            cells[number] = as_cell(*one)
    return cells, False


def _add_journal(
    db: sqlite3.Connection,
    journal: Journal,
    keys: Sequence[CellKey],
    found: dict[int, Found],
) -> None:
    names = [(name,) for name in dict.fromkeys(key.name for key in keys)]
    ids: dict[str, int] = {}
    for sql, values in in_bulk(_IDS, names):
        ids.update(db.execute(sql, values).fetchall())
    wanted: dict[tuple[str, str], dict[int, dict[str, list[int]]]] = {}
    for number, (name, scale, label, key) in enumerate(keys):
        if name in ids:
            places = wanted.setdefault((scale, label), {}).setdefault(ids[name], {})
            places.setdefault(key, []).append(number)
    for change in journal.pending(wanted):
        until = expiry(change.end, change.bucket.ttl)
        by_owner = wanted[change.bucket[:2]]
        for (owner, key), more in change.cells:
            for number in by_owner.get(owner, {}).get(key, ()):
                add_to_found(found, number, change.begin, (until, more))


def add_to_found(
    found: dict[Place, Found], place: Place, begin: float, more: Found
) -> None:
    """
    Add to a cell that was read, as a fold adds to one in the table.

    :param found: the cells that were read.
    :param place: identifies the cell.
    :param begin: when the first addition was written, in Unix seconds. A cell that had
        expired by then is replaced.
    :param more: when the cell expires now, and what is added.
    """
    old = found.get(place)
    if old is None or (old[0] is not None and old[0] <= begin):
        found[place] = more
    else:
        found[place] = more[0], merge(old[1], more[1])
