"""
Overwrites what was deleted from a SQLite store.

The pragma ``secure_delete`` overwrites deleted rows and unused pages with zeros. But
when SQLite moves rows to other pages, copies of them stay in unused parts of pages. So
the tables with names and texts are written anew, which frees their old pages. They are
small beside the cells.
"""

from __future__ import annotations

import sqlite3

from txstathat.errors import StoreUnavailable
from txstathat.stores.sqlite.schema import transaction

__all__ = ["erase_deleted"]

_TABLES = ("metrica", "choice", "record", "listing")


def erase_deleted(db: sqlite3.Connection) -> None:
    """
    Write the tables with names and texts anew, and empty the write-ahead log.

    :param db: the connection that writes, with ``secure_delete``.
    :raises StoreUnavailable: if another connection has been reading for so long that
        the log, which has the old pages, cannot be emptied. Call this again later.
    """
    with transaction(db, "IMMEDIATE"):
        for table in _TABLES:
            db.execute(f"CREATE TEMP TABLE erasing AS SELECT * FROM main.{table}")
            db.execute(f"DELETE FROM main.{table}")
            db.execute(f"INSERT INTO main.{table} SELECT * FROM erasing")
            db.execute("DROP TABLE erasing")
    (is_busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise StoreUnavailable(
            "SQLite: what was deleted is still in the write-ahead log, because another "
            "connection has been reading the store for long"
        )
