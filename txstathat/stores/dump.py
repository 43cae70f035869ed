"""
Reading all that a store holds, exactly: not what cells tell, but what they are made of,
and until when they are kept.

Nothing here is asynchronous: it is for commands that do this and nothing else.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from txstathat.errors import StoreError, StoreTooNew, StoreUnavailable
from txstathat.stores.interface import Addition
from txstathat.stores.sqlite.schema import APPLICATION, MIGRATIONS
from txstathat.stores.url import sqlite_path

__all__ = ["Dump", "StoredCell", "SqliteDump", "open_dump"]


class StoredCell(NamedTuple):
    """
    A cell, whole.

    :ivar name: the Metrica's name.
    :ivar scale: the scale.
    :ivar label: the stretch of time.
    :ivar key: which of the stretch's cells.
    :ivar until: until when it is kept, in Unix seconds; ``None`` is for ever.
    :ivar sums: what it is made of.
    """

    name: str
    scale: str
    label: str
    key: str
    until: float | None
    sums: Addition


class Dump(Protocol):
    """
    A store that is open to be read.
    """

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """The Metricas' definitions, by name; ``None`` is for all of them."""

    def records(self, kind: str) -> dict[str, str]:
        """The texts of the records of a kind, by id."""

    def cells(self) -> Iterator[StoredCell]:
        """All cells that have not expired, sorted by name, scale and label."""


@contextmanager
def open_dump(url: str, seconds: Callable[[], float] = time.time) -> Iterator[Dump]:
    """
    Open a store to read all of it. Others may use it meanwhile: SQLite shows one moment
    of it, Redis each stretch of time as it is when it is read.

    :param url: the store, as for :func:`txstathat.stores.open_store`; one in memory has
        nothing to read.
    :param seconds: tells the time, in Unix seconds.
    :raises ValueError: if the URL is none of a store's that lasts.
    :raises StoreError: if it is no store of ours.
    :raises StoreTooNew: if a newer version of this package wrote it.
    :raises StoreUnavailable: if it cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme.removesuffix("+cluster") in ("redis", "rediss", "unix"):
        from txstathat.stores.redis.dump import RedisDump

        with closing(RedisDump(url, seconds)) as dump:
            dump.open()
            yield dump
        return
    path = sqlite_path(url)
    if path is None:
        raise ValueError("this needs a store that lasts: sqlite:///a/path or redis://…")
    try:
        with closing(
            sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)
        ) as connection:
            try:
                whole = SqliteDump(connection, seconds())
            except StoreError as error:
                raise type(error)(f"{path}: {error}") from None
            yield whole
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot read {path}: {error}") from error


class SqliteDump:
    """
    A SQLite store, at the moment at which this is made.

    :param connection: a connection to it.
    :param now: the time, in Unix seconds.
    :raises StoreError: if it is no store of ours.
    """

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._db = connection
        self._now = now
        connection.isolation_level = None
        # It sees one moment from its first question on.
        connection.execute("BEGIN")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise StoreError("this SQLite file is no store of ours")
        if version > len(MIGRATIONS):
            raise StoreTooNew(
                f"the store has version {version} and this is for up to "
                f"{len(MIGRATIONS)}: use the newer txStatHat that wrote it"
            )

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """See :meth:`Dump.definitions`."""
        found = dict(self._db.execute("SELECT name, definition FROM metrica"))
        return {
            name: found[name]
            for name in (sorted(found) if names is None else names)
            if name in found
        }

    def records(self, kind: str) -> dict[str, str]:
        """See :meth:`Dump.records`."""
        return dict(
            self._db.execute("SELECT id, text FROM record WHERE kind = ?", (kind,))
        )

    def cells(self) -> Iterator[StoredCell]:
        """See :meth:`Dump.cells`."""
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
        for name, scale, label, key, until, *sums in rows:
            yield StoredCell(name, scale, label, key, until, Addition(*sums))
