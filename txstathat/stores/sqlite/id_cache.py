"""
A cache of the ids in a SQLite store's tables, for the writing connection: so a write to
a cell is one upsert, without a look-up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import ceil
from typing import Any

from txstathat.stores.interface import TimeBucket, WriteOutcome, WriteResult

__all__ = ["MAX_KNOWN", "BatchRefused", "Tables", "expiry", "in_bulk"]

#: How many ids of time buckets, and choices, to remember, by default. Beyond that, all
#: are forgotten.
MAX_KNOWN = 200_000

# A statement has many rows, since Python releases and takes its global lock for each
# statement, which takes long while the reactor is busy.
_ROWS = (512, 64, 8, 4, 2, 1)

_METRICAS = """
    WITH wanted (name) AS (VALUES {rows})
    SELECT metrica.name, id, definition
    FROM wanted CROSS JOIN metrica ON metrica.name = wanted.name"""


class BatchRefused(Exception):
    """
    A batch cannot be added.

    :ivar result: the reason, as the result of the write.
    """

    def __init__(self, outcome: WriteOutcome, name: str) -> None:
        super().__init__(outcome, name)
        self.result = WriteResult(outcome, name)


class Tables:
    """
    Finds or creates the rows of Metricas and time buckets, and remembers their ids.

    :param db: the connection that writes. The caller begins and ends the transactions.
    :param max_known: how many time buckets to remember; at least 1.
    """

    def __init__(self, db: sqlite3.Connection, max_known: int = MAX_KNOWN) -> None:
        self._db = db
        self._max_known = max_known
        # SQLite's counter of the changes by other connections.
        self._data_version: int | None = None
        # Id and definition, by name.
        self._metricas: dict[str, tuple[int, str]] = {}
        # Ids of time buckets, and when they expire, by scale and label.
        self._buckets: dict[tuple[str, str], tuple[int, float | None]] = {}
        # By id of the Metrica and group.
        self._choices: dict[tuple[int, str], set[str]] = {}
        self._known_choices = 0

    def invalidate_if_changed(self) -> None:
        """
        Forget all ids if another connection has changed the tables, or if there are too
        many of them. Call this at the beginning of a transaction.
        """
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        known = len(self._buckets) + self._known_choices
        if version != self._data_version or known > self._max_known:
            self.forget()
            self._data_version = version

    def forget(self) -> None:
        """
        Forget all ids. Call this after rolling back a transaction.
        """
        self._metricas.clear()
        self._buckets.clear()
        self._choices.clear()
        self._known_choices = 0

    def forget_buckets(self) -> None:
        """
        Forget the ids of time buckets. Call this after deleting expired cells.
        """
        self._buckets.clear()

    def check_definitions(self, definitions: Mapping[str, str]) -> None:
        """
        Check that no Metrica has another definition in the store.

        :param definitions: their definitions by name.
        :raises BatchRefused: if one of them has another definition.
        """
        known = self._metricas
        unknown = [(name,) for name in definitions if name not in known]
        for name, id, definition in self._select(_METRICAS, unknown):
            known[name] = id, definition
        for name, definition in definitions.items():
            if name in known and known[name][1] != definition:
                raise BatchRefused(WriteOutcome.MISMATCH, name)

    def metrica_ids(self, definitions: Mapping[str, str]) -> dict[str, int]:
        """
        Create Metricas that do not exist yet. Call :meth:`check_definitions` before.

        :param definitions: their definitions by name.
        :returns: their ids by name.
        """
        known = self._metricas
        ids: dict[str, int] = {}
        for name, definition in definitions.items():
            if name not in known:
                cursor = self._db.execute(
                    "INSERT INTO metrica (name, definition) VALUES (?, ?)",
                    (name, definition),
                )
                known[name] = _new_id(cursor), definition
            ids[name] = known[name][0]
        return ids

    def save_choices(
        self, choices: Mapping[tuple[str, str], Sequence[str]], ids: Mapping[str, int]
    ) -> None:
        """
        Save new choices.

        :param choices: the choices, by name of the Metrica and group.
        :param ids: the ids of the Metricas by name.
        """
        rows = []
        for (name, group), texts in choices.items():
            known = self._choices.setdefault((ids[name], group), set())
            new = [text for text in texts if text not in known]
            self._known_choices += len(new)
            known.update(new)
            rows += [(ids[name], group, text) for text in new]
        self._db.executemany(
            "INSERT OR IGNORE INTO choice (metrica, grouped, choice) VALUES (?, ?, ?)",
            rows,
        )

    def bucket_id(self, bucket: TimeBucket, end: float) -> tuple[int, float | None]:
        """
        Find or create a time bucket, and note that cells in it expire.

        :param bucket: the bucket.
        :param end: when the last addition to the cells was written, in Unix seconds.
            They expire some time later.
        :returns: its id, and when the cells expire.
        """
        scale, label, ttl = bucket
        expires = expiry(end, ttl)
        known = self._buckets.get((scale, label))
        if known is None or known[1] != expires:
            known = self._find_or_create(scale, label), expires
            self._buckets[scale, label] = known
            if expires is not None:
                # A sweep of these cells that has begun begins anew.
                self._db.execute(
                    "INSERT OR REPLACE INTO expiry (bucket, expires, metrica, key) "
                    "VALUES (?, ?, 0, '')",
                    known,
                )
        return known

    def _find_or_create(self, scale: str, label: str) -> int:
        found = self._db.execute(
            "SELECT id FROM bucket WHERE scale = ? AND label = ?", (scale, label)
        ).fetchone()
        if found is not None:
            return int(found[0])
        return _new_id(
            self._db.execute(
                "INSERT INTO bucket (scale, label) VALUES (?, ?)", (scale, label)
            )
        )

    def _select(
        self, statement: str, rows: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[Any, ...]]:
        for sql, values in in_bulk(statement, rows):
            yield from self._db.execute(sql, values).fetchall()


def in_bulk(
    statement: str, rows: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[str, list[Any]]]:
    """
    Split a statement for many rows into statements of a few fixed sizes, so that SQLite
    prepares each size only once.

    :param statement: SQL with ``{rows}`` where the placeholders go.
    :param rows: the values of each row; all rows have the same length.
    :returns: pairs of SQL and its values.
    """
    at = 0
    for size in _ROWS:
        while len(rows) - at >= size:
            chunk = rows[at : at + size]
            placeholders = f"({','.join('?' * len(chunk[0]))})"
            yield (
                statement.replace("{rows}", ",".join([placeholders] * size)),
                [*chain.from_iterable(chunk)],
            )
            at += size


def expiry(now: float, ttl: float | None) -> float | None:
    """
    Return when a time bucket expires.

    :param now: when it was written, in Unix seconds.
    :param ttl: after how many seconds it expires; ``None`` for never.
    """
    if ttl is None:
        return None
    # Without this, each write to a bucket would also update when it expires.
    step = ttl / 1000
    if step > 1:
        step = int(step)  # SQLite stores whole numbers in half of the room
    return ceil((now + ttl) / step) * step


def _new_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None  # a row was inserted
    return cursor.lastrowid
