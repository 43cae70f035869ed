"""
Reads the whole contents of a SQLite store; see :mod:`txstathat.stores.dump`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import merge as merge_sorted
from itertools import groupby

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import Addition, StoredCell
from txstathat.stores.spread import add_up
from txstathat.stores.sqlite.id_cache import expiry
from txstathat.stores.sqlite.journal import read_journal
from txstathat.stores.sqlite.schema import (
    check_version,
    read_records,
    reading,
    table_names,
)

__all__ = ["SqliteDump", "open_sqlite_dump"]

# The name, scale and label of a time bucket; when something was first added to it; when
# it expires; and what was added, by key.
_Added = tuple[
    tuple[str, str, str], float, float | None, Sequence[tuple[str, Addition]]
]


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
        # A store of an older version lacks some.
        self._tables = table_names(connection)

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`.Dump.definitions`."""
        # Many have the same definition: one text of it is enough.
        texts: dict[str, str] = {}
        found = {
            name: texts.setdefault(text, text)
            for name, text in self._db.execute(
                "SELECT name, definition FROM metrica ORDER BY name"
            )
        }
        if names is None:
            return found
        return {name: found[name] for name in names if name in found}

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`.Dump.records`."""
        return read_records(self._db, kind) if "record" in self._tables else {}

    def cells(self) -> Iterator[StoredCell]:
        """
        See :meth:`.Dump.cells`. What the journal adds is held in memory.
        """
        both = merge_sorted(self._stored(), self._journal(), key=lambda one: one[0])
        for (name, scale, label), same in groupby(both, key=lambda one: one[0]):
            # Of a time bucket there is first what is in the table.
            expires: float | None = None
            cells: dict[str, Addition] = {}
            for _, begin, until, more in same:
                if expires is not None and expires <= begin:
                    cells = {}
                expires = until
                add_up(cells, more)
            if expires is None or expires > self._now:
                for key in sorted(cells):
                    sums = Addition(*cells[key])
                    yield StoredCell(name, scale, label, key, expires, sums)

    def _stored(self) -> Iterator[_Added]:
        rows = self._db.execute(
            """SELECT name, scale, label, expires,
                key, whole, events, least, most, real, coalesce(rest, 0.0)
            FROM metrica
            CROSS JOIN stretch ON stretch.metrica = metrica.id
            CROSS JOIN cell ON cell.stretch = stretch.id
            ORDER BY name, scale, label"""
        )
        for bucket, cells in groupby(rows, key=lambda row: row[:4]):
            sums = [(row[4], Addition(*row[5:])) for row in cells]
            yield bucket[:3], 0.0, bucket[3], sums

    def _journal(self) -> list[_Added]:
        if "journal" not in self._tables:
            return []
        names = dict(self._db.execute("SELECT id, name FROM metrica"))
        added: list[_Added] = []
        for change in read_journal(self._db).pending():
            scale, label, ttl = change.bucket
            until = expiry(change.end, ttl)
            for id, cells in groupby(change.cells, key=lambda cell: cell[0][0]):
                sums = [(key, one) for (_, key), one in cells]
                added.append(((names[id], scale, label), change.begin, until, sums))
        # Changes of the same time bucket stay in their order.
        return sorted(added, key=lambda one: one[0])
