"""
Points as lines of text: CSV with a header, or one JSON object to a line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any, TextIO, TypeAlias

import click

from txstathat.cli.options import AMOUNT, TIME
from txstathat.errors import InvalidPoint
from txstathat.points.model import Count, Point, Value, shown
from txstathat.points.wire import json_points

__all__ = [
    "MAX_LINE",
    "POST_BYTES",
    "POST_SIZE",
    "BadLine",
    "open_text",
    "read_each",
    "read_lines",
    "read_points",
    "split_points",
]

#: The most characters that a line may have.
MAX_LINE = 65_536
#: How many points go in one request; each stat of a ``~`` name is one.
POST_SIZE = 1_000
#: How many bytes of points go in one request: half of what a collector takes.
POST_BYTES = 524_288

_FIELDS = ("stat", "count", "value", "t")


class BadLine(Exception):
    """
    A line that is no point.

    :ivar number: which one it is, from 1.
    :ivar problem: what is wrong with it.
    """

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(number, problem)
        self.number = number
        self.problem = problem

    def __str__(self) -> str:
        return f"line {self.number}: {self.problem}"


def open_text(path: str) -> TextIO:
    """
    Open a file of lines: they are UTF-8, whatever the locale says.

    :raises OSError: if it cannot be opened.
    """
    return open(path, encoding="utf-8-sig", newline="")


def read_lines(stream: TextIO, max_line: int = MAX_LINE) -> Iterator[str]:
    """
    The lines of a stream, as they come.

    :param stream: the stream.
    :param max_line: the most characters that one may have.
    :raises BadLine: for one that is too long, or is no text.
    """
    number = 1
    while True:
        try:
            line = stream.readline(max_line + 1)
        except UnicodeDecodeError:
            # It may be any of those that were read ahead.
            raise BadLine(
                number, "this line, or one soon after it, is not UTF-8"
            ) from None
        if not line:
            return
        if len(line) > max_line:
            raise BadLine(number, f"has over {max_line:,} characters")
        yield line
        number += 1


def read_points(lines: Iterable[str], form: str | None) -> Iterator[tuple[int, Point]]:
    """
    The points that lines hold, each with the number of its line. Empty lines hold none.

    Amounts stay exact: they are ints and Decimals.

    :param lines: where they are.
    :param form: ``'csv'`` or ``'jsonl'``; ``None`` takes what begins with ``{`` for
        JSON.
    :raises BadLine: where one is no valid point, once those before it were read.
    """
    for number, point in read_each(lines, form):
        if isinstance(point, BadLine):
            raise point
        yield number, point


def read_each(
    lines: Iterable[str], form: str | None
) -> Iterator[tuple[int, Point | BadLine]]:
    """
    As :func:`read_points`, but bad lines are told, and those after them read.

    :raises BadLine: for one after which nothing can be read.
    """
    lines = iter(lines)
    first = next(lines, "")
    if form is None:
        form = "jsonl" if first.lstrip().startswith("{") else "csv"
    read = _read_json if form == "jsonl" else _read_csv
    for number, fields in read(chain([first], lines)):
        try:
            point = _make_point(fields())
            json_points([point])
        except BadLine as bad:
            yield number, bad
        except InvalidPoint as error:
            yield number, BadLine(number, str(error))
        except click.UsageError as error:
            yield number, BadLine(number, error.message)
        else:
            yield number, point


def split_points(
    points: Iterable[tuple[int, Point]],
) -> Iterator[list[tuple[int, Point]]]:
    """
    The points, as many at a time as go in one request; those before a bad line too.
    """
    part: list[tuple[int, Point]] = []
    stats = size = 0
    try:
        for number, point in points:
            more_stats = 1 + point.stat.count(",") if "~" in point.stat else 1
            more = len(json_points([point]))
            if part and (stats + more_stats > POST_SIZE or size + more > POST_BYTES):
                yield part
                part, stats, size = [], 0, 0
            part.append((number, point))
            stats, size = stats + more_stats, size + more
            if stats >= POST_SIZE:
                # At once: the next point may be long in coming.
                yield part
                part, stats, size = [], 0, 0
    except BadLine:
        if part:
            yield part
        raise
    if part:
        yield part


#: The fields of a line, once they are called for: that may raise what is wrong.
_Fields: TypeAlias = Callable[[], dict[str, Any]]


def _read_json(lines: Iterable[str]) -> Iterator[tuple[int, _Fields]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, partial(_json_fields, number, line)


def _json_fields(number: int, line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise BadLine(number, "is not JSON") from None
    if not isinstance(fields, dict):
        raise BadLine(number, "is not a JSON object")
    return fields


def _read_csv(lines: Iterable[str]) -> Iterator[tuple[int, _Fields]]:
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = _check_header(reader.line_num, row)
            else:
                yield (
                    reader.line_num,
                    partial(_csv_fields, reader.line_num, header, row),
                )
    except csv.Error as error:
        raise BadLine(reader.line_num, f"is not CSV: {error}") from None


def _csv_fields(number: int, header: list[str], row: list[str]) -> dict[str, Any]:
    if len(row) != len(header):
        raise BadLine(number, f"has {len(row)} cells, and the header {len(header)}")
    fields: dict[str, Any] = {
        name: cell for name, cell in zip(header, row, strict=True) if cell
    }
    for name in ("count", "value"):
        if name in fields:
            fields[name] = AMOUNT.convert(fields[name], None, None)
    return fields


def _check_header(number: int, row: list[str]) -> list[str]:
    header = [cell.strip() for cell in row]
    if (
        "stat" not in header
        or len(set(header)) < len(header)
        or not set(header) <= set(_FIELDS)
        or not {"count", "value"} & set(header)
    ):
        raise BadLine(
            number, "the header must name stat, count or value or both, and perhaps t"
        )
    return header


def _make_point(fields: dict[str, Any]) -> Point:
    unknown = set(fields) - set(_FIELDS)
    if unknown:
        raise InvalidPoint(
            "point", f"has no {shown(min(unknown))}; it may have {', '.join(_FIELDS)}"
        )
    if ("count" in fields) == ("value" in fields):
        raise InvalidPoint("point", "needs either a count or a value")
    t = fields.get("t")
    if t is not None:
        if isinstance(t, bool) or not isinstance(t, (int, Decimal, str)):
            raise InvalidPoint("t", f"{shown(t)} is neither Unix seconds nor ISO 8601")
        t = TIME.convert(t, None, None)
    if "count" in fields:
        return Count(fields.get("stat", ""), fields["count"], t)
    return Value(fields.get("stat", ""), fields["value"], t)
