"""
Reads the definitions of the Metricas in a SQLite store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from txstathat.stores.sqlite.id_cache import in_bulk

__all__ = ["AT_ONCE", "count_definitions", "definitions_after", "read_definitions"]

#: How many definitions are read at once, when all are. Other reads wait meanwhile.
AT_ONCE = 5_000

_READ = """
    WITH wanted (name) AS (VALUES {rows})
    SELECT metrica.name, definition
    FROM wanted CROSS JOIN metrica ON metrica.name = wanted.name"""


def read_definitions(db: sqlite3.Connection, names: Sequence[str]) -> dict[str, str]:
    """
    Read some definitions.

    :param db: a connection.
    :param names: the names of the Metricas.
    :returns: their definitions by name; an unknown name is left out.
    """
    found: dict[str, str] = {}
    for sql, values in in_bulk(_READ, [(name,) for name in names]):
        found.update(db.execute(sql, values))
    return _share_texts(found)


def definitions_after(
    db: sqlite3.Connection, name: str | None
) -> tuple[dict[str, str], str | None]:
    """
    Read the next of all definitions, sorted by name.

    :param db: a connection.
    :param name: the last name that was read; ``None`` at first.
    :returns: definitions by name; and the last name, ``None`` if there are no more.
    """
    where = "" if name is None else "WHERE name > :name"
    found = dict(
        db.execute(
            f"SELECT name, definition FROM metrica {where} ORDER BY name LIMIT :most",
            {"name": name, "most": AT_ONCE},
        )
    )
    last = next(reversed(found)) if len(found) == AT_ONCE else None
    return _share_texts(found), last


def count_definitions(db: sqlite3.Connection, apart_from: Sequence[str]) -> int:
    """
    Count the Metricas. Call this within a transaction.

    :param db: a connection.
    :param apart_from: names that do not count.
    """
    (number,) = db.execute("SELECT count(*) FROM metrica").fetchone()
    return int(number) - len(read_definitions(db, apart_from))


def _share_texts(found: dict[str, str]) -> dict[str, str]:
    # Many have the same definition: one text of it is enough.
    texts: dict[str, str] = {}
    return {name: texts.setdefault(text, text) for name, text in found.items()}
