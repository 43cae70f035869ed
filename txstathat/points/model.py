"""
Points, and the rules for their stat names, amounts and times.

The rules are StatHat's (https://www.stathat.com/manual/send): a name has 1 to 255
characters; ``~`` in it posts to several stats at once; an amount is a number; a time is
in seconds since the Unix epoch. Where StatHat has no rule, this module is strict, so
that all servers read a point in the same way.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from numbers import Integral, Rational, Real
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

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
    "PlainAmount",
    "Point",
    "Time",
    "Value",
    "amount_text",
    "as_point",
    "check_name",
    "as_point_list",
    "check_secret",
    "epoch_seconds",
    "expand_name",
    "expand_point",
    "is_plain_name",
    "kind_and_amount",
    "one_kind",
    "parse_amount",
    "parse_time",
    "plain_amount",
    "shown",
]

#: An amount as this package uses it.
PlainAmount: TypeAlias = int | float | Decimal
#: An amount as a program may pass it; see :func:`plain_amount`.
Amount: TypeAlias = PlainAmount | SupportsIndex | SupportsFloat
#: A time as a program may pass it; see :func:`epoch_seconds`.
Time: TypeAlias = int | float | datetime | SupportsIndex | SupportsFloat

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
#: Times must be below this, in seconds since the epoch (the year 5138). A time in
#: milliseconds is above it, and is refused.
MAX_TIME = 100_000_000_000

# C0 and C1 controls, line and paragraph separators, lone surrogates. None is visible in
# a list of stats, and lone surrogates cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
# The longest numerator and denominator that are written as a decimal.
_MAX_BITS = 1_100
# How many names are cached as valid, so that each is checked only once.
_NAMES = 10_000


@dataclass(frozen=True, slots=True)
class Count:
    """
    An amount to add to a counter.

    The constructor checks nothing. Sending a bad point fails with
    :class:`~txstathat.errors.InvalidPoint`, through the Deferred.

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
#: A valid point of one stat, as a server reads it: ``'count'`` or ``'value'``, the
#: stat, the amount, and the time in Unix seconds. (Objects would add nearly half of the
#: time that reading and checking takes.)
Parts: TypeAlias = tuple[str, str, int | float, int | None]


def shown(thing: object) -> str:
    """
    A short ``repr`` for error messages; never raises.
    """
    if isinstance(thing, int) and not isinstance(thing, bool):
        # Python makes the decimal text of a huge int slowly, or not at all.
        return repr(thing) if thing.bit_length() < 256 else "an integer too large"
    try:
        text = repr(thing)
    except Exception:
        text = f"<{type(thing).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def check_name(stat: object, field: str = "stat", longest: int = MAX_NAME) -> str:
    """
    Check one stat name (or key), in which ``~`` has no special meaning.

    :param stat: the name.
    :param field: its name in the error.
    :param longest: how many characters it may have.
    :returns: the name.
    :raises InvalidPoint: if it is not text of 1 to ``longest`` characters without
        control characters, or is only white space.
    """
    if not isinstance(stat, str):
        raise InvalidPoint(field, f"must be text, not {shown(stat)}")
    if not stat:
        raise InvalidPoint(field, "must not be empty")
    # A stat's key in the Classic API is private, and not quoted.
    quoted = shown(stat) if field == "stat" else "it"
    if len(stat) > longest:
        raise InvalidPoint(
            field, f"{quoted} has {len(stat)} characters; at most {longest} are allowed"
        )
    bad = _UNPRINTABLE.search(stat)
    if bad is not None:
        raise InvalidPoint(
            field,
            f"{quoted} contains the character U+{ord(bad[0]):04X}; "
            "control characters and lone surrogates are not allowed",
        )
    if stat.isspace():
        raise InvalidPoint(field, f"{quoted} is only white space")
    return stat


def check_secret(secret: object, name: str) -> str:
    """
    Check a key or a token like the name of a stat; no error shows it.

    :param secret: the key.
    :param name: its name in the error, such as ``'the key'``.
    :returns: the key.
    :raises ValueError: if :func:`check_name` refuses it, or if it begins or ends with
        white space or a byte-order mark, as text that was read from a file may.
    """
    if isinstance(secret, str) and secret != secret.strip().strip("\ufeff").strip():
        problem = (
            "it begins or ends with white space or a byte-order mark; "
            "was it read from a file? Remove that, such as with .strip()"
        )
    else:
        try:
            return check_name(secret, "key")
        except InvalidPoint as error:
            problem = error.problem
    raise ValueError(f"{name} is not valid: {problem}")


@lru_cache(_NAMES)
def is_plain_name(stat: str) -> bool:
    """
    Whether :func:`check_name` accepts a text, and it has no ``~``.
    """
    return (
        0 < len(stat) <= MAX_NAME
        and "~" not in stat
        and not stat.isspace()
        and _UNPRINTABLE.search(stat) is None
    )


def expand_name(stat: object) -> list[str]:
    """
    The names of the stats that a name posts to: ``PREFIX~A,B`` is ``PREFIX A`` and
    ``PREFIX B``, any other name is itself.

    :param stat: the name of a stat, or of several.
    :returns: one name or more, each of one stat.
    :raises InvalidPoint: if one of them is not valid.
    """
    if not isinstance(stat, str) or "~" not in stat:
        return [check_name(stat)]
    prefix, _, suffixes = stat.partition("~")
    parts = suffixes.split(",", MAX_EXPANSION)
    if not prefix.strip() or not all(map(str.strip, parts)) or "~" in suffixes:
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
    An amount as text for the wire, without rounding.

    :param amount: the amount.
    :param field: its name in the error: ``'count'`` or ``'value'``.
    :returns: a decimal number, valid in JSON and in a form.
    :raises InvalidPoint: like :func:`plain_amount`.
    """
    plain = plain_amount(amount, field)
    return str(plain) if isinstance(plain, Decimal) else repr(plain)


def plain_amount(amount: object, field: str = "value") -> PlainAmount:
    """
    An amount as an int, a float or a Decimal.

    The amount may also be a number of a library that registers its types with Python's
    :mod:`numbers` (:class:`numbers.Integral`, :class:`numbers.Real`), as numpy and
    gmpy2 do, or an object with ``__index__``. A number that no float equals (some of
    :class:`~fractions.Fraction`, numpy's ``longdouble``) becomes a Decimal if that
    takes at most :data:`MAX_AMOUNT_TEXT` characters, else the nearest float: 1/3 has no
    exact decimal text.

    :param amount: the amount.
    :param field: its name in the error: ``'count'`` or ``'value'``.
    :raises InvalidPoint: if it is not such a number, is a bool (also numpy's), is not
        finite, or is too large.
    """
    plain = _as_number(amount)
    if isinstance(plain, int):
        if not -MAX_INTEGER <= plain <= MAX_INTEGER:
            raise InvalidPoint(
                field, f"{shown(plain)} is beyond the largest amount, {MAX_INTEGER}"
            )
    elif isinstance(plain, float):
        if not math.isfinite(plain):
            raise InvalidPoint(field, f"must be finite, not {shown(amount)}")
    elif isinstance(plain, Decimal):
        text = str(plain)
        if len(text) > MAX_AMOUNT_TEXT:
            raise InvalidPoint(
                field, f"has {len(text)} digits; at most {MAX_AMOUNT_TEXT} are allowed"
            )
        parse_amount(text, field)
    else:
        raise InvalidPoint(field, f"must be a number, not {shown(amount)}")
    return plain


def _as_number(number: Any) -> PlainAmount | None:
    """
    A number as one of Python's own; ``None`` for anything else.
    """
    # The base classes' own methods: a subclass (numpy.float64, an IntEnum) may convert
    # itself in other ways.
    if isinstance(number, int):
        return None if isinstance(number, bool) else int.__int__(number)
    if isinstance(number, float):
        return float.__float__(number)
    if isinstance(number, Decimal):
        return Decimal(number)
    try:
        if isinstance(number, Rational) and not isinstance(number, Integral):
            ratio = Fraction(int(number.numerator), int(number.denominator))
            return _from_fraction(ratio)
        if isinstance(number, Real) and not isinstance(number, Integral):
            return _from_real(number)
        return int(operator.index(number))
    except Exception:
        # Another library's code may raise anything: this number cannot be sent.
        return None


def _from_real(number: Any) -> PlainAmount:
    nearest = float(number)
    if not math.isfinite(nearest) or nearest == number:
        return nearest
    ratio = getattr(number, "as_integer_ratio", None)
    return nearest if ratio is None else _from_fraction(Fraction(*map(int, ratio())))


def _from_fraction(fraction: Fraction) -> PlainAmount:
    whole, below = fraction.numerator, fraction.denominator
    if below == 1:
        return whole
    try:
        nearest = whole / below
    except OverflowError:
        return math.copysign(math.inf, whole)
    if nearest == fraction:
        return nearest
    # A fraction is a decimal if its denominator has only the factors two and five, at
    # most as many as it has bits. Very long numbers exceed the text of an amount.
    places = below.bit_length()
    if max(places, whole.bit_length()) <= _MAX_BITS and 10**places % below == 0:
        digits = str(whole * 10**places // below)
        short = digits.rstrip("0")
        exact = Decimal(f"{short}E{len(digits) - len(short) - places}")
        if len(str(exact)) <= MAX_AMOUNT_TEXT:
            return exact
    return nearest


def parse_amount(text: str, field: str = "value") -> int | float:
    """
    The amount that a decimal number on the wire means.

    :param text: the number.
    :param field: its name in the error.
    :returns: an int if it has no fraction and no exponent, else the nearest float.
    :raises InvalidPoint: if it is not a plain decimal number, or is too large.
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

    :param t: Unix seconds (fractions are cut off), as any number that
        :func:`plain_amount` accepts except a Decimal, or an aware datetime.
    :raises InvalidPoint: if it is naive, negative, not finite, or at least
        :data:`MAX_TIME`.
    """
    if isinstance(t, datetime):
        if t.tzinfo is None or t.utcoffset() is None:
            raise InvalidPoint(
                "t",
                f"{shown(t)} has no time zone; "
                "pass an aware datetime, such as datetime.now(timezone.utc)",
            )
        seconds: PlainAmount | None = t.timestamp()
    else:
        seconds = None if isinstance(t, Decimal) else _as_number(t)
    if seconds is None:
        raise InvalidPoint(
            "t", f"must be Unix seconds or an aware datetime, not {shown(t)}"
        )
    if MAX_TIME <= seconds < 1_000 * MAX_TIME:
        raise InvalidPoint("t", f"{shown(t)} is in milliseconds; give seconds")
    if not 0 <= seconds < MAX_TIME:
        raise InvalidPoint(
            "t",
            f"{shown(t)} is not in seconds since the Unix epoch, "
            f"from 0 to below {MAX_TIME}",
        )
    return int(seconds)


def parse_time(text: str) -> int:
    """
    The time that a number on the wire means, in whole Unix seconds.

    :raises InvalidPoint: if it is not a number, or is out of range.
    """
    return epoch_seconds(parse_amount(text, "t"))


def kind_and_amount(point: Point) -> tuple[str, Amount]:
    """
    The kind of a point, ``'count'`` or ``'value'``, and its amount.

    :raises InvalidPoint: if it is not a point.
    """
    if isinstance(point, Count):
        return "count", point.count
    if isinstance(point, Value):
        return "value", point.value
    raise InvalidPoint("point", f"must be a Count or a Value, not {shown(point)}")


def expand_point(point: Point) -> list[Point]:
    """
    Check a point, and split it if its name is that of several stats.

    :returns: one valid point for each stat, with its amount as :func:`plain_amount`
        returns it, and its time unchanged.
    :raises InvalidPoint: if any part of it is not valid.
    """
    kind, amount = kind_and_amount(point)
    amount = plain_amount(amount, kind)
    if point.t is not None:
        epoch_seconds(point.t)
    return [type(point)(name, amount, point.t) for name in expand_name(point.stat)]


def one_kind(fields: Mapping[str, Any]) -> str:
    """
    The kind of a point: whichever of ``'count'`` and ``'value'`` is in its fields. A
    field that is ``None`` does not count: some JSON senders write ``null`` in the
    fields that they do not use.

    :raises InvalidPoint: if neither is there, or both are.
    """
    kinds = [kind for kind in ("count", "value") if fields.get(kind) is not None]
    if len(kinds) != 1:
        raise InvalidPoint("point", "needs either a count or a value")
    return kinds[0]


def as_point(parts: Parts) -> Point:
    """
    The point with these parts.
    """
    kind, stat, amount, t = parts
    return Count(stat, amount, t) if kind == "count" else Value(stat, amount, t)


def as_point_list(points: Iterable[Point]) -> list[Point]:
    """
    Points as a list.

    :raises InvalidPoint: if there are more than :data:`MAX_POST`, or if they are not
        iterable.
    """
    try:
        listed = list(islice(points, MAX_POST + 1))
    except TypeError:
        raise InvalidPoint("point", "pass a list of Count and Value objects") from None
    if len(listed) > MAX_POST:
        raise InvalidPoint("point", f"at most {MAX_POST} can be sent at once")
    return listed
