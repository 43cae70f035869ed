"""
Numbers, times and messages for people to read.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from math import isfinite

from twisted.web.template import Tag, tags

from txstathat.collector.number_text import number
from txstathat.printable import printable

__all__ = [
    "ago",
    "day",
    "isolated",
    "minute",
    "percent",
    "plural",
    "sentence",
    "size",
    "visible_name",
]


def percent(value: float | None) -> str:
    """
    Write by how much something has changed, such as ``'+12.5 %'``.

    :param value: the change in percent; ``None`` gives a dash.
    """
    if value is None or not isfinite(value):
        return number(None)
    if abs(value) < 0.05:
        return "±0 %"
    return f"{value:+,.{0 if abs(value) >= 100 else 1}f} %"


def plural(n: int, noun: str) -> str:
    """
    Write a number with its noun, such as ``'1 stat'`` or ``'1,200 stats'``.

    :param n: the number.
    :param noun: the singular of a noun with a regular plural.
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def minute(t: float) -> str:
    """
    Write a time in UTC, to the minute.

    :param t: Unix seconds.
    """
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M} UTC"


def day(t: float) -> str:
    """
    Write the date of a time in UTC, such as ``'29 Nov 2026'``.

    :param t: Unix seconds.
    """
    date = datetime.fromtimestamp(t, UTC)
    return f"{date.day} {date:%b %Y}"


def ago(t: float, now: float) -> str:
    """
    Write how long ago a time was.

    :param t: Unix seconds.
    :param now: the current time, in Unix seconds.
    """
    seconds = now - t
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{plural(int(seconds // length), unit)} ago"
    return "just now"


def size(n: int) -> str:
    """
    Write a number of bytes, such as ``'1.4 MB'``.

    :param n: the number.
    """
    number = float(n)
    for unit in ("bytes", "kB", "MB", "GB"):
        # More would be rounded to 1e+03.
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def sentence(text: str) -> str:
    """
    Write an error message as a sentence.

    :param text: the message, without a capital letter and a full stop.
    """
    return f"{text[:1].upper()}{text[1:]}."


def visible_name(name: str) -> str:
    """
    Return the name of a stat as it can be seen: one without a visible character is
    written as its code points, such as ``'U+200B'``.

    :param name: the name. Isolate it: it may change the direction of text.
    """
    # Marks (M), separators (Z), and controls, formats and unassigned ones (C).
    if any(unicodedata.category(character)[0] not in "MZC" for character in name):
        return name
    return " ".join(f"U+{ord(character):04X}" for character in name)


def isolated(text: str) -> Tag:
    """
    Write a name or a note so that it neither hides nor changes its neighbours.

    :param text: the text, from outside.
    """
    return tags.bdi(printable(visible_name(text)))
