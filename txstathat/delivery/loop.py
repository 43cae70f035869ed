"""
The delivery loop: it seals, sends and writes what is due. One timer wakes it.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from txstathat.backoff import Jitter
from txstathat.client.null import NullStatHat
from txstathat.delivery.backlog import READ_AHEAD, Backlog
from txstathat.delivery.batch import DeliveryClient, Tally, seal_batches
from txstathat.delivery.flush import FlushResult
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.open_batch import OpenBatch
from txstathat.delivery.process.clock import ServiceClock
from txstathat.delivery.process.worker import make_worker
from txstathat.delivery.sending.sender import MAX_IN_FLIGHT, OnRejected, Sender
from txstathat.delivery.settings import Settings
from txstathat.delivery.spool.folder import SpoolFolder

__all__ = ["DeliveryLoop"]

#: A batch is open for at least this part of the interval: programs that were started
#: together do not send together for long.
_SHORTEST_WINDOW = 0.8
#: Seconds that the disk has to finish when the service stops, however long the rest
#: took.
_DISK_GRACE = 0.3
#: The part of ``shutdown_timeout`` that is reserved for closing, at most 0.2 seconds.
_CLOSING_PART = 0.1


class DeliveryLoop:
    """
    Delivers what is recorded in the open batch.

    :param client: sends the batches, and is closed in the end.
    :param on_rejected: called with points that the server rejected, and the error.
    :param jitter: draws a number between two.
    :ivar open_batch: where to record points.
    :ivar ledger: counts calls.
    :ivar backlog: the sealed batches.
    :ivar sender: sends them.
    :ivar running: whether the loop has started and not ended.
    """

    _log = Logger()

    def __init__(
        self,
        client: DeliveryClient,
        settings: Settings,
        clock: ServiceClock,
        *,
        on_rejected: OnRejected | None,
        jitter: Jitter,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self.open_batch = OpenBatch(client.check_stat)
        self.ledger = Ledger(clock.seconds, clock.monotonic, self._held)
        self.backlog = Backlog(
            self.ledger,
            _make_folder(client, settings),
            max_pending=settings.max_pending,
            max_age=settings.max_age,
            # With 'drop', what is read counts as sent: read as little as possible.
            read_ahead=READ_AHEAD if settings.resend else MAX_IN_FLIGHT,
            steady=clock.steady,
            monotonic=clock.monotonic,
            wake=self._wake,
        )
        self.sender = Sender(
            client,
            self.backlog,
            self.ledger,
            resend=settings.resend,
            on_rejected=on_rejected,
            jitter=jitter,
            monotonic=clock.monotonic,
            wake=self._wake,
        )
        self.running = False
        self._size_limit = settings.max_batch
        self._largest_limit = max(settings.max_batch, settings.max_pending // 4)
        self._last_sealed = 0
        self._flushed: Counter[str] = Counter()
        self._seal_due = math.inf
        self._stop_due = math.inf
        self._timer: IDelayedCall | None = None
        self._waking = False

    def _held(self) -> tuple[int, int, int]:
        return self.open_batch.calls, self.backlog.calls, self.backlog.spooled

    def start(self) -> None:
        """
        Begin to deliver.
        """
        self.running = True
        interval = self._settings.interval
        self.backlog.start(make_worker(self._clock.reactor, interval, self._wake))
        if len(self.open_batch):
            self._open_window()
        self._wake()

    def abandon(self) -> None:
        """
        Do nothing any more: another process delivers what was recorded here.
        """
        self.running = False
        self.open_batch.clear()

    def note_recorded(self, is_first: bool) -> None:
        """
        Act on a point that was recorded.

        :param is_first: whether it was the first point of the open batch.
        """
        if len(self.open_batch) >= self._size_limit:
            self._seal()
            # Counts of many stats would never be summed if the limit stayed as it is.
            self._size_limit = min(2 * self._size_limit, self._largest_limit)
            self._schedule()
        elif is_first and self.running:
            self._open_window()
            self._schedule()

    def flush(self) -> Deferred[FlushResult]:
        """
        See :meth:`~txstathat.delivery.service.StatHatService.flush`.
        """
        self._seal()
        since = self.ledger.results - self._flushed
        if self.running:
            flushed = self.backlog.wait(self._last_sealed, since)
        else:
            # Nothing is sent before the start: there is nothing to wait for.
            flushed = succeed(FlushResult(**since, queued=self.backlog.calls))
        flushed.addCallback(self._note_flush)
        self._wake()
        return flushed

    def _note_flush(self, result: FlushResult) -> FlushResult:
        self._flushed = self.ledger.results
        return result

    async def end(self) -> None:
        """
        Seal what was recorded, try to deliver it, and close everything; see
        :meth:`~txstathat.delivery.service.StatHatService.stopService`.
        """
        self._seal()
        self._stop_due = self._clock.monotonic()
        if self.running:
            limit = self._settings.shutdown_timeout
            self._stop_due += limit - min(0.2, _CLOSING_PART * limit)
            self.sender.retry_now()
            settled = self.backlog.wait(math.inf, {})
            self._wake()
            await settled
        time_left = max(_DISK_GRACE, self._stop_due - self._clock.monotonic())
        self._stop_due = math.inf
        self.sender.stop()
        saved = self.backlog.stop()
        # A disk that hangs must not keep the program from ending. Without a disk there
        # is nothing to wait for, and a timer would install a reactor.
        if not saved.called:
            timer = self._clock.call_later(time_left, saved.cancel)
            with suppress(CancelledError):
                await saved
            if timer.active():
                timer.cancel()
        self.running = False
        self._schedule()
        await self._client.close()
        self.ledger.conclude()

    def _open_window(self) -> None:
        part = self._jitter(_SHORTEST_WINDOW, 1.0)
        self._seal_due = self._clock.monotonic() + self._settings.interval * part

    def _seal(self) -> None:
        """
        Freeze the open batch, and begin a new one.
        """
        self._seal_due = math.inf
        self.seal(self.open_batch.take())

    def seal(self, tallies: Sequence[Tally]) -> None:
        """
        Freeze points as batches.

        :param tallies: valid points, each with a time, and the calls in each.
        """
        now = self._clock.steady()
        for first in range(0, len(tallies), self._settings.max_batch):
            part = tallies[first : first + self._settings.max_batch]
            self._last_sealed += 1
            calls = sum(each for _, each in part)
            self.ledger.sealed += calls
            try:
                batches = seal_batches(self._client, part, self._last_sealed, now)
            except Exception as error:
                # Every point was checked when it was recorded: this is a bug.
                self._log.failure("points could not be sealed: {error}", error=error)
                self.ledger.drop(calls, "unsealed")
            else:
                self.backlog.add(batches)

    def _wake(self) -> None:
        """
        Do what is due. The timer, the thread, and everything that ends call it.
        """
        # What it calls may end at once, and call it again.
        if self._waking or not self.running:
            return
        self._waking = True
        try:
            now = self._clock.monotonic()
            if now >= self._seal_due:
                self._seal()
                self._size_limit = self._settings.max_batch
            self.backlog.work()
            self.sender.send()
            if now >= self._stop_due or self.sender.blocked:
                self.backlog.release()
            self.backlog.release_idle()
        except Exception:
            # Nothing may end the loop.
            self._log.failure("the delivery loop failed, and goes on")
        finally:
            self._waking = False
            self._schedule()

    def _schedule(self) -> None:
        """
        Set the timer for what is due next.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if not self.running or self._waking:
            return
        due = min(
            self._seal_due, self._stop_due, self.sender.due, self.backlog.disk_due
        )
        if due < math.inf:
            delay = max(0.0, due - self._clock.monotonic())
            self._timer = self._clock.call_later(delay, self._wake)


def _make_folder(client: DeliveryClient, settings: Settings) -> SpoolFolder | None:
    # A client that sends nothing must not adopt the batches of others.
    if settings.spool is None or isinstance(client, NullStatHat):
        return None
    return SpoolFolder(
        os.fspath(settings.spool),
        fingerprint=client.fingerprint,
        max_bytes=int(settings.max_spool),
        max_age=settings.max_age,
        at_most_once=not settings.resend,
    )
