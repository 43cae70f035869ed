"""
Adds batches to a SQLite store: to its journal, or at once to its cells.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence, Set

from txstathat.errors import StoreUnavailable
from txstathat.stores.interface import WriteOutcome, WriteResult
from txstathat.stores.journal.pending import Pending
from txstathat.stores.journal.prepared import MAX_LOAD, Prepared, Usage
from txstathat.stores.journal.rows import Section, encode
from txstathat.stores.journal.stored_rows import decode
from txstathat.stores.sqlite.fold import add_all, fold_all, measure_loads
from txstathat.stores.sqlite.id_cache import BatchRefused, Tables
from txstathat.stores.sqlite.journal import append, usage

__all__ = ["Adder"]


class Adder:
    """
    Adds batches, within transactions of the caller.

    :param db: the connection that writes.
    :param tables: finds or creates the rows of Metricas.
    :param max_journal: with how many additions in the journal a commit is refused; 0 to
        add all batches to the cells at once.

    :ivar usage: the size of the journal at the last commit, with what that added.
    """

    def __init__(
        self, db: sqlite3.Connection, tables: Tables, max_journal: int
    ) -> None:
        self._db = db
        self._tables = tables
        self._max_journal = max_journal
        self._now = 0.0
        self.usage = Usage(0.0, 0)
        self._row: list[tuple[Section, dict[str, int]]] = []
        self._row_usage = Usage(0.0, 0)
        # The Metricas with sums near the largest one.
        self._heavy: set[str] = set()

    def add(self, prepared: Sequence[Prepared], now: float) -> list[WriteResult]:
        """
        Add batches, each whole or not at all.

        :param prepared: the batches.
        :param now: the time, in Unix seconds.
        :returns: the results.
        :raises StoreUnavailable: if the journal is full.
        """
        self._now = now
        self._row, self._row_usage = [], Usage(0.0, 0)
        self._look_at_store()
        if self.usage.additions > self._max_journal > 0:
            raise StoreUnavailable(
                "the journal of the SQLite store is full: writes are faster than folds"
            )
        results = [self._add_once(one) for one in prepared]
        self._write_row()
        return results

    def _look_at_store(self) -> None:
        self.usage = usage(self._db)
        heavy = self._db.execute("SELECT name FROM metrica WHERE load > 0.5")
        self._heavy = {name for (name,) in heavy}

    def _fold(self) -> None:
        self._write_row()
        fold_all(self._db, self._tables)
        self._look_at_store()

    def _add_once(self, one: Prepared) -> WriteResult:
        batch = one.batch
        row = self._db.execute(
            "SELECT digest FROM batch WHERE id = ? AND expires > ?",
            (batch.id, self._now),
        ).fetchone()
        if row is not None:
            same = row[0] == batch.digest
            return WriteResult(WriteOutcome.REPEATED if same else WriteOutcome.CONFLICT)
        if one.refusal is not None:
            return one.refusal
        try:
            self._tables.check_definitions(one.amounts.definitions)
            if not self._append(one):
                self._add_to_cells(one)
        except BatchRefused as refused:
            return refused.result
        self._db.execute(
            "INSERT OR REPLACE INTO batch (id, digest, expires) VALUES (?, ?, ?)",
            (batch.id, batch.digest, self._now + batch.id_ttl),
        )
        return WriteResult(WriteOutcome.ADDED)

    def _append(self, one: Prepared) -> bool:
        """
        Add a batch to the row, if none of its sums can become too large.
        """
        if (
            not self._max_journal
            or not one.usage.load <= MAX_LOAD
            or not self._heavy.isdisjoint(one.amounts.definitions)
        ):
            return False
        if self.usage.load + one.usage.load > MAX_LOAD:
            self._fold()
        ids = self._save_names(one)
        self._row += [(section, ids) for section in one.sections]
        self._row_usage = _sum(self._row_usage, one.usage)
        self.usage = _sum(self.usage, one.usage)
        return True

    def _save_names(self, one: Prepared) -> dict[str, int]:
        ids = self._tables.metrica_ids(one.amounts.definitions)
        self._tables.save_choices(one.amounts.choices, ids)
        return ids

    def _write_row(self) -> None:
        if self._row:
            append(self._db, self._now, self._row_usage, encode(self._row))
        self._row, self._row_usage = [], Usage(0.0, 0)

    def _add_to_cells(self, one: Prepared) -> None:
        """
        Add a batch to the cells, after what was added before.

        :raises BatchRefused: if a sum would be too large.
        """
        self._fold()
        self._db.execute("SAVEPOINT one")
        try:
            ids = self._save_names(one)
            row = encode([(section, ids) for section in one.sections])
            self._db.execute("SAVEPOINT cells")
            try:
                self._add_all(row, None)
            except (sqlite3.IntegrityError, OverflowError):
                raise BatchRefused(
                    WriteOutcome.OVERFLOW, self._too_large(row, ids)
                ) from None
        except BaseException:
            self._db.execute("ROLLBACK TO one")
            self._tables.forget()
            raise
        finally:
            self._db.execute("RELEASE one")
        measure_loads(self._db, [*ids.values()])
        self._look_at_store()

    def _add_all(self, row: bytes, owners: Set[int] | None) -> None:
        pending = Pending(owners=owners)
        pending.add(0, self._now, decode(row))
        add_all(self._db, self._tables, pending)

    def _too_large(self, row: bytes, ids: Mapping[str, int]) -> str:
        # Add them one by one, to find the one that is too large.
        self._db.execute("ROLLBACK TO cells")
        self._tables.forget()
        for name, id in ids.items():
            try:
                self._add_all(row, {id})
            except (sqlite3.IntegrityError, OverflowError):
                return name
        raise AssertionError("the parts of a batch fit, and the batch does not")


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(one.load + other.load, one.additions + other.additions)
