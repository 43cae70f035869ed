"""
The scales of time, the time buckets of local time, and their labels.

A time bucket is a year, month, day, hour or minute in the zone of the Metrica. Its
label is the beginning of the local time (``2010``, ``2010-02``, ``2010-02-07``). Labels
of hours and minutes have the offset from UTC in seconds too (``2010-02-07T14+3600``):
the hour that comes twice, at the end of daylight saving time, is two time buckets.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = [
    "ALL",
    "MAX_POINTS",
    "RETENTION",
    "SCALES",
    "Calendar",
    "Date",
    "check_timespan",
    "coarsen",
    "finer_labels",
]

Date: TypeAlias = datetime | date

#: The scales, from the coarsest to the finest.
SCALES = ("year", "month", "day", "hour", "minute")
#: The scale of all time; it is always stored, for ever.
ALL = "all"
#: For how many seconds to store the detail of each scale, by default; ``None`` is for
#: ever.
RETENTION: dict[str, float | None] = {
    "year": None,
    "month": 3 * 365 * 86_400.0,
    "day": 185 * 86_400.0,
    "hour": 14 * 86_400.0,
    "minute": 86_400.0,
}
#: How many points a timeline has at most.
MAX_POINTS = 100_000

_WIDTH = {ALL: 0, "year": 4, "month": 7, "day": 10}
_SECONDS = {"hour": 3600, "minute": 60}
_NOMINAL = {"year": 365 * 86_400, "month": 28 * 86_400, "day": 82_800, **_SECONDS}
# After how many seconds from its start a bucket has certainly ended, even if the offset
# of the zone changes in it.
_MAX_SECONDS = {
    "year": 367 * 86_400,
    "month": 32 * 86_400,
    "day": 2 * 86_400,
    "hour": 7_200,
    "minute": 120,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def coarsen(label: str, scale: str) -> str:
    """
    Return the label of the time bucket of a coarser scale (or the same) that contains a
    time bucket.

    :param label: its label.
    :param scale: the coarser scale.
    """
    if scale == "minute":
        return label
    if scale == "hour":
        return label[:13] + label[16:] if label[13] == ":" else label
    return label[: _WIDTH[scale]]


def check_timespan(timespan: dict[str, int]) -> tuple[int, ...]:
    """
    Check a timespan, and return its numbers, coarsest first.

    :param timespan: numbers by scale.
    :raises TypeError: if a keyword is unknown, a coarser scale is missing, or a value
        is not an int.
    :raises ValueError: if there is no such year, month, day, hour or minute.
    """
    for word, number in timespan.items():
        if word not in SCALES:
            raise TypeError(
                f"{word!r} is not a part of a timespan; use: {', '.join(SCALES)}"
            )
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{word} must be an int, not {number!r}")
    numbers = []
    for scale in SCALES[: len(timespan)]:
        if scale not in timespan:
            finest = max(timespan, key=SCALES.index)
            raise TypeError(f"a timespan with {finest} also needs {scale}")
        numbers.append(timespan[scale])
    if numbers:
        year, month, day, hour, minute = _filled(numbers)
        datetime(year, month, day, hour, minute)
    return tuple(numbers)


def finer_labels(span: tuple[int, ...]) -> range:
    """
    Return the numbers of the next finer scale within a timespan of a year or finer: 1
    to 12 for a year, 1 to 28, 29, 30 or 31 for a month, and so on.
    """
    if len(span) == 1:
        return range(1, 13)
    if len(span) == 2:
        return range(1, monthrange(span[0], span[1])[1] + 1)
    return range(24 if len(span) == 3 else 60)


def _filled(numbers: Sequence[int]) -> tuple[int, int, int, int, int]:
    year, month, day, hour, minute = (*numbers, *(1, 1, 1, 0, 0)[len(numbers) :])
    return year, month, day, hour, minute


class Calendar:
    """
    The calendar of a time zone.

    :param tz: the name of the zone in the tz database.
    :raises ValueError: if there is no such zone.
    """

    def __init__(self, tz: str = "UTC") -> None:
        try:
            self.zone = ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
            raise ValueError(
                f"{tz!r} is not a time zone; pass a name such as 'Europe/Berlin'"
            ) from None
        self._is_utc = tz == "UTC"
        # The last minute that was found: most events happen now.
        self._last = (-1, "")

    def seconds(self, when: Date) -> int:
        """
        Convert a date to whole Unix seconds.

        :param when: a datetime (in the zone of the calendar if it has none), or a date,
            which means its midnight.
        :raises ValueError: if it is not a date, or is out of range.
        """
        if not isinstance(when, datetime):
            if not isinstance(when, date):
                raise ValueError(f"{when!r} is not a date; pass a datetime")
            when = datetime.combine(when, time())
        if when.tzinfo is None:
            when = when.replace(tzinfo=self.zone)
        try:
            return (when - _EPOCH) // timedelta(seconds=1)
        except OverflowError:
            raise ValueError(f"{when!r} is out of range") from None

    def minute(self, seconds: int) -> str:
        """
        Return the label of the minute of a time.

        :param seconds: whole Unix seconds.
        :raises ValueError: if it is out of range.
        """
        last, label = self._last
        if last != seconds:
            local = self._local(seconds)
            label = f"{local.isoformat()[:16]}{_offset(local):+d}"
            self._last = seconds, label
        return label

    def labels(self, span: tuple[int, ...]) -> list[str]:
        """
        Return the labels of the time buckets that make up a timespan: one; or, for an
        hour or a minute that may have come twice, one for each possible offset. (Some
        of these time buckets may never have existed; they are empty.)
        """
        if not span:
            return [""]
        start = datetime(*_filled(span))
        text = start.isoformat()
        if len(span) <= 3:
            return [text[: (4, 7, 10)[len(span) - 1]]]
        last = start + timedelta(seconds=_SECONDS[SCALES[len(span) - 1]] - 1)
        offsets = {
            _offset(local.replace(tzinfo=self.zone, fold=fold))
            for local in (start, last)
            for fold in (0, 1)
        }
        cut = text[:13] if len(span) == 4 else text[:16]
        return [f"{cut}{offset:+d}" for offset in sorted(offsets, reverse=True)]

    def timeline(
        self, since: int, until: int, scale: str
    ) -> list[tuple[datetime, str]]:
        """
        Return the time buckets from one time to another, in time order.

        :param since: a time in the first one, in whole Unix seconds.
        :param until: a time in the last one, in whole Unix seconds.
        :param scale: one of :data:`SCALES`.
        :returns: for each time bucket its start, in the zone of the calendar, and its
            label.
        :raises ValueError: if there are more than :data:`MAX_POINTS`.
        """
        if (until - since) / _NOMINAL[scale] > MAX_POINTS:
            raise ValueError(
                f"more than {MAX_POINTS} points; use a coarser scale than {scale}, "
                "or a shorter time"
            )
        if until < since:
            return []
        walk = self._clock_buckets if scale in _SECONDS else self._date_buckets
        return list(walk(since, until, scale))

    def start(self, label: str) -> int:
        """
        Return the start of a time bucket, in whole Unix seconds. A bucket begins later
        if the offset of the zone changed in it.

        :param label: its label.
        """
        if len(label) <= _WIDTH["day"]:
            year, month, day = (*map(int, label.split("-")), 1, 1)[:3]
            return self.seconds(datetime(year, month, day))
        at = max(label.rfind("+"), label.rfind("-"))
        local = datetime.fromisoformat(label[:at]).replace(tzinfo=UTC)
        return self.seconds(local) - int(label[at:])

    def end(self, label: str, scale: str) -> int:
        """
        Return a time at which a time bucket has certainly ended, in whole Unix seconds.

        :param label: its label.
        :param scale: its scale.
        """
        return self.start(label) + _MAX_SECONDS[scale]

    def parts(
        self, label: str, scale: str, finer: str
    ) -> list[tuple[datetime, str]] | None:
        """
        Return the time buckets of a finer scale within a time bucket, as
        :meth:`timeline` does; ``None`` if there are more than :data:`MAX_POINTS`.

        :param label: the label of the bucket.
        :param scale: its scale.
        :param finer: the finer scale.
        """
        start, end = self.start(label), self.end(label, scale)
        if (end - start) / _NOMINAL[finer] > MAX_POINTS:
            return None
        return [
            (begin, part)
            for begin, part in self.timeline(start, end, finer)
            if coarsen(part, scale) == label
        ]

    def _date_buckets(
        self, since: int, until: int, scale: str
    ) -> Iterator[tuple[datetime, str]]:
        width = _WIDTH[scale]
        first, last = self._local(since), self._local(until).isoformat()[:width]
        year, month, day = first.year, first.month, first.day
        if scale != "day":
            day = 1
        if scale == "year":
            month = 1
        at = datetime(year, month, day)
        while True:
            label = at.isoformat()[:width]
            start = at.replace(tzinfo=self.zone)
            if label >= last:
                yield start, label
                return
            if scale == "day":
                at += timedelta(days=1)
            elif scale == "year" or at.month == 12:
                at = at.replace(year=at.year + 1, month=1)
            else:
                at = at.replace(month=at.month + 1)
            # Some zones have skipped a day, when the date line was moved.
            if self.seconds(start) < self.seconds(at):
                yield start, label

    def _clock_buckets(
        self, since: int, until: int, scale: str
    ) -> Iterator[tuple[datetime, str]]:
        # Walk along the times at which buckets begin. If the offset changes in the
        # middle of a bucket, the bucket ends there, and the next one begins.
        step = _SECONDS[scale]
        width = 13 if scale == "hour" else 16
        if self._is_utc:
            first = self._local(since - since % step)
            plain = first.replace(tzinfo=None)  # which is formatted in half the time
            length = timedelta(seconds=step)
            for n in range((self._local(until) - first) // length + 1):
                label = (plain + n * length).isoformat()[:width]
                yield first + n * length, f"{label}+0"
            return
        at = since
        local = self._local(at)
        offset = _offset(local)
        begin = at - (at + offset) % step
        if begin < at:
            at = begin
            if self._offset_at(begin) != offset:
                at = self._change(begin, since)
            local = self._local(at)
        while at <= until:
            yield local, f"{local.isoformat()[:width]}{offset:+d}"
            end = begin + step
            local = self._local(end)
            if _offset(local) != offset:
                end = self._change(at, end)
                local = self._local(end)
            at = end
            offset = _offset(local)
            begin = at - (at + offset) % step

    def _change(self, low: int, high: int) -> int:
        """
        Return the first second after ``low``, up to ``high``, with another offset than
        at ``low``.
        """
        before = self._offset_at(low)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset_at(middle) == before:
                low = middle
            else:
                high = middle
        return high

    def _offset_at(self, seconds: int) -> int:
        return _offset(self._local(seconds))

    def _local(self, seconds: int) -> datetime:
        try:
            return datetime.fromtimestamp(seconds, self.zone)
        except (OverflowError, OSError, ValueError):
            raise ValueError(
                f"{seconds} seconds from 1970 is out of the range of dates"
            ) from None


def _offset(local: datetime) -> int:
    offset = local.utcoffset()
    assert offset is not None  # local has a zone
    return offset.days * 86_400 + offset.seconds
