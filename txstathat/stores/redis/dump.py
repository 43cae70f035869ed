"""
Reading all that a Redis store holds; see :mod:`txstathat.stores.dump`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from redis import exceptions

from txstathat.errors import StoreUnavailable
from txstathat.stores.dump import StoredCell
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.parts import read_addition

__all__ = ["RedisDump"]

#: How many stretches are read at once.
_AT_ONCE = 500
# What PTTL says of a key without a limit, and of one that is not there any more.
_FOR_EVER, _GONE = -1, -2


class RedisDump(RedisBackend):
    """
    A Redis store, open to be read.

    :param url: as for :class:`~txstathat.stores.redis.RedisBackend`.
    :param seconds: tells the time, in Unix seconds.
    """

    def __init__(self, url: str, seconds: Callable[[], float]) -> None:
        super().__init__(url)
        self._seconds = seconds

    def cells(self) -> Iterator[StoredCell]:
        """
        See :meth:`.Dump.cells`. The names of all stretches are held in memory.
        """
        try:
            stretches = self._stretches()
            for first in range(0, len(stretches), _AT_ONCE):
                yield from self._read_stretches(stretches[first : first + _AT_ONCE])
        except exceptions.RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    def _stretches(self) -> list[tuple[str, str, str]]:
        found = set()
        # What follows the slot's tag is JSON: of three texts where it is a stretch.
        for key in self._client.scan_iter(
            match=f"{self._keys.prefix}:{{??}}:\\[*", count=1000
        ):
            parts = json.loads(key.decode("utf-8").partition("}:")[2])
            if len(parts) == 3 and all(isinstance(part, str) for part in parts):
                found.add(tuple(parts))
        return sorted(found)

    def _read_stretches(
        self, stretches: Sequence[tuple[str, str, str]]
    ) -> Iterator[StoredCell]:
        pipeline = self._client.pipeline(transaction=False)
        for stretch in stretches:
            key = self._keys.stretch(*stretch)
            pipeline.hgetall(key)
            pipeline.pttl(key)
        answers = pipeline.execute()
        now = self._seconds()
        for stretch, cells, left in zip(
            stretches, answers[::2], answers[1::2], strict=True
        ):
            if left == _GONE:
                continue
            until = None if left == _FOR_EVER else now + left / 1000
            for key in sorted(cells):
                sums = read_addition(cells[key].decode("utf-8"))
                yield StoredCell(*stretch, key.decode("utf-8"), until, sums)
