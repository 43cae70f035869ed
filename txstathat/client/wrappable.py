"""
What clients, services, fakes and wrappers share: they can be scoped, and used from
threads.
"""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.client.threads import (
    CallQueue,
    FromThreads,
    add_prefix,
    check_prefix,
)
from txstathat.interfaces import IStatHatProvider
from txstathat.points.amounts import Amount, Time

__all__ = ["QueuedFromThreads", "ScopedStatHat", "Wrappable"]

#: Held while a queue is made.
_making = threading.Lock()


@implementer(IStatHatProvider)
class Wrappable:
    """
    The base of what counts: a subclass defines :meth:`count` and :meth:`value`.
    """

    @property
    def stats_are_keys(self) -> bool:
        """
        Whether a stat is named by its private key (Classic API).
        """
        return False

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`txstathat.interfaces.IStatHat.count`.
        """
        raise NotImplementedError

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`txstathat.interfaces.IStatHat.value`.
        """
        raise NotImplementedError

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Count by one: ``count(stat, 1)``.
        """
        return self.count(stat, 1, t=t, ignore_errors=ignore_errors)

    def stat(self, stat: str) -> Stat:
        """
        Bind one stat, for programs that use it in many places.
        """
        return Stat(self, stat)

    def scoped(self, prefix: str) -> ScopedStatHat:
        """
        The same, with a prefix before the name of each stat.

        :param prefix: such as ``'web1 '``; nothing is put between it and a name.
        :raises txstathat.errors.InvalidPoint: if no valid name can begin with it, or
            if stats are named by their keys (Classic API), which have no prefix.
        """
        return ScopedStatHat(self, prefix)

    def from_threads(self) -> FromThreads:
        """
        The same for other threads than the reactor's.

        :returns: an object with ``count``, ``value``, ``tick`` and ``scoped``, which
            any number of threads may call at any time: see
            :class:`~txstathat.client.threads.FromThreads`.
        """

        # A subclass that can only be used in the reactor's thread overrides this.
        def put(is_count: bool, stat: Any, amount: Any, t: Any) -> bool:
            call = self.count if is_count else self.value
            call(stat, amount, t=t, ignore_errors=True)
            return True

        return FromThreads(put)


@implementer(IStatHatProvider)
class ScopedStatHat(Wrappable):
    """
    Counts with a prefix before the name of each stat; see :meth:`Wrappable.scoped`.

    It cannot be closed: close or stop what was scoped.
    """

    def __init__(self, stats: Wrappable, prefix: str) -> None:
        self._stats = stats
        self._prefix = check_prefix(prefix, stats.stats_are_keys)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._prefix!r} of {self._stats!r}>"

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Add to the counter with the prefixed name; otherwise as what was scoped does.
        """
        name = add_prefix(self._prefix, stat)
        return self._stats.count(name, count, t=t, ignore_errors=ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Measure a value under the prefixed name; otherwise as what was scoped does.
        """
        name = add_prefix(self._prefix, stat)
        return self._stats.value(name, value, t=t, ignore_errors=ignore_errors)

    def from_threads(self) -> FromThreads:
        """
        See :meth:`Wrappable.from_threads`.
        """
        return self._stats.from_threads().scoped(self._prefix)


class QueuedFromThreads(Wrappable):
    """
    The base of what can only be used in the reactor's thread.
    """

    _queue: CallQueue | None = None

    def _find_reactor(self) -> Any:
        """
        The reactor, or ``None`` while there is none. None is installed here.
        """
        raise NotImplementedError

    def from_threads(self) -> FromThreads:
        """
        The same for other threads than the reactor's.

        :returns: an object with ``count``, ``value``, ``tick`` and ``scoped``, which
            any number of threads may call at any time: see
            :class:`~txstathat.client.threads.FromThreads`. A call that it accepted is
            made before the client or service ends.
        """
        return FromThreads(self._make_queue().put)

    def _make_queue(self) -> CallQueue:
        # Threads may ask at the same time.
        with _making:
            if self._queue is None:
                self._queue = CallQueue(self, self._find_reactor)
            return self._queue

    @property
    def _refused_from_threads(self) -> int:
        return 0 if self._queue is None else self._queue.refused

    def _take_from_threads(self) -> None:
        """
        Make the calls of other threads that wait.
        """
        if self._queue is not None:
            self._queue.drain()

    def _fork_from_threads(self, abandon: bool) -> None:
        """
        Adapt to being in a forked child.

        :param abandon: whether all calls of threads are refused from now on. Otherwise
            those that wait are made.
        """
        if self._queue is None:
            # Without the lock, which a thread of the parent may hold.
            self._queue = CallQueue(self, self._find_reactor)
        self._queue.after_fork()
        if abandon:
            self._queue.abandon()
        else:
            self._queue.drain()

    def _end_from_threads(self) -> None:
        """
        Make the calls of other threads that wait, and refuse all others.
        """
        self._make_queue().close()
