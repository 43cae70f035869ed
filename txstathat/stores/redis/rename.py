"""
Renames a Metrica in Redis, also in a cluster, where no command reaches all its keys.

While a Metrica is renamed, the hash of the definitions has a *mark* for both names, and
nothing is added to either. Each key first gets another name in its own slot, which has
an id in it; then its contents are added to the new key, once for this id; then it is
deleted. So each step can be repeated, and whoever renames the same Metrica again
completes what an interrupted call has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from redis import exceptions

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import BATCH_ID_TTL, Amounts, TimeBucket, WriteBatch
from txstathat.stores.redis.keys import KeyNames, slot_tag
from txstathat.stores.redis.parts import Part, milliseconds, read_addition
from txstathat.stores.redis.scripts import RENAME_MARK

__all__ = ["LEASE_SECONDS", "KeyMover", "is_mark"]

#: For how many seconds an interrupted call keeps others from completing the renaming.
LEASE_SECONDS = 30.0
# How many keys are moved before the lease is renewed.
_CHUNK = 200
# What the command PTTL returns for a key that never expires.
_NO_EXPIRY = -1


def is_mark(definition: bytes | str | None) -> bool:
    """
    Return whether a text in the hash of the definitions is a mark, and no definition.
    """
    text = str(definition, "utf-8") if isinstance(definition, bytes) else definition
    return text is not None and text.startswith(RENAME_MARK)


class KeyMover:
    """
    Renames one Metrica.

    :param client: the client of the server.
    :param keys: the names of the store's keys.
    :param run: runs a part of a batch, as ``RedisBackend`` does.
    :param claim: the script :data:`.scripts.RENAME`.
    :param old: the name of the Metrica.
    :param new: its new name.
    """

    def __init__(
        self,
        client: Any,
        keys: KeyNames,
        run: Callable[[Part, str], str],
        claim: Any,
        old: str,
        new: str,
    ) -> None:
        self._client = client
        self._keys = keys
        self._run = run
        self._claim_script = claim
        self._old, self._new = old, new
        self._token = uuid4().hex

    def rename(self) -> bool:
        """
        Rename the Metrica, or complete an earlier call.

        :returns: whether this call did it: not if the Metrica does not exist, or the
            new name is in use.
        :raises StoreUnavailable: if another process renames one at this moment.
        """
        if self._old == self._new:
            return False
        begun = self._claim("begin")
        if begun in ("missing", "used"):
            return False
        # A write to a cluster may be under way when the names are marked: look again
        # until there is nothing left.
        while self._move_all():
            pass
        return self._claim("done") == "done"

    def _claim(self, step: str) -> str:
        lock = self._keys.key("names", "renaming")
        arguments = [self._old, self._new, self._token, milliseconds(LEASE_SECONDS)]
        keys = [self._keys.names, lock]
        reply = str(self._claim_script(keys=keys, args=[*arguments, step]), "utf-8")
        if reply == "busy":
            raise StoreUnavailable(
                "another process renames a stat in this store; try again in "
                f"{LEASE_SECONDS:.0f} seconds"
            )
        return reply

    def _move_all(self) -> int:
        moved = 0
        for chunk in _chunks(list(self._found())):
            self._claim("begin")  # renews the lease
            for key in chunk:
                moved += self._move(key)
        return moved

    def _found(self) -> Iterator[str]:
        for pattern in (
            self._keys.moving_pattern(self._old),
            self._keys.pattern(self._old),
        ):
            for key in self._client.scan_iter(match=pattern, count=1000):
                yield key.decode("utf-8")

    def _move(self, key: str) -> bool:
        id, parts = self._keys.moving_parts(key)
        moving = key
        if id is None:
            id = uuid4().hex
            moving = self._keys.moving(key, id)
            try:
                self._client.execute_command("RENAME", key, moving)
            except exceptions.ResponseError as error:
                if "no such key" not in str(error):
                    raise
                return False  # it has just expired
        if parts[1] is None:
            self._move_choices(moving, parts[2])
        else:
            self._move_cells(moving, id, parts[1], parts[2])
        return True

    def _move_choices(self, moving: str, group: str) -> None:
        choices = self._client.smembers(moving)
        if choices:
            self._client.sadd(self._keys.choices(self._new, group), *choices)
        self._client.unlink(moving)

    def _move_cells(self, moving: str, id: str, scale: str, label: str) -> None:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(moving)
        pipeline.pttl(moving)
        texts, pttl = pipeline.execute()
        cells = {
            key.decode("utf-8"): read_addition(text.decode("utf-8"))
            for key, text in texts.items()
        }
        if not cells:
            return  # it has just expired
        ttl = None if pttl == _NO_EXPIRY else max(pttl, 1) / 1000
        batch = WriteBatch(id, "", lambda: Amounts({}, []), BATCH_ID_TTL)
        part = Part(self._keys, batch, slot_tag(self._new, label[:10]))
        part.add(self._new, [TimeBucket(scale, label, ttl)], cells)
        added = self._run(part, "apply")
        if added not in ("added", "repeated"):
            raise StoreError(f"Redis: {self._old!r} cannot be renamed: {added}")
        self._client.unlink(moving)
        self._client.unlink(part.call()[0][0])  # the id, which nobody can use again


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
