"""
Opens a store to read its whole contents, exactly.

This blocks: it is for commands that do nothing else meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from txstathat.stores.interface import Dump
from txstathat.stores.redis import needs_redis
from txstathat.stores.schemes import StoreKind, sqlite_path, store_kind
from txstathat.stores.sqlite.dump import open_sqlite_dump

__all__ = ["open_dump"]


@contextmanager
def open_dump(url: str, seconds: Callable[[], float] = time.time) -> Iterator[Dump]:
    """
    Open a store to read its whole contents. Other programs may use it meanwhile: SQLite
    shows one moment of it, Redis shows each time bucket as it is when it is read.

    :param url: the URL of the store, as for :func:`txstathat.stores.open_store`; not
        ``memory:``.
    :param seconds: returns the time, in Unix seconds.
    :returns: a context manager that gives the :class:`~.interface.Dump`.
    :raises ValueError: if the URL does not name a persistent store.
    :raises StoreError: if it is not a store of this package.
    :raises StoreTooNew: if a newer version of this package wrote it.
    :raises StoreUnavailable: if it cannot be read.
    """
    path = sqlite_path(url)
    if path is not None:
        with open_sqlite_dump(path, seconds) as sqlite_dump:
            yield sqlite_dump
        return
    if store_kind(url) is StoreKind.MEMORY:
        raise ValueError(
            "a store in memory has no contents to read; "
            "use a persistent store: sqlite:///a/path or redis://…"
        )
    with needs_redis():
        from txstathat.stores.redis.dump import RedisDump

    with closing(RedisDump(url, seconds)) as redis_dump:
        redis_dump.open()
        yield redis_dump
