"""
Whether the condition of an alert holds, and the episodes that follow from it.

Nothing here reads a clock or a store.

A condition is about a window of whole steps of time, which ends with the last complete
step. The current step is left out, since it has only a part of its points so far.

An *episode* begins as soon as the condition holds. It ends when the condition has been
clear for :data:`RECOVERY_SECONDS` without a break. *Clear* is stricter than *does not
hold*: the number must be away from its limit by :data:`RECOVERY_BAND`. Between the two,
and where there is nothing to compare, an episode neither begins nor ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from txstathat.collector.alerts.model import (
    MARGIN,
    WINDOWS,
    AlertDefinition,
    choose_step,
)
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.points.timeframe import Timeframe

__all__ = [
    "LOST_BAND",
    "MAX_LOST",
    "RECOVERY_BAND",
    "RECOVERY_SECONDS",
    "AlertState",
    "AlertWindow",
    "Evaluation",
    "WindowReading",
    "evaluate",
    "next_state",
    "windows_to_read",
]

#: How far a number must be back from its limit for an episode to end, as a fraction of
#: the threshold or percentage.
RECOVERY_BAND = 0.05
#: For how many seconds it must have been there.
RECOVERY_SECONDS = 300.0
#: How much of a window outages can take, as a fraction, so that its sum is compared.
MAX_LOST = 1 / 60
#: How much of a sum such an outage can have cost, as a fraction: more than
#: :data:`MAX_LOST`, because outages at a busy time cost more.
LOST_BAND = 0.05


@dataclass(frozen=True, slots=True)
class AlertWindow:
    """
    A window of time that an alert is about.

    :ivar frame: its length, and the length of its steps.
    :ivar end: its end, in Unix seconds, on the boundary of a step.
    """

    frame: Timeframe
    end: int

    @property
    def start(self) -> int:
        """
        Its beginning, in Unix seconds.
        """
        return max(0, self.frame.duration.before(self.end))


@dataclass(frozen=True, slots=True)
class WindowReading:
    """
    The number of a stat in a window.

    :ivar number: the sum of a counter, or the average of a value; ``None`` if a value
        has no points, or if the number exceeds the largest float.
    :ivar complete: whether the stat existed from the beginning of the window on.
    :ivar points: the number of points.
    :ivar lost: for which part of the window points may be missing because no collector
        was up, from 0 to 1.
    """

    number: int | float | None
    complete: bool
    points: int = 0
    lost: float = 0.0

    @classmethod
    def of(cls, series: Series) -> WindowReading:
        """
        Compute it from the stat's series in the window.
        """
        complete = series.stat.created_at <= series.buckets[0].time
        points = sum(bucket.count for bucket in series.buckets)
        return cls(series.whole, complete, points)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """
    The result of evaluating an alert's condition.

    :ivar holds: ``True`` if the condition holds, ``False`` if it is clear, ``None`` if
        the number is between the two or cannot be compared.
    :ivar number: what was compared: a sum or an average, a change in percent, or the
        seconds since the last point; ``None`` if nothing was.
    """

    holds: bool | None
    number: int | float | None = None


@dataclass(frozen=True, slots=True)
class AlertState:
    """
    The state of an alert.

    :ivar episode: the number of episodes so far, including the current one.
    :ivar firing: whether an episode is going on.
    :ivar since: when ``firing`` last changed, in Unix seconds; ``None`` before the
        first episode.
    :ivar clear_since: since when the condition has been clear during the current
        episode, in Unix seconds; ``None`` if it is not clear.
    :ivar notified: the targets that were sent a notice of the current episode; see
        :mod:`txstathat.collector.alerts.sending.targets`.
    :ivar acknowledged_at: when somebody acknowledged the current episode, in Unix
        seconds; ``None`` if nobody has.
    """

    episode: int = 0
    firing: bool = False
    since: float | None = None
    clear_since: float | None = None
    notified: tuple[str, ...] = ()
    acknowledged_at: float | None = None


def next_state(state: AlertState, holds: bool | None, now: float) -> AlertState:
    """
    Return the state of an alert after an evaluation.

    :param state: the state before.
    :param holds: the result, as in :class:`Evaluation`.
    :param now: Unix seconds.
    """
    if not state.firing:
        return AlertState(state.episode + 1, True, now) if holds else state
    if holds is not False:
        return replace(state, clear_since=None)
    # The clock may have been set back.
    since = now if state.clear_since is None else min(state.clear_since, now)
    if now - since >= RECOVERY_SECONDS:
        return AlertState(state.episode, False, now)
    return replace(state, clear_since=since)


def windows_to_read(
    alert: AlertDefinition,
    retention: Mapping[str, float | None],
    now: float,
    is_ahead: bool = False,
) -> list[AlertWindow]:
    """
    Return the windows to read for an evaluation: none, one, or two. The second one is
    the earlier one; for an alert of kind data it is the current step.

    :param alert: the alert.
    :param retention: how long each scale is stored, in seconds; ``None`` for ever.
    :param now: Unix seconds.
    :param is_ahead: as in :class:`~txstathat.collector.archive.stats.Stat`. Then it
        takes the points themselves to know whether there were any.
    :raises Refusal: if the detail that this takes is not stored for long enough.
    """
    if alert.kind == "data" and not is_ahead:
        return []
    step = choose_step(alert.time_window, alert.time_delta, retention)
    frame = Timeframe(WINDOWS[alert.time_window], step)
    end = step.start_of(int(now) - MARGIN)
    if alert.kind == "data":
        current = step.after(end)
        return [AlertWindow(frame, end), AlertWindow(Timeframe(step, step), current)]
    if alert.time_delta is None:
        return [AlertWindow(frame, end)]
    earlier = WINDOWS[alert.time_delta].before(end)
    return [AlertWindow(frame, end), AlertWindow(frame, earlier)]


def evaluate(
    alert: AlertDefinition,
    stat: Stat,
    readings: Sequence[WindowReading],
    now: float,
    up_since: float = 0.0,
) -> Evaluation:
    """
    Evaluate the condition of an alert.

    :param alert: the alert.
    :param stat: its stat.
    :param readings: the readings of the windows that :func:`windows_to_read` returns.
    :param now: Unix seconds.
    :param up_since: since when senders have been able to reach a collector, in Unix
        seconds.
    """
    if alert.kind == "data":
        return _evaluate_data(alert, stat, readings, now, up_since)
    if alert.kind == "value":
        return _evaluate_value(alert, stat, readings[0])
    return _evaluate_delta(alert, stat, *readings)


def _evaluate_data(
    alert: AlertDefinition,
    stat: Stat,
    readings: Sequence[WindowReading],
    now: float,
    up_since: float,
) -> Evaluation:
    begin = WINDOWS[alert.time_window].before(int(now))
    if stat.is_ahead:
        silent, number = not any(reading.points for reading in readings), None
    else:
        silent = stat.received_at < begin
        number = max(0, int(now - stat.received_at))
    if silent and up_since >= begin:
        # No collector was there to receive points.
        return Evaluation(None, number)
    return Evaluation(silent, number)


def _evaluate_value(
    alert: AlertDefinition, stat: Stat, reading: WindowReading
) -> Evaluation:
    number, threshold = reading.number, alert.threshold
    assert threshold is not None
    if number is None:
        return Evaluation(None)
    band = abs(threshold) * RECOVERY_BAND
    if alert.operator == "greater than":
        return _compare(number, threshold, band)
    if stat.counter and not reading.complete:
        # The sum may be low only because the stat did not exist before.
        return Evaluation(None, number)
    evaluation = _compare(-number, -threshold, band)
    if stat.counter:
        if reading.lost > MAX_LOST:
            return Evaluation(None, number)
        if _compare(-_with_lost(reading), -threshold, band).holds != evaluation.holds:
            return Evaluation(None, number)
    return replace(evaluation, number=number)


def _evaluate_delta(
    alert: AlertDefinition, stat: Stat, now: WindowReading, before: WindowReading
) -> Evaluation:
    if stat.counter and not before.complete:
        return Evaluation(None)
    if now.number is None or before.number is None:
        return Evaluation(None)
    evaluation = _compare_change(alert, now.number, before.number)
    if stat.counter and max(now.lost, before.lost) > MAX_LOST:
        return Evaluation(None, evaluation.number)
    if stat.counter and (now.lost or before.lost):
        for numbers in (
            (_with_lost(now), before.number),
            (now.number, _with_lost(before)),
        ):
            if _compare_change(alert, *numbers).holds != evaluation.holds:
                return Evaluation(None, evaluation.number)
    return evaluation


def _with_lost(reading: WindowReading) -> int | float:
    """
    Return the sum as it may have been without an outage. The result of an evaluation
    must be the same with it.
    """
    assert reading.number is not None
    if not reading.lost:
        return reading.number
    return reading.number + abs(reading.number) * LOST_BAND


def _compare_change(
    alert: AlertDefinition, now: int | float, before: int | float
) -> Evaluation:
    assert alert.percentage is not None
    change = _change_in_percent(now, before)
    compared = {
        "greater than": change,
        "less than": -change,
        "different than": abs(change),
    }[alert.operator or ""]
    band = alert.percentage * RECOVERY_BAND
    return replace(_compare(compared, alert.percentage, band), number=change)


def _change_in_percent(now: int | float, before: int | float) -> float:
    """
    Return the change from ``before`` to ``now``; from 0 to any other number it is
    infinite.
    """
    if now == before:
        return 0.0
    if before == 0:
        return math.copysign(math.inf, now)
    return (now / abs(before) - math.copysign(1, before)) * 100


def _compare(number: float, limit: float, band: float) -> Evaluation:
    if number > limit:
        return Evaluation(True, number)
    return Evaluation(False if number <= limit - band else None, number)
