"""
Migrates a Redis store of an older version.

Each step can be repeated, so an interrupted migration is completed by the next one. No
process of an older version may use the store meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

from redis.cluster import RedisCluster
from twisted.logger import Logger

from txstathat.errors import StoreUnavailable
from txstathat.stores.redis.cell_scripts import ADDING
from txstathat.stores.redis.cells import pack_cell, read_text
from txstathat.stores.redis.keys import (
    COARSE,
    DIGEST_BYTES,
    INDEX,
    KeyNames,
    choices_tag,
    place,
    shard_of,
    short_hash,
    unit_tag,
)

__all__ = ["LOCK_SECONDS", "MIGRATIONS", "migrate"]

#: For how many seconds one step of a migration keeps other processes from migrating.
LOCK_SECONDS = 60.0

# How many keys are migrated at once.
_CHUNK = 200

_log = Logger()


def migrate(
    keys: KeyNames, client: Any, version: int, seconds: Callable[[], float]
) -> None:
    """
    Migrate a store to the latest version.

    :param keys: the names of the keys.
    :param client: the client.
    :param version: the version of the store.
    :param seconds: returns the time, in Unix seconds.
    :raises StoreUnavailable: if another process is migrating it.
    """
    lock, owner = keys.key("names", "migrating"), uuid4().hex
    lasting = int(LOCK_SECONDS * 1000)
    if not client.set(lock, owner, nx=True, px=lasting):
        raise StoreUnavailable(
            "another process is migrating the store to a newer version; wait for it"
        )
    try:
        for number, step in enumerate(MIGRATIONS[version - 1 :], version + 1):
            _log.info("migrating the Redis store to version {number}", number=number)
            for _ in step(keys, client, seconds):
                client.pexpire(lock, lasting)
            client.set(keys.version, number)
    finally:
        client.delete(lock)


def _to_2(keys: KeyNames, client: Any, seconds: Callable[[], float]) -> Iterator[None]:
    """
    Version 1 had the time buckets of a day in one of 256 slots: a hash of all cells of
    a Metrica in a bucket, which expired as a whole; and one hash of all definitions.
    """
    definitions = keys.key("names", "names")
    for some in _chunks(client.hscan_iter(definitions, count=1000)):
        _run(
            client,
            [
                ("HSETNX", keys.names(shard_of(name.decode())), name, text)
                for name, text in some
            ],
        )
        yield
    pattern = f"{keys.prefix}:{{??}}:*"
    for found in _chunks(client.scan_iter(match=pattern, count=1000)):
        _move(keys, client, found, seconds)
        yield
    client.delete(definitions)


def _chunks(things: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(things)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk


def _run(client: Any, commands: Iterable[Sequence[Any]]) -> list[Any]:
    pipeline = client.pipeline()
    for words in commands:
        pipeline.execute_command(*words)
    return list(pipeline.execute())


def _move(
    keys: KeyNames, client: Any, found: Sequence[bytes], seconds: Callable[[], float]
) -> None:
    names = {key: key.decode("utf-8").partition("}:")[2] for key in found}
    kinds = {
        key: kind for key, name in names.items() if (kind := _kind(name)) is not None
    }
    values = _run(client, [(_READERS[kind], key) for key, kind in kinds.items()])
    ttls = _run(client, [("PTTL", key) for key in kinds])
    now = seconds() * 1000
    commands: list[Sequence[Any]] = []
    # When the hashes expire: at the latest expiry of their cells, None for never.
    expiries: dict[tuple[str, str], float | None] = {}
    for (key, kind), value, ttl in zip(kinds.items(), values, ttls, strict=True):
        if ttl == _NO_KEY:
            continue
        if kind == "cells":
            bucket = json.loads(names[key])
            expiry = None if ttl == _NO_EXPIRY else now + ttl
            commands += _cells(keys, bucket, value, expiry, expiries)
        elif kind == "choices":
            name, _, group = json.loads(names[key])
            tag = choices_tag(name, group)
            commands += [
                ("SADD", keys.key(tag, ""), *value),
                ("ZADD", keys.units(shard_of(name)), 0, tag),
            ]
        else:
            commands += _batch(keys, names[key], value.decode("utf-8"), ttl)
    _run(client, commands)
    _prolong(client, expiries)
    _run(client, [("DEL", key) for key in kinds])


_NO_EXPIRY, _NO_KEY = -1, -2
_READERS = {"cells": "HGETALL", "choices": "SMEMBERS", "batch": "GET"}


def _kind(name: str) -> str | None:
    """
    Return what a key contains.

    :param name: its name after the tag.
    """
    if name.startswith("["):
        return "choices" if json.loads(name)[1] is None else "cells"
    return "batch" if name.startswith(("part:", "batch:")) else None


def _cells(
    keys: KeyNames,
    bucket: Sequence[str],
    cells: Any,
    expiry: float | None,
    expiries: dict[tuple[str, str], float | None],
) -> Iterator[Sequence[Any]]:
    name, scale, label = bucket
    ending, field = place(scale, label)
    expires = None if expiry is None else int(expiry)
    for key, cell in cells.items():
        tag = unit_tag(name, key.decode("utf-8"))
        begin = keys.key(tag, "")
        yield "HSETNX", begin + ending, field, _new_cell(cell, expires)
        yield "ZADD", keys.units(shard_of(name)), 0, tag
        if ending != COARSE:
            latest = expiries.get((begin, ending), 0.0)
            expiries[begin, ending] = (
                None if expiry is None or latest is None else max(latest, expiry)
            )


def _new_cell(cell: bytes, expiry: int | None) -> bytes:
    return pack_cell(read_text(cell.decode("ascii")), expiry)


def _prolong(client: Any, expiries: dict[tuple[str, str], float | None]) -> None:
    """
    Let hashes expire no earlier than their cells.
    """
    known = _run(
        client, [("HGET", begin + INDEX, ending) for begin, ending in expiries]
    )
    commands: list[Sequence[Any]] = []
    for ((begin, ending), expiry), text in zip(expiries.items(), known, strict=True):
        if expiry is None or text == b"":
            commands.append(("PERSIST", begin + ending))
            commands.append(("HSET", begin + INDEX, ending, ""))
        else:
            latest = str(int(max(expiry + 1, float(text or 0))))
            commands.append(("PEXPIREAT", begin + ending, latest))
            commands.append(("HSET", begin + INDEX, ending, latest))
    _run(client, commands)


def _batch(keys: KeyNames, name: str, text: str, ttl: int) -> Iterator[Sequence[Any]]:
    what, _, id = name.partition(":")
    if what == "batch":
        # In a cluster; the parts were noted apart.
        state, _, text = text.partition(":")
        if state != "added":
            return
    digest = short_hash(text, DIGEST_BYTES)
    yield "SET", keys.batch(id), f"!{digest}", "NX", "PX", max(1, ttl)


# Returns the numbers of the hashes of cells that have a very large sum.
_LARGE = (
    "local SCRATCH = ''"
    + ADDING
    + """
local found = {}
for n, key in ipairs(KEYS) do
    large = false
    local is_hash = call('TYPE', key).ok == 'hash'
    for _, cell in ipairs(is_hash and call('HVALS', key) or EMPTY) do
        local w, e, l, m, r, s, kinds = decode(cell)
        if not w then
            shortest(cell:match('^([^@]*[^@ ])'))
        elseif r then
            encode(w, e, l, m, r, s, kinds)
        end
    end
    if large then
        found[#found + 1] = n
    end
end
return found
"""
)


def _to_3(keys: KeyNames, client: Any, seconds: Callable[[], float]) -> Iterator[None]:
    """
    Version 2 had no journal. Programs that know only that would not count what it adds;
    and on one server they did not note the Metricas with very large sums.
    """
    if isinstance(client, RedisCluster):
        return
    find = client.register_script(_LARGE)
    pattern = f"{keys.prefix}:{{[[]*"
    for some in _chunks(client.scan_iter(match=pattern, count=1000)):
        cells = [key for key in some if not key.endswith(b"}:" + INDEX.encode())]
        tags = [cells[n - 1].partition(b"{")[2] for n in find(keys=cells)]
        names = {json.JSONDecoder().raw_decode(tag.decode())[0][0] for tag in tags}
        if names:
            client.sadd(keys.journal()[2], *names)
        yield


#: The steps from each version to the next one.
MIGRATIONS: tuple[
    Callable[[KeyNames, Any, Callable[[], float]], Iterator[None]], ...
] = (_to_2, _to_3)
