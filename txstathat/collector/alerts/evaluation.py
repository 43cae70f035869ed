"""
Whether an alert's condition holds, and what follows from that: episodes.

Nothing here reads a clock or a store.

A condition is about whole steps of time: the window that ended with the last one. The
step that is still being filled is left out, as a part of it would look like little.

An *episode* begins as soon as the condition holds. It ends when the condition has been
clear for :data:`HOLD` seconds without a break, and clear is more than not holding: the
number must be back by :data:`BAND` of what it is compared with. In between, and where
there is nothing to compare, an episode neither begins nor ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from txstathat.collector.alerts.model import MARGIN, WINDOWS, Alert, steps_of
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.points.timeframe import Timeframe

__all__ = [
    "BAND",
    "HOLD",
    "Evaluation",
    "Reading",
    "State",
    "Window",
    "advance",
    "judge",
    "windows",
]

#: How far back a number must be for an alert to be over, as a part of its threshold or
#: percentage.
BAND = 0.05
#: For how many seconds it must have been there.
HOLD = 300.0


@dataclass(frozen=True, slots=True)
class Window:
    """
    A stretch of time to read.

    :ivar frame: how long it is, and in which steps.
    :ivar end: when it ends, in Unix seconds; where a step does.
    """

    frame: Timeframe
    end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What was read of a window.

    :ivar number: a counter's sum, a value's average; ``None`` if a value has no points,
        or if it is beyond the largest float.
    :ivar whole: whether the stat was there from the window's beginning on.
    """

    number: int | float | None
    whole: bool

    @classmethod
    def of(cls, series: Series) -> Reading:
        """
        Sum up a window.
        """
        return cls(series.whole, series.stat.created_at <= series.buckets[0].time)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    What is to be said of an alert's condition.

    :ivar holds: whether it holds; ``None`` if that is neither so nor clearly not so.
    :ivar number: what was compared, if there was anything: a sum or an average, a
        change in percent, or for how many seconds nothing has come.
    """

    holds: bool | None
    number: int | float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """
    Where an alert stands.

    :ivar episode: how many there were, with the one that lasts.
    :ivar firing: whether one lasts.
    :ivar since: when that began to be so, in Unix seconds; ``None`` before the first.
    :ivar clear_since: since when the condition of the one that lasts has been clear.
    """

    episode: int = 0
    firing: bool = False
    since: float | None = None
    clear_since: float | None = None


def advance(state: State, holds: bool | None, now: float) -> State:
    """
    Where an alert stands after its condition was judged.

    :param state: where it stood before.
    :param holds: as in :class:`Evaluation`.
    :param now: Unix seconds.
    """
    if not state.firing:
        return State(state.episode + 1, True, now) if holds else state
    if holds is not False:
        return replace(state, clear_since=None)
    # A clock may have been set back.
    since = now if state.clear_since is None else min(state.clear_since, now)
    if now - since >= HOLD:
        return State(state.episode, False, now)
    return replace(state, clear_since=since)


def windows(
    alert: Alert, retention: Mapping[str, float | None], now: float
) -> list[Window]:
    """
    What must be read for an alert: nothing, a window, or two, of which the second is
    the earlier one.

    :param retention: for how many seconds the scales are kept.
    :param now: Unix seconds.
    :raises Refusal: if what it takes is not kept.
    """
    if alert.kind == "data":
        return []
    step = steps_of(alert.time_window, alert.time_delta, retention)
    frame = Timeframe(WINDOWS[alert.time_window], step)
    end = step.start(step.bucket(int(now) - MARGIN))
    if alert.time_delta is None:
        return [Window(frame, end)]
    return [Window(frame, end), Window(frame, WINDOWS[alert.time_delta].before(end))]


def judge(
    alert: Alert, stat: Stat, readings: Sequence[Reading], now: float
) -> Evaluation:
    """
    Judge an alert's condition.

    :param stat: its stat.
    :param readings: of :func:`windows`.
    :param now: Unix seconds.
    """
    if alert.kind == "data":
        silent = stat.received_at < WINDOWS[alert.time_window].before(int(now))
        return Evaluation(silent, max(0, int(now - stat.received_at)))
    if alert.kind == "value":
        return _value(alert, stat, readings[0])
    return _delta(alert, stat, *readings)


def _value(alert: Alert, stat: Stat, reading: Reading) -> Evaluation:
    number, threshold = reading.number, alert.threshold
    assert threshold is not None
    if number is None:
        return Evaluation(None)
    if alert.operator == "greater than":
        return _compared(number, threshold, abs(threshold) * BAND)
    if stat.counter and not reading.whole:
        # So little may only be because it was not there before.
        return Evaluation(None, number)
    return replace(_compared(-number, -threshold, abs(threshold) * BAND), number=number)


def _delta(alert: Alert, stat: Stat, now: Reading, before: Reading) -> Evaluation:
    assert alert.percentage is not None
    if stat.counter and not before.whole:
        return Evaluation(None)
    if now.number is None or before.number is None:
        return Evaluation(None)
    change = _change(now.number, before.number)
    seen = {
        "greater than": change,
        "less than": -change,
        "different than": abs(change),
    }[alert.operator or ""]
    judged = _compared(seen, alert.percentage, alert.percentage * BAND)
    return replace(judged, number=change)


def _change(now: int | float, before: int | float) -> float:
    """
    From before to now, in percent; infinite from 0 to anything else.
    """
    if now == before:
        return 0.0
    if before == 0:
        return math.copysign(math.inf, now)
    return (now / abs(before) - math.copysign(1, before)) * 100


def _compared(number: float, limit: float, band: float) -> Evaluation:
    if number > limit:
        return Evaluation(True, number)
    return Evaluation(False if number <= limit - band else None, number)
