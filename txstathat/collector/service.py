"""
The collector as a service: to embed in a program, or to run by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.collector.alerts.monitor import (
    EVALUATE_EVERY,
    NOTIFY_EVERY,
    AlertMonitor,
)
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.alerts.webhooks import Webhooks, check_webhook
from txstathat.collector.api.alerts import AlertsApi
from txstathat.collector.api.export import CommandLineApi, ExportApi, Readers
from txstathat.collector.api.monitoring import Healthz, Metrics
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.keys import REFRESH_SECONDS, Keys
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.ingest.resource import IngestResource
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.options import address_text
from txstathat.collector.pages import Sessions, add_pages
from txstathat.collector.web.site import MAX_CONNECTIONS, CollectorSite
from txstathat.errors import StatHatError
from txstathat.stores.interface import IStore
from txstathat.stores.url import open_store

__all__ = [
    "LISTEN",
    "REDIS_SECONDS",
    "CannotListen",
    "CollectorService",
    "CollectorParts",
    "build_collector",
]

#: Where a collector listens, by default.
LISTEN = "tcp:8080:interface=127.0.0.1"

#: For how many seconds Redis is waited for, where its URL does not say.
REDIS_SECONDS = 0.7
#: Every how many seconds the trash is looked into.
_EMPTY_TRASH_EVERY = 3600.0


class CannotListen(StatHatError):
    """A place to listen at that is none, is taken, or is not allowed."""


@dataclass(frozen=True, slots=True)
class CollectorParts:
    """
    The parts of a collector on an open store.

    :ivar root: what it serves; more can be hung into it.
    :ivar archive: the stats.
    :ivar keys: the keys.
    :ivar throttle: slows down wrong ones.
    :ivar readers: lets in who has an access token.
    :ivar export: what is at ``/x``.
    :ivar command_line: what is at ``/a1``.
    :ivar metrics: its own numbers.
    :ivar sessions: who is signed in to the pages, and one-time links to do so.
    :ivar alerts: the alerts.
    :ivar webhooks: where they are told.
    :ivar watch: watches them.
    """

    root: IngestResource
    archive: Archive
    keys: Keys
    throttle: KeyThrottle
    readers: Readers
    export: ExportApi
    command_line: CommandLineApi
    metrics: CollectorMetrics
    sessions: Sessions
    alerts: AlertRecords
    webhooks: Webhooks
    monitor: AlertMonitor


def build_collector(
    store: IStore,
    retention: Mapping[str, float | None] | None = None,
    webhooks: Webhooks | None = None,
) -> CollectorParts:
    """
    Put a collector together.

    :param store: where everything is kept.
    :param retention: as for :class:`~txstathat.collector.archive.Archive`.
    :param webhooks: where alerts are told, by default nowhere.
    """
    archive = Archive(store, retention=retention)
    keys, throttle, numbers = Keys(store), KeyThrottle(store.clock), CollectorMetrics()
    readers = Readers(keys, throttle)
    root = IngestResource(archive.keep, keys, throttle, numbers)
    export = ExportApi(archive, readers)
    command_line = CommandLineApi(archive, readers)
    root.putChild(b"x", export)
    root.putChild(b"a1", command_line)
    root.putChild(b"healthz", Healthz(archive))
    root.putChild(b"metrics", Metrics(readers, numbers, archive, throttle))
    sessions = Sessions(store, keys)
    add_pages(root, archive, sessions, readers, throttle)
    alerts, webhooks = AlertRecords(store), webhooks or Webhooks()
    calls = AlertsApi(archive, alerts, webhooks).methods
    export.add("alerts", **calls)
    command_line.add("alerts", **calls)
    return CollectorParts(
        root,
        archive,
        keys,
        throttle,
        readers,
        export,
        command_line,
        numbers,
        sessions,
        alerts,
        webhooks,
        AlertMonitor(archive, alerts, webhooks, numbers),
    )


class CollectorService(Service):
    """
    A StatHat of your own: listens for points, keeps them, and tells them.

    .. code-block:: python

        collector = CollectorService("sqlite:///var/lib/app/stats.sqlite")
        collector.setServiceParent(application)

    :param store: a store, or its URL (:func:`txstathat.stores.open_store`). A store
        that is given is not closed with the service.
    :param listen: where to listen: server endpoint strings of Twisted's.
    :param retention: for how many seconds the detail of a scale is kept; see
        :data:`txstathat.collector.archive.stats.RETENTION`.
    :param max_connections: how many connections may be open.
    :param access_log: whether requests are logged, without what is secret in them.
    :param proxies: how many reverse proxies stand before it, such as 1: a client's
        address is what so many of them tell in ``X-Forwarded-For``. With fewer of them
        in fact, a client can choose its address.
    :param webhooks: URLs where alerts are told: by default at the first one. An alert
        may name another one at the same host as any of them.
    :param first_keys: called with the first keys, when there was none and one of each
        kind was made: by what they are, such as ``'EZ key'``. It is called before the
        collector listens, and never again for the same store.
    :param reactor: by default the global one.
    :raises ValueError: if a webhook's URL is not valid.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore | str,
        listen: str | list[str] | tuple[str, ...] = LISTEN,
        *,
        retention: Mapping[str, float | None] | None = None,
        max_connections: int = MAX_CONNECTIONS,
        access_log: bool = False,
        proxies: int = 0,
        webhooks: str | Sequence[str] = (),
        first_keys: Callable[[dict[str, str]], None] | None = None,
        reactor: Any = None,
    ) -> None:
        self._store = store
        self._listen = [listen] if isinstance(listen, str) else list(listen)
        self._retention = retention
        self._max_connections = max_connections
        self._access_log = access_log
        self._proxies = proxies
        urls = [webhooks] if isinstance(webhooks, str) else webhooks
        self._webhooks = tuple(map(check_webhook, urls))
        self._first_keys = first_keys
        self._reactor = reactor
        self._opened: IStore | None = None
        self._ports: list[Any] = []
        self._site: CollectorSite | None = None
        self._loops: list[LoopingCall] = []
        self._starting: Deferred[None] | None = None
        self._waiting: list[Deferred[CollectorParts]] = []
        self._result: CollectorParts | Failure | None = None

    @property
    def addresses(self) -> list[Any]:
        """
        Where it listens.
        """
        return [port.getHost() for port in self._ports]

    @property
    def urls(self) -> list[str]:
        """
        The same as URLs, where that is possible.
        """
        return [
            address_text(port.getHost(), tls=text.startswith("ssl:"))
            for text, port in zip(self._listen, self._ports, strict=False)
        ]

    def ready(self) -> Deferred[CollectorParts]:
        """
        Wait until it listens.

        :returns: a new Deferred, which fires with the collector's parts. It fails with
            what kept it from starting.
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
        Begin to start: open the store, read the keys, listen.
        """
        super().startService()
        self._result = None
        self._starting = Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        result: CollectorParts | Failure
        try:
            result = await self._open()
        except BaseException as error:  # who is told the first keys may want to leave
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

            self._reactor = reactor
        endpoints = [(text, self._endpoint(text)) for text in self._listen]
        store: IStore
        if isinstance(self._store, str):
            url = _impatient(self._store)
            store = self._opened = await open_store(url, reactor=self._reactor)
        else:
            store = self._store
        webhooks = Webhooks(self._webhooks, reactor=self._reactor)
        parts = build_collector(store, self._retention, webhooks)
        await parts.archive.note_retention()
        await parts.keys.make_first(self._first_keys)
        self._site = site = CollectorSite(
            parts.root,
            self._reactor,
            max_connections=self._max_connections,
            access_log=self._access_log,
            metrics=parts.metrics,
            proxies=self._proxies,
        )
        site.noisy = False  # that it starts is told by the port
        for text, endpoint in endpoints:
            try:
                self._ports.append(await endpoint.listen(site))
            except Exception as error:
                raise CannotListen(f"cannot listen on {text!r}: {error}") from error
        self._every(REFRESH_SECONDS, parts.keys.load)
        self._every(_EMPTY_TRASH_EVERY, parts.archive.empty_trash)
        self._every(EVALUATE_EVERY, parts.monitor.evaluate)
        self._every(NOTIFY_EVERY, parts.monitor.notify)
        return parts

    def _endpoint(self, text: str) -> Any:
        try:
            return serverFromString(self._reactor, text)
        except Exception as error:
            port = f"tcp:{text}:interface=127.0.0.1" if text.isdigit() else LISTEN
            raise CannotListen(
                f"cannot listen on {text!r}: {error}; a port is written {port}"
            ) from error

    def _every(self, seconds: float, work: Callable[[], Any]) -> None:
        async def once() -> None:
            # A loop stops for good when a call fails.
            try:
                await work()
            except StatHatError as error:
                self._log.debug("{work}: {error}", work=work, error=str(error))
            except Exception:
                self._log.failure("{work} failed", work=work)

        loop = LoopingCall(lambda: Deferred.fromCoroutine(once()))
        loop.clock = self._reactor
        loop.start(seconds, now=False)
        self._loops.append(loop)

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, let what came be written and answered, and close the store.

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
        await DeferredList([succeed(None), *map(_stopped, ports)])
        site, self._site = self._site, None
        if site is not None:
            await site.close()
        if isinstance(self._result, CollectorParts):
            await self._result.monitor.close()
            await self._result.archive.settled()
        store, self._opened = self._opened, None
        if store is not None:
            await store.close()


def _impatient(url: str) -> str:
    """
    A Redis URL with a shorter time limit, where it names none: whoever posts is told to
    come again within 2 seconds (a command is tried twice).
    """
    parts = urlsplit(url)
    if not parts.scheme.startswith("redis") or "socket_timeout" in parts.query:
        return url
    limits = f"socket_timeout={REDIS_SECONDS}&socket_connect_timeout={REDIS_SECONDS}"
    return urlunsplit(
        parts._replace(query="&".join(filter(None, [parts.query, limits])))
    )


def _stopped(port: Any) -> Deferred[Any]:
    stopped: Any = port.stopListening()
    return succeed(None) if stopped is None else stopped
