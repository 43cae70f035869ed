"""
The Redis store: a Redis or Valkey server, or a cluster.

The URLs are those of redis-py: ``redis://user:password@host:6379/0``, ``rediss://…``
(with TLS) and ``unix:///run/redis.sock``. For a Redis Cluster use ``redis+cluster://``
or ``rediss+cluster://`` with the address of any node. The query may contain the options
of redis-py (such as ``ssl_ca_certs``), and ``prefix``: the beginning of all keys.

This package needs redis-py, so import its modules only if the store's URL is of this
kind.
"""

__all__: list[str] = []
