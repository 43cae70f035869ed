"""
Send past points to a server, each once, in spite of interruptions.

All points are checked before any is sent. The id of each request is made from its
points, so that a repeated request counts once. The
:class:`~txstathat.cli.send.import_progress.ImportProgress` says where to continue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txstathat.cli.diagnosis import is_stathat_com
from txstathat.cli.reactor import ICommandReactor
from txstathat.cli.send.import_progress import ImportProgress, Position
from txstathat.cli.send.import_sources import Source
from txstathat.cli.send.point_formats import BadLine, split_points
from txstathat.client.outcome import Outcome, Verdict
from txstathat.client.stathat import txStatHat
from txstathat.points.model import Point

__all__ = [
    "ATTEMPTS",
    "DEDUPLICATION_SECONDS",
    "MAX_SHOWN",
    "CheckResult",
    "RequestFailed",
    "ImportSender",
    "check_points",
    "deduplicates",
]

#: How many times a request is tried when a later try may succeed.
ATTEMPTS = 4
#: For how many seconds a server is trusted to recognize a repeated request. A collector
#: does so for 8 days; one day is a margin.
DEDUPLICATION_SECONDS = 7 * 86_400
#: The most problems that are shown.
MAX_SHOWN = 20
#: The most seconds between two attempts.
_LONGEST_WAIT = 60.0


@dataclass(slots=True)
class CheckResult:
    """
    The result of checking all points.

    :ivar remaining: the number of points that are still to be sent.
    :ivar accepted_before: the number that earlier runs sent.
    :ivar problems: the first bad lines, at most :data:`MAX_SHOWN`.
    :ivar more_problems: the number of further bad lines.
    :ivar changed: whether points that were sent have changed since, or are missing.
    """

    remaining: int = 0
    accepted_before: int = 0
    problems: list[BadLine] = field(default_factory=list)
    more_problems: int = 0
    changed: bool = False


def check_points(source: Source, progress: ImportProgress) -> CheckResult:
    """
    Check all points.

    :param source: the points.
    :param progress: the progress of their import.
    :raises OSError: if they cannot be read.
    """
    checked = CheckResult()
    sent = {
        position.line: position
        for position in (progress.done, progress.sending)
        if position
    }
    sent.pop(0, None)
    try:
        for number, point, position in source.read():
            if number in sent and sent[number] == position:
                del sent[number]
            if not isinstance(point, BadLine) and point.t is None:
                point = BadLine(number, "needs t, the time of the point")
            if not isinstance(point, BadLine):
                checked.remaining += number > progress.done.line
                checked.accepted_before += number <= progress.done.line
            elif len(checked.problems) < MAX_SHOWN:
                checked.problems.append(point)
            else:
                checked.more_problems += 1
    except BadLine as bad:
        checked.problems.append(bad)
    checked.changed = bool(sent)
    return checked


class RequestFailed(Exception):
    """
    A request was not accepted.

    :ivar first: the number of its first point.
    :ivar last: the number of its last point.
    :ivar error: the reason.
    """

    def __init__(self, first: int, last: int, error: Exception) -> None:
        super().__init__(first, last, error)
        self.first = first
        self.last = last
        self.error = error


def deduplicates(url: str) -> bool:
    """
    Whether a server may recognize a repeated request by its id. A collector does, and
    StatHat.com does not. Another server shows by its answer 204 that it does not.
    """
    return not is_stathat_com(url)


class ImportSender:
    """
    Sends points, and stores the progress.

    :param source: the points.
    :param progress: where to continue.
    :param progress_path: the progress file.
    """

    def __init__(
        self, source: Source, progress: ImportProgress, progress_path: Path
    ) -> None:
        self._source = source
        self._progress = progress
        self._progress_path = progress_path
        self._deduplicates = deduplicates(progress.url)
        self._positions: dict[int, Position] = {}

    async def send(
        self,
        client: txStatHat,
        reactor: ICommandReactor,
        on_accepted: Callable[[int], object],
    ) -> None:
        """
        Send the remaining points.

        :param client: sends them.
        :param reactor: for the delays between attempts.
        :param on_accepted: called after each request with its number of points.
        :raises RequestFailed: if a request was not accepted; those before it were.
        :raises BadLine: if the points have changed since they were checked.
        :raises OSError: if they cannot be read, or the progress cannot be written.
        """
        for part in self._requests(self._points()):
            await self._send_one(part, client, reactor)
            on_accepted(len(part))
        self._progress.write(self._progress_path)

    def _points(self) -> Iterator[tuple[int, Point]]:
        done = self._progress.done.line
        for number, point, position in self._source.read():
            if isinstance(point, BadLine):
                raise point
            if number > done:
                self._positions[number] = position
                yield number, point

    def _requests(
        self, points: Iterator[tuple[int, Point]]
    ) -> Iterator[list[tuple[int, Point]]]:
        if self._progress.sending is not None:
            # The same request as before, even if the file has more lines now.
            until = self._progress.sending.line
            again = []
            for number, point in points:
                again.append((number, point))
                if number >= until:
                    break
            yield again
        yield from split_points(points)

    async def _send_one(
        self, part: list[tuple[int, Point]], client: txStatHat, reactor: ICommandReactor
    ) -> None:
        progress, until = self._progress, self._positions[part[-1][0]]
        again = progress.sending is not None
        if not again:
            # Where the server does not deduplicate, a later run must ask the user.
            progress.since = reactor.seconds() if self._deduplicates else 0.0
            progress.sending = until
            # A lost write does no harm: the server recognizes the repeated request.
            progress.write(self._progress_path)
        both = f"{progress.done.digest}-{until.digest}".encode("ascii")
        id = f"import-{hashlib.sha256(both).hexdigest()}"
        send = partial(client.send, [point for _, point in part], id)
        outcome, may_have_arrived = await self._attempt(send, reactor)
        if outcome.accepted:
            progress.done, progress.sending = until, None
        elif _is_unknown_answer(outcome):
            # No collector answers like this, so the server does not deduplicate.
            progress.since = 0.0
        # A server that deduplicates and answers 400 does not have the points.
        elif not (again or may_have_arrived) or (
            outcome.status == 400 and self._deduplicates
        ):
            progress.sending = None
        if outcome.verdict is Verdict.TOO_LARGE and len(part) > 1 and not again:
            half = len(part) // 2
            await self._send_one(part[:half], client, reactor)
            await self._send_one(part[half:], client, reactor)
            return
        if outcome.error is not None:
            progress.write(self._progress_path)
            raise RequestFailed(part[0][0], part[-1][0], outcome.error)
        self._positions = {
            n: position for n, position in self._positions.items() if n > until.line
        }

    async def _attempt(
        self, send: Callable[[], Deferred[Outcome]], reactor: ICommandReactor
    ) -> tuple[Outcome, bool]:
        """
        Send a request, and repeat it when a later try may succeed.

        :returns: the outcome, and whether the points may have arrived although the
            request was not accepted.
        """
        outcome = await send()
        may_have_arrived = self._may_have_arrived(outcome)
        for attempt in range(ATTEMPTS - 1):
            if outcome.verdict not in (Verdict.RETRY, Verdict.AMBIGUOUS):
                break
            if _is_unknown_answer(outcome) or (
                may_have_arrived and not self._deduplicates
            ):
                break
            requested = outcome.retry_after
            wait = (
                float(2**attempt)
                if requested is None
                else min(requested, _LONGEST_WAIT)
            )
            await deferLater(reactor, wait)
            outcome = await send()
            may_have_arrived = may_have_arrived or self._may_have_arrived(outcome)
        if outcome.status == 204:
            self._deduplicates = False  # no collector answers 204
        return outcome, may_have_arrived

    def _may_have_arrived(self, outcome: Outcome) -> bool:
        if outcome.verdict is Verdict.RETRY:
            # A collector does not know either when its store did not answer.
            failed = outcome.status is not None and outcome.status >= 500
            return failed and self._deduplicates
        return outcome.verdict is Verdict.AMBIGUOUS


def _is_unknown_answer(outcome: Outcome) -> bool:
    """
    Whether the server gave an answer whose meaning is not known.
    """
    return outcome.verdict is Verdict.AMBIGUOUS and outcome.status is not None
