"""
The service: what an application counts with, and what drives the delivery.
"""

from __future__ import annotations

import math
import os
import random as random_module
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    fail,
    inlineCallbacks,
    succeed,
)
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.delivery.backlog import READ_AHEAD, Backlog
from txstathat.delivery.batch import Client, seal_batches
from txstathat.delivery.flush import FlushResult
from txstathat.delivery.folder import Folder
from txstathat.delivery.ledger import DeliveryHealth, Ledger
from txstathat.delivery.sender import MAX_IN_FLIGHT, OnRejected, Sender
from txstathat.delivery.window import Window
from txstathat.delivery.worker import make_worker
from txstathat.errors import InvalidPoint, StatHatClosed
from txstathat.interfaces import IStatHatProvider
from txstathat.points.model import MAX_INTEGER, MAX_POST, Amount, Time

__all__ = ["StatHatService"]

#: A window is open for this part of the interval at least: programs that were started
#: together do not send together for long.
_SHORTEST_WINDOW = 0.8
#: Seconds that the disk has to finish when the service ends, whatever else took long.
_DISK_GRACE = 0.3
#: What part of ``shutdown_timeout`` is kept for closing, of 0.2 seconds at most.
_CLOSING_PART = 0.1


@implementer(IStatHatProvider)
class StatHatService(Service):
    """
    Records counts and values at once, and sends them in batches: through outages and,
    with a spool, through restarts and crashes.

    Attach it to the application's service tree, or call ``startService()``. It may be
    counted with before that. It has one life: after ``stopService`` it records nothing.

    From another thread: ``reactor.callFromThread(stats.count, 'name')``.

    :param client: a :class:`~txstathat.client.txStatHat` or
        :class:`~txstathat.client.txStatHatClassic`, which the service uses alone, and
        closes in the end.
    :param interval: seconds after which what was recorded is sealed in batches.
    :param max_batch: the most points in a batch; as soon as so many different ones were
        recorded, they are sealed. When that happens again within an interval, twice as
        many are waited for, and so on, up to a quarter of ``max_pending``: else counts
        of many stats would not be summed.
    :param max_pending: the most points in sealed batches that are only in memory; the
        oldest batches are dropped.
    :param spool: the folder where sealed batches are kept until they are accepted;
        several processes may share it, if they count for the same account. Without
        one, batches are kept in memory.
    :param max_spool: the most bytes that this process keeps there; the oldest batches
        are dropped.
    :param max_age: seconds after which a batch is dropped.
    :param shutdown_timeout: seconds for which ``stopService`` tries to deliver what is
        left.
    :param on_ambiguous: what to do when a batch may have been counted: ``'resend'`` it
        (each point is counted at least once, and exactly once if the server honours
        ``Idempotency-Key``) or ``'drop'`` it (at most once). After a lost answer
        ``'resend'`` goes on until there is one; after an answer that is no answer of
        StatHat's it is sent three more times at the slowest pace, then dropped.
    :param on_rejected: called with a list of points and an exception when the server
        has refused them for good.
    :param clock: the reactor; the global one by default, looked for when first needed.
        With a :class:`~twisted.internet.task.Clock`, the spool is used without a
        thread.
    :param random: draws the jitter; a :class:`random.Random` of its own by default.
    :raises ValueError: if a parameter is out of range. Nothing is opened here.
    """

    _log = Logger()

    def __init__(
        self,
        client: Client,
        *,
        interval: float = 3.0,
        max_batch: int = 1000,
        max_pending: int = 100_000,
        spool: str | os.PathLike[str] | None = None,
        max_spool: int = 64 * 1024 * 1024,
        max_age: float = 7 * 24 * 3600.0,
        shutdown_timeout: float = 5.0,
        on_ambiguous: Literal["resend", "drop"] = "resend",
        on_rejected: OnRejected | None = None,
        clock: Any = None,
        random: random_module.Random | None = None,
    ) -> None:
        _check_range("interval", interval, 0.01)
        _check_range("max_batch", max_batch, 1, MAX_POST)
        _check_range("max_pending", max_pending, max_batch)
        _check_range("max_spool", max_spool, 65_536)
        _check_range("max_age", max_age, 1)
        _check_range("shutdown_timeout", shutdown_timeout, 0)
        if on_ambiguous not in ("resend", "drop"):
            raise ValueError(
                f"on_ambiguous must be 'resend' or 'drop', not {on_ambiguous!r}"
            )
        self._client = client
        self._interval = interval
        self._max_batch = max_batch
        self._shutdown_timeout = shutdown_timeout
        self._given_clock = clock
        self._jitter = (random or random_module.Random()).uniform
        self._window = Window(client.check_stat)
        self._ledger = Ledger(self._seconds, self._held)
        resend = on_ambiguous == "resend"
        folder = None
        if spool is not None:
            folder = Folder(
                os.fspath(spool),
                max_bytes=int(max_spool),
                max_age=max_age,
                at_most_once=not resend,
            )
        self._backlog = Backlog(
            self._ledger,
            folder,
            max_pending=max_pending,
            max_age=max_age,
            # What is read counts as sent then: as little as possible.
            read_ahead=READ_AHEAD if resend else MAX_IN_FLIGHT,
            seconds=self._seconds,
            monotonic=self._monotonic,
            wake=self._wake,
        )
        self._sender = Sender(
            client,
            self._backlog,
            self._ledger,
            resend=resend,
            on_rejected=on_rejected,
            jitter=self._jitter,
            monotonic=self._monotonic,
            wake=self._wake,
        )
        self._window_limit = max_batch
        self._largest_window = max(max_batch, max_pending // 4)
        self._sealed = 0
        self._flushed: Counter[str] = Counter()
        self._seal_due = math.inf
        self._stop_due = math.inf
        self._timer: Any = None
        self._waking = False
        self._ended = False
        self._driving = False
        self._pid = 0
        self._stopping: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"

    @property
    def _clock(self) -> Any:
        if self._given_clock is None:
            from twisted.internet import reactor

            self._given_clock = reactor
        return self._given_clock

    def _seconds(self) -> float:
        now: float = self._clock.seconds()
        return now

    def _monotonic(self) -> float:
        # A reactor's clock is the wall clock, which may be set; a Clock is not.
        if IReactorFromThreads.providedBy(self._clock):
            return time.monotonic()
        return self._seconds()

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Record a count. Counts of one stat are summed: those without a time by window,
        whose start they carry, the others by second.

        :param stat: the counter's name; its key with the Classic API.
        :param count: how much to add: a finite number; see
            :func:`~txstathat.points.model.plain_amount` for what is one.
        :param t: when it happened: Unix seconds or an aware datetime.
        :param ignore_errors: ``False`` makes the Deferred fail where it would fire
            with ``False``.
        :returns: a new Deferred, which has fired: with ``True`` when the point was
            recorded, with ``False`` when it was refused, because it is not valid or
            the service has ended. What becomes of it then is in :attr:`health`.
        """
        # The short way, for a stat that was counted in this window. A bool is no int.
        if type(count) is int and t is None and -MAX_INTEGER <= count <= MAX_INTEGER:
            try:
                cell = self._window.cells[stat]
            except Exception:
                # The first time in this window, or something that cannot be a name.
                pass
            else:
                cell[0] += count
                cell[1] += 1
                return succeed(True)
        return self._record(self._window.count, stat, count, t, ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Record a value. Values are kept one by one, each with its time, since StatHat
        averages them; otherwise as :meth:`count`.
        """
        return self._record(self._window.value, stat, value, t, ignore_errors)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Count by one; otherwise as :meth:`count`.
        """
        return self.count(stat, 1, t=t, ignore_errors=ignore_errors)

    def stat(self, stat: str) -> Stat:
        """
        Bind one stat, as :meth:`~txstathat.client.txStatHat.stat` does.
        """
        return Stat(self, stat)

    def _record(
        self,
        add: Callable[[str, Any, Time | None, int], None],
        stat: str,
        amount: Amount,
        t: Time | None,
        ignore_errors: bool | None,
    ) -> Deferred[bool]:
        opens = not len(self._window)
        try:
            if self._ended:
                raise StatHatClosed
            add(stat, amount, t, int(self._seconds()))
        except Exception as error:
            if isinstance(error, InvalidPoint):
                error.stat = stat
            self._ledger.refuse(error, self._client.describe_stat(stat))
            return fail(error) if ignore_errors is False else succeed(False)
        if len(self._window) >= self._window_limit:
            self._seal()
            # Counts of many stats would never be summed if this went on like that.
            self._window_limit = min(2 * self._window_limit, self._largest_window)
            self._schedule()
        elif opens and self._driving:
            self._open_window()
            self._schedule()
        return succeed(True)

    @property
    def health(self) -> DeliveryHealth:
        """
        What became of what was recorded, as a snapshot.
        """
        return self._ledger.snapshot()

    def _held(self) -> tuple[int, int, int]:
        return self._window.calls, self._backlog.calls, self._backlog.spooled

    def startService(self) -> None:
        """
        Begin to deliver. Only now files are opened and a thread is started, so that a
        program may become a daemon before.
        """
        if self._ended or self._driving:
            return
        super().startService()
        self._pid = os.getpid()
        self._driving = True
        self._backlog.start(make_worker(self._clock, self._interval, self._wake))
        if len(self._window):
            self._open_window()
        self._wake()

    def flush(self) -> Deferred[FlushResult]:
        """
        Seal what was recorded, and wait until all that was recorded is settled.

        :returns: a new Deferred, which fires with a
            :class:`~txstathat.delivery.flush.FlushResult`, true only if all was
            delivered, when each call that was recorded before this is delivered,
            rejected or dropped. It fires before that, with what is ``queued`` then,
            when all that is left waits at the slowest pace (see ``health.blocked`` and
            ``health.refused_keys``), and when the service ends. It does not fail,
            unless it is cancelled.
        """
        self._seal()
        since = self._ledger.fates - self._flushed
        flushed = self._backlog.wait(self._sealed, since)
        flushed.addCallback(self._note_flush)
        self._wake()
        return flushed

    def _note_flush(self, result: FlushResult) -> FlushResult:
        self._flushed = self._ledger.fates
        return result

    def stopService(self) -> Deferred[None]:
        """
        End: seal what was recorded, try to deliver it for ``shutdown_timeout`` seconds
        (no longer than until all that is left waits at the slowest pace), leave the
        rest in the spool (without one it is dropped, and counted as that), and close
        every file and connection.

        :returns: a new Deferred, which fires with ``None`` when that is done, at most
            half a second after ``shutdown_timeout``; it does not fail.
        """
        super().stopService()
        done: Deferred[None] = Deferred()
        if self._stopping is None:
            self._stopping = self._end()

        def pass_on(result: Any) -> Any:
            done.callback(None)
            return result

        self._stopping.addBoth(pass_on)
        return done

    @inlineCallbacks
    def _end(self) -> Any:
        self._ended = True
        if self._driving and os.getpid() != self._pid:
            return
        self._seal()
        self._stop_due = self._monotonic()
        if self._driving:
            limit = self._shutdown_timeout
            self._stop_due += limit - min(0.2, _CLOSING_PART * limit)
            self._sender.hurry()
            settled = self._backlog.wait(math.inf, {})
            self._wake()
            yield settled
        left = max(_DISK_GRACE, self._stop_due - self._monotonic())
        self._stop_due = math.inf
        self._sender.stop()
        saved = self._backlog.stop()
        # A disk that hangs must not keep the program from ending.
        timer = self._clock.callLater(left, saved.cancel)
        saved.addErrback(lambda failure: failure.trap(CancelledError) and None)
        yield saved
        if timer.active():
            timer.cancel()
        self._driving = False
        self._schedule()
        yield self._client.close()
        self._ledger.conclude()

    def _open_window(self) -> None:
        jitter = self._jitter(_SHORTEST_WINDOW, 1.0)
        self._seal_due = self._monotonic() + self._interval * jitter

    def _seal(self) -> None:
        """
        Freeze what was recorded as batches, and open a new window.
        """
        self._seal_due = math.inf
        tallies = self._window.take()
        if self._pid and os.getpid() != self._pid:
            # In a forked child: its parent has recorded all this, and will send it.
            return
        now = self._seconds()
        for first in range(0, len(tallies), self._max_batch):
            part = tallies[first : first + self._max_batch]
            self._sealed += 1
            calls = sum(each for _, each in part)
            self._ledger.sealed += calls
            try:
                batches = seal_batches(self._client, part, self._sealed, now)
            except Exception as error:
                # Every point was checked when it was recorded.
                self._log.failure("points could not be sealed: {error}", error=error)
                self._ledger.drop(calls, "unsealed")
            else:
                self._backlog.add(batches)

    def _wake(self) -> None:
        """
        Do what is due; called by a timer, by the thread, and when anything has ended.
        """
        # What it calls may end at once, and call it again.
        if self._waking or not self._driving or os.getpid() != self._pid:
            return
        self._waking = True
        try:
            now = self._monotonic()
            if now >= self._seal_due:
                self._seal()
                self._window_limit = self._max_batch
            self._backlog.work()
            self._sender.send()
            if now >= self._stop_due or self._sender.blocked:
                self._backlog.release()
            self._backlog.release_idle()
        except Exception:
            # Nothing may end the loop.
            self._log.failure("a flush failed")
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
        if not self._driving or self._waking:
            return
        due = min(
            self._seal_due, self._stop_due, self._sender.due, self._backlog.disk_due
        )
        if due < math.inf:
            delay = max(0.0, due - self._monotonic())
            self._timer = self._clock.callLater(delay, self._wake)


def _check_range(
    name: str, value: float, least: float, most: float = sys.float_info.max
) -> None:
    if isinstance(value, bool) or not least <= value <= most:
        limit = f" and at most {most}" if most < sys.float_info.max else ""
        raise ValueError(f"{name} must be at least {least}{limit}, not {value!r}")
