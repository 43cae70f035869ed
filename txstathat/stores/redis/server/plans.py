"""
The plans of the scripts for one Redis server: their arguments as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from txstathat.stores.interface import Addition, WriteBatch
from txstathat.stores.redis.keys import (
    DIGEST_BYTES,
    KeyNames,
    as_json,
    shard_of,
    short_hash,
)
from txstathat.stores.redis.merging import PlannedSums, Shapes, milliseconds

__all__ = [
    "NameGroups",
    "UnitPlan",
    "WritePlan",
    "plan_text",
]


class NameGroups:
    """
    Groups of names, by the slots of their definitions.
    """

    def __init__(self) -> None:
        self._groups: dict[int, int] = {}
        self._group_of: dict[str, int] = {}

    @property
    def shards(self) -> Iterable[int]:
        """The numbers of the slots, in the order of the groups."""
        return self._groups

    @property
    def numbers(self) -> Iterable[int]:
        """The numbers of the groups."""
        return self._groups.values()

    def number(self, name: str) -> int:
        """
        Return the number of the group of a name; the first one is 1.
        """
        number = self._group_of.get(name)
        if number is None:
            number = self._groups.setdefault(shard_of(name), len(self._groups) + 1)
            self._group_of[name] = number
        return number


class UnitPlan:
    """
    What a script does to units (:data:`.scripts.UNITS`).

    :param keys: the names of the keys.
    :param shapes: the shapes of the units.
    :param group: returns the number of the group of a name.

    :ivar begins: the beginnings of the keys of the units.
    """

    def __init__(
        self, keys: KeyNames, shapes: Shapes, group: Callable[[str], int]
    ) -> None:
        self.begins: list[str] = []
        self._keys = keys
        self._shapes = shapes
        self._group = group
        self._numbers: list[int] = []
        self._plans: list[str] = []
        self._shape_numbers: dict[int, int] = {}
        self._sums = PlannedSums()

    def add(self, name: str, tag: str, additions: Mapping[int, Addition]) -> int:
        """
        Add a unit.

        :param name: the name of its Metrica.
        :param tag: its tag.
        :param additions: what is added, by number of the set of time buckets.
        :returns: how many cells it has.
        """
        shape = self._shapes.shape(additions)
        number = self._shape_numbers.get(id(shape))
        if number is None:
            self._plans.append(shape.plan)
            number = self._shape_numbers[id(shape)] = len(self._plans)
        numbers = self._sums.numbers(additions.values())
        self._numbers += (number, self._group(name), *numbers)
        self.begins.append(self._keys.key(tag, ""))
        return shape.cells

    def fields(self) -> dict[str, str]:
        """
        Return the fields of the plan, as JSON.
        """
        return {
            "shapes": f"[{','.join(self._plans)}]",
            "sums": self._sums.text(),
            "units": as_json(self._numbers),
        }


class WritePlan:
    """
    What a script checks and saves when batches are added.

    :param names: the names of the keys.
    :param batches: the batches.
    :param definitions: the definitions of all of them, by name.
    :param choices: their choices, by name and group.

    :ivar groups: the groups of the names.
    :ivar keys: the keys of the script.
    :ivar fields: the fields of the plan, as JSON.
    """

    def __init__(
        self,
        names: KeyNames,
        batches: Sequence[WriteBatch],
        definitions: Mapping[str, str],
        choices: Mapping[tuple[str, str], Iterable[str]],
    ) -> None:
        self.groups = NameGroups()
        by_group: dict[int, list[str]] = {}
        for name, text in definitions.items():
            by_group.setdefault(self.groups.number(name), []).extend((name, text))
        numbers = [
            [self.groups.number(name), *values] for (name, _), values in choices.items()
        ]
        self.keys = names.journal()
        self.keys += [names.batch(batch.id) for batch in batches]
        for shard in self.groups.shards:
            self.keys += [names.names(shard), names.units(shard)]
        self.keys += [names.choices(name, group) for name, group in choices]
        ids = [
            [short_hash(batch.digest, DIGEST_BYTES), milliseconds(batch.id_ttl)]
            for batch in batches
        ]
        self.fields = {
            "batches": as_json(ids),
            "names": as_json([by_group.get(n, []) for n in self.groups.numbers]),
            "choices": as_json(numbers),
        }


def plan_text(fields: Mapping[str, str]) -> str:
    """
    Return a plan.

    :param fields: its fields, each as JSON.
    """
    return f"{{{','.join(f'{as_json(name)}:{text}' for name, text in fields.items())}}}"
