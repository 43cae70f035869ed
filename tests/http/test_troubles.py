"""
Forty troubles and more: what each does to a call, with its errors ignored and not.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import TimeoutError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseFailed

from tests.fixtures import trouble
from tests.fixtures.delivery import slack
from tests.fixtures.support import Authority, logged, reactor
from tests.fixtures.trouble import (
    TroubleServer,
    abort,
    close,
    drip,
    flood,
    reply,
    send,
    stall,
)
from txstathat import (
    Count,
    InvalidPoint,
    StatHatAPIError,
    Value,
    txStatHat,
)
from txstathat.http.connections.pool import MAX_HEADERS, PooledAgent
from txstathat.http.responses import MAX_REPLY

CANARY = "canary-93c1e0f4-key"
#: Short where it is to be reached; elsewhere long enough for a busy machine.
TIMEOUT, LONG_TIMEOUT = 0.3, 10.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\n"
OK = b'{"status": 200, "msg": "ok"}'

Call = Callable[[txStatHat, bool], Deferred[bool]]


def count(*arguments: Any, **options: Any) -> Call:
    return lambda client, ignore: client.count(
        *arguments, ignore_errors=ignore, **options
    )


def value(*arguments: Any, **options: Any) -> Call:
    return lambda client, ignore: client.value(
        *arguments, ignore_errors=ignore, **options
    )


def post(points: Any) -> Call:
    return lambda client, ignore: client.post(points, ignore_errors=ignore)


_COUNT = count("signups")
AUTHORITY = Authority()


@dataclass
class Trouble:
    """
    :ivar call: what is called.
    :ivar error: what the call fails with when errors are not ignored.
    :ivar script: what the server does.
    :ivar status: the ``status`` of a StatHatAPIError.
    :ivar words: what stands in its message.
    :ivar at_once: whether the server does it before it has read a request.
    """

    error: type[Exception]
    script: list[trouble.Step] = field(default_factory=lambda: [reply()])
    call: Call = _COUNT
    status: int | None = None
    words: str = ""
    at_once: bool = False


def api(status: int, *script: trouble.Step, words: str = "") -> Trouble:
    return Trouble(StatHatAPIError, list(script), status=status, words=words)


def redirect(status: int) -> trouble.Step:
    return reply(status, b"", b"Location: https://127.0.0.1:1/\r\n")


def bad(call: Call) -> Trouble:
    return Trouble(InvalidPoint, call=call)


class _Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


TROUBLES = {
    # Names
    "name_empty": bad(count("")),
    "name_too_long": bad(count("x" * 256)),
    "name_with_newline": bad(count("a\nb")),
    "name_with_nul": bad(count("a\0b")),
    "name_with_c1_control": bad(count("a\x85b")),
    "name_with_lone_surrogate": bad(count("a\ud800b")),
    "name_none": bad(count(None)),
    "name_bytes": bad(count(b"signups")),
    "name_hostile": bad(count(_Hostile())),
    "name_tilde_without_prefix": bad(count("~a,b")),
    "name_tilde_with_an_empty_part": bad(count("a~b,,c")),
    # Amounts
    "count_nan": bad(count("a", float("nan"))),
    "count_infinite": bad(count("a", float("inf"))),
    "count_none": bad(count("a", None)),
    "count_bool": bad(count("a", True)),
    "count_text": bad(count("a", "1")),
    "count_beyond_64_bits": bad(count("a", 2**63)),
    "count_huge": bad(count("a", 10**5000)),
    "value_nan": bad(value("a", float("nan"))),
    "value_none": bad(value("a", None)),
    "value_decimal_nan": bad(value("a", Decimal("NaN"))),
    "value_decimal_of_many_digits": bad(value("a", Decimal("1." + "1" * 5000))),
    "value_decimal_too_large": bad(value("a", Decimal("1e400"))),
    "value_complex": bad(value("a", 1j)),
    # Times
    "time_negative": bad(count("a", t=-1)),
    "time_naive": bad(count("a", t=datetime(2026, 1, 1))),
    "time_in_milliseconds": bad(count("a", t=1_363_118_126_000)),
    "time_nan": bad(count("a", t=float("nan"))),
    "time_text": bad(count("a", t="2026-01-01")),
    "time_bool": bad(count("a", t=True)),
    # Lists of points
    "post_none": bad(post(None)),
    "post_of_tuples": bad(post([("a", 1)])),
    "post_with_one_bad_point": bad(post([Count("a"), Value("", 1.0)])),
    "post_of_a_broken_generator": Trouble(
        ZeroDivisionError, call=lambda *a: post(1 / 0 for _ in "x")(*a)
    ),
    # Answers of StatHat's
    "status_500_inside_a_200": api(500, reply(body=b'{"status":500,"msg":"no ezkey"}')),
    "status_403": api(403, reply(403, b'{"status": 403, "msg": "bad key"}')),
    "key_quoted_in_the_answer": api(
        403, reply(403, b'{"status": 403, "msg": "bad key %b"}' % CANARY.encode())
    ),
    "status_400_without_a_body": api(400, reply(400, b"")),
    "status_503": api(503, reply(503, b"<h1>Down</h1>")),
    "status_503_with_a_broken_retry_after": api(
        503, reply(503, b"", b"Retry-After: \xff\r\n")
    ),
    "status_503_with_an_endless_offset": api(
        503,
        reply(
            503, b"", b"Retry-After: Sun, 06 Nov 1994 08:49:37 +9999999999999999\r\n"
        ),
    ),
    "status_202": api(202, reply(202, b"queued")),
    "status_error_in_words": api(
        500, reply(body=b'{"status": "error", "msg": "invalid ezkey"}')
    ),
    "page_404": api(404, reply(404, b"<html>"), words="the URL may be wrong"),
    "redirect_301": api(301, redirect(301)),
    "redirect_302": api(302, redirect(302)),
    "redirect_307": api(307, redirect(307)),
    "html_under_200": api(200, reply(body=b"<html>Welcome to our hotspot</html>")),
    "empty_body": api(200, reply(body=b"")),
    "truncated_json": api(200, reply(body=b'{"status": 200, "ms')),
    "json_list": api(200, reply(body=b"[200]")),
    "json_null": api(200, reply(body=b"null")),
    "json_status_text": api(200, reply(body=b'{"status": "200", "msg": "ok"}')),
    "json_status_true": api(200, reply(body=b'{"status": true, "msg": "ok"}')),
    "json_msg_number": api(200, reply(body=b'{"status": 200, "msg": 1}')),
    "json_nested_deeply": api(200, reply(body=b"[" * 60_000)),
    "json_not_utf8": api(200, reply(body=b'{"status": 200, "msg": "\xff"}')),
    "reply_of_5_mb": api(200, reply(body=b" " * 5_000_000), words="too large"),
    "reply_without_end": api(
        200, send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), flood(b" " * 65536)
    ),
    "reply_of_endless_chunks": api(
        200,
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        flood(b"1000\r\n" + b" " * 4096 + b"\r\n"),
    ),
    "reply_gzip": api(
        200,
        reply(body=gzip.compress(OK), headers=b"Content-Encoding: gzip\r\n"),
        words="Content-Encoding",
    ),
    "reply_gzip_bomb": api(
        200,
        reply(
            body=gzip.compress(b" " * 50_000_000), headers=b"Content-Encoding: gzip\r\n"
        ),
        words="Content-Encoding",
    ),
    "reply_brotli": api(200, reply(headers=b"Content-Encoding: br\r\n")),
    # Connections
    "closed_at_once": Trouble(ResponseFailed, [close], at_once=True),
    "cut_before_the_answer": Trouble(ResponseFailed, [abort]),
    "closed_in_the_headers": Trouble(ResponseFailed, [send(HEAD), close]),
    "closed_in_the_body": Trouble(
        ResponseFailed, [send(HEAD + b"\r\n" + OK[:9]), close]
    ),
    "not_http": Trouble(ResponseFailed, [send(b"220 mail.example ESMTP\r\n"), close]),
    "header_line_too_long": Trouble(
        ResponseFailed, [send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)]
    ),
    "header_flood": Trouble(
        ResponseFailed,
        [send(b"HTTP/1.1 200 OK\r\n"), flood(b"X-Filler: xxxxxxxx\r\n" * 500)],
    ),
    "interim_flood": Trouble(
        ResponseFailed, [flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)]
    ),
    "no_answer": Trouble(TimeoutError, [stall]),
    "headers_stalled": Trouble(TimeoutError, [send(HEAD), stall]),
    "headers_dripped": Trouble(TimeoutError, [drip(HEAD * 50, 0.02)]),
    "body_stalled": Trouble(TimeoutError, [send(HEAD + b"\r\n" + OK[:9]), stall]),
    "body_dripped": Trouble(TimeoutError, [send(HEAD + b"\r\n"), drip(OK, 0.05)]),
}


class TroubleTests(TestCase):
    """
    Each trouble over plain HTTP, and those of the network over TLS too.
    """

    timeout = 600

    async def _meet(self, name: str, tls: bool, ignore: bool) -> None:
        case = TROUBLES[name]
        server = TroubleServer(AUTHORITY.server_options("localhost") if tls else None)
        self.addCleanup(lambda: ensureDeferred(server.stop()))
        server.script, server.at_once = case.script, case.at_once
        agent = (
            PooledAgent(
                reactor,
                trust_root=AUTHORITY.trust_root,
                max_received=MAX_REPLY + MAX_HEADERS,
            )
            if tls
            else None
        )
        timeout = TIMEOUT if case.error is TimeoutError else LONG_TIMEOUT
        client = txStatHat(CANARY, url=server.url, timeout=timeout, agent=agent)
        started = reactor.seconds()
        with logged() as log:
            (outcome,) = await case.call(client, ignore).addBoth(lambda end: (end,))
            took = reactor.seconds() - started
            if agent is not None:
                await agent.close()
            await client.close()
            await _until(lambda: not server.open)
        self.assertLess(took, timeout + slack(0.5))
        self.assertEqual(self.flushLoggedErrors(), [])
        if ignore:
            self.assertIs(outcome, False)
            self.assertEqual(sum(client.health.swallowed.values()), 1)
        else:
            self.assertIsInstance(outcome, Failure)
            self.assertIsInstance(outcome.value, case.error)
            if case.status is not None:
                self.assertEqual(outcome.value.status, case.status)
                self.assertIn(case.words, outcome.value.msg)
        texts = [log.text, repr(client), repr(client.health), _everything(outcome)]
        self.assertNotIn(CANARY, "\n".join(texts))
        if case.error is InvalidPoint:
            self.assertEqual(server.received, b"")


def _everything(outcome: Any) -> str:
    if not isinstance(outcome, Failure):
        return repr(outcome)
    return "\n".join(
        [str(outcome), repr(outcome.value), str(outcome.value), outcome.getTraceback()]
    )


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await deferLater(reactor, 0.01)


def _add_tests() -> None:
    def add(name: str, tls: bool, ignore: bool) -> None:
        def test(self: TroubleTests) -> Deferred[None]:
            return ensureDeferred(self._meet(name, tls, ignore))

        over = "tls" if tls else "plain"
        fate = "ignored" if ignore else "reported"
        what = (
            "fires False" if ignore else f"fails with {TROUBLES[name].error.__name__}"
        )
        test.__doc__ = (
            f"{name}: a call over {over} {what}, in time and without a trace."
        )
        setattr(TroubleTests, f"test_{name}_{over}_{fate}", test)

    for name, case in TROUBLES.items():
        for ignore in (True, False):
            add(name, False, ignore)
            if case.call is _COUNT:
                add(name, True, ignore)


_add_tests()
