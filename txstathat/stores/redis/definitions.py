"""
Reads the definitions of Metricas in Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from typing import Any, TypeAlias

from txstathat.stores.redis.cluster.rename import is_mark
from txstathat.stores.redis.keys import SHARDS, KeyNames, shard_of

__all__ = ["all_definitions", "pairs", "read_definitions"]

# Of how many shards the definitions are read at once.
_SHARDS_AT_ONCE = 8

# Runs commands that read: for each its name, its key, and its other arguments.
_Call: TypeAlias = Callable[[Sequence[Sequence[str]]], list[Any]]


def read_definitions(
    keys: KeyNames, call: _Call, names: Sequence[str]
) -> dict[str, str]:
    """
    Return definitions by name.

    :param keys: the names of the keys.
    :param call: runs commands.
    :param names: the names; unknown ones are left out.
    """
    if not names:
        return {}
    shards: dict[int, list[str]] = {}
    for name in names:
        shards.setdefault(shard_of(name), []).append(name)
    replies = call(
        [("HMGET", keys.names(shard), *some) for shard, some in shards.items()]
    )
    known = {
        name: str(definition, "utf-8")
        for some, reply in zip(shards.values(), replies, strict=True)
        for name, definition in zip(some, reply, strict=True)
        if definition is not None and not is_mark(definition)
    }
    return {name: known[name] for name in names if name in known}


def all_definitions(keys: KeyNames, call: _Call) -> dict[str, str]:
    """
    Return all definitions by name, sorted.

    :param keys: the names of the keys.
    :param call: runs commands.
    """
    found: dict[str, str] = {}
    # Sorting all at once would hold up the other threads.
    names: list[list[str]] = []
    for shard in _shards(keys, call):
        found.update(shard)
        names.append(sorted(shard))
    return {name: found[name] for name in merge(*names)}


def _shards(keys: KeyNames, call: _Call) -> Iterator[dict[str, str]]:
    # Many have the same definition: one text of it is enough.
    texts: dict[bytes, str] = {}
    for first in range(0, SHARDS, _SHARDS_AT_ONCE):
        shards = range(first, first + _SHARDS_AT_ONCE)
        for reply in call([("HGETALL", keys.names(shard)) for shard in shards]):
            yield {
                str(name, "utf-8"): texts.setdefault(text, str(text, "utf-8"))
                for name, text in pairs(reply)
                if not is_mark(text)
            }


def pairs(reply: Any) -> Iterable[tuple[bytes, bytes]]:
    """
    Return the fields and values that the command ``HGETALL`` replied.
    """
    if isinstance(reply, dict):
        return reply.items()
    return zip(reply[::2], reply[1::2], strict=True)
