"""
The clients of StatHat's EZ and Classic APIs.

A call becomes points, the points become a :class:`Payload`, the payload becomes one
exchange, and the exchange becomes an :class:`~txstathat.client.outcome.Outcome`. Nothing below
:meth:`_Client._report` swallows anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from html import unescape
from typing import Any
from urllib.parse import unquote, unquote_plus, urlencode

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    succeed,
)
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent
from zope.interface import implementer

from txstathat.client.bound import Stat
from txstathat.client.health import CallRecord, ClientHealth
from txstathat.client.outcome import Outcome, Verdict, judge_failure, judge_reply
from txstathat.errors import InvalidPoint, StatHatBusy
from txstathat.http.exchange import Transport
from txstathat.http.responses import Reply
from txstathat.http.servers import API_URL, server_url
from txstathat.interfaces import IStatHat
from txstathat.points.batch_id import MAX_BATCH_ID, check_batch_id
from txstathat.points.model import (
    Amount,
    Count,
    Point,
    Time,
    Value,
    as_point_list,
    check_name,
    check_secret,
    expand_name,
    shown,
)
from txstathat.points.wire import (
    classic_form_point,
    form_point,
    json_points,
    read_form_point,
    read_json_points,
)

__all__ = [
    "API_URL",
    "MAX_BATCH_ID",
    "MAX_POINTS",
    "Payload",
    "txStatHat",
    "txStatHatClassic",
]

#: The most points in a request with the EZ API: StatHat took no more.
MAX_POINTS = 1000

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Payload:
    """
    Points as the bytes that are sent, all but the key.

    :ivar path: where they are posted to, below the server's URL.
    :ivar content_type: of what type the bytes are.
    :ivar points: how many points they hold.
    :ivar body: the bytes.
    """

    path: str
    content_type: str
    points: int
    body: bytes = field(repr=False)

    @property
    def is_classic(self) -> bool:
        """
        Whether it is one of the Classic API, in which each stat has a key of its own.
        """
        return self.path != "/ez"


@implementer(IStatHat)
class _Client:
    """
    What the two clients share: all but the encoding of points.

    :param key: the secret that says whose stats they are.
    :param ignore_errors: whether failures are swallowed, unless a call says otherwise.
    :param transport: sends the requests.
    :raises ValueError: for a bad key; the message does not hold it.
    :raises TypeError: if ``ignore_errors`` is no bool.
    """

    def __init__(self, key: str, ignore_errors: bool, transport: Transport) -> None:
        self._key = check_secret(key, "the key")
        if not isinstance(ignore_errors, bool):
            # Not shown: it may be a key, or a URL with a secret in it.
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
    def health(self) -> ClientHealth:
        """
        What became of the calls so far, as a snapshot.
        """
        return self._record.snapshot()

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
        :param count: how much to add: a finite number; see
            :func:`~txstathat.points.plain_amount` for what is one.
        :param t: when it happened: Unix seconds or an aware datetime; by default the
            time at which StatHat receives it.
        :param ignore_errors: overrides the client's setting for this call.
        :returns: a new Deferred, which fires with ``True`` when StatHat accepted the
            point, and with ``False`` when a failure was swallowed. With
            ``ignore_errors=False`` it fails with
            :class:`~txstathat.errors.InvalidPoint` for a bad name, amount or time,
            :class:`~txstathat.errors.StatHatBusy` when too many calls wait,
            :class:`~txstathat.errors.StatHatClosed` after :meth:`close`,
            :class:`~twisted.internet.error.TimeoutError` past the time limit,
            :class:`~txstathat.errors.StatHatAPIError` when StatHat refused or answered
            nonsense, and Twisted's own network exceptions as they are. Cancelling it
            aborts the request and its connection, and makes it fail with
            :class:`~twisted.internet.defer.CancelledError`, whatever is ignored.
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
        Measure a value, which StatHat averages; otherwise as :meth:`count`.
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
        Count by one; otherwise as :meth:`count`.
        """
        return self._post([Count(stat, 1, t)], ignore_errors)

    def post(
        self, points: Iterable[Point], *, ignore_errors: bool | None = None
    ) -> Deferred[bool]:
        """
        Send several points: with the EZ API :data:`MAX_POINTS` in a request, with the
        Classic API one by one.

        :param points: :class:`~txstathat.points.Count` and
            :class:`~txstathat.points.Value` objects; one bad point refuses them all,
            before anything is sent. Without any, nothing is sent.
        :returns: as :meth:`count`.
        """
        return self._post(points, ignore_errors)

    def stat(self, stat: str) -> Stat:
        """
        Bind one stat, for programs that use it in many places.

        :param stat: its name; its key with the Classic API. It is checked when used.
        """
        return Stat(self, stat)

    def send(
        self, points: Iterable[Point], batch_id: str | None = None
    ) -> Deferred[Outcome]:
        """
        Send points and tell what became of them; nothing is swallowed.

        :param points: as for :meth:`post`.
        :param batch_id: goes with the request as its ``Idempotency-Key``, so that a
            server that knows it can tell a repetition. Where the points need several
            requests (more than :data:`MAX_POINTS`, or the Classic API), each has the
            id with its number added: ``ID-0``, ``ID-1`` and so on.
        :returns: a new Deferred, which fires with an
            :class:`~txstathat.client.outcome.Outcome`: of several requests, with the first
            that was not accepted. It fails only when cancelled, with
            :class:`~twisted.internet.defer.CancelledError`; the request and its
            connection are aborted.
        """
        listed: list[Point] = []
        try:
            listed = as_point_list(points)
            payloads = self.encode(listed)
        except Exception as error:
            # Mostly InvalidPoint; but a caller's own iterable may raise anything.
            if isinstance(error, InvalidPoint):
                error.stat = self._bad_stat(listed)
            return succeed(Outcome(Verdict.REFUSED, error))
        if not payloads:
            return succeed(Outcome(Verdict.ACCEPTED))
        if len(payloads) == 1:
            return self.send_payload(payloads[0], batch_id)
        ids: list[str | None] = [None] * len(payloads)
        if batch_id is not None:
            ids = [f"{batch_id}-{number}" for number in range(len(payloads))]
            try:
                # All or none: the last id is the longest.
                check_batch_id(ids[-1])
            except InvalidPoint as error:
                return succeed(Outcome(Verdict.REFUSED, error))
        if len(payloads) > self._transport.room:
            # All or none: what was sent of them could not be told from the rest.
            busy = StatHatBusy(self._transport.max_waiting)
            return succeed(Outcome(Verdict.RETRY, busy))
        sent = list(map(self.send_payload, payloads, ids))
        return gatherResults(sent, consumeErrors=True).addCallbacks(_first_bad, _unwrap)

    def send_payload(
        self, payload: Payload, batch_id: str | None = None
    ) -> Deferred[Outcome]:
        """
        Send what :meth:`encode` made; otherwise as :meth:`send`.
        """
        # A collector compares its clock with this before it refuses a point's time.
        headers = {
            "Content-Type": payload.content_type,
            "Date": formatdate(usegmt=True),
        }
        if batch_id is not None:
            try:
                check_batch_id(batch_id)
            except InvalidPoint as error:
                return succeed(Outcome(Verdict.REFUSED, error))
            headers["Idempotency-Key"] = batch_id
        exchange = self._transport.exchange(
            "POST", payload.path, headers=headers, body=self._with_key(payload)
        )
        return exchange.addCallback(self._judge_reply).addErrback(_judge_failure)

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        Freeze points as the bytes that will be sent; the key is not in them.

        :raises InvalidPoint: if one of the points is not valid.
        """
        raise NotImplementedError

    def decode(self, payload: Payload) -> list[Point]:
        """
        The points in a payload that :meth:`encode` made, in their order.

        :raises ValueError: if another client sealed it.
        """
        raise NotImplementedError

    def check_stat(self, stat: object) -> None:
        """
        Check what is to name a stat, as :meth:`encode` would.

        :raises InvalidPoint: if it cannot.
        """
        raise NotImplementedError

    def describe_stat(self, stat: object) -> str:
        """
        A stat as the log may show it, such as ``stat 'signups'``.

        :param stat: what should be its name.
        """
        return f"stat {shown(stat)}"

    def close(self) -> Deferred[None]:
        """
        End: calls under way have a second to finish, then everything is closed.

        :returns: a new Deferred, which fires with ``None`` when no connection is left
            open; it does not fail. Calls made after this fail with
            :class:`~txstathat.errors.StatHatClosed`.
        """
        return self._transport.close()

    def _bad_stat(self, points: list[Point]) -> object:
        """
        The stat of the first point that cannot be sent, ``None`` if there is none.
        """
        for point in points:
            try:
                self.encode([point])
            except Exception:
                return getattr(point, "stat", None)
        return None

    def _with_key(self, payload: Payload) -> bytes:
        raise NotImplementedError

    def _judge_reply(self, reply: Reply) -> Outcome:
        return judge_reply(reply, self._transport.reactor.seconds(), self._hide_key)

    def _hide_key(self, text: str) -> str:
        """
        A server may quote the key that it refuses, encoded in some way or other.
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
        sent = self.send(points)
        return sent.addCallback(self._report, ignore_errors)

    def _report(self, outcome: Outcome, ignore_errors: bool) -> bool:
        """
        Turn an outcome into what the caller sees: the one place that swallows.
        """
        error = outcome.error
        if error is None:
            self._record.accepted(self._transport.reactor.seconds())
        elif not ignore_errors:
            raise error
        elif isinstance(error, InvalidPoint):
            self._record.bad_point(error, self.describe_stat(error.stat))
        else:
            self._record.swallowed(error)
        return outcome.accepted


class txStatHat(_Client):
    """
    A client of StatHat's EZ API, in which stats are named and need not exist.

    StatHat answers OK to a wrong EZ key, and drops the points: make sure of yours.

    :param ezkey: the account's EZ key: its e-mail address, until it is changed.
    :param ignore_errors: whether failures are swallowed, unless a call says otherwise.
    :param url: where the API is; may end in a path. By default ``TXSTATHAT_URL`` of
        the environment, which is read now, and where that is not set StatHat's address.
        ``http://`` works only when a URL says so; nothing falls back to it.
    :param timeout: seconds that one call may take, waiting in line included.
    :param max_connections: how many requests may be in flight.
    :param max_waiting: how many more may wait in line.
    :param reactor: the global reactor by default, looked for when first needed.
    :param agent: sends the requests; by default a
        :class:`~txstathat.http.connections.PooledAgent` of the client's own.
    :raises ValueError: for a bad key, URL or limit, or an agent that does not encrypt
        (see :func:`~txstathat.http.exchange.check_agent`). No network is used here.
    :raises TypeError: if ``ignore_errors`` is no bool.
    """

    def __init__(
        self,
        ezkey: str,
        ignore_errors: bool = True,
        *,
        url: str | None = None,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
        reactor: Any = None,
        agent: IAgent | None = None,
    ) -> None:
        transport = Transport(
            server_url(url, API_URL),
            timeout=timeout,
            max_connections=max_connections,
            max_waiting=max_waiting,
            reactor=reactor,
            agent=agent,
        )
        super().__init__(ezkey, ignore_errors, transport)
        self._form_prefix = urlencode({"ezkey": ezkey}).encode("ascii")
        self._json_prefix = f'{{"ezkey":{json.dumps(ezkey)},"data":'.encode("ascii")

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        Freeze points as the bytes of requests, all but the key: one point as a form,
        which every server of StatHat's API takes; several as JSON, at most
        :data:`MAX_POINTS` in a request.

        :raises InvalidPoint: if one of the points is not valid.
        """
        listed = as_point_list(points)
        return [
            _ez_payload(listed[first : first + MAX_POINTS])
            for first in range(0, len(listed), MAX_POINTS)
        ]

    def decode(self, payload: Payload) -> list[Point]:
        """
        The points in a payload that :meth:`encode` made, in their order.

        :raises ValueError: if another client sealed it.
        """
        if payload.content_type == _FORM:
            return [read_form_point(payload.body)]
        return read_json_points(payload.body)

    def check_stat(self, stat: object) -> None:
        """
        Check a stat's name, which may be of the form ``PREFIX~A,B,C``.

        :raises InvalidPoint: if it is not valid.
        """
        expand_name(stat)

    def _with_key(self, payload: Payload) -> bytes:
        if payload.content_type == _FORM:
            return b"%b&%b" % (self._form_prefix, payload.body)
        return b"%b%b}" % (self._json_prefix, payload.body)


class txStatHatClassic(_Client):
    """
    A client of StatHat's Classic API, in which a stat is named by its private key and
    must exist. StatHat refuses a wrong user key, but answers OK to a wrong stat key.

    :param ukey: the account's user key. The other parameters are those of
        :class:`txStatHat`.
    """

    def __init__(
        self,
        ukey: str,
        ignore_errors: bool = True,
        *,
        url: str | None = None,
        timeout: float = 10.0,
        max_connections: int = 8,
        max_waiting: int = 10_000,
        reactor: Any = None,
        agent: IAgent | None = None,
    ) -> None:
        transport = Transport(
            server_url(url, API_URL),
            timeout=timeout,
            max_connections=max_connections,
            max_waiting=max_waiting,
            reactor=reactor,
            agent=agent,
        )
        super().__init__(ukey, ignore_errors, transport)
        self._prefix = urlencode({"ukey": ukey}).encode("ascii")

    def encode(self, points: Iterable[Point]) -> list[Payload]:
        """
        Freeze points as the bytes of one form each, all but the user key.

        :raises InvalidPoint: if one of the points is not valid.
        """
        return [
            Payload(
                "/c" if isinstance(point, Count) else "/v",
                _FORM,
                1,
                classic_form_point(point),
            )
            for point in as_point_list(points)
        ]

    def decode(self, payload: Payload) -> list[Point]:
        """
        The point in a payload that :meth:`encode` made.

        :raises ValueError: if another client sealed it.
        """
        return [read_form_point(payload.body, "key")]

    def check_stat(self, stat: object) -> None:
        """
        Check a stat's private key.

        :raises InvalidPoint: if it is not valid.
        """
        check_name(stat, "key")

    def describe_stat(self, stat: object) -> str:
        """
        A stat as the log may show it: without its key, which is private.
        """
        return "a stat (its key is not shown)"

    def _with_key(self, payload: Payload) -> bytes:
        return b"%b&%b" % (self._prefix, payload.body)


def _ez_payload(points: list[Point]) -> Payload:
    if len(points) == 1:
        return Payload("/ez", _FORM, 1, form_point(points[0]))
    return Payload("/ez", "application/json", len(points), json_points(points))


def _judge_failure(failure: Failure) -> Outcome:
    error = failure.value
    if isinstance(error, CancelledError) or not isinstance(error, Exception):
        failure.raiseException()
    return judge_failure(error)


def _first_bad(outcomes: list[Outcome]) -> Outcome:
    bad = (outcome for outcome in outcomes if not outcome.accepted)
    return next(bad, Outcome(Verdict.ACCEPTED))


def _unwrap(failure: Failure) -> Any:
    """
    The failure inside gatherResults' FirstError: a cancelled request.
    """
    return failure.value.subFailure  # type: ignore[union-attr]
