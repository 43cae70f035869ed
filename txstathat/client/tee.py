"""
Counting with several clients or services at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.client.threads import FromThreads, StatHatLike
from txstathat.client.wrappable import Wrappable
from txstathat.http.result import as_call
from txstathat.interfaces import IStatHatProvider
from txstathat.points.amounts import Amount, Time

__all__ = ["Tee", "tee"]


def tee(first: StatHatLike, second: StatHatLike, *more: StatHatLike) -> Tee:
    """
    One object that gives each point to several.

    :param first: a client, a service, or whatever else counts and measures; ``second``
        and ``more`` as well. One that raises or fails does not disturb the others.
    :raises TypeError: if one of them has no ``count`` and ``value``.
    """
    return Tee(first, second, *more)


@implementer(IStatHatProvider)
class Tee(Wrappable):
    """
    Gives each point to several; see :func:`tee`.

    It cannot be closed: close or stop its parts.
    """

    _log = Logger()

    def __init__(self, *parts: StatHatLike) -> None:
        for part in parts:
            # A class has the methods too, but none that can be called.
            has_methods = all(
                callable(getattr(part, name, None)) for name in ("count", "value")
            )
            if isinstance(part, type) or not has_methods:
                raise TypeError(
                    "tee() takes clients, services and other objects with count() and "
                    f"value(), not {_kind(part)}"
                )
        self._parts = parts
        self._warned = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(map(repr, self._parts))}>"

    @property
    def stats_are_keys(self) -> bool:
        """
        Whether one of the parts names stats by their keys.
        """
        return any(getattr(part, "stats_are_keys", False) for part in self._parts)

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Add to a counter of each.

        :returns: a new Deferred, which fires when all have ended: with ``True`` when
            each of them fired with ``True``, and with ``False`` when one fired with
            ``False``, or raised at once. It fails with the first failure of a part that
            was not to swallow it. Cancelling it cancels all that are under way.
        """
        return self._give(
            lambda part: part.count(stat, count, t=t, ignore_errors=ignore_errors),
            ignore_errors,
        )

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Measure a value with each; otherwise as :meth:`count`.
        """
        return self._give(
            lambda part: part.value(stat, value, t=t, ignore_errors=ignore_errors),
            ignore_errors,
        )

    def from_threads(self) -> FromThreads:
        """
        See :meth:`Wrappable.from_threads`.

        :raises TypeError: if one of the parts has no ``from_threads``.
        """
        return FromThreads.joined(list(self._parts_from_threads()))

    def _parts_from_threads(self) -> Iterator[FromThreads]:
        for part in self._parts:
            make = getattr(part, "from_threads", None)
            if make is None:
                raise TypeError(
                    f"{_kind(part)} has no from_threads(), so a tee() of it cannot be "
                    "used from other threads"
                )
            yield make()

    def _give(
        self, call: Callable[[StatHatLike], Any], ignore_errors: bool | None
    ) -> Deferred[bool]:
        given = [self._call(call, part, ignore_errors) for part in self._parts]
        return as_call(DeferredList(given, consumeErrors=True).addCallback(_both))

    def _call(
        self,
        call: Callable[[StatHatLike], Any],
        part: StatHatLike,
        ignore_errors: bool | None,
    ) -> Deferred[bool]:
        try:
            result = call(part)
        except Exception:
            if ignore_errors is False:
                return fail()
            if not self._warned:
                self._warned = True
                self._log.failure(
                    "a part of a tee raised an exception (logged once): {part}",
                    part=_kind(part),
                )
            return succeed(False)
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        return result if isinstance(result, Deferred) else succeed(result)


def _both(results: list[tuple[bool, Any]]) -> bool | Failure:
    for success, result in results:
        if not success:
            failure: Failure = result
            return failure
    return all(result is True for _, result in results)


def _kind(part: object) -> str:
    if isinstance(part, type):
        return f"the class {part.__name__}"
    return f"an object of type {type(part).__name__}"
