"""
Folds the journal of a SQLite store slice by slice, in whatever thread calls.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from txstathat.stores.journal.due import FoldDue
from txstathat.stores.sqlite.fold import Fold
from txstathat.stores.sqlite.id_cache import Tables
from txstathat.stores.sqlite.journal import read_journal, usage

__all__ = ["SLICE_SECONDS", "FoldRunner"]

#: For how many seconds a slice of a fold takes about: commits wait for it.
SLICE_SECONDS = 0.015

_Session = Callable[[], AbstractContextManager[sqlite3.Connection]]


class FoldRunner:
    """
    Runs folds of a journal. One thread may fold while another one adds: they take turns
    with slices.

    :param reading: returns a context manager for a transaction that reads.
    :param writing: returns a context manager for a transaction that writes. It may be
        lost as a whole if the machine crashes before the next commit.
    :param tables: finds or creates the time buckets.
    :param due: notes what happens to the journal.
    :param fold_at: how many additions a fold has if there are more than twice as many.
    :param chunk: how many cells a fold adds between two looks at the clock.
    :param monotonic: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        reading: _Session,
        writing: _Session,
        tables: Tables,
        due: FoldDue,
        *,
        fold_at: int,
        chunk: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._tables = tables
        self._due = due
        self._fold_at = fold_at
        self._chunk = chunk
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._fold: Fold | None = None
        # Whether a thread does the part of a fold that takes long, and no lock.
        self._preparing = False

    def run_slice(self) -> bool:
        """
        Fold a slice.

        :returns: whether more is left of what was in the journal.
        :raises StoreUnavailable: if the database cannot be written.
        """
        with self._lock:
            return self._fold_slice()

    def run_most(self, seconds: float | None = None) -> None:
        """
        Fold what is in the journal now.

        :param seconds: for how many seconds at most.
        """
        end = None if seconds is None else self._monotonic() + seconds
        with self._lock:
            while self._fold_slice():
                if end is not None and self._monotonic() > end:
                    break

    def make_room(self, additions: int) -> None:
        """
        Fold what is beyond the limit of the journal, but not much more than is to be
        added. So writers slow down to the speed of folding, and no one waits for long.

        :param additions: how many additions are to be added.
        """
        goal = self._due.goal(additions)
        if self._due.unfolded <= goal:
            return
        # Do not wait for a thread that prepares a fold, unless the journal grows much
        # meanwhile: with many axes that takes seconds.
        if self._preparing and not self._due.is_far_behind:
            return
        with self._lock:
            while self._due.unfolded > goal:
                self._fold_slice()
                if self._fold is None:
                    break  # preparing the next fold takes long

    def _fold_slice(self) -> bool:
        fold, self._fold = self._fold, None
        self._preparing = True
        try:
            if fold is None:
                fold = self._begin()
            if fold is not None:
                fold.prepare()
        finally:
            self._preparing = False
        return fold is not None and self._step(fold)

    def _begin(self) -> Fold | None:
        with self._reading() as db:
            most = usage(db).additions
            if most > 2 * self._fold_at:  # a small rest is not worth a fold of its own
                most = self._fold_at
            journal = read_journal(db, most)
        if journal.first is None:
            self._due.note_folded(0)
            return None
        return Fold(journal, self._chunk)

    def _step(self, fold: Fold) -> bool:
        # A slice that is lost before the next commit is not in the cells, and its rows
        # are still in the journal.
        with self._writing() as db:
            end = self._monotonic() + SLICE_SECONDS
            more = fold.step(db, self._tables, lambda: self._monotonic() < end)
            left = usage(db).additions
        if more:
            self._fold = fold
            self._due.note_slice(left, fold.folded)
            return True
        # If another process goes on with this fold, look again later.
        self._due.note_folded(min(left, 1) if more is None else left)
        return more is not None and not fold.is_last
