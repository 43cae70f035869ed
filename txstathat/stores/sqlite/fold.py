"""
Folds the journal of a SQLite store into its cells.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from twisted.logger import Logger

from txstathat.stores.journal.pending import Cells, Change, Pending, Position
from txstathat.stores.sqlite.cells import add_cells
from txstathat.stores.sqlite.id_cache import Tables
from txstathat.stores.sqlite.journal import (
    Journal,
    Progress,
    finish,
    first_row,
    read_journal,
    read_progress,
    save_progress,
)
from txstathat.stores.sqlite.schema import MEASURE_LOAD

__all__ = ["CHUNK", "LOAD_NOTED", "Fold", "add_all", "fold_all", "measure_loads"]

#: A load of a Metrica in a fold that is not noted, since it is so small: it would take
#: a fold in every second of a hundred years until that matters.
LOAD_NOTED = 2.0**-34

#: How many cells are added between two looks at the clock, by default.
CHUNK = 1024
# How many sums are spread while the lock is held.
_PREPARE_AT_ONCE = 4096

_log = Logger()


class Fold:
    """
    Adds the present rows of the journal to the cells.

    :param journal: the rows.
    :param chunk: how many cells are added between two looks at the clock.

    :ivar is_last: whether no rows were left out.
    """

    def __init__(self, journal: Journal, chunk: int = CHUNK) -> None:
        self.is_last = journal.is_whole
        self._chunk = chunk
        self._first = journal.first
        self._damaged = journal.damaged
        self._progress = journal.progress
        self._upto = max((*(row[0] for row in journal.rows), *journal.damaged, 0))
        self._position = None
        if journal.progress is not None:
            self._upto, self._position = journal.progress
        self._pending = Pending()
        for id, at, sections in journal.rows:
            if id <= self._upto:
                self._pending.add(id, at, sections)
        self._groups = deque(self._pending.groups())
        self._loads = _noted(self._pending)
        self._additions = journal.additions
        # About how many cells it adds to, and how many it has added to.
        self._cells = sum(group.cost * len(group.buckets) for group in self._groups)
        self._done = 0
        self._chunks: Iterator[tuple[Change, Cells]] = iter(())
        self._is_prepared = False

    @property
    def folded(self) -> float:
        """
        About how many additions it has added, as the journal counts them.
        """
        return self._additions * min(1.0, self._done / max(1, self._cells))

    def prepare(self) -> None:
        """
        Spread the sums of the next time buckets over their cells, if necessary. This
        may take long: it needs no connection, and so no lock.
        """
        if self._is_prepared:
            return
        after = self._position
        while self._groups and after is not None:
            if self._groups[0].buckets[-1][0] >= after.bucket:
                break
            self._groups.popleft()
        if self._groups:
            changes = self._pending.changes_of(self._groups.popleft(), after)
            chunks = _chunks(changes, self._chunk)
            # The first one takes the time.
            self._chunks = chain(list(islice(chunks, 1)), chunks)
            self._is_prepared = True

    def step(
        self, db: sqlite3.Connection, tables: Tables, may_go_on: Callable[[], bool]
    ) -> bool | None:
        """
        Add a part, within a transaction of the caller. If that is rolled back, this
        object must not be used any more. Call :meth:`prepare` before.

        :param db: the connection that writes.
        :param tables: finds or creates the time buckets.
        :param may_go_on: returns whether there is time for another thousand cells.
        :returns: whether more is left; ``None`` if another process has gone on with the
            fold, or has finished it, so that nothing was done.
        """
        if self._first != first_row(db) or self._progress != read_progress(db):
            return None
        while True:
            for change, cells in self._chunks:
                _add(db, tables, change, cells)
                self._position = Position(change.number, *cells[-1][0])
                self._done += len(cells)
                if not may_go_on():
                    return self._pause(db)
            self._is_prepared = False
            if not self._groups:
                break
            if self._groups[0].cost > _PREPARE_AT_ONCE:
                return self._pause(db)
            self.prepare()
        _note_loads(db, self._loads)
        finish(db, self._upto, self._damaged)
        return False

    def _pause(self, db: sqlite3.Connection) -> bool:
        self._progress = Progress(self._upto, self._position)
        save_progress(db, self._progress)
        return True


def _chunks(
    changes: Iterator[Change], size: int = CHUNK
) -> Iterator[tuple[Change, Cells]]:
    for change in changes:
        for at in range(0, len(change.cells), size):
            yield change, change.cells[at : at + size]


def _add(db: sqlite3.Connection, tables: Tables, change: Change, cells: Cells) -> None:
    db.execute("SAVEPOINT chunk")
    try:
        add_cells(db, tables, change, cells)
    except (sqlite3.IntegrityError, OverflowError):
        # The load of each row was checked before it was written: so a row is damaged.
        db.execute("ROLLBACK TO chunk")
        tables.forget()
        _add_each(db, tables, change, cells)
    db.execute("RELEASE chunk")


def _add_each(
    db: sqlite3.Connection, tables: Tables, change: Change, cells: Cells
) -> None:
    for cell in cells:
        try:
            add_cells(db, tables, change, [cell])
        except (sqlite3.IntegrityError, OverflowError) as error:
            _log.error(
                "the store's journal is damaged: {sums} cannot be added to the cell "
                "{key} of the Metrica {id} ({error}), and is not counted",
                sums=tuple(cell[1]),
                key=cell[0][1],
                id=cell[0][0],
                error=str(error),
            )


def fold_all(db: sqlite3.Connection, tables: Tables) -> None:
    """
    Add all of the journal to the cells, within a transaction of the caller.

    :param db: the connection that writes.
    :param tables: finds or creates the time buckets.
    """
    while True:
        journal = read_journal(db)
        if journal.first is None:
            return
        fold = Fold(journal)
        fold.prepare()
        while fold.step(db, tables, lambda: True):
            fold.prepare()


def add_all(db: sqlite3.Connection, tables: Tables, pending: Pending) -> None:
    """
    Add rows to the cells at once, within a transaction of the caller.

    :param db: the connection that writes.
    :param tables: finds or creates the time buckets.
    :param pending: the rows.
    :raises OverflowError: if an addition is too large.
    :raises sqlite3.IntegrityError: if a sum would be too large.
    """
    for change, cells in _chunks(pending.changes()):
        add_cells(db, tables, change, cells)
    _note_loads(db, _noted(pending))


def _noted(pending: Pending) -> list[tuple[float, int]]:
    """
    Return the loads of Metricas that are to be noted, with their ids.
    """
    return [(load, id) for id, load in pending.loads() if not load <= LOAD_NOTED]


def _note_loads(db: sqlite3.Connection, loads: Iterable[tuple[float, int]]) -> None:
    db.executemany("UPDATE metrica SET load = load + ? WHERE id = ?", loads)


def measure_loads(db: sqlite3.Connection, ids: Iterable[int]) -> None:
    """
    Measure the loads of Metricas anew, if their upper bounds became too large.

    :param ids: the ids of the Metricas.
    """
    for id in ids:
        db.execute(MEASURE_LOAD + " AND load > 1", (id,))
