"""
Past points on their way to a server: each point once, whatever interrupts it.

All points are checked before any is sent. Then they go in requests whose ids are made
of the points, so that a repeated request counts once; a
:class:`~txstathat.cli.send.journal.Journal` says where to go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txstathat.cli.diagnosis import is_stathat_com
from txstathat.cli.send.journal import Journal, Position
from txstathat.cli.send.point_formats import BadLine, split_points
from txstathat.cli.send.sources import Source
from txstathat.client.outcome import Outcome, Verdict
from txstathat.client.stathat import txStatHat
from txstathat.points.model import Point

__all__ = [
    "ATTEMPTS",
    "CERTAIN",
    "MAX_SHOWN",
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
#: How many bad lines are shown.
MAX_SHOWN = 20
#: The most seconds between two attempts.
_LONGEST_WAIT = 60.0


@dataclass(slots=True)
class Checked:
    """
    What a check of all points found.

    :ivar left: how many points are still to be sent.
    :ivar before: how many were accepted before.
    :ivar bad: the first bad lines, :data:`MAX_SHOWN` at most.
    :ivar more_bad: how many more there are.
    :ivar changed: whether points that were sent have changed since, or are gone.
    """

    left: int = 0
    before: int = 0
    bad: list[BadLine] = field(default_factory=list)
    more_bad: int = 0
    changed: bool = False


def check_points(source: Source, journal: Journal) -> Checked:
    """
    Check all points.

    :param source: where they are.
    :param journal: how far their import has come.
    :raises OSError: if they cannot be read.
    """
    checked = Checked()
    sent = {mark.line: mark for mark in (journal.done, journal.sending) if mark}
    sent.pop(0, None)
    try:
        for number, point, mark in source.read():
            if number in sent and sent[number] == mark:
                del sent[number]
            if not isinstance(point, BadLine) and point.t is None:
                point = BadLine(number, "needs t: points of the past have a time")
            if not isinstance(point, BadLine):
                checked.left += number > journal.done.line
                checked.before += number <= journal.done.line
            elif len(checked.bad) < MAX_SHOWN:
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
    Whether a server may recognize a request that is repeated. A collector does,
    StatHat.com does not; others show themselves by an answer of 204.
    """
    return not is_stathat_com(url)


class Sender:
    """
    Sends points, and notes in the journal how far it has come.

    :param source: the points.
    :param journal: from where to go on.
    :param journal_path: where that is stored.
    """

    def __init__(self, source: Source, journal: Journal, journal_path: Path) -> None:
        self._source = source
        self._journal = journal
        self._journal_path = journal_path
        self._knows_ids = knows_ids(journal.url)
        self._marks: dict[int, Position] = {}

    async def send(
        self, client: txStatHat, reactor: Any, told: Callable[[int], object]
    ) -> None:
        """
        Send all that is left, and note in the journal how far that went.

        :param client: sends it.
        :param reactor: waits between attempts.
        :param told: called with the number of points whenever some were accepted.
        :raises RequestFailed: if a request was not accepted; those before it were.
        :raises BadLine: if the points are not what they were when they were checked.
        :raises OSError: if they cannot be read, or the journal cannot be written.
        """
        for part in self._requests(self._points()):
            await self._send_one(part, client, reactor)
            told(len(part))
        self._journal.write(self._journal_path)

    def _points(self) -> Iterator[tuple[int, Point]]:
        done = self._journal.done.line
        for number, point, mark in self._source.read():
            if isinstance(point, BadLine):
                raise point
            if number > done:
                self._marks[number] = mark
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
            # Of a server that does not know ids, doubt stays doubt.
            journal.since = reactor.seconds() if self._knows_ids else 0.0
            journal.sending = until
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
        if outcome.verdict is Verdict.TOO_LARGE and len(part) > 1 and not again:
            half = len(part) // 2
            await self._send_one(part[:half], client, reactor)
            await self._send_one(part[half:], client, reactor)
            return
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
        if outcome.status == 204:
            self._knows_ids = False  # no collector answers so
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
