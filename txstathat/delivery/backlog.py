"""
The backlog: sealed batches from the moment they are sealed until they are settled.

Without a spool they are in memory. With one they are written to disk first and read
again, the oldest first, a few at a time, when their turn has come; in memory stays only
what the disk does not take. At most one job for the disk is under way, so that it is
always known what is where.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from txstathat.delivery.batch import Batch
from txstathat.delivery.disk import Done, Job, adopt, attempt, close, load, write
from txstathat.delivery.flush import FlushResult, Waiters
from txstathat.delivery.folder import Folder
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.worker import InlineWorker, ThreadWorker

__all__ = [
    "ADOPT_INTERVAL",
    "Backlog",
    "DISK_RETRY",
    "MAX_WAITING",
    "READ_AHEAD",
]

#: How many batches are read from the spool at a time.
READ_AHEAD = 64
#: Seconds between two looks for files of processes that have ended.
ADOPT_INTERVAL = 60.0
#: Seconds after which a disk that failed is tried again.
DISK_RETRY = 2.0
#: The most batches that wait in memory to be sent again; the oldest are given up.
MAX_WAITING = 10_000

_NEVER = float("inf")
#: When a batch is due again, what decides among equals, and the batch.
_Retry = tuple[float, int, Batch]


class Backlog:
    """
    Keeps sealed batches.

    :param ledger: is told what is given up.
    :param folder: where to keep them; ``None`` for memory.
    :param max_pending: the most points in batches that are only in memory; the oldest
        batches are given up.
    :param max_age: seconds after which a batch is given up.
    :param read_ahead: how many batches are read from the folder at a time.
    :param seconds: tells the time in Unix seconds.
    :param monotonic: tells the time in seconds that never step.
    :param wake: called when there may be something to send.
    :ivar calls: how many recorded calls are in the batches.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Folder | None,
        *,
        max_pending: int,
        max_age: float,
        read_ahead: int,
        seconds: Callable[[], float],
        monotonic: Callable[[], float],
        wake: Callable[[], object],
    ) -> None:
        self.calls = 0
        self._ledger = ledger
        self._folder = folder
        self._max_pending = max_pending
        self._max_age = max_age
        self._read_ahead = read_ahead
        self._seconds = seconds
        self._monotonic = monotonic
        self._wake = wake
        self._worker: ThreadWorker | InlineWorker | None = None
        self._batches = 0
        self._memory_points = 0
        # On the way to disk; to be sent next; to be sent again.
        self._unsaved: deque[Batch] = deque()
        self._ready: deque[Batch] = deque()
        self._retries: list[_Retry] = []
        self._order = count()
        # Settled, but still on disk.
        self._finished: list[Batch] = []
        self._job: Deferred[None] | None = None
        self._disk_failed = False
        self._disk_due = self._adopt_due = -_NEVER
        self._waiters = Waiters()

    @property
    def spooled(self) -> int:
        """
        About how many bytes are in the spool.
        """
        return 0 if self._folder is None else self._folder.bytes

    def start(self, worker: ThreadWorker | InlineWorker) -> None:
        """
        Begin to use the disk.
        """
        self._worker = worker
        self.work()

    def add(self, batches: Sequence[Batch]) -> None:
        """
        Take batches that were just sealed.
        """
        self._batches += len(batches)
        self.calls += sum(batch.total for batch in batches)
        self._hold(batches)

    def _hold(self, batches: Sequence[Batch]) -> None:
        self._memory_points += sum(batch.payload.points for batch in batches)
        (self._ready if self._folder is None else self._unsaved).extend(batches)
        while self._memory_points > self._max_pending:
            oldest = self._take_oldest()
            if oldest is None:
                break
            self.give_up(oldest, "full")
        self.work()

    def _take_oldest(self) -> Batch | None:
        """
        Take the oldest batch that is only in memory, unless it is being sent or saved.
        """
        retries = [item for item in self._retries if item[2].place is None]
        first = min(retries, key=lambda item: item[2].number, default=None)
        heads = [line for line in (self._ready, self._unsaved) if line]
        heads = [line for line in heads if line[0].place is None]
        line = min(heads, key=lambda line: line[0].number, default=None)
        if first and (line is None or first[2].number <= line[0].number):
            self._retries.remove(first)
            heapq.heapify(self._retries)
            return first[2]
        return None if line is None else line.popleft()

    def next(self) -> Batch | None:
        """
        Take the batch to send next: one whose time to be sent again has come, else the
        oldest. Give it back by :meth:`settle`, :meth:`give_up`, :meth:`retry` or
        :meth:`split`.
        """
        while True:
            if self._retries and self._retries[0][0] <= self._monotonic():
                batch = heapq.heappop(self._retries)[2]
            elif self._ready:
                batch = self._ready.popleft()
            elif self._disk_failed and self._unsaved:
                batch = self._unsaved.popleft()
            else:
                self.work()
                return None
            batch.waiting = False
            if batch.created >= self._seconds() - self._max_age:
                return batch
            self.give_up(batch, "old")

    @property
    def due(self) -> float:
        """
        When :meth:`next` will have something, on the monotonic clock.
        """
        if self._ready or (self._disk_failed and self._unsaved):
            return -_NEVER
        return self._retries[0][0] if self._retries else _NEVER

    @property
    def disk_due(self) -> float:
        """
        When to call :meth:`work` at the latest, on the monotonic clock.
        """
        if self._folder is None or self._worker is None or self._job is not None:
            return _NEVER
        if self._unsaved or self._finished or self._hungry or self._disk_failed:
            return self._disk_due
        return max(self._disk_due, self._adopt_due)

    @property
    def _hungry(self) -> bool:
        """
        Whether more should be read from the disk.
        """
        if self._folder is None or len(self._ready) >= self._read_ahead // 2:
            return False
        return self._folder.unread > 0

    def settle(self, batch: Batch, fate: str) -> None:
        """
        A batch is done with.

        :param fate: ``'delivered'``, ``'rejected'`` or ``'dropped'``.
        """
        self._settle(batch, {fate: batch.total})

    def _settle(self, batch: Batch, fates: Mapping[str, int]) -> None:
        if batch.place is None:
            self._memory_points -= batch.payload.points
        else:
            self._finished.append(batch)
        self._gone(batch.number, batch.total, 1, fates)
        self.work()

    def give_up(self, batch: Batch, reason: str) -> None:
        """
        A batch is done with, but did not arrive.
        """
        self.settle(batch, "dropped")
        self._ledger.drop(batch.total, reason)

    def retry(self, batch: Batch, due: float, waiting: bool = False) -> None:
        """
        A batch is to be sent again.

        :param due: when, on the monotonic clock.
        :param waiting: whether that is at the slowest pace.
        """
        batch.waiting = waiting
        heapq.heappush(self._retries, (due, next(self._order), batch))
        if len(self._retries) > MAX_WAITING:
            oldest = min(self._retries, key=lambda item: item[2].created)
            self._retries.remove(oldest)
            heapq.heapify(self._retries)
            self.give_up(oldest[2], "full")

    def hurry(self) -> None:
        """
        Let no batch wait for its time to be sent again, but those that may have
        arrived and should not be sent again soon.
        """
        for _, _, batch in self._retries:
            batch.waiting = batch.resent > 0
        self._retries = [
            (due if batch.waiting else -_NEVER, order, batch)
            for due, order, batch in self._retries
        ]
        heapq.heapify(self._retries)

    def split(
        self, batch: Batch, parts: Sequence[Batch], fates: Mapping[str, int]
    ) -> None:
        """
        A batch is to be sent as others in its place.

        :param fates: what became of the calls that are in none of the others; see
            :meth:`settle`.
        """
        calls = sum(part.total for part in parts)
        self._batches += len(parts)
        self.calls += calls
        self._waiters.add(batch.number, len(parts), calls)
        # In one transaction, where there is a disk: no job can start in between.
        self._unsaved.extend(parts if self._folder is not None else ())
        self._memory_points += sum(part.payload.points for part in parts)
        if self._folder is None:
            self._ready.extendleft(reversed(parts))
        self._settle(batch, fates)

    def _gone(
        self, number: int, calls: int, batches: int, fates: Mapping[str, int]
    ) -> None:
        self._batches -= batches
        self.calls -= calls
        self._waiters.settle(number, batches, calls, fates)

    def wait(self, mark: float, fates: Mapping[str, int]) -> Deferred[FlushResult]:
        """
        Wait until every batch that is here now is settled.

        :param mark: the number of the last batch that was sealed.
        :param fates: what became of calls already; see :meth:`settle`.
        :returns: a new Deferred, which fires with a :class:`FlushResult` then, or
            before that when the backlog ends or :meth:`release` is called. It may be
            cancelled.
        """
        if not self._batches:
            return succeed(FlushResult(**fates))
        return self._waiters.wait(mark, self._batches, self.calls, fates)

    def release(self) -> None:
        """
        Let nobody wait any longer.
        """
        self._waiters.release()

    def release_idle(self) -> None:
        """
        Let nobody wait for batches that all wait at the slowest pace.
        """
        if self._waiters:
            self._waiters.release_idle(
                [batch.number for _, _, batch in self._retries if batch.waiting]
            )

    def work(self) -> None:
        """
        Start the next job for the disk, if there is one and none is under way.
        """
        if self._folder is None or self._worker is None or self._job is not None:
            return
        now = self._monotonic()
        if now < self._disk_due:
            return
        if now >= self._adopt_due:
            self._adopt_due = now + ADOPT_INTERVAL
            self._start(adopt)
        elif self._unsaved or self._finished or self._disk_failed:
            self._write()
        elif self._hungry:
            self._start(load(self._read_ahead))

    def _write(self) -> None:
        saving, self._unsaved = list(self._unsaved), deque()
        finished, self._finished = self._finished, []
        # What is waiting in memory since the disk failed may go there, too.
        # But what may have arrived would be sent again as soon as it is read.
        stuck: list[_Retry] = []
        retries: list[_Retry] = []
        for item in self._retries:
            here = item[2].place is None and not item[2].resent
            (stuck if here else retries).append(item)
        self._retries = retries
        heapq.heapify(self._retries)
        batches = [*(item[2] for item in stuck), *saving]
        job = write(finished, batches, self._seconds())
        self._start(job, finished, saving, stuck)

    def _start(
        self,
        job: Job,
        finished: Sequence[Batch] = (),
        saving: Sequence[Batch] = (),
        stuck: Sequence[_Retry] = (),
    ) -> None:
        folder, worker = self._folder, self._worker
        assert folder is not None
        assert worker is not None
        self._job = Deferred()
        worker.run(lambda: attempt(folder, job)).addCallback(
            self._end_job, finished, saving, stuck
        )

    def _end_job(
        self,
        done: Done,
        finished: Sequence[Batch],
        saving: Sequence[Batch],
        stuck: Sequence[_Retry],
    ) -> None:
        assert self._job is not None
        ended, self._job = self._job, None
        if done.found.batches or done.found.damaged:
            self._batches += done.found.batches
            self.calls += done.found.calls
            # They are sent before what is waited for.
            self._waiters.add(0, done.found.batches, done.found.calls)
            self._ledger.recover(done.found.calls, done.found.damaged)
        self._ready.extend(done.loaded)
        if done.saved:
            batches = [*(item[2] for item in stuck), *saving]
            self._memory_points -= sum(batch.payload.points for batch in batches)
        else:
            self._unsaved.extendleft(reversed(saving))
            for item in stuck:
                heapq.heappush(self._retries, item)
        if not done.removed:
            self._finished[:0] = finished
        for lost in done.lost:
            fates = {"dropped": lost.calls}
            self._gone(lost.number, lost.calls, lost.batches, fates)
            self._ledger.drop(lost.calls, lost.reason)
        self._ledger.spool(done.error)
        self._disk_failed = done.error is not None
        if self._disk_failed:
            self._disk_due = self._monotonic() + DISK_RETRY
        else:
            self._disk_due = -_NEVER
        ended.callback(None)
        self.work()
        self._wake()

    @inlineCallbacks
    def stop(self) -> Any:
        """
        Save what can be saved, give up the rest, and end the thread. Nothing may be on
        its way to the server any more.

        :returns: a new Deferred, which fires with ``None``; it does not fail.
        """
        self.release()
        worker, self._worker = self._worker, None
        if self._job is not None:
            yield self._job
        folder = self._folder
        if worker is not None and folder is not None:
            self._worker = worker
            self._write()
            self._worker = None
            if self._job is not None:
                yield self._job
        here = [*self._ready, *self._unsaved, *(item[2] for item in self._retries)]
        self._ready.clear()
        self._unsaved.clear()
        self._retries.clear()
        for batch in here:
            if batch.place is None:
                self.give_up(batch, "shutdown")
        if worker is not None:
            if folder is not None:
                unsent = [batch for batch in here if batch.place is not None]
                yield worker.run(lambda: attempt(folder, close(unsent)))
            yield worker.stop()
