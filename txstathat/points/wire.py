"""
The text forms of points: forms and JSON, written and read.

:mod:`txstathat.points.model` has the rules for what a point may contain.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, quote_plus

from txstathat.errors import InvalidPoint
from txstathat.points.amounts import (
    MAX_INTEGER,
    MAX_TIME,
    amount_text,
    epoch_seconds,
    parse_amount,
)
from txstathat.points.model import (
    Count,
    Parts,
    Point,
    Value,
    as_point_list,
    kind_and_amount,
    one_kind,
)
from txstathat.points.names import check_name, expand_name, is_plain_name

__all__ = [
    "classic_form_point",
    "form_point",
    "json_float",
    "json_parts",
    "json_points",
    "read_form_point",
    "read_json_points",
]

_WHOLE = re.compile(r"[+-]?[0-9]+")


def json_float(text: str) -> int | float:
    """
    Like :func:`~txstathat.points.amounts.parse_amount`, but fast, for a number in the
    syntax of JSON.
    """
    if len(text) < 20 and "e" not in text and "E" not in text:
        return float(text)
    return parse_amount(text)


def json_parts(data: Iterable[object]) -> Iterator[Parts]:
    """
    The points of StatHat's JSON API, with ``~`` names split.

    :param data: the decoded ``data``; its numbers are ints and floats.
    :returns: the points, one after the other.
    :raises InvalidPoint: at an entry that is not valid; the message has its index.
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
    The fast way, for nearly all entries. ``None`` for any other, which may be valid
    too.
    """
    if type(entry) is not dict:
        return None
    kind = "count" if "count" in entry else "value"
    stat, amount, t = entry.get("stat"), entry.get(kind), entry.get("t")
    if (
        len(entry) == (2 if t is None else 3)
        and type(stat) is str
        and is_plain_name(stat)
        and (
            (type(amount) is int and -MAX_INTEGER <= amount <= MAX_INTEGER)
            or (type(amount) is float and math.isfinite(amount))
        )
        and (t is None or (type(t) is int and 0 <= t < MAX_TIME))
    ):
        return kind, stat, amount, t
    return None


def _entry_parts(entry: Any) -> list[Parts]:
    if not isinstance(entry, dict):
        raise InvalidPoint("point", "must be an object")
    kind = one_kind(entry)
    amount, t = entry[kind], entry.get("t")
    if isinstance(amount, str):
        # Some JSON senders write numbers as text.
        amount = parse_amount(amount, kind)
    amount_text(amount, kind)
    seconds = None if t is None else epoch_seconds(t)
    return [
        (kind, name, amount, seconds) for name in expand_name(entry.get("stat", ""))
    ]


def _wire_parts(point: Point) -> tuple[object, str, str, int | None]:
    """
    The parts of a point on the wire: its stat (not checked yet), ``'count'`` or
    ``'value'``, the amount's text, and its time.
    """
    kind, amount = kind_and_amount(point)
    text = amount_text(amount, kind)
    return point.stat, kind, text, None if point.t is None else epoch_seconds(point.t)


def json_points(points: Iterable[Point]) -> bytes:
    """
    Points as the ``data`` of StatHat's JSON API: a JSON list, in ASCII.

    :raises InvalidPoint: if one of the points is not valid.
    """
    entries = []
    for point in as_point_list(points):
        stat, kind, amount, t = _wire_parts(point)
        expand_name(stat)
        time = "" if t is None else f',"t":{t}'
        # Written by hand so that a Decimal stays exact: json cannot do it.
        entries.append(f'{{"stat":{json.dumps(stat)},"{kind}":{amount}{time}}}')
    return f"[{','.join(entries)}]".encode("ascii")


def form_point(point: Point) -> bytes:
    """
    A point as the form fields of StatHat's EZ API, where its name may have ``~``.

    :raises InvalidPoint: if the point is not valid.
    """
    stat, kind, amount, t = _wire_parts(point)
    expand_name(stat)
    return _form("stat", stat, kind, amount, t)


def classic_form_point(point: Point) -> bytes:
    """
    A point as the form fields of StatHat's Classic API, in which a stat has a ``key``
    and ``~`` has no special meaning.

    :raises InvalidPoint: if the point is not valid.
    """
    stat, kind, amount, t = _wire_parts(point)
    return _form("key", check_name(stat, "key"), kind, amount, t)


def _form(field: str, stat: Any, kind: str, amount: str, t: int | None) -> bytes:
    # The only character of an amount that needs quoting is the + of an exponent.
    amount = amount.replace("+", "%2B")
    time = "" if t is None else f"&t={t}"
    return f"{field}={quote_plus(stat)}&{kind}={amount}{time}".encode("ascii")


def read_json_points(data: bytes) -> list[Point]:
    """
    The points in the output of :func:`json_points`. Amounts are equal to the original
    ones; those with a fraction or an exponent are Decimals.

    :raises ValueError: if the data is of another origin.
    """
    try:
        return [_read_point(each) for each in json.loads(data, parse_float=Decimal)]
    except (KeyError, TypeError):
        raise ValueError("these are not points as json_points writes them") from None


def read_form_point(data: bytes, field: str = "stat") -> Point:
    """
    The point in the output of :func:`form_point`; otherwise like
    :func:`read_json_points`.

    :param field: the field with the stat: ``'key'`` for the output of
        :func:`classic_form_point`.
    """
    fields: dict[str, Any] = dict(parse_qsl(data.decode("ascii")))
    try:
        for name in ("count", "value", "t"):
            if name in fields:
                text = fields[name]
                fields[name] = int(text) if _WHOLE.fullmatch(text) else Decimal(text)
        return _read_point({**fields, "stat": fields[field]})
    except (KeyError, ArithmeticError):
        raise ValueError("this is not a point as form_point writes it") from None


def _read_point(fields: Mapping[str, Any]) -> Point:
    if "count" in fields:
        return Count(fields["stat"], fields["count"], fields.get("t"))
    return Value(fields["stat"], fields["value"], fields.get("t"))
