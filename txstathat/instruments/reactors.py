"""
Measurements of the reactor and its process.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat

__all__ = ["ReactorMeter"]

_log = Logger()


class ReactorMeter(Service):
    """
    A service that measures the reactor and its process, and sends every ``interval``
    seconds:

    - ``reactor latency ms``: how late the reactor ran a scheduled call; other events
      waited as long. Sampled every ``probe`` seconds;
    - ``reactor delayed calls``, ``reactor readers``, ``reactor writers``;
    - ``reactor threads busy``, ``reactor threads waiting`` (calls without a
      free thread), if the reactor has a thread pool; likewise ``threads NAME busy``
      and ``threads NAME waiting`` for each of ``thread_pools``;
    - ``process cpu percent`` (of one core), ``process garbage collections`` (a count);
    - with psutil (the extra ``reactor``): ``process memory MiB`` (resident),
      ``process open descriptors``.

    It uses only public interfaces, so it works on all reactors. What a reactor does not
    have is left out.

    :param stats: where to send the stats.
    :param interval: how often to send, in seconds; above 0.
    :param probe: how often to sample the latency, in seconds; above 0.
    :param prefix: a prefix of each name, such as ``'web1 '``.
    :param thread_pools: other thread pools to measure, by name, such as the one of an
        :class:`~twisted.enterprise.adbapi.ConnectionPool`.
    :param reactor: the reactor to measure; the global one by default.
    :param monotonic: the clock for the latency, in seconds.
    :raises ValueError: if ``interval`` or ``probe`` is not above 0.
    :ivar losses: the points that were lost.
    """

    def __init__(
        self,
        stats: IStatHat,
        interval: float = 10,
        *,
        probe: float = 1,
        prefix: str = "",
        thread_pools: Mapping[str, ThreadPool] | None = None,
        reactor: IReactorTime | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (interval > 0 and probe > 0):
            raise ValueError(
                "interval and probe must be above 0 seconds, "
                f"not {interval!r} and {probe!r}"
            )
        self.losses = Losses("reactor")
        self._stats = stats
        self._interval = interval
        self._probe = probe
        self._prefix = prefix
        self._thread_pools = dict(thread_pools or {})
        self._given = reactor
        self._monotonic = monotonic
        self._next_probe: IDelayedCall | None = None
        self._next_sample: IDelayedCall | None = None
        self._process: Any = None
        self._since = self._cpu = 0.0
        self._collections = 0

    @property
    def _reactor(self) -> IReactorTime:
        if self._given is None:
            from twisted.internet import reactor

            self._given = cast(IReactorTime, reactor)
        return self._given

    def startService(self) -> None:
        """
        Start measuring. The first numbers are sent after the first interval.
        """
        super().startService()
        try:
            import psutil
        except ImportError:
            _log.info(
                "memory and descriptors are not measured, because psutil is not "
                "installed: pip install txStatHat[reactor]"
            )
        else:
            self._process = psutil.Process()
        self._since = self._monotonic()
        self._cpu = time.process_time()
        self._collections = _collections()
        self._schedule_probe()
        self._schedule_sample()

    def stopService(self) -> None:
        """
        Stop measuring.
        """
        super().stopService()
        for call in (self._next_probe, self._next_sample):
            if call is not None and call.active():
                call.cancel()

    def _schedule_probe(self) -> None:
        due = self._monotonic() + self._probe
        self._next_probe = self._reactor.callLater(self._probe, self._probed, due)

    def _probed(self, due: float) -> None:
        late = max(0.0, self._monotonic() - due)
        # Schedule the next probe from now: a late one must not cause a burst.
        self._schedule_probe()
        self._value("reactor latency ms", round(late * 1000, 1))

    def _schedule_sample(self) -> None:
        self._next_sample = self._reactor.callLater(self._interval, self._sample)

    def _sample(self) -> None:
        self._schedule_sample()
        try:
            self._sample_reactor()
            self._sample_process()
        except Exception:
            # For example, /proc may be unreadable. The next sample tries again.
            self.losses.note(Failure())

    def _sample_reactor(self) -> None:
        reactor = self._reactor
        self._value("reactor delayed calls", len(reactor.getDelayedCalls()))
        if IReactorFDSet.providedBy(reactor):
            self._value("reactor readers", len(reactor.getReaders()))
            self._value("reactor writers", len(reactor.getWriters()))
        # getThreadPool() would create one.
        threads = getattr(reactor, "threadpool", None)
        if threads is not None:
            self._sample_threads("reactor threads", threads)
        for name, pool in self._thread_pools.items():
            self._sample_threads(f"threads {name}", pool)

    def _sample_threads(self, name: str, pool: ThreadPool) -> None:
        self._value(f"{name} busy", len(pool.working))
        self._value(f"{name} waiting", pool.q.qsize())

    def _sample_process(self) -> None:
        now, cpu, collections = self._monotonic(), time.process_time(), _collections()
        if now > self._since:
            percent = 100 * (cpu - self._cpu) / (now - self._since)
            self._value("process cpu percent", round(percent, 1))
        collected = collections - self._collections
        if collected:
            name = f"{self._prefix}process garbage collections"
            self.losses.send(self._stats.count, name, collected)
        self._since, self._cpu, self._collections = now, cpu, collections
        if self._process is not None:
            resident = self._process.memory_info().rss / 2**20
            self._value("process memory MiB", round(resident, 1))
            self._value("process open descriptors", self._process.num_fds())

    def _value(self, name: str, value: float) -> None:
        self.losses.send(self._stats.value, self._prefix + name, value)


def _collections() -> int:
    """
    The number of garbage collections of this process.
    """
    return sum(generation["collections"] for generation in gc.get_stats())
