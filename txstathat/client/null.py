"""
A StatHat that does nothing, for programs that are not configured to count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from txstathat.client.outcome import Outcome, Verdict
from txstathat.client.payload import Payload
from txstathat.client.wrappable import Wrappable
from txstathat.http.closing import AsyncClosing
from txstathat.http.result import fired
from txstathat.interfaces import IStatHatProvider
from txstathat.points.amounts import Amount, Time
from txstathat.points.model import Point, as_point_list
from txstathat.points.names import expand_name, shown

__all__ = ["NullFlushResult", "NullHealth", "NullStatHat"]


@dataclass(frozen=True, slots=True)
class NullHealth:
    """
    The numbers of a client or a service that has done nothing: see
    :class:`~txstathat.client.health.ClientHealth` and
    :class:`~txstathat.delivery.ledger.DeliveryHealth`.
    """

    accepted: int = 0
    swallowed: Mapping[str, int] = field(default_factory=dict)
    recorded: int = 0
    refused: int = 0
    recovered: int = 0
    delivered: int = 0
    pending: int = 0
    rejected: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    spooled: int = 0
    damaged: int = 0
    foreign_files: int = 0
    retries: int = 0
    last_success: float | None = None
    last_error: str | None = None
    blocked: str | None = None
    refused_keys: int = 0
    spool_error: str | None = None
    lost: int = 0

    def __str__(self) -> str:
        return "nothing is counted: no key is set"


@dataclass(frozen=True, slots=True)
class NullFlushResult:
    """
    The result of a flush of nothing. It is true: everything was delivered. See
    :class:`~txstathat.delivery.flush.FlushResult`.
    """

    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    queued: int = 0


@implementer(IStatHatProvider)
class NullStatHat(Wrappable, AsyncClosing, Service):
    """
    Accepts every point, and does nothing with it.

    Use it in place of a client or a service: it has the methods of both.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def swallows_errors(self) -> bool:
        """
        Whether failures are swallowed: there are none.
        """
        return True

    @property
    def has_reactor(self) -> bool:
        """
        Whether calls wait for no reactor: they do not.
        """
        return True

    @property
    def health(self) -> NullHealth:
        """
        Zeros, for whatever a client or a service has.
        """
        return NullHealth()

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
        return fired(True)

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
        return fired(True)

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        Do nothing; like :meth:`count`.
        """
        return fired(True)

    def send(
        self, points: Iterable[Point], batch_id: str | None = None
    ) -> Deferred[Outcome]:
        """
        Do nothing.

        :returns: a new Deferred that has fired with an accepted
            :class:`~txstathat.client.outcome.Outcome`.
        """
        return fired(Outcome(Verdict.ACCEPTED))

    def send_payload(
        self, payload: Payload, batch_id: str | None = None
    ) -> Deferred[Outcome]:
        """
        Do nothing; as :meth:`send`.
        """
        return fired(Outcome(Verdict.ACCEPTED))

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        Make a payload without a body, which only says how many points there were.
        """
        number = len(as_point_list(points))
        return [Payload("/", "text/plain", number, b"")] if number else []

    def decode(self, payload: Payload) -> list[Point]:
        """
        The points in a payload: none.
        """
        return []

    def check_stat(self, stat: object) -> None:
        """
        Check a stat's name, as :class:`~txstathat.client.txStatHat` does.

        :raises InvalidPoint: if it is not valid.
        """
        expand_name(stat)

    def describe_stat(self, stat: object) -> str:
        """
        Describe a stat for the log.
        """
        return f"stat {shown(stat)}"

    def fingerprint(self, salt: bytes) -> str:
        """
        Identify the account: there is none, so this is the same for all.
        """
        return "0" * 32

    def flush(self) -> Deferred[NullFlushResult]:
        """
        Do nothing.

        :returns: a new Deferred that has fired with a :class:`NullFlushResult`.
        """
        return fired(NullFlushResult())

    def startService(self) -> None:
        """
        Do nothing. It may be started again after :meth:`stopService`.
        """
        super().startService()

    def stopService(self) -> Deferred[None]:
        """
        Do nothing; as :meth:`close`.
        """
        super().stopService()
        return succeed(None)

    def close(self) -> Deferred[None]:
        """
        Do nothing.

        :returns: a new Deferred that has fired with ``None``.
        """
        return succeed(None)
