"""
A StatHat that does nothing, for programs that are not configured to count.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.interfaces import IStatHat
from txstathat.points.model import Amount, Point, Time

__all__ = ["NullStatHat"]


@implementer(IStatHat)
class NullStatHat:
    """
    Accepts every point, and does nothing with it.
    """

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Do nothing.

        :returns: a new Deferred that has fired with ``True``.
        """
        return succeed(True)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Do nothing; like :meth:`count`.
        """
        return succeed(True)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Do nothing; like :meth:`count`.
        """
        return succeed(True)

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        Do nothing; like :meth:`count`.
        """
        return succeed(True)

    def stat(self, stat: str) -> Stat:
        """
        One stat, bound to this.
        """
        return Stat(self, stat)

    def close(self) -> Deferred[None]:
        """
        Do nothing.

        :returns: a new Deferred that has fired with ``None``.
        """
        return succeed(None)
