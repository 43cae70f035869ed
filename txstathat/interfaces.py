"""
What the rooms of the package ask of each other.

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

    Nothing is raised synchronously out of these methods, whatever is passed to them.
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
        :param ignore_errors: whether to swallow a failure; ``None`` is as the provider
            was made.
        :returns: a new Deferred, which fires with ``True`` when the point was taken
            and ``False`` when a failure was swallowed, and fails with that failure
            when it is not to be swallowed. Cancelling it makes it fail with
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
        Measure a value; otherwise as :meth:`count`.
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
        :param axes: the choice on each axis; one left out is not known.
        :returns: a new Deferred, which fires when the event is in the store and fails
            when it could not be put there.
        """
