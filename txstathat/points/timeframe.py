"""
StatHat's timeframes: a duration to look back, in steps of an interval.

A timeframe is a DURATION and an INTERVAL, each a number and a unit: ``1w3h`` is one
week in steps of three hours. The units are ``m`` minutes, ``h`` hours, ``d`` days,
``w`` weeks, ``M`` months and ``y`` years (https://www.stathat.com/manual/export). Some
clients send a third part, ``1d15m1w``: StatHat uses the first two.

The steps ("buckets") are on a fixed grid in UTC: minutes, hours and days are counted
from the Unix epoch, weeks from a Monday, months and years by the calendar. So a bucket
is the same for all requests, at any time.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from txstathat.errors import InvalidTimeframe

__all__ = ["MAX_BUCKETS", "MAX_YEARS", "Span", "Timeframe", "pick_interval"]

#: The most buckets that a timeframe may have.
MAX_BUCKETS = 10_000
#: The longest duration or interval, in years.
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
#: The first Monday after the epoch, which was a Thursday: weeks are counted from it.
_MONDAY = 4 * 86_400


@dataclass(frozen=True, slots=True)
class Span:
    """
    A length of time, and the grid of the buckets with that length.

    :ivar number: how many units, 1 or more.
    :ivar unit: one of ``m h d w M y``.
    """

    number: int
    unit: str

    @classmethod
    def parse(cls, text: object) -> Span:
        """
        Read a length of time such as ``7d``; upper and lower case differ.

        :raises InvalidTimeframe: if it is not a length of time, or is too long.
        """
        match = _SPAN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidTimeframe(
                text, "must be a number and one of m h d w M y, such as 7d"
            )
        return cls(int(match[1]), match[2])._checked(text)

    def _checked(self, text: object) -> Span:
        if self.number == 0:
            raise InvalidTimeframe(text, f"{self} is zero")
        if self.longest > MAX_YEARS * 12 * 31 * 86_400:
            raise InvalidTimeframe(text, f"{self} is longer than {MAX_YEARS} years")
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
        The longest that it lasts, in seconds: months and years vary.
        """
        if self.unit in _SECONDS:
            return self.number * _SECONDS[self.unit]
        return self.number * _MONTHS[self.unit] * 31 * 86_400

    def bucket(self, t: int) -> int:
        """
        The number on the grid of the bucket that contains a time.

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

    def start_of(self, t: int) -> int:
        """
        When the bucket that contains a time starts, in Unix seconds.

        :param t: Unix seconds.
        """
        return self.start(self.bucket(t))

    def end_of(self, t: int) -> int:
        """
        When the bucket that contains a time ends, in Unix seconds.

        :param t: Unix seconds.
        """
        return self.start(self.bucket(t) + 1)

    def before(self, t: int) -> int:
        """
        The time that is this span before another. If the month has no such day, it is
        on the month's last day.

        :param t: Unix seconds.
        """
        return self._moved(t, -1)

    def after(self, t: int) -> int:
        """
        The time that is this span after another; like :meth:`before`.
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


# The intervals from which one is picked, and how many buckets it may then give.
_INTERVALS = (
    *(Span(number, "m") for number in (1, 2, 5, 10, 15, 30)),
    *(Span(number, "h") for number in (1, 2, 3, 6, 12)),
    *(Span(1, unit) for unit in "dwMy"),
)
_MAX_PICKED = 370


@dataclass(frozen=True, slots=True)
class Timeframe:
    """
    A timeframe. Its ``str`` is in StatHat's form, such as ``1w3h``.

    :ivar duration: how far it looks back.
    :ivar interval: the length of its buckets.
    """

    duration: Span
    interval: Span

    @classmethod
    def parse(
        cls, text: object, pick: Callable[[Span], Span] | None = None
    ) -> Timeframe:
        """
        Read a timeframe such as ``1w3h``; upper and lower case differ. A third part is
        ignored.

        :param text: the timeframe.
        :param pick: returns the interval for a text that is only a duration, such as
            ``5d``; ``None`` refuses such a text.
        :raises InvalidTimeframe: if it is not a timeframe, or is too long.
        """
        if pick is not None and isinstance(text, str) and _SPAN.fullmatch(text):
            duration = Span.parse(text)
            return cls(duration, pick(duration))
        match = _TIMEFRAME.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            also = "" if pick is None else ", or only a duration, such as 5d"
            raise InvalidTimeframe(
                text,
                "must be a duration and an interval, each a number and one of "
                f"m h d w M y, such as 1w3h{also}",
            )
        # A third part is ignored, but must be a valid span.
        spans = [Span(int(match[at]), match[at + 1]) for at in (1, 3, 5) if match[at]]
        duration, interval, *_ = [span._checked(text) for span in spans]
        return cls(duration, interval)

    def __str__(self) -> str:
        return f"{self.duration}{self.interval}"

    @property
    def title(self) -> str:
        """
        In the words of StatHat's export API: ``'1 week @ 3 hours'``.
        """
        return f"{self.duration.title} @ {self.interval.title}"

    def edges(self, now: int) -> list[int]:
        """
        The edges of the timeframe's buckets.

        Bucket ``i`` contains the times from ``edges[i]`` to below ``edges[i + 1]``. The
        last bucket contains ``now``. The duration is measured back from that bucket's
        end, so ``1w3h`` always has 56 buckets. If it begins inside a bucket (months in
        steps of weeks), that whole bucket is included. No bucket starts before the Unix
        epoch; the first one is cut there.

        :param now: Unix seconds, from 0 to below
            :data:`~txstathat.points.amounts.MAX_TIME`.
        :returns: Unix seconds, ascending, one more than there are buckets.
        :raises InvalidTimeframe: for more than :data:`MAX_BUCKETS` buckets.
        """
        last = self.interval.bucket(now)
        end = self.interval.start(last + 1)
        return self._edges(max(0, self.duration.before(end)), last)

    def edges_from(self, start: int, now: int) -> list[int]:
        """
        The edges of the buckets of a timeframe that begins at a given time.

        The first bucket contains ``start``, and the duration is measured from that
        bucket's start. No bucket is after the one that contains ``now``.

        :param start: Unix seconds, from 0 to ``now``.
        :param now: as for :meth:`edges`.
        :returns: like :meth:`edges`.
        :raises InvalidTimeframe: like :meth:`edges`.
        """
        begin = max(0, self.interval.start_of(start))
        last = self.interval.bucket(min(now, self.duration.after(begin) - 1))
        return self._edges(start, last)

    def _edges(self, since: int, last: int) -> list[int]:
        """
        The edges of the buckets from the one that contains a time to the last one.
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


def pick_interval(duration: Span, fits: Callable[[Span], bool]) -> Span:
    """
    Pick the interval of a duration: the shortest that gives not too many buckets, and
    that fits.

    :param duration: the duration.
    :param fits: whether an interval can be used.
    """
    for interval in _INTERVALS:
        if duration.longest / interval.longest <= _MAX_PICKED and fits(interval):
            return interval
    return _INTERVALS[-1]


def _month(t: int) -> int:
    """
    The month that contains a time, counted from January of the year 0.
    """
    then = datetime.fromtimestamp(t, UTC)
    return then.year * 12 + then.month - 1


def _month_start(month: int) -> int:
    year, month = divmod(month, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp())
