"""
Reads the whole contents of a Redis store; see :mod:`txstathat.stores.dump`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from redis import exceptions

from txstathat.errors import StoreUnavailable
from txstathat.stores.interface import StoredCell
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.parts import read_addition
from txstathat.stores.redis.rename import is_mark

__all__ = ["RedisDump"]

# How many time buckets to read in one pipeline.
_CHUNK = 500
# What the command PTTL returns for a key that never expires, and for a missing key.
_NO_EXPIRY, _NO_KEY = -1, -2


class RedisDump(RedisBackend):
    """
    The contents of a Redis store. It implements
    :class:`~txstathat.stores.interface.Dump`.

    :param url: as for :class:`~txstathat.stores.redis.backend.RedisBackend`.
    :param seconds: returns the time, in Unix seconds.
    """

    def __init__(self, url: str, seconds: Callable[[], float]) -> None:
        super().__init__(url)
        self._seconds = seconds

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """
        See :meth:`.Dump.definitions`.

        :raises StoreUnavailable: if a Metrica is being renamed, since some of its cells
            would be missing.
        """
        with self._session():
            texts = self._client.hvals(self._keys.names)
        if any(map(is_mark, texts)):
            raise StoreUnavailable(
                "a stat is being renamed in this store; try again in a moment"
            )
        return super().definitions(names)

    def cells(self) -> Iterator[StoredCell]:
        """
        See :meth:`.Dump.cells`. It holds the names of all time buckets in memory.
        """
        try:
            buckets = self._buckets()
            for first in range(0, len(buckets), _CHUNK):
                yield from self._read_buckets(buckets[first : first + _CHUNK])
        except exceptions.RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    def _buckets(self) -> list[tuple[str, str, str]]:
        found = set()
        # JSON follows the tag of the slot; for a time bucket it is a list of three
        # texts.
        for key in self._client.scan_iter(
            match=f"{self._keys.prefix}:{{??}}:\\[*", count=1000
        ):
            parts = json.loads(key.decode("utf-8").partition("}:")[2])
            if len(parts) == 3 and all(isinstance(part, str) for part in parts):
                found.add(tuple(parts))
        return sorted(found)

    def _read_buckets(
        self, buckets: Sequence[tuple[str, str, str]]
    ) -> Iterator[StoredCell]:
        pipeline = self._client.pipeline(transaction=False)
        for bucket in buckets:
            key = self._keys.bucket(*bucket)
            pipeline.hgetall(key)
            pipeline.pttl(key)
        replies = pipeline.execute()
        now = self._seconds()
        for bucket, cells, pttl in zip(
            buckets, replies[::2], replies[1::2], strict=True
        ):
            if pttl == _NO_KEY:
                continue
            expires = None if pttl == _NO_EXPIRY else now + pttl / 1000
            for key in sorted(cells):
                sums = read_addition(cells[key].decode("utf-8"))
                yield StoredCell(*bucket, key.decode("utf-8"), expires, sums)
