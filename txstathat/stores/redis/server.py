"""
Writes to one Redis server: each group of batches with one script, all or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from txstathat.stores.interface import WriteOutcome, WriteResult
from txstathat.stores.redis.cells import split_cells
from txstathat.stores.redis.keys import (
    KeyNames,
    as_json,
    shard_of,
    short_hash,
    tags_of,
    unit_tag,
)
from txstathat.stores.redis.merging import (
    Batch,
    MergedWrite,
    PlannedSums,
    milliseconds,
)
from txstathat.stores.redis.scripts import ADD, DROP, READ, RENAME

__all__ = ["DIGEST_BYTES", "ServerStore"]

#: How many bytes of the hash of a digest are stored.
DIGEST_BYTES = 9

_STATES = {
    "r": WriteResult(WriteOutcome.REPEATED),
    "c": WriteResult(WriteOutcome.CONFLICT),
}


class ServerStore:
    """
    The cells in one server.

    :param keys: the names of the keys.
    :param client: the client.
    """

    def __init__(self, keys: KeyNames, client: Any) -> None:
        self._keys = keys
        self._client = client
        self._add = client.register_script(ADD)
        self._read = client.register_script(READ)
        self._drop = client.register_script(DROP)
        self._rename = client.register_script(RENAME)

    def write(self, batches: Sequence[Batch]) -> list[WriteResult | None]:
        """
        Write batches that can be merged.

        :returns: a result for each of them; ``None`` for those that must be written
            again: alone if all of them are ``None``.
        """
        write = MergedWrite(batches)
        again: list[WriteResult | None] = [None] * len(batches)
        if write.overflow is not None:
            return _refused(batches, WriteOutcome.OVERFLOW, write.overflow)
        plan = _Plan(self._keys, write)
        arguments = [plan.text(), "\n".join(plan.begins)]
        reply = str(self._add(keys=plan.keys, args=arguments), "utf-8")
        what, _, rest = reply.partition(":")
        if what == "added":
            return [WriteResult(WriteOutcome.ADDED)] * len(batches)
        if what == "known":
            return [_STATES.get(letter) for letter in rest]
        if len(batches) > 1:
            return again
        if what == "mismatch":
            return [WriteResult(WriteOutcome.MISMATCH, rest)]
        name = list(write.units.values())[int(rest) - 1].name
        return [WriteResult(WriteOutcome.OVERFLOW, name)]

    def read(
        self, client: Any, fields: dict[str, list[str]]
    ) -> tuple[float, list[list[bytes]]]:
        """
        Read cells.

        :param client: the client to use.
        :param fields: the fields of the cells, by key.
        :returns: the time of the server in milliseconds; and the cells for each key,
            ``b""`` for a missing one.
        """
        reply = self._read(
            keys=list(fields), args=[as_json(list(fields.values()))], client=client
        )
        return split_cells(reply, [len(names) for names in fields.values()])

    def now(self) -> float:
        """
        Return the time of the server in milliseconds.
        """
        seconds, microseconds = self._client.time()
        return float(seconds * 1000 + microseconds // 1000)

    def call(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """
        Run commands that read.

        :param commands: for each its name, its key, and its other arguments.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for words in commands:
                pipeline.execute_command(*words)
            return list(pipeline.execute())

    def drop(self, name: str, unchanged: tuple[str, str, str, str] | None) -> bool:
        """
        Delete a Metrica.

        :param name: its name.
        :param unchanged: a cell that must be unchanged: the tag of its unit, the ending
            of its key, its field and its bytes in hexadecimal digits.
        :returns: whether this call deleted it.
        """
        shard = shard_of(name)
        keys = [self._keys.names(shard), self._keys.units(shard)]
        arguments = [name, *tags_of(name), self._keys.prefix]
        if unchanged is not None:
            tag, ending, field, digits = unchanged
            keys.append(self._keys.key(tag, ending))
            arguments += [field, digits]
        return bool(self._drop(keys=keys, args=arguments))

    def rename(self, name: str, new: str) -> bool:
        """
        Give a Metrica another name.

        :returns: whether this call renamed it.
        """
        keys = [
            key
            for shard in map(shard_of, (name, new))
            for key in (self._keys.names(shard), self._keys.units(shard))
        ]
        quoted = [as_json(name), as_json(new)]
        arguments = [name, new, *quoted, *tags_of(name), self._keys.prefix]
        return bool(self._rename(keys=keys, args=arguments))


def _refused(
    batches: Sequence[Batch], outcome: WriteOutcome, name: str
) -> list[WriteResult | None]:
    if len(batches) > 1:
        return [None] * len(batches)
    return [WriteResult(outcome, name)]


class _Plan:
    """
    The arguments of the script :data:`.scripts.ADD`.

    :ivar keys: its keys.
    :ivar begins: the beginnings of the keys of the units.
    """

    def __init__(self, names: KeyNames, write: MergedWrite) -> None:
        self._names = names
        self.keys = [names.batch(batch.write.id) for batch in write.batches]
        self.begins: list[str] = []
        self._batches = [
            [
                short_hash(batch.write.digest, DIGEST_BYTES),
                milliseconds(batch.write.id_ttl),
            ]
            for batch in write.batches
        ]
        # Groups of names: by number of the slot, and by name.
        self._groups: dict[int, int] = {}
        self._group_of: dict[str, int] = {}
        self._definitions: list[list[str]] = []
        for name, text in write.definitions.items():
            self._definitions[self._group(name) - 1] += [name, text]
        self._add_units(write)
        choices = [
            (names.choices(name, group), [self._group(name), *values])
            for (name, group), values in write.choices.items()
        ]
        for shard in self._groups:
            self.keys += [names.names(shard), names.units(shard)]
        self.keys += [key for key, _ in choices]
        self._choices = [numbers for _, numbers in choices]

    def _group(self, name: str) -> int:
        number = self._group_of.get(name)
        if number is None:
            number = self._groups.setdefault(shard_of(name), len(self._groups) + 1)
            self._group_of[name] = number
            if number > len(self._definitions):
                self._definitions.append([])
        return number

    def _add_units(self, write: MergedWrite) -> None:
        self._units: list[int] = []
        self._shapes: list[str] = []
        self._sums = PlannedSums()
        shapes: dict[int, int] = {}
        groups = self._group_of
        for unit in write.units.values():
            shape = write.shape(unit)
            number = shapes.get(id(shape))
            if number is None:
                self._shapes.append(shape.plan)
                number = shapes[id(shape)] = len(self._shapes)
            group = groups.get(unit.name) or self._group(unit.name)
            self._units += (number, group, *self._sums.numbers(unit))
            self.begins.append(self._names.key(unit_tag(unit.name, unit.key), ""))

    def text(self) -> str:
        """
        Return the plan.
        """
        return (
            f'{{"batches":{as_json(self._batches)},"names":{as_json(self._definitions)}'
            f',"choices":{as_json(self._choices)},"shapes":[{",".join(self._shapes)}]'
            f',"sums":{self._sums.text()},"units":{as_json(self._units)}}}'
        )
