"""
Merges batches into one write, and computes what a write adds to each unit
(:mod:`txstathat.stores.redis.keys`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite

from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import (
    Addition,
    Amounts,
    Increment,
    TimeBucket,
    WriteBatch,
)
from txstathat.stores.redis.cells import plan_of
from txstathat.stores.redis.keys import as_json, place
from txstathat.stores.spread import key_text, spread
from txstathat.stores.sums import merge

__all__ = [
    "MAX_CELLS",
    "MAX_FIELDS",
    "Batch",
    "KeyChange",
    "MergedWrite",
    "Shape",
    "Unit",
    "groups",
    "milliseconds",
]

#: About how many cells one write changes at most; a batch with more is written alone.
MAX_CELLS = 20_000
#: How many cells a script reads and writes with one command.
MAX_FIELDS = 1_000


@dataclass(slots=True)
class Batch:
    """
    A batch and what it adds.

    :ivar write: the batch.
    :ivar amounts: what it adds.
    :ivar increments: its increments, spread over keys that are texts.
    """

    write: WriteBatch
    amounts: Amounts
    increments: Sequence[Increment] = field(init=False)

    def __post_init__(self) -> None:
        self.increments = spread(self.amounts)

    def cells(self) -> int:
        """
        Return the number of cells that it changes.
        """
        return sum(
            len(increment.buckets) * sum(map(len, increment.cells.values()))
            for increment in self.increments
        )


def groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """
    Split batches into groups, each of which can be merged into one write: it has each
    id once, each definition once, and about :data:`MAX_CELLS` cells at most.
    """
    group: list[Batch] = []
    ids: set[str] = set()
    definitions: dict[str, str] = {}
    cells = 0
    for batch in batches:
        size = batch.cells()
        if group and (
            cells + size > MAX_CELLS
            or batch.write.id in ids
            or any(
                definitions.get(name, text) != text
                for name, text in batch.amounts.definitions.items()
            )
        ):
            yield group
            group, cells = [], 0
            ids.clear()
            definitions.clear()
        group.append(batch)
        ids.add(batch.write.id)
        definitions.update(batch.amounts.definitions)
        cells += size
    if group:
        yield group


@dataclass(slots=True)
class KeyChange:
    """
    The cells that a write changes in one hash.

    :ivar ending: the ending of the key.
    :ivar fields: the fields.
    :ivar additions: for each field the number of its addition among those of the unit.
    :ivar ttls: for each field its time to live in milliseconds, ``''`` for no limit.
    """

    ending: str
    fields: list[str] = field(default_factory=list)
    additions: list[int] = field(default_factory=list)
    ttls: list[str] = field(default_factory=list)

    @property
    def ttl(self) -> str:
        """
        The longest time to live in milliseconds, ``''`` for no limit.
        """
        return "" if "" in self.ttls else str(max(map(int, self.ttls)))

    def plan(self) -> list[object]:
        """
        Return the change for a script.
        """
        return [self.ending, self.ttl, self.fields, self.additions, self.ttls]


@dataclass(slots=True)
class Shape:
    """
    The hashes and fields that a write changes in a unit. Most units of a write have the
    same ones.

    :ivar sources: for each addition of the unit the numbers of the sets of buckets that
        contribute to it.
    :ivar endings: the endings of the keys of the hashes.
    :ivar plan: the changes of the hashes, as JSON for a script.
    """

    sources: list[tuple[int, ...]]
    endings: list[str]
    plan: str


@dataclass(slots=True)
class Unit:
    """
    What a write adds to a unit.

    :ivar name: the name of the Metrica.
    :ivar key: the key of the cells.
    :ivar additions: the additions, by number of the set of buckets.
    :ivar batches: the numbers of the batches that have it.
    """

    name: str
    key: str
    additions: dict[int, Addition] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)


class MergedWrite:
    """
    Batches that are written together.

    :param batches: the batches, one of the :func:`groups`.

    :ivar batches: the same.
    :ivar definitions: the definitions of all of them, by name.
    :ivar choices: their choices, by name and group.
    :ivar units: what they add to each unit, by name and key.
    :ivar overflow: the name of a Metrica of which a sum is too large, or ``None``.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.definitions: dict[str, str] = {}
        self.choices: dict[tuple[str, str], dict[str, None]] = {}
        self.units: dict[tuple[str, str], Unit] = {}
        self.overflow: str | None = None
        self._buckets: dict[tuple[TimeBucket, ...], int] = {}
        self._shapes: dict[tuple[int, ...], Shape] = {}
        for number, batch in enumerate(batches):
            self.definitions.update(batch.amounts.definitions)
            for increment in batch.increments:
                self._add(number, increment)
            for group, choices in batch.amounts.choices.items():
                self.choices.setdefault(group, {}).update(dict.fromkeys(choices))

    def _add(self, number: int, increment: Increment) -> None:
        buckets = tuple(increment.buckets)
        source = self._buckets.setdefault(buckets, len(self._buckets))
        units = self.units
        for name, cells in increment.cells.items():
            for key, addition in cells.items():
                key = key_text(key)
                unit = units.get((name, key))
                if unit is None:
                    unit = units[name, key] = Unit(name, key)
                old = unit.additions.get(source)
                if old is not None:
                    addition = merge(old, addition)
                if not _fits(addition):
                    self.overflow = name
                unit.additions[source] = addition
                if not unit.batches or unit.batches[-1] != number:
                    unit.batches.append(number)

    def shape(self, unit: Unit) -> Shape:
        """
        Return the shape of a unit. It is the same object for all units of this shape.
        """
        sources = tuple(unit.additions)
        shape = self._shapes.get(sources)
        if shape is None:
            shape = self._shapes[sources] = self._new_shape(sources)
        return shape

    def _new_shape(self, sources: tuple[int, ...]) -> Shape:
        by_number = list(self._buckets)
        # Several sets of buckets may have a bucket in common.
        cells: dict[tuple[str, str], tuple[list[int], float | None]] = {}
        for source in sources:
            for scale, label, ttl in by_number[source]:
                known, _ = cells.get((scale, label), ([], None))
                # The last write decides when a cell expires.
                cells[scale, label] = ([*known, source], ttl)
        numbers: dict[tuple[int, ...], int] = {}
        changes: dict[str, KeyChange] = {}
        full: list[KeyChange] = []
        for (scale, label), (contributing, ttl) in cells.items():
            number = numbers.setdefault(tuple(contributing), len(numbers) + 1)
            ending, name = place(scale, label)
            change = changes.get(ending)
            if change is None or len(change.fields) == MAX_FIELDS:
                full += [] if change is None else [change]
                change = changes[ending] = KeyChange(ending)
            change.fields.append(name)
            change.additions.append(number)
            change.ttls.append("" if ttl is None else milliseconds(ttl))
        full += changes.values()
        return Shape(
            list(numbers),
            [change.ending for change in full],
            as_json([change.plan() for change in full]),
        )

    def without(self, unit: Unit, known: Collection[int]) -> Unit:
        """
        Return what a write adds to a unit without some of the batches.

        :param unit: the unit.
        :param known: the numbers of the batches to leave out.
        """
        less = Unit(unit.name, unit.key)
        for number in unit.batches:
            if number in known:
                continue
            less.batches.append(number)
            for increment in self.batches[number].increments:
                addition = increment.cells.get(unit.name, {}).get(unit.key)
                if addition is not None:
                    source = self._buckets[tuple(increment.buckets)]
                    old = less.additions.get(source)
                    less.additions[source] = (
                        addition if old is None else merge(old, addition)
                    )
        return less

    def additions(self, unit: Unit, shape: Shape) -> list[object] | None:
        """
        Return the additions of a unit for a script; ``None`` if one is too large.

        :param unit: the unit.
        :param shape: its shape.
        """
        additions: list[object] = []
        for sources in shape.sources:
            addition = unit.additions[sources[0]]
            for source in sources[1:]:
                addition = merge(addition, unit.additions[source])
            if not _fits(addition):
                return None
            additions.append(plan_of(addition))
        return additions


def _fits(addition: Addition) -> bool:
    return -MAX_INTEGER <= addition.whole <= MAX_INTEGER and (
        addition.real is None or isfinite(addition.real)
    )


def milliseconds(seconds: float) -> str:
    """
    Convert a time to live from seconds to the milliseconds of Redis commands.
    """
    return str(max(1, int(seconds * 1000)))
