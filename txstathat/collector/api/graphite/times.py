"""
Graphite's times and intervals, such as ``-1h`` and ``5min``.

The rules are Graphite's
(https://graphite.readthedocs.io/en/latest/render_api.html#from-until): a month has 30
days, a year 365. Times are in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from txstathat.collector.errors import Refusal
from txstathat.points.amounts import MAX_TIME

__all__ = ["parse_interval", "parse_time"]

_DAY = 86_400
# The first of these with which a unit begins says its length in seconds.
_UNITS = (
    ("s", 1),
    ("min", 60),
    ("h", 3600),
    ("d", _DAY),
    ("w", 7 * _DAY),
    ("mon", 30 * _DAY),
    ("y", 365 * _DAY),
)
_INTERVAL = re.compile(r"([+-]?)((?:[0-9]{1,9}[a-z]{1,8})+)", re.ASCII)
_PART = re.compile(r"([0-9]+)([a-z]+)")
_DATE = re.compile(r"(?:([0-9]{2}):([0-9]{2})_)?((?:19|20)[0-9]{6})", re.ASCII)
_LONGEST = 100 * 365 * _DAY


def parse_interval(text: str, field: str) -> int:
    """
    Parse an interval, such as ``-1h30min``.

    :param text: the interval.
    :param field: what it is, for messages.
    :returns: seconds, negative with ``-``.
    :raises Refusal: 400 if it is not valid, or longer than 100 years.
    """
    match = _INTERVAL.fullmatch(text)
    seconds = 0
    for number, unit in _PART.findall(match[2] if match else ""):
        length = next((one for name, one in _UNITS if unit.startswith(name)), 0)
        seconds += int(number) * length
        if not length or seconds > _LONGEST:
            match = None
    if match is None:
        raise Refusal(
            400,
            f"{field}: {text[:40]!r} is no interval; it is a number and one of "
            "s min h d w mon y, such as 5min, and at most 100 years",
        )
    return -seconds if match[1] == "-" else seconds


def parse_time(text: str, now: int, field: str) -> int:
    """
    Parse a time: Unix seconds, ``now``, an interval from now such as ``-1h`` or
    ``now-1h``, or a date such as ``20140615`` or ``09:00_20140615``.

    :param text: the time.
    :param now: Unix seconds.
    :param field: the name of the field, for messages.
    :returns: Unix seconds, at least 0.
    :raises Refusal: 400 if it is not valid.
    """
    date = _DATE.fullmatch(text)
    if date is not None:
        return _parse_date(date, field)
    if text.isascii() and text.isdigit() and len(text) < 20:
        if int(text) >= MAX_TIME:
            raise Refusal(400, f"{field}: {text} is too late; is it in milliseconds?")
        return int(text)
    offset = text.removeprefix("now")
    if not offset:
        if text:
            return now
    elif offset[0] in "+-":
        return max(0, now + parse_interval(offset, field))
    raise Refusal(
        400,
        f"{field}: {text[:40]!r} is no time; use Unix seconds, now, -1h, "
        "20140615 or 09:00_20140615",
    )


def _parse_date(date: re.Match[str], field: str) -> int:
    hour, minute, day = date[1] or "0", date[2] or "0", date[3]
    try:
        at = datetime(
            int(day[:4]),
            int(day[4:6]),
            int(day[6:]),
            int(hour),
            int(minute),
            tzinfo=UTC,
        )
    except ValueError as error:
        raise Refusal(400, f"{field}: {date[0]} is no date: {error}") from None
    return max(0, int(at.timestamp()))
