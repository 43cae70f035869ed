"""
The metrics of a Prometheus registry, sent as counts and values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.instruments.labels import StatName
from txstathat.instruments.losses import Losses
from txstathat.integrations.prometheus.stats import PrometheusStats
from txstathat.interfaces import IStatHat
from txstathat.points.names import MAX_NAME

__all__ = ["MAX_SERIES", "PrometheusBridge"]

#: How many series of a registry are sent by default.
MAX_SERIES = 1000

_log = Logger()
_NAME = StatName("{name}", ("name",))


class PrometheusBridge(Service):
    """
    A service that sends the metrics of a registry of ``prometheus_client``, every
    ``interval`` seconds::

        PrometheusBridge(stats, REGISTRY, 60).setServiceParent(application)

    - A counter is a count: by how much it rose since the last time.
    - A gauge is a value.
    - A summary or histogram is a count of its observations, named with `` count``, and
      a value: their average since the last time. Quantiles and buckets are not sent.

    A stat has the metric's name and its labels, such as ``http_requests method=GET``.
    Info and state metrics are not sent, nor what is not a finite number.

    What a counter holds when the service first starts is not sent: an earlier run may
    have sent it. Counters that appear later began at 0. A counter that fell, or has a
    new time of creation, was reset: what it holds counts. An amount is sent once,
    whatever becomes of it: a lost one is in ``losses``, and never sent again. Stopping
    the service sends what is left; starting it again goes on where it stopped.

    :param stats: where to send all this. Not a :class:`PrometheusStats` with the same
        registry: what it counts would be counted again without end.
    :param registry: what to read; the global registry by default. Its collectors are
        called in the reactor's thread.
    :param interval: how often, in seconds: above 0.
    :param prefix: put before each stat's name, such as ``'web1 '``.
    :param select: called with the name of each metric: whether to send it; all by
        default.
    :param max_series: how many stats there may be; later ones are not sent, and a line
        in the log says so.
    :param reactor: what to wait with; the global reactor by default.
    :raises ValueError: if the interval is not above 0, or the stats are in the same
        registry.
    :ivar losses: the points that were lost, and readings that failed.
    """

    def __init__(
        self,
        stats: IStatHat,
        registry: CollectorRegistry = REGISTRY,
        interval: float = 60,
        *,
        prefix: str = "",
        select: Callable[[str], bool] = lambda name: True,
        max_series: int = MAX_SERIES,
        reactor: IReactorTime | None = None,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"interval must be above 0 seconds, not {interval!r}")
        if isinstance(stats, PrometheusStats) and stats.registry is registry:
            raise ValueError(
                "stats put what they count into the registry that is read: it would be "
                "counted again without end; give one of them another registry"
            )
        self.losses = Losses("Prometheus bridge")
        self._stats = stats
        self._registry = registry
        self._interval = interval
        self._prefix = prefix
        self._select = select
        self._max_series = max_series
        self._reactor = reactor
        self._loop: LoopingCall | None = None
        self._readings: dict[str, _Reading] | None = None
        self._full = False

    def startService(self) -> None:
        """
        Note what the counters hold now, and send what changes from here on.
        """
        super().startService()
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        if self._readings is None:
            self._turn()
        self._loop = LoopingCall(self._turn)
        self._loop.clock = self._reactor
        self._loop.start(self._interval, now=False)

    def stopService(self) -> None:
        """
        Send what is left, and stop.
        """
        super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
            self._turn()

    def _turn(self) -> None:
        readings: dict[str, _Reading] = {}
        try:
            for metric in self._registry.collect():
                if self._select(metric.name):
                    readings |= _read(metric)
        except Exception:
            # Of a collector. LoopingCall goes on. What came before it is sent, but a
            # first reading must be whole: what it lacks would seem to be new later.
            self.losses.note(Failure())
            if self._readings is None:
                return
        is_first, before = self._readings is None, self._readings or {}
        for name, reading in readings.items():
            if name not in before and len(before) >= self._max_series:
                self._say_full()
                continue
            if not is_first:
                self._send(name, reading, before.get(name, _NOTHING))
            before[name] = reading
        self._readings = before

    def _send(self, name: str, now: _Reading, before: _Reading) -> None:
        name = _NAME.of(name=(self._prefix + name)[: MAX_NAME - len(" count")])
        if now.kind == "gauge":
            self._send_point(self._stats.value, name, now.total)
            return
        count, total = now.since(before)
        if count <= 0:
            return
        if now.kind == "counter":
            self._send_point(self._stats.count, name, count)
        else:
            self._send_point(self._stats.count, f"{name} count", count)
            self._send_point(self._stats.value, name, total / count)

    def _send_point(self, method: Callable[..., Any], name: str, amount: float) -> None:
        if math.isfinite(amount):
            whole = int(amount)
            self.losses.send(method, name, whole if whole == amount else amount)

    def _say_full(self) -> None:
        if not self._full:
            self._full = True
            _log.warn(
                "the registry has more than {max} series; the others are not sent",
                max=self._max_series,
            )


class _Reading:
    """
    What a series held at a time.

    :ivar kind: ``'counter'``, ``'gauge'`` or ``'summary'``.
    :ivar count: a counter's value, or how many observations there were.
    :ivar total: a gauge's value, or the sum of the observations.
    :ivar created: when the series began, if it says so.
    """

    __slots__ = ("count", "created", "kind", "total")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = self.total = 0.0
        self.created: float | None = None

    def since(self, before: _Reading) -> tuple[float, float]:
        """
        How much was added since an earlier reading: to the count and to the total.
        """
        # A series may stop saying when it began.
        is_new = None not in (before.created, self.created) and (
            before.created != self.created
        )
        if is_new or self.count < before.count:
            return self.count, self.total
        return self.count - before.count, self.total - before.total


_NOTHING = _Reading("")
_KINDS = {
    "counter": "counter",
    "gauge": "gauge",
    "unknown": "gauge",
    "summary": "summary",
    "histogram": "summary",
}


def _read(metric: Metric) -> dict[str, _Reading]:
    """
    The readings of a metric, by its name and labels.
    """
    kind = _KINDS.get(metric.type)
    readings: dict[str, _Reading] = {}
    if kind is None:
        return readings
    for suffix, name, value in _samples(metric):
        if suffix not in _FIELDS[kind] or not math.isfinite(value):
            continue
        reading = readings.get(name)
        if reading is None:
            reading = readings[name] = _Reading(kind)
        setattr(reading, _FIELDS[kind][suffix], value)
    return readings


# Which sample of a metric is what, by the end of the sample's name.
_FIELDS = {
    "counter": {"_total": "count", "": "count", "_created": "created"},
    "gauge": {"": "total"},
    "summary": {"_count": "count", "_sum": "total", "_created": "created"},
}


def _samples(metric: Metric) -> Iterator[tuple[str, str, float]]:
    """
    The end of each sample's name, the name of its series, and its value.
    """
    for sample in metric.samples:
        labels = "".join(f" {k}={v}" for k, v in sorted(sample.labels.items()))
        suffix = sample.name.removeprefix(metric.name)
        # A quantile is a sample of its own.
        if suffix or "quantile" not in sample.labels or metric.type != "summary":
            yield suffix, metric.name + labels, sample.value
