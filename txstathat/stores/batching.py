"""
Many small writes made into few large ones.

An idle :class:`WriteBatcher` writes at once. What arrives while a write is under way is the
next write: the busier it is, the larger (and cheaper) the writes become.

Those who are answered together tend to come again together. So that the first of them
is not written alone, a WriteBatcher may linger: wait for as many as there were, a little for
each by the measure of what a write takes. One who comes alone waits for nobody.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from txstathat.errors import StoreBusy, StoreUnavailable

__all__ = [
    "MAX_ENTRIES",
    "MAX_WRITE",
    "PATIENCE",
    "WriteBatcher",
    "retry_delay",
]

#: How many entries may wait, by default; one more is refused.
MAX_ENTRIES = 1000
#: How many entries make up one write at most, by default.
MAX_WRITE = 100
#: For how many seconds an entry is tried, by default, before it is given up.
PATIENCE = 60.0

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0

Entry = TypeVar("Entry")
Answer = TypeVar("Answer")


def retry_delay(attempt: int, spread: Callable[[], float] = random.random) -> float:
    """
    How long to wait before a write is tried again: doubling from 0.05 s to 2 s, each
    time between half of that and all of it.

    :param attempt: how many attempts have failed, from 1 on.
    :param spread: a number from 0 to 1 each time, so that many do not come at once.
    :returns: seconds.
    """
    longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(attempt - 1, 16))
    return longest * (0.5 + spread() / 2)


@dataclass(slots=True)
class _Waiting(Generic[Entry, Answer]):
    entry: Entry
    deadline: float
    result: Deferred[Answer]


class WriteBatcher(Generic[Entry, Answer]):
    """
    Gathers entries, and hands them to a writer as a list, one list at a time.

    A write that fails with :class:`~txstathat.errors.StoreUnavailable` is repeated with
    the same entries, so entries carry ids by which the writer can tell a repetition.
    Any other failure is final for all entries of the write.

    :param write: takes a list of entries, returns a Deferred (or a value) of as many
        answers.
    :param clock: tells and schedules time.
    :param max_entries: how many entries may wait, those being written included.
    :param max_write: how many entries make up one write at most.
    :param patience: for how many seconds, from when it was put, an entry is tried.
    :param delay: seconds to wait after so many failed attempts.
    :param linger: while fewer entries wait than there were by the end of the last
        write, those in it included, for how long another one is waited for: as a share
        of the time that the write took.

    :ivar retries: how many writes were repeated.
    :ivar given_up: how many entries were not written within the patience.
    :ivar refused: how many entries were refused because too many waited.
    """

    def __init__(
        self,
        write: Callable[[list[Entry]], Deferred[list[Answer]] | list[Answer]],
        clock: IReactorTime,
        *,
        max_entries: int = MAX_ENTRIES,
        max_write: int = MAX_WRITE,
        patience: float = PATIENCE,
        delay: Callable[[int], float] = retry_delay,
        linger: float = 0.0,
    ) -> None:
        self._write = write
        self._clock = clock
        self._max_entries = max_entries
        self._max_write = max_write
        self._patience = patience
        self._delay = delay
        self._linger = linger
        self._queue: deque[_Waiting[Entry, Answer]] = deque()
        self._in_flight: list[_Waiting[Entry, Answer]] = []
        self._attempts = 0
        self._begun = 0.0
        self._pause: Any = None
        self._lingering: Any = None
        self._expected = 0
        self._took = 0.0
        self._idlers: list[tuple[int, Deferred[None]]] = []
        self._put = 0
        self._done = 0
        self._running = False
        self.retries = 0
        self.given_up = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many entries are not yet written, those being written included."""
        return len(self._queue) + len(self._in_flight)

    def put(self, entry: Entry) -> Deferred[Answer]:
        """
        Have an entry written.

        :returns: a new Deferred, which fires with the writer's answer for this entry.
            It fails with :class:`~txstathat.errors.StoreBusy` at once when too many
            wait, with :class:`~txstathat.errors.StoreUnavailable` when the entry could
            not be written in time, and with whatever else the writer failed with.
            Cancelling it leaves the write alone.
        """
        if self.waiting >= self._max_entries:
            self.refused += 1
            return fail(StoreBusy(self._max_entries))
        result: Deferred[Answer] = Deferred()
        deadline = self._clock.seconds() + self._patience
        self._queue.append(_Waiting(entry, deadline, result))
        self._put += 1
        self._run()
        return result

    def settled(self) -> Deferred[None]:
        """
        Wait for what has been put so far.

        :returns: a new Deferred, which fires with ``None`` when each entry that was put
            before is written, refused or given up. It does not fail.
        """
        if not self.waiting:
            return succeed(None)
        idler: Deferred[None] = Deferred()
        self._idlers.append((self._put, idler))
        return idler

    def abandon(self, reason: Exception) -> None:
        """
        Give up all that waits: each entry's Deferred fails with the reason. A write
        under way may still succeed, unseen.
        """
        for delayed in (self._pause, self._lingering):
            if delayed is not None:
                delayed.cancel()
        self._pause = self._lingering = None
        lost = [*self._in_flight, *self._queue]
        self._in_flight = []
        self._queue.clear()
        failure = Failure(reason)
        self._finish([(one, failure) for one in lost], given_up=len(lost))

    def _run(self, lingered: bool = False) -> None:
        # A loop, since a write may be done as soon as it is begun; and one at a time,
        # since what its callbacks put comes back to here.
        if self._running:
            return
        self._running = True
        try:
            while self._queue and not self._in_flight:
                if not lingered and self._waits_for_more():
                    break
                for _ in range(min(self._max_write, len(self._queue))):
                    self._in_flight.append(self._queue.popleft())
                self._attempts = 0
                self._attempt()
        finally:
            self._running = False

    def _waits_for_more(self) -> bool:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        wait = self._linger * self._took
        if len(self._queue) >= self._expected or not wait:
            return False
        self._lingering = self._clock.callLater(wait, self._lingered)
        return True

    def _lingered(self) -> None:
        self._lingering = None
        self._run(lingered=True)

    def _attempt(self) -> None:
        self._pause = None
        self._begun = self._clock.seconds()
        flying = self._in_flight
        written = maybeDeferred(self._write, [one.entry for one in flying])
        written.addCallbacks(
            self._answered,
            self._failed,
            callbackArgs=(flying,),
            errbackArgs=(flying,),
        )
        written.addErrback(self._broken, flying)

    def _answered(
        self, answers: Sequence[Answer], flying: list[_Waiting[Entry, Answer]]
    ) -> None:
        if flying is not self._in_flight:
            return  # abandoned meanwhile
        pairs = list(zip(flying, answers, strict=True))
        self._in_flight = []
        self._took = self._clock.seconds() - self._begun
        self._expected = min(len(pairs) + len(self._queue), self._max_write)
        self._finish(pairs)
        self._run()

    def _failed(
        self, failure: Failure, flying: list[_Waiting[Entry, Answer]]
    ) -> Failure | None:
        if flying is not self._in_flight:
            return None
        if not isinstance(failure.value, StoreUnavailable):
            return failure
        self._attempts += 1
        pause = self._delay(self._attempts)
        again = self._clock.seconds() + pause
        late = [one for one in (*flying, *self._queue) if one.deadline < again]
        if late:
            self._in_flight = [one for one in flying if one.deadline >= again]
            # Oldest first, so the late ones are at the front.
            while self._queue and self._queue[0].deadline < again:
                self._queue.popleft()
        if self._in_flight:
            self.retries += 1
            self._pause = self._clock.callLater(pause, self._attempt)
        if late:
            self._finish([(one, failure) for one in late], given_up=len(late))
        self._run()
        return None

    def _broken(self, failure: Failure, flying: list[_Waiting[Entry, Answer]]) -> None:
        if flying is self._in_flight:
            self._in_flight = []
            self._finish([(one, failure) for one in flying], given_up=len(flying))
            self._run()

    def _finish(
        self,
        results: Sequence[tuple[_Waiting[Entry, Answer], Answer | Failure]],
        given_up: int = 0,
    ) -> None:
        self.given_up += given_up
        self._done += len(results)
        for one, result in results:
            one.result.callback(result)
        # Entries are finished in the order in which they were put.
        while self._idlers and self._idlers[0][0] <= self._done:
            self._idlers.pop(0)[1].callback(None)
