"""
All that a collector keeps, as lines of text: what ``txstathat export`` writes.

The first line tells what this is, the last one how many are between. Those are notes
(what is in the trash, alerts, comments, since when detail is kept for how long) and
cells of stats, up to :data:`MAX_CELLS` of one stat and scale to a line. Cells are told
as what they are made of, not as what they say, so that nothing is lost; keys and
sessions are not in it.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from txstathat.collector.alerts.records import AlertRecord
from txstathat.collector.archive.comments import RECORDS as COMMENTS
from txstathat.collector.archive.comments import read_comments
from txstathat.collector.archive.retention import read_history
from txstathat.collector.archive.stats import DEFINITIONS
from txstathat.errors import InvalidPoint
from txstathat.points.model import MAX_INTEGER, check_name
from txstathat.stores.interface import Addition, Dump

__all__ = [
    "MAX_CELLS",
    "NOTES",
    "VERSION",
    "Cells",
    "End",
    "Header",
    "Note",
    "BadDump",
    "is_portable",
    "portable_lines",
    "read_portable",
]

#: The version of the format.
VERSION = 1
#: How many cells a line has at most.
MAX_CELLS = 1_000

_TITLE = "txstathat export"


def _read_trash(text: str) -> None:
    note = json.loads(text)
    check_name(note["name"])
    int(note["receipts"]), int(note["deleted_at"])


#: The kinds of notes, and what reads one: it raises if it is none.
NOTES: dict[str, Callable[[str], object]] = {
    "trash": _read_trash,
    "alert": AlertRecord.read,
    COMMENTS: read_comments,
    "retention": read_history,
}


class BadDump(Exception):
    """
    A line that cannot be; says why.
    """


@dataclass(frozen=True, slots=True)
class Header:
    """
    The first line.

    :ivar id: names this export.
    """

    id: str


@dataclass(frozen=True, slots=True)
class Note:
    """
    A record of a store's.

    :ivar kind: one of :data:`NOTES`.
    :ivar id: its id.
    :ivar text: its text.
    """

    kind: str
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Cells:
    """
    Cells of one stat and scale.

    :ivar stat: the stat's name.
    :ivar kind: ``'count'`` or ``'value'``.
    :ivar scale: the scale.
    :ivar cells: of each the label, until when it is kept in Unix seconds (``None`` is
        for ever), and what it is made of.
    """

    stat: str
    kind: str
    scale: str
    cells: tuple[tuple[str, float | None, Addition], ...]


@dataclass(frozen=True, slots=True)
class End:
    """
    The last line.

    :ivar lines: how many lines are before it.
    """

    lines: int


def portable_lines(dump: Dump) -> Iterator[str]:
    """
    Write all that a collector keeps in a store.

    :param dump: the store.
    :returns: the lines.
    """
    yield _line({_TITLE: VERSION, "id": secrets.token_hex(16)})
    number = 1
    for kind in NOTES:
        for id, text in dump.records(kind).items():
            yield _line({"note": kind, "id": id, "text": text})
            number += 1
    kinds = {definition: kind for kind, definition in DEFINITIONS.items()}
    definitions = dump.definitions(None)
    for (name, scale), cells in groupby(dump.cells(), lambda cell: cell[:2]):
        stat_kind = kinds.get(definitions.get(name, ""))
        if stat_kind is None:
            continue  # a Metrica of a program's, in the same store
        while some := list(islice(cells, MAX_CELLS)):
            rows = [
                [
                    cell.label,
                    cell.expires,
                    *cell.sums[: 4 if cell.sums.real is None else 6],
                ]
                for cell in some
            ]
            yield _line(
                {"stat": name, "kind": stat_kind, "scale": scale, "cells": rows}
            )
            number += 1
    yield _line({"end": number})


def read_portable(line: str) -> Header | Note | Cells | End:
    """
    Read a line.

    :raises BadDump: if it is not one that :func:`portable_lines` writes.
    """
    try:
        found = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadDump("is not JSON") from None
    if not isinstance(found, dict):
        raise BadDump("is not a JSON object")
    try:
        if _TITLE in found:
            return _read_header(found)
        if "note" in found:
            kind, id, text = (str(found[name]) for name in ("note", "id", "text"))
            NOTES[kind](text)
            return Note(kind, id, text)
        if "end" in found:
            return End(int(found["end"]))
        return _read_cells(found)
    except InvalidPoint as error:
        raise BadDump(str(error)) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadDump("is not a line of an export") from None


def is_portable(line: bytes) -> bool:
    """
    Whether a line is the first one of an export, of whatever version.
    """
    return line.startswith(f'{{"{_TITLE}":'.encode("ascii"))


def _read_header(found: dict[str, Any]) -> Header:
    if found[_TITLE] != VERSION:
        raise BadDump(
            f"is an export of version {found[_TITLE]!r}, and this reads {VERSION}: use "
            "the newer txStatHat that wrote it"
        )
    return Header(str(found["id"]))


def _read_cells(found: dict[str, Any]) -> Cells:
    kind, scale = str(found["kind"]), str(found["scale"])
    DEFINITIONS[kind]
    cells = []
    for label, until, *sums in found["cells"]:
        addition = Addition(*sums)
        if not (
            isinstance(label, str)
            and (until is None or _is_number(until))
            and len(sums) in (4, 6)
            and _is_whole(addition.whole)
            and _is_whole(addition.events)
            and all(map(_is_number, sums))
        ):
            raise BadDump("holds a cell that cannot be")
        cells.append((label, until, addition))
    if len(cells) > MAX_CELLS:
        raise BadDump(f"holds over {MAX_CELLS} cells")
    return Cells(check_name(found["stat"]), kind, scale, tuple(cells))


def _is_number(thing: object) -> bool:
    if isinstance(thing, float):
        return math.isfinite(thing)
    return _is_whole(thing)


def _is_whole(thing: object) -> bool:
    return (
        isinstance(thing, int)
        and not isinstance(thing, bool)
        and -MAX_INTEGER <= thing <= MAX_INTEGER
    )


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _line(found: dict[str, Any]) -> str:
    return json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n"
