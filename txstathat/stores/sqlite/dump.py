"""
Reads the whole contents of a SQLite store; see :mod:`txstathat.stores.dump`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import Addition, StoredCell
from txstathat.stores.sqlite.schema import check_version, read_records, reading

__all__ = ["SqliteDump", "open_sqlite_dump"]


@contextmanager
def open_sqlite_dump(path: str, seconds: Callable[[], float]) -> Iterator[SqliteDump]:
    """
    Open the file of a SQLite store to read its whole contents.

    :param path: the file.
    :param seconds: returns the time, in Unix seconds.
    :returns: a context manager that gives the :class:`SqliteDump`.
    :raises StoreError: if it is not a store of this package.
    :raises StoreTooNew: if a newer version of this package wrote it.
    :raises StoreUnavailable: if it cannot be read.
    """
    try:
        with reading(path) as connection:
            try:
                dump = SqliteDump(connection, seconds())
            except StoreError as error:
                raise type(error)(f"{path}: {error}") from None
            yield dump
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot read {path}: {error}") from error


class SqliteDump:
    """
    The contents of a SQLite store at one moment: when this object is created. It
    implements :class:`~txstathat.stores.interface.Dump`.

    :param connection: a connection to the database.
    :param now: the time, in Unix seconds.
    :raises StoreError: if it is not a store of this package.
    :raises StoreTooNew: if a newer version of this package wrote it.
    """

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._db = connection
        self._now = now
        connection.isolation_level = None
        # The transaction sees one moment, from its first query on.
        connection.execute("BEGIN")
        check_version(connection)

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.Dump.definitions`."""
        found = dict(self._db.execute("SELECT name, definition FROM metrica"))
        return {
            name: found[name]
            for name in (sorted(found) if names is None else names)
            if name in found
        }

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`.Dump.records`."""
        return read_records(self._db, kind)

    def cells(self) -> Iterator[StoredCell]:
        """See :meth:`.Dump.cells`."""
        rows = self._db.execute(
            """SELECT name, scale, label, key, expires,
                whole, events, least, most, real, coalesce(rest, 0.0)
            FROM metrica
            CROSS JOIN stretch ON stretch.metrica = metrica.id
            CROSS JOIN cell ON cell.stretch = stretch.id
            WHERE expires IS NULL OR expires > ?
            ORDER BY name, scale, label, key""",
            (self._now,),
        )
        for name, scale, label, key, expires, *sums in rows:
            yield StoredCell(name, scale, label, key, expires, Addition(*sums))
