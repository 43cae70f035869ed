"""
Read points from lines of text: CSV with a header, or one JSON object a line.
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
from txstathat.points.model import Count, Point, Value
from txstathat.points.names import shown
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
#: The most points in one request. A name with ``~`` counts each of its stats.
POST_SIZE = 1_000
#: The most bytes of points in one request: half of a collector's limit.
POST_BYTES = 524_288

_FIELDS = ("stat", "count", "value", "t")


class BadLine(Exception):
    """
    A line is not a valid point.

    :ivar number: its number, from 1.
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
    Open a file of lines as UTF-8, in every locale.

    :raises OSError: if it cannot be opened.
    """
    return open(path, encoding="utf-8-sig", newline="")


def read_lines(stream: TextIO, max_line: int = MAX_LINE) -> Iterator[str]:
    """
    Read the lines of a stream one by one.

    :param stream: the stream.
    :param max_line: the most characters in a line.
    :raises BadLine: for a line that is too long, or not UTF-8.
    """
    number = 1
    while True:
        try:
            line = stream.readline(max_line + 1)
        except UnicodeDecodeError:
            # The stream reads ahead, so it may be one of the next lines.
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
    Read points, each with the number of its line. Empty lines are skipped.

    Amounts stay exact: they are ints and Decimals.

    :param lines: the lines.
    :param form: ``'csv'`` or ``'jsonl'``; ``None`` means JSON if the first line begins
        with ``{``, else CSV.
    :raises BadLine: at the first line that is not a valid point.
    """
    for number, point in read_each(lines, form):
        if isinstance(point, BadLine):
            raise point
        yield number, point


def read_each(
    lines: Iterable[str], form: str | None
) -> Iterator[tuple[int, Point | BadLine]]:
    """
    Like :func:`read_points`, but yield bad lines too, and read on after them.

    :raises BadLine: for a line after which nothing more can be read.
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
    Split points into lists that fit into one request. The points before a bad line are
    yielded before its error is raised.
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
                # Yield now: standard input may not have a next line for a long time.
                yield part
                part, stats, size = [], 0, 0
    except BadLine:
        if part:
            yield part
        raise
    if part:
        yield part


#: Parses the fields of a line. It raises BadLine if the line is wrong.
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
            number,
            "the columns must be stat and count and/or value, and optionally t",
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
