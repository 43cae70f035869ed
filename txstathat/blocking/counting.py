"""
Counting with calls that block: the methods, one stat, and the null object.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from txstathat.points.amounts import Amount, Time
from txstathat.points.model import Count, Point, Value

__all__ = ["BlockingStat", "Counting", "NullStatHat"]


class Counting:
    """
    The methods that clients and the null object share. All of them call :meth:`post`.
    """

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> bool:
        """
        Send several points: in one request with the EZ API, one by one with the
        Classic API.

        :param points: :class:`~txstathat.points.Count` and
            :class:`~txstathat.points.Value` objects; one bad point refuses them all.
        :param ignore_errors: overrides the client's setting for this call.
        :returns: as :meth:`count`.
        """
        raise NotImplementedError

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        Add to a counter, and wait for the answer.

        :param stat: the counter's name; its key with the Classic API.
        :param count: how much to add: a finite int, float or Decimal.
        :param t: when it happened: Unix seconds or an aware datetime; by default the
            time at which StatHat receives it.
        :param ignore_errors: overrides the client's setting for this call.
        :returns: ``True`` when StatHat accepted the point, ``False`` when a failure was
            swallowed.
        :raises StatHatError: with ``ignore_errors=False``:
            :class:`~txstathat.errors.InvalidPoint` for a bad name, amount or time,
            :class:`~txstathat.errors.StatHatAPIError` when StatHat refused or its
            answer could not be read,
            :class:`~txstathat.errors.StatHatNetworkError` for network errors, and after
            the time limit,
            :class:`~txstathat.errors.StatHatBusy` when too many calls wait,
            :class:`~txstathat.errors.StatHatClosed` after :meth:`close`, and
            :class:`~txstathat.errors.StatHatForked` in a forked child.
        """
        return self.post([Count(stat, count, t)], ignore_errors=ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        Measure a value, which StatHat averages; otherwise as :meth:`count`.
        """
        return self.post([Value(stat, value, t)], ignore_errors=ignore_errors)

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
        return self.count(stat, t=t, ignore_errors=ignore_errors)

    def stat(self, stat: str) -> BlockingStat:
        """
        Bind one stat, for programs that use it in many places.

        :param stat: its name; its key with the Classic API. It is checked when used.
        """
        return BlockingStat(self, stat)

    def close(self) -> None:
        """
        Close the client. Calls of other threads that are in progress have a second to
        finish; then all connections are closed. Calls made after this are refused. This
        does not raise.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class BlockingStat:
    """
    One stat of a client's; see :meth:`txStatHat.stat`.

    :ivar name: its name, or its key with the Classic API.
    """

    def __init__(self, stats: Counting, name: str) -> None:
        self._stats = stats
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._stats!r}>"

    def count(
        self,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        As :meth:`txStatHat.count`.
        """
        return self._stats.count(self.name, count, t=t, ignore_errors=ignore_errors)

    def value(
        self,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> bool:
        """
        As :meth:`txStatHat.value`.
        """
        return self._stats.value(self.name, value, t=t, ignore_errors=ignore_errors)

    def tick(self, *, t: Time | None = None, ignore_errors: bool | None = None) -> bool:
        """
        As :meth:`txStatHat.tick`.
        """
        return self._stats.tick(self.name, t=t, ignore_errors=ignore_errors)


class NullStatHat(Counting):
    """
    Accepts every point, and does nothing with it: every call returns ``True``.
    """

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> bool:
        """
        Do nothing.
        """
        return True

    def close(self) -> None:
        """
        Do nothing.
        """
