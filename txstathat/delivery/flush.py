"""
Wait until the points that were recorded are delivered, rejected or dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred

__all__ = ["FlushResult", "Waiters"]


@dataclass(frozen=True, slots=True)
class FlushResult:
    """
    The result of a flush. It counts the calls that were pending when the flush began,
    and those that were settled after the previous flush fired. It is true only if all
    of them were delivered.

    :ivar delivered: calls that the server accepted.
    :ivar rejected: calls that the server rejected for good.
    :ivar dropped: calls that were dropped.
    :ivar queued: calls that are not sent yet.
    """

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    queued: int = 0

    def __bool__(self) -> bool:
        return not (self.rejected or self.dropped or self.queued)


@dataclass(eq=False, slots=True)
class _Waiter:
    """
    A flush that waits until all batches up to a number are settled.
    """

    last: float
    batches: int
    calls: int
    results: Counter[str]
    done: Deferred[FlushResult] = field(init=False)


class Waiters:
    """
    All flushes that wait.
    """

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []

    def wait(
        self, last: float, batches: int, calls: int, results: Mapping[str, int]
    ) -> Deferred[FlushResult]:
        """
        Wait until some batches are settled.

        :param last: the largest of their numbers.
        :param batches: how many batches, above 0.
        :param calls: how many calls are in them.
        :param results: calls that are settled already; see :meth:`settle`.
        :returns: a new Deferred, which fires with a :class:`FlushResult`. It may be
            cancelled.
        """
        waiter = _Waiter(last, batches, calls, Counter(results))
        waiter.done = Deferred(lambda _: self._cancel(waiter))
        self._waiters.append(waiter)
        return waiter.done

    def _cancel(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        waiter.done.errback(CancelledError())

    def add(self, number: int, batches: int, calls: int) -> None:
        """
        Wait for more batches of a number.
        """
        for waiter in self._waiters:
            if number <= waiter.last:
                waiter.batches += batches
                waiter.calls += calls

    def settle(
        self, number: int, batches: int, calls: int, results: Mapping[str, int]
    ) -> None:
        """
        Wait for fewer batches of a number.

        :param results: how many of their calls were ``'delivered'``, ``'rejected'`` or
            ``'dropped'``; the others are in other batches now.
        """
        for waiter in self._waiters:
            if number <= waiter.last:
                waiter.batches -= batches
                waiter.calls -= calls
                waiter.results.update(results)
        self._fire([waiter for waiter in self._waiters if waiter.batches <= 0])

    def release(self) -> None:
        """
        End all waits.
        """
        self._fire(self._waiters)

    def release_idle(self, slow: Sequence[int]) -> None:
        """
        End the waits for batches that will not be sent soon.

        :param slow: the numbers of all such batches.
        """
        self._fire(
            [
                waiter
                for waiter in self._waiters
                if waiter.batches <= sum(number <= waiter.last for number in slow)
            ]
        )

    def __len__(self) -> int:
        return len(self._waiters)

    def _fire(self, waiters: Sequence[_Waiter]) -> None:
        self._waiters = [each for each in self._waiters if each not in waiters]
        for waiter in waiters:
            waiter.done.callback(FlushResult(**waiter.results, queued=waiter.calls))
