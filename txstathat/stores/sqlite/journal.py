"""
The journal of a SQLite store: what was added and is not yet in its cells.

A commit appends a row. A *fold* adds many rows to the cells at once, and deletes them.
It proceeds in slices, each a transaction of its own, in one order: by time bucket,
Metrica and key. The position after the last slice is stored with it, so that any
process can go on, and a reader knows what is in the cells and what is not.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from twisted.logger import Logger

from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import Above, Addition, Key, TimeBucket
from txstathat.stores.spread import add_up, key_parts, key_text, lists_of, roll_up
from txstathat.stores.sqlite.rows import LARGEST_FLOAT, StoredSection, decode
from txstathat.stores.sums import merge

__all__ = [
    "Cells",
    "Change",
    "Group",
    "Journal",
    "Pending",
    "Position",
    "Progress",
    "Usage",
    "Wanted",
    "append",
    "finish",
    "first_row",
    "read_journal",
    "read_progress",
    "save_progress",
    "usage",
]

_log = Logger()

#: By scale and label of a time bucket, and by id of a Metrica: the keys of cells.
Wanted = Mapping[tuple[str, str], Mapping[int, Collection[str]]]


#: Sums, by id of the Metrica and key.
Cells = Sequence[tuple[tuple[int, str], Addition]]


class Position(NamedTuple):
    """
    The position in a fold after a cell.

    :ivar bucket: the number of the time bucket, in the order of the fold.
    :ivar metrica: the id of the Metrica.
    :ivar key: the key of the cell.
    """

    bucket: int
    metrica: int
    key: str


class Progress(NamedTuple):
    """
    How far a fold is.

    :ivar upto: the id of its last row.
    :ivar position: what is in the cells; ``None`` for nothing.
    """

    upto: int
    position: Position | None


class Usage(NamedTuple):
    """
    The size of a journal.

    :ivar load: an upper bound of what it adds to a cell, as a share of the largest sum.
    :ivar additions: the number of additions.
    """

    load: float
    additions: int


@dataclass(frozen=True, slots=True)
class Change:
    """
    What rows add to a time bucket of several Metricas.

    :ivar bucket: the time bucket.
    :ivar begin: when the first of the rows was written, in Unix seconds.
    :ivar end: when the last of them was written.
    :ivar owners: the ids of the Metricas, as far as they are of interest.
    :ivar cells: the sums, sorted by id of the Metrica and key.
    :ivar number: its number in the order of the fold.
    """

    bucket: TimeBucket
    begin: float
    end: float
    owners: Set[int]
    cells: Cells
    number: int


@dataclass(slots=True)
class Leaf:
    """
    The sums of the sections that have the same time buckets.

    :ivar begin: when the first of their rows was written, in Unix seconds.
    :ivar end: when the last of them was written.
    :ivar row: the id of the last of them.
    :ivar cells: the sums, by id of the Metrica and key.
    :ivar above: the parts above each part of the keys, by id of the Metrica.
    """

    begin: float
    end: float = 0.0
    row: int = 0
    cells: dict[tuple[int, Key], Addition] = field(default_factory=dict)
    above: dict[int, list[dict[str, Sequence[str]]]] = field(default_factory=dict)
    # Sums that are the same for several Metricas, by the ids of these and the key.
    _uniform: dict[tuple[tuple[int, ...], Key], Addition] = field(default_factory=dict)

    def add_uniform(self, section: StoredSection) -> bool:
        """
        Add a section in which all Metricas have the same addition to one key, such as
        their receipt. It is added once, not for each of them.

        :returns: whether it is one.
        """
        found = section.uniform()
        if found is None or section.above:
            return False
        key, addition = found
        add_up(self._uniform, [((tuple(section.owners), key), addition)])
        return True

    def expand(self) -> None:
        """
        Add such sums to :attr:`cells`.
        """
        for (owners, key), addition in self._uniform.items():
            add_up(self.cells, (((owner, key), addition) for owner in owners))
        self._uniform.clear()


class Group(NamedTuple):
    """
    Time buckets to which rows add the same.

    :ivar buckets: the time buckets, with their numbers in the order of the fold.
    :ivar leaves: what is added.
    """

    buckets: Sequence[tuple[int, TimeBucket]]
    leaves: Sequence[Leaf]

    @property
    def cost(self) -> int:
        """About how many sums have to be spread over the keys above them."""
        return sum(
            len(leaf.cells)
            * max((2 ** len(parts) for parts in leaf.above.values()), default=1)
            for leaf in self.leaves
        )


class Pending:
    """
    Sums up rows, and spreads the sums over their cells.

    :param wanted: the cells that are of interest; by default all.
    :param owners: the ids of the Metricas that are; by default all.
    """

    def __init__(
        self, wanted: Wanted | None = None, owners: Collection[int] | None = None
    ) -> None:
        self._wanted = wanted
        self._owners = owners
        if wanted is not None:
            self._owners = {id for one in wanted.values() for id in one}
        self._leaves: dict[tuple[TimeBucket, ...], Leaf] = {}

    def add(self, number: int, at: float, sections: Iterable[StoredSection]) -> None:
        """
        Take in a row. Call this in the order of the rows.

        :param number: its id.
        :param at: when it was written, in Unix seconds.
        :param sections: its sections.
        """
        for section in sections:
            buckets = tuple(section.buckets)
            leaf = self._leaves.get(buckets)
            if leaf is None:
                leaf = self._leaves[buckets] = Leaf(at)
            leaf.end, leaf.row = at, number
            if self._owners is None and leaf.add_uniform(section):
                continue
            if self._wanted is None or any(one[:2] in self._wanted for one in buckets):
                add_up(leaf.cells, section.additions(self._owners))
                if section.above:
                    _add_above(leaf.above, section.owners, section.above)

    def groups(self) -> list[Group]:
        """
        Return the time buckets to which the rows add something, in the order of the
        fold. Those with the same sums are a group.
        """
        leaves = list(self._leaves.values())
        for leaf in leaves:
            leaf.expand()
        places = [
            (max(leaves[n].row for n in numbers), numbers, bucket)
            for bucket, numbers in lists_of(self._leaves).items()
        ]
        # The order must follow from the rows alone. Of two time buckets that differ
        # only in when they expire, the later row counts.
        places.sort(key=lambda one: (*one[:2], *one[2][:2], one[2].ttl or 0.0))
        groups = []
        numbered = enumerate(places)
        for numbers, some in groupby(numbered, key=lambda one: one[1][1]):
            buckets = [
                (number, bucket)
                for number, (_, _, bucket) in some
                if self._wanted is None or bucket[:2] in self._wanted
            ]
            if buckets:
                groups.append(Group(buckets, [leaves[n] for n in numbers]))
        return groups

    def changes(self) -> Iterator[Change]:
        """
        Yield what the rows add, in the order of the fold.
        """
        for group in self.groups():
            yield from self.changes_of(group)

    def changes_of(
        self, group: Group, after: Position | None = None
    ) -> Iterator[Change]:
        """
        Yield what the rows add to the time buckets of a group.

        :param group: one of :meth:`groups`.
        :param after: leave out what is before this position.
        """
        cells = sorted(self._spread(group.leaves).items())
        owners = {owner for leaf in group.leaves for owner, _ in leaf.cells}
        begin = min(leaf.begin for leaf in group.leaves)
        end = max(leaf.end for leaf in group.leaves)
        for number, bucket in group.buckets:
            left: Cells = cells
            if after is not None and number == after.bucket:
                left = cells[bisect_right(cells, after[1:], key=lambda one: one[0]) :]
            if after is None or number >= after.bucket:
                yield Change(bucket, begin, end, owners, left, number)

    def loads(self) -> Iterator[tuple[int, float]]:
        """
        Yield, by id of the Metrica, what is added to a cell at most, as a share of the
        largest sum.
        """
        loads: dict[int, float] = {}
        for leaf in self._leaves.values():
            for (id, _), (whole, _, _, _, real, _) in leaf.cells.items():
                load = abs(whole) / MAX_INTEGER
                if real is not None:
                    load += abs(real) / LARGEST_FLOAT
                loads[id] = loads.get(id, 0.0) + load
        yield from loads.items()

    def _spread(self, leaves: Sequence[Leaf]) -> dict[tuple[int, str], Addition]:
        cells = leaves[0].cells
        if len(leaves) > 1:
            cells = dict(cells)
            for leaf in leaves[1:]:
                add_up(cells, leaf.cells.items())
        above: dict[int, list[dict[str, Sequence[str]]]] = {}
        for leaf in leaves:
            for id, parts in leaf.above.items():
                _add_above(above, (id,), parts)
        # A text and a tuple may be the same key: so sums are added up.
        spread: dict[tuple[int, str], Addition] = {}
        by_id: dict[int, dict[Key, Addition]] = {}
        for (id, key), one in cells.items():
            if id in above and not isinstance(key, str):
                by_id.setdefault(id, {})[key] = one
            else:
                place = id, key_text(key)
                old = spread.get(place)
                spread[place] = one if old is None else merge(old, one)
        for id, events in by_id.items():
            rolled = roll_up(events, above[id], self._wanted_parts(id, len(above[id])))
            add_up(spread, (((id, key_text(key)), one) for key, one in rolled.items()))
        return spread

    def _wanted_parts(self, id: int, places: int) -> list[set[str]] | None:
        if self._wanted is None:
            return None
        wanted: list[set[str]] = [set() for _ in range(places)]
        for keys in self._wanted.values():
            for text in keys.get(id, ()):
                parts = key_parts(text)
                # With another number of parts it is the key of no cell.
                if len(parts) == places:
                    for place, part in zip(wanted, parts, strict=True):
                        place.add(part)
        return wanted


def _add_above(
    found: dict[int, list[dict[str, Sequence[str]]]],
    owners: Iterable[int],
    above: Above,
) -> None:
    for id in set(owners):
        known = found.setdefault(id, [{} for _ in above])
        for parts, more in zip(known, above, strict=True):
            parts.update(more)


# -- the tables


class Journal(NamedTuple):
    """
    The rows of a journal.

    :ivar first: the id of the first row; ``None`` without any.
    :ivar rows: id, time and sections of each row that can be read, in order.
    :ivar damaged: the ids of the others.
    :ivar progress: how far a fold of them is; ``None`` if none has begun.
    """

    first: int | None
    rows: Sequence[tuple[int, float, Sequence[StoredSection]]]
    damaged: Sequence[int]
    progress: Progress | None

    def pending(self, wanted: Wanted | None = None) -> Iterator[Change]:
        """
        Yield what is not in the cells, in the order in which it was added.

        :param wanted: the cells that are of interest; by default all.
        """
        upto, position = self.progress or (0, None)
        for rows, after in (
            ([row for row in self.rows if row[0] <= upto], position),
            ([row for row in self.rows if row[0] > upto], None),
        ):
            pending = Pending(wanted)
            for row in rows:
                pending.add(*row)
            for group in pending.groups():
                yield from pending.changes_of(group, after)


def read_journal(db: sqlite3.Connection) -> Journal:
    """
    Read the journal. Call this within a transaction.

    :param db: a connection.
    """
    rows, damaged = [], []
    found = db.execute(
        "SELECT id, at, additions FROM journal WHERE NOT damaged ORDER BY id"
    )
    first = None
    for id, at, row in found.fetchall():
        first = first or id
        try:
            rows.append((id, at, decode(row)))
        except ValueError as error:
            _log.error(
                "row {id} of the store's journal is damaged, and not counted: {error}",
                id=id,
                error=str(error),
            )
            damaged.append(id)
    return Journal(first, rows, damaged, read_progress(db) if first else None)


def read_progress(db: sqlite3.Connection) -> Progress | None:
    """
    Return how far a fold is; ``None`` if none has begun.
    """
    found = db.execute("SELECT upto, bucket, metrica, key FROM folding").fetchone()
    return None if found is None else Progress(found[0], Position(*found[1:]))


def first_row(db: sqlite3.Connection) -> int | None:
    """
    Return the id of the first row of the journal; ``None`` if it is empty. Ids are not
    used twice: so it identifies the contents up to a certain row.
    """
    (id,) = db.execute("SELECT min(id) FROM journal WHERE NOT damaged").fetchone()
    return None if id is None else int(id)


def save_progress(db: sqlite3.Connection, progress: Progress) -> None:
    """
    Store how far a fold is.
    """
    assert progress.position is not None
    db.execute("DELETE FROM folding")
    db.execute(
        "INSERT INTO folding (upto, bucket, metrica, key) VALUES (?, ?, ?, ?)",
        (progress.upto, *progress.position),
    )


def finish(db: sqlite3.Connection, upto: int, damaged: Iterable[int]) -> None:
    """
    Delete the rows of a fold. Rows that could not be read stay, and are marked.

    :param upto: the id of the last row.
    :param damaged: the ids of those that could not be read.
    """
    db.executemany(
        "UPDATE journal SET damaged = 1, load = 0, size = 0 WHERE id = ?",
        [(id,) for id in damaged],
    )
    db.execute("DELETE FROM journal WHERE id <= ? AND NOT damaged", (upto,))
    db.execute("DELETE FROM folding")


def append(db: sqlite3.Connection, at: float, usage: Usage, additions: bytes) -> None:
    """
    Append a row.

    :param at: the time, in Unix seconds.
    :param usage: its size.
    :param additions: its bytes.
    """
    db.execute(
        "INSERT INTO journal (at, load, size, damaged, additions) "
        "VALUES (?, ?, ?, 0, ?)",
        (at, *usage, additions),
    )


def usage(db: sqlite3.Connection) -> Usage:
    """
    Return the size of the journal.
    """
    found = db.execute("SELECT total(load), total(size) FROM journal").fetchone()
    return Usage(found[0], int(found[1]))
