"""
Notices: the messages that an alert fired or recovered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from txstathat.backoff import Jitter, backoff_delay
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.channels.message import FIRED, RECOVERED, ChannelMessage
from txstathat.printable import printable

__all__ = [
    "ATTEMPTS",
    "FIRED",
    "GIVE_UP_SECONDS",
    "LEASE",
    "LONGEST_DELAY",
    "RECOVERED",
    "AlertNotice",
    "notice_retry_delay",
]

#: How many times a collector tries at least to deliver a notice.
ATTEMPTS = 8
#: For how many seconds it tries at least.
GIVE_UP_SECONDS = 86_400.0
#: The time, in seconds, that one collector has for an attempt. After that another
#: collector can try.
LEASE = 60.0

# The mean delays after the first attempt, and after many, in seconds.
_FIRST_DELAY = 15.0
_LAST_DELAY = 300.0
#: The longest delay between two attempts, in seconds.
LONGEST_DELAY = 1.5 * _LAST_DELAY


@dataclass(frozen=True, slots=True)
class AlertNotice:
    """
    A message that an episode began or ended.

    :ivar event: :data:`FIRED` or :data:`RECOVERED`.
    :ivar episode: the number of the episode.
    :ivar at: when that was, in Unix seconds.
    :ivar number: what was compared; see
        :class:`~txstathat.collector.alerts.conditions.evaluation.Evaluation`.
    :ivar attempts: how many attempts to deliver it have begun.
    :ivar next_at: the earliest time of the next attempt, in Unix seconds.
    :ivar channel: where it goes: the name of a channel, or ``''``; see
        :mod:`txstathat.collector.alerts.sending.targets`.
    :ivar failed: whether the last attempt has failed; otherwise ``next_at`` is the end
        of the time that a collector has for it.
    """

    event: str
    episode: int
    at: float
    number: int | float | None
    attempts: int = 0
    next_at: float = 0.0
    channel: str = ""
    failed: bool = False

    def id(self, alert: AlertDefinition) -> str:
        """
        Return the id of the notice, which is the same for all attempts.
        """
        return f"{alert.id}-{self.episode}-{self.event}"

    def is_due(self, now: float) -> bool:
        """
        Return whether to attempt a delivery. If the next attempt is further ahead than
        any delay, the clock was set back.

        :param now: Unix seconds.
        """
        return not now < self.next_at <= now + LONGEST_DELAY

    def is_over(self, now: float) -> bool:
        """
        Return whether to give it up after another attempt has failed. The number of
        attempts counts too, in case the clock was set forward.

        :param now: Unix seconds.
        """
        return self.attempts >= ATTEMPTS and now - self.at >= GIVE_UP_SECONDS

    def message(self, alert: AlertDefinition) -> ChannelMessage:
        """
        Return the message to send.
        """
        state = "recovered" if self.event == RECOVERED else "alert"
        return ChannelMessage(
            id=self.id(alert),
            event=self.event,
            at=self.at,
            title=f"{printable(alert.stat_name)}: {state}",
            text=self._text(alert),
            key=f"{alert.id}-{self.episode}",
            stat=alert.stat_name,
            number=self.number if _is_finite(self.number) else None,
            details=self.to_json(alert),
        )

    def to_json(self, alert: AlertDefinition) -> dict[str, Any]:
        """
        Return the message that is posted to the webhook.
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

    def _text(self, alert: AlertDefinition) -> str:
        name = printable(alert.stat_name)
        over = self.event == RECOVERED
        if alert.kind == "data":
            state = "has data again, after" if over else "has had no data for"
            return f"{name}: {state} {alert.time_window}"
        no_longer = "no longer " if over else ""
        if alert.kind == "value":
            return (
                f"{name}: {_format(self.number)} over {alert.time_window}, "
                f"{no_longer}{alert.operator} {alert.threshold}"
            )
        return (
            f"{name}: {_format(self.number)}% over {alert.time_window}, "
            f"{no_longer}{alert.percentage}% {alert.operator} {alert.time_delta} before"
        )


def _is_finite(number: int | float | None) -> bool:
    return number is not None and math.isfinite(number)


def _format(number: int | float | None) -> str:
    return str(number) if isinstance(number, int) else f"{number or 0.0:.6g}"


def notice_retry_delay(attempts: int, jitter: Jitter) -> float:
    """
    Return how long to wait after a failed attempt. The delay doubles with each attempt,
    up to five minutes, and varies by half of it either way.

    :param attempts: how many attempts were made, 1 or more.
    :param jitter: returns a random number between two numbers.
    :returns: seconds.
    """
    return backoff_delay(
        attempts, jitter, first=_FIRST_DELAY, longest=_LAST_DELAY, spread=(0.5, 1.5)
    )
