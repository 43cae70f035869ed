"""
Reads the whole contents of a SQLite store; see :mod:`txstathat.stores.dump`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import merge as merge_sorted
from itertools import groupby

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import Addition, StoredCell
from txstathat.stores.sqlite.cells import Found, add_to_found
from txstathat.stores.sqlite.id_cache import expiry
from txstathat.stores.sqlite.journal import read_journal
from txstathat.stores.sqlite.schema import (
    check_version,
    read_records,
    reading,
    table_names,
)

__all__ = ["SqliteDump", "open_sqlite_dump"]

# How many Metricas are read at once.
_AT_ONCE = 64

_CELLS = """
    FROM bucket CROSS JOIN cell
    ON cell.bucket = bucket.id AND cell.metrica BETWEEN ? AND ?"""
# In a store of version 3 and below.
_OLD_CELLS = """
    FROM stretch CROSS JOIN cell
    ON cell.stretch = stretch.id AND stretch.metrica BETWEEN ? AND ?"""

# The id of a Metrica, and the scale and label of a time bucket; when the first addition
# was written; and what was added, by key.
_Added = tuple[tuple[int, str, str], float, Sequence[tuple[str, Found]]]


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
        names = dict(self._db.execute("SELECT id, name FROM metrica"))
        both = merge_sorted(
            self._stored(names), self._journal(), key=lambda one: one[0]
        )
        for (id, scale, label), same in groupby(both, key=lambda one: one[0]):
            # Of a time bucket there is first what is in the table.
            cells: dict[str, Found] = {}
            for _, begin, added in same:
                for key, more in added:
                    add_to_found(cells, key, begin, more)
            for key, (expires, sums) in sorted(cells.items()):
                if expires is None or expires > self._now:
                    yield StoredCell(
                        names[id], scale, label, key, expires, Addition(*sums)
                    )

    def _stored(self, names: Mapping[int, str]) -> Iterator[_Added]:
        ids = sorted(names)
        is_old = "stretch" in self._tables
        query = f"""SELECT metrica, scale, label,
                key, expires, whole, events, least, most, real, coalesce(rest, 0.0)
            {_OLD_CELLS if is_old else _CELLS}
            ORDER BY metrica, scale, label"""
        for at in range(0, len(ids), _AT_ONCE):
            some = ids[at : at + _AT_ONCE]
            rows = self._db.execute(query, (some[0], some[-1]))
            for place, cells in groupby(rows, key=lambda row: row[:3]):
                if place[0] in names:  # others were dropped
                    added = [(row[3], (row[4], Addition(*row[5:]))) for row in cells]
                    yield place, 0.0, added

    def _journal(self) -> list[_Added]:
        if "journal" not in self._tables:
            return []
        added: list[_Added] = []
        for change in read_journal(self._db).pending():
            scale, label, ttl = change.bucket
            until = expiry(change.end, ttl)
            for id, cells in groupby(change.cells, key=lambda cell: cell[0][0]):
                more = [(key, (until, one)) for (_, key), one in cells]
                added.append(((id, scale, label), change.begin, more))
        # Changes of the same time bucket stay in their order.
        return sorted(added, key=lambda one: one[0])
