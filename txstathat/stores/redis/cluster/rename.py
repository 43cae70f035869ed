"""
Renames a Metrica in a Redis Cluster, where no command reaches all its keys.

While a Metrica is renamed, the definitions have a *mark* for both names, and nothing is
added to either. The keys of each unit first get other names in their slot, all at once;
then their contents are added to the new unit, once for the id of this move; then they
are deleted. So each step can be repeated, and whoever renames the same Metrica again
completes what an interrupted call has begun.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

from txstathat.errors import StoreUnavailable
from txstathat.stores.interface import (
    Amounts,
    Increment,
    TimeBucket,
    WriteBatch,
)
from txstathat.stores.redis.cells import read_addition
from txstathat.stores.redis.cluster.scripts import TAKE_UNIT
from txstathat.stores.redis.keys import (
    COARSE,
    INDEX,
    KeyNames,
    as_json,
    choices_tag,
    scale_and_label,
    shard_of,
    tags_of,
)

__all__ = ["LEASE_SECONDS", "RENAME_MARK", "Renaming", "is_mark"]

#: The beginning of what the definitions have in place of a definition while a Metrica
#: is renamed. (A definition is JSON.)
RENAME_MARK = "#renaming "
#: For how many seconds an interrupted call keeps others from completing the renaming.
LEASE_SECONDS = 30.0

# What the keys of a unit that is moved have before their ending, and the key of the id.
_MOVING, _ID = ">", ">id"


def is_mark(definition: bytes | str | None) -> bool:
    """
    Return whether a text among the definitions is a mark, and no definition.
    """
    text = str(definition, "utf-8") if isinstance(definition, bytes) else definition
    return text is not None and text.startswith(RENAME_MARK)


class Renaming:
    """
    Renames one Metrica.

    :param keys: the names of the keys.
    :param client: the client of the cluster.
    :param add: adds a batch.
    :param old: the name of the Metrica.
    :param new: its new name.
    """

    def __init__(
        self,
        keys: KeyNames,
        client: Any,
        add: Callable[[WriteBatch], None],
        old: str,
        new: str,
    ) -> None:
        self._keys = keys
        self._client = client
        self._add = add
        self._old, self._new = old, new
        self._token = uuid4().hex
        self._lock = keys.key("names", "renaming")
        self._old_names, self._new_names = (
            keys.names(shard_of(name)) for name in (old, new)
        )
        self._old_units, self._new_units = (
            keys.units(shard_of(name)) for name in (old, new)
        )

    def rename(self) -> bool:
        """
        Rename the Metrica, or complete an earlier call.

        :returns: whether this call did it: not if the Metrica does not exist, or the
            new name is in use.
        :raises StoreUnavailable: if another process renames one at this moment, or an
            interrupted renaming of the same Metrica must be completed.
        """
        if self._old == self._new:
            return False
        milliseconds = int(LEASE_SECONDS * 1000)
        if not self._client.set(self._lock, self._token, nx=True, px=milliseconds):
            raise self._busy()
        definition = self._mark()
        if definition is None:
            self._client.delete(self._lock)
            return False
        self._move_all()
        self._end(definition)
        self._client.delete(self._lock)
        return True

    def _busy(self) -> StoreUnavailable:
        return StoreUnavailable(
            "another process renames a stat in this store; try again in "
            f"{LEASE_SECONDS:.0f} seconds"
        )

    def _mark(self) -> str | None:
        """
        Mark both names.

        :returns: the definition; ``None`` if the Metrica cannot be renamed so.
        """
        found = self._client.hget(self._old_names, self._old)
        if found is None:
            return None
        definition = found.decode("utf-8")
        resumed = is_mark(definition)
        if resumed:
            old, new, definition = json.loads(definition[len(RENAME_MARK) :])
            if (old, new) != (self._old, self._new):
                self._client.delete(self._lock)
                raise self._busy()
        mark = RENAME_MARK + as_json([self._old, self._new, definition])
        known = self._client.hget(self._new_names, self._new)
        if known is None:
            # The old name first: an interrupted call is found by it.
            self._client.hset(self._old_names, self._old, mark)
            if self._client.hsetnx(self._new_names, self._new, mark):
                return str(definition)
        elif known.decode("utf-8") == mark or (resumed and not self._tags()):
            return str(definition)
        self._client.hset(self._old_names, self._old, definition)
        return None

    def _end(self, definition: str) -> None:
        # A call that completes this finds the mark of the old name, and no tags.
        self._client.hset(self._new_names, self._new, definition)
        self._client.hdel(self._old_names, self._old)
        if self._tags():
            # A write that had begun before has just been added: a new Metrica.
            self._client.hsetnx(self._old_names, self._old, definition)

    def _tags(self) -> list[str]:
        found = self._client.zrangebylex(self._old_units, *tags_of(self._old))
        return [tag.decode("ascii") for tag in found]

    def _move_all(self) -> None:
        milliseconds = int(LEASE_SECONDS * 1000)
        while tags := self._tags():
            for tag in tags:
                self._client.pexpire(self._lock, milliseconds)
                _, *rest = json.loads(tag)
                if len(rest) > 1:
                    self._move_choices(tag, rest[1])
                else:
                    self._move_unit(tag, rest[0])
                self._forget(tag)

    def _move_choices(self, tag: str, group: str) -> None:
        old = self._keys.key(tag, "")
        choices = self._client.smembers(old)
        if choices:
            new_tag = choices_tag(self._new, group)
            self._client.zadd(self._new_units, {new_tag: 0})
            self._client.sadd(self._keys.key(new_tag, ""), *choices)
        self._client.unlink(old)

    def _forget(self, tag: str) -> None:
        self._client.zrem(self._old_units, tag)
        # A write that had begun before may have added something since.
        if self._client.exists(self._keys.key(tag, "")):
            self._client.zadd(self._old_units, {tag: 0})

    def _move_unit(self, tag: str, key: str) -> None:
        begin = self._keys.key(tag, "")
        while id := self._take(begin):
            index = begin + _MOVING + INDEX
            endings = [one.decode("utf-8") for one in self._client.hkeys(index)]
            amounts = Amounts(
                {},
                [
                    one
                    for ending in (COARSE, *endings)
                    for one in self._read(begin, ending, key)
                ],
            )
            self._add(WriteBatch(id, "", partial(_same, amounts)))
            for ending in (*endings, COARSE, INDEX):
                self._client.unlink(begin + _MOVING + ending)
            self._client.delete(begin + _ID)

    def _take(self, begin: str) -> str:
        """
        Give the keys of a unit their other names.

        :returns: the id of the move, empty if there is nothing to move.
        """
        while True:
            found = self._client.hkeys(begin + INDEX)
            endings = [one.decode("utf-8") for one in found]
            keys = [begin + _ID, begin + INDEX]
            for ending in (COARSE, INDEX, *endings):
                keys += [begin + ending, begin + _MOVING + ending]
            reply = self._client.eval(
                TAKE_UNIT, len(keys), *keys, uuid4().hex, str(len(endings))
            )
            id = str(reply, "ascii")
            if id != "again":
                return id

    def _read(self, begin: str, ending: str, key: str) -> Iterator[Increment]:
        cells = self._client.hgetall(begin + _MOVING + ending)
        seconds, microseconds = self._client.time(target_nodes="random")
        now = seconds * 1000 + microseconds // 1000
        for field, cell in cells.items():
            sums, expiry = read_addition(cell)
            ttl = None if expiry is None else (expiry - now) / 1000
            if ttl is None or ttl > 0:
                bucket = TimeBucket(*scale_and_label(ending, field.decode()), ttl)
                yield Increment([bucket], {self._new: {key: sums}})


def _same(amounts: Amounts) -> Amounts:
    return amounts
