"""
The service: the object that an application counts with.
"""

from __future__ import annotations

import os
import random as random_module
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from txstathat.at_exit import report_at_exit
from txstathat.client.null import NullStatHat
from txstathat.client.wrappable import QueuedFromThreads
from txstathat.delivery.batch import DeliveryClient, Tally
from txstathat.delivery.clients import check_client
from txstathat.delivery.flush import FlushResult
from txstathat.delivery.ledger import DeliveryHealth
from txstathat.delivery.loop import DeliveryLoop
from txstathat.delivery.process.clock import ServiceClock
from txstathat.delivery.process.forks import notify_in_child
from txstathat.delivery.sending.sender import OnRejected
from txstathat.delivery.settings import Settings
from txstathat.errors import InvalidPoint, StatHatClosed
from txstathat.http.clock import installed_reactor
from txstathat.http.result import as_call
from txstathat.interfaces import IStatHatProvider
from txstathat.points.amounts import MAX_INTEGER, Amount, Time

__all__ = ["StatHatService"]

_STOPPED = "the service has stopped"
_FORKED = (
    "this process is a fork of the one that started the service, and delivers nothing; "
    "make a service in each process, after the fork"
)


@implementer(IStatHatProvider)
class StatHatService(QueuedFromThreads, Service):
    """
    Records counts and values at once, and sends them in batches: through outages and,
    with a spool, through restarts and crashes.

    Attach it to the application's service tree, call ``startService()``, or use it in
    ``async with``, which starts and stops it. Points can be recorded before that. A
    service cannot be started again after ``stopService``.

    Other threads count with what ``from_threads()`` returns.

    A service belongs to one process. In a child that is forked after the start, nothing
    is recorded: see :doc:`pre-fork`.

    :param client: a :class:`~txstathat.client.txStatHat` or
        :class:`~txstathat.client.txStatHatClassic`. Nothing else may use it, and the
        service closes it when it stops. With a
        :class:`~txstathat.client.null.NullStatHat` nothing is sent, and no spool is
        opened.
    :param interval: seconds after which recorded points are sealed in batches, at least
        0.01.
    :param max_batch: the most points in a batch. Once that many different points were
        recorded, they are sealed. When this happens again within an interval, the
        number doubles, up to a quarter of ``max_pending``: otherwise counts of many
        stats would not be summed.
    :param max_pending: the most points in sealed batches that are only in memory; the
        oldest batches are dropped.
    :param spool: the folder that stores sealed batches until they are accepted; several
        processes may share it. Without a folder, batches are stored in memory.
    :param max_spool: the most bytes that this process stores there, at least 65,536;
        the oldest batches are dropped.
    :param max_age: seconds after which a batch is dropped, at least 1.
    :param shutdown_timeout: seconds for which ``stopService`` tries to deliver what is
        left.
    :param on_ambiguous: what to do when a batch may have been counted: ``'resend'`` it
        (each point is counted at least once, and exactly once if the server honours
        ``Idempotency-Key``) or ``'drop'`` it (at most once). If the answer was lost,
        ``'resend'`` sends the batch until there is an answer. If the answer is not one
        of StatHat's, it sends the batch three more times at the slowest pace, and then
        drops it.
    :param on_rejected: called with a list of points and an exception when the server
        has rejected the points for good.
    :param clock: the reactor; the global one by default, imported by
        ``startService``. With a :class:`~twisted.internet.task.Clock`, the spool is
        used without a thread.
    :param random: draws the jitter; a new :class:`random.Random` by default.
    :raises ValueError: if a parameter is out of range. No file is opened here.
    :raises TypeError: if the client is something else.
    """

    _log = Logger()

    def __init__(
        self,
        client: DeliveryClient,
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
        clock: IReactorTime | None = None,
        random: random_module.Random | None = None,
    ) -> None:
        check_client(client)
        settings = Settings(
            interval=interval,
            max_batch=max_batch,
            max_pending=max_pending,
            spool=spool,
            max_spool=max_spool,
            max_age=max_age,
            shutdown_timeout=shutdown_timeout,
            on_ambiguous=on_ambiguous,
        )
        self._client = client
        self._ignore_errors = bool(getattr(client, "swallows_errors", True))
        self._clock = ServiceClock(clock)
        self._loop = DeliveryLoop(
            client,
            settings,
            self._clock,
            on_rejected=on_rejected,
            jitter=(random or random_module.Random()).uniform,
        )
        self._open_batch = self._loop.open_batch
        self._ledger = self._loop.ledger
        # Why nothing is recorded any more.
        self._closed: str | None = None
        self._stopping: Deferred[None] | None = None
        # Recorded before a fork, in a child; and the session of the parent.
        self._inherited: list[Tally] = []
        #: The parent's session, known in a forked child. It may be 0, in a container.
        self._parent_session: int | None = None
        notify_in_child(self)
        report_at_exit(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._client!r}>"

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Record a count. Counts of one stat are summed: those with a time for each
        second, the others for each batch, with the time at which the batch began.

        :param stat: the counter's name; its key with the Classic API.
        :param count: how much to add: a finite number; see
            :func:`~txstathat.points.amounts.plain_amount` for the types.
        :param t: when it happened: Unix seconds or an aware datetime.
        :param ignore_errors: ``False`` makes the Deferred fail where it would fire
            with ``False``. The default is the client's. What happens after the point
            was recorded does not change the result of this call.
        :returns: a new Deferred, which has fired: with ``True`` if the point was
            recorded, with ``False`` if it was refused, because it is not valid, the
            service has stopped, or this process is a fork of the one that started it.
            Later results are in :attr:`health`.
        """
        # The fast path, for a stat that is in the open batch. A bool is no int here.
        if type(count) is int and t is None and -MAX_INTEGER <= count <= MAX_INTEGER:
            try:
                cell = self._open_batch.cells[stat]
            except Exception:
                # The first count in this batch, or something that cannot be a name.
                pass
            else:
                cell[0] += count
                cell[1] += 1
                return succeed(True)
        return self._record(self._open_batch.count, stat, count, t, ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Record a value. Values are not summed: each carries its time, since StatHat
        averages them. Otherwise as :meth:`count`.
        """
        return self._record(self._open_batch.value, stat, value, t, ignore_errors)

    def _record(
        self,
        add: Callable[[str, Any, Time | None, int], None],
        stat: str,
        amount: Amount,
        t: Time | None,
        ignore_errors: bool | None,
    ) -> Deferred[bool]:
        is_first = not len(self._open_batch)
        try:
            if self._closed is not None:
                raise StatHatClosed(self._closed)
            add(stat, amount, t, int(self._clock.seconds()))
        except Exception as error:
            if isinstance(error, InvalidPoint):
                error.stat = stat
            self._ledger.refuse(error, self._client.describe_stat(stat))
            if ignore_errors is None:
                ignore_errors = self._ignore_errors
            return succeed(False) if ignore_errors else fail(error)
        self._loop.note_recorded(is_first)
        return succeed(True)

    @property
    def health(self) -> DeliveryHealth:
        """
        The state of the calls that were recorded, as a snapshot.
        """
        health = self._ledger.snapshot()
        return replace(health, refused=health.refused + self._refused_from_threads)

    @property
    def stats_are_keys(self) -> bool:
        """
        Whether a stat is named by its private key (Classic API).
        """
        return bool(getattr(self._client, "stats_are_keys", False))

    def _find_reactor(self) -> Any:
        return self._clock.given_reactor or installed_reactor()

    def startService(self) -> None:
        """
        Begin to deliver. Files are opened and a thread is started only now, so a
        program may become a daemon before this call. It installs a reactor, unless the
        program has done so or ``clock`` was passed.

        In a forked child, what was recorded before the fork is delivered only if the
        child is a daemon, that is, if it has left its parent's session. Otherwise the
        parent delivers it.

        :raises StatHatClosed: after ``stopService``: make a new service instead.
        """
        if self._closed == _FORKED:
            self._log.warn("the service was not started: {reason}", reason=_FORKED)
        elif self._closed is not None:
            raise StatHatClosed(
                "this service was stopped, and cannot be started again: make a new "
                "StatHatService, with a new client"
            )
        if self._closed is not None or self._loop.running:
            return
        super().startService()
        if isinstance(self._client, NullStatHat):
            self._log.warn("nothing that is counted will be sent: no key is set")
        inherited, self._inherited = self._inherited, []
        if inherited and os.getsid(0) != self._parent_session:
            self._loop.seal(inherited)
        self._loop.start()
        self._take_from_threads()

    async def __aenter__(self) -> Self:
        self.startService()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stopService()

    def flush(self) -> Deferred[FlushResult]:
        """
        Seal what was recorded, and wait until all of it is settled.

        :returns: a new Deferred, which fires with a
            :class:`~txstathat.delivery.flush.FlushResult`, true only if all was
            delivered, when each call that was recorded before is delivered, rejected or
            dropped. It fires earlier, with the number of ``queued`` calls, when all
            that is left waits at the slowest pace (see ``health.blocked`` and
            ``health.refused_keys``), when the service stops, and at once if it has not
            started. It does not fail, unless it is cancelled.
        """
        self._take_from_threads()
        return as_call(self._loop.flush())

    def stopService(self) -> Deferred[None]:
        """
        Stop: seal what was recorded, and try to deliver it for ``shutdown_timeout``
        seconds, or until everything that is left waits at the slowest pace. Leave the
        rest in the spool (without a spool it is dropped and counted), and close every
        file and connection.

        :returns: a new Deferred, which fires with ``None`` when that is done, at most
            half a second after ``shutdown_timeout``; it does not fail. A service that
            never started sends nothing and needs no reactor for it.
        """
        super().stopService()
        done: Deferred[None] = Deferred()
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._stop())

        def pass_on(result: Any) -> Any:
            done.callback(None)
            return result

        self._stopping.addBoth(pass_on)
        return done

    async def _stop(self) -> None:
        self._end_from_threads()
        if self._closed is None:
            self._closed = _STOPPED
            await self._loop.end()

    def after_fork(self) -> None:
        """
        Adapt to being in a forked child. This is called automatically.

        If the service had started, the child records nothing any more. Otherwise the
        child may start it, without what the parent had recorded.
        """
        if self._loop.running or self._closed is not None:
            self._closed = self._closed or _FORKED
            self._fork_from_threads(abandon=True)
            self._loop.abandon()
            return
        if self._parent_session is None:
            # The child has not had time to begin a session of its own.
            self._parent_session = os.getsid(0)
        self._fork_from_threads(abandon=False)
        self._inherited += self._open_batch.take()

    def report_exit(self) -> None:
        """
        Log what is left when the process ends. This is called automatically.
        """
        if self._closed is None:
            started = self._loop.running
            self._ledger.warn_of_end(
                "a StatHatService was not stopped"
                if started
                else "a StatHatService was not started"
            )
