"""
The commands that a write to a Redis Cluster consists of, and what they reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Any

from txstathat.errors import StoreInterrupted
from txstathat.stores.interface import WriteOutcome, WriteResult
from txstathat.stores.redis.cluster_scripts import NAMES, PART, PARTS
from txstathat.stores.redis.keys import (
    IDS,
    INDEX,
    KeyNames,
    as_json,
    shard_of,
    short_hash,
    unit_tag,
)
from txstathat.stores.redis.merging import MergedWrite, Unit, milliseconds
from txstathat.stores.redis.pipelines import Command, evaluate

__all__ = ["NameReplies", "PartCommands", "names_commands", "script_digest"]

_ID_BYTES = 9


def script_digest(script: str) -> str:
    """
    Return by what Redis finds a script.
    """
    return sha1(script.encode("utf-8")).hexdigest()


_NAMES, _PART, _PARTS = map(script_digest, (NAMES, PART, PARTS))


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

    def of_unit(self, unit: Unit) -> Command:
        """
        Return the command for one unit.
        """
        plan, keys = self._plan([unit])
        return evaluate(_PART, keys, plan, self._mode)

    def of_node(self, units: Sequence[Unit]) -> Command:
        """
        Return the command for units on one node.
        """
        plan, keys = self._plan(units)
        return evaluate(_PARTS, [], plan, self._mode, *keys, node_of=keys[0])

    def _plan(self, units: Sequence[Unit]) -> tuple[str, list[str]]:
        write = self._write
        keys: list[str] = []
        batches: dict[int, int] = {}
        shapes: dict[str, tuple[int, list[str]]] = {}
        lines = []
        for unit in units:
            shape = write.shape(unit)
            known = shapes.get(shape.plan)
            if known is None:
                endings = [IDS, INDEX, *shape.endings]
                known = shapes[shape.plan] = (len(shapes) + 1, endings)
            begin = self.begin(unit)
            keys += [begin + ending for ending in known[1]]
            numbers = [batches.setdefault(n, len(batches) + 1) for n in unit.batches]
            lines.append([known[0], numbers, *(write.additions(unit, shape) or ())])
        ids = as_json([self._ids[n] for n in batches])
        plan = (
            f'{{"batches":{ids},"shapes":[{",".join(shapes)}],'
            f'"units":{as_json(lines)}}}'
        )
        return plan, keys


def names_commands(keys: KeyNames, write: MergedWrite, mode: str) -> dict[int, Command]:
    """
    Return the commands that compare or save the definitions of a write, by number of
    the slot.

    :param keys: the names of the keys.
    :param write: the batches.
    :param mode: ``check`` or ``save``.
    """
    return {
        shard: evaluate(
            _NAMES,
            [keys.names(shard), keys.large(shard)],
            mode,
            *(text for pair in definitions for text in pair),
        )
        for shard, definitions in _by_shard(write).items()
    }


class NameReplies:
    """
    What the scripts :data:`.scripts.NAMES` returned.

    :ivar refusal: the refusal if a Metrica has another definition, or ``None``.
    :ivar new: how many definitions are new.
    :ivar large: the names with very large sums.
    """

    def __init__(
        self, write: MergedWrite, shards: Iterable[int], replies: Iterable[Any]
    ) -> None:
        self.refusal: WriteResult | None = None
        self.new = 0
        self.large: set[str] = set()
        by_shard = _by_shard(write)
        for shard, (wrong, new, *large) in zip(shards, replies, strict=True):
            names = [name for name, _ in by_shard[shard]]
            if wrong:
                name = names[int(wrong) - 1]
                if new < 0:
                    # The same batches can be added a moment later.
                    raise StoreInterrupted(f"{name!r} is being renamed; try again")
                self.refusal = WriteResult(WriteOutcome.MISMATCH, name)
            self.new += int(new)
            self.large.update(names[int(number) - 1] for number in large)


def _by_shard(write: MergedWrite) -> dict[int, list[tuple[str, str]]]:
    shards: dict[int, list[tuple[str, str]]] = {}
    for name, text in write.definitions.items():
        shards.setdefault(shard_of(name), []).append((name, text))
    return shards
