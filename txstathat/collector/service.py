"""
The collector as a service, to embed in a program or to run on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IReactorThreads
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.collector.alerts.conditions.outages import NOTE_EVERY
from txstathat.collector.alerts.monitor import (
    EVALUATE_EVERY,
    NOTIFY_EVERY,
)
from txstathat.collector.alerts.operator_webhooks import Webhooks, check_webhook
from txstathat.collector.archive.listing import CHECK_SECONDS
from txstathat.collector.archive.listing import REFRESH_SECONDS as REFRESH_LIST_SECONDS
from txstathat.collector.archive.writing.cardinality import MAX_STATS
from txstathat.collector.auth.keys import REFRESH_SECONDS
from txstathat.collector.channels.channels import Channels
from txstathat.collector.channels.secret_files import SecretFiles
from txstathat.collector.channels.sending.outgoing import Outgoing
from txstathat.collector.digest.digest import DIGEST_EVERY, WeeklyDigest
from txstathat.collector.digest.schedule import DEFAULT_SCHEDULE, Schedule
from txstathat.collector.ingest.statsd import KEY, StatsDIngest
from txstathat.collector.listening import (
    LISTEN,
    CannotListen,
    listen_http,
    listen_statsd,
    parse_endpoint,
)
from txstathat.collector.options import listen_url, parse_public_url, parse_statsd
from txstathat.collector.parts import CollectorParts, build_collector
from txstathat.collector.timers import MonotonicTimers, make_timers
from txstathat.collector.web.site import MAX_CONNECTIONS, CollectorSite
from txstathat.errors import StatHatError
from txstathat.http.connections.allowed import Networks
from txstathat.stores.interface import IStore
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite.file.check import check_file
from txstathat.stores.store import IStoreReactor
from txstathat.stores.url import open_store

__all__ = [
    "LISTEN",
    "REDIS_SECONDS",
    "CannotListen",
    "CollectorParts",
    "CollectorService",
    "build_collector",
    "limit_redis",
]

#: The time limit for a command to Redis, in seconds, unless the URL has one.
REDIS_SECONDS = 0.7

# The interval, in seconds, at which expired stats are removed from the trash.
_EMPTY_TRASH_EVERY = 3600.0
# The interval, in seconds, at which interrupted renamings are completed.
_COMPLETE_RENAMES_EVERY = 60.0
# The interval, in seconds, at which records are read that nothing else has to read.
_CHECK_RECORDS_EVERY = 600.0


class CollectorService(Service):
    """
    A StatHat of your own: it accepts points, stores them, and serves them.

    .. code-block:: python

        collector = CollectorService("sqlite:///var/lib/app/stats.sqlite")
        collector.setServiceParent(application)

    :param store: the URL of a store (:func:`txstathat.stores.open_store`), which opens
        and closes with the service; or an open store, which the service does not close.
    :param listen: one or more server endpoint strings.
    :param retention: how long the detail of each scale is stored, in seconds; ``None``
        for ever. See :data:`txstathat.collector.archive.stats.RETENTION`.
    :param max_stats: the largest number of stats; points of further ones are refused.
    :param max_connections: the largest number of open connections.
    :param access_log: whether requests are logged, without the secrets in them.
    :param proxies: how many reverse proxies in front are trusted to name the client in
        ``X-Forwarded-For``. If there are fewer, clients can forge their addresses.
    :param stathat_statuses: whether refused points have HTTP status 200, and their
        status only in the JSON, as StatHat answered: for clients that read only that.
    :param public_url: the URL at which browsers reach the collector, such as
        ``'https://example.com/stats'`` behind a proxy that removes ``/stats`` from the
        paths of requests; by default the host that they name.
    :param webhooks: the URL or URLs to which notices of alerts can be posted, by
        default to the first one. An alert can name another URL at the origin of any.
    :param secrets: the directory with the secrets of channels, or ``''``; see
        :class:`~txstathat.collector.channels.secret_files.SecretFiles`.
    :param allow_private: addresses and networks to which channels may connect although
        they are private, also without encryption, such as ``'10.0.0.0/8'``.
    :param digest: the name of an e-mail channel for a weekly digest; by default there
        is none.
    :param digest_at: when the digest is due, such as ``'mon 08:00 Europe/Berlin'``.
    :param statsd: where to receive statsd's datagrams, such as ``'udp:8125'`` (on
        loopback) or ``'udp:8125:interface=10.0.0.1'``; by default nowhere. They have
        no key: whoever can reach the port can add points.
    :param statsd_key: the name of the EZ key whose limits apply to these points.
    :param first_keys: called with the first keys, if the store had none: each under
        the words for its kind, such as ``'EZ key'``. It is called when the collector
        listens, and only once for a store.
    :param reactor: provides time, threads, and what the endpoints need; by default the
        global reactor.
    :raises ValueError: if ``public_url``, a webhook, ``secrets``, ``allow_private``,
        ``digest_at`` or ``statsd`` is not valid.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore | str,
        listen: str | list[str] | tuple[str, ...] = LISTEN,
        *,
        retention: Mapping[str, float | None] | None = None,
        max_stats: int = MAX_STATS,
        max_connections: int = MAX_CONNECTIONS,
        access_log: bool = False,
        proxies: int = 0,
        stathat_statuses: bool = False,
        public_url: str = "",
        webhooks: str | Sequence[str] = (),
        secrets: str = "",
        allow_private: Sequence[str] = (),
        digest: str = "",
        digest_at: str = DEFAULT_SCHEDULE,
        statsd: str = "",
        statsd_key: str = KEY,
        first_keys: Callable[[dict[str, str]], None] | None = None,
        reactor: IStoreReactor | None = None,
    ) -> None:
        self._store = store
        self._listen = [listen] if isinstance(listen, str) else list(listen)
        self._retention = retention
        self._max_stats = max_stats
        self._max_connections = max_connections
        self._access_log = access_log
        self._proxies = proxies
        self._stathat_statuses = stathat_statuses
        self._public_url = parse_public_url(public_url) if public_url else ""
        urls = [webhooks] if isinstance(webhooks, str) else webhooks
        self._webhooks = tuple(map(check_webhook, urls))
        self._secret_files = SecretFiles(secrets)
        self._networks = Networks(allow_private)
        self._digest = digest
        self._digest_at = Schedule.parse(digest_at)
        self._statsd_at = parse_statsd(statsd) if statsd else None
        self._statsd_key = statsd_key
        self._statsd: StatsDIngest | None = None
        self._first_keys = first_keys
        self._reactor = reactor
        self._opened: IStore | None = None
        self._ports: list[IListeningPort] = []
        self._statsd_port: IListeningPort | None = None
        self._site: CollectorSite | None = None
        self._loops: list[LoopingCall] = []
        self._timers: Any = None
        self._starting: Deferred[None] | None = None
        self._waiting: list[Deferred[CollectorParts]] = []
        self._result: CollectorParts | Failure | None = None

    @property
    def addresses(self) -> list[Any]:
        """
        The addresses on which it listens, as the ports return them.
        """
        return [port.getHost() for port in self._ports]

    @property
    def urls(self) -> list[str]:
        """
        The same as URLs, as far as possible.
        """
        return [
            listen_url(port.getHost(), tls=text.startswith("ssl:"))
            for text, port in zip(self._listen, self._ports, strict=False)
        ]

    @property
    def public_url(self) -> str:
        """
        The URL at which browsers reach it: the configured one, otherwise the first of
        :attr:`urls`.
        """
        return self._public_url or self.urls[0]

    @property
    def statsd_address(self) -> Any:
        """
        The address at which statsd's datagrams are received; ``None`` without.
        """
        return None if self._statsd_port is None else self._statsd_port.getHost()

    def ready(self) -> Deferred[CollectorParts]:
        """
        Wait until it listens.

        :returns: a new Deferred, which fires with the collector's parts, or fails with
            the reason why it cannot start. Cancelling it has no effect on the start.
        """
        if isinstance(self._result, Failure):
            return fail(self._result)
        if self._result is not None:
            return succeed(self._result)
        waiting: Deferred[CollectorParts] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def startService(self) -> None:
        """
        Begin to open the store, read the keys, and listen. See :meth:`ready`.
        """
        super().startService()
        self._result = None
        self._starting = Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        result: CollectorParts | Failure
        try:
            result = await self._open()
        except BaseException as error:  # first_keys may raise SystemExit
            result = Failure()
            await self._close()
            if not self._waiting:
                if isinstance(error, (StatHatError, OSError, ValueError)):
                    self._log.critical("cannot start: {error}", error=str(error))
                else:
                    self._log.failure("cannot start", result)
        self._result = result
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(result)

    async def _open(self) -> CollectorParts:
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IStoreReactor, reactor)
        endpoints = [
            (text, parse_endpoint(self._reactor, text)) for text in self._listen
        ]
        self._timers = make_timers(self._reactor)
        if isinstance(self._timers, MonotonicTimers):
            self._timers.start()
        parts = self._build(await self._open_store())
        await parts.archive.note_retention()
        await parts.check_records()
        await parts.monitor.outages.note()
        await parts.keys.load()  # else it would refuse the first requests
        self._site = site = self._make_site(parts)
        for text, endpoint in endpoints:
            self._ports.append(await listen_http(text, endpoint, site))
        # Keys are shown once. A start that fails must not use that up.
        await parts.keys.make_first(self._first_keys)
        if self._statsd_at is not None:
            self._listen_statsd(parts, *self._statsd_at)
        self._start_loops(parts)
        if self._digest:
            await self._start_digest(parts)
        return parts

    async def _open_store(self) -> IStore:
        """
        Open the store, and look for damage, unless it was given open.
        """
        if not isinstance(self._store, str):
            return self._store
        url = limit_redis(self._store)
        opening = open_store(url, reactor=self._reactor, timers=self._timers)
        self._opened = store = await opening
        await self._check_file(url)
        return store

    def _build(self, store: IStore) -> CollectorParts:
        common: Any = {"reactor": self._reactor, "timers": self._timers}
        webhooks = Webhooks(self._webhooks, **common)
        outgoing = Outgoing(self._networks, **common)
        channels = Channels(store, outgoing, self._secret_files)
        return build_collector(
            store, self._retention, webhooks, self._timers, channels, self._max_stats
        )

    def _make_site(self, parts: CollectorParts) -> CollectorSite:
        site = CollectorSite(
            parts.root,
            self._timers,
            max_connections=self._max_connections,
            access_log=self._access_log,
            metrics=parts.metrics,
            proxies=self._proxies,
            stathat_statuses=self._stathat_statuses,
            public_url=self._public_url,
        )
        site.noisy = False  # the port logs that it starts
        return site

    def _start_loops(self, parts: CollectorParts) -> None:
        archive, monitor = parts.archive, parts.monitor
        self._every(REFRESH_SECONDS, parts.keys.load)
        self._every(_EMPTY_TRASH_EVERY, archive.empty_trash)
        self._every(_COMPLETE_RENAMES_EVERY, archive.complete_renames)
        self._every(REFRESH_LIST_SECONDS, archive.listing.refresh_if_viewed)
        self._every(CHECK_SECONDS, archive.listing.check, now=True)
        self._every(_CHECK_RECORDS_EVERY, parts.check_records)
        self._every(NOTE_EVERY, monitor.outages.note)
        self._every(EVALUATE_EVERY, monitor.evaluate)
        self._every(NOTIFY_EVERY, monitor.notify)

    async def _start_digest(self, parts: CollectorParts) -> None:
        weekly = WeeklyDigest(
            parts.archive, parts.channels, self._digest, self._digest_at
        )
        await weekly.check()
        self._every(DIGEST_EVERY, weekly.run)

    def _listen_statsd(self, parts: CollectorParts, address: str, port: int) -> None:
        key = self._statsd_key
        if parts.keys.find_id("ez", key) is None:
            raise CannotListen(
                f"cannot receive statsd: there is no EZ key named {key!r} for its "
                f"points; create it with: txstathat keys add ez {key!r}"
            )
        self._statsd = statsd = StatsDIngest(
            parts.archive.write, parts.keys, key, parts.metrics, reactor=self._timers
        )
        reactor = cast(IStoreReactor, self._reactor)
        self._statsd_port = listen_statsd(reactor, statsd, address, port)

    async def _check_file(self, url: str) -> None:
        """
        Look for damage in the file of a SQLite store.

        :raises StoreError: if it is damaged.
        """
        path = sqlite_path(url)
        if path is None or path == ":memory:":
            return
        reactor = self._reactor
        if IReactorThreads.providedBy(reactor):
            await deferToThreadPool(reactor, reactor.getThreadPool(), check_file, path)
        else:
            check_file(path)

    def _every(
        self, seconds: float, work: Callable[[], Any], now: bool = False
    ) -> None:
        async def once() -> None:
            # A LoopingCall ends when a call fails.
            try:
                await work()
            except StatHatError as error:
                self._log.debug("{work}: {error}", work=work, error=str(error))
            except Exception:
                self._log.failure("{work} failed", work=work)

        loop = LoopingCall(lambda: Deferred.fromCoroutine(once()))
        loop.clock = self._timers
        loop.start(seconds, now=now)
        self._loops.append(loop)

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, write and answer the requests that have arrived, and close the
        store.

        :returns: fires with ``None`` when that is done.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._starting is not None:
            await self._starting
        await self._close()

    async def _close(self) -> None:
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.stop()
        ports, self._ports = self._ports, []
        statsd_port, self._statsd_port = self._statsd_port, None
        if statsd_port is not None:
            ports.append(statsd_port)
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])
        statsd, self._statsd = self._statsd, None
        if statsd is not None:
            await statsd.close()
        site, self._site = self._site, None
        if site is not None:
            await site.close()
        if isinstance(self._result, CollectorParts):
            await self._result.monitor.close()
            await self._result.archive.settled()
        if isinstance(self._timers, MonotonicTimers):
            self._timers.stop()
        store, self._opened = self._opened, None
        if store is not None:
            await store.close()


def limit_redis(url: str) -> str:
    """
    Return the URL of a store with a short time limit for commands, if it is a Redis URL
    without one. A command is tried twice, and a client that posts gets its answer
    within 2 seconds.

    :param url: the URL of any store.
    """
    base, _, query = url.partition("?")
    kind = base.partition(":")[0].removesuffix("+cluster")
    if kind not in ("redis", "rediss", "unix") or "socket_timeout" in query:
        return url
    limits = f"socket_timeout={REDIS_SECONDS}&socket_connect_timeout={REDIS_SECONDS}"
    return f"{base}?{query}&{limits}" if query else f"{base}?{limits}"
