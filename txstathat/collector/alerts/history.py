"""
What an alert remembers: past episodes, a silence, and the last failed delivery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from txstathat.collector.archive.stats import CLOCK_SLACK
from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, is_integer, is_number

__all__ = [
    "MAX_EPISODES",
    "MAX_SILENCE",
    "WEBHOOK",
    "DeliveryError",
    "Episode",
    "Silence",
    "is_compared",
    "target_title",
]

#: The largest number of episodes that an alert remembers. One more drops the oldest.
MAX_EPISODES = 20
#: The longest time for which an alert can be silenced, in seconds.
MAX_SILENCE = 30 * 86_400.0

#: The name of the operator's URL, or an alert's own, among those of channels.
WEBHOOK = ""

_LONGEST_ERROR = 500


def target_title(name: str) -> str:
    """
    Return the name of a target for people: that of a channel, or ``webhook``.
    """
    return "webhook" if name == WEBHOOK else name


@dataclass(frozen=True, slots=True)
class Episode:
    """
    A time in which an alert fired.

    :ivar number: the number of the episode, from 1 on.
    :ivar began: when it began, in Unix seconds.
    :ivar ended: when it ended, in Unix seconds; ``None`` if it goes on.
    :ivar compared: what was compared when it began; ``None`` if that is not known.
    :ivar acknowledged_at: when somebody acknowledged it, in Unix seconds; ``None`` if
        nobody has.
    """

    number: int
    began: float
    ended: float | None = None
    compared: int | float | None = None
    acknowledged_at: float | None = None

    @classmethod
    def read(cls, fields: Any) -> Episode:
        """
        Parse what :meth:`to_list` returns.

        :raises BadRecord: if it is not valid.
        """
        if not (isinstance(fields, list) and len(fields) == 5):
            raise BadRecord("is not valid: an episode is no list of five")
        number, began, *others = fields
        if not (
            is_integer(number)
            and is_number(began, math.inf)
            and all(each is None or is_compared(each) for each in others)
        ):
            raise BadRecord("is not valid: an episode has a value of the wrong type")
        return cls(*fields)

    def to_list(self) -> list[Any]:
        """
        Return its values, in the order of the fields.
        """
        return [
            self.number,
            self.began,
            self.ended,
            self.compared,
            self.acknowledged_at,
        ]

    def to_json(self) -> dict[str, Any]:
        """
        Return it as the API does, with times in whole Unix seconds.
        """
        finite = self.compared is not None and math.isfinite(self.compared)
        return {
            "episode": self.number,
            "began": int(self.began),
            "ended": None if self.ended is None else int(self.ended),
            "number": self.compared if finite else None,
            "acknowledged_at": (
                None if self.acknowledged_at is None else int(self.acknowledged_at)
            ),
        }


def is_compared(thing: object) -> bool:
    """
    Return whether a thing can be what an alert compared: a number. A change from 0 to
    something else is infinite.
    """
    infinite = isinstance(thing, float) and math.isinf(thing)
    return infinite or is_number(thing, math.inf)


@dataclass(frozen=True, slots=True)
class Silence:
    """
    A time in which an alert sends no notice that it fires.

    :ivar since: when it was set, in Unix seconds.
    :ivar until: when it ends, in Unix seconds.
    """

    since: float
    until: float

    @classmethod
    def lasting(cls, seconds: float, now: float) -> Silence:
        """
        Return a silence that begins now.

        :param seconds: how long it lasts, above 0.
        :param now: Unix seconds.
        :raises Refusal: 400 if it is too short or too long.
        """
        if not 0 < seconds <= MAX_SILENCE:
            days = int(MAX_SILENCE // 86_400)
            raise Refusal(
                400, f"seconds: must be above 0, and at most {days} days, not {seconds}"
            )
        return cls(now, now + seconds)

    def holds(self, now: float) -> bool:
        """
        Return whether it goes on. If it was set while the clock was wrong, and begins
        in the future, it is over: it must not silence an alert for longer than somebody
        wanted.

        :param now: Unix seconds.
        """
        return self.since - CLOCK_SLACK <= now < self.until


@dataclass(frozen=True, slots=True)
class DeliveryError:
    """
    The last failed delivery of an alert's notice.

    :ivar at: when it was, in Unix seconds.
    :ivar channel: where the notice was to go; see
        :mod:`txstathat.collector.alerts.sending.targets`.
    :ivar why: the reason.
    """

    at: float
    channel: str
    why: str

    def __str__(self) -> str:
        return f"{target_title(self.channel)}: {self.why}"

    @classmethod
    def of(cls, at: float, channel: str, why: str) -> DeliveryError:
        """
        Return the error of an attempt.
        """
        return cls(at, channel, why[:_LONGEST_ERROR])
