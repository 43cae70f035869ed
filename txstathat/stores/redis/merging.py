"""
Merges batches into one write, and computes what a write adds to each unit
(:mod:`txstathat.stores.redis.keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite, prod
from typing import TypeAlias

from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import (
    Above,
    Addition,
    Amounts,
    Increment,
    TimeBucket,
    WriteBatch,
)
from txstathat.stores.redis.cells import plan_of
from txstathat.stores.redis.keys import as_json, place
from txstathat.stores.spread import key_text, merge_amounts, spread
from txstathat.stores.sums import Events

__all__ = [
    "MAX_CELLS",
    "MAX_FIELDS",
    "MOST_MILLISECONDS",
    "Batch",
    "BucketSets",
    "Group",
    "KeyChange",
    "MergedWrite",
    "PlannedSums",
    "Shape",
    "Shapes",
    "Times",
    "Unit",
    "fits",
    "groups",
    "milliseconds",
]

#: About how many cells one write changes at most; a batch with more is written alone.
MAX_CELLS = 20_000
#: How many cells a script reads and writes with one command.
MAX_FIELDS = 1_000
#: How long anything lives at most, if for a limited time: about 4,000 years. A cell has
#: 6 bytes for the time when it expires.
MOST_MILLISECONDS = 2**47


@dataclass(frozen=True, slots=True)
class Batch:
    """
    A batch and what it adds.

    :ivar write: the batch.
    :ivar amounts: what it adds.
    """

    write: WriteBatch
    amounts: Amounts


class Group:
    """
    Batches that are merged into one write: it has each id once, and each definition
    once.

    :ivar batches: the batches.
    :ivar cells: about how many cells they change, at most.
    """

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.cells = 0
        self._ids: set[str] = set()
        self._definitions: dict[str, str] = {}
        self._names: dict[tuple[TimeBucket, ...], set[str]] = {}

    def add(self, batch: Batch) -> bool:
        """
        Add a batch, if it is the first one or can be merged with the others.

        :returns: whether it was added.
        """
        cells = self.cells + self._new_cells(batch.amounts)
        if self.batches and (cells > MAX_CELLS or not self._matches(batch)):
            return False
        self.cells = cells
        for increment in batch.amounts.increments:
            names = self._names.setdefault(tuple(increment.buckets), set())
            names.update(increment.names)
        self.batches.append(batch)
        self._ids.add(batch.write.id)
        self._definitions.update(batch.amounts.definitions)
        return True

    def _matches(self, batch: Batch) -> bool:
        known = self._definitions
        return batch.write.id not in self._ids and all(
            known.get(name, text) == text
            for name, text in batch.amounts.definitions.items()
        )

    def _new_cells(self, amounts: Amounts) -> int:
        cells = 0
        for increment in amounts.increments:
            if amounts.above:
                new = sum(
                    _most_keys(keys, amounts.above.get(name, ()))
                    for name, keys in increment.cells.items()
                )
            else:
                # Most names have one cell in a time bucket, those of events always.
                known = self._names.get(tuple(increment.buckets), set())
                new = len({*increment.names} - known)
                if not isinstance(increment, Events):
                    cells_of = increment.cells.values()
                    new += sum(map(len, cells_of)) - len(cells_of)
            cells += len(increment.buckets) * new
        return cells


def _most_keys(keys: Sized, above: Above) -> int:
    """
    Return how many keys there are at most, with those above them.
    """
    if not above:
        return len(keys)
    for_each = prod(1 + max(map(len, parts.values()), default=0) for parts in above)
    combinations = prod(
        1 + len({*parts, *chain.from_iterable(parts.values())}) for parts in above
    )
    return min(len(keys) * for_each, combinations)


def groups(batches: Iterable[Batch]) -> Iterator[Group]:
    """
    Split batches into groups, of about :data:`MAX_CELLS` cells at most. A batch with
    more is a group of its own.
    """
    group = Group()
    for batch in batches:
        if not group.add(batch):
            yield group
            group = Group()
            group.add(batch)
    if group.batches:
        yield group


#: When an addition began and ended, in Unix milliseconds.
Times: TypeAlias = tuple[int, int]


@dataclass(slots=True)
class KeyChange:
    """
    The cells that a write changes in one hash.

    :ivar ending: the ending of the key.
    :ivar fields: the fields.
    :ivar additions: for each field the place of its addition among those of the unit.
    :ivar ttls: for each field its time to live in milliseconds, ``''`` for no limit.
    :ivar times: for each field when its addition began and ended, in Unix milliseconds;
        none if that is now.
    """

    ending: str
    fields: list[str] = field(default_factory=list)
    additions: list[int] = field(default_factory=list)
    ttls: list[str] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)

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
        return [
            *(self.ending, self.ttl, self.fields, self.additions, self.ttls),
            *map(list, zip(*self.times, strict=True)),
        ]


@dataclass(frozen=True, slots=True)
class Shape:
    """
    The hashes and fields that a write changes in a unit. Most units of a write have the
    same ones.

    :ivar endings: the endings of the keys of the hashes.
    :ivar plan: the changes of the hashes, as JSON for a script.
    :ivar cells: the number of the fields.
    """

    endings: list[str]
    plan: str
    cells: int


@dataclass(slots=True)
class Unit:
    """
    What a write adds to a unit.

    :ivar name: the name of the Metrica.
    :ivar key: the key of the cells.
    :ivar additions: the additions, by number of the set of time buckets.
    """

    name: str
    key: str
    additions: dict[int, Addition] = field(default_factory=dict)


#: Numbers of sets of time buckets, with the times of their additions, if not now.
BucketSets: TypeAlias = dict[tuple[tuple[TimeBucket, ...], Times | None], int]


class Shapes:
    """
    The shapes of the units of a write.

    :param sets: numbers of sets of time buckets, to which this adds its own.
    """

    def __init__(self, sets: BucketSets | None = None) -> None:
        self._sets: BucketSets = {} if sets is None else sets
        self._shapes: dict[tuple[int, ...], Shape] = {}

    def number(self, buckets: Iterable[TimeBucket], times: Times | None = None) -> int:
        """
        Return the number of a set of time buckets.

        :param times: when its additions began and ended, if not now.
        """
        return self._sets.setdefault((tuple(buckets), times), len(self._sets))

    def shape(self, sets: Iterable[int]) -> Shape:
        """
        Return the shape of a unit. It is the same object for all units of this shape.

        :param sets: the numbers of the sets of time buckets to which it adds.
        """
        numbers = tuple(sets)
        shape = self._shapes.get(numbers)
        if shape is None:
            shape = self._shapes[numbers] = self._new_shape(numbers)
        return shape

    def _new_shape(self, numbers: tuple[int, ...]) -> Shape:
        sets = list(self._sets)
        changes: dict[str, KeyChange] = {}
        full: list[KeyChange] = []
        for position, number in enumerate(numbers, 1):
            buckets, times = sets[number]
            for scale, label, ttl in buckets:
                ending, name = place(scale, label)
                change = changes.get(ending)
                if change is None or len(change.fields) == MAX_FIELDS:
                    full += [] if change is None else [change]
                    change = changes[ending] = KeyChange(ending)
                change.fields.append(name)
                change.additions.append(position)
                change.ttls.append("" if ttl is None else milliseconds(ttl))
                change.times += [] if times is None else [times]
        full += changes.values()
        return Shape(
            [change.ending for change in full],
            as_json([change.plan() for change in full]),
            sum(len(change.fields) for change in full),
        )


class MergedWrite(Shapes):
    """
    Batches that are written together. Their sums are merged before they are spread over
    cells, so a cell costs the same whatever the number of batches.

    :param batches: the batches, one of the :func:`groups`.
    :param sets: see :class:`Shapes`.

    :ivar batches: the same.
    :ivar definitions: the definitions of all of them, by name.
    :ivar choices: their choices, by name and group.
    :ivar units: what they add to each unit, by name and key.
    :ivar overflow: the name of a Metrica of which a sum is too large, or ``None``.
    """

    def __init__(
        self, batches: Sequence[Batch], sets: BucketSets | None = None
    ) -> None:
        super().__init__(sets)
        amounts = merge_amounts([batch.amounts for batch in batches])
        self.batches = batches
        self.definitions = amounts.definitions
        self.choices = amounts.choices
        self.units: dict[tuple[str, str], Unit] = {}
        self.overflow: str | None = None
        for increment in spread(amounts):
            self._add(increment)

    def _add(self, increment: Increment) -> None:
        number = self.number(increment.buckets)
        units = self.units
        for name, cells in increment.cells.items():
            for key, addition in cells.items():
                place = name, key_text(key)
                unit = units.get(place)
                if unit is None:
                    unit = units[place] = Unit(*place)
                unit.additions[number] = addition
                if not fits(addition):
                    self.overflow = name


class PlannedSums:
    """
    The additions in the plan of a script. Equal ones are in it once: most stats of a
    write have the same few.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._numbers: dict[Addition, int] = {}

    def numbers(self, additions: Iterable[Addition]) -> Iterator[int]:
        """
        Return the numbers of additions.
        """
        for addition in additions:
            # 1.0 is equal to 1, but only in a sum of floats.
            number = None if addition[4] is not None else self._numbers.get(addition)
            if number is None:
                self._texts.append(as_json(plan_of(addition)))
                number = len(self._texts)
                if addition[4] is None:
                    self._numbers[addition] = number
            yield number

    def text(self) -> str:
        """
        Return the additions as JSON.
        """
        return f"[{','.join(self._texts)}]"


def fits(addition: Addition) -> bool:
    """
    Return whether an addition is within the range of exact sums.
    """
    whole, real = addition[0], addition[4]
    return -MAX_INTEGER <= whole <= MAX_INTEGER and (real is None or isfinite(real))


def milliseconds(seconds: float) -> str:
    """
    Convert a time to live from seconds to the milliseconds of Redis commands: 1 at
    least, :data:`MOST_MILLISECONDS` at most.
    """
    return str(int(min(max(1.0, seconds * 1000), MOST_MILLISECONDS)))
