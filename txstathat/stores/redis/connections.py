"""
Connects to Redis: to a server, a cluster, or the primary that sentinels name.

After a failover the old primary may live on as a replica, and its connections stay
open. So a connection that gets an answer of a replica, or of a server that is not
ready, is closed. The next attempt resolves the name of the server, or asks the
sentinels, anew. A replica still answers reads, with old contents. So the connections of
readers are also closed when this happens to another connection, and every
:data:`MAX_AGE` seconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, local
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

__all__ = ["COMMAND_SECONDS", "CONNECT_SECONDS", "MAX_AGE", "Connections"]

#: For how many seconds to wait for a reply, by default (``socket_timeout``).
COMMAND_SECONDS = 2.0
#: For how many seconds to wait for a connection, by default
#: (``socket_connect_timeout``).
CONNECT_SECONDS = 1.0
#: After how many seconds idle connections, and those of readers, are opened anew.
MAX_AGE = 10.0

#: The port of a sentinel, by default.
_SENTINEL_PORT = 26_379
#: The port of a server, by default.
_PORT = 6379

# What a server answers that is not, or not yet, the primary. A script of Redis before
# version 7 has it in the middle of its message.
_NOT_PRIMARY = re.compile("(?:^|-)(?:READONLY|LOADING|MASTERDOWN|CLUSTERDOWN) ")
_NOT_PRIMARY_ERRORS = (
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
)

_SENTINEL_ERRORS = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ResponseError,
)


class _Failover:
    """
    Closes a connection that does not lead to the primary.

    :param on_failure: called when the connection fails, or does not lead to the
        primary.
    :param more_seconds: returns how much longer than usual to wait for a reply.
    """

    def __init__(
        self,
        *args: Any,
        on_failure: Callable[[], None],
        more_seconds: Callable[[], float],
        **options: Any,
    ):
        self._on_failure = on_failure
        self._more_seconds = more_seconds
        super().__init__(*args, **options)

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply. ``redis.exceptions.ConnectionError`` means: try again."""
        try:
            more = self._more_seconds()
            if more:
                self.can_read(more)  # type: ignore[attr-defined]
            return super().read_response(*args, **options)  # type: ignore[misc]
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            self._on_failure()
            raise
        except exceptions.ResponseError as error:
            if not isinstance(error, _NOT_PRIMARY_ERRORS) and not _NOT_PRIMARY.search(
                str(error)
            ):
                raise
            self._on_failure()
            self.disconnect()  # type: ignore[attr-defined]
            raise exceptions.ConnectionError(str(error)) from error


class _TcpConnection(_Failover, Connection):
    """A connection to a server."""


class _TlsConnection(_Failover, SSLConnection):
    """A connection to a server, with TLS."""


class _UnixConnection(_Failover, UnixDomainSocketConnection):
    """A connection to a server on this machine."""


class _Rediscover:
    """
    Asks the sentinels again before it connects again. (A connection of redis-py does so
    only when it leaves the pool, and else connects to the address from before.)
    """

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send a command."""
        self.connect()  # type: ignore[attr-defined]
        super().send_packed_command(*args, **options)  # type: ignore[misc]


class _SentinelConnection(_Failover, _Rediscover, SentinelManagedConnection):
    """A connection to the primary that the sentinels name."""


class _SentinelTlsConnection(_Failover, _Rediscover, SentinelManagedSSLConnection):
    """The same with TLS."""


_CLASSES = {
    "redis": _TcpConnection,
    "rediss": _TlsConnection,
    "unix": _UnixConnection,
    "redis+sentinel": _SentinelConnection,
    "rediss+sentinel": _SentinelTlsConnection,
}


class _Sentinels(Sentinel):
    """
    Sentinels that several threads can ask.

    :param addresses: their addresses.
    :param options: the options of connections to them.
    """

    def __init__(
        self, addresses: Sequence[tuple[str, int]], options: dict[str, Any]
    ) -> None:
        super().__init__(addresses, sentinel_kwargs=options)
        self._in_order = list(zip(addresses, self.sentinels, strict=True))
        self._lock = Lock()

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """
        Return the address of the primary of a service.

        :raises redis.sentinel.MasterNotFoundError: if no sentinel knows it. (The
            message of the same method of redis-py would have all options in it.)
        """
        reasons = []
        with self._lock:
            for index, ((host, port), sentinel) in enumerate(self._in_order):
                try:
                    state: Any = sentinel.sentinel_master(service_name)
                except _SENTINEL_ERRORS as error:
                    reasons.append(f"{host}:{port}: {error}")
                    continue
                if not self.check_master_state(state, service_name):
                    reasons.append(f"{host}:{port}: the primary is down")
                else:
                    # Ask this one first the next time.
                    self._in_order.insert(0, self._in_order.pop(index))
                    return str(state["ip"]), int(state["port"])
        raise MasterNotFoundError(
            f"no sentinel knows a primary of {service_name!r} that works "
            f"({'; '.join(reasons)})"
        )


class Connections:
    """
    The connections of a store.

    :param url: see :mod:`txstathat.stores.redis`, without ``prefix``.
    :param seconds: a monotonic clock, in seconds.
    :raises ValueError: if it is not valid.

    :ivar clustered: whether the URL names a cluster.
    :ivar client: a client with a pool of connections, after :meth:`open`.
    """

    def __init__(self, url: str, seconds: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        query.setdefault("socket_timeout", str(COMMAND_SECONDS))
        query.setdefault("socket_connect_timeout", str(CONNECT_SECONDS))
        self._scheme = parts.scheme
        self.clustered = parts.scheme.endswith("+cluster")
        self._sentinel: _SentinelUrl | None = None
        if parts.scheme.endswith("+sentinel"):
            self._sentinel = _SentinelUrl(url, query)
        # (urlunsplit would write unix:/path for unix:///path, which redis refuses.)
        scheme = parts.scheme.removesuffix("+cluster")
        rest = url.partition("?")[0].partition(":")[2]
        self._seeds: list[ClusterNode] = []
        if self.clustered:
            rest, self._seeds = _split_seeds(rest)
        self._url = f"{scheme}:{rest}?{urlencode(query)}"
        self._seconds = seconds
        self._opened_at = seconds()
        self._failed = False
        self._generation = 0
        self._local = local()
        self._readers: list[Any] = []
        self._sentinels: _Sentinels | None = None
        self.client: Any = None

    def open(self) -> None:
        """
        Create the clients.

        :raises redis.exceptions.RedisError: if a cluster cannot be reached.
        :raises ValueError: if an option is not valid.
        """
        # Try once more at once, since a connection may be stale. The callers, which
        # know the id of the batch, repeat what takes longer.
        retry = Retry(NoBackoff(), 1)
        if self.clustered:
            self.client = RedisCluster.from_url(
                self._url, startup_nodes=list(self._seeds), retry=retry
            )
            return
        options = {
            "connection_class": _CLASSES[self._scheme],
            "on_failure": self._set_failed,
            "more_seconds": lambda: getattr(self._local, "more_seconds", 0.0),
            "retry": retry,
        }
        if self._sentinel is None:
            pool = ConnectionPool.from_url(self._url, **options)
        else:
            self._sentinels = self._sentinel.sentinels()
            pool = SentinelConnectionPool(
                self._sentinel.service,
                self._sentinels,
                **self._sentinel.options,
                **options,
            )
        self.client = Redis(connection_pool=pool)

    def _set_failed(self) -> None:
        self._failed = True

    def refresh(self) -> None:
        """
        Close idle connections, and those of readers when they are used next, if they
        are old or another connection has failed. Call this before each operation.
        """
        if self.clustered or not (
            self._failed or self._seconds() - self._opened_at >= MAX_AGE
        ):
            return
        self._failed = False
        self._opened_at = self._seconds()
        self._generation += 1
        self.client.connection_pool.disconnect(inuse_connections=False)

    @contextmanager
    def longer(self, seconds: float) -> Iterator[None]:
        """
        Let this thread wait longer than usual for each reply of a server.

        :param seconds: how much longer.
        """
        self._local.more_seconds = seconds
        try:
            yield
        finally:
            self._local.more_seconds = 0.0

    def reader(self) -> Any:
        """
        Return the client of this thread. It has a connection of its own, since taking
        one from a pool would be a third of the cost of reading a total.
        """
        if self.clustered:
            return self.client
        try:
            client = self._local.client
        except AttributeError:
            client = self._local.client = Redis(
                connection_pool=self.client.connection_pool,
                single_connection_client=True,
            )
            self._local.generation = self._generation
            self._readers.append(client)
        if self._local.generation != self._generation:
            self._local.generation = self._generation
            client.connection.disconnect()
        return client

    def close(self) -> None:
        """Close all connections."""
        for client in (*self._readers, self.client, self._sentinels):
            if isinstance(client, Sentinel):
                for sentinel in client.sentinels:
                    sentinel.close()
            elif client is not None:
                client.close()


def _split_seeds(rest: str) -> tuple[str, list[ClusterNode]]:
    """
    Split the addresses of nodes in the URL of a cluster.

    :param rest: the URL after its scheme, without the query.
    :returns: the same with only the first address; and the other nodes.
    :raises ValueError: if an address is not valid.
    """
    netloc, slash, path = rest.removeprefix("//").partition("/")
    user, at, hosts = netloc.rpartition("@")
    first, *others = hosts.split(",")
    if not others:
        return rest, []
    nodes = []
    for text in (first, *others):
        host, port = _address(text, _PORT, _CLUSTER_FORM)
        nodes.append(ClusterNode(host, port))
    return f"//{user}{at}{first}{slash}{path}", nodes[1:]


class _SentinelUrl:
    """
    The URL of a service that sentinels watch.

    :param url: the URL.
    :param query: the options in it.
    :raises ValueError: if it is not valid.

    :ivar service: the name of the service.
    :ivar options: the options of connections to its servers.
    """

    def __init__(self, url: str, query: dict[str, str]) -> None:
        netloc, _, rest = url.partition("://")[2].partition("/")
        self._user, _, hosts = netloc.rpartition("@")
        path, _, _ = rest.partition("?")
        service, _, db = path.partition("/")
        self._addresses = [
            _address(one, _SENTINEL_PORT, _SENTINEL_FORM) for one in hosts.split(",")
        ]
        self.service = unquote(service)
        if not self.service or not re.fullmatch(r"\d*", db):
            raise ValueError(_SENTINEL_FORM)
        own = {
            name.removeprefix("sentinel_"): query.pop(name)
            for name in list(query)
            if name.startswith("sentinel_")
        }
        tls = own.pop("ssl", "false").lower() in ("true", "yes", "1")
        for name in ("socket_timeout", "socket_connect_timeout"):
            own.setdefault(name, query[name])
        user = f"{self._user}@" if self._user else ""
        self.options = parse_url(f"redis://{user}server/{db}?{urlencode(query)}")
        self._sentinel_options = parse_url(f"redis://sentinel?{urlencode(own)}")
        for options in (self.options, self._sentinel_options):
            del options["host"]
        # The next sentinel is the next attempt.
        self._sentinel_options["retry"] = Retry(NoBackoff(), 0)
        if tls:
            self._sentinel_options["ssl"] = True

    def sentinels(self) -> _Sentinels:
        """
        Return the sentinels.

        :raises ValueError: if an option is not valid.
        """
        try:
            return _Sentinels(self._addresses, self._sentinel_options)
        except TypeError as error:
            raise ValueError(
                f"an option that begins with sentinel_ is not valid: {error}"
            ) from None


_SENTINEL_FORM = (
    "the URL of a store behind sentinels is "
    "redis+sentinel://HOST:26379,HOST:26379/SERVICE/DB"
)


_CLUSTER_FORM = "the URL of a cluster is redis+cluster://HOST:6379,HOST:6379/0"


def _address(text: str, default: int, form: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::(\d{1,5}))?", text)
    if found is None:
        # Do not show it: a password may be in it.
        raise ValueError(form)
    return found[1] or found[2], int(found[3] or default)
