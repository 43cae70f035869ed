"""
The Redis store: a Redis or Valkey server, or a cluster.

The URLs are those of redis-py: ``redis://user:password@host:6379/0``, ``rediss://…``
(with TLS) and ``unix:///run/redis.sock``. For a Redis Cluster use ``redis+cluster://``
or ``rediss+cluster://`` with the address of one node or, better, of several:
``redis+cluster://host:6379,host:6379/0``. The first one that answers names the others.
The query may contain the options of redis-py (such as ``ssl_ca_certs``), and
``prefix``: the beginning of all keys.

For a service that Redis Sentinel watches, use
``redis+sentinel://user:password@host:26379,host:26379/SERVICE/DB``, or
``rediss+sentinel://`` for TLS. User, password and options are those of the servers of
the service. The sentinels have their own, which begin with ``sentinel_``:
``sentinel_username``, ``sentinel_password``, ``sentinel_ssl=true`` (TLS) and any option
of redis-py, such as ``sentinel_ssl_ca_certs``.

This package needs redis-py, so import its modules only if the store's URL is of this
kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from txstathat.errors import StoreError

__all__ = ["needs_redis"]


@contextmanager
def needs_redis() -> Iterator[None]:
    """
    A context in which to import the modules of this package.

    :raises StoreError: if redis-py is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise StoreError(
            "a Redis store needs redis: pip install 'txStatHat[redis]'"
        ) from None
