"""
The tables of a SQLite store, and how older ones become today's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from txstathat.errors import StoreError, StoreTooNew

__all__ = ["APPLICATION", "MIGRATIONS", "migrate", "transaction"]

#: The application id in the file, by which it is known: "txSH".
APPLICATION = 0x74785348

#: What takes the schema from each version to the next one.
#:
#: A sum of whole numbers that goes beyond 64 bits would silently become a float; the
#: checks turn that into an error. What has expired, or was dropped, is at first only
#: made unreachable: its cells go when a sweep comes by. Ids of stretches are never used
#: twice, so none of them comes back.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE metrica (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            definition TEXT NOT NULL)""",
        """CREATE TABLE stretch (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            metrica INTEGER NOT NULL,
            scale TEXT NOT NULL,
            label TEXT NOT NULL,
            expires REAL,
            UNIQUE (metrica, scale, label))""",
        "CREATE INDEX stretch_expires ON stretch (expires) WHERE expires IS NOT NULL",
        "CREATE TABLE dead (stretch INTEGER PRIMARY KEY)",
        """CREATE TABLE cell (
            stretch INTEGER NOT NULL,
            key TEXT NOT NULL,
            whole INTEGER NOT NULL CHECK (typeof(whole) = 'integer'),
            events INTEGER NOT NULL CHECK (typeof(events) = 'integer'),
            least NOT NULL,
            most NOT NULL,
            real REAL CHECK (abs(real) <= 1.7976931348623157e308),
            rest REAL,
            PRIMARY KEY (stretch, key)) WITHOUT ROWID""",
        """CREATE TABLE choice (
            metrica INTEGER NOT NULL,
            grouped TEXT NOT NULL,
            choice TEXT NOT NULL,
            PRIMARY KEY (metrica, grouped, choice)) WITHOUT ROWID""",
        """CREATE TABLE batch (
            id TEXT PRIMARY KEY,
            digest TEXT NOT NULL,
            expires REAL NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX batch_expires ON batch (expires)",
        """CREATE TABLE record (
            kind TEXT NOT NULL,
            id TEXT NOT NULL,
            text TEXT NOT NULL,
            PRIMARY KEY (kind, id)) WITHOUT ROWID""",
    ),
)


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """
    Bring a database's schema to the latest version, or create it.

    :param migrations: for each version, the statements that lead to the next one.
    :raises StoreTooNew: if it has a later version than these lead to.
    :raises StoreError: if the database is something else.
    """
    with transaction(db, "IMMEDIATE"):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION and (tables or version or application):
            raise StoreError("this SQLite file was made by something else")
        if version > len(migrations):
            raise StoreTooNew(
                f"the store has version {version} and this is for up to "
                f"{len(migrations)}: use the newer txStatHat that wrote it"
            )
        for statements in migrations[version:]:
            for statement in statements:
                db.execute(statement)
        if version < len(migrations):
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {len(migrations)}")


@contextmanager
def transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    """
    What is done within is done whole, or not at all when it raises.

    :param kind: ``DEFERRED`` to read; ``IMMEDIATE`` to write, since a transaction that
        begins to write only later fails at once when another one writes.
    """
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
