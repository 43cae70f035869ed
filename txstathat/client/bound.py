"""
One stat, bound to its client.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txstathat.interfaces import IStatHat
from txstathat.points.amounts import Amount, Time

__all__ = ["Stat"]


class Stat:
    """
    One stat of a client; see :meth:`~txstathat.client.txStatHat.stat`.

    :ivar name: its name, or its key with the Classic API.
    """

    def __init__(self, stats: IStatHat, name: str) -> None:
        self._stats = stats
        self.name = name

    def __repr__(self) -> str:
        return f"<Stat of {self._stats!r}>"

    def count(
        self,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Like :meth:`~txstathat.client.txStatHat.count`.
        """
        return self._stats.count(self.name, count, t=t, ignore_errors=ignore_errors)

    def value(
        self,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Like :meth:`~txstathat.client.txStatHat.value`.
        """
        return self._stats.value(self.name, value, t=t, ignore_errors=ignore_errors)

    def tick(
        self, *, t: Time | None = None, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        Like :meth:`~txstathat.client.txStatHat.tick`.
        """
        return self._stats.tick(self.name, t=t, ignore_errors=ignore_errors)
