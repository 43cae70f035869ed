"""
The commands that a write to a Redis Cluster consists of, and what they reply.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from itertools import repeat

from txstathat.errors import StoreInterrupted
from txstathat.stores.interface import (
    Amounts,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.redis.cluster.pipelines import Command, evaluate
from txstathat.stores.redis.cluster.scripts import (
    PART,
    PARTS,
    PREPARE,
    PREPARE_NODE,
)
from txstathat.stores.redis.keys import (
    DIGEST_BYTES,
    IDS,
    INDEX,
    KeyNames,
    as_json,
    shard_of,
    short_hash,
    unit_tag,
)
from txstathat.stores.redis.merging import (
    Batch,
    BucketSets,
    MergedWrite,
    PlannedSums,
    Unit,
    milliseconds,
)
from txstathat.stores.spread import key_text, roll_up
from txstathat.stores.sums import Events

__all__ = [
    "NameReplies",
    "Part",
    "PartCommands",
    "PartWrite",
    "Preparation",
    "script_digest",
]

_ID_BYTES = 9


def script_digest(script: str) -> str:
    """
    Return by what Redis finds a script.
    """
    return sha1(script.encode("utf-8")).hexdigest()


_PART, _PARTS = script_digest(PART), script_digest(PARTS)
_PREPARE, _PREPARE_NODE = script_digest(PREPARE), script_digest(PREPARE_NODE)


@dataclass(slots=True)
class Part:
    """
    What a write adds to one unit.

    :ivar unit: the unit, with what is added to it.
    :ivar batches: the numbers of the batches that add it.
    """

    unit: Unit
    batches: list[int] = field(default_factory=list)


class PartWrite(MergedWrite):
    """
    Batches that are written together, and added to each unit by itself.

    :param batches: the batches.
    :param sets: see :class:`.MergedWrite`.
    """

    def __init__(
        self, batches: Sequence[Batch], sets: BucketSets | None = None
    ) -> None:
        super().__init__(batches, sets)
        self._rests: dict[frozenset[int], PartWrite] = {}
        self._shards: dict[int, list[str]] = {}

    def shards(self) -> dict[int, list[str]]:
        """
        Return the names of the Metricas, by number of the slot of the definition.
        """
        if not self._shards:
            for name in self.definitions:
                self._shards.setdefault(shard_of(name), []).append(name)
        return self._shards

    def parts(self) -> list[Part]:
        """
        Return what is added to each unit.
        """
        parts = {place: Part(unit) for place, unit in self.units.items()}
        for number, batch in enumerate(self.batches):
            for place in _units_of(batch.amounts):
                parts[place].batches.append(number)
        return list(parts.values())

    def without(self, part: Part, known: Collection[int]) -> Part:
        """
        Return what the write adds to a unit without some of the batches.

        :param part: all that it adds to the unit.
        :param known: the numbers of the batches to leave out, not all of the part's.
        """
        left = [n for n in part.batches if n not in known]
        rest = self._rests.get(frozenset(left))
        if rest is None:
            rest = PartWrite([self.batches[n] for n in left], self._sets)
            self._rests[frozenset(left)] = rest
        return Part(rest.units[part.unit.name, part.unit.key], left)


def _units_of(amounts: Amounts) -> Iterable[tuple[str, str]]:
    units: set[tuple[str, str]] = set()
    for increment in amounts.increments:
        if isinstance(increment, Events):
            units.update(zip(increment.names, repeat(key_text(()))))
            continue
        rolled = increment.cells
        if amounts.above:
            rolled = {
                name: roll_up(cells, amounts.above.get(name, ()))
                for name, cells in rolled.items()
            }
        units.update(
            [(name, key_text(key)) for name, cells in rolled.items() for key in cells]
        )
    return units


class PartCommands:
    """
    Makes the commands that add to units.

    :param keys: the names of the keys.
    :param write: the batches.
    :param mode: ``check`` or ``apply``.
    """

    def __init__(self, keys: KeyNames, write: MergedWrite, mode: str) -> None:
        self._keys = keys
        self._write = write
        self._mode = mode
        self._ids = [
            (short_hash(batch.write.id, _ID_BYTES), milliseconds(batch.write.id_ttl))
            for batch in write.batches
        ]
        self._begins: dict[tuple[str, str], str] = {}

    def begin(self, unit: Unit) -> str:
        """
        Return the beginning of the keys of a unit.
        """
        begin = self._begins.get((unit.name, unit.key))
        if begin is None:
            begin = self._keys.key(unit_tag(unit.name, unit.key), "")
            self._begins[unit.name, unit.key] = begin
        return begin

    def of_unit(self, part: Part) -> Command:
        """
        Return the command for one unit.
        """
        begin = self.begin(part.unit)
        shape = self._write.shape(part.unit.additions)
        keys = [begin + ending for ending in (IDS, INDEX, *shape.endings)]
        return evaluate(_PART, keys, self._plan([part]), self._mode, begin)

    def of_node(self, parts: Sequence[Part]) -> Command:
        """
        Return the command for units on one node.
        """
        begins = [self.begin(part.unit) for part in parts]
        return evaluate(
            _PARTS,
            [],
            self._plan(parts),
            self._mode,
            "\n".join(begins),
            node_of=begins[0],
        )

    def _plan(self, parts: Sequence[Part]) -> str:
        batches: dict[int, int] = {}
        shapes: dict[str, int] = {}
        sums = PlannedSums()
        units = []
        for part in parts:
            shape = self._write.shape(part.unit.additions)
            units.append(
                [
                    shapes.setdefault(shape.plan, len(shapes) + 1),
                    [batches.setdefault(n, len(batches) + 1) for n in part.batches],
                    *sums.numbers(part.unit.additions.values()),
                ]
            )
        ids = as_json([self._ids[n] for n in batches])
        return (
            f'{{"batches":{ids},"shapes":[{",".join(shapes)}],"sums":{sums.text()},'
            f'"units":{as_json(units)}}}'
        )


class Preparation:
    """
    Makes the commands that reserve the ids of a write, and compare or save its
    definitions: first a thing for each id, then one for each slot of definitions.

    :param keys: the names of the keys.
    :param write: the batches.
    :param claimed: the numbers of the batches of which to reserve the ids.

    :ivar keys: a key of each thing.
    """

    def __init__(
        self, keys: KeyNames, write: PartWrite, claimed: Sequence[int] = ()
    ) -> None:
        self._definitions = write.definitions
        self._ids = []
        for n in claimed:
            batch = write.batches[n].write
            digest = short_hash(batch.digest, DIGEST_BYTES)
            ttl = milliseconds(batch.id_ttl)
            self._ids.append((keys.batch(batch.id), digest, ttl))
        self._shards = [
            (keys.names(shard), keys.large(shard), names)
            for shard, names in write.shards().items()
        ]
        self.keys = [thing[0] for thing in (*self._ids, *self._shards)]

    def of_one(self, number: int, mode: str) -> Command:
        """
        Return the command for one thing.

        :param number: its number.
        :param mode: ``check`` or ``save``.
        """
        shard = number - len(self._ids)
        keys = [self.keys[number]] if shard < 0 else [*self._shards[shard][:2]]
        return evaluate(_PREPARE, keys, self._plan([number]), mode)

    def of_node(self, numbers: Sequence[int], mode: str) -> Command:
        """
        Return the command for things on one node.

        :param numbers: their numbers, in order.
        :param mode: ``check`` or ``save``.
        """
        node_of = self.keys[numbers[0]]
        return evaluate(_PREPARE_NODE, [], self._plan(numbers), mode, node_of=node_of)

    def _plan(self, numbers: Sequence[int]) -> str:
        texts: dict[str, int] = {}
        count = len(self._ids)
        names = [
            (
                *self._shards[n - count],
                [
                    texts.setdefault(self._definitions[name], len(texts) + 1)
                    for name in self._shards[n - count][2]
                ],
            )
            for n in numbers
            if n >= count
        ]
        ids = [self._ids[n] for n in numbers if n < count]
        return as_json({"ids": ids, "names": names, "texts": list(texts)})


class NameReplies:
    """
    What the scripts :data:`.scripts.PREPARE` returned of the definitions of a write.

    :param write: the batches.
    :param replies: a line for each slot of definitions.

    :ivar refusal: the refusal if a Metrica has another definition, or ``None``.
    :ivar new: how many definitions are new.
    :ivar large: the names with very large sums.
    """

    def __init__(self, write: PartWrite, replies: Iterable[bytes]) -> None:
        self.refusal: WriteResult | None = None
        self.new = 0
        self.large: set[str] = set()
        for names, line in zip(write.shards().values(), replies, strict=True):
            wrong, new, *large = map(int, line.split())
            if wrong:
                name = names[wrong - 1]
                if new < 0:
                    # The same batches can be added a moment later.
                    raise StoreInterrupted(f"{name!r} is being renamed; try again")
                self.refusal = WriteResult(WriteOutcome.MISMATCH, name)
            self.new += new
            self.large.update(names[number - 1] for number in large)
