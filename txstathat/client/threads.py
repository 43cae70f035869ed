"""
Counting from other threads: calls wait in a queue for the reactor's thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txstathat.errors import InvalidPoint
from txstathat.points.amounts import Amount, Time
from txstathat.points.names import check_name

__all__ = [
    "MAX_FROM_THREADS",
    "CallQueue",
    "FromThreads",
    "StatHatLike",
    "add_prefix",
    "check_prefix",
]

#: How many calls from threads may wait for the reactor's thread.
MAX_FROM_THREADS = 100_000
#: How many of them one turn of the reactor makes.
_SLICE = 5_000


class StatHatLike(Protocol):
    """
    What counts and measures, as a type: a client, a service, a fake, a wrapper.
    """

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]: ...

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]: ...


def check_prefix(prefix: object, stats_are_keys: bool = False) -> str:
    """
    Check what is to stand before the names of stats.

    :param stats_are_keys: whether stats are named by their private keys.
    :raises InvalidPoint: if no valid name can begin with it.
    """
    if stats_are_keys:
        raise InvalidPoint(
            "prefix",
            "cannot be put before the private key of a stat, by which the Classic API "
            "names it; use the EZ API (txStatHat)",
        )
    checked = check_name(prefix, "prefix")
    if "~" in checked:
        raise InvalidPoint(
            "prefix", f"{checked!r} holds '~', which is for the end of a name"
        )
    return checked


def add_prefix(prefix: str, stat: Any) -> Any:
    """
    The name with the prefix. Anything else stays as it is, and is refused later.
    """
    # str's own method: a subclass may add in other ways.
    return str.__add__(prefix, stat) if isinstance(stat, str) and stat else stat


class _Call:
    """
    One call of a thread's. Two calls are never equal.
    """

    __slots__ = ("amount", "is_count", "stat", "t")

    def __init__(self, is_count: bool, stat: Any, amount: Any, t: Any) -> None:
        self.is_count = is_count
        self.stat = stat
        self.amount = amount
        self.t = t


class CallQueue:
    """
    Takes calls from any thread, and makes them in the reactor's.

    Putting a call takes no lock, so that it never waits for the reactor's thread:
    :class:`~collections.deque` is thread-safe by itself.

    :param stats: what is counted with.
    :param find_reactor: returns the reactor, or ``None`` while there is none; then
        calls wait until :meth:`drain` is called, or one is put when there is a reactor.
        With a :class:`~twisted.internet.task.Clock`, which has no thread of its own,
        calls are made at once.
    :param limit: how many calls may wait; more are refused.
    """

    _log = Logger()

    def __init__(
        self,
        stats: StatHatLike,
        find_reactor: Callable[[], Any],
        limit: int = MAX_FROM_THREADS,
    ) -> None:
        self._stats = stats
        self._find_reactor = find_reactor
        self._limit = limit
        self._calls: deque[_Call] = deque()
        self._refused = 0
        self._counting = threading.Lock()
        self._awake = False
        self._closed = False
        self._warned = False
        self._draining = threading.RLock()

    @property
    def refused(self) -> int:
        """
        How many calls were refused: too many waited, or the queue was closed.
        """
        return self._refused

    def put(self, is_count: bool, stat: Any, amount: Any, t: Any) -> bool:
        """
        Put a call, from any thread; does not block or raise.

        :returns: whether the call will be made.
        """
        if self._closed or len(self._calls) >= self._limit:
            return self._refuse()
        call = _Call(is_count, stat, amount, t)
        self._calls.append(call)
        if self._closed:
            # Closed meanwhile: either close() has made this call, or nobody will.
            try:
                self._calls.remove(call)
            except (ValueError, IndexError):
                return True
            return self._refuse()
        if not self._awake:
            self._wake()
        return True

    def _refuse(self) -> bool:
        with self._counting:
            self._refused += 1
        return False

    def _wake(self) -> None:
        reactor = self._find_reactor()
        if reactor is None:
            return
        self._awake = True
        try:
            call_from_thread = getattr(reactor, "callFromThread", None)
            if call_from_thread is None:
                self.drain()
            else:
                call_from_thread(self._turn)
        except Exception:
            self._awake = False
            self._log.failure("the reactor could not be called from a thread")

    def _turn(self) -> None:
        """
        Make some of the calls that wait, and the others in later turns.
        """
        self._make(_SLICE)
        if self._calls and not self._awake:
            self._wake()

    def wake(self) -> None:
        """
        Let the reactor make the calls that wait: some came before there was one.
        """
        if self._calls and not self._awake:
            self._wake()

    def drain(self) -> None:
        """
        Make all the calls that wait, in the reactor's thread.
        """
        self._make(len(self._calls))

    def _make(self, most: int) -> None:
        # First: a call that is put from now on wakes the reactor again.
        self._awake = False
        with self._draining:
            for _ in range(most):
                try:
                    call = self._calls.popleft()
                except IndexError:
                    break
                self._make_one(call)
        if not self._warned and not self._closed and self.refused:
            self._warned = True
            self._log.warn(
                "calls from threads were refused, because {limit} waited already "
                "(logged once)",
                limit=self._limit,
            )

    def _make_one(self, call: _Call) -> None:
        method = self._stats.count if call.is_count else self._stats.value
        try:
            # No one is there to handle a failure.
            method(call.stat, call.amount, t=call.t, ignore_errors=True)
        except Exception:
            self._log.failure("a call from a thread failed")

    def after_fork(self) -> None:
        """
        Replace the locks in a forked child: threads that it does not have may hold
        them.
        """
        self._counting = threading.Lock()
        self._draining = threading.RLock()
        self._awake = False

    def abandon(self) -> None:
        """
        Refuse all calls, and forget those that wait: the parent of a forked child makes
        them.
        """
        self._closed = True
        self._calls.clear()

    def close(self) -> None:
        """
        Make the calls that wait, in the reactor's thread, and refuse all others.
        """
        self._closed = True
        while self._calls:
            self.drain()


class FromThreads:
    """
    Counts from any thread; see ``from_threads()`` of a client or a service.

    No method blocks, raises, or returns a Deferred, which a thread could not use. Each
    returns ``True`` when the call will be made in the reactor's thread, in the order of
    the calls of this thread, and ``False`` when it was refused: because the client or
    service has ended, because the service was started before this process was forked,
    or because :data:`MAX_FROM_THREADS` calls wait. What becomes of
    the point is in the ``health`` of the client or service.
    """

    def __init__(self, put: Callable[[bool, Any, Any, Any], bool]) -> None:
        self._put = put

    @classmethod
    def joined(cls, parts: Sequence[FromThreads]) -> FromThreads:
        """
        One that gives each call to several; ``True`` when all of them take it.
        """
        puts = [part._put for part in parts]

        def put(is_count: bool, stat: Any, amount: Any, t: Any) -> bool:
            taken = [each(is_count, stat, amount, t) for each in puts]
            return all(taken)

        return cls(put)

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        Add to a counter.

        :param stat: the counter's name.
        :param count: how much to add.
        :param t: when it happened: Unix seconds or an aware datetime.
        :param ignore_errors: is there so that the signature is the usual one; errors
            are always ignored here, since the thread does not wait for them.
        :returns: whether the call will be made.
        """
        return self._put(True, stat, count, t)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        Measure a value; otherwise as :meth:`count`.
        """
        return self._put(False, stat, value, t)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        Count by one; otherwise as :meth:`count`.
        """
        return self._put(True, stat, 1, t)

    def scoped(self, prefix: str) -> FromThreads:
        """
        The same, with a prefix before the name of each stat.

        :raises InvalidPoint: if no valid name can begin with the prefix.
        """
        checked = check_prefix(prefix)
        put_on = self._put

        def put(is_count: bool, stat: Any, amount: Any, t: Any) -> bool:
            return put_on(is_count, add_prefix(checked, stat), amount, t)

        return FromThreads(put)
