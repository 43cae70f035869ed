"""
The tables of a SQLite store, and the migration of older ones.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from urllib.parse import quote

from twisted.logger import Logger

from txstathat.errors import StoreError, StoreTooNew
from txstathat.stores.sqlite.listing import ADD_IDS, CREATE_LISTING

__all__ = [
    "APPLICATION",
    "MEASURE_LOAD",
    "MIGRATIONS",
    "check_is_store",
    "check_version",
    "migrate",
    "open_file",
    "open_read_only",
    "reading",
    "read_records",
    "record_text",
    "table_names",
    "transaction",
]

#: The application id in the header of the file: "txSH".
APPLICATION = 0x74785348

_log = Logger()

# The largest sum in cells, as a share of the largest sum possible.
_LARGEST_SUM = """
    SELECT coalesce(max(max(
        abs(whole / 9223372036854775807.0),
        abs(coalesce(real, 0.0) / 1.7976931348623157e308))), 0.0)"""

#: Measures the load of a Metrica (``WHERE id = ?``): the largest sum in its cells, as a
#: share of the largest sum possible.
MEASURE_LOAD = f"""
    UPDATE metrica SET load = ({_LARGEST_SUM}
        FROM bucket CROSS JOIN cell
        ON cell.bucket = bucket.id AND cell.metrica = metrica.id)
    WHERE id = ?"""

_CREATE_RECORDS = """
    CREATE TABLE record (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (kind, id)) WITHOUT ROWID"""

# From a row for each time bucket of each Metrica ("stretch") to one row for each time
# bucket. What was dropped and not yet deleted ("dead") is not copied.
_SHARE_BUCKETS = (
    """CREATE TABLE bucket (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scale TEXT NOT NULL,
        label TEXT NOT NULL,
        UNIQUE (scale, label))""",
    """CREATE TABLE expiry (
        bucket INTEGER NOT NULL,
        expires REAL NOT NULL,
        metrica INTEGER NOT NULL,
        key TEXT NOT NULL,
        PRIMARY KEY (bucket, expires)) WITHOUT ROWID""",
    "CREATE INDEX expiry_expires ON expiry (expires)",
    "ALTER TABLE cell RENAME TO old_cell",
    """CREATE TABLE cell (
        bucket INTEGER NOT NULL,
        metrica INTEGER NOT NULL,
        key TEXT NOT NULL,
        expires REAL,
        whole INTEGER NOT NULL CHECK (typeof(whole) = 'integer'),
        events INTEGER NOT NULL CHECK (typeof(events) = 'integer'),
        least NOT NULL,
        most NOT NULL,
        real REAL CHECK (abs(real) <= 1.7976931348623157e308),
        rest REAL,
        PRIMARY KEY (bucket, metrica, key)) WITHOUT ROWID""",
    """INSERT INTO bucket (scale, label)
        SELECT scale, label FROM stretch GROUP BY scale, label ORDER BY min(id)""",
    """INSERT INTO expiry
        SELECT DISTINCT bucket.id, expires, 0, '' FROM stretch
        JOIN bucket ON bucket.scale = stretch.scale AND bucket.label = stretch.label
        WHERE expires IS NOT NULL""",
    """INSERT INTO cell
        SELECT bucket.id, stretch.metrica, key, expires,
            whole, events, least, most, real, rest
        FROM stretch
        CROSS JOIN bucket
            ON bucket.scale = stretch.scale AND bucket.label = stretch.label
        CROSS JOIN old_cell ON old_cell.stretch = stretch.id
        ORDER BY 1, 2, 3""",
    "DROP TABLE old_cell",
    "DROP TABLE stretch",
    "DROP TABLE dead",
    """CREATE TABLE dead (
        bucket INTEGER NOT NULL,
        metrica INTEGER NOT NULL,
        PRIMARY KEY (bucket, metrica)) WITHOUT ROWID""",
)

#: The statements that migrate the schema from each version to the next one.
#:
#: The table ``bucket`` contains the time buckets, which all Metricas share. The cells
#: of a bucket follow each other, sorted by Metrica and key, as a fold writes them. A
#: sum of whole numbers beyond 64 bits would silently become a float; the checks turn
#: this into an error.
#:
#: The tables ``expiry`` and ``dead`` say which cells are to be deleted: they are
#: explained in :mod:`txstathat.stores.sqlite.expiry`. Ids of Metricas are never used
#: twice, so that the cells of one that was dropped are unreachable.
#:
#: The tables ``journal`` and ``folding`` are explained in
#: :mod:`txstathat.stores.sqlite.journal`. The ``load`` of a Metrica is an upper
#: bound of the sums in its cells, as a share of the largest sum.
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
        _CREATE_RECORDS,
    ),
    CREATE_LISTING,
    (
        """CREATE TABLE journal (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at REAL NOT NULL,
            load REAL NOT NULL,
            size INTEGER NOT NULL,
            damaged INTEGER NOT NULL,
            additions BLOB NOT NULL)""",
        """CREATE TABLE folding (
            upto INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            metrica INTEGER NOT NULL,
            key TEXT NOT NULL)""",
        "ALTER TABLE metrica ADD COLUMN load REAL NOT NULL DEFAULT 0",
        f"""UPDATE metrica SET load = ({_LARGEST_SUM}
            FROM stretch CROSS JOIN cell ON cell.stretch = stretch.id
            WHERE stretch.metrica = metrica.id)""",
        "CREATE INDEX metrica_load ON metrica (id) WHERE load > 0.5",
    ),
    ADD_IDS,
    _SHARE_BUCKETS,
)


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """
    Migrate the schema of a database to the latest version, or create it.

    :param migrations: for each version, the statements that lead to the next one.
    :raises StoreTooNew: if the database has a later version.
    :raises StoreError: if the database is not a store of this package.
    """
    with transaction(db, "IMMEDIATE"):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        check_is_store(db)
        _check_not_newer(version, len(migrations))
        if 0 < version < len(migrations):
            _log.info(
                "migrating the SQLite store from version {version} to {latest}: this "
                "takes a few minutes for each GB, and begins anew if it is interrupted",
                version=version,
                latest=len(migrations),
            )
        for statements in migrations[_complete(db, version) :]:
            for statement in statements:
                db.execute(statement)
        if version < len(migrations):
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {len(migrations)}")


def _complete(db: sqlite3.Connection, version: int) -> int:
    """
    Create tables that files of the first days of this package lack.

    :returns: the version that the schema then has.
    """
    tables = table_names(db)
    if version and "record" not in tables:
        db.execute(_CREATE_RECORDS)
    if version == 2 and "listing" not in tables:
        # The journal had this version, before the listing got it.
        for statement in CREATE_LISTING:
            db.execute(statement)
        return 3
    return version


def table_names(db: sqlite3.Connection) -> set[str]:
    """
    Return the names of the tables of a database.
    """
    found = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in found}


def check_is_store(db: sqlite3.Connection) -> None:
    """
    Check that a database is a store, of any version, or empty.

    :raises StoreError: if it is the database of another program.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (tables or version or application):
        raise StoreError("another program created this SQLite file")


def check_version(db: sqlite3.Connection) -> int:
    """
    Check that this version can read a database.

    :returns: the version of its schema.

    :raises StoreTooNew: if a newer version of this package wrote it.
    :raises StoreError: if the database is not a store of this package.
    """
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise StoreError("this SQLite file is not a store of txStatHat")
    _check_not_newer(version, len(MIGRATIONS))
    return int(version)


def _check_not_newer(version: int, latest: int) -> None:
    if version > latest:
        raise StoreTooNew(
            f"the store has version {version}, and this txStatHat reads versions up to "
            f"{latest}; use the newer txStatHat that wrote it"
        )


def open_read_only(path: str) -> sqlite3.Connection:
    """
    Connect to a SQLite file that exists, for reading only.

    :param path: the file.
    :raises sqlite3.Error: if it cannot be opened.
    """
    return open_file(path, "ro")


@contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """
    Connect to a SQLite file that exists, for reading only, and leave no files beside it
    that were not there before.

    :param path: the file.
    :returns: a context manager that gives the connection.
    :raises sqlite3.Error: if it cannot be opened.
    """
    in_use = os.path.exists(f"{path}-wal")
    try:
        with closing(open_read_only(path)) as connection:
            yield connection
    finally:
        if not in_use:
            # A connection that only reads creates -wal and -shm files, and cannot
            # delete them. The last one that may write does that when it is closed.
            with suppress(sqlite3.Error), closing(open_file(path, "rw", 0.0)) as last:
                last.execute("PRAGMA wal_checkpoint(PASSIVE)")


def open_file(path: str, mode: str, timeout: float = 5.0) -> sqlite3.Connection:
    """
    Connect to a SQLite file that exists.

    :param path: the file.
    :param mode: ``ro`` to read it only, ``rw`` to write to it too.
    :param timeout: for how many seconds to wait while another connection writes.
    :raises sqlite3.Error: if it cannot be opened.
    """
    url = f"file://{quote(os.path.abspath(path))}?mode={mode}"
    return sqlite3.connect(url, uri=True, timeout=timeout)


@contextmanager
def transaction(db: sqlite3.Connection, kind: str) -> Iterator[None]:
    """
    Run the body in a transaction: commit it, or roll it back if the body raises.

    :param kind: ``DEFERRED`` to read, ``IMMEDIATE`` to write. (A deferred transaction
        that begins to write later fails at once if another connection is writing.)
    """
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def read_records(db: sqlite3.Connection, kind: str) -> dict[str, str]:
    """
    Read all records of a kind.

    :param db: the database.
    :param kind: the kind.
    :returns: their texts by their ids, sorted by these. Bytes that are not UTF-8 become
        lone surrogates, so a damaged record does not keep the others from being read.
    """
    rows = db.execute(
        "SELECT CAST(id AS BLOB), CAST(text AS BLOB) FROM record WHERE kind = ? "
        "ORDER BY id",
        (kind,),
    )
    return {record_text(id): record_text(text) for id, text in rows}


def record_text(stored: bytes) -> str:
    """
    Return the text of a record from its bytes. See :func:`read_records`.
    """
    return stored.decode("utf-8", "surrogateescape")
