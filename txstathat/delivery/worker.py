"""
The delivery's thread: what blocks is done there, and it keeps time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

__all__ = ["InlineWorker", "ThreadWorker", "make_worker"]

_T = TypeVar("_T")


class ThreadWorker:
    """
    A thread that does one job after the other, and calls the reactor now and then.

    A reactor's own timers follow the wall clock: when that is set back by an hour, they
    are late by an hour. The thread waits by the monotonic clock.

    :param reactor: provides ``callFromThread``.
    :param interval: seconds without a job after which ``beat`` is called.
    :param beat: called in the reactor's thread; must not raise.
    """

    def __init__(
        self, reactor: Any, interval: float, beat: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._interval = interval
        self._beat = beat
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]] | None] = (
            SimpleQueue()
        )
        # A disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._work, name="txstathat-delivery", daemon=True
        )
        self._ended: Deferred[None] = Deferred()
        self._thread.start()

    def run(self, job: Callable[[], _T]) -> Deferred[_T]:
        """
        Do a job in the thread.

        :returns: a new Deferred, which fires with what the job returns and fails with
            what it raises. Cancelling it does not stop the job.
        """
        done: Deferred[_T] = Deferred()
        self._jobs.put((job, done))
        return done

    def stop(self) -> Deferred[None]:
        """
        End the thread after the jobs that it has.

        :returns: a Deferred, which fires when it has ended; call this once.
        """
        self._jobs.put(None)
        return self._ended

    def _work(self) -> None:
        call = self._reactor.callFromThread
        while True:
            try:
                item = self._jobs.get(timeout=self._interval)
            except Empty:
                call(self._beat)
                continue
            if item is None:
                break
            job, done = item
            try:
                result = job()
            except BaseException:
                result = Failure()
            call(done.callback, result)
        call(self._end)

    def _end(self) -> None:
        self._thread.join()
        self._ended.callback(None)


class InlineWorker:
    """
    Does each job at once, for clocks that are not reactors.
    """

    def run(self, job: Callable[[], _T]) -> Deferred[_T]:
        """
        See :meth:`ThreadWorker.run`.
        """
        return maybeDeferred(job)

    def stop(self) -> Deferred[None]:
        """
        See :meth:`ThreadWorker.stop`.
        """
        return succeed(None)


def make_worker(
    clock: Any, interval: float, beat: Callable[[], object]
) -> ThreadWorker | InlineWorker:
    """
    A thread where the clock is a reactor; a :class:`~twisted.internet.task.Clock` has
    no threads to call it.
    """
    if IReactorFromThreads.providedBy(clock):
        return ThreadWorker(clock, interval, beat)
    return InlineWorker()
