"""
A file of past points on its way to a server: each point once, whatever comes between.

The file is checked whole before anything is sent. Then its points go in requests whose
ids are made of what is in the file, so that a request which is repeated counts once; a
:class:`~txstathat.cli.journal.Journal` tells where to go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import dropwhile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txstathat.cli.journal import Journal, Mark, Tape
from txstathat.cli.lines import (
    BadLine,
    open_text,
    read_each,
    read_lines,
    read_points,
    split_points,
)
from txstathat.client import API_URL, txStatHat
from txstathat.outcome import Outcome, Verdict
from txstathat.points import Point

__all__ = [
    "ATTEMPTS",
    "CERTAIN",
    "MAX_TOLD",
    "Checked",
    "RequestFailed",
    "Sender",
    "check_points",
    "knows_ids",
]

#: How often a request is tried, where it may do better later.
ATTEMPTS = 4
#: For how many seconds a collector certainly remembers a request: a day less than the
#: 8 for which it does.
CERTAIN = 7 * 86_400
#: How many bad lines are told.
MAX_TOLD = 20
#: The most seconds between two attempts.
_LONGEST_WAIT = 60.0


@dataclass(slots=True)
class Checked:
    """
    What a look at the whole file showed.

    :ivar left: how many points are still to be sent.
    :ivar before: how many were accepted before.
    :ivar bad: the first bad lines, :data:`MAX_TOLD` at most.
    :ivar more_bad: how many more there are.
    :ivar changed: whether what was sent of it is not in it any more.
    """

    left: int = 0
    before: int = 0
    bad: list[BadLine] = field(default_factory=list)
    more_bad: int = 0
    changed: bool = False


def check_points(path: Path, form: str | None, journal: Journal) -> Checked:
    """
    Look at a whole file.

    :param path: the file.
    :param form: as for :func:`~txstathat.cli.lines.read_points`.
    :param journal: how far its import has come.
    :raises OSError: if it cannot be read.
    """
    checked = Checked()
    sent = {mark.line: mark for mark in (journal.done, journal.sending) if mark}
    sent.pop(0, None)
    with open_text(str(path)) as stream:
        tape = Tape(read_lines(stream))
        try:
            for number, point in read_each(tape, form):
                if number in sent and sent[number] == tape.mark:
                    del sent[number]
                if not isinstance(point, BadLine) and point.t is None:
                    point = BadLine(number, "needs t: points of the past have a time")
                if not isinstance(point, BadLine):
                    checked.left += number > journal.done.line
                    checked.before += number <= journal.done.line
                elif len(checked.bad) < MAX_TOLD:
                    checked.bad.append(point)
                else:
                    checked.more_bad += 1
        except BadLine as bad:
            checked.bad.append(bad)
    checked.changed = bool(sent)
    return checked


class RequestFailed(Exception):
    """
    Points that were not accepted.

    :ivar first: the line of the first of them.
    :ivar last: the line of the last of them.
    :ivar error: why.
    """

    def __init__(self, first: int, last: int, error: Exception) -> None:
        super().__init__(first, last, error)
        self.first = first
        self.last = last
        self.error = error


def knows_ids(url: str) -> bool:
    """
    Whether a server knows a request that is repeated. A collector does, StatHat does
    not.
    """
    return url != API_URL


class Sender:
    """
    Sends a file's points, and notes in the journal how far it has come.

    :param path: the file.
    :param form: as for :func:`check_points`.
    :param journal: from where to go on.
    :param journal_path: where that is kept.
    """

    def __init__(
        self, path: Path, form: str | None, journal: Journal, journal_path: Path
    ) -> None:
        self._path = path
        self._form = form
        self._journal = journal
        self._journal_path = journal_path
        self._knows_ids = knows_ids(journal.url)
        self._marks: dict[int, Mark] = {}

    async def send(
        self, client: txStatHat, reactor: Any, told: Callable[[int], object]
    ) -> None:
        """
        Send all that is left, and note in the journal how far that went.

        :param client: sends it.
        :param reactor: waits between attempts.
        :param told: called with the number of points whenever some were accepted.
        :raises RequestFailed: if a request was not accepted; those before it were.
        :raises BadLine: if the file is not what it was when it was checked.
        :raises OSError: if the file or the journal cannot be used.
        """
        with open_text(str(self._path)) as stream:
            tape = Tape(read_lines(stream))
            points = self._noted(read_points(tape, self._form), tape)
            for part in self._requests(points):
                await self._send_one(part, client, reactor)
                told(len(part))
        self._journal.write(self._journal_path)

    def _noted(
        self, points: Iterable[tuple[int, Point]], tape: Tape
    ) -> Iterator[tuple[int, Point]]:
        done = self._journal.done.line
        for number, point in dropwhile(lambda each: each[0] <= done, points):
            self._marks[number] = tape.mark
            yield number, point

    def _requests(
        self, points: Iterator[tuple[int, Point]]
    ) -> Iterator[list[tuple[int, Point]]]:
        if self._journal.sending is not None:
            # As it was, even if the file has more lines by now.
            until = self._journal.sending.line
            again = []
            for number, point in points:
                again.append((number, point))
                if number >= until:
                    break
            yield again
        yield from split_points(points)

    async def _send_one(
        self, part: list[tuple[int, Point]], client: txStatHat, reactor: Any
    ) -> None:
        journal, until = self._journal, self._marks[part[-1][0]]
        again = journal.sending is not None
        if not again:
            journal.sending, journal.since = until, reactor.seconds()
            # What came before need not have been noted: it would be sent again, once.
            journal.write(self._journal_path)
        both = f"{journal.done.digest}-{until.digest}".encode("ascii")
        id = f"import-{hashlib.sha256(both).hexdigest()}"
        send = partial(client.send, [point for _, point in part], id)
        outcome, perhaps = await self._attempt(send, reactor)
        if outcome.accepted:
            journal.done, journal.sending = until, None
        elif _is_unclear(outcome):
            # No collector answers so: who does, does not know a request again.
            journal.since = 0.0
        # Who knows the id and refuses the points does not have them.
        elif not (again or perhaps) or (outcome.status == 400 and self._knows_ids):
            journal.sending = None
        if outcome.error is not None:
            journal.write(self._journal_path)
            raise RequestFailed(part[0][0], part[-1][0], outcome.error)
        self._marks = {n: mark for n, mark in self._marks.items() if n > until.line}

    async def _attempt(
        self, send: Callable[[], Deferred[Outcome]], reactor: Any
    ) -> tuple[Outcome, bool]:
        """
        Send a request, several times if need be.

        :returns: what became of it, and whether its points may be there all the same.
        """
        outcome = await send()
        perhaps = self._perhaps(outcome)
        for attempt in range(ATTEMPTS - 1):
            if outcome.verdict not in (Verdict.RETRY, Verdict.AMBIGUOUS):
                break
            if _is_unclear(outcome) or (perhaps and not self._knows_ids):
                break
            asked = outcome.retry_after
            wait = float(2**attempt) if asked is None else min(asked, _LONGEST_WAIT)
            await deferLater(reactor, wait)
            outcome = await send()
            perhaps = perhaps or self._perhaps(outcome)
        return outcome, perhaps

    def _perhaps(self, outcome: Outcome) -> bool:
        if outcome.verdict is Verdict.RETRY:
            # A collector whose store fails to answer does not know, either.
            failed = outcome.status is not None and outcome.status >= 500
            return failed and self._knows_ids
        return outcome.verdict is Verdict.AMBIGUOUS


def _is_unclear(outcome: Outcome) -> bool:
    """
    Whether there was an answer of which nobody knows what it means.
    """
    return outcome.verdict is Verdict.AMBIGUOUS and outcome.status is not None
