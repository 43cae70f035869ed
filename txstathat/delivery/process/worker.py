"""
The delivery's thread: it does what blocks, and wakes the reactor.
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
    A thread that runs one job after the other, and calls the reactor regularly.

    A reactor's timers follow the wall clock: when it is set back by an hour, they are
    an hour late. The thread waits by the monotonic clock.

    :param reactor: provides ``callFromThread``.
    :param interval: seconds without a job after which ``beat`` is called.
    :param beat: called in the reactor's thread. It must not raise.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        interval: float,
        beat: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._interval = interval
        self._beat = beat
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]] | None] = (
            SimpleQueue()
        )
        # A daemon thread: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=self._work, name="txstathat-delivery", daemon=True
        )
        self._ended: Deferred[None] = Deferred()
        self._thread.start()

    def run(self, job: Callable[[], _T]) -> Deferred[_T]:
        """
        Run a job in the thread.

        :returns: a new Deferred, which fires with what the job returns and fails with
            what it raises. If it is cancelled, the job runs all the same.
        """
        done: Deferred[_T] = Deferred()
        self._jobs.put((job, done))
        return done

    def stop(self) -> Deferred[None]:
        """
        End the thread once its jobs are done. Call this once.

        :returns: a Deferred, which fires with ``None`` when the thread has ended.
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
    Runs each job at once, for clocks that are not reactors.
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
    clock: object, interval: float, beat: Callable[[], object]
) -> ThreadWorker | InlineWorker:
    """
    Make a worker: with a thread if the clock is a reactor, inline if it is a
    :class:`~twisted.internet.task.Clock`.
    """
    if IReactorFromThreads.providedBy(clock):
        return ThreadWorker(clock, interval, beat)
    return InlineWorker()
