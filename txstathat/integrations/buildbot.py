"""
Buildbot: builds by their result, how long they take, how many wait, and what Buildbot's
own statistics capture.

Needs Buildbot: ``pip install 'txStatHat[buildbot]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from buildbot.config import error as config_error
from buildbot.data.resultspec import Filter
from buildbot.process.results import Results
from buildbot.statistics.storage_backends.base import StatsStorageBase
from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny

from txstathat.instruments.labels import Labels, StatName
from txstathat.instruments.losses import Losses
from txstathat.integrations.owned import OwnedStats
from txstathat.interfaces import IStatHat
from txstathat.points.names import check_name

__all__ = ["MAX_BUILDERS", "MAX_CAPTURED", "StatHatBuilds", "StatHatStorage"]

#: How many builders have stats of their own; the others share ``other``.
MAX_BUILDERS = 1000
#: How many stats of Buildbot's statistics are sent; later ones are one stat, ``other``.
MAX_CAPTURED = 1000

_log = Logger()


class StatHatBuilds(BuildbotService):  # type: ignore[misc]
    """
    A service for ``c["services"]`` of a ``master.cfg``. It counts the builds that this
    master finishes, by builder and result, measures how long they took, and sends,
    every interval, how many build requests wait for a worker.

    A reconfiguration changes its settings while it runs: no build is counted twice or
    missed. What it sends to stays in use unless ``make_stats`` or ``arguments`` differ;
    then the points in the old one are sent before the new one starts.

    :param make_stats: what to send to: a function, or the path to import it by, that
        makes an :class:`~txstathat.interfaces.IStatHat`. A service is started and
        stopped with this one; what has a ``close`` method is closed. A function that
        ``master.cfg`` itself defines is another one after each reconfiguration.
    :param arguments: the keyword parameters for ``make_stats``. ``util.Secret`` and
        other renderables may stand for the values.
    :param interval: how often to look at the queue, in seconds.
    :param count: the name of the stat that counts builds, with the fields ``{builder}``
        and ``{result}`` (Buildbot's words, such as ``success`` or ``failure``).
    :param duration: the name of the value that is how long a build took, in seconds,
        with the same fields.
    :param queue: the name of the value that is how many build requests wait.
    :param close_timeout: how long the end, or a reconfiguration, may wait for the last
        points, in seconds.
    :param name: the name of the service; a master may have several.
    :ivar losses: the points that were lost.
    """

    name = "StatHatBuilds"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.losses = Losses("Buildbot")
        self._builders = Labels(MAX_BUILDERS)
        self._stats: OwnedStats | None = None
        self._made_of: Any = None
        self._consumer: Any = None
        self._settings = _Settings()
        self._loop: LoopingCall | None = None
        self._looking: Deferred[Any] = Deferred()
        # Builds, reconfigurations and the end come one after the other, so that a build
        # that ends during a reconfiguration waits until it is over.
        self._lock = DeferredLock()

    def checkConfig(self, **settings: Any) -> None:
        """
        Check the settings; Buildbot calls this, as for ``buildbot checkconfig``.
        """
        try:
            _Settings(**settings)
        except Exception as error:
            config_error(f"{type(self).__name__}: {error}")

    def getConfigDict(self) -> dict[str, Any]:
        """
        The settings as Buildbot logs them: without ``arguments``, which may hold a key.
        """
        config: dict[str, Any] = super().getConfigDict()
        shown = {k: v for k, v in config["kwargs"].items() if k != "arguments"}
        return {**config, "kwargs": shown}

    def reconfigService(self, **settings: Any) -> Deferred[None]:
        """
        Take new settings; Buildbot calls this, at the start too.

        :returns: a Deferred that fires when they apply; it fails if ``make_stats``
            fails, and what was made before stays in use.
        """
        return Deferred.fromCoroutine(self._reconfigure(_Settings(**settings)))

    async def _reconfigure(self, settings: _Settings) -> None:
        arguments = await self.renderSecrets(dict(settings.arguments))
        async with self._lock:
            await self._change_stats(settings, arguments)
            self._settings = settings
            if self._consumer is None:
                self._consumer = await self.master.mq.startConsuming(
                    self._finished, ("builds", None, "finished")
                )
        await self._stop_looking()
        self._loop = LoopingCall(self._send_queue)
        self._loop.clock = self.master.reactor
        self._looking = self._loop.start(settings.interval, now=False)

    async def _change_stats(
        self, settings: _Settings, arguments: Mapping[str, Any]
    ) -> None:
        made_of = (settings.function, arguments)
        if made_of == self._made_of:
            return
        # Made first: if that fails, the old one stays.
        stats = OwnedStats(settings.function(**arguments), self.losses)
        await self._end_stats()
        self._stats = stats
        self._made_of = made_of
        await stats.start()

    def stopService(self) -> Deferred[None]:
        """
        Send the rest, and wait until it is sent, for a limited time.

        :returns: a Deferred that fires then.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._stop_looking()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await maybeDeferred(consumer.stopConsuming)
        async with self._lock:
            await self._end_stats()
        await super().stopService()

    async def _stop_looking(self) -> None:
        if self._loop is not None and self._loop.running:
            self._loop.stop()
            await self._looking

    async def _end_stats(self) -> None:
        stats, self._stats, self._made_of = self._stats, None, None
        if stats is None:
            return
        try:
            await stats.end(self._settings.close_timeout, self.master.reactor)
        except Exception as error:
            _log.warn(
                "The last points of {service} may be lost: {error}",
                service=self.name,
                error=type(error).__name__,
            )

    def _finished(self, key: Sequence[str], build: Mapping[str, Any]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._send_build(build))

    async def _send_build(self, build: Mapping[str, Any]) -> None:
        # The masters of a cluster hear of each other's builds.
        if build["masterid"] != self.master.masterid:
            return
        async with self._lock:
            try:
                path = ("builders", build["builderid"])
                builder = (await self.master.data.get(path))["name"]
                fields = {
                    "builder": self._builders[builder],
                    "result": Results[build["results"]],
                }
                took = build["complete_at"] - build["started_at"]
                self._pass_on("count", self._settings.count_name.of(**fields), 1)
                # Below 0 if the clock was set back.
                seconds = max(took.total_seconds(), 0)
                name = self._settings.duration_name.of(**fields)
                self._pass_on("value", name, seconds)
            except Exception:
                self.losses.note(Failure())

    async def _send_queue(self) -> None:
        waiting = [Filter("complete", "eq", [False]), Filter("claimed", "eq", [False])]
        try:
            requests = await self.master.data.get(("buildrequests",), filters=waiting)
            self.send("value", self._settings.queue, len(requests))
        except Exception:
            # A LoopingCall would end for good.
            self.losses.note(Failure())

    def send(self, method: Literal["count", "value"], stat: str, amount: float) -> None:
        """
        Send a point of your own the same way; if it is lost, that is counted. During a
        reconfiguration it waits until that is over.

        :param method: ``'count'`` or ``'value'``.
        :param stat: the name of the stat.
        :param amount: what to count, or the value.
        """
        self._lock.run(self._pass_on, method, stat, amount)

    def _pass_on(
        self, method: Literal["count", "value"], stat: str, amount: float
    ) -> None:
        if self._stats is None:
            self.losses.note(Failure(RuntimeError("the service does not run")))
        else:
            self._stats.send(method, stat, amount)


class StatHatStorage(StatsStorageBase):  # type: ignore[misc]
    """
    A storage backend for Buildbot's ``StatsService``. The numbers that its captures
    find are sent as values by a :class:`StatHatBuilds` service, which ``c["services"]``
    must have too. What is no number, such as a time, is not sent.

    :param captures: Buildbot's captures, such as ``CaptureProperty``.
    :param stat: the name of the values, with the fields ``{series}``, such as
        ``linux-build-times``, and ``{field}``, such as ``duration``; that of a property
        is ``value``.
    :param service: the name of the service that sends them.
    :raises ValueError: if the name of the values is not valid.
    """

    def __init__(
        self,
        captures: Sequence[Any],
        *,
        stat: str = "{series} {field}",
        service: str = "StatHatBuilds",
    ) -> None:
        self.captures = list(captures)
        self._stat = StatName(stat, ("series", "field"))
        self._service = service
        self._known = Labels(MAX_CAPTURED)

    def thd_postStatsValue(
        self,
        post_data: Mapping[str, Any],
        series_name: str,
        context: Mapping[str, str] | None = None,
    ) -> None:
        """
        Send the numbers; Buildbot calls this in a thread.

        :raises LookupError: if there is no service of that name; Buildbot logs it.
        """
        # A reconfiguration makes new backends but keeps services: only the master knows
        # the one that runs.
        master = self.captures[0].master
        service = master.service_manager.namedServices.get(self._service)
        if not isinstance(service, StatHatBuilds):
            raise LookupError(
                f"StatHatStorage sends through a StatHatBuilds service named "
                f"{self._service!r}: add one to c['services']"
            )
        for name, amount in post_data.items():
            if type(amount) in (int, float):
                stat = self._stat.of(series=series_name, field=name)
                master.reactor.callFromThread(self._send, service, stat, amount)

    def _send(self, service: StatHatBuilds, stat: str, amount: float) -> None:
        service.send("value", self._known[stat], amount)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """
    The settings of :class:`StatHatBuilds`, checked.
    """

    make_stats: Callable[..., IStatHat] | str = "txstathat.stathat_from_env"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    interval: float = 60
    count: str = "{builder} {result}"
    duration: str = "{builder} seconds"
    queue: str = "queue length"
    close_timeout: float = 10

    def __post_init__(self) -> None:
        if not (self.interval > 0 and self.close_timeout > 0):
            raise ValueError(
                "interval and close_timeout must be above 0 seconds, "
                f"not {self.interval!r} and {self.close_timeout!r}"
            )
        if not callable(self.function):
            raise ValueError(f"make_stats={self.make_stats!r}: must be a function")
        check_name(self.queue)
        assert self.count_name
        assert self.duration_name

    @property
    def function(self) -> Callable[..., IStatHat]:
        if isinstance(self.make_stats, str):
            found: Callable[..., IStatHat] = namedAny(self.make_stats)
            return found
        return self.make_stats

    @cached_property
    def count_name(self) -> StatName:
        return StatName(self.count, ("builder", "result"))

    @cached_property
    def duration_name(self) -> StatName:
        return StatName(self.duration, ("builder", "result"))
