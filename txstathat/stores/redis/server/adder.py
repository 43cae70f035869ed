"""
Adds batches to one Redis server: to its journal, or at once to its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar, cast

from txstathat.errors import StoreUnavailable
from txstathat.stores.interface import WriteBatch, WriteResult
from txstathat.stores.journal.due import REFUSE_AT, FoldDue
from txstathat.stores.journal.fold_runner import FoldRunner
from txstathat.stores.journal.prepared import MAX_LOAD, Prepared
from txstathat.stores.redis.merging import Batch, Group
from txstathat.stores.redis.server.fold import RedisFold
from txstathat.stores.redis.server.journal import names_of
from txstathat.stores.redis.server.store import ServerStore

__all__ = ["ATTEMPTS", "JournalAdder"]

#: How often to try again when other processes fold the journal meanwhile.
ATTEMPTS = 100

T = TypeVar("T")


class JournalAdder:
    """
    Adds batches.

    :param server: the server.
    :param folds: folds its journal.
    :param due: notes what happens to the journal.
    :param max_journal: how many additions wait to be folded before a commit at most.
    """

    def __init__(
        self,
        server: ServerStore,
        folds: FoldRunner[RedisFold],
        due: FoldDue,
        max_journal: int,
    ) -> None:
        self._server = server
        self._folds = folds
        self._due = due
        self._most = REFUSE_AT * max_journal

    def add(self, batches: Sequence[WriteBatch]) -> list[WriteResult]:
        """
        Add batches, each whole or not at all. Those that can be are one row.

        :returns: the results.
        :raises StoreUnavailable: if the journal is full.
        """
        prepared = [Prepared(batch) for batch in batches]
        self._folds.make_room(sum(one.usage.additions for one in prepared))
        results = [one.refusal for one in prepared]
        for _ in range(ATTEMPTS + len(batches)):
            left = [n for n, result in enumerate(results) if result is None]
            if not left:
                return cast(list[WriteResult], results)
            places = list(_row(prepared, left))
            row = [prepared[n] for n in places]
            for n, result in zip(places, self._add_row(row), strict=True):
                results[n] = result
        raise _too_busy()

    def _add_row(self, row: Sequence[Prepared]) -> list[WriteResult | None]:
        """
        Add batches that can be a row.

        :returns: the results; ``None`` for those that must be added again.
        """
        if not row[0].usage.load <= MAX_LOAD:  # it may be no number
            return [self._add_to_cells(row[0])]
        reply = self._server.append(row, self._most)
        what, _, rest = reply.partition(":")
        if what in ("added", "full"):
            self._due.note_added(int(rest))
        if what == "full":
            raise StoreUnavailable(
                "the journal of the Redis store is full: writes are faster than folds"
            )
        if what == "load":
            self._folds.run_most()
        elif what == "out":
            return [
                self._add_to_cells(one) if rest in one.amounts.definitions else None
                for one in row
            ]
        return self._server.results(row, reply)

    def _add_to_cells(self, one: Prepared) -> WriteResult:
        group = Group()
        group.add(Batch(one.batch, one.amounts))
        names = one.amounts.definitions
        with self._server.longer(group.cells):
            return self.settled(names, lambda hold: self._server.add(one, hold))

    def fold_all(self) -> None:
        """
        Fold what is in the journal now.

        :raises StoreUnavailable: if other processes fold it all the time.
        """
        last, _ = self._server.rows()
        for _ in range(ATTEMPTS):
            newest, left = self._server.rows()
            if newest - len(left) >= last:
                return
            self._folds.run_most()
        raise _too_busy()

    def settled(self, names: Collection[str], change: Callable[[str], T | None]) -> T:
        """
        Change something while no row of the journal has certain names. What is added to
        these meanwhile is added to the cells at once, so this ends however much it is.

        :param names: the names.
        :param change: called with the number of the hold of the names; returns ``None``
            if that has ended, to be called again.
        :returns: what it returns.
        :raises StoreUnavailable: if other processes fold the journal all the time.
        """
        for _ in range(ATTEMPTS):
            hold = self._server.hold(names)
            _, rows = self._server.rows()
            if any(not set(names).isdisjoint(names_of(row)) for row in rows):
                self._folds.run_most()
                continue
            result = change(hold)
            if result is not None:
                return result
        raise _too_busy()


def _row(prepared: Sequence[Prepared], places: Sequence[int]) -> Iterator[int]:
    """
    Yield the places of batches that can be a row together: their ids differ, and their
    definitions do not. A batch with a large load is alone.
    """
    ids: set[str] = set()
    definitions: dict[str, str] = {}
    load = 0.0
    for place in places:
        one = prepared[place]
        load += one.usage.load
        if ids and not load <= MAX_LOAD:
            return
        if one.batch.id in ids or any(
            definitions.get(name, text) != text
            for name, text in one.amounts.definitions.items()
        ):
            continue
        ids.add(one.batch.id)
        definitions.update(one.amounts.definitions)
        yield place
        if not load <= MAX_LOAD:
            return


def _too_busy() -> StoreUnavailable:
    return StoreUnavailable(
        "other processes fold the journal of the Redis store; try again"
    )
