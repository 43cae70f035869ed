"""
Combines many small writes into few large ones.

An idle :class:`WriteBatcher` writes at once. Entries that arrive during a write form
the next one: the higher the load, the larger (and cheaper) the writes.

Callers that receive their results together tend to call again together. What they put
in their callbacks is one write. So that the first of those that call a little later is
not written alone, a batcher can linger: wait for as many entries as the last write had,
for a share of the time that a write takes. After a write of a single entry the next
entry does not wait.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from txstathat.backoff import Jitter, backoff_delay
from txstathat.errors import StoreBusy, StoreUnavailable

__all__ = [
    "ENTRY_TIMEOUT",
    "LONGEST_RETRY_DELAY",
    "MAX_ENTRIES",
    "MAX_WRITE",
    "WriteBatcher",
    "write_retry_delay",
]

#: How many entries may wait, by default; the batcher refuses one more.
MAX_ENTRIES = 1000
#: How many entries one write has at most, by default.
MAX_WRITE = 100
#: For how many seconds the batcher tries to write an entry, by default.
ENTRY_TIMEOUT = 60.0
#: The longest delay between two attempts, in seconds.
LONGEST_RETRY_DELAY = 2.0

_FIRST_RETRY_DELAY = 0.05

Entry = TypeVar("Entry")
Result = TypeVar("Result")


def write_retry_delay(attempts: int, jitter: Jitter = random.uniform) -> float:
    """
    Return the delay before a store is tried again: it doubles from 0.05 s to 2 s, each
    time between half of that and all of it (:func:`txstathat.backoff.backoff_delay`).

    :param attempts: how many attempts have failed, at least 1.
    :param jitter: draws a number between two.
    :returns: seconds.
    """
    return backoff_delay(
        attempts, jitter, first=_FIRST_RETRY_DELAY, longest=LONGEST_RETRY_DELAY
    )


@dataclass(slots=True)
class _Pending(Generic[Entry, Result]):
    entry: Entry
    deadline: float
    result: Deferred[Result]


class WriteBatcher(Generic[Entry, Result]):
    """
    Collects entries and passes them to a write function as lists, one list at a time.

    If a write fails with :class:`~txstathat.errors.StoreUnavailable`, the batcher
    repeats it with the same entries. So entries need ids by which the write function
    recognizes a repetition. Any other failure is final for all entries of the write.

    :param write: takes a list of entries; returns a list with a result for each, or a
        Deferred that fires with one.
    :param clock: the source of time.
    :param max_entries: how many entries may wait, including those of the current write.
    :param max_write: how many entries one write has at most.
    :param room: called for each write; returns a function that is called with one entry
        after the other, and returns whether there is room for it in this write. The
        first entry always has room. By default there is room for all.
    :param timeout: for how many seconds, from :meth:`put` on, to try an entry.
    :param delay: returns the seconds to wait before the next attempt, for a number of
        failed attempts.
    :param linger: how long to wait for as many entries as the last write had at its end
        (those in it, and those that had arrived meanwhile), as a share of the time that
        the write took. 0 does not wait.

    :ivar retries: how many writes were repeated.
    :ivar given_up: how many entries were not written in time.
    :ivar refused: how many entries were refused because too many waited.
    """

    def __init__(
        self,
        write: Callable[[list[Entry]], Deferred[list[Result]] | list[Result]],
        clock: IReactorTime,
        *,
        max_entries: int = MAX_ENTRIES,
        max_write: int = MAX_WRITE,
        room: Callable[[], Callable[[Entry], bool]] | None = None,
        timeout: float = ENTRY_TIMEOUT,
        delay: Callable[[int], float] = write_retry_delay,
        linger: float = 0.0,
    ) -> None:
        self._write = write
        self._clock = clock
        self._max_entries = max_entries
        self._max_write = max_write
        self._room = room
        self._timeout = timeout
        self._delay = delay
        self._linger = linger
        self._queue: deque[_Pending[Entry, Result]] = deque()
        self._in_flight: list[_Pending[Entry, Result]] = []
        self._failed_attempts = 0
        self._started_at = 0.0
        self._retry_call: IDelayedCall | None = None
        self._linger_call: IDelayedCall | None = None
        # How long the last write took, and how many entries there were at its end.
        self._last_duration = 0.0
        self._last_entries = 0
        self._put_count = 0
        self._done_count = 0
        # Each waits until so many entries are done.
        self._settle_waiters: deque[tuple[int, Deferred[None]]] = deque()
        self._running = False
        self.retries = 0
        self.given_up = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        """How many entries wait, including those of the current write."""
        return len(self._queue) + len(self._in_flight)

    def put(self, entry: Entry) -> Deferred[Result]:
        """
        Add an entry to the next write.

        :returns: a new Deferred, which fires with the result of this entry. It fails at
            once with :class:`~txstathat.errors.StoreBusy` if too many entries wait,
            with :class:`~txstathat.errors.StoreUnavailable` if the entry could not be
            written in time, and otherwise with the failure of the write function.
            Cancelling it does not affect the write.
        """
        if self.waiting >= self._max_entries:
            self.refused += 1
            return fail(StoreBusy(self._max_entries))
        result: Deferred[Result] = Deferred()
        deadline = self._clock.seconds() + self._timeout
        self._queue.append(_Pending(entry, deadline, result))
        self._put_count += 1
        self._run()
        return result

    def settled(self) -> Deferred[None]:
        """
        Wait for all entries put so far.

        :returns: a new Deferred, which fires with ``None`` when each of them is written
            or has failed. It does not fail. Cancelling it does not affect the writes.
        """
        if not self.waiting:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._settle_waiters.append((self._put_count, waiter))
        return waiter

    def abandon(self, reason: Exception) -> None:
        """
        Give up all entries that wait: their Deferreds fail with the reason. The current
        write may still succeed; its result is ignored.
        """
        if self._retry_call is not None:
            self._retry_call.cancel()
            self._retry_call = None
        self._stop_lingering()
        pending = [*self._in_flight, *self._queue]
        self._in_flight = []
        self._queue.clear()
        failure = Failure(reason)
        self._finish([(one, failure) for one in pending], given_up=len(pending))

    def _run(self, lingered: bool = False) -> None:
        # The flag prevents recursion: a write may end before it returns, and callbacks
        # may put more entries.
        if self._running:
            return
        self._running = True
        try:
            while self._queue and not self._in_flight:
                if not lingered and self._expects_more():
                    self._keep_lingering()
                    break
                self._stop_lingering()
                self._start_write()
        finally:
            self._running = False

    def _expects_more(self) -> bool:
        return len(self._queue) < self._last_entries and self._linger_seconds() > 0

    def _linger_seconds(self) -> float:
        return self._linger * self._last_duration

    def _keep_lingering(self) -> None:
        seconds = self._linger_seconds()
        if self._linger_call is None:
            self._linger_call = self._clock.callLater(seconds, self._end_lingering)
        else:
            self._linger_call.reset(seconds)

    def _stop_lingering(self) -> None:
        if self._linger_call is not None:
            self._linger_call.cancel()
            self._linger_call = None

    def _end_lingering(self) -> None:
        self._linger_call = None
        self._run(lingered=True)

    def _start_write(self) -> None:
        has_room = None if self._room is None else self._room()
        while self._queue and len(self._in_flight) < self._max_write:
            if has_room is not None:
                fits = has_room(self._queue[0].entry)
                if self._in_flight and not fits:
                    break
            self._in_flight.append(self._queue.popleft())
        self._failed_attempts = 0
        self._attempt()

    def _attempt(self) -> None:
        self._retry_call = None
        self._started_at = self._clock.seconds()
        pending = self._in_flight
        written = maybeDeferred(self._write, [one.entry for one in pending])
        written.addCallbacks(
            self._write_succeeded,
            self._write_failed,
            callbackArgs=(pending,),
            errbackArgs=(pending,),
        )
        # Also catches a list of results that is too short or too long.
        written.addErrback(self._fail_finally, pending)

    def _write_succeeded(
        self, results: Sequence[Result], pending: list[_Pending[Entry, Result]]
    ) -> None:
        if pending is not self._in_flight:
            return  # abandoned meanwhile
        pairs = list(zip(pending, results, strict=True))
        self._in_flight = []
        self._last_duration = self._clock.seconds() - self._started_at
        self._last_entries = min(len(pairs) + len(self._queue), self._max_write)
        self._finish(pairs)

    def _write_failed(
        self, failure: Failure, pending: list[_Pending[Entry, Result]]
    ) -> Failure | None:
        if pending is not self._in_flight:
            return None  # abandoned meanwhile
        if not isinstance(failure.value, StoreUnavailable):
            return failure
        self._failed_attempts += 1
        delay = self._delay(self._failed_attempts)
        expired = self._take_expired(before=self._clock.seconds() + delay)
        if self._in_flight:
            self.retries += 1
            self._retry_call = self._clock.callLater(delay, self._attempt)
        self._finish([(one, failure) for one in expired], given_up=len(expired))
        return None

    def _take_expired(self, before: float) -> list[_Pending[Entry, Result]]:
        in_flight = self._in_flight
        expired = [one for one in in_flight if one.deadline < before]
        self._in_flight = [one for one in in_flight if one.deadline >= before]
        # The oldest are at the front of the queue.
        while self._queue and self._queue[0].deadline < before:
            expired.append(self._queue.popleft())
        return expired

    def _fail_finally(
        self, failure: Failure, pending: list[_Pending[Entry, Result]]
    ) -> None:
        if pending is not self._in_flight:
            return
        self._in_flight = []
        self._finish([(one, failure) for one in pending], given_up=len(pending))

    def _finish(
        self,
        results: Sequence[tuple[_Pending[Entry, Result], Result | Failure]],
        given_up: int = 0,
    ) -> None:
        self.given_up += given_up
        self._done_count += len(results)
        # What callbacks put waits until all of them have run, for one write.
        was_running, self._running = self._running, True
        try:
            for one, result in results:
                one.result.callback(result)
            # Entries finish in the order in which they were put.
            while (
                self._settle_waiters and self._settle_waiters[0][0] <= self._done_count
            ):
                self._settle_waiters.popleft()[1].callback(None)
        finally:
            self._running = was_running
        self._run()
