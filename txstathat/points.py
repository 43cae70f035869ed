"""
What a valid stat name, amount and time is, and the points made of them.

The rules are StatHat's (https://www.stathat.com/manual/send): a name has 1 to 255
characters; ``~`` in it posts to several stats at once; an amount is a number; a time is
in seconds since the Unix epoch. Where StatHat is silent, this module is strict, so that
what leaves a program means the same to everyone who reads it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from txstathat.errors import InvalidPoint

__all__ = [
    "Amount",
    "Count",
    "MAX_AMOUNT_TEXT",
    "MAX_EXPANSION",
    "MAX_INTEGER",
    "MAX_NAME",
    "MAX_POST",
    "MAX_TIME",
    "Parts",
    "Point",
    "Time",
    "Value",
    "amount_text",
    "as_point",
    "check_name",
    "check_number",
    "epoch_seconds",
    "expand_name",
    "expand_point",
    "form_point",
    "json_float",
    "json_parts",
    "json_points",
    "kind_and_amount",
    "one_kind",
    "parse_amount",
    "parse_time",
    "read_form_point",
    "read_json_points",
    "shown",
]

Amount: TypeAlias = int | float | Decimal
Time: TypeAlias = int | float | datetime

#: The most characters that a stat name may have (StatHat's rule).
MAX_NAME = 255
#: The most stats that one ``PREFIX~A,B,C`` name may post to.
MAX_EXPANSION = 100
#: The most points that can be sent at once.
MAX_POST = 10_000
#: The largest whole amount, positive or negative: what a signed 64-bit number holds.
MAX_INTEGER = 2**63 - 1
#: The most characters that the decimal text of an amount may have.
MAX_AMOUNT_TEXT = 64
#: Times must be below this, in seconds since the epoch (the year 5138): a time in
#: milliseconds is above it, and is refused instead of landing in the far future.
MAX_TIME = 100_000_000_000

# C0 and C1 controls, line and paragraph separators, lone surrogates: none can be seen
# in a list of stats, and surrogates cannot be encoded at all.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
# How many names are remembered as valid, so that each is looked through only once.
_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Count:
    """
    An amount to add to a counter.

    Making one checks nothing; sending it does, and a bad one arrives as
    :class:`~txstathat.errors.InvalidPoint` through the Deferred.

    :ivar stat: the stat's name (its key with the Classic API).
    :ivar count: how much to add.
    :ivar t: when it happened, Unix seconds or an aware datetime; ``None`` is the time
        at which the server receives it.
    """

    stat: str
    count: Amount = 1
    t: Time | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """
    A measurement of a value stat, which averages what it receives.

    :ivar stat: the stat's name (its key with the Classic API).
    :ivar value: what was measured.
    :ivar t: when it was measured, as for :class:`Count`.
    """

    stat: str
    value: Amount
    t: Time | None = None


Point: TypeAlias = Count | Value
#: A valid point of one stat, as it came over the wire: ``'count'`` or ``'value'``, the
#: stat, the amount, and the time in Unix seconds. (To make an object of each takes
#: nearly half as long as to read and check it.)
Parts: TypeAlias = tuple[str, str, int | float, int | None]


def shown(thing: object) -> str:
    """
    A short ``repr`` for error messages; never raises.
    """
    if isinstance(thing, int) and not isinstance(thing, bool):
        # The decimal text of a huge int is slow to make, and refused by Python.
        return repr(thing) if thing.bit_length() < 256 else "an integer too large"
    try:
        text = repr(thing)
    except Exception:
        text = f"<{type(thing).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def check_name(stat: object, field: str = "stat") -> str:
    """
    Check one stat name (or key), in which ``~`` has no meaning.

    :param stat: what should be a name.
    :param field: what to call it in the error.
    :returns: the name.
    :raises InvalidPoint: if it is no text of 1 to 255 printable characters.
    """
    if not isinstance(stat, str):
        raise InvalidPoint(field, f"must be text, not {shown(stat)}")
    if not stat:
        raise InvalidPoint(field, "must not be empty")
    # A stat's key in the Classic API is private: it is not quoted.
    told = shown(stat) if field == "stat" else "it"
    if len(stat) > MAX_NAME:
        raise InvalidPoint(
            field, f"{told} has {len(stat)} characters; at most {MAX_NAME} may be"
        )
    bad = _UNPRINTABLE.search(stat)
    if bad is not None:
        raise InvalidPoint(
            field,
            f"{told} holds the character U+{ord(bad[0]):04X}; "
            "control characters and lone surrogates are not allowed",
        )
    return stat


def expand_name(stat: object) -> list[str]:
    """
    The names of the stats that a name posts to: ``PREFIX~A,B`` is ``PREFIX A`` and
    ``PREFIX B``, any other name is itself.

    :param stat: what should be the name of a stat, or of several.
    :returns: one name or more, each valid on its own.
    :raises InvalidPoint: if any of them would not be valid.
    """
    if not isinstance(stat, str) or "~" not in stat:
        return [check_name(stat)]
    prefix, _, suffixes = stat.partition("~")
    parts = suffixes.split(",", MAX_EXPANSION)
    if not prefix or not all(parts) or "~" in suffixes:
        raise InvalidPoint(
            "stat",
            f"{shown(stat)} must have the form PREFIX~A,B,C, with no part empty",
        )
    if len(parts) > MAX_EXPANSION:
        raise InvalidPoint(
            "stat", f"{shown(stat)} names more than {MAX_EXPANSION} stats"
        )
    return [check_name(f"{prefix} {part}") for part in parts]


def amount_text(amount: object, field: str = "value") -> str:
    """
    An amount as the number that stands on the wire, exactly.

    :param amount: what should be an amount.
    :param field: what to call it in the error: ``'count'`` or ``'value'``.
    :returns: a decimal number, valid in JSON and in a form.
    :raises InvalidPoint: if it is no finite int, float or Decimal, or too large.
    """
    # The base classes' own methods: a subclass (numpy.float64, an IntEnum) may print
    # itself in other ways.
    if isinstance(amount, bool):
        raise InvalidPoint(field, f"must be a number, not {amount!r}")
    if isinstance(amount, int):
        if not -MAX_INTEGER <= amount <= MAX_INTEGER:
            raise InvalidPoint(
                field, f"{shown(amount)} is beyond the largest amount, {MAX_INTEGER}"
            )
        return int.__repr__(amount)
    if isinstance(amount, float):
        if not math.isfinite(amount):
            raise InvalidPoint(field, f"must be finite, not {float.__repr__(amount)}")
        return float.__repr__(amount)
    if isinstance(amount, Decimal):
        text = Decimal.__str__(amount)
        if len(text) > MAX_AMOUNT_TEXT:
            raise InvalidPoint(
                field, f"has {len(text)} digits; at most {MAX_AMOUNT_TEXT} are allowed"
            )
        parse_amount(text, field)
        return text
    raise InvalidPoint(
        field, f"must be an int, a float or a Decimal, not {shown(amount)}"
    )


def parse_amount(text: str, field: str = "value") -> int | float:
    """
    The amount that a decimal number on the wire stands for.

    :param text: the number.
    :param field: what to call it in the error.
    :returns: an int for a whole number written as one, else the nearest float.
    :raises InvalidPoint: if it is no plain decimal number, not finite or too large.
    """
    if len(text) > MAX_AMOUNT_TEXT or _NUMBER.fullmatch(text) is None:
        raise InvalidPoint(field, f"{shown(text)} is not a decimal number")
    if _WHOLE.fullmatch(text):
        whole = int(text)
        if not -MAX_INTEGER <= whole <= MAX_INTEGER:
            raise InvalidPoint(
                field, f"{shown(text)} is beyond the largest amount, {MAX_INTEGER}"
            )
        return whole
    number = float(text)
    if not math.isfinite(number):
        raise InvalidPoint(field, f"{shown(text)} is too large")
    return number


def epoch_seconds(t: object) -> int:
    """
    A time as whole seconds since the Unix epoch.

    :param t: Unix seconds (fractions are cut off) or an aware datetime.
    :raises InvalidPoint: if it is naive, negative, not finite, or so large that it
        seems to be in milliseconds.
    """
    if isinstance(t, datetime):
        if t.tzinfo is None or t.utcoffset() is None:
            raise InvalidPoint(
                "t",
                f"{shown(t)} has no time zone; "
                "pass an aware datetime, such as datetime.now(timezone.utc)",
            )
        seconds: float = t.timestamp()
    elif isinstance(t, (int, float)) and not isinstance(t, bool):
        seconds = t
    else:
        raise InvalidPoint(
            "t", f"must be Unix seconds or an aware datetime, not {shown(t)}"
        )
    if not 0 <= seconds < MAX_TIME:
        raise InvalidPoint(
            "t",
            f"{shown(t)} is not in seconds since the Unix epoch, "
            f"from 0 to below {MAX_TIME}",
        )
    return int(seconds)


def parse_time(text: str) -> int:
    """
    The time that a number on the wire stands for, in whole seconds.

    :raises InvalidPoint: if it is no number or out of range.
    """
    return epoch_seconds(parse_amount(text, "t"))


def kind_and_amount(point: Point) -> tuple[str, Amount]:
    """
    What a point carries: ``'count'`` or ``'value'``, and how much.

    :raises InvalidPoint: if it is not a point.
    """
    if isinstance(point, Count):
        return "count", point.count
    if isinstance(point, Value):
        return "value", point.value
    raise InvalidPoint("point", f"must be a Count or a Value, not {shown(point)}")


def expand_point(point: Point) -> list[Point]:
    """
    Check a point, and take its name apart where it names several stats.

    :returns: one valid point for each stat, its amount and time as they were given.
    :raises InvalidPoint: if any part of it is not valid.
    """
    kind, amount = kind_and_amount(point)
    amount_text(amount, kind)
    if point.t is not None:
        epoch_seconds(point.t)
    return [type(point)(name, amount, point.t) for name in expand_name(point.stat)]


def one_kind(fields: Mapping[str, Any]) -> str:
    """
    Which of ``'count'`` and ``'value'`` is among the fields of a point.

    :raises InvalidPoint: if neither is, or both.
    """
    kinds = [kind for kind in ("count", "value") if kind in fields]
    if len(kinds) != 1:
        raise InvalidPoint("point", "needs either a count or a value")
    return kinds[0]


def as_point(parts: Parts) -> Point:
    """
    The point that has these parts.
    """
    kind, stat, amount, t = parts
    return Count(stat, amount, t) if kind == "count" else Value(stat, amount, t)


def json_float(text: str) -> int | float:
    """
    As :func:`parse_amount`, fast, for what is a number by JSON's syntax.
    """
    if len(text) < 20 and "e" not in text and "E" not in text:
        return float(text)
    return parse_amount(text)


def json_parts(data: Iterable[object]) -> Iterator[Parts]:
    """
    The points of StatHat's JSON API, ``~`` names taken apart.

    :param data: the decoded ``data``; its numbers are ints and floats.
    :returns: the points one after the other, as far as they are valid.
    :raises InvalidPoint: when it comes to an entry that is not; it tells which one.
    """
    for number, entry in enumerate(data):
        plain = _plain_parts(entry)
        if plain is not None:
            yield plain
            continue
        try:
            yield from _entry_parts(entry)
        except InvalidPoint as error:
            raise InvalidPoint(f"data[{number}]", str(error)) from None


def _plain_parts(entry: Any) -> Parts | None:
    """
    The short way for nearly all entries: ``None`` for one that it does not know, which
    may be valid too.
    """
    if type(entry) is not dict:
        return None
    kind = "count" if "count" in entry else "value"
    stat, amount, t = entry.get("stat"), entry.get(kind), entry.get("t")
    if (
        len(entry) == (2 if t is None else 3)
        and type(stat) is str
        and _is_plain(stat)
        and (
            (type(amount) is int and -MAX_INTEGER <= amount <= MAX_INTEGER)
            or (type(amount) is float and math.isfinite(amount))
        )
        and (t is None or (type(t) is int and 0 <= t < MAX_TIME))
    ):
        return kind, stat, amount, t
    return None


@lru_cache(_NAMES)
def _is_plain(stat: str) -> bool:
    return (
        0 < len(stat) <= MAX_NAME
        and "~" not in stat
        and _UNPRINTABLE.search(stat) is None
    )


def _entry_parts(entry: Any) -> list[Parts]:
    if not isinstance(entry, dict):
        raise InvalidPoint("point", "must be an object")
    kind = one_kind(entry)
    amount, t = entry[kind], entry.get("t")
    amount_text(amount, kind)
    seconds = None if t is None else epoch_seconds(t)
    return [
        (kind, name, amount, seconds) for name in expand_name(entry.get("stat", ""))
    ]


def _wire_parts(point: Point) -> tuple[object, str, str, int | None]:
    """
    Take a point apart as it goes on the wire: its stat (not checked yet), ``'count'``
    or ``'value'``, the amount's text, and its time.
    """
    kind, amount = kind_and_amount(point)
    text = amount_text(amount, kind)
    return point.stat, kind, text, None if point.t is None else epoch_seconds(point.t)


def check_number(points: Iterable[Point]) -> list[Point]:
    """
    Points as a list, if there are not too many of them.

    :raises InvalidPoint: if there are, or if it is nothing to take points from.
    """
    try:
        listed = list(islice(points, MAX_POST + 1))
    except TypeError:
        raise InvalidPoint("point", "pass a list of Count and Value objects") from None
    if len(listed) > MAX_POST:
        raise InvalidPoint("point", f"at most {MAX_POST} can be sent at once")
    return listed


def json_points(points: Iterable[Point]) -> bytes:
    """
    Points as the ``data`` of StatHat's JSON API: a JSON list, in ASCII.

    :raises InvalidPoint: if one of the points is not valid.
    """
    entries = []
    for point in check_number(points):
        stat, kind, amount, t = _wire_parts(point)
        expand_name(stat)
        time = "" if t is None else f',"t":{t}'
        # Written by hand so that a Decimal stays exact: json has no way to say it.
        entries.append(f'{{"stat":{json.dumps(stat)},"{kind}":{amount}{time}}}')
    return f"[{','.join(entries)}]".encode("ascii")


def form_point(point: Point) -> bytes:
    """
    A point as the form fields of StatHat's Classic API, in which a stat is named by
    its ``key`` and ``~`` has no meaning.

    :raises InvalidPoint: if the point is not valid.
    """
    stat, kind, amount, t = _wire_parts(point)
    fields = {"key": check_name(stat, "key"), kind: amount}
    if t is not None:
        fields["t"] = str(t)
    return urlencode(fields).encode("ascii")


def read_json_points(data: bytes) -> list[Point]:
    """
    The points that :func:`json_points` wrote: amounts are equal to what they were,
    those with a fraction or an exponent are Decimals.

    :raises ValueError: if it wrote no such thing.
    """
    try:
        return [_read_point(each) for each in json.loads(data, parse_float=Decimal)]
    except (KeyError, TypeError):
        raise ValueError("these are not points as json_points writes them") from None


def read_form_point(data: bytes) -> Point:
    """
    The point that :func:`form_point` wrote; otherwise as :func:`read_json_points`.
    """
    fields: dict[str, Any] = dict(parse_qsl(data.decode("ascii")))
    try:
        for field in ("count", "value", "t"):
            if field in fields:
                text = fields[field]
                fields[field] = int(text) if _WHOLE.fullmatch(text) else Decimal(text)
        return _read_point({"stat": fields.pop("key"), **fields})
    except (KeyError, ArithmeticError):
        raise ValueError("this is not a point as form_point writes it") from None


def _read_point(fields: Mapping[str, Any]) -> Point:
    if "count" in fields:
        return Count(fields["stat"], fields["count"], fields.get("t"))
    return Value(fields["stat"], fields["value"], fields.get("t"))
