"""
Stats as kicks of a Metrica, for instruments that send stats.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from txstathat.interfaces import IKick, IStatHatProvider
from txstathat.points.amounts import Amount, Time, plain_amount

__all__ = ["KickStatHat"]


@implementer(IStatHatProvider)
class KickStatHat:
    """
    An :class:`~txstathat.interfaces.IStatHat` that turns points into kicks, so that a
    Metrica replaces StatHat for any instrument.

    :param metrica: the Metrica to kick.
    :param axis: the axis for the stat's name; ``None`` drops the name, for a single
        stat.
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
        Kick by an amount. The parameters are those of
        :class:`~txstathat.interfaces.IStatHat`.

        :returns: a new Deferred that fires with ``True`` when the kick is stored, or
            with ``False`` when it fails and ``ignore_errors`` is true; otherwise it
            fails as the kick does.
        """
        kicked: Deferred[Any]
        try:
            axes = {} if self._axis is None else {self._axis: stat}
            date = t
            if t is not None and not isinstance(t, datetime):
                date = datetime.fromtimestamp(float(plain_amount(t, "t")), UTC)
            kicked = self._metrica.kick(count, date, **axes)
        except Exception:
            # Of a time out of range, or of an IKick that breaks its promise.
            kicked = fail()

        def succeed(_: Any) -> bool:
            return True

        def ignore(_: Any) -> bool:
            return False

        return kicked.addCallbacks(succeed, ignore if ignore_errors else None)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Kick by a value, as :meth:`count` does. An averaged Metrica averages values.
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
        Kick by one, as :meth:`count` does.
        """
        return self.count(stat, t=t, ignore_errors=ignore_errors)
