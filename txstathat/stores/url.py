"""
Opens a store by its URL.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from txstathat.stores.interface import IStore
from txstathat.stores.redis import needs_redis
from txstathat.stores.schemes import StoreKind, sqlite_path, store_kind
from txstathat.stores.sqlite.backend import SqliteBackend
from txstathat.stores.store import Inline, IStoreReactor, Store, Threads

__all__ = ["REDIS_READERS", "open_store"]

#: How many threads read from a Redis store.
REDIS_READERS = 4


def open_store(
    url: str,
    *,
    reactor: IStoreReactor | None = None,
    clock: IReactorTime | None = None,
    timers: IReactorTime | None = None,
) -> Deferred[IStore]:
    """
    Open a store.

    - ``sqlite:///var/lib/app/counts.sqlite`` is a SQLite file. It is created if
      necessary, its folder is not. ``sqlite:counts.sqlite`` is a file in the working
      directory.
    - ``memory:`` is a store that ends with the process.
    - ``redis://host:6379/0``, ``rediss://…`` (TLS), ``unix:///run/redis.sock``,
      ``redis+cluster://…``, ``rediss+cluster://…``, ``redis+sentinel://…`` and
      ``rediss+sentinel://…`` are Redis or Valkey servers; see
      ``txstathat.stores.redis`` for the form of these URLs.

    :param url: the URL of the store.
    :param reactor: runs the threads of the store, and closes the store at shutdown,
        after the services; by default the global reactor.
    :param clock: the source of time, by default the reactor.
    :param timers: schedules what waits, by default ``clock``. The timers of a reactor
        follow the wall clock: when that is set back by an hour, they are an hour late.
    :returns: fires with an :class:`~txstathat.stores.interface.IStore`. It fails with a
        ``ValueError`` for any other URL, with
        :class:`~txstathat.errors.StoreTooNew` if a newer version wrote the store, with
        :class:`~txstathat.errors.StoreUnavailable` if the store cannot be reached, and
        with another :class:`~txstathat.errors.StoreError` if it is something else.
        Cancelling it does not stop the opening.
    """
    try:
        store: Deferred[Any] = _store(url, reactor, clock, timers).open()
        return store
    except Exception:
        return fail()


def _store(
    url: str,
    reactor: IStoreReactor | None,
    clock: IReactorTime | None,
    timers: IReactorTime | None,
) -> Store:
    if store_kind(url) is StoreKind.MEMORY:
        clock = clock or reactor or _global_reactor()
        memory = SqliteBackend(":memory:", clock.seconds)
        return Store(memory, Inline(), clock, timers=timers)
    reactor = reactor or _global_reactor()
    clock = clock or reactor
    path = sqlite_path(url)
    if path is not None:
        backend = SqliteBackend(path, clock.seconds)
        return Store(backend, Threads(reactor, 1), clock, reactor, timers)
    with needs_redis():
        from txstathat.stores.redis.backend import RedisBackend

    threads = Threads(reactor, REDIS_READERS)
    return Store(RedisBackend(url), threads, clock, reactor, timers)


def _global_reactor() -> IStoreReactor:
    from twisted.internet import reactor

    return cast(IStoreReactor, reactor)
