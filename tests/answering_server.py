"""
A server for the tests that gives any answer a StatHat server, or something in front of
one, may give, and keeps a ledger of the points it took.

It reads requests by itself, with nothing of the package's, so that it and the package
cannot share a mistake. It serves a real socket (:meth:`AnsweringServer.listen`) and
programs in virtual time (:class:`MemoryAgent`) alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from tests.support import reactor

#: What an answer means for points: they were taken; they never will be; the key is
#: wrong; the request is too large; try again soon; the answer is not a StatHat
#: server's; nobody knows.
TAKEN, REFUSED, KEY, LARGE = "taken", "refused", "key", "large"
AGAIN, PAGE, UNKNOWN = "again", "page", "unknown"

#: The most points that StatHat takes in one request.
MOST_POINTS = 1_000

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """
    One way to answer a request.

    :ivar name: what a failing test calls it.
    :ivar meaning: one of the words above.
    :ivar status: the HTTP status.
    :ivar body: the body.
    :ivar content_type: the ``Content-Type``; without one, no such header is sent.
    :ivar headers: further headers.
    :ivar takes: whether the server takes the points.
    """

    name: str
    meaning: str
    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    takes: bool = False

    @property
    def msg(self) -> str | None:
        """The message of an answer in StatHat's JSON."""
        try:
            msg = json.loads(self.body)["msg"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return str(msg)


def _json(meaning: str, http: int, inner: object, msg: str, **more: Any) -> Answer:
    retry_after = more.pop("retry_after", None)
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    body = json.dumps({"status": inner, "msg": msg, **more}).encode()
    wait = f", Retry-After {retry_after}" if retry_after else ""
    return Answer(
        f"{http} with {body.decode()}{wait}",
        meaning,
        http,
        body,
        "application/json",
        headers,
        meaning == TAKEN,
    )


def _html(meaning: str, http: int, **headers: str) -> Answer:
    body = b"<!DOCTYPE html>\n<html><body><h1>%d</h1></body></html>" % http
    named = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    more = "".join(f", {name} {text}" for name, text in named)
    return Answer(
        f"{http} with a page{more}",
        meaning,
        http,
        body,
        "text/html; charset=utf-8",
        named,
    )


def _raw(
    meaning: str, http: int, body: bytes = b"", content_type: str | None = None
) -> Answer:
    what = repr(body[:40].decode("latin-1")) if body else "nothing"
    kind = f" as {content_type}" if content_type else ""
    return Answer(
        f"{http} with {what}{kind}",
        meaning,
        http,
        body,
        content_type,
        takes=meaning == TAKEN,
    )


OK = _json(TAKEN, 200, 200, "ok")
NO_CONTENT = _raw(TAKEN, 204)
BAD_STAT = _json(REFUSED, 200, 500, "bad stat")
SERVER_JSON_413 = _json(LARGE, 413, 413, "too many points")
PROXY_413 = _html(LARGE, 413)

#: Every row of the protocol's table of answers, in the forms that were seen.
ANSWERS: tuple[Answer, ...] = (
    OK,
    NO_CONTENT,
    _json(TAKEN, 200, 200, "ok", multiple=3),
    _json(TAKEN, 200, "ok", "ok"),
    _json(TAKEN, 202, 200, "ok"),
    _raw(TAKEN, 200, b'{"status":"ok"}', "application/json"),
    _raw(TAKEN, 200, b'{"status":200}', "text/plain"),
    # Refusals, whatever the HTTP status around them.
    BAD_STAT,
    _json(REFUSED, 200, 400, "count: not a number"),
    _json(REFUSED, 200, 404, "no such stat"),
    _json(REFUSED, 400, 400, "data: too old"),
    _json(REFUSED, 400, 500, "bad stat"),
    _json(REFUSED, 404, 404, "no such stat"),
    _json(REFUSED, 409, 409, "another body had this id"),
    _json(REFUSED, 422, 422, "stat: too long"),
    _json(REFUSED, 200, "error", "stat name missing"),
    _json(REFUSED, 400, "error", "stat name missing"),
    # Refusals of the key, which somebody may put right.
    _json(KEY, 200, 500, "no ezkey specified"),
    _json(KEY, 200, 500, "invalid keys"),
    _json(KEY, 200, "error", "invalid ezkey"),
    _json(KEY, 401, 401, "wrong key"),
    _json(KEY, 403, 403, "invalid keys: this EZ key is not known here"),
    _json(KEY, 200, 401, "wrong key"),
    _json(KEY, 200, 403, "wrong key"),
    # Too large, whoever says so.
    SERVER_JSON_413,
    PROXY_413,
    _raw(LARGE, 413),
    # Not now.
    *(
        answer
        for http in (408, 425, 429, 500, 502, 503, 504, 599)
        for answer in (
            _json(AGAIN, http, http, "later"),
            _html(AGAIN, http),
            _raw(AGAIN, http),
        )
    ),
    _json(AGAIN, 503, 503, "the store is away", retry_after="5"),
    _json(AGAIN, 429, 429, "too many requests", retry_after="5"),
    _json(AGAIN, 429, "error", "rate limit exceeded"),
    _json(AGAIN, 503, "error", "maintenance"),
    _html(AGAIN, 503, Retry_After="5"),
    *(_json(AGAIN, 200, n, "later") for n in (408, 425, 429, 501, 503, 599)),
    # Not from a StatHat server.
    _html(PAGE, 200),
    _html(PAGE, 201),
    _raw(PAGE, 200, b"<html><title>Sign in</title></html>"),
    _raw(PAGE, 200, b"\xef\xbb\xbf \r\n<!doctype HTML><p>Welcome", "text/html"),
    *(
        _html(PAGE, http, Location="https://elsewhere.invalid/ez")
        for http in (301, 302, 303, 307, 308)
    ),
    _raw(PAGE, 304),
    *(
        answer
        for http in (400, 401, 403, 404, 405, 410, 418, 422, 451)
        for answer in (_html(PAGE, http), _raw(PAGE, http))
    ),
    _raw(PAGE, 404, b"404 page not found\n", "text/plain"),
    _raw(PAGE, 404, b'{"error": "no route"}', "application/json"),
    _raw(PAGE, 400, b'["status", 400]', "application/json"),
    # The server took the request, but nobody knows what it did with the points.
    _raw(UNKNOWN, 200),
    _raw(UNKNOWN, 202),
    _raw(UNKNOWN, 200, b"ok", "text/plain"),
    _raw(UNKNOWN, 200, b"{}", "application/json"),
    _raw(UNKNOWN, 200, b'{"status": 2', "application/json"),
    _raw(UNKNOWN, 200, b'{"status": true, "msg": "ok"}', "application/json"),
    _raw(UNKNOWN, 200, b'{"status": "maybe"}', "application/json"),
    _raw(UNKNOWN, 200, b"[" * 5_000, "application/json"),
    _raw(UNKNOWN, 299, b"\xff\xfe\x00", "application/octet-stream"),
)


def answers(*meanings: str) -> tuple[Answer, ...]:
    """Those of the answers that have one of these meanings."""
    found = tuple(answer for answer in ANSWERS if answer.meaning in meanings)
    assert found, meanings
    return found


@dataclass(frozen=True)
class Received:
    """
    A point as it arrived.

    :ivar kind: ``'count'`` or ``'value'``.
    :ivar stat: the stat's name, or its key.
    :ivar amount: how much.
    :ivar t: its time.
    """

    kind: str
    stat: str
    amount: Decimal
    t: int | None


@dataclass(frozen=True)
class Reservation:
    """
    A request as it arrived.

    :ivar path: such as ``/ez``.
    :ivar is_form: whether it was a form, not JSON.
    :ivar points: what is in it.
    :ivar id: its ``Idempotency-Key``.
    """

    path: str
    is_form: bool
    points: list[Received]
    id: str | None = None

    @property
    def stats(self) -> set[str]:
        """The stats of its points."""
        return {point.stat for point in self.points}


@dataclass
class AnsweringServer:
    """
    A server that gives one answer after the other.

    :ivar answer: chooses the answer to a request.
    :ivar honours_ids: whether a request whose ``Idempotency-Key`` was seen with taken
        points is taken as one that was dealt with. StatHat has no such thing.
    :ivar key: the only key with which requests come.
    :ivar ledger: the points that it took, in order.
    :ivar arrivals: every request.
    :ivar faults: what a StatHat server would not understand in what arrived; a test
        expects none.
    """

    answer: Callable[[Reservation], Answer] = field(default=lambda arrival: OK)
    honours_ids: bool = False
    key: str = "canary-key"
    ledger: list[Received] = field(default_factory=list)
    arrivals: list[Reservation] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids: set[str] = set()
        self.resource = _Root(self)

    def always(self, answer: Answer) -> None:
        """Answer everything alike."""
        self.answer = lambda arrival: answer

    @property
    def totals(self) -> dict[str, Decimal]:
        """The ledger, summed up by stat."""
        sums: dict[str, Decimal] = {}
        for point in self.ledger:
            sums[point.stat] = sums.get(point.stat, Decimal(0)) + point.amount
        return sums

    def forget(self) -> None:
        """Begin with an empty ledger."""
        self._ids.clear()
        for each in (self.ledger, self.arrivals, self.faults):
            each.clear()

    def listen(self) -> Any:
        """
        Serve a free port on loopback.

        :returns: the port; its server's URL is :func:`url_of` it.
        """
        return reactor.listenTCP(0, Site(self.resource), interface="127.0.0.1")

    def take(self, request: Request) -> Answer:
        """Read a request, and choose its answer."""
        arrival = self._read(request)
        self.arrivals.append(arrival)
        answer = self.answer(arrival)
        seen = self.honours_ids and arrival.id is not None and arrival.id in self._ids
        if answer.takes and not seen:
            self.ledger += arrival.points
            if arrival.id is not None:
                self._ids.add(arrival.id)
        return answer

    def _read(self, request: Request) -> Reservation:
        path = request.path.decode("latin-1")
        content_type = request.getHeader("Content-Type") or ""
        body = request.content.read()  # type: ignore[union-attr]
        is_form = content_type != "application/json"
        try:
            if request.method != b"POST" or b"?" in request.uri:
                raise ValueError("is not a POST without a query")
            key, entries = (
                _read_form(path, content_type, body) if is_form else _read_json(body)
            )
            if path not in (("/ez", "/c", "/v") if is_form else ("/ez",)):
                raise ValueError("is to a path that does not take it")
            if key != self.key:
                raise ValueError("has another key")
            points = [point for entry in entries for point in _points(entry, path)]
        except (ValueError, KeyError, ArithmeticError, TypeError) as error:
            self.faults.append(f"{request.method!r} {path}: {error!r}")
            points = []
        return Reservation(path, is_form, points, request.getHeader("Idempotency-Key"))


def url_of(port: Any) -> str:
    """The URL of a server that listens on a port."""
    return f"http://127.0.0.1:{port.getHost().port}"


def _read_form(
    path: str, content_type: str, body: bytes
) -> tuple[str, list[dict[str, Any]]]:
    """The key of a form, and its point."""
    if content_type != _FORM:
        raise ValueError(f"the content type is {content_type!r}")
    pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, errors="strict")
    fields: dict[str, Any] = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    if path == "/ez":
        return fields.pop("ezkey"), [fields]
    key = fields.pop("ukey")
    fields["stat"] = fields.pop("key")
    return key, [fields]


def _read_json(body: bytes) -> tuple[str, list[dict[str, Any]]]:
    """The key of a JSON request, and its points."""
    found = json.loads(body, parse_float=Decimal)
    entries = found["data"]
    if not 2 <= len(entries) <= MOST_POINTS:
        raise ValueError(f"JSON with {len(entries)} points")
    return found["ezkey"], entries


def _points(entry: dict[str, Any], path: str) -> list[Received]:
    """A point, or those that a name with ``~`` means."""
    (kind,) = {"count", "value"} & set(entry)
    if path != "/ez" and path != f"/{kind[0]}":
        raise ValueError(f"{path} got a {kind}")
    if set(entry) - {"stat", kind, "t"}:
        raise ValueError(f"fields that nobody knows: {sorted(entry)}")
    t = None if entry.get("t") is None else int(entry["t"])
    amount = Decimal(entry[kind])
    prefix, tilde, names = entry["stat"].partition("~")
    if not tilde or path != "/ez":
        return [Received(kind, entry["stat"], amount, t)]
    return [Received(kind, f"{prefix} {name}", amount, t) for name in names.split(",")]


class _Root(Resource):
    isLeaf = True

    def __init__(self, server: AnsweringServer) -> None:
        super().__init__()
        self._server = server

    def render(self, request: Request) -> bytes:
        answer = self._server.take(request)
        request.setResponseCode(answer.status)
        request.responseHeaders.removeHeader("Content-Type")
        request.defaultContentType = None
        if answer.content_type is not None:
            request.setHeader("Content-Type", answer.content_type)
        for name, text in answer.headers:
            request.setHeader(name, text)
        return answer.body


@implementer(IAgent)
class MemoryAgent:
    """
    An agent whose every request goes to an :class:`AnsweringServer`, at once and
    without a network.

    :param server: the server.
    :param clock: gives the time.
    :ivar times: when requests came.
    """

    def __init__(self, server: AnsweringServer, clock: Any) -> None:
        self._server = server
        self._clock = clock
        self.times: list[float] = []

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        self.times.append(self._clock.seconds())
        agent = RequestTraversalAgent(self._server.resource)
        return agent.request(method, uri, headers, bodyProducer)
