"""
Stats kept along an axis of a Metrica, for instruments that measure stats.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from txstathat.interfaces import IKick, IStatHatProvider
from txstathat.points.model import Amount, Time, plain_amount

__all__ = ["KickStatHat"]


@implementer(IStatHatProvider)
class KickStatHat:
    """
    An :class:`~txstathat.interfaces.IStatHat` whose points are kicks, so that a
    Metrica takes the place of StatHat for any instrument.

    :param metrica: what to kick.
    :param axis: the axis on which the stat's name goes; ``None`` if there is only one
        stat, whose name need not be kept.
    """

    def __init__(self, metrica: IKick, axis: str | None = "stat") -> None:
        self._metrica = metrica
        self._axis = axis

    def count(
        self,
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Kick by an amount; see :class:`~txstathat.interfaces.IStatHat`.
        """
        axes = {} if self._axis is None else {self._axis: stat}
        date = t
        if t is not None and not isinstance(t, datetime):
            date = datetime.fromtimestamp(float(plain_amount(t, "t")), UTC)
        kicked = self._metrica.kick(count, date, **axes)

        def taken(_: Any) -> bool:
            return True

        def swallowed(_: Any) -> bool:
            return False

        return kicked.addCallbacks(taken, swallowed if ignore_errors else None)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Kick by a value: average it with an averaged Metrica.
        """
        return self.count(stat, value, t=t, ignore_errors=ignore_errors)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Kick by one.
        """
        return self.count(stat, t=t, ignore_errors=ignore_errors)
