"""
Read data that was saved from StatHat.com before it closed, as points.

There are two forms. A *folder* has ``stats.csv`` (``id,name,type,public``) and a file
for each stat in ``data/``: comment lines with the stat's name and type, then
``timestamp,datetime,value``. A *data file* is the JSON that ``/x/…/data`` answered.

A saved number covers a step of time: it is the sum of a counter's points, or the
average of a value's. It becomes one point.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import click

from txstathat.cli.options import AMOUNT, TIME
from txstathat.cli.send.point_formats import BadLine, open_text, read_lines
from txstathat.errors import InvalidPoint
from txstathat.points.model import Count, Point, Value
from txstathat.points.names import check_name, shown
from txstathat.points.wire import json_points

__all__ = ["MAX_DATA", "Found", "is_data_file", "is_folder", "read_data", "read_folder"]

#: The largest data file that is read, in bytes.
MAX_DATA = 64 * 1024 * 1024

#: A place in the data, and the point there or what is wrong with it.
Found: TypeAlias = tuple[str, Point | BadLine]

_KINDS: dict[str, type[Count] | type[Value]] = {
    "counter": Count,
    "count": Count,
    "value": Value,
}


def is_folder(path: Path) -> bool:
    """
    Whether a path is a folder of saved stats.
    """
    return (path / "stats.csv").is_file()


def is_data_file(path: Path) -> bool:
    """
    Whether a file is the JSON of ``/x/…/data``: only that format begins with ``[``.

    :raises OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(1_000).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def read_folder(folder: Path) -> Iterator[Found]:
    """
    Read the points in a folder. Their places are file names and lines.

    :raises OSError: if a file cannot be read.
    """
    try:
        known = _read_stats(folder / "stats.csv")
    except BadLine as bad:
        yield "stats.csv", bad
        return
    for path in sorted((folder / "data").glob("*.csv")):
        name = f"data/{path.name}"
        try:
            for number, point in _read_stat(path, known.get(path.stem, {})):
                yield f"{name} line {number}", point
        except BadLine as bad:
            yield f"{name} line {bad.number}", bad


def _read_stats(path: Path) -> dict[str, dict[str, str]]:
    """
    The rows of ``stats.csv``, by the stat's id.
    """
    with open_text(str(path)) as stream:
        rows = csv.DictReader(read_lines(stream), strict=True)
        try:
            header = rows.fieldnames or ()
            if not {"id", "name", "type"} <= set(header):
                raise BadLine(1, "the header must have id, name and type")
            return {row["id"]: row for row in rows if row["id"]}
        except csv.Error as error:
            raise BadLine(rows.line_num, f"not CSV: {error}") from None


def _read_stat(
    path: Path, known: Mapping[str, str]
) -> Iterator[tuple[int, Point | BadLine]]:
    """
    Read the points of one stat, each with the number of its line.

    :param known: the stat's row in ``stats.csv``. The file itself comes first.
    """
    about = {"stat_name": known.get("name") or "", "stat_type": known.get("type") or ""}
    header = ["timestamp", "datetime", "value"]
    with open_text(str(path)) as stream:
        for number, line in enumerate(read_lines(stream), 1):
            text = line.strip()
            if text.startswith("#"):
                about |= _comment(text, about)
                continue
            cells = next(csv.reader([text]), [])
            if not cells:
                continue
            if "timestamp" in cells:
                header = cells
                continue
            row = dict(zip(header, cells, strict=False))
            point = _row_point(number, about, row)
            if point is not None:
                yield number, point


def _comment(text: str, known: Mapping[str, str]) -> dict[str, str]:
    key, colon, what = text[1:].partition(":")
    return {key.strip(): what.strip()} if colon and key.strip() in known else {}


def _row_point(
    number: int, about: Mapping[str, str], row: Mapping[str, str]
) -> Point | BadLine | None:
    """
    The point of a row.

    :returns: ``None`` for a step without a value.
    """
    if "timestamp" not in row or "value" not in row:
        return BadLine(number, "needs timestamp,datetime,value")
    if not row["value"].strip():
        return None
    kind = _KINDS.get(about["stat_type"].lower())
    if kind is None:
        return BadLine(
            number,
            f"the stat's type {shown(about['stat_type'])} is neither counter nor value",
        )
    return _make(
        kind, number, about["stat_name"], row["value"].strip(), row["timestamp"]
    )


def read_data(path: Path, kind: str) -> Iterator[Found]:
    """
    Read the points in a data file.

    :param path: the file.
    :param kind: the kind of its stats, ``'counter'`` or ``'value'``.
    :raises OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        text = file.read(MAX_DATA + 1)
    if len(text) > MAX_DATA:
        yield "the file", BadLine(1, f"larger than {MAX_DATA:,} bytes")
        return
    try:
        stats = json.loads(text.decode("utf-8-sig"), parse_float=Decimal)
    except (ValueError, RecursionError):
        yield "the file", BadLine(1, "not JSON")
        return
    for stat in stats:
        points = stat.get("points") if isinstance(stat, dict) else None
        if not isinstance(points, list) or not isinstance(stat.get("name"), str):
            yield "the file", BadLine(1, "each stat needs a name and points")
            continue
        for number, point in enumerate(points, 1):
            where = f"{stat['name']!r} point {number}"
            if not isinstance(point, dict) or not {"time", "value"} <= set(point):
                yield where, BadLine(number, "needs a time and a value")
            elif point["value"] is not None:
                made = _make(
                    _KINDS[kind], number, stat["name"], point["value"], point["time"]
                )
                yield where, made


def _make(
    kind: type[Count] | type[Value], number: int, stat: str, amount: Any, time: Any
) -> Point | BadLine:
    try:
        if "~" in check_name(stat, "stat"):
            raise InvalidPoint("stat", f"{shown(stat)} has a ~")
        point = kind(
            stat,
            AMOUNT.convert(str(amount), None, None),
            TIME.convert(str(time), None, None),
        )
        json_points([point])
    except InvalidPoint as error:
        return BadLine(number, str(error))
    except click.UsageError as error:
        return BadLine(number, error.message)
    return point
