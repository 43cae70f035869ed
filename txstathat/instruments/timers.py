"""
Timers: how long functions and blocks of code take.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from inspect import (
    isasyncgenfunction,
    iscoroutine,
    iscoroutinefunction,
    isgeneratorfunction,
)
from itertools import pairwise
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txstathat.instruments.losses import Losses
from txstathat.interfaces import IStatHat

__all__ = ["timed"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class timed:
    """
    Measure how long something takes, in milliseconds. It is a decorator and a context
    manager::

        @timed(stats, "load user")
        @inlineCallbacks
        def load_user(id): ...

        with timed(stats, "render"):
            ...

    A plain function is measured until it returns. A function that returns a Deferred is
    measured until the Deferred fires; results, failures and cancelling are not changed.
    A coroutine is measured from its first step to its end. Exceptions pass through.
    Points must be sent in the reactor's thread: to measure a function that runs in
    another thread, use ``timed(stats, "load")(deferToThread)(load)``.

    :param stats: where to send the duration.
    :param name: the name of the stat that averages the durations.
    :param failures: the name of the stat for durations that end in a failure or are
        cancelled; by default ``name``.
    :param buckets: limits in milliseconds, in rising order, such as ``(10, 100)``. Each
        duration is also counted in one of the stats ``name up to 10 ms``, ``name up to
        100 ms`` (above 10) and ``name over 100 ms``: an average hides slow ones.
    :param running: the name of the stat for how many are running: the value of
        ``in_flight`` whenever one begins, including this one. What never ends, such as
        a coroutine that waits for a Deferred that never fires, makes the number grow.
        Use :class:`poll` with the attribute to send it at regular times.
    :param seconds: the clock, in seconds.
    :raises ValueError: if the buckets are not in rising order.
    :raises TypeError: if it decorates a generator (put ``timed`` above
        ``inlineCallbacks``), or a ``classmethod``, ``staticmethod`` or ``property``
        (put ``timed`` below these).
    :ivar losses: the points that were lost.
    :ivar in_flight: how many have begun and have not ended. A Deferred or coroutine
        that is garbage before its end has not ended.
    """

    def __init__(
        self,
        stats: IStatHat,
        name: str,
        *,
        failures: str | None = None,
        running: str | None = None,
        buckets: Iterable[float] = (),
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        self.losses = Losses(f"timed {name!r}")
        self._stats = stats
        self._name = name
        self._running = running
        self.in_flight = 0
        self._failures = name if failures is None else failures
        self._buckets = tuple(buckets)
        if not all(a < b for a, b in pairwise(self._buckets)):
            raise ValueError(f"buckets must be in rising order, not {self._buckets!r}")
        self._seconds = seconds
        self._entered: list[float] = []

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        if isinstance(function, (classmethod, staticmethod, property)):
            raise TypeError(f"{function!r}: put timed below this decorator")
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError(
                f"{function!r} is a generator, which runs only when it is iterated; "
                "put timed above inlineCallbacks"
            )
        if iscoroutinefunction(function):

            @wraps(function)
            async def measured_coroutine(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                return await self._measure(function(*args, **kwargs))

            return cast("Callable[_P, _R]", measured_coroutine)

        @wraps(function)
        def measured(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            started = self._begin()
            try:
                result = function(*args, **kwargs)
            except BaseException:
                self._record(started, failed=True)
                raise
            if isinstance(result, Deferred):
                result.addBoth(self._record_result, started)
            elif iscoroutine(result):
                return cast("_R", self._measure(result, begun=True))
            else:
                self._record(started, failed=False)
            return result

        return measured

    def __enter__(self) -> None:
        # A list, because blocks can nest. Blocks that overlap otherwise may swap their
        # beginnings, which does not change their average.
        self._entered.append(self._begin())

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._record(self._entered.pop(), failed=error_type is not None)

    def _record_result(self, result: Any, started: float) -> Any:
        self._record(started, failed=isinstance(result, Failure))
        return result

    async def _measure(
        self, coroutine: Coroutine[Any, Any, Any], begun: bool = False
    ) -> Any:
        started = self._seconds() if begun else self._begin()
        try:
            result = await coroutine
        except GeneratorExit:
            # It is garbage: nobody will get its result, so it has not ended.
            raise
        except BaseException:
            self._record(started, failed=True)
            raise
        self._record(started, failed=False)
        return result

    def _begin(self) -> float:
        self.in_flight += 1
        if self._running is not None:
            self.losses.send(self._stats.value, self._running, self.in_flight)
        return self._seconds()

    def _record(self, started: float, failed: bool) -> None:
        self.in_flight -= 1
        ms = round((self._seconds() - started) * 1000, 1)
        name = self._failures if failed else self._name
        self.losses.send(self._stats.value, name, ms)
        if self._buckets:
            self.losses.send(self._stats.count, f"{name} {self._bucket(ms)}")

    def _bucket(self, ms: float) -> str:
        for bound in self._buckets:
            if ms <= bound:
                return f"up to {bound:g} ms"
        return f"over {self._buckets[-1]:g} ms"
