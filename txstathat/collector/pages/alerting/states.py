"""
The state of an alert in a word.
"""

from __future__ import annotations

from twisted.web.template import Tag, tags

from txstathat.collector.alerts.alert_record import AlertRecord

__all__ = ["badge", "state_of"]

_STATES = {
    "firing": "Firing",
    "acknowledged": "Acknowledged",
    "silenced": "Silenced",
    "clear": "Clear",
}


def state_of(record: AlertRecord, now: float) -> str:
    """
    Return the state of an alert: ``'firing'``, ``'acknowledged'`` (it fires, and
    somebody knows), ``'silenced'`` (it does not fire) or ``'clear'``.

    :param record: the alert.
    :param now: Unix seconds.
    """
    if record.is_acknowledged:
        return "acknowledged"
    if record.state.firing:
        return "firing"
    return "clear" if record.silenced_until(now) is None else "silenced"


def badge(state: str) -> Tag:
    """
    Make the badge for a state.

    :param state: as :func:`state_of` returns.
    """
    return tags.span(_STATES[state], class_=f"badge {state}")
