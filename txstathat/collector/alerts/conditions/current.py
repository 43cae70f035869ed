"""
The number that an alert compares now, for people who look at it.
"""

from __future__ import annotations

from txstathat.collector.alerts.conditions.evaluation import (
    WindowReading,
    evaluate,
    windows_to_read,
)
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.archive.archive import Archive
from txstathat.collector.errors import Refusal

__all__ = ["read_current"]


async def read_current(
    archive: Archive, alert: AlertDefinition, now: float
) -> int | float | None:
    """
    Read what an alert compares, as in
    :class:`~txstathat.collector.alerts.conditions.evaluation.Evaluation`.

    :param archive: has its stat.
    :param alert: the alert.
    :param now: Unix seconds.
    :returns: ``None`` if its stat is in the trash, or there is nothing to compare.
    :raises StoreError: if the store fails.
    """
    stats = await archive.known([alert.stat_id])
    if not stats:
        return None
    (stat,) = stats
    readings = []
    try:
        for window in windows_to_read(alert, archive.retention, now, stat.is_ahead):
            (series,) = await archive.data([stat], window.frame, window.end - 1)
            readings.append(WindowReading.of(series))
    except Refusal:
        # The retention has been changed since the alert was made.
        return None
    return evaluate(alert, stat, readings, now).number
