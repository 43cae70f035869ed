"""
Loads what ``txstathat export`` wrote into a store without stats.

The lines of a stat in a commit become one batch of the store. Its id consists of the id
of the export and the number of the first line, and its digest is that of the lines. So
an interrupted load can be started again, and adds nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import TypeAlias

from txstathat.collector.archive.stats import DEFINITIONS, EVERYTHING
from txstathat.collector.transfer.dump_format import (
    BadDump,
    DumpCells,
    DumpEnd,
    DumpHeader,
    DumpLine,
    DumpRecord,
    parse_line,
)
from txstathat.errors import StatHatError
from txstathat.stores.interface import (
    Amounts,
    Increment,
    IStore,
    TimeBucket,
    WriteBatch,
    WriteOutcome,
)

__all__ = ["REMEMBER_LINES", "CannotLoad", "check_dump", "load_dump"]

#: How long a store remembers loaded lines, in seconds: ten years.
REMEMBER_LINES = 10 * 365 * 86_400.0

# From how many cells on a commit is made. A line has at least one. (A load that began
# with another number cannot be continued: its batches are others.)
_CELLS_PER_COMMIT = 1_000
_KIND, _ID = "import", "export"

# The number of a line, its text, and what it means.
_Line: TypeAlias = tuple[int, str, DumpCells]


class CannotLoad(StatHatError):
    """
    An export cannot be loaded. The message says why.
    """


def check_dump(lines: Iterable[str]) -> int:
    """
    Check that an export is complete and valid.

    :param lines: its lines.
    :returns: the number of lines.
    :raises CannotLoad: if a line is not valid or in the wrong place, or lines are
        missing.
    """
    number, ended = 0, False
    for number, line in enumerate(lines, 1):
        parsed = _parse(number, line)
        if ended or isinstance(parsed, DumpHeader) != (number == 1):
            raise CannotLoad(f"line {number}: is in the wrong place")
        if isinstance(parsed, DumpEnd):
            if parsed.lines != number - 1:
                raise CannotLoad(f"{parsed.lines} lines should be before line {number}")
            ended = True
    if not ended:
        raise CannotLoad(f"the export is incomplete: it ends with line {number}")
    return number


async def load_dump(
    store: IStore, lines: Iterable[str], progress: Callable[[int], object]
) -> bool:
    """
    Load an export into a store.

    :param store: the store. It must have no stats, or only stats of the same export.
    :param lines: the lines, which :func:`check_dump` has accepted.
    :param progress: called with a number of lines whenever so many more are done.
    :returns: ``False`` if the export was loaded completely before.
    :raises CannotLoad: if the store has other stats, or a line cannot be added.
    :raises StoreUnavailable: if the store fails.
    """
    export = ""
    waiting: list[_Line] = []
    cells = 0
    for number, line in enumerate(lines, 1):
        parsed = _parse(number, line)
        if isinstance(parsed, DumpHeader):
            export = parsed.id
            if not await _claim(store, export):
                return False
        elif isinstance(parsed, DumpRecord):
            await store.put_record(parsed.kind, parsed.id, parsed.text, was=None)
        elif isinstance(parsed, DumpCells):
            waiting.append((number, line, parsed))
            cells += len(parsed.cells)
        if cells >= _CELLS_PER_COMMIT or isinstance(parsed, DumpEnd):
            await _add(store, export, waiting)
            waiting, cells = [], 0
        progress(1)
    await store.put_record(_KIND, _ID, _to_record(export, done=True))
    return True


def _parse(number: int, line: str) -> DumpLine:
    try:
        return parse_line(line)
    except BadDump as error:
        raise CannotLoad(f"line {number}: {error}") from None


def _to_record(export: str, *, done: bool) -> str:
    return json.dumps({"export": export, "done": done})


async def _claim(store: IStore, export: str) -> bool:
    """
    Reserve a store for an export.

    :returns: ``False`` if the export was loaded completely before.
    """
    text = await store.record(_KIND, _ID)
    if text == _to_record(export, done=True):
        return False
    claim = _to_record(export, done=False)
    if text == claim:
        return True
    definitions = await store.definitions()
    if set(DEFINITIONS.values()) & set(definitions.values()):
        raise CannotLoad(
            "the store has stats already: an export goes into a store without any"
        )
    if not await store.put_record(_KIND, _ID, claim, was=text):
        raise CannotLoad("another import into the store has just begun")
    return True


async def _add(store: IStore, export: str, lines: Iterable[_Line]) -> None:
    """
    Add the cells of some lines in one commit.
    """
    now = store.clock.seconds()
    numbers, batches = [], []
    for _, some in groupby(lines, key=lambda line: line[2].stat):
        of_stat = [*some]
        text = "".join(line for _, line, _ in of_stat)
        numbers.append(of_stat[0][0])
        batches.append(
            WriteBatch(
                f"export-{export}-{numbers[-1]}",
                hashlib.sha256(text.encode("utf-8")).hexdigest(),
                partial(_amounts, [cells for _, _, cells in of_stat], now),
                REMEMBER_LINES,
            )
        )
    if not batches:
        return
    answers = await store.add(batches)
    for number, answer in zip(numbers, answers, strict=True):
        if answer.outcome is WriteOutcome.CONFLICT:
            raise CannotLoad(
                f"line {number}: it, or one of the next lines of its stat, has changed "
                "since a part of the export was loaded"
            )
        if answer.outcome not in (WriteOutcome.ADDED, WriteOutcome.REPEATED):
            raise CannotLoad(
                f"line {number}: {answer.name!r} cannot be added to the points that "
                "have arrived since: import an export before points are sent"
            )


def _amounts(lines: Sequence[DumpCells], now: float) -> Amounts:
    """
    Return what the store adds: the cells of a stat that have not expired.

    :raises CannotLoad: if the stat has two kinds.
    """
    name, kind = lines[0].stat, lines[0].kind
    if any(line.kind != kind for line in lines):
        raise CannotLoad(f"the export has two kinds of {name!r}")
    return Amounts(
        {name: DEFINITIONS[kind]},
        [
            Increment(
                [TimeBucket(line.scale, label, None if until is None else until - now)],
                {name: {EVERYTHING: sums}},
            )
            for line in lines
            for label, until, sums in line.cells
            if until is None or until > now
        ],
    )
