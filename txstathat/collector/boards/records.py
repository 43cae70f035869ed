"""
The boards and the saved comparisons in a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from txstathat.collector.boards.model import (
    Board,
    Comparison,
    new_id,
    parse_board,
    parse_comparison,
    to_json,
)
from txstathat.collector.errors import Refusal
from txstathat.collector.records import RecordReader
from txstathat.stores.interface import IStore

__all__ = [
    "BOARDS",
    "COMPARISONS",
    "MAX_BOARDS",
    "MAX_COMPARISONS",
    "BoardRecords",
    "Documents",
]

#: The largest number of boards.
MAX_BOARDS = 200
#: The largest number of saved comparisons.
MAX_COMPARISONS = 500

#: The kinds of the records.
BOARDS, COMPARISONS = "board", "comparison"

_T = TypeVar("_T", Board, Comparison)
_ChangeStats = Callable[[tuple[str, ...]], tuple[str, ...]]


class Documents(Generic[_T]):
    """
    The records of one kind.

    :param store: the store.
    :param kind: the kind of the records.
    :param parse: as for :class:`~txstathat.collector.records.RecordReader`.
    :param limit: the largest number of records.
    """

    def __init__(
        self, store: IStore, kind: str, parse: Callable[[str, str], _T], limit: int
    ) -> None:
        self._store = store
        self._limit = limit
        self.reader: RecordReader[_T] = RecordReader(store, kind, parse)

    async def all(self) -> dict[str, _T]:
        """
        Read all of them.

        :returns: what can be read, by id, sorted by title.
        """
        found = await self.reader.all()
        return dict(
            sorted(found.items(), key=lambda item: (item[1].title.casefold(), item[0]))
        )

    async def get(self, id: str) -> _T:
        """
        Read one.

        :param id: its id.
        :raises Refusal: 404 if it does not exist, or cannot be read.
        """
        found = await self.reader.get(id)
        if found is None:
            raise self._missing()
        return found

    async def create(self, thing: _T) -> str:
        """
        Store a new one.

        :param thing: it, checked.
        :returns: its id.
        :raises Refusal: 429 if there are too many.
        """
        kind = self.reader.kind
        if len(await self._store.records(kind)) >= self._limit:
            raise Refusal(
                429,
                f"there are {self._limit:,} {kind}s, which is the limit: delete one",
            )
        id = new_id()
        await self._store.put_record(kind, id, to_json(thing), was=None)
        return id

    async def change(self, id: str, change: Callable[[_T], _T]) -> _T:
        """
        Change one. If another collector changes it meanwhile, the change is made again.

        :param id: its id.
        :param change: takes what is stored, and returns what to store.
        :returns: what is stored now.
        :raises Refusal: 404 if it does not exist, or cannot be read; and what
            ``change`` raises.
        """
        kind = self.reader.kind
        while True:
            was = await self._store.record(kind, id)
            old = None if was is None else self.reader.parse(id, was)
            if old is None:
                raise self._missing()
            new = change(old)
            if new == old:
                return old
            if await self._store.put_record(kind, id, to_json(new), was=was):
                return new

    async def delete(self, id: str) -> None:
        """
        Delete one, also if it cannot be read.

        :param id: its id.
        :raises Refusal: 404 if it does not exist.
        """
        kind = self.reader.kind
        if await self._store.record(kind, id) is None:
            raise self._missing()
        await self._store.put_record(kind, id, None)

    def _missing(self) -> Refusal:
        return Refusal(404, f"there is no such {self.reader.kind}: it may be deleted")


class BoardRecords:
    """
    The boards and the saved comparisons of a store.

    :param store: the store.

    :ivar boards: the boards.
    :ivar comparisons: the saved comparisons.
    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self.boards = Documents(store, BOARDS, parse_board, MAX_BOARDS)
        self.comparisons = Documents(
            store, COMPARISONS, parse_comparison, MAX_COMPARISONS
        )
        self.record_readers = (self.boards.reader, self.comparisons.reader)

    async def rename_stat(self, old: str, new: str) -> None:
        """
        Put the new name of a stat in the place of its old one.

        :param old: its old name.
        :param new: its new name.
        """

        def renamed(stats: tuple[str, ...]) -> tuple[str, ...]:
            names = [new if name == old else name for name in stats]
            # Where both were compared, they are one stat now.
            return tuple(dict.fromkeys(names))

        await self._change_stats(old, renamed)

    async def forget_stat(self, name: str) -> None:
        """
        Remove a stat that is deleted for good; also the tiles and the comparisons in
        which nothing else was.

        :param name: its name.
        """

        def without(stats: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(each for each in stats if each != name)

        await self._change_stats(name, without)

    async def _change_stats(self, name: str, change: _ChangeStats) -> None:
        def in_board(board: Board) -> Board:
            tiles = [replace(tile, stats=change(tile.stats)) for tile in board.tiles]
            return replace(board, tiles=tuple(tile for tile in tiles if tile.stats))

        def in_comparison(comparison: Comparison) -> Comparison:
            return replace(comparison, stats=change(comparison.stats))

        for id, board in (await self.boards.all()).items():
            if name in board.stats:
                await self.boards.change(id, in_board)
        for id, comparison in (await self.comparisons.all()).items():
            if not change(comparison.stats):
                await self.comparisons.delete(id)
            elif name in comparison.stats:
                await self.comparisons.change(id, in_comparison)
