"""
Counts that Prometheus can scrape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, TypeAlias

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Summary
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.errors import InvalidPoint
from txstathat.integrations.prometheus.names import label_name, metric_name
from txstathat.interfaces import IKickProvider, IStatHatProvider
from txstathat.points.amounts import (
    MAX_INTEGER,
    Amount,
    Time,
    epoch_seconds,
    plain_amount,
)
from txstathat.points.names import expand_name, shown

__all__ = ["MAX_LABEL_SETS", "MAX_METRICS", "PrometheusStats"]

#: How many stats there may be by default. A metric stays in memory for ever.
MAX_METRICS = 1000
#: How many combinations of choices there may be by default on the axes of kicks.
MAX_LABEL_SETS = 1000

_OTHER = "other"
_Add: TypeAlias = Callable[[float], None]
_log = Logger()


@implementer(IStatHatProvider, IKickProvider)
class PrometheusStats:
    """
    Puts counts, values and kicks into a registry of ``prometheus_client``::

        stats = PrometheusStats()
        root.putChild(b"metrics", MetricsResource())

    - A count goes into a counter, whose name ends with ``_total``.
    - A value goes into a summary: how many there were (``_count``) and their sum
      (``_sum``).
    - A kick goes into one summary for all kicks, with the axes as its labels. A choice
      that is not known is the empty text.

    :func:`~txstathat.integrations.prometheus.names.metric_name` makes the names. Stats
    whose names make the same one share a metric. A point is refused with
    :class:`~txstathat.errors.InvalidPoint` when it is not valid; when it is counted and
    a stat of its name is measured, or the other way round; when its metric's name is
    taken by another metric of the registry; when it is a count below 0, since a counter
    of Prometheus only rises; or when there are too many stats. Refused points are
    counted; the first is logged.

    Prometheus gives a point the time at which it reads it: ``t`` and ``date`` have no
    effect. Safe to call from any thread.

    :param registry: where the metrics are registered; the global one by default.
    :param prefix: put before each metric's name, such as ``'shop_'``.
    :param kick_name: the name of the summary of kicks.
    :param axes: the axes of kicks; by default those of the first kick. A kick with
        another axis is refused.
    :param ignore_errors: whether a Deferred fires with ``False`` for a refused point
        instead of failing.
    :param max_metrics: how many stats there may be.
    :param max_label_sets: how many combinations of choices kicks may have; later ones
        count under ``other`` on each axis.
    :ivar refused: how many points were refused.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        prefix: str = "",
        kick_name: str = "kicks",
        axes: Iterable[str] | None = None,
        ignore_errors: bool = True,
        max_metrics: int = MAX_METRICS,
        max_label_sets: int = MAX_LABEL_SETS,
    ) -> None:
        self.registry = registry
        self.refused = 0
        self._lock = Lock()
        self._prefix = prefix
        self._ignore_errors = ignore_errors
        self._max_metrics = max_metrics
        self._max_label_sets = max_label_sets
        self._kick_name = prefix + metric_name(kick_name)
        self._axes: tuple[str, ...] | None = None if axes is None else tuple(axes)
        self._kicks: Summary | None = None
        self._label_sets: dict[tuple[str, ...], _Add] = {}
        # By the name of the metric, what was registered; by the name of the stat, how
        # to add to it.
        self._metrics: dict[str, Counter | Summary] = {}
        self._counters: dict[str, _Add] = {}
        self._summaries: dict[str, _Add] = {}

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Add to a counter; see :class:`~txstathat.interfaces.IStatHat`.
        """
        try:
            # Most counts are small whole numbers of a stat that is known.
            if type(count) is int and 0 <= count <= MAX_INTEGER and t is None:
                self._counters[stat](count)
                return succeed(True)
        except Exception:
            # Not known yet, or not valid: the long way says which.
            pass
        return self._try(ignore_errors, self._count, stat, count, t)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Add to a summary; see :class:`~txstathat.interfaces.IStatHat`.
        """
        return self._try(ignore_errors, self._value, stat, value, t)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Count by one.
        """
        return self.count(stat, t=t, ignore_errors=ignore_errors)

    def kick(self, value: Amount = 1, date: Any = None, **axes: Any) -> Deferred[bool]:
        """
        Add to the summary of kicks; see :class:`~txstathat.interfaces.IKick`.

        :returns: a Deferred that fires with ``True``, or fails with
            :class:`~txstathat.errors.InvalidPoint` when the kick is refused.
        """
        return self._try(False, self._kick, value, axes)

    def _try(
        self, ignore_errors: bool | None, method: Callable[..., None], *point: Any
    ) -> Deferred[bool]:
        try:
            method(*point)
        except Exception as error:
            self._refuse(error)
            ignore = self._ignore_errors if ignore_errors is None else ignore_errors
            return succeed(False) if ignore else fail(Failure())
        return succeed(True)

    def _refuse(self, error: Exception) -> None:
        with self._lock:
            self.refused += 1
            is_first = self.refused == 1
        if is_first:
            # What is no InvalidPoint may say anything.
            why = error if isinstance(error, InvalidPoint) else type(error).__name__
            _log.warn(
                "a point was refused: {why}; later ones are only counted", why=str(why)
            )

    def _count(self, stat: str, count: Amount, t: Time | None) -> None:
        amount = _number(count, "count")
        if amount < 0:
            raise InvalidPoint(
                "count",
                f"must not be below 0, not {shown(count)}: "
                "a counter of Prometheus only rises",
            )
        self._add(self._counters, Counter, stat, amount, t)

    def _value(self, stat: str, value: Amount, t: Time | None) -> None:
        self._add(self._summaries, Summary, stat, _number(value, "value"), t)

    def _add(
        self,
        known: dict[str, _Add],
        kind: type[Counter] | type[Summary],
        stat: str,
        amount: float,
        t: Time | None,
    ) -> None:
        if t is not None:
            epoch_seconds(t)
        add = known.get(stat) if isinstance(stat, str) else None
        if add is None:
            adds = [self._find(known, kind, name) for name in expand_name(stat)]
            for each in adds:
                each(amount)
        else:
            add(amount)

    def _find(
        self, known: dict[str, _Add], kind: type[Counter] | type[Summary], stat: str
    ) -> _Add:
        """
        How to add to a stat that may be new.
        """
        if stat in known:
            return known[stat]
        if len(self._counters) + len(self._summaries) >= self._max_metrics:
            raise InvalidPoint(
                "stat",
                f"{shown(stat)} is new, and there are {self._max_metrics} stats, the "
                "most that there may be; raise max_metrics to have more",
            )
        name = self._prefix + metric_name(stat)
        if kind is Counter:
            # Which every counter gets.
            name = name.removesuffix("_total")
        with self._lock:
            metric = self._metrics.get(name)
            if metric is None:
                metric = self._register(kind, name, f"The stat {stat}.")
                self._metrics[name] = metric
        if not isinstance(metric, kind):
            raise InvalidPoint(
                "stat",
                f"{shown(stat)} is the metric {name}, which has both counts and "
                "values; give one of them another name",
            )
        add = metric.inc if isinstance(metric, Counter) else metric.observe
        known[stat] = add
        return add

    def _register(
        self,
        kind: type[Counter] | type[Summary],
        name: str,
        text: str,
        labels: tuple[str, ...] = (),
    ) -> Any:
        try:
            return kind(name, text, labels, registry=self.registry)
        except ValueError as error:
            raise InvalidPoint(
                "stat", f"the registry refuses the metric {name}: {error}"
            ) from None

    def _kick(self, value: Amount, axes: dict[str, Any]) -> None:
        amount = _number(value, "value")
        with self._lock:
            if self._axes is None:
                self._axes = tuple(axes)
        unknown = axes.keys() - set(self._axes)
        if unknown:
            raise InvalidPoint(
                "axes",
                f"{shown(sorted(unknown))}: the axes are {', '.join(self._axes)}",
            )
        choices = tuple(_choice(axes.get(axis)) for axis in self._axes)
        add = self._label_sets.get(choices)
        if add is None:
            add = self._find_label_set(choices)
        add(amount)

    def _find_label_set(self, choices: tuple[str, ...]) -> _Add:
        assert self._axes is not None
        with self._lock:
            if self._kicks is None:
                labels = tuple(map(label_name, self._axes))
                if len(set(labels)) < len(labels):
                    raise InvalidPoint("axes", f"{shown(labels)}: two labels are one")
                self._kicks = self._register(Summary, self._kick_name, "Kicks.", labels)
        if not self._axes:
            add = self._kicks.observe
        elif len(self._label_sets) >= self._max_label_sets:
            return self._kicks.labels(*[_OTHER] * len(choices)).observe
        else:
            add = self._kicks.labels(*choices).observe
        self._label_sets[choices] = add
        return add


def _choice(value: Any) -> str:
    """
    The value of a label for a choice on an axis; a path has slashes.
    """
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return "" if value is None else str(value)


def _number(amount: Amount, field: str) -> float:
    """
    A valid amount as Prometheus has it.

    :raises InvalidPoint: if it is not valid.
    """
    if type(amount) is float and math.isfinite(amount):
        return amount
    return float(plain_amount(amount, field))
