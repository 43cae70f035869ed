"""
The interfaces between the parts of the package, and to programs that use it.

Methods here have no ``self``, as is the custom of :mod:`zope.interface`.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from txstathat.points.model import Amount, Time

__all__ = ["IKick", "IStatHat"]


class IStatHat(Interface):
    """
    Something that counts and measures: a client, a service, a fake.

    These methods never raise, whatever their arguments are.
    """

    def count(
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Add to a counter.

        :param stat: the counter's name.
        :param count: how much to add.
        :param t: when it happened: Unix seconds or an aware datetime; now by default.
        :param ignore_errors: whether to swallow a failure; ``None`` means the setting
            of the provider.
        :returns: a new Deferred, which fires with ``True`` when the point was accepted,
            and with ``False`` when a failure was swallowed; else it fails with that
            failure. Cancelling it makes it fail with
            :class:`~twisted.internet.defer.CancelledError`.
        """

    def value(
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Measure a value; otherwise like :meth:`count`.
        """

    def tick(
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Count by one: ``count(stat, 1)``.
        """


class IKick(Interface):
    """
    Something that registers events along axes, as a Metrica does.
    """

    def kick(value: Amount = 1, date: Any = None, **axes: Any) -> Deferred[Any]:
        """
        Register one event.

        :param value: its weight.
        :param date: when it happened, a datetime; now by default.
        :param axes: the choice on each axis; an axis that is left out is unknown.
        :returns: a new Deferred, which fires when the event is in the store, and fails
            if it could not be stored.
        """
