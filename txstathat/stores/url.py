"""
Stores by their URLs.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from txstathat.stores.interface import IStore
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, Store, Threads

__all__ = ["open_store", "sqlite_path"]


def open_store(
    url: str, *, reactor: Any = None, clock: IReactorTime | None = None
) -> Deferred[IStore]:
    """
    Open a store.

    - ``sqlite:///var/lib/app/counts.sqlite`` is a SQLite file, made if it is not there
      (its folder must be); ``sqlite:counts.sqlite`` is one in the working directory.
    - ``memory:`` is a store that is gone with the process.
    - ``redis://host:6379/0``, ``rediss://…`` (TLS), ``unix:///run/redis.sock``,
      ``redis+cluster://…`` and ``rediss+cluster://…`` are Redis or Valkey servers; see
      :mod:`txstathat.stores.redis` for what their URLs may hold.

    :param url: which one.
    :param reactor: runs the store's threads, and closes it at shutdown, after the
        services; by default the global one.
    :param clock: tells and schedules time, by default the reactor.
    :returns: fires with an :class:`~txstathat.stores.interface.IStore`. It fails with a
        ``ValueError`` for a URL that is none of the above, with
        :class:`~txstathat.errors.StoreTooNew` when a newer version wrote it, with
        :class:`~txstathat.errors.StoreUnavailable` when it cannot be reached, and with
        another :class:`~txstathat.errors.StoreError` when it is something else.
    """
    try:
        return _store(url, reactor, clock).open()
    except Exception:
        return fail()


def _store(url: str, reactor: Any, clock: IReactorTime | None) -> Store:
    if reactor is None:
        from twisted.internet import reactor
    if clock is None:
        clock = reactor
    parts = urlsplit(url)
    if url == "memory:":
        return Store(SqliteBackend(":memory:", clock.seconds), Inline(), clock)
    path = sqlite_path(url)
    if path is not None:
        return Store(
            SqliteBackend(path, clock.seconds), Threads(reactor, 1), clock, reactor
        )
    if parts.scheme.removesuffix("+cluster") in ("redis", "rediss", "unix"):
        from txstathat.stores.redis.backend import RedisBackend

        return Store(RedisBackend(url), Threads(reactor, 4), clock, reactor)
    # The rest of the URL may hold a password.
    raise ValueError(
        f"{parts.scheme!r} is no kind of store; "
        "these are: sqlite, memory, redis, rediss, unix, redis+cluster, rediss+cluster"
    )


def sqlite_path(url: str) -> str | None:
    """
    Where the file of a SQLite store is.

    :param url: as for :func:`open_store`.
    :returns: its path; ``None`` if the URL is another store's.
    :raises ValueError: if it is a SQLite store's, and names no file.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite":
        return None
    path = unquote(parts.path)
    if parts.netloc or parts.query or not path.strip("/"):
        raise ValueError(
            "a SQLite store is sqlite:///an/absolute/path or sqlite:a/relative/path"
        )
    return path
