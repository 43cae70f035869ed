"""
Writes to a Redis Cluster: each unit of a group of batches with one script, in one
pipeline for each node.

The ids of the batches are remembered beside each unit. So a write that was interrupted
is completed when it is repeated, and what a failover lost is added again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from txstathat.errors import StoreError, StoreInterrupted
from txstathat.stores.interface import (
    Addition,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)
from txstathat.stores.redis.cluster.parts import (
    NameReplies,
    Part,
    PartCommands,
    PartWrite,
    Preparation,
    script_digest,
)
from txstathat.stores.redis.cluster.pipelines import (
    CLIENT_ERRORS,
    Command,
    Pipelines,
    evaluate,
)
from txstathat.stores.redis.cluster.rename import Renaming
from txstathat.stores.redis.cluster.scripts import (
    DROP_UNIT,
    PART,
    PARTS,
    PREPARE,
    PREPARE_NODE,
)
from txstathat.stores.redis.keys import (
    INDEX,
    KeyNames,
    choices_tag,
    shard_of,
    tags_of,
    unit_tag,
)
from txstathat.stores.redis.merging import Batch, MergedWrite, Unit

__all__ = ["LARGE", "LARGE_FLOAT", "ClusterStore"]

#: Before a larger amount is added to a unit, or anything to a unit with very large
#: sums, the store checks all units of the batch that may overflow.
LARGE = 2**53
#: The same for floats.
LARGE_FLOAT = 1e300

_ADDED = (WriteOutcome.ADDED, WriteOutcome.REPEATED)
_CLAIMED = {
    "conflict": WriteResult(WriteOutcome.CONFLICT),
    "added": WriteResult(WriteOutcome.REPEATED),
}


_SCRIPTS = (PREPARE, PART, DROP_UNIT)
_NODE_SCRIPTS = (PREPARE_NODE, PARTS)
_DROP_UNIT = script_digest(DROP_UNIT)


class ClusterStore:
    """
    The cells in a cluster.

    :param keys: the names of the keys.
    :param client: the client.
    """

    def __init__(self, keys: KeyNames, client: Any) -> None:
        self._keys = keys
        self._client = client
        self._pipelines = Pipelines(client, _SCRIPTS, _NODE_SCRIPTS)

    # -- writing

    def write(self, batches: Sequence[Batch]) -> list[WriteResult | None]:
        """
        Write batches that can be merged.

        :returns: a result for each of them; ``None`` for those that must be written
            again: alone if all of them are ``None``.
        :raises StoreInterrupted: if some units may have been changed and others not.
        """
        write = PartWrite(batches)
        claims, names = self._begin(write)
        if "conflict" in claims or "added" in claims:
            self._release(batches, claims)
            return [_CLAIMED.get(claim) for claim in claims]
        parts = write.parts()
        refusal = names.refusal or self._overflow(write, parts, names.large)
        if refusal is None and names.new:
            refusal = self._save_names(write)
        if refusal is not None:
            self._release(batches, claims)
            return [refusal if len(batches) == 1 else None] * len(batches)
        added = self._apply(write, parts)
        return [
            WriteResult(WriteOutcome.ADDED if n in added else WriteOutcome.REPEATED)
            for n in range(len(batches))
        ]

    def _begin(self, write: PartWrite) -> tuple[list[str], NameReplies]:
        """
        Reserve the ids, and compare the definitions.

        :returns: what became of each id, and of the definitions.
        """
        # Nobody else has the ids of batches without a digest.
        claimed = [n for n, one in enumerate(write.batches) if one.write.digest]
        replies = self._prepare(Preparation(self._keys, write, claimed), "check")
        claims = ["free"] * len(write.batches)
        for n, reply in zip(claimed, replies, strict=False):
            claims[n] = reply.decode("ascii")
        return claims, NameReplies(write, replies[len(claimed) :])

    def _save_names(self, write: PartWrite) -> WriteResult | None:
        replies = self._prepare(Preparation(self._keys, write), "save")
        return NameReplies(write, replies).refusal

    def _prepare(self, preparation: Preparation, mode: str) -> list[bytes]:
        return self._pipelines.run_by_node(
            preparation.keys,
            lambda numbers: preparation.of_node(numbers, mode),
            lambda n: preparation.of_one(n, mode),
        )

    def _release(self, batches: Sequence[Batch], claims: Sequence[str]) -> None:
        self._pipelines.run(
            [
                Command.of("DEL", self._keys.batch(batch.write.id))
                for batch, claim in zip(batches, claims, strict=True)
                if claim == "new"
            ]
        )

    def _overflow(
        self, write: MergedWrite, parts: Sequence[Part], large: set[str]
    ) -> WriteResult | None:
        """
        Return the refusal of the batches if a sum would be too large. Only units with
        very large sums, or to which large amounts are added, are checked.
        """
        name = write.overflow
        if name is not None:
            return WriteResult(WriteOutcome.OVERFLOW, name)
        checked, new = [], set()
        for part in parts:
            unit = part.unit
            is_large = any(map(_is_large, unit.additions.values()))
            if is_large or unit.name in large:
                checked.append(part)
                new.update({unit.name} - large)
        self._set_large(new)
        replies = self._run_parts(PartCommands(self._keys, write, "check"), checked)
        for part, reply in zip(checked, replies, strict=True):
            if reply == b"overflow":
                return WriteResult(WriteOutcome.OVERFLOW, part.unit.name)
        return None

    def _set_large(self, names: Iterable[str]) -> None:
        self._pipelines.run(
            [
                Command.of("SADD", self._keys.large(shard_of(name)), name)
                for name in names
            ]
        )

    def _apply(self, write: PartWrite, parts: Sequence[Part]) -> set[int]:
        """
        Add to all units.

        :returns: the numbers of the batches of which something was added now.
        """
        added: set[int] = set()
        commands = PartCommands(self._keys, write, "apply")
        try:
            self._pipelines.run(self._choice_commands(write))
            while parts:
                replies = self._run_parts(commands, parts)
                large, created, again = set(), [], []
                for part, reply in zip(parts, replies, strict=True):
                    text = reply.decode("ascii")
                    if text.startswith("added"):
                        added.update(part.batches)
                        large.update([part.unit.name] if "!" in text else [])
                        created += [part.unit] if "+" in text else []
                    elif text.startswith("known:"):
                        again.append(write.without(part, _repeated(part, text)))
                    elif text == "overflow":
                        # Another writer was faster.
                        raise StoreInterrupted(
                            f"Redis: a sum of {part.unit.name!r} has just become too "
                            "large"
                        )
                self._note(write, created, large)
                parts = again
        except CLIENT_ERRORS as error:
            raise StoreInterrupted(f"Redis: {error}") from error
        return added

    def _run_parts(self, commands: PartCommands, parts: Sequence[Part]) -> list[bytes]:
        """
        Add to units, or check them.

        :returns: the reply for each unit.
        """
        return self._pipelines.run_by_node(
            [commands.begin(part.unit) for part in parts],
            lambda numbers: commands.of_node([parts[n] for n in numbers]),
            lambda n: commands.of_unit(parts[n]),
        )

    def _note(
        self, write: MergedWrite, created: Sequence[Unit], large: Iterable[str]
    ) -> None:
        """
        Note new units, so that they are found. Another process may have dropped them
        since their definition was saved.
        """
        commands = []
        for unit in created:
            shard = shard_of(unit.name)
            tag = unit_tag(unit.name, unit.key)
            commands.append(Command.of("ZADD", self._keys.units(shard), "0", tag))
        for name in {unit.name for unit in created}:
            key = self._keys.names(shard_of(name))
            text = write.definitions.get(name)
            if text is not None:
                commands.append(Command.of("HSETNX", key, name, text))
        self._pipelines.run(commands)
        self._set_large(large)

    def _choice_commands(self, write: MergedWrite) -> list[Command]:
        commands = []
        for (name, group), choices in write.choices.items():
            key = self._keys.choices(name, group)
            commands.append(Command.of("SADD", key, *choices))
            units = self._keys.units(shard_of(name))
            commands.append(Command.of("ZADD", units, "0", choices_tag(name, group)))
        return commands

    # -- reading

    def read(
        self, client: object, fields: dict[str, list[str]]
    ) -> tuple[float, list[list[bytes]]]:
        """
        Read cells.

        :param client: is not used.
        :param fields: the fields of the cells, by key.
        :returns: the time of a node in milliseconds; and the cells for each key,
            ``b""`` for a missing one.
        """
        *replies, time = self._pipelines.run(
            [Command.of("HMGET", key, *some) for key, some in fields.items()]
            + [Command.time(next(iter(fields)))]
        )
        return _milliseconds(time), [
            [cell or b"" for cell in cells] for cells in replies
        ]

    def now(self) -> float:
        """
        Return the time of a node in milliseconds.
        """
        return _milliseconds(self._pipelines.run([Command.time("")])[0])

    def call(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        """
        Run commands that read.

        :param commands: for each its name, its key, and its other arguments.
        """
        return self._pipelines.run([Command.of(*words) for words in commands])

    # -- renaming

    def rename(self, name: str, new: str) -> bool:
        """
        Give a Metrica another name.

        :returns: whether this call renamed it.
        :raises StoreUnavailable: if another process renames one at this moment.
        """
        return Renaming(self._keys, self._client, self.add_cells, name, new).rename()

    def add_cells(self, batch: WriteBatch) -> None:
        """
        Add cells that are moved.
        """
        (result,) = self.write([Batch(batch, batch.amounts())])
        if result is None or result.outcome not in _ADDED:
            raise StoreError(f"Redis: cells of a Metrica cannot be moved: {result}")

    # -- dropping

    def drop(self, name: str, unchanged: tuple[str, str, str, str] | None) -> bool:
        """
        Delete a Metrica.

        :param name: its name.
        :param unchanged: a cell that must be unchanged: the tag of its unit, the ending
            of its key, its field and its bytes in hexadecimal digits.
        :returns: whether this call deleted it.
        """
        shard = shard_of(name)
        names, units = self._keys.names(shard), self._keys.units(shard)
        definition = self._client.hget(names, name)
        tags = [tag.decode() for tag in self._client.zrangebylex(units, *tags_of(name))]
        if unchanged is not None and unchanged[0] not in tags:
            tags.append(unchanged[0])  # an earlier call may have been interrupted
        # Whoever adds to a deleted unit notes its name and tag again. So delete those
        # first.
        self._client.hdel(names, name)
        if tags:
            self._client.zrem(units, *tags)
        deleted = 0
        for tag in sorted(
            tags, key=lambda tag: unchanged is None or tag != unchanged[0]
        ):
            condition = unchanged if unchanged and unchanged[0] == tag else None
            found = self._drop_tag(tag, condition)
            if found is None:
                if definition is not None:
                    self._client.hsetnx(names, name, definition)
                self._client.zadd(units, dict.fromkeys(tags, 0))
                return False
            deleted += found
        self._client.srem(self._keys.large(shard), name)
        return definition is not None or deleted > 0

    def _drop_tag(
        self, tag: str, unchanged: tuple[str, str, str, str] | None
    ) -> int | None:
        """
        Delete the keys of a tag.

        :returns: how many there were; ``None`` if the cell has changed.
        """
        begin = self._keys.key(tag, "")
        index = begin + INDEX
        condition = index if unchanged is None else begin + unchanged[1]
        while True:
            endings = [ending.decode() for ending in self._client.hkeys(index)]
            keys = [index, *(begin + ending for ending in ("", *endings))]
            arguments = [str(len(endings)), *(unchanged or ())[2:]]
            (reply,) = self._pipelines.run(
                [evaluate(_DROP_UNIT, [index, condition, *keys], *arguments)]
            )
            if reply >= 0:
                return int(reply) - 1 if reply else None


def _milliseconds(time: Sequence[bytes]) -> float:
    return float(int(time[0]) * 1000 + int(time[1]) // 1000)


def _repeated(part: Part, reply: str) -> set[int]:
    states = zip(part.batches, reply.partition(":")[2], strict=True)
    return {number for number, state in states if state == "r"}


def _is_large(addition: Addition) -> bool:
    return abs(addition.whole) > LARGE or (
        addition.real is not None and abs(addition.real) > LARGE_FLOAT
    )
