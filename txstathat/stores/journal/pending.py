"""
What the rows of a journal add to which cells.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import Above, Addition, Key, TimeBucket
from txstathat.stores.journal.rows import LARGEST_FLOAT
from txstathat.stores.journal.stored_rows import StoredSection
from txstathat.stores.spread import add_up, key_parts, key_text, lists_of, roll_up
from txstathat.stores.sums import group_amounts, merge, sum_up

__all__ = ["Cells", "Change", "Group", "Leaf", "Pending", "Position", "Wanted"]

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


@dataclass(frozen=True, slots=True)
class Change:
    """
    What rows add to a time bucket of several Metricas.

    :ivar bucket: the time bucket.
    :ivar begin: when the first of the rows was written, in Unix seconds.
    :ivar end: when the last of them was written.
    :ivar cells: the sums, sorted by id of the Metrica and key.
    :ivar number: its number in the order of the fold.
    """

    bucket: TimeBucket
    begin: float
    end: float
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
    # The amounts of single events, by key and id of the Metrica.
    _events: dict[Key, dict[int, list[int | float]]] = field(default_factory=dict)

    def add(self, section: StoredSection) -> None:
        """
        Add a section. Call :meth:`expand` when all are added.
        """
        single = section.events()
        uniform = section.uniform()
        if single is not None:
            # They are summed up together later.
            key, amounts = single
            group_amounts(self._events.setdefault(key, {}), section.owners, amounts)
        elif uniform is not None and not section.above:
            # All Metricas have the same, such as their receipt: add it once, not for
            # each of them.
            key, addition = uniform
            add_up(self._uniform, [((tuple(section.owners), key), addition)])
        else:
            add_up(self.cells, section.additions())
            if section.above:
                _add_above(self.above, section.owners, section.above)

    def expand(self) -> None:
        """
        Add to :attr:`cells` what was only collected.
        """
        for key, groups in self._events.items():
            sums = (
                ((owner, key), sum_up(amounts)) for owner, amounts in groups.items()
            )
            add_up(self.cells, sums)
        for (owners, key), addition in self._uniform.items():
            add_up(self.cells, (((owner, key), addition) for owner in owners))
        self._events.clear()
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
    def begin(self) -> float:
        """When the first of the rows was written."""
        return min(leaf.begin for leaf in self.leaves)

    @property
    def end(self) -> float:
        """When the last of them was written."""
        return max(leaf.end for leaf in self.leaves)

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
        self, wanted: Wanted | None = None, owners: Set[int] | None = None
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
            if self._wanted is None or any(one[:2] in self._wanted for one in buckets):
                some = section if self._owners is None else section.only(self._owners)
                if some is not None:
                    leaf.add(some)

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
        cells = sorted(self.sums_of(group).items())
        begin, end = group.begin, group.end
        for number, bucket in group.buckets:
            left: Cells = cells
            if after is not None and number == after.bucket:
                left = cells[bisect_right(cells, after[1:], key=lambda one: one[0]) :]
            if after is None or number >= after.bucket:
                yield Change(bucket, begin, end, left, number)

    def sums_of(self, group: Group) -> dict[tuple[int, str], Addition]:
        """
        Return the sums that the rows add to each time bucket of a group, spread over
        all keys, by id of the Metrica and key.
        """
        leaves = group.leaves
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
        for id, finest in by_id.items():
            rolled = roll_up(finest, above[id], self._wanted_parts(id, len(above[id])))
            add_up(spread, (((id, key_text(key)), one) for key, one in rolled.items()))
        return spread

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
