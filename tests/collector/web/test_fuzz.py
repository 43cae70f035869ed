"""
Requests of all shapes to every route of a collector: no server error, and nothing is left
behind.

A few hundred requests run by default, 100,000 with ``TXSTATHAT_DRILLS=full``. The routes
are read from the site itself, so a new route is tested too.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import random
from collections import Counter
from typing import Any
from urllib.parse import quote, urlencode

import psutil
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.fixtures.archives import batch
from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW
from txstathat.collector.api.export import ExportApi
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.web.request import CappedRequest
from txstathat.collector.web.site import CollectorSite
from txstathat.points.model import Count, Value

FULL = os.environ.get("TXSTATHAT_DRILLS") == "full"
REQUESTS = 100_000 if FULL else 1_000
#: After how many requests what was used up is there again.
REFILL = 100

METHODS = ("GET", "GET", "POST", "POST", "DELETE", "HEAD", "PUT", "PATCH", "get")
NAMES = ("a", "b c", "é~ü", "x" * 255)
FIELDS = (
    *("ezkey", "ukey", "key", "email", "stat", "count", "value", "t", "data", "token"),
    *(
        "next",
        "q",
        "page",
        "offset",
        "start",
        "summary",
        "name",
        "id",
        "text",
        "format",
    ),
    *("stat_id", "kind", "time_window", "operator", "threshold", "percentage"),
    *("time_delta", "webhook", "scale", "since", "top", ""),
    *("target", "from", "until", "maxDataPoints", "query", "expr"),
)
VALUES = (
    *("", "0", "1", "-1", "0.5", "1e400", "nan", "inf", "9" * 5000, "2" * 19, "true"),
    *("1h1m", "1d5m", "1w3h", "1M1h", "1y1d", "0h0m", "9999y1m", "1m1y", "all"),
    *("value", "delta", "data", "5m", "1d", "gt", "less than", "json", "csv", "html"),
    *("*", "{a,b}.*", "sumSeries(*)", "scale(a, 1e308)", "summarize(*, '1h')"),
    *("timeShift(a, '1d')", "movingAverage(*, 5)", "constantLine(1)", "now", "-1h"),
    *("/", "//evil", "https://example.com/", "\0", "\x1b[31m", "\u202e", "%", "~,~"),
    *(str(int(NOW)), str(int(NOW) - 86_400), str(2**53)),
)
SEGMENTS = ("", ".", "..", "chart", "dataset", "dataset_full", "charts.js", "a" * 300)
TYPES = (
    "application/x-www-form-urlencoded",
    "application/json",
    "application/json; charset=utf-16",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "\xff",
)


def routes_of(root: Resource) -> list[list[str]]:
    """The paths of all resources below a root, each as its segments."""
    found: list[list[str]] = []

    def walk(resource: Any, path: list[str]) -> None:
        found.append(path)
        for name in resource.listNames():
            walk(resource.children[name], [*path, name.decode()])
        if isinstance(resource, ExportApi):
            found.extend([*path, "TOKEN", call] for call in resource.paths)

    walk(root, [])
    return found


class Requests:
    """
    Makes requests, from a source of random choices.

    :param routes: the routes.
    :param known: secrets and ids that exist.
    """

    def __init__(self, routes: list[list[str]], known: dict[str, str]) -> None:
        self.routes = routes
        self.known = known

    def make(self, rng: random.Random) -> bytes:
        """Make a request: an almost valid one, or any."""
        return self.almost_valid(rng) if rng.random() < 0.3 else self.any(rng)

    def almost_valid(self, rng: random.Random) -> bytes:
        """A request as a client or a browser sends it, or that with one change."""
        known = self.known
        token, user, stat = known["token"], known["user"], known["stat"]
        bearer = f"Authorization: Bearer {token}"
        browser = f"Cookie: txstathat={known['session']}\r\nSec-Fetch-Site: same-origin"
        point = {"ezkey": known["ez"], "stat": "a", "count": "1"}
        method, path, header, fields = rng.choice(
            [
                ("POST", "/ez", "Idempotency-Key: one", point),
                ("POST", "/ez", "Accept: */*", {**point, "t": str(int(NOW) - 60)}),
                ("GET", "/c", "Accept: */*", {"ukey": user, "key": known["key"]}),
                ("GET", f"/x/{token}/statlist", "Accept: */*", {"offset": "0"}),
                ("GET", f"/x/{token}/data/{stat}", "Accept: */*", {"t": "1h1m"}),
                ("GET", f"/a1/stats/{stat}/dataset", bearer, {"t": "1d5m"}),
                ("POST", "/a1/comments", bearer, {"id": stat, "text": "x"}),
                ("GET", "/metrics", bearer, {}),
                ("GET", "/graphite/metrics/find", bearer, {"query": "*"}),
                ("POST", "/graphite/render", bearer, {"target": "sumSeries(*)"}),
                (
                    "GET",
                    "/graphite/render",
                    bearer,
                    {"target": "movingAverage(a, '5min')", "from": "-1h"},
                ),
                ("GET", "/", browser, {"q": "a", "page": "1"}),
                ("GET", f"/stats/{stat}", browser, {"t": "1w3h"}),
                (
                    "GET",
                    f"/stats/{stat}/chart",
                    browser,
                    {"t": "1d1h", "format": "csv"},
                ),
                ("POST", "/sign-in", browser, {"token": token, "next": "/"}),
                ("POST", f"/sign-in/{known['link']}", browser, {}),
            ]
        )
        fields = dict(fields)
        if path == "/c":
            fields["count"] = "2"
        if fields and rng.random() < 0.5:
            fields[rng.choice([*fields, *FIELDS])] = self.value(rng)
        text, body = urlencode(fields), b""
        kind = "application/x-www-form-urlencoded"
        if path == "/ez" and rng.random() < 0.5:
            data = {"ezkey": fields.pop("ezkey", ""), "data": [fields] * 2}
            kind, text = "application/json", json.dumps(data)
        if method == "POST":
            body = text.encode()
        else:
            path = f"{path}?{text}"
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def any(self, rng: random.Random) -> bytes:
        """A request of any shape."""
        lines = [f"{rng.choice(METHODS)} {self.target(rng)} HTTP/1.1", "Host: x"]
        body = self.body(rng)
        lines += self.headers(rng)
        # Otherwise most requests are refused before anything else is looked at.
        if rng.random() < 0.6:
            lines += [
                f"Authorization: Bearer {self.known['token']}",
                f"Cookie: txstathat={self.known['session']}",
                "Sec-Fetch-Site: same-origin",
            ]
        if rng.random() < 0.5:
            lines.append("Content-Type: " + rng.choice(TYPES))
        if body and rng.random() < 0.3:
            lines.append("Transfer-Encoding: chunked")
            half = len(body) // 2 or 1
            parts = (part for part in (body[:half], body[half:]) if part)
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            body += b"0\r\n\r\n"
        elif body:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""])
        return head.encode("utf-8", "surrogateescape") + body

    def target(self, rng: random.Random) -> str:
        """A path and a query."""
        path = [
            self.known["token"] if each == "TOKEN" and rng.random() < 0.9 else each
            for each in rng.choice(self.routes)
        ]
        pool = (*SEGMENTS, *self.known.values())
        path += [
            rng.choice(pool) if rng.random() < 0.8 else self.text(rng)
            for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3)))
        ]
        target = "/" + "/".join(quote(each, safe="~") for each in path)
        if rng.random() < 0.5:
            target += "?" + self.form(rng)
        return target

    def text(self, rng: random.Random) -> str:
        """Any text."""
        return "".join(chr(rng.randrange(0x300)) for _ in range(rng.randrange(12)))

    def value(self, rng: random.Random) -> str:
        """The value of a field."""
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(VALUES)
        if kind < 0.8:
            return rng.choice((*self.known.values(), *NAMES))
        return self.text(rng)

    def form(self, rng: random.Random) -> str:
        """Fields."""
        fields = [
            (rng.choice(FIELDS) if rng.random() < 0.9 else self.text(rng))
            for _ in range(rng.randrange(6))
        ]
        pairs = [(field, self.value(rng)) for field in fields]
        if rng.random() < 0.3:
            # Valid points, so that more is reached.
            pairs += [("ezkey", self.known["ez"]), ("stat", "a"), ("count", "1")]
        text = urlencode(pairs)
        return text if rng.random() < 0.9 else text.replace("%", "")

    def headers(self, rng: random.Random) -> list[str]:
        """Some headers."""
        token, session = self.known["token"], self.known["session"]
        basic = base64.b64encode(f"{token}:".encode()).decode()
        pool = (
            *(f"Authorization: Bearer {token}", f"Authorization: Basic {basic}") * 4,
            *("Authorization: Basic !", "Authorization: Bearer", "Authorization:"),
            *(f"Cookie: txstathat={session}", "Sec-Fetch-Site: same-origin") * 4,
            *("Cookie: txstathat=\xff; =; a", "Sec-Fetch-Site: cross-site"),
            *("Origin: http://x", "Origin: http://[", "Content-Encoding: gzip"),
            *("Idempotency-Key: one", "Idempotency-Key: \xff", "Expect: 100-continue"),
            *("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: %", "Accept: text/html"),
            *("If-None-Match: *", "If-Modified-Since: x", "Range: bytes=5-1"),
            *("X-Forwarded-Proto: https", "Content-Type: text/plain", "Upgrade: h2c"),
        )
        return [rng.choice(pool) for _ in range(rng.randrange(5))]

    def body(self, rng: random.Random) -> bytes:
        """A body, or none."""
        kind = rng.random()
        if kind < 0.3:
            return b""
        if kind < 0.6:
            return self.form(rng).encode()
        if kind < 0.7:
            return rng.randbytes(rng.randrange(200))
        points = [
            {
                rng.choice(FIELDS): self.json(rng, 2),
                "stat": rng.choice(NAMES),
                rng.choice(("count", "value")): rng.choice((1, 0.5, "2", 2**63)),
            }
            for _ in range(rng.randrange(4))
        ]
        whole = {"ezkey": self.known["ez"], "data": points}
        text = json.dumps(whole if rng.random() < 0.8 else self.json(rng, 3))
        return text[: rng.choice((len(text),) * 4 + (len(text) // 2,))].encode()

    def json(self, rng: random.Random, depth: int) -> Any:
        """Something for JSON."""
        kind = rng.randrange(8 if depth else 6)
        if kind < 6:
            return (None, True, 1e308, float("nan"), 2**70, self.value(rng))[kind]
        inner = [self.json(rng, depth - 1) for _ in range(rng.randrange(3))]
        return inner if kind == 6 else {self.value(rng): each for each in inner}


class FuzzTests(SynchronousTestCase):
    """
    A collector in memory, behind real HTTP channels on transports of strings.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.here = Collector(self)
        root = self.here.parts.root
        self.site = CollectorSite(
            root, self.clock, metrics=self.here.parts.metrics, proxies=1
        )
        self.statuses: Counter[int] = Counter()
        self.known = {"token": self.here.token, "ez": self.here.ez}
        self.known |= {"user": self.here.user}
        self.known |= {"unknown": "Z" * 32, "stat": stat_id(NAMES[0])}
        self.refill()
        self.known["key"] = self.now(self.here.parts.keys.add("stat", "s", "a"))
        self.requests = Requests(routes_of(root), self.known)
        self.done = 0

    def now(self, waited: Any) -> Any:
        """The result of a coroutine that has finished."""
        return self.here.now(waited)

    def refill(self) -> None:
        """Make what requests use up: stats, a session, a link, and an alert."""
        parts = self.here.parts
        points = (Count("a", 1), Value("b c", 0.5), Count(NAMES[3], 1))
        self.successResultOf(parts.archive.add(batch(*points)))
        self.known["session"] = self.now(parts.sessions.open(self.here.token))
        self.known["link"] = self.now(parts.sessions.link())
        for id in self.now(parts.alerts.all()):
            self.now(parts.alerts.delete(id))
        fields = f"stat_id={stat_id('a')}&kind=data&time_window=1h"
        path = f"/x/{self.here.token}/alerts?{fields}"
        status = self.exchange(f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.assertEqual(status, 200)
        (self.known["alert"],) = self.now(parts.alerts.all())

    def exchange(self, request: bytes) -> int:
        """Send a request; the status of the answer."""
        channel = self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
        channel.makeConnection(transport)
        channel.dataReceived(request)
        # Long enough for delayed refusals, too short for any limit of the site.
        for _ in range(3):
            self.clock.advance(1)
        answer = transport.value()
        channel.connectionLost(Failure(ConnectionDone()))
        start, _, rest = answer.partition(b" ")
        self.assertEqual(start[:5], b"HTTP/", (request, answer))
        status = int(rest[:3])
        if status == 100:
            status = int(rest.partition(b"HTTP/1.1 ")[2][:3])
        return status

    def check(self, rng: random.Random) -> None:
        """Send a random request, which is not answered with a server error."""
        self.done += 1
        if self.done % REFILL == 0:
            self.refill()
        request = self.requests.make(rng)
        status = self.exchange(request)
        self.statuses[status] += 1
        self.assertLess(status, 500, request)

    def held(self) -> tuple[int, int, int]:
        """Open descriptors, requests in memory, and all objects in memory."""
        gc.collect()
        objects = gc.get_objects()
        # By their types: isinstance() would make lazy modules of others import themselves.
        requests = sum(issubclass(type(each), CappedRequest) for each in objects)
        return psutil.Process().num_fds(), requests, len(objects)

    def test_routes(self) -> None:
        """The routes of the site are found, and a new one too."""
        root = self.here.parts.root
        before = routes_of(root)
        for path in ([], ["ez"], ["x", "TOKEN", "data"], ["a1", "alerts"], ["healthz"]):
            self.assertIn(path, before)
        self.assertIn(["graphite", "metrics", "find"], before)
        root.putChild(b"new", Resource())
        root.children[b"new"].putChild(b"inner", Resource())
        self.here.parts.export.add("more")
        new = [path for path in routes_of(root) if path not in before]
        self.assertEqual(new, [["x", "TOKEN", "more"], ["new"], ["new", "inner"]])

    @given(st.randoms(use_true_random=False))
    @settings(max_examples=100, deadline=None)
    def test_no_server_error(self, rng: random.Random) -> None:
        """No request to any route is a server error."""
        self.check(rng)

    def test_nothing_is_left(self) -> None:
        """Many requests leave no open descriptors, and no more in memory than a few."""
        seed = random.SystemRandom().randrange(2**32) if FULL else 12
        rng = random.Random(seed)
        first = REQUESTS // 5
        for _ in range(first):
            self.check(rng)
        before, resident = self.held(), psutil.Process().memory_info().rss
        for _ in range(REQUESTS - first):
            self.check(rng)
        after = self.held()
        grown = psutil.Process().memory_info().rss - resident
        self.assertEqual(after[0], before[0])
        self.assertEqual(after[1], 0)
        more = after[2] - before[2]
        self.assertLess(more, 5_000)
        # Many different answers show that the requests reach what they should.
        for status in (200, 303, 400, 401, 403, 404, 405):
            self.assertGreater(self.statuses[status], 0, (seed, self.statuses))
        self.assertGreater(self.here.parts.metrics.points, REQUESTS // 200)
        if FULL:
            print(
                f"\n{REQUESTS:,} requests (seed {seed}): {dict(self.statuses)}; "
                f"{more:,} more objects, {grown / 2**20:.1f} MiB more memory, which "
                "includes the store"
            )
