"""
StatHat's timeframes: how far to look back, and in which steps.

A timeframe is a DURATION and an INTERVAL, each a number and a unit: ``1w3h`` is one
week in steps of three hours. The units are ``m`` minutes, ``h`` hours, ``d`` days,
``w`` weeks, ``M`` months and ``y`` years (https://www.stathat.com/manual/export). Some
clients send a third part, ``1d15m1w``: StatHat serves the first two.

The steps ("buckets") lie on a grid that does not move with the clock, in UTC: minutes,
hours and days are counted from the Unix epoch, weeks from a Monday, months and years by
the calendar. So a bucket is the same for everyone who asks, at whatever time.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime

from txstathat.errors import InvalidTimeframe

__all__ = ["MAX_BUCKETS", "MAX_YEARS", "Span", "Timeframe"]

#: The most buckets that a timeframe may have.
MAX_BUCKETS = 10_000
#: The longest that a duration or an interval may be, in years.
MAX_YEARS = 100

_SPAN = re.compile(r"([0-9]{1,9})([mhdwMy])", re.ASCII)
_TIMEFRAME = re.compile(rf"{_SPAN.pattern}{_SPAN.pattern}(?:{_SPAN.pattern})?")
_WORDS = {
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "M": "month",
    "y": "year",
}
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTHS = {"M": 1, "y": 12}
#: A Monday: where the weeks are counted from (the epoch was a Thursday).
_MONDAY = 4 * 86_400


@dataclass(frozen=True, slots=True)
class Span:
    """
    A length of time, which is also a grid: the buckets of that length.

    :ivar number: how many units, 1 or more.
    :ivar unit: one of ``m h d w M y``.
    """

    number: int
    unit: str

    @classmethod
    def parse(cls, text: object) -> Span:
        """
        Read a length of time such as ``7d``; upper and lower case differ.

        :raises InvalidTimeframe: if it is none, or is too long.
        """
        match = _SPAN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidTimeframe(
                text, "must be a number and one of m h d w M y, such as 7d"
            )
        return cls(int(match[1]), match[2])._checked(text)

    def _checked(self, text: object) -> Span:
        if self.number == 0:
            raise InvalidTimeframe(text, f"{self} is no time at all")
        if self.longest > MAX_YEARS * 12 * 31 * 86_400:
            raise InvalidTimeframe(text, f"{self} is over {MAX_YEARS} years")
        return self

    def __str__(self) -> str:
        return f"{self.number}{self.unit}"

    @property
    def title(self) -> str:
        """
        In words, such as ``'3 hours'``.
        """
        return f"{self.number} {_WORDS[self.unit]}{'' if self.number == 1 else 's'}"

    @property
    def longest(self) -> int:
        """
        How many seconds it lasts; at most, where it is of months or years.
        """
        if self.unit in _SECONDS:
            return self.number * _SECONDS[self.unit]
        return self.number * _MONTHS[self.unit] * 31 * 86_400

    def bucket(self, t: int) -> int:
        """
        The number, on the grid, of the bucket that holds a time.

        :param t: Unix seconds.
        """
        if self.unit in _SECONDS:
            return (t - self._origin) // self.longest
        return _month(t) // (self.number * _MONTHS[self.unit])

    def start(self, bucket: int) -> int:
        """
        When a bucket starts, in Unix seconds.

        :param bucket: its number on the grid.
        """
        if self.unit in _SECONDS:
            return self._origin + bucket * self.longest
        return _month_start(bucket * self.number * _MONTHS[self.unit])

    def before(self, t: int) -> int:
        """
        The time that lies this span before another. Where a month has no such day, it
        is the month's last.

        :param t: Unix seconds.
        """
        return self._moved(t, -1)

    def after(self, t: int) -> int:
        """
        The time that lies this span after another; as :meth:`before`.
        """
        return self._moved(t, 1)

    def _moved(self, t: int, direction: int) -> int:
        if self.unit in _SECONDS:
            return t + direction * self.longest
        then = datetime.fromtimestamp(t, UTC)
        months = direction * self.number * _MONTHS[self.unit]
        year, month = divmod(_month(t) + months, 12)
        day = min(then.day, monthrange(year, month + 1)[1])
        return int(then.replace(year=year, month=month + 1, day=day).timestamp())

    @property
    def _origin(self) -> int:
        return _MONDAY if self.unit == "w" else 0


@dataclass(frozen=True, slots=True)
class Timeframe:
    """
    A timeframe; ``str`` of it is as StatHat writes it, ``1w3h``.

    :ivar duration: how far it looks back.
    :ivar interval: in which steps.
    """

    duration: Span
    interval: Span

    @classmethod
    def parse(cls, text: object) -> Timeframe:
        """
        Read a timeframe such as ``1w3h``; upper and lower case differ. Of three parts
        the first two count.

        :raises InvalidTimeframe: if it is none, or is too long.
        """
        match = _TIMEFRAME.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidTimeframe(
                text,
                "must be a duration and an interval, each a number and one of "
                "m h d w M y, such as 1w3h",
            )
        # A third part is not served, but must be a span too.
        spans = [Span(int(match[at]), match[at + 1]) for at in (1, 3, 5) if match[at]]
        duration, interval, *_ = [span._checked(text) for span in spans]
        return cls(duration, interval)

    def __str__(self) -> str:
        return f"{self.duration}{self.interval}"

    @property
    def title(self) -> str:
        """
        As StatHat's export API words it: ``'1 week @ 3 hours'``.
        """
        return f"{self.duration.title} @ {self.interval.title}"

    def edges(self, now: int) -> list[int]:
        """
        The edges of the timeframe's buckets.

        Bucket ``i`` holds the times from ``edges[i]`` to below ``edges[i + 1]``. The
        last bucket holds ``now``. The duration is measured back from that bucket's
        end, so ``1w3h`` has 56 buckets at any time; where that ends amid a bucket
        (weeks in a month), the first bucket is taken whole. Nothing starts before the
        Unix epoch, where the first bucket may be cut.

        :param now: Unix seconds, from 0 to below :data:`~txstathat.points.MAX_TIME`.
        :returns: Unix seconds, ascending, one more than there are buckets.
        :raises InvalidTimeframe: if there are more than :data:`MAX_BUCKETS` buckets.
        """
        last = self.interval.bucket(now)
        end = self.interval.start(last + 1)
        return self._edges(max(0, self.duration.before(end)), last)

    def edges_from(self, start: int, now: int) -> list[int]:
        """
        The edges of the buckets of a timeframe that begins at a given time.

        The first bucket holds ``start``, and the duration is measured from that
        bucket's begin. There is no bucket after the one that holds ``now``.

        :param start: Unix seconds, from 0 to ``now``.
        :param now: as for :meth:`edges`.
        :returns: as :meth:`edges`.
        :raises InvalidTimeframe: as :meth:`edges`.
        """
        begin = max(0, self.interval.start(self.interval.bucket(start)))
        last = self.interval.bucket(min(now, self.duration.after(begin) - 1))
        return self._edges(start, last)

    def _edges(self, since: int, last: int) -> list[int]:
        """
        The edges of the buckets from the one that holds a time to a given one.
        """
        first = self.interval.bucket(since)
        buckets = last - first + 1
        if buckets > MAX_BUCKETS:
            raise InvalidTimeframe(
                str(self),
                f"has {buckets:,} points; ask for at most {MAX_BUCKETS:,}, "
                "with a shorter duration or a longer interval",
            )
        starts = [self.interval.start(bucket) for bucket in range(first, last + 2)]
        return [max(0, starts[0]), *starts[1:]]


def _month(t: int) -> int:
    """
    The month that holds a time, counted from January of the year 0.
    """
    then = datetime.fromtimestamp(t, UTC)
    return then.year * 12 + then.month - 1


def _month_start(month: int) -> int:
    year, month = divmod(month, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp())
