"""
When the weekly digest is due.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

__all__ = ["DEFAULT_SCHEDULE", "Schedule"]

#: When the digest is due, by default.
DEFAULT_SCHEDULE = "mon 08:00 UTC"

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT = re.compile(r"([a-z]{3}) ([0-2]?[0-9]):([0-5][0-9])(?: (\S+))?", re.I)


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    A time of the week.

    :ivar weekday: the day, from 0 for Monday.
    :ivar at: the time of that day.
    :ivar zone: the name of the time zone.
    """

    weekday: int
    at: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """
        Parse a time such as ``mon 08:00`` or ``fri 17:30 Europe/Berlin``.

        :raises ValueError: if it is not valid.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None or found[1].lower() not in _DAYS or int(found[2]) > 23:
            raise ValueError(
                f"{text!r} must be like 'mon 08:00' or 'fri 17:30 Europe/Berlin'"
            )
        zone = found[4] or "UTC"
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, LookupError):
            raise ValueError(f"{zone!r} is not the name of a time zone") from None
        day = _DAYS.index(found[1].lower())
        return cls(day, time(int(found[2]), int(found[3])), zone)

    def last_due(self, now: float) -> int:
        """
        Return when the digest was last due, in Unix seconds.

        :param now: Unix seconds.
        """
        zone = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(now, UTC).astimezone(zone)
        day = local.date() - timedelta(days=(local.weekday() - self.weekday) % 7)
        due = datetime.combine(day, self.at, zone)
        if due.timestamp() > now:
            due = datetime.combine(day - timedelta(days=7), self.at, zone)
        return int(due.timestamp())
