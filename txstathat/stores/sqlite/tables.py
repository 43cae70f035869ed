"""
What a SQLite store's writing connection remembers of its tables, so that a cell costs
one upsert and no look-up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import ceil
from typing import Any

from txstathat.stores.interface import Answer, Outcome, TimeBucket

__all__ = ["MAX_KNOWN", "Refused", "Tables", "in_bulk"]

#: How many stretches are remembered, so that they need not be looked up; with one more
#: all are forgotten.
MAX_KNOWN = 50_000

# Many rows in one statement: Python's global lock is given up and taken again for each
# statement, which takes long while the reactor is busy.
_ROWS = (512, 64, 8, 4, 2, 1)

_METRICAS = """
    WITH wanted (name) AS (VALUES {rows})
    SELECT metrica.name, id, definition
    FROM wanted CROSS JOIN metrica ON metrica.name = wanted.name"""

_STRETCHES = """
    WITH wanted (metrica, scale, label) AS (VALUES {rows})
    SELECT stretch.metrica, id, expires
    FROM wanted CROSS JOIN stretch ON stretch.metrica = wanted.metrica
        AND stretch.scale = wanted.scale AND stretch.label = wanted.label"""


class Refused(Exception):
    """
    A batch cannot be added.

    :ivar answer: why.
    """

    def __init__(self, outcome: Outcome, name: str) -> None:
        super().__init__(outcome, name)
        self.answer = Answer(outcome, name)


class Tables:
    """
    The rows of Metricas and stretches: found, or made where there are none.

    :param db: the connection that writes; all is done within its transactions.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        # As of when another connection last changed the tables.
        self._version: int | None = None
        self._metricas: dict[str, tuple[int, str]] = {}
        # By scale and label: when the stretches expire, and their ids by Metrica.
        self._stretches: dict[tuple[str, str], tuple[float | None, dict[int, int]]] = {}

    def invalidate_if_changed(self) -> None:
        """
        At the beginning of a transaction: forget what is known, if another connection
        has changed the tables since.
        """
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        known = sum(len(ids) for _, ids in self._stretches.values())
        if version != self._version or known > MAX_KNOWN:
            self.forget()
            self._version = version

    def forget(self) -> None:
        """
        Forget all, as after a transaction that was rolled back.
        """
        self._metricas.clear()
        self._stretches.clear()

    def metrica_ids(self, definitions: Mapping[str, str]) -> dict[str, int]:
        """
        The ids of Metricas, by name.

        :raises Refused: if one is defined in another way.
        """
        known = self._metricas
        unknown = [(name,) for name in definitions if name not in known]
        for name, id, definition in self._select(_METRICAS, unknown):
            known[name] = id, definition
        ids: dict[str, int] = {}
        for name, definition in definitions.items():
            if name not in known:
                cursor = self._db.execute(
                    "INSERT INTO metrica (name, definition) VALUES (?, ?)",
                    (name, definition),
                )
                known[name] = _new_id(cursor), definition
            ids[name], stored = known[name]
            if stored != definition:
                raise Refused(Outcome.MISMATCH, name)
        return ids

    def stretch_ids(
        self, stretch: TimeBucket, metricas: Sequence[int], now: float
    ) -> Mapping[int, int]:
        """
        The ids of a stretch, by Metrica; from now on they are kept for its time.
        """
        scale, label, keep = stretch
        until = None if keep is None else _rounded_up(now + keep, keep)
        known = self._stretches.get((scale, label))
        if known is None or known[0] != until:
            known = self._stretches[scale, label] = until, {}
        ids = known[1]
        missing = [metrica for metrica in metricas if metrica not in ids]
        if missing:
            ids.update(self._found_or_made(scale, label, until, missing, now))
        return ids

    def _found_or_made(
        self,
        scale: str,
        label: str,
        until: float | None,
        metricas: Sequence[int],
        now: float,
    ) -> dict[int, int]:
        db = self._db
        wanted = [(metrica, scale, label) for metrica in metricas]
        found: dict[int, int] = {}
        dead: list[tuple[int]] = []
        prolonged: list[tuple[int]] = []
        for metrica, id, expires in self._select(_STRETCHES, wanted):
            if expires is not None and expires <= now:
                dead.append((id,))
                continue
            found[metrica] = id
            if expires != until:
                prolonged.append((id,))
        if dead:
            db.executemany("INSERT OR IGNORE INTO dead (stretch) VALUES (?)", dead)
            db.executemany("DELETE FROM stretch WHERE id = ?", dead)
        for sql, values in in_bulk(
            "UPDATE stretch SET expires = ? WHERE id IN (VALUES {rows})", prolonged
        ):
            db.execute(sql, [until, *values])
        missing = [row for row in wanted if row[0] not in found]
        for sql, values in in_bulk(
            "INSERT INTO stretch (metrica, scale, label, expires) VALUES {rows}",
            [(*row, until) for row in missing],
        ):
            db.execute(sql, values)
        for metrica, id, _ in self._select(_STRETCHES, missing):
            found[metrica] = id
        return found

    def _select(
        self, statement: str, rows: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[Any, ...]]:
        for sql, values in in_bulk(statement, rows):
            yield from self._db.execute(sql, values).fetchall()


def in_bulk(
    statement: str, rows: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[str, list[Any]]]:
    """
    A statement for many rows at once: texts, of few lengths so that they are prepared
    only once, and the values for each.
    """
    at = 0
    for size in _ROWS:
        while len(rows) - at >= size:
            some = rows[at : at + size]
            places = f"({','.join('?' * len(some[0]))})"
            yield (
                statement.replace("{rows}", ",".join([places] * size)),
                [*chain.from_iterable(some)],
            )
            at += size


def _rounded_up(until: float, keep: float) -> float:
    # So a stretch that is written to again and again is not each time prolonged.
    step = keep / 1000
    return ceil(until / step) * step


def _new_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None  # a row was inserted
    return cursor.lastrowid
