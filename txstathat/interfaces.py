"""
The interfaces between the parts of the package, and to programs that use it.

Annotate with the protocols :class:`IStatHat` and :class:`IKick`: type checkers accept
each object with these methods. Programs that use :mod:`zope.interface` declare and ask
for the interfaces of the same methods, :class:`IStatHatProvider` and
:class:`IKickProvider`, whose methods have no ``self``, as is the custom there.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import Interface

from txstathat.points.amounts import Amount, Time

__all__ = ["HTTPAgent", "IKick", "IKickProvider", "IStatHat", "IStatHatProvider"]


class IStatHat(Protocol):
    """
    Something that counts and measures: a client, a service, a fake.

    These methods never raise, whatever their arguments are.
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
        ...

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Measure a value; otherwise like :meth:`count`.
        """
        ...

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Count by one: ``count(stat, 1)``.
        """
        ...


class IStatHatProvider(Interface):
    """
    :class:`IStatHat` for ``implementer``, ``providedBy`` and ``verifyObject``.
    """

    def count(
        stat: str,
        count: Amount = 1,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`IStatHat.count`.
        """

    def value(
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`IStatHat.value`.
        """

    def tick(
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        See :meth:`IStatHat.tick`.
        """


class IKick(Protocol):
    """
    Something that registers events along axes, as a Metrica does.
    """

    def kick(self, value: Amount = 1, date: Any = None, **axes: Any) -> Deferred[Any]:
        """
        Register one event.

        :param value: its weight.
        :param date: when it happened, a datetime; now by default.
        :param axes: the choice on each axis; an axis that is left out is unknown.
        :returns: a new Deferred, which fires when the event is in the store, and fails
            if it could not be stored.
        """
        ...


class IKickProvider(Interface):
    """
    :class:`IKick` for ``implementer``, ``providedBy`` and ``verifyObject``.
    """

    def kick(value: Amount = 1, date: Any = None, **axes: Any) -> Deferred[Any]:
        """
        See :meth:`IKick.kick`.
        """


class HTTPAgent(Protocol):
    """
    The methods of :class:`twisted.web.iweb.IAgent`, which all agents of Twisted and
    treq have.
    """

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See :meth:`twisted.web.iweb.IAgent.request`.
        """
        ...
