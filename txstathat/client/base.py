"""
What the clients of StatHat's EZ and Classic APIs have in common.

A call becomes points, the points become a
:class:`~txstathat.client.payload.Payload`, the payload becomes one exchange, and the
exchange becomes an :class:`~txstathat.client.outcome.Outcome`. Only
:meth:`BaseClient._report` swallows errors.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from hashlib import pbkdf2_hmac
from html import unescape
from typing import Any, ClassVar
from urllib.parse import unquote, unquote_plus

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.client.health import CallRecord, ClientHealth
from txstathat.client.outcome import (
    Outcome,
    Verdict,
    outcome_of_failure,
    outcome_of_reply,
)
from txstathat.client.payload import Payload, numbered_ids
from txstathat.client.wrappable import QueuedFromThreads
from txstathat.errors import InvalidPoint, StatHatBusy
from txstathat.http.clock import installed_reactor
from txstathat.http.closing import AsyncClosing
from txstathat.http.exchange import Transport
from txstathat.http.responses import Reply
from txstathat.http.result import as_call, fired
from txstathat.interfaces import IStatHatProvider
from txstathat.points.amounts import Amount, Time
from txstathat.points.batch_id import check_batch_id
from txstathat.points.model import Count, Point, Value, as_point_list
from txstathat.points.names import check_secret, shown

__all__ = ["BaseClient"]


# Guessing keys from a fingerprint is slow.
_FINGERPRINT_ROUNDS = 10_000


@implementer(IStatHatProvider)
class BaseClient(AsyncClosing, QueuedFromThreads):
    """
    A client without an encoding of points.

    Calls that are made before the program has installed a reactor wait for one: until
    the client is next used, or closed. In a forked child a call is sent once the child
    runs the reactor. Only the reactor's thread may use a client; other threads use
    :meth:`from_threads`, or
    :func:`~twisted.internet.threads.blockingCallFromThread`.

    :param key: the account's key, a secret.
    :param ignore_errors: whether failures are swallowed, unless a call says otherwise.
    :param transport: sends the requests.
    :raises ValueError: if the key is not valid; the message does not quote it.
    :raises TypeError: if ``ignore_errors`` is not a bool.
    """

    _api: ClassVar[str]

    def __init__(self, key: str, ignore_errors: bool, transport: Transport) -> None:
        self._key = check_secret(key, "the key")
        if not isinstance(ignore_errors, bool):
            # The value is not shown: it may be a key, or a URL with a secret.
            raise TypeError(
                "ignore_errors, the second argument, must be True or False, not "
                f"{type(ignore_errors).__name__}; pass a server's URL as url="
            )
        self._ignore_errors = ignore_errors
        self._transport = transport
        self._record = CallRecord(repr(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._transport.origin}>"

    @property
    def swallows_errors(self) -> bool:
        """
        Whether failures are swallowed, unless a call says otherwise.
        """
        return self._ignore_errors

    @property
    def health(self) -> ClientHealth:
        """
        The results of all calls so far, as a snapshot.
        """
        return self._record.snapshot()

    @property
    def has_reactor(self) -> bool:
        """
        Whether calls are sent at once. Before the program has installed a reactor, they
        wait for one.
        """
        return not self._transport.has_no_reactor

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

        :param stat: the counter's name; its key with the Classic API.
        :param count: how much to add: a finite number that
            :func:`~txstathat.points.amounts.plain_amount` accepts.
        :param t: when it happened: Unix seconds or an aware datetime; by default the
            time at which StatHat receives it.
        :param ignore_errors: overrides the client's setting for this call.
        :returns: a new Deferred, which fires with ``True`` when StatHat accepted the
            point, and with ``False`` when a failure was swallowed. With
            ``ignore_errors=False`` it fails with
            :class:`~txstathat.errors.InvalidPoint` for a bad name, amount or time, with
            :class:`~txstathat.errors.StatHatBusy` when too many calls wait, with
            :class:`~txstathat.errors.StatHatClosed` after :meth:`close`, with
            :class:`~twisted.internet.error.TimeoutError` after the time limit, with
            :class:`~txstathat.errors.StatHatAPIError` when StatHat refused or its
            answer could not be read, and with Twisted's own network exceptions.
            Cancelling it aborts the request and its connection, and always makes it
            fail with :class:`~twisted.internet.defer.CancelledError`.
        """
        return self._post([Count(stat, count, t)], ignore_errors)

    def value(
        self,
        stat: str,
        value: Amount,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Measure a value, which StatHat averages; otherwise like :meth:`count`.
        """
        return self._post([Value(stat, value, t)], ignore_errors)

    def tick(
        self,
        stat: str,
        *,
        t: Time | None = None,
        ignore_errors: bool | None = None,
    ) -> Deferred[bool]:
        """
        Count by one; otherwise like :meth:`count`.
        """
        return self._post([Count(stat, 1, t)], ignore_errors)

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        Send several points: with the EZ API
        :data:`~txstathat.client.payload.MAX_POINTS` in a request, with the Classic API
        one by one.

        :param points: :class:`~txstathat.points.Count` and
            :class:`~txstathat.points.Value` objects. If one of them is not valid, none
            is sent.
        :returns: like :meth:`count`.
        """
        return self._post(points, ignore_errors)

    def stat(self, stat: str) -> Stat:
        """
        Bind one stat, for programs that use it in many places.

        :param stat: its name; its key with the Classic API. It is checked at each use.
        """
        return Stat(self, stat)

    def send(
        self, points: Iterable[Point], batch_id: str | None = None
    ) -> Deferred[Outcome]:
        """
        Send points, and return the outcome; nothing is swallowed.

        :param points: as for :meth:`post`.
        :param batch_id: the ``Idempotency-Key`` of the request, by which a server
            recognizes a repetition. Where the points need several requests (more than
            :data:`~txstathat.client.payload.MAX_POINTS`, or the Classic API), each has
            the id with its number added: ``ID-0``, ``ID-1`` and so on.
        :returns: a new Deferred, which fires with an
            :class:`~txstathat.client.outcome.Outcome`: of several requests, the first
            that was not accepted. It fails only when cancelled, with
            :class:`~twisted.internet.defer.CancelledError`; the request and its
            connection are aborted.
        """
        listed: list[Point] = []
        try:
            listed = as_point_list(points)
            payloads = self.encode(listed)
        except Exception as error:
            # Usually InvalidPoint, but a caller's own iterable may raise anything.
            if isinstance(error, InvalidPoint):
                error.stat = self._bad_stat(listed)
            return fired(Outcome(Verdict.REFUSED, error))
        if not payloads:
            return fired(Outcome(Verdict.ACCEPTED))
        if len(payloads) == 1:
            return self.send_payload(payloads[0], batch_id)
        try:
            ids = numbered_ids(batch_id, len(payloads))
        except InvalidPoint as error:
            return fired(Outcome(Verdict.REFUSED, error))
        if len(payloads) > self._transport.room:
            # All or none: an outcome cannot say which of the points were sent.
            busy = StatHatBusy(self._transport.max_waiting)
            return fired(Outcome(Verdict.RETRY, busy))
        sent = list(map(self.send_payload, payloads, ids))
        all_sent = gatherResults(sent, consumeErrors=True)
        return as_call(all_sent.addCallbacks(_first_bad, _unwrap))

    def send_payload(
        self, payload: Payload, batch_id: str | None = None
    ) -> Deferred[Outcome]:
        """
        Send a payload of :meth:`encode`; otherwise like :meth:`send`.
        """
        # A collector compares its clock with this before it refuses a point's time.
        headers = {
            "Content-Type": payload.content_type,
            "Date": _http_date(int(time.time())),
        }
        if batch_id is not None:
            try:
                check_batch_id(batch_id)
            except InvalidPoint as error:
                return fired(Outcome(Verdict.REFUSED, error))
            headers["Idempotency-Key"] = batch_id
        exchange = self._transport.exchange(
            "POST", payload.path, headers=headers, body=self._with_key(payload)
        )
        return exchange.addCallback(self._read_reply).addErrback(_read_failure)

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        Encode points as the bodies of requests, without the key.

        :raises InvalidPoint: if one of the points is not valid.
        """
        raise NotImplementedError

    def decode(self, payload: Payload) -> list[Point]:
        """
        The points in a payload of :meth:`encode`, in their order.

        :raises ValueError: if the payload is of another origin.
        """
        raise NotImplementedError

    def check_stat(self, stat: object) -> None:
        """
        Check the name of a stat, as :meth:`encode` does.

        :raises InvalidPoint: if it is not valid.
        """
        raise NotImplementedError

    def describe_stat(self, stat: object) -> str:
        """
        A stat as the log may show it, such as ``stat 'signups'``.

        :param stat: its name, which need not be valid.
        """
        return f"stat {shown(stat)}"

    def fingerprint(self, salt: bytes) -> str:
        """
        Identify the account: the kind of client, the URL and the key. This takes some
        milliseconds, so that keys cannot be guessed quickly.

        :param salt: different for each use.
        :returns: 32 hexadecimal digits.
        """
        account = "\0".join([self._api, self._transport.url, self._key])
        digest = pbkdf2_hmac("sha256", account.encode(), salt, _FINGERPRINT_ROUNDS)
        return digest[:16].hex()

    def close(self) -> Deferred[None]:
        """
        Close the client. Calls in progress have a second to finish; then all
        connections are closed.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail. Calls made after this fail with
            :class:`~txstathat.errors.StatHatClosed`.
        """
        self._end_from_threads()
        return self._transport.close()

    def _find_reactor(self) -> Any:
        return self._transport.given_reactor or installed_reactor()

    def _bad_stat(self, points: list[Point]) -> object:
        """
        The stat of the first point that is not valid; ``None`` if all are.
        """
        for point in points:
            try:
                self.encode([point])
            except Exception:
                return getattr(point, "stat", None)
        return None

    def _with_key(self, payload: Payload) -> bytes:
        """
        The body of a payload, with the key added.
        """
        raise NotImplementedError

    def _read_reply(self, reply: Reply) -> Outcome:
        return outcome_of_reply(reply, self._transport.seconds(), self._hide_key)

    def _hide_key(self, text: str) -> str:
        """
        Remove the key from a server's message: a server may quote the key that it
        refuses, encoded or not.
        """
        text = text.replace(self._key, "[key]")
        plain = unescape(unquote_plus(text)), unquote(unescape(text))
        if any(self._key in each for each in plain):
            return "[a message that quotes the key]"
        return text

    def _post(
        self, points: Iterable[Point], ignore_errors: bool | None
    ) -> Deferred[bool]:
        if ignore_errors is None:
            ignore_errors = self._ignore_errors
        if self._queue is not None:
            self._queue.wake()
        sent = self.send(points)
        return sent.addCallback(self._report, ignore_errors)

    def _report(self, outcome: Outcome, ignore_errors: bool) -> bool:
        """
        Turn an outcome into the result of a call. Only this swallows errors.
        """
        error = outcome.error
        if error is None:
            self._record.accepted(self._transport.seconds())
        elif not ignore_errors:
            raise error
        elif isinstance(error, InvalidPoint):
            self._record.bad_point(error, self.describe_stat(error.stat))
        else:
            self._record.swallowed(error)
        return outcome.accepted


def _read_failure(failure: Failure) -> Outcome:
    error = failure.value
    if isinstance(error, CancelledError) or not isinstance(error, Exception):
        failure.raiseException()
    return outcome_of_failure(error)


def _first_bad(outcomes: list[Outcome]) -> Outcome:
    bad = (outcome for outcome in outcomes if not outcome.accepted)
    return next(bad, Outcome(Verdict.ACCEPTED))


def _unwrap(failure: Failure) -> Any:
    """
    The failure in the FirstError of gatherResults: of a cancelled request.
    """
    return failure.value.subFailure  # type: ignore[union-attr]


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> str:
    # Once a second: it takes a hundredth of a call.
    return formatdate(seconds, usegmt=True)
