"""
Bringing back what ``txstathat export`` wrote, into a store without stats.

A line with cells becomes one batch of the store's, whose id is made of the export's id
and the line's number; so whatever interrupts this, it can be begun again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial

from txstathat.collector.archive.stats import DEFINITIONS, EVERYTHING
from txstathat.collector.transfer.dump_format import (
    BadDump,
    Cells,
    End,
    Header,
    Note,
    read_portable,
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

__all__ = ["REMEMBER_LINES", "CannotRestore", "check_portable", "restore"]

#: For how many seconds a line that was brought back is remembered: ten years.
REMEMBER_LINES = 10 * 365 * 86_400.0

#: How many lines are written in one commit.
_AT_ONCE = 8
_KIND, _ID = "import", "export"


class CannotRestore(StatHatError):
    """
    An export that cannot be brought back; says why.
    """


def check_portable(lines: Iterable[str]) -> int:
    """
    Check that a whole export is there, and nothing else.

    :param lines: its lines.
    :returns: how many there are.
    :raises CannotRestore: if a line is wrong, or some are missing.
    """
    number, ended = 0, False
    for number, line in enumerate(lines, 1):
        found = _read(number, line)
        if ended or isinstance(found, Header) != (number == 1):
            raise CannotRestore(f"line {number}: is not where it belongs")
        if isinstance(found, End):
            if found.lines != number - 1:
                raise CannotRestore(
                    f"{found.lines} lines should be before line {number}"
                )
            ended = True
    if not ended:
        raise CannotRestore(f"is not whole: it breaks off after line {number}")
    return number


async def restore(
    store: IStore, lines: Iterable[str], told: Callable[[int], object]
) -> bool:
    """
    Bring back an export.

    :param store: where to; it must have no stats, or those of the same export.
    :param lines: the lines, which :func:`check_portable` has found good.
    :param told: called with the number of lines whenever some are done.
    :returns: whether there was anything to do: ``False`` if it was brought back before.
    :raises CannotRestore: if the store has other stats, or a line cannot be added.
    :raises StoreUnavailable: if the store fails.
    """
    export = ""
    waiting: list[tuple[int, str, Cells]] = []
    for number, line in enumerate(lines, 1):
        found = _read(number, line)
        if isinstance(found, Header):
            export = found.id
            if not await _claim(store, export):
                return False
        elif isinstance(found, Note):
            await store.put_record(found.kind, found.id, found.text, was=None)
        elif isinstance(found, Cells):
            waiting.append((number, line, found))
        if len(waiting) == _AT_ONCE or isinstance(found, End):
            await _add(store, export, waiting)
            waiting = []
        told(1)
    await store.put_record(_KIND, _ID, _claimed(export, done=True))
    return True


def _read(number: int, line: str) -> Header | Note | Cells | End:
    try:
        return read_portable(line)
    except BadDump as error:
        raise CannotRestore(f"line {number}: {error}") from None


def _claimed(export: str, *, done: bool) -> str:
    return json.dumps({"export": export, "done": done})


async def _claim(store: IStore, export: str) -> bool:
    """
    Take a store for an export.

    :returns: whether there is anything left to do.
    """
    text = await store.record(_KIND, _ID)
    if text == _claimed(export, done=True):
        return False
    claim = _claimed(export, done=False)
    if text == claim:
        return True
    definitions = await store.definitions()
    if set(DEFINITIONS.values()) & set(definitions.values()):
        raise CannotRestore(
            "the store has stats already: an export goes into a store without any"
        )
    if not await store.put_record(_KIND, _ID, claim, was=text):
        raise CannotRestore("another import into the store has just begun")
    return True


async def _add(
    store: IStore, export: str, lines: Iterable[tuple[int, str, Cells]]
) -> None:
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
            raise CannotRestore(
                f"line {number}: has changed since it was brought back in part"
            )
        if answer.outcome not in (WriteOutcome.ADDED, WriteOutcome.REPEATED):
            raise CannotRestore(
                f"line {number}: {answer.name!r} cannot be added to what has come in "
                "since: bring an export back before points are sent"
            )


def _amounts(cells: Cells, now: float) -> Amounts:
    """
    What the store is to add: cells that are not there yet become what they were.
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
