"""
A reactor of the package's own, in a daemon thread.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from txstathat.errors import StatHatClosed

__all__ = ["END_GRACE", "ReactorThread", "reactor_thread"]

#: Seconds that the thread has to close its connections when the interpreter exits,
#: after the calls under way have ended.
END_GRACE = 2.0

_T = TypeVar("_T")


def _make_reactor() -> Any:
    """
    A reactor that is not installed as the program's.

    One that uses poll where there is poll: select knows only the first 1024 files, and
    the files of epoll and kqueue would be shared with forked children.
    """
    try:
        from twisted.internet.pollreactor import PollReactor as Reactor
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor as Reactor

    class PrivateReactor(Reactor):
        # The thread of the program's reactor is not this one.
        _registerAsIOThread = False

    return PrivateReactor()


class ReactorThread:
    """
    Runs a reactor in a daemon thread until the interpreter exits.

    :ivar reactor: the reactor.
    :ivar pid: the process in which the thread runs. It does not run in a child that was
        forked from it.
    """

    def __init__(self) -> None:
        self.reactor = _make_reactor()
        self._under_way: dict[Future[Any], float] = {}
        # Weak: who drops a client without closing it does not keep it by this.
        self._closers: weakref.WeakKeyDictionary[
            object, Callable[[], Deferred[None]]
        ] = weakref.WeakKeyDictionary()
        # Reentrant: a signal handler may count while its thread holds it.
        self._lock = threading.RLock()
        self._ended = False
        self._thread = threading.Thread(
            target=self.reactor.run,
            kwargs={"installSignalHandlers": False},
            name="txstathat-blocking",
            daemon=True,
        )
        self._thread.start()

    def at_exit(self, owner: object, close: Callable[[], Deferred[None]]) -> None:
        """
        Close something when the interpreter exits.

        :param owner: what it belongs to, for :meth:`forget`.
        :param close: called in the reactor's thread.
        """
        with self._lock:
            self._closers[owner] = close

    def forget(self, owner: object) -> None:
        """
        Do not close what belongs to an owner.
        """
        with self._lock:
            self._closers.pop(owner, None)

    def call(self, job: Callable[[], Deferred[_T]], timeout: float) -> _T:
        """
        Call a function in the reactor's thread, and wait.

        :param timeout: the most seconds that it needs: when the interpreter exits, it
            waits so long for the call. This does not end the call.
        :returns: what its Deferred fires with.
        :raises StatHatClosed: when the interpreter is about to exit.
        :raises BaseException: what the Deferred fails with. An interruption of the
            waiting thread, such as Ctrl-C, cancels the Deferred.
        """
        future: Future[_T] = Future()
        started: list[Deferred[_T]] = []

        def start() -> None:
            done = maybeDeferred(job)
            started.append(done)
            done.addCallbacks(
                future.set_result, lambda failure: future.set_exception(failure.value)
            )

        with self._lock:
            if self._ended:
                raise StatHatClosed("the interpreter is about to exit")
            self._under_way[future] = timeout

        def cancel() -> None:
            for done in started:
                done.cancel()

        self.reactor.callFromThread(start)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                self.reactor.callFromThread(cancel)
            raise
        finally:
            with self._lock:
                self._under_way.pop(future, None)

    def end(self) -> None:
        """
        Let the calls of other threads end, close everything and stop.
        """
        with self._lock:
            self._ended = True
            under_way = dict(self._under_way)
            closers = list(self._closers.values())
        if under_way:
            wait(under_way, max(under_way.values()))
        closed: Future[None] = Future()

        def close() -> None:
            waiting = [maybeDeferred(closer) for closer in closers]
            left = [len(waiting)]

            def one_less(_: object) -> None:
                left[0] -= 1
                if not left[0]:
                    closed.set_result(None)

            for each in waiting:
                each.addBoth(one_less)
            if not waiting:
                closed.set_result(None)

        self.reactor.callFromThread(close)
        wait([closed], END_GRACE)
        self.reactor.callFromThread(self.reactor.stop)
        # A look-up of a name that hangs keeps the reactor from ending, not the program.
        self._thread.join(END_GRACE)


class _Process:
    """
    The thread of this process.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.thread: ReactorThread | None = None


_process = _Process()


def _forget() -> None:
    """
    A forked child has none of its parent's threads, and nobody to release a lock.
    """
    global _process
    _process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _at_exit() -> None:
    thread = _process.thread
    if thread is not None:
        thread.end()


# Here and not when the thread starts: what a program registers later is called first,
# and may still count.
atexit.register(_at_exit)


def reactor_thread() -> ReactorThread:
    """
    The thread of this process, which all clients share; started by the first of them.
    """
    process = _process
    with process.lock:
        if process.thread is None:
            process.thread = ReactorThread()
        return process.thread
