"""
Converts a batch to the arguments of the Redis scripts, and cells to and from the texts
in Redis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from txstathat.stores.interface import (
    Addition,
    Amounts,
    Cell,
    Increment,
    Key,
    TimeBucket,
    WriteBatch,
)
from txstathat.stores.redis.keys import KeyNames, as_json, slot_tag
from txstathat.stores.spread import key_text
from txstathat.stores.sums import as_cell

__all__ = ["Part", "milliseconds", "read_addition", "read_cell", "split_by_slot"]


class Part:
    """
    A part of a batch: what one call of the script :data:`.scripts.ADD` adds.

    :param keys: the names of the store's keys.
    :param batch: the batch.
    :param tag: the tag of the slot of all keys in it.

    :ivar definitions: the definitions of Metricas, by name.
    :ivar choices: the new choices, with the name of their Metrica and their group.
    """

    def __init__(self, keys: KeyNames, batch: WriteBatch, tag: str) -> None:
        self._keys = keys
        self._batch = batch
        self._tag = tag
        self._call: tuple[list[str], str] | None = None
        self.definitions: Mapping[str, str] = {}
        self._increments: list[
            tuple[str, Sequence[TimeBucket], Mapping[Key, Addition]]
        ] = []
        self.choices: list[tuple[tuple[str, str], Sequence[str]]] = []

    def add(
        self, name: str, buckets: Sequence[TimeBucket], cells: Mapping[Key, Addition]
    ) -> None:
        """
        Include the same additions to several time buckets of a Metrica.

        :param name: the name of the Metrica.
        :param buckets: the buckets; each of them only once in a part.
        :param cells: the additions by key.
        """
        self._increments.append((name, buckets, cells))

    def call(self) -> tuple[list[str], str]:
        """
        Return the arguments of the script: keys, and the plan as JSON.
        """
        if self._call is None:
            self._call = self._prepare()
        return self._call

    def _prepare(self) -> tuple[list[str], str]:
        keys = [
            self._keys.key(self._tag, f"part:{self._batch.id}"),
            self._keys.key(self._tag, "scratch"),
            # A part without definitions may be in another slot than they are.
            self._keys.names if self.definitions else self._keys.key(self._tag, "none"),
        ]
        increments = []
        for name, buckets, cells in self._increments:
            first_key = len(keys) + 1
            keys += [self._keys.bucket(name, one.scale, one.label) for one in buckets]
            ttls = ["" if one.ttl is None else milliseconds(one.ttl) for one in buckets]
            increments.append([name, _flat(cells.items()), first_key, *ttls])
        choices = []
        for (name, group), new in self.choices:
            keys.append(self._keys.choices(name, group))
            choices.append([len(keys), *new])
        plan = {
            "digest": self._batch.digest,
            "id_ttl": milliseconds(self._batch.id_ttl),
            "definitions": [text for pair in self.definitions.items() for text in pair],
            "increments": increments,
            "choices": choices,
        }
        return keys, as_json(plan)


def split_by_slot(
    keys: KeyNames,
    batch: WriteBatch,
    amounts: Amounts,
    increments: Sequence[Increment],
) -> list[Part]:
    """
    Split a batch into parts, so that all keys of a part are in one slot of a cluster.

    :param keys: the names of the store's keys.
    :param batch: the batch.
    :param amounts: what it adds.
    :param increments: its increments, spread (:func:`.spread`).
    """
    parts: dict[str, Part] = {}

    def part(tag: str) -> Part:
        if tag not in parts:
            parts[tag] = Part(keys, batch, tag)
        return parts[tag]

    if amounts.definitions:
        part("names").definitions = amounts.definitions
    for buckets, added in increments:
        for name, cells in added.items():
            by_tag: dict[str, list[TimeBucket]] = {}
            for bucket in buckets:
                tag = slot_tag(name, bucket.label[:10])
                by_tag.setdefault(tag, []).append(bucket)
            for tag, same_slot in by_tag.items():
                part(tag).add(name, same_slot, cells)
    for (name, group), choices in amounts.choices.items():
        part(slot_tag(name)).choices.append(((name, group), choices))
    return list(parts.values())


def _flat(cells: Iterable[tuple[Key, Addition]]) -> list[str]:
    flat: list[str] = []
    for key, (whole, events, least, most, real, rest) in cells:
        flat.append(key_text(key))
        if real is None:
            flat.append(f"{whole} {events} {least} {most}")
        else:
            flat.append(f"{whole} {events} {least!r} {most!r} {real!r} {rest!r}")
    return flat


def read_addition(text: str) -> Addition:
    """
    Return the exact contents of a cell.

    :param text: the text of the cell in Redis.
    """
    whole, events, least, most, *floats = text.split(" ")
    real, rest = map(float, floats) if floats else (None, 0.0)
    return Addition(int(whole), int(events), _number(least), _number(most), real, rest)


def read_cell(text: str) -> Cell:
    """
    Return the cell of a text in Redis.
    """
    return as_cell(*read_addition(text))


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def milliseconds(seconds: float) -> str:
    """
    Convert a time to live from seconds to the milliseconds of Redis commands.
    """
    return str(max(1, int(seconds * 1000)))
