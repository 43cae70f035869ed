"""
Loads what ``txstathat export`` wrote into a store without stats.

A line with cells becomes one batch of the store, and the id of the batch consists of
the id of the export and the number of the line. So an interrupted load can be started
again, and adds nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial

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

#: How long a store remembers a loaded line, in seconds: ten years.
REMEMBER_LINES = 10 * 365 * 86_400.0

# From how many cells on a commit is made. A line has at least one.
_CELLS_PER_COMMIT = 1_000
_KIND, _ID = "import", "export"


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
    waiting: list[tuple[int, str, DumpCells]] = []
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


async def _add(
    store: IStore, export: str, lines: Iterable[tuple[int, str, DumpCells]]
) -> None:
    """
    Add the cells of some lines in one commit.
    """
    now = store.clock.seconds()
    numbers, batches = [], []
    for number, line, cells in lines:
        numbers.append(number)
        batches.append(
            WriteBatch(
                f"export-{export}-{number}",
                hashlib.sha256(line.encode("utf-8")).hexdigest(),
                partial(_amounts, cells, now),
                REMEMBER_LINES,
            )
        )
    if not batches:
        return
    answers = await store.add(batches)
    for number, answer in zip(numbers, answers, strict=True):
        if answer.outcome is WriteOutcome.CONFLICT:
            raise CannotLoad(
                f"line {number}: has changed since a part of the export was loaded"
            )
        if answer.outcome not in (WriteOutcome.ADDED, WriteOutcome.REPEATED):
            raise CannotLoad(
                f"line {number}: {answer.name!r} cannot be added to the points that "
                "have arrived since: import an export before points are sent"
            )


def _amounts(cells: DumpCells, now: float) -> Amounts:
    """
    Return what the store adds: the cells that have not expired.
    """
    return Amounts(
        {cells.stat: DEFINITIONS[cells.kind]},
        [
            Increment(
                [
                    TimeBucket(
                        cells.scale, label, None if until is None else until - now
                    )
                ],
                {cells.stat: {EVERYTHING: sums}},
            )
            for label, until, sums in cells.cells
            if until is None or until > now
        ],
    )
