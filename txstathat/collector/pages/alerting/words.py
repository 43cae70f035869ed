"""
Alerts in words: what they watch, and their state.
"""

from __future__ import annotations

from twisted.web.template import Tag, tags

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.pages.frame.formatting import number

__all__ = ["WINDOW_TITLES", "badge", "condition", "state_of"]

#: The windows in words.
WINDOW_TITLES = {
    "5m": "5 minutes",
    "1h": "1 hour",
    "3h": "3 hours",
    "1d": "1 day",
    "1w": "1 week",
    "1M": "1 month",
    "1y": "1 year",
}
_VERBS = {
    "greater than": "rises",
    "less than": "falls",
    "different than": "changes",
}
_STATES = {
    "firing": "Firing",
    "acknowledged": "Acknowledged",
    "silenced": "Silenced",
    "clear": "Clear",
}


def condition(alert: AlertDefinition) -> str:
    """
    Return when an alert fires, such as ``'it is greater than 500 over 1 hour'``.

    :param alert: the alert.
    """
    window = WINDOW_TITLES[alert.time_window]
    if alert.kind == "data":
        return f"there is no data for {window}"
    if alert.kind == "value":
        return f"it is {alert.operator} {number(alert.threshold)} over {window}"
    verb = _VERBS[alert.operator or "different than"]
    earlier = WINDOW_TITLES[alert.time_delta or "1d"]
    return (
        f"it {verb} by more than {number(alert.percentage)}% over {window}, compared "
        f"with {earlier} before"
    )


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
