"""
Adds to the cells of a SQLite store, and reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from txstathat.points.model import MAX_INTEGER
from txstathat.stores.interface import Addition, Cell, CellKey, Increment
from txstathat.stores.sqlite.id_cache import Tables, in_bulk
from txstathat.stores.sums import as_cell

__all__ = ["add_cells", "read_cells"]

_ADD_WHOLE = """
    INSERT INTO cell (stretch, key, whole, events, least, most) VALUES {rows}
    ON CONFLICT (stretch, key) DO UPDATE SET
        whole = whole + excluded.whole,
        events = events + excluded.events,
        least = min(least, excluded.least),
        most = max(most, excluded.most)"""

# With t = r + x and p = t - r, the rounding error of t is (r - (t - p)) + (x - p), as
# in txstathat.stores.sums.add_floats.
_ADD_REAL = """
    INSERT INTO cell (stretch, key, whole, events, least, most, real, rest)
    VALUES {rows}
    ON CONFLICT (stretch, key) DO UPDATE SET
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

_READ = """
    WITH wanted (number, name, scale, label, key) AS (VALUES {rows})
    SELECT number, whole, events, least, most, real, coalesce(rest, 0.0)
    FROM wanted
    CROSS JOIN metrica ON metrica.name = wanted.name
    CROSS JOIN stretch ON stretch.metrica = metrica.id
        AND stretch.scale = wanted.scale AND stretch.label = wanted.label
    CROSS JOIN cell ON cell.stretch = stretch.id AND cell.key = wanted.key
    WHERE expires IS NULL OR expires > ?"""


def add_cells(
    db: sqlite3.Connection,
    tables: Tables,
    ids: Mapping[str, int],
    increments: Iterable[Increment],
    now: float,
) -> None:
    """
    Add to cells, within a transaction of the caller.

    :param db: the connection that writes.
    :param tables: finds or creates the time buckets.
    :param ids: the ids of the Metricas by name.
    :param increments: what to add.
    :param now: the time, in Unix seconds.
    :raises OverflowError: if an addition is too large.
    :raises sqlite3.IntegrityError: if a sum would be too large.
    """
    whole: list[tuple[Any, ...]] = []
    real: list[tuple[Any, ...]] = []
    for buckets, cells in increments:
        rows = list(_rows(ids, cells))
        metricas = [ids[name] for name in cells]
        for bucket in buckets:
            bucket_ids = tables.bucket_ids(bucket, metricas, now)
            for metrica, key, one in rows:
                if one.real is None:
                    whole.append((bucket_ids[metrica], key, *one[:4]))
                else:
                    real.append((bucket_ids[metrica], key, *one))
    for statement, all_rows in ((_ADD_WHOLE, whole), (_ADD_REAL, real)):
        # In the order of the table, so that each row is near the one before.
        all_rows.sort()
        for sql, values in in_bulk(statement, all_rows):
            db.execute(sql, values)


def _rows(
    ids: Mapping[str, int], cells: Mapping[str, Mapping[str, Addition]]
) -> Iterator[tuple[int, str, Addition]]:
    for name, additions in cells.items():
        metrica = ids[name]
        for key, one in additions.items():
            if abs(one.whole) > MAX_INTEGER:
                raise OverflowError
            yield metrica, key, one


def read_cells(
    db: sqlite3.Connection, keys: Sequence[CellKey], now: float
) -> list[Cell | None]:
    """
    Read cells.

    :param db: a connection.
    :param keys: the names of the cells.
    :param now: the time, in Unix seconds.
    :returns: a cell for each key; ``None`` for an empty or expired one.
    """
    cells: list[Cell | None] = [None] * len(keys)
    wanted = [(number, *key) for number, key in enumerate(keys)]
    for sql, values in in_bulk(_READ, wanted):
        for number, *row in db.execute(sql, [*values, now]):
            cells[number] = as_cell(*row)
    return cells
