"""
Timers: how long it takes until a result is there.
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
    Measure how long something takes, in milliseconds; as a decorator, or around a block
    of code::

        @timed(stats, "load user")
        @inlineCallbacks
        def load_user(id): ...

        with timed(stats, "render"):
            ...

    A plain function is measured until it returns. One that returns a Deferred is
    measured until that fires: the same Deferred is returned, with the same result or
    failure, and cancelling it cancels what it always did. A coroutine is measured from
    its first step to its end. An exception passes on as it is. Points are sent in the
    reactor's thread: what runs in another is measured from there, by
    ``timed(stats, "load")(deferToThread)(load)``.

    :param stats: where to send the duration.
    :param name: the name of the stat that averages it.
    :param failures: another name, for the durations of what failed or was cancelled;
        they count under ``name`` as well as the others do if it is not given.
    :param buckets: bounds in milliseconds, such as ``(10, 100)``: each duration also
        counts in one of ``name up to 10 ms``, ``name up to 100 ms`` (over 10), and
        ``name over 100 ms``, since an average hides the few slow ones.
    :param seconds: the clock to measure with.
    :raises ValueError: if the buckets are not in rising order.
    :raises TypeError: if it decorates a generator, which runs only when it is iterated:
        put ``timed`` above ``inlineCallbacks``; or what is no function yet: put it
        below ``classmethod``, ``staticmethod`` and ``property``.
    :ivar losses: the points that could not be handed on.
    """

    def __init__(
        self,
        stats: IStatHat,
        name: str,
        *,
        failures: str | None = None,
        buckets: Iterable[float] = (),
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        self.losses = Losses(f"timed {name!r}")
        self._stats = stats
        self._name = name
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
                return await self._awaited(function(*args, **kwargs))

            return cast("Callable[_P, _R]", measured_coroutine)

        @wraps(function)
        def measured(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            started = self._seconds()
            try:
                result = function(*args, **kwargs)
            except BaseException:
                self._took(started, failed=True)
                raise
            if isinstance(result, Deferred):
                result.addBoth(self._fired, started)
            elif iscoroutine(result):
                return cast("_R", self._awaited(result))
            else:
                self._took(started, failed=False)
            return result

        return measured

    def __enter__(self) -> None:
        # A list, since blocks may nest. Where two overlap in another way each may get
        # the other's beginning: their average is right all the same.
        self._entered.append(self._seconds())

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._took(self._entered.pop(), failed=error_type is not None)

    def _fired(self, result: Any, started: float) -> Any:
        self._took(started, failed=isinstance(result, Failure))
        return result

    async def _awaited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        started = self._seconds()
        try:
            result = await coroutine
        except BaseException:
            self._took(started, failed=True)
            raise
        self._took(started, failed=False)
        return result

    def _took(self, started: float, failed: bool) -> None:
        ms = round((self._seconds() - started) * 1000, 1)
        name = self._failures if failed else self._name
        self.losses.watch(self._stats.value(name, ms))
        if self._buckets:
            self.losses.watch(self._stats.count(f"{name} {self._bucket(ms)}"))

    def _bucket(self, ms: float) -> str:
        for bound in self._buckets:
            if ms <= bound:
                return f"up to {bound:g} ms"
        return f"over {self._buckets[-1]:g} ms"
