"""
The rules for amounts and times.

They are StatHat's (https://www.stathat.com/manual/send): an amount is a number, and a
time is in seconds since the Unix epoch. Where StatHat has no rule, this module is
strict, so that all servers read an amount in the same way.
"""

from __future__ import annotations

import math
import operator
import re
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Rational, Real
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias

from txstathat.errors import InvalidPoint
from txstathat.points.names import shown

__all__ = [
    "Amount",
    "MAX_AMOUNT_TEXT",
    "MAX_INTEGER",
    "MAX_TIME",
    "PlainAmount",
    "Time",
    "amount_text",
    "epoch_seconds",
    "parse_amount",
    "parse_time",
    "plain_amount",
]

#: An amount as this package uses it.
PlainAmount: TypeAlias = int | float | Decimal
#: An amount as a program may pass it; see :func:`plain_amount`.
Amount: TypeAlias = PlainAmount | SupportsIndex | SupportsFloat
#: A time as a program may pass it; see :func:`epoch_seconds`.
Time: TypeAlias = int | float | datetime | SupportsIndex | SupportsFloat
#: The largest whole amount, positive or negative: what a signed 64-bit number holds.
MAX_INTEGER = 2**63 - 1
#: The most characters that the decimal text of an amount may have.
MAX_AMOUNT_TEXT = 64
#: Times must be below this, in seconds since the epoch (the year 5138). A time in
#: milliseconds is above it, and is refused.
MAX_TIME = 100_000_000_000
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
# The longest numerator and denominator that are written as a decimal.
_MAX_BITS = 1_100


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
