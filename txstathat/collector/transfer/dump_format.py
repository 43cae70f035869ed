"""
The file format of ``txstathat export``: the contents of a store as lines of JSON.

The first line is a header, and the last one has the number of lines before it. The
lines between are records (the trash, alerts, channels, comments, details, boards,
comparisons, and the history of the retention) and cells of stats, with up to
:data:`MAX_CELLS` cells of one stat and scale in a line. A cell is written as the sums
in the store rather than as the number that they make, so nothing is lost. Keys are
exported on demand, by their hashes; sessions and shared links are not.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.archive.records.comments import RECORDS as COMMENTS
from txstathat.collector.archive.records.comments import read_comments
from txstathat.collector.archive.records.details import RECORDS as DETAILS
from txstathat.collector.archive.records.details import parse_details
from txstathat.collector.archive.records.trash import parse_deleted
from txstathat.collector.archive.retention import read_history
from txstathat.collector.archive.stats import DEFINITIONS
from txstathat.collector.auth.key_record import RECORDS as KEYS
from txstathat.collector.auth.key_record import parse_key
from txstathat.collector.boards.model import parse_board, parse_comparison
from txstathat.collector.boards.records import BOARDS, COMPARISONS
from txstathat.collector.channels.records import RECORDS as CHANNELS
from txstathat.collector.channels.records import read_channel
from txstathat.collector.records import BadRecord, parse_record
from txstathat.errors import InvalidPoint
from txstathat.points.amounts import MAX_INTEGER
from txstathat.points.names import check_name
from txstathat.stores.interface import Addition, Dump

__all__ = [
    "MAX_CELLS",
    "RECORDS",
    "VERSION",
    "BadDump",
    "DumpCells",
    "DumpEnd",
    "DumpHeader",
    "DumpLine",
    "DumpRecord",
    "dump_lines",
    "is_dump",
    "parse_line",
]

#: The version of the format.
VERSION = 1
#: The largest number of cells in a line.
MAX_CELLS = 1_000

_TITLE = "txstathat export"


#: The kinds of records that are exported. Each has the function with which the
#: collector parses the id and the text of a record.
RECORDS: dict[str, Callable[[str, str], object]] = {
    "trash": parse_deleted,
    "alert": AlertRecord.read,
    CHANNELS: read_channel,
    COMMENTS: read_comments,
    DETAILS: parse_details,
    BOARDS: parse_board,
    COMPARISONS: parse_comparison,
    "retention": read_history,
    KEYS: parse_key,
}


class BadDump(Exception):
    """
    A line is not valid. The message says why.
    """


@dataclass(frozen=True, slots=True)
class DumpHeader:
    """
    The first line.

    :ivar id: identifies the export.
    """

    id: str


@dataclass(frozen=True, slots=True)
class DumpRecord:
    """
    A record of the store.

    :ivar kind: one of :data:`RECORDS`.
    :ivar id: its id.
    :ivar text: its text.
    """

    kind: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class DumpCells:
    """
    Cells of one stat and scale.

    :ivar stat: the name of the stat.
    :ivar kind: ``'count'`` or ``'value'``.
    :ivar scale: the scale.
    :ivar cells: for each cell its label, when it expires in Unix seconds (``None`` for
        never), and its sums.
    """

    stat: str
    kind: str
    scale: str
    cells: tuple[tuple[str, float | None, Addition], ...]


@dataclass(frozen=True, slots=True)
class DumpEnd:
    """
    The last line.

    :ivar lines: the number of lines before it.
    """

    lines: int


DumpLine = DumpHeader | DumpRecord | DumpCells | DumpEnd


def dump_lines(
    dump: Dump,
    max_cells: int = MAX_CELLS,
    skipped: Callable[[str, str, BadRecord], object] = lambda kind, id, error: None,
    *,
    keys: bool = False,
) -> Iterator[str]:
    """
    Write the contents of a store.

    :param dump: the store.
    :param skipped: called with the kind and the id of a record that cannot be read,
        and the reason. It is left out, since no import would accept it.
    :param max_cells: how many cells to write in a line, 1 to :data:`MAX_CELLS`.
    :param keys: whether to write the hashes of the keys too.
    :returns: the lines, each with its line feed.
    """
    yield _write({_TITLE: VERSION, "id": secrets.token_hex(16)})
    number = 1
    kinds = [kind for kind in RECORDS if keys or kind != KEYS]
    records = _record_lines(dump, kinds, skipped)
    for line in chain(records, _cell_lines(dump, max_cells)):
        yield line
        number += 1
    yield _write({"end": number})


def _record_lines(
    dump: Dump,
    kinds: Iterable[str],
    skipped: Callable[[str, str, BadRecord], object],
) -> Iterator[str]:
    for kind in kinds:
        for id, text in dump.records(kind).items():
            try:
                parse_record(RECORDS[kind], id, text)
            except BadRecord as error:
                skipped(kind, id, error)
                continue
            yield _write({"note": kind, "id": id, "text": text})


def _cell_lines(dump: Dump, max_cells: int) -> Iterator[str]:
    kinds = {definition: kind for kind, definition in DEFINITIONS.items()}
    definitions = dump.definitions(None)
    for (name, scale), cells in groupby(dump.cells(), lambda cell: cell[:2]):
        stat_kind = kinds.get(definitions.get(name, ""))
        if stat_kind is None:
            continue  # a program's Metrica in the same store
        while some := list(islice(cells, max_cells)):
            rows = [
                [
                    cell.label,
                    cell.expires,
                    *cell.sums[: 4 if cell.sums.real is None else 6],
                ]
                for cell in some
            ]
            yield _write(
                {"stat": name, "kind": stat_kind, "scale": scale, "cells": rows}
            )


def parse_line(line: str) -> DumpLine:
    """
    Parse a line of an export.

    :param line: the line.
    :raises BadDump: if it is not a line that :func:`dump_lines` writes.
    """
    try:
        fields = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BadDump("is not JSON") from None
    if not isinstance(fields, dict):
        raise BadDump("is not a JSON object")
    try:
        if _TITLE in fields:
            return _parse_header(fields)
        if "note" in fields:
            kind, id, text = (str(fields[name]) for name in ("note", "id", "text"))
            parse_record(RECORDS[kind], id, text)
            return DumpRecord(kind, id, text)
        if "end" in fields:
            return DumpEnd(int(fields["end"]))
        return _parse_cells(fields)
    except (InvalidPoint, BadRecord) as error:
        raise BadDump(str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadDump("is not a line of an export") from None


def is_dump(line: bytes) -> bool:
    """
    Return whether a line is the first line of an export, of any version.
    """
    return line.startswith(f'{{"{_TITLE}":'.encode("ascii"))


def _parse_header(fields: dict[str, Any]) -> DumpHeader:
    if fields[_TITLE] != VERSION:
        raise BadDump(
            f"is an export of version {fields[_TITLE]!r}, and this txStatHat reads "
            f"version {VERSION}: use the version of txStatHat that wrote it"
        )
    return DumpHeader(str(fields["id"]))


def _parse_cells(fields: dict[str, Any]) -> DumpCells:
    kind, scale = str(fields["kind"]), str(fields["scale"])
    DEFINITIONS[kind]
    cells = [_parse_cell(*cell) for cell in fields["cells"]]
    if len(cells) > MAX_CELLS:
        raise BadDump(f"has more than {MAX_CELLS} cells")
    return DumpCells(check_name(fields["stat"]), kind, scale, tuple(cells))


def _parse_cell(
    label: Any, until: Any, *sums: Any
) -> tuple[str, float | None, Addition]:
    addition = Addition(*sums)
    if not (
        isinstance(label, str)
        and (until is None or _is_number(until))
        and len(sums) in (4, 6)
        and _is_integer(addition.whole)
        and _is_integer(addition.events)
        and all(map(_is_number, sums))
    ):
        raise BadDump("has a cell that is not valid")
    return label, until, addition


def _is_number(thing: object) -> bool:
    if isinstance(thing, float):
        return math.isfinite(thing)
    return _is_integer(thing)


def _is_integer(thing: object) -> bool:
    return (
        isinstance(thing, int)
        and not isinstance(thing, bool)
        and -MAX_INTEGER <= thing <= MAX_INTEGER
    )


def _refuse_constant(text: str) -> Any:
    raise ValueError(text)


def _write(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False) + "\n"
