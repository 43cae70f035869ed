"""
Begins the folds of a SQLite store's journal, and adds their slices.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager

from txstathat.stores.journal.fold_runner import SLICE_SECONDS
from txstathat.stores.sqlite.fold import Fold
from txstathat.stores.sqlite.id_cache import Tables
from txstathat.stores.sqlite.journal import read_journal, usage

__all__ = ["SqliteFolding"]

_Session = Callable[[], AbstractContextManager[sqlite3.Connection]]


class SqliteFolding:
    """
    The folds of one file (:class:`~txstathat.stores.journal.fold_runner.Folding`).

    :param reading: returns a context manager for a transaction that reads.
    :param writing: returns a context manager for a transaction that writes. It may be
        lost as a whole if the machine crashes before the next commit.
    :param tables: finds or creates the time buckets.
    :param fold_at: how many additions a fold has if there are more than twice as many.
    :param chunk: how many cells a fold adds between two looks at the clock.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        reading: _Session,
        writing: _Session,
        tables: Tables,
        *,
        fold_at: int,
        chunk: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._tables = tables
        self._fold_at = fold_at
        self._chunk = chunk
        self._monotonic = monotonic

    def begin(self, takes_over: bool) -> tuple[Fold | None, int]:
        """Begin a fold. Processes take turns, whatever ``takes_over`` is."""
        with self._reading() as db:
            most = usage(db).additions
            if most > 2 * self._fold_at:  # a small rest is not worth a fold of its own
                most = self._fold_at
            journal = read_journal(db, most)
        if journal.first is None:
            return None, 0
        return Fold(journal, self._chunk), most

    def step(self, fold: Fold) -> tuple[bool | None, int]:
        """Fold a slice."""
        # A slice that is lost before the next commit is not in the cells, and its rows
        # are still in the journal.
        with self._writing() as db:
            end = self._monotonic() + SLICE_SECONDS
            more = fold.step(db, self._tables, lambda: self._monotonic() < end)
            return more, usage(db).additions
