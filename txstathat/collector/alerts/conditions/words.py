"""
When an alert fires, in words for the pages and the commands.
"""

from __future__ import annotations

from typing import Protocol

from txstathat.collector.number_text import number

__all__ = ["WINDOW_TITLES", "Condition", "condition"]

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


class Condition(Protocol):
    """
    When an alert fires, as :class:`~txstathat.collector.alerts.model.AlertDefinition`
    and :class:`txstathat.export.models.Alert` say it.
    """

    @property
    def kind(self) -> str: ...
    @property
    def time_window(self) -> str: ...
    @property
    def operator(self) -> str | None: ...
    @property
    def threshold(self) -> int | float | None: ...
    @property
    def percentage(self) -> int | float | None: ...
    @property
    def time_delta(self) -> str | None: ...


def condition(alert: Condition) -> str:
    """
    Return when an alert fires, such as ``'it is greater than 500 over 1 hour'``.

    :param alert: the alert.
    """
    window = _title(alert.time_window)
    if alert.kind == "data":
        return f"there is no data for {window}"
    if alert.kind == "value":
        return f"it is {alert.operator} {number(alert.threshold)} over {window}"
    verb = _VERBS[alert.operator or "different than"]
    earlier = _title(alert.time_delta or "1d")
    return (
        f"it {verb} by more than {number(alert.percentage)}% over {window}, compared "
        f"with {earlier} before"
    )


def _title(window: str) -> str:
    # Another server may have others.
    return WINDOW_TITLES.get(window, window)
