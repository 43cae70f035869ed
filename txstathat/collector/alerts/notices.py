"""
What is to be told of alerts, and how it is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from txstathat.collector.alerts.model import Alert

__all__ = ["ATTEMPTS", "FIRED", "LEASE", "RECOVERED", "Jitter", "Notice", "delay"]

#: How many attempts are made to tell something.
ATTEMPTS = 8
#: For how many seconds one collector has to make an attempt, before another one may.
LEASE = 60.0

FIRED = "fired"
RECOVERED = "recovered"

#: Draws a number from between two, as :meth:`random.Random.uniform` does.
Jitter = Callable[[float, float], float]

# Seconds between the first attempt and the second, on average.
_FIRST_DELAY = 15.0


@dataclass(frozen=True, slots=True)
class Notice:
    """
    That an episode began, or is over.

    :ivar event: :data:`FIRED` or :data:`RECOVERED`.
    :ivar episode: which episode of the alert's.
    :ivar at: when, in Unix seconds.
    :ivar number: what was compared; see
        :class:`~txstathat.collector.alerts.evaluation.Evaluation`.
    :ivar attempts: how many attempts were begun to tell it.
    :ivar next_at: before when no other is to be made, in Unix seconds.
    """

    event: str
    episode: int
    at: float
    number: int | float | None
    attempts: int = 0
    next_at: float = 0.0

    def id(self, alert: Alert) -> str:
        """
        The same for all attempts to tell it.
        """
        return f"{alert.id}-{self.episode}-{self.event}"

    def to_json(self, alert: Alert) -> dict[str, Any]:
        """
        What is told of it.
        """
        return {
            "id": self.id(alert),
            "event": self.event,
            "at": int(self.at),
            "episode": self.episode,
            "number": self.number if _is_finite(self.number) else None,
            "alert": alert.to_json(),
            "text": self._text(alert),
        }

    def _text(self, alert: Alert) -> str:
        over = self.event == RECOVERED
        if alert.kind == "data":
            state = "has data again, after" if over else "has had no data for"
            return f"{alert.stat_name}: {state} {alert.time_window}"
        no_longer = "no longer " if over else ""
        if alert.kind == "value":
            return (
                f"{alert.stat_name}: {_shown(self.number)} over {alert.time_window}, "
                f"{no_longer}{alert.operator} {alert.threshold}"
            )
        return (
            f"{alert.stat_name}: {_shown(self.number)}% over {alert.time_window}, "
            f"{no_longer}{alert.percentage}% {alert.operator} {alert.time_delta} before"
        )


def _is_finite(number: int | float | None) -> bool:
    return number is not None and math.isfinite(number)


def _shown(number: int | float | None) -> str:
    return str(number) if isinstance(number, int) else f"{number or 0.0:.6g}"


def delay(attempts: int, jitter: Jitter) -> float:
    """
    How long to wait after an attempt that failed: twice as long each time, give or take
    a half. Eight attempts take about half an hour.

    :param attempts: how many were made, 1 or more.
    :param jitter: draws a number from between two.
    :returns: seconds.
    """
    return _FIRST_DELAY * 2.0 ** (attempts - 1) * jitter(0.5, 1.5)
