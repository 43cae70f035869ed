"""
Waiting until what was recorded is settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred

__all__ = ["FlushResult", "Waiters"]


@dataclass(frozen=True, slots=True)
class FlushResult:
    """
    What became of the calls that were recorded before a flush: those that were pending
    then, and those that were settled since the flush before it fired. It is true only
    if all of them were delivered.

    :ivar delivered: calls that the server accepted.
    :ivar rejected: calls that it refused for good.
    :ivar dropped: calls that were given up.
    :ivar queued: calls that are still to be sent.
    """

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    queued: int = 0

    def __bool__(self) -> bool:
        return not (self.rejected or self.dropped or self.queued)


class _Waiter:
    """
    Somebody who waits until all batches up to a number are settled.
    """

    def __init__(
        self, mark: float, batches: int, calls: int, fates: Mapping[str, int]
    ) -> None:
        self.mark = mark
        self.batches = batches
        self.calls = calls
        self.fates = Counter(fates)
        self.done: Deferred[FlushResult] = Deferred()


class Waiters:
    """
    All who wait.
    """

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []

    def wait(
        self, mark: float, batches: int, calls: int, fates: Mapping[str, int]
    ) -> Deferred[FlushResult]:
        """
        Wait until so many batches are settled.

        :param mark: the largest of their numbers.
        :param batches: how many there are, above 0.
        :param calls: how many calls are in them.
        :param fates: what became of calls already; see :meth:`settle`.
        :returns: a new Deferred, which fires with a :class:`FlushResult`. It may be
            cancelled.
        """
        waiter = _Waiter(mark, batches, calls, fates)
        waiter.done = Deferred(lambda _: self._forget(waiter))
        self._waiters.append(waiter)
        return waiter.done

    def _forget(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.done.errback(CancelledError())

    def add(self, number: int, batches: int, calls: int) -> None:
        """
        There are more batches of a number.
        """
        for waiter in self._waiters:
            if number <= waiter.mark:
                waiter.batches += batches
                waiter.calls += calls

    def settle(
        self, number: int, batches: int, calls: int, fates: Mapping[str, int]
    ) -> None:
        """
        There are fewer batches of a number.

        :param fates: how many of their calls were ``'delivered'``, ``'rejected'`` or
            ``'dropped'``; the others are in other batches now.
        """
        for waiter in self._waiters:
            if number <= waiter.mark:
                waiter.batches -= batches
                waiter.calls -= calls
                waiter.fates.update(fates)
        self._fire([waiter for waiter in self._waiters if waiter.batches <= 0])

    def release(self) -> None:
        """
        Let nobody wait any longer.
        """
        self._fire(self._waiters)

    def release_idle(self, slow: Sequence[int]) -> None:
        """
        Let nobody wait for batches that will not be sent soon.

        :param slow: the numbers of all such batches.
        """
        self._fire(
            [
                waiter
                for waiter in self._waiters
                if waiter.batches <= sum(number <= waiter.mark for number in slow)
            ]
        )

    def __len__(self) -> int:
        return len(self._waiters)

    def _fire(self, waiters: Sequence[_Waiter]) -> None:
        self._waiters = [each for each in self._waiters if each not in waiters]
        for waiter in waiters:
            waiter.done.callback(FlushResult(**waiter.fates, queued=waiter.calls))
