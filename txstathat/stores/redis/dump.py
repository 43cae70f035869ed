"""
Reads the whole contents of a Redis store; see :mod:`txstathat.stores.dump`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from redis import exceptions

from txstathat.errors import StoreError, StoreUnavailable
from txstathat.stores.interface import StoredCell
from txstathat.stores.redis.backend import RedisBackend
from txstathat.stores.redis.cells import read_addition
from txstathat.stores.redis.cluster.rename import is_mark
from txstathat.stores.redis.definitions import pairs
from txstathat.stores.redis.keys import COARSE, INDEX, SHARDS, scale_and_label

__all__ = ["CHUNK", "RedisDump"]

#: How many units to read at once. A unit is a stat, or a combination of choices of a
#: Metrica, and has some thousands of cells at most.
CHUNK = 50


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

    def _migrate(self, version: int) -> None:
        raise StoreError(
            f"the store has version {version}, an older one; stop all programs that "
            "use it, and open it once with this txStatHat to migrate it"
        )

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """
        See :meth:`.Dump.definitions`.

        :raises StoreUnavailable: if a Metrica is being renamed, since some of its cells
            would be missing.
        """
        for shard in range(SHARDS):
            with self._session():
                (texts,) = self._cells.call([("HVALS", self._keys.names(shard))])
            if any(map(is_mark, texts)):
                raise StoreUnavailable(
                    "a stat is being renamed in this store; try again in a moment"
                )
        if names is not None:
            return super().definitions(names)
        return self.definitions_after(None)[0]

    def cells(self) -> Iterator[StoredCell]:
        """
        See :meth:`.Dump.cells`. It holds :data:`CHUNK` units in memory. What the
        journal of a server has is folded first.
        """
        self._fold_all()
        try:
            for shard in range(SHARDS):
                key = self._keys.units(shard)
                after = "-"
                while tags := self._client.zrangebylex(key, after, "+", 0, CHUNK):
                    yield from self._read_units([tag.decode("ascii") for tag in tags])
                    after = f"({tags[-1].decode('ascii')}"
        except exceptions.RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    def _read_units(self, tags: Sequence[str]) -> Iterator[StoredCell]:
        units = []
        for tag in tags:
            name, *rest = json.loads(tag)
            if len(rest) == 1:  # otherwise it is a group of choices
                units.append((name, rest[0], self._keys.key(tag, "")))
        indexes = self._cells.call([("HKEYS", begin + INDEX) for _, _, begin in units])
        hashes = [
            (name, key, begin, ending)
            for (name, key, begin), endings in zip(units, indexes, strict=True)
            for ending in (COARSE, *(one.decode("utf-8") for one in endings))
        ]
        replies = self._cells.call(
            [("HGETALL", begin + ending) for _, _, begin, ending in hashes]
        )
        now, here = self._cells.now(), self._seconds()
        cells = []
        for (name, key, _, ending), reply in zip(hashes, replies, strict=True):
            for field, cell in pairs(reply):
                sums, expiry = read_addition(cell)
                if expiry is None or expiry > now:
                    scale, label = scale_and_label(ending, field.decode("utf-8"))
                    # The clocks of the server and of this process may differ.
                    expires = None if expiry is None else here + (expiry - now) / 1000
                    cells.append(StoredCell(name, scale, label, key, expires, sums))
        # The units of a name follow each other, and a cell is in one of them.
        yield from sorted(cells, key=lambda cell: cell[:4])
