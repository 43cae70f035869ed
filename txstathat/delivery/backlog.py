"""
The backlog: sealed batches until they are delivered, rejected or dropped.

Without a spool the batches are in memory. With a spool they are written to disk first.
When they are to be sent, they are read again, a few at a time, the oldest first. Memory
then has only the batches that the disk does not accept, or not fast enough; these are
sent from memory. At most one disk job runs at a time, so that it is always known which
batch is where.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.flush import FlushResult, Waiters
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.process.worker import InlineWorker, ThreadWorker
from txstathat.delivery.retry_queue import RetryQueue
from txstathat.delivery.spool.folder import SpoolFolder
from txstathat.delivery.spool.jobs import (
    Job,
    JobResult,
    adopt,
    close,
    load,
    run_job,
    write,
)

__all__ = [
    "ADOPT_INTERVAL",
    "Backlog",
    "DISK_RETRY",
    "MAX_WAITING",
    "READ_AHEAD",
]

#: How many batches are read from the spool at a time.
READ_AHEAD = 64
#: Seconds between two searches for files of processes that have ended.
ADOPT_INTERVAL = 60.0
#: Seconds after which a disk that failed is tried again.
DISK_RETRY = 2.0
#: The most batches that wait in memory to be sent again; the oldest are dropped.
MAX_WAITING = 10_000


class Backlog:
    """
    Stores sealed batches.

    :param ledger: counts what is dropped.
    :param folder: where to store the batches; ``None`` for memory.
    :param max_pending: the most points in batches that are only in memory; the oldest
        batches are dropped.
    :param max_age: seconds after which a batch is dropped.
    :param read_ahead: how many batches are read from the folder at a time.
    :param steady: the clock by which batches age, in Unix seconds.
    :param monotonic: the clock that never steps, in seconds.
    :param wake: called when there may be something to send.
    :ivar calls: how many recorded calls are in the batches.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: SpoolFolder | None,
        *,
        max_pending: int,
        max_age: float,
        read_ahead: int,
        steady: Callable[[], float],
        monotonic: Callable[[], float],
        wake: Callable[[], object],
    ) -> None:
        self.calls = 0
        self._ledger = ledger
        self._folder = folder
        self._max_pending = max_pending
        self._max_age = max_age
        self._read_ahead = read_ahead
        self._steady = steady
        self._monotonic = monotonic
        self._wake = wake
        self._worker: ThreadWorker | InlineWorker | None = None
        self._batches = 0
        self._memory_points = 0
        # To be written to disk; to be sent next; to be sent again.
        self._unsaved: deque[SealedBatch] = deque()
        self._ready: deque[SealedBatch] = deque()
        self._retries = RetryQueue()
        # Settled, but still on disk.
        self._finished: list[SealedBatch] = []
        self._job: Deferred[None] | None = None
        # The numbers of spool files that were damaged and set aside.
        self._abandoned: set[int] = set()
        self._disk_failed = False
        self._disk_due = self._adopt_due = -math.inf
        self._waiters = Waiters()

    @property
    def spooled(self) -> int:
        """
        About how many bytes are in the spool.
        """
        return 0 if self._folder is None else self._folder.bytes

    @property
    def waiting(self) -> list[SealedBatch]:
        """
        The batches in memory that are not in flight, in no particular order.
        """
        return [*self._unsaved, *self._ready, *self._retries]

    def start(self, worker: ThreadWorker | InlineWorker) -> None:
        """
        Begin to use the disk.
        """
        self._worker = worker
        self.work()

    def add(self, batches: Sequence[SealedBatch]) -> None:
        """
        Add batches that were just sealed.
        """
        self._batches += len(batches)
        self.calls += sum(batch.total for batch in batches)
        self._memory_points += sum(batch.payload.points for batch in batches)
        (self._ready if self._folder is None else self._unsaved).extend(batches)
        while self._memory_points > self._max_pending:
            oldest = self._take_oldest()
            if oldest is None:
                break
            self.drop(oldest, "full")
        self.work()

    def _take_oldest(self) -> SealedBatch | None:
        """
        Take the oldest batch that is only in memory and is neither being sent nor
        being saved.
        """
        retries = [batch for batch in self._retries if batch.place is None]
        first = min(retries, key=lambda batch: batch.number, default=None)
        queues = [queue for queue in (self._ready, self._unsaved) if queue]
        queues = [queue for queue in queues if queue[0].place is None]
        queue = min(queues, key=lambda queue: queue[0].number, default=None)
        if first and (queue is None or first.number <= queue[0].number):
            self._retries.remove(first)
            return first
        return None if queue is None else queue.popleft()

    def next(self) -> SealedBatch | None:
        """
        Take the batch to send next: one that is due to be sent again, else the oldest.
        Return it by :meth:`settle`, :meth:`drop`, :meth:`retry` or :meth:`split`.
        """
        while True:
            if self._retries.due <= self._monotonic():
                batch = self._retries.pop()
            elif self._ready:
                batch = self._ready.popleft()
            elif self._sends_unsaved:
                batch = self._unsaved.popleft()
            else:
                self.work()
                return None
            batch.waiting = False
            if not batch.is_too_old(self._steady(), self._max_age):
                return batch
            self.drop(batch, "old")

    @property
    def due(self) -> float:
        """
        When :meth:`next` will return a batch, on the monotonic clock.
        """
        if self._ready or self._sends_unsaved:
            return -math.inf
        return self._retries.due

    @property
    def _sends_unsaved(self) -> bool:
        """
        Whether to send batches that are not on disk, because the disk fails, or is so
        slow that memory fills up.
        """
        if not self._unsaved:
            return False
        if self._disk_failed:
            return True
        is_slow = self._memory_points > self._max_pending // 2
        # A part of a batch that is on disk replaces it there before it is sent.
        return is_slow and self._unsaved[0].home is None

    @property
    def disk_due(self) -> float:
        """
        When to call :meth:`work` at the latest, on the monotonic clock.
        """
        if self._folder is None or self._worker is None or self._job is not None:
            return math.inf
        if self._unsaved or self._finished or self._must_read or self._disk_failed:
            return self._disk_due
        return max(self._disk_due, self._adopt_due)

    @property
    def _must_read(self) -> bool:
        """
        Whether to read more from the disk.
        """
        if self._folder is None or len(self._ready) >= self._read_ahead // 2:
            return False
        return self._folder.unread > 0

    def settle(self, batch: SealedBatch, result: str) -> None:
        """
        Remove a batch.

        :param result: ``'delivered'``, ``'rejected'`` or ``'dropped'``.
        """
        self._settle(batch, {result: batch.total})

    def _settle(self, batch: SealedBatch, results: Mapping[str, int]) -> None:
        if batch.place is None:
            self._memory_points -= batch.payload.points
        else:
            self._finished.append(batch)
        self._subtract(batch.number, batch.total, 1, results)
        self.work()

    def drop(self, batch: SealedBatch, reason: str) -> None:
        """
        Remove a batch that was not delivered.
        """
        self._ledger.count_dropped(batch.total, reason)
        self.settle(batch, "dropped")
        self._ledger.report_dropped(batch.total, reason)

    def retry(self, batch: SealedBatch, due: float, waiting: bool = False) -> None:
        """
        Send a batch again.

        :param due: when, on the monotonic clock.
        :param waiting: whether it waits at the slowest pace.
        """
        batch.waiting = waiting
        self._check_place(batch)
        self._retries.push(due, batch)
        if len(self._retries) > MAX_WAITING:
            oldest = min(self._retries, key=lambda batch: batch.created)
            self._retries.remove(oldest)
            self.drop(oldest, "full")

    def _note_abandoned(self, numbers: Sequence[int]) -> None:
        """
        Write the batches of files that were set aside to another file.
        """
        self._abandoned.update(numbers)
        for batch in self.waiting:
            self._check_place(batch)
        homeless = [batch for batch in self._ready if batch.place is None]
        self._unsaved.extendleft(reversed(homeless))
        self._ready = deque(batch for batch in self._ready if batch.place is not None)

    def _check_place(self, batch: SealedBatch) -> None:
        """
        Treat a batch as one in memory if its file was set aside.
        """
        if batch.place is not None and batch.place[0] in self._abandoned:
            batch.place = None
            self._memory_points += batch.payload.points

    def retry_now(self) -> None:
        """
        Make all batches due that wait to be sent again, except those that may have
        arrived and should not be sent again soon.
        """
        self._retries.make_due()

    def split(
        self,
        batch: SealedBatch,
        parts: Sequence[SealedBatch],
        results: Mapping[str, int],
    ) -> None:
        """
        Replace a batch by others.

        :param results: the calls that are in none of the others, by result; see
            :meth:`settle`.
        """
        calls = sum(part.total for part in parts)
        self._batches += len(parts)
        self.calls += calls
        self._waiters.add(batch.number, len(parts), calls)
        # In one transaction, if there is a disk: no job can start in between.
        self._unsaved.extend(parts if self._folder is not None else ())
        self._memory_points += sum(part.payload.points for part in parts)
        if self._folder is None:
            self._ready.extendleft(reversed(parts))
        self._settle(batch, results)

    def _subtract(
        self, number: int, calls: int, batches: int, results: Mapping[str, int]
    ) -> None:
        self._batches -= batches
        self.calls -= calls
        self._waiters.settle(number, batches, calls, results)

    def wait(self, last: float, results: Mapping[str, int]) -> Deferred[FlushResult]:
        """
        Wait until every batch in the backlog is settled.

        :param last: the number of the last batch that was sealed.
        :param results: calls that are settled already; see :meth:`settle`.
        :returns: a new Deferred, which fires with a :class:`FlushResult` then, or
            earlier when the backlog stops or :meth:`release` is called. It may be
            cancelled.
        """
        if not self._batches:
            return succeed(FlushResult(**results))
        return self._waiters.wait(last, self._batches, self.calls, results)

    def release(self) -> None:
        """
        End all waits.
        """
        self._waiters.release()

    def release_idle(self) -> None:
        """
        End the waits for batches that all wait at the slowest pace.
        """
        if self._waiters:
            self._waiters.release_idle(
                [batch.number for batch in self._retries if batch.waiting]
            )

    def work(self) -> None:
        """
        Start the next disk job, if there is one and none is running.
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
        elif self._must_read:
            self._start(load(self._read_ahead))

    def _write(self) -> None:
        saving, self._unsaved = list(self._unsaved), deque()
        finished, self._finished = self._finished, []
        # Batches that wait in memory since the disk failed may be written too. One
        # that may have arrived would be sent again as soon as it is read.
        stuck = self._retries.take(lambda each: each.place is None and not each.resent)
        batches = [*(batch for _, _, batch in stuck), *saving]

        def end(result: JobResult) -> None:
            if result.saved:
                self._memory_points -= sum(each.payload.points for each in batches)
            else:
                self._unsaved.extendleft(reversed(saving))
                self._retries.restore(stuck)
            if not result.removed:
                self._finished[:0] = finished

        self._start(write(finished, batches, self._steady()), end)

    def _start(self, job: Job, end: Callable[[JobResult], None] | None = None) -> None:
        folder, worker = self._folder, self._worker
        assert folder is not None
        assert worker is not None
        self._job = Deferred()
        worker.run(lambda: run_job(folder, job)).addCallback(self._end_job, end)

    def _end_job(
        self, result: JobResult, end: Callable[[JobResult], None] | None
    ) -> None:
        assert self._job is not None
        ended, self._job = self._job, None
        found = result.found
        if found is not None:
            self._batches += found.batches
            self.calls += found.calls
            # They are sent before the batches that a flush waits for.
            self._waiters.add(0, found.batches, found.calls)
            self._ledger.recover(found.calls, found.damaged, found.foreign_files)
        for batch in result.loaded:
            if not batch.number:
                # The clock of the earlier process may have been wrong by any time.
                batch.created = self._steady()
            self._ready.append(batch)
        if result.abandoned:
            self._note_abandoned(result.abandoned)
        if end is not None:
            end(result)
        for dropped in result.dropped:
            calls, results = dropped.calls, {"dropped": dropped.calls}
            self._ledger.count_dropped(calls, dropped.reason)
            self._subtract(dropped.number, calls, dropped.batches, results)
            self._ledger.report_dropped(calls, dropped.reason)
        self._ledger.note_spool(result.error)
        self._disk_failed = result.error is not None
        self._disk_due = (
            self._monotonic() + DISK_RETRY if self._disk_failed else -math.inf
        )
        ended.callback(None)
        self.work()
        self._wake()

    def stop(self) -> Deferred[None]:
        """
        Save what can be saved, drop the rest, and end the thread. Nothing may be in
        flight any more.

        :returns: a new Deferred, which fires with ``None`` and does not fail. If it is
            cancelled, it no longer waits for the disk.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.release()
        worker, self._worker = self._worker, None
        folder = self._folder
        try:
            await self._current_job()
            if worker is not None and folder is not None:
                self._worker = worker
                self._write()
                self._worker = None
                await self._current_job()
        finally:
            # Also if the disk hangs, and nobody waits for it any longer.
            unsent = self._drop_unsaved()
        if worker is not None:
            if folder is not None:
                await worker.run(lambda: run_job(folder, close(unsent)))
            await worker.stop()

    def _drop_unsaved(self) -> list[SealedBatch]:
        """
        Drop the batches that are only in memory.

        :returns: the others that were read and not sent.
        """
        waiting = self.waiting
        self._ready.clear()
        self._unsaved.clear()
        self._retries.clear()
        for batch in waiting:
            if batch.place is None:
                self.drop(batch, "shutdown")
        return [batch for batch in waiting if batch.place is not None]

    async def _current_job(self) -> Any:
        if self._job is not None:
            await self._job
