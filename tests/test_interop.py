"""
Clients that nobody here wrote, with a collector: npm's ``stathat`` on Node, curl, and
the requests that python-stathat, the Go, Ruby and PHP clients and StatHat's own command
line send, byte for byte. And the package's own clients, with servers that answer as
StatHat and its successors do.
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.parse import quote_plus, urlencode

from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.fixtures.answering_server import TAKEN, AnsweringServer, answers, url_of
from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.support import reactor, require_program
from txstathat import Count, StatHatService, Value, txStatHat, txStatHatClassic
from txstathat.collector.archive.stats import Total

#: StatHat's answer to what it took.
OK = {"status": 200, "msg": "ok"}

#: Has requests of Node's own http module for StatHat go somewhere else.
HOST_JS = """
const http = require('http');
const request = http.request;
http.request = (options, answered) => {
    if (options.hostname !== 'api.stathat.com') throw new Error(options.hostname);
    const there = {hostname: '127.0.0.1', port: process.env.COLLECTOR_PORT};
    return request({...options, ...there}, answered);
};
"""

#: A program as the package's README has them.
PROGRAM_JS = """
const stathat = require('stathat');
const [ez, user, counter, value] = process.argv.slice(2);
const tell = (status, body) => console.log(status, String(body));
stathat.trackEZCount(ez, 'page view~total,it', 5, tell);
stathat.trackEZCountWithTime(ez, 'late', 2, 1363118126, tell);
stathat.trackEZValue(ez, 'load', 0.25, tell);
stathat.trackEZValueWithTime(ez, 'load', 0.75, 1363118126, tell);
stathat.trackCount(user, counter, 7, tell);
stathat.trackCountWithTime(user, counter, 1, 1363118126, tell);
stathat.trackValue(user, value, 1.5, tell);
stathat.trackValueWithTime(user, value, 2.5, 1363118126, tell);
stathat.trackEZCount('wrong', 'load', 1, tell);
"""


class _Connection(Protocol):
    """
    Bytes to a server, and the answers that come back.
    """

    def __init__(self) -> None:
        self._received = b""
        self._waiting: Deferred[tuple[int, Any]] | None = None

    def ask(self, request: bytes) -> Deferred[tuple[int, Any]]:
        """Send a request; the status and the JSON of its answer."""
        self._waiting = Deferred()
        self.transport.write(request)  # type: ignore[union-attr]
        return self._waiting

    def dataReceived(self, data: bytes) -> None:
        """Wait for the whole answer, whose length is told."""
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = [line for line in lines if line.startswith(b"content-length: ")]
        if not length or len(body) < int(length[0].partition(b": ")[2]):
            return
        self._received = b""
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        waiting.callback((int(lines[0].split()[1]), json.loads(body)))


class InteropCase(ServiceCase):
    """
    A collector with a counter and a value of the Classic API.
    """

    timeout = 600

    @inlineCallbacks
    def start(self, **options: Any) -> Any:
        """Start it."""
        yield super().start(**options)
        self.ez, self.user, self.token = self.keys.values()
        archive, keys = self.parts.archive, self.parts.keys
        self.stat_keys = []
        for name, kind in (("by key", "count"), ("measured", "value")):
            yield Deferred.fromCoroutine(archive.create(name, kind))
            made = Deferred.fromCoroutine(keys.add("stat", name, name))
            self.stat_keys.append((yield made))

    @inlineCallbacks
    def run_program(self, *command: str, **options: Any) -> Any:
        """Run one in a thread; what it printed."""
        done = yield deferToThread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            timeout=300,
            **options,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class ProgramTests(InteropCase):
    """
    Programs.
    """

    @inlineCallbacks
    def test_curl(self) -> Any:
        """curl posts forms and JSON, reads them back, and makes an alert."""
        curl = require_program("curl", "curl")
        yield self.start()
        told = yield self.run_program(
            *(curl, "-s", "-d", "stat=page view", "-d", f"ezkey={self.ez}"),
            *("-d", "count=1", f"{self.url}/ez"),
        )
        self.assertEqual(json.loads(told), OK)
        points = [
            {"stat": "page view", "count": 2},
            {"stat": "load~total,web01", "value": 0.7},
        ]
        told = yield self.run_program(
            *(curl, "-s", "-H", "Content-Type: application/json"),
            *("-d", json.dumps({"ezkey": self.ez, "data": points})),
            f"{self.url}/ez",
        )
        self.assertEqual(json.loads(told), {**OK, "multiple": 3})
        told = yield self.run_program(
            curl, "-s", f"{self.url}/c?ukey={self.user}&key={self.stat_keys[0]}&count=4"
        )
        self.assertEqual(json.loads(told), OK)
        below = f"{self.url}/x/{self.token}"
        told = yield self.run_program(curl, "-sf", f"{below}/stat?name=page%20view")
        stat = json.loads(told)
        told = yield self.run_program(
            curl, "-sf", "-u", f"{self.token}:", f"{self.url}/a1/stats"
        )
        self.assertEqual(
            [each["name"] for each in json.loads(told)],
            ["by key", "load total", "load web01", "measured", "page view"],
        )
        told = yield self.run_program(
            *(curl, "-sf", "-d", f"stat_id={stat['id']}", "-d", "kind=value"),
            *("-d", "time_window=1h", "-d", "operator=greater than"),
            *("-d", "threshold=500", f"{below}/alerts"),
        )
        made = json.loads(told)
        self.assertEqual((made["stat_name"], made["threshold"]), ("page view", 500))
        told = yield self.run_program(
            curl, "-sf", "-X", "DELETE", f"{below}/alerts/{made['id']}"
        )
        self.assertEqual(json.loads(told), {"msg": "alert deleted."})
        totals = yield self.totals()
        self.assertEqual(totals["page view"], Total("count", 2, 3))
        self.assertEqual(totals["by key"].sum, 4)

    @inlineCallbacks
    def test_node(self) -> Any:
        """All that npm's stathat can send is taken, and what it is told is right."""
        node = require_program("node", "nodejs")
        npm = require_program("npm", "npm")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        installed = yield deferToThread(
            subprocess.run,
            [npm, "install", "--no-audit", "--no-fund", "stathat@0.0.8"],
            cwd=folder,
            capture_output=True,
            timeout=300,
        )
        if installed.returncode:
            if os.environ.get("CI") == "true":
                raise AssertionError(installed.stderr.decode())
            raise SkipTest("npm could not install stathat: is there a network?")
        (folder / "host.js").write_text(HOST_JS)
        (folder / "program.js").write_text(PROGRAM_JS)
        yield self.start()
        told = yield self.run_program(
            *(node, "--require", "./host.js", "program.js"),
            *(self.ez, self.user, *self.stat_keys),
            cwd=folder,
            env={**os.environ, "COLLECTOR_PORT": self.url.rpartition(":")[2]},
        )
        ok = '200 {"status": 200, "msg": "ok"}'
        refused = '403 {"status": 403, "msg": "invalid keys: this EZ key is unknown to this server"}'
        self.assertEqual(sorted(told.splitlines()), [ok] * 8 + [refused])
        self.assertEqual(
            (yield self.totals()),
            {
                "page view total": Total("count", 1, 5),
                "page view it": Total("count", 1, 5),
                "late": Total("count", 1, 2),
                "load": Total("value", 2, 1.0),
                "by key": Total("count", 2, 8),
                "measured": Total("value", 2, 4.0),
            },
        )


class ReplayTests(InteropCase):
    """
    Requests as other clients write them, sent again.
    """

    @inlineCallbacks
    def connect(self) -> Any:
        """A connection to the collector."""
        port = self.service.addresses[0].port
        self.host = f"127.0.0.1:{port}"
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        connection = yield connectProtocol(endpoint, _Connection())
        self.addCleanup(connection.transport.abortConnection)
        return connection

    @inlineCallbacks
    def test_python_stathat(self) -> Any:
        """What python-stathat 0.2.0 posts through Python 2's urllib2."""
        yield self.start()
        counter, value = self.stat_keys
        for path, body in (
            ("/ez", f"count=1&stat=a+b&ezkey={self.ez}"),
            ("/ez", f"stat=caf%C3%A9&ezkey={self.ez}&value=0.275"),
            ("/c", f"ukey={self.user}&count=12&key={counter}"),
            ("/v", f"ukey={self.user}&key={value}&value=3.3333333333"),
        ):
            connection = yield self.connect()
            answer = yield connection.ask(
                (
                    f"POST {path} HTTP/1.1\r\nAccept-Encoding: identity\r\n"
                    f"Content-Length: {len(body)}\r\nHost: {self.host}\r\n"
                    "Content-Type: application/x-www-form-urlencoded\r\n"
                    "Connection: close\r\nUser-Agent: Python-urllib/2.7\r\n\r\n"
                    f"{body}"
                ).encode("ascii")
            )
            # Any other status it would raise; so it would without status and msg.
            self.assertEqual(answer, (200, OK))
        self.assertEqual(
            (yield self.totals()),
            {
                "a b": Total("count", 1, 1),
                "café": Total("value", 1, 0.275),
                "by key": Total("count", 1, 12),
                "measured": Total("value", 1, 3.3333333333),
            },
        )

    @inlineCallbacks
    def test_go(self) -> Any:
        """
        What the Go client posts: sorted fields, numbers as floats in their shortest
        form, several requests on one connection.
        """
        yield self.start()
        counter, value = self.stat_keys
        connection = yield self.connect()
        for path, body in (
            ("/ez", f"count=1&ezkey={quote_plus(self.ez)}&stat=page+view"),
            ("/ez", f"count=1e%2B06&ezkey={self.ez}&stat=page+view&t=1363118126"),
            ("/ez", f"ezkey={self.ez}&stat=load%7Ea%2Cb&value=1e-07"),
            ("/c", f"count=3&key={counter}&t=1363118126&ukey={self.user}"),
            ("/v", f"key={value}&ukey={self.user}&value=2.5"),
        ):
            answer = yield connection.ask(self.go_post(path, body))
            self.assertEqual(answer, (200, OK))
        totals = yield self.totals()
        self.assertEqual(totals["page view"].sum, 1_000_001)
        self.assertEqual(totals["load b"].sum, 1e-07)
        self.assertEqual(totals["by key"], Total("count", 1, 3))
        self.assertEqual(totals["measured"], Total("value", 1, 2.5))

    def go_post(self, path: str, body: str, authorization: str = "") -> bytes:
        """A form as Go's net/http posts it."""
        return (
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"User-Agent: Go-http-client/1.1\r\nContent-Length: {len(body)}\r\n"
            f"{authorization}"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Accept-Encoding: gzip\r\n\r\n{body}"
        ).encode("ascii")

    @inlineCallbacks
    def test_ruby(self) -> Any:
        """
        What the Ruby gem asks with GET through Net::HTTP, all fields in the query. Its
        answers need a body with a status: on an empty body it fails.
        """
        yield self.start()
        counter, value = self.stat_keys
        for path, fields in (
            ("/ez", {"stat": "page view", "ezkey": self.ez, "count": 2}),
            ("/ez", {"stat": "load é~a,b", "ezkey": self.ez, "value": 0.275}),
            ("/ez", {"stat": "late", "ezkey": self.ez, "count": 1, "t": 1363118126}),
            ("/c", {"key": counter, "ukey": self.user, "count": 12}),
            ("/v", {"key": value, "ukey": self.user, "value": 1.5e-07}),
        ):
            connection = yield self.connect()
            answer = yield connection.ask(
                (
                    f"GET {path}?{urlencode(fields)} HTTP/1.1\r\n"
                    "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\n"
                    "Accept: */*\r\nUser-Agent: Ruby\r\n"
                    f"Host: {self.host}\r\nConnection: close\r\n\r\n"
                ).encode("ascii")
            )
            self.assertEqual(answer, (200, OK))
        self.assertEqual(
            (yield self.totals()),
            {
                "page view": Total("count", 1, 2),
                "load é a": Total("value", 1, 0.275),
                "load é b": Total("value", 1, 0.275),
                "late": Total("count", 1, 1),
                "by key": Total("count", 1, 12),
                "measured": Total("value", 1, 1.5e-07),
            },
        )

    @inlineCallbacks
    def test_php_that_waits(self) -> Any:
        """
        What StatHat's PHP functions for one synchronous post send by PHP's own streams:
        HTTP/1.0, the key as ``email``, and nothing in the form encoded.
        """
        yield self.start()
        counter, value = self.stat_keys
        for path, body in (
            ("/ez", f"email={self.ez}&stat=page view&count=3"),
            ("/ez", f"email={self.ez}&stat=café~a,b&value=0.5"),
            ("/c", f"key={counter}&ukey={self.user}&count=4"),
            ("/v", f"key={value}&ukey={self.user}&value=1.0E-7"),
        ):
            connection = yield self.connect()
            raw = body.encode()
            head = (
                f"POST {path} HTTP/1.0\r\nHost: {self.host}\r\n"
                f"Connection: close\r\nContent-Length: {len(raw)}\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            )
            answer = yield connection.ask(head.encode("ascii") + raw)
            self.assertEqual(answer, (200, OK), body)
        self.assertEqual(
            (yield self.totals()),
            {
                "page view": Total("count", 1, 3),
                "café a": Total("value", 1, 0.5),
                "café b": Total("value", 1, 0.5),
                "by key": Total("count", 1, 4),
                "measured": Total("value", 1, 1e-07),
            },
        )

    @inlineCallbacks
    def test_php_that_hangs_up(self) -> Any:
        """
        What PHP's asynchronous functions write before they close the connection without
        reading an answer: the points count all the same.
        """
        yield self.start()
        counter, value = self.stat_keys
        points = {"ezkey": self.ez, "data": [{"stat": "sold", "count": 2, "t": 1.5e9}]}
        form = "application/x-www-form-urlencoded"
        for path, content_type, body in (
            ("/ez", form, f"email={quote_plus(self.ez)}&stat=page+view&count=3"),
            ("/ez", form, f"email={quote_plus(self.ez)}&stat=load&value=0.5"),
            ("/c", form, f"key={counter}&ukey={self.user}&count=4"),
            ("/v", form, f"key={value}&ukey={self.user}&value=2.5"),
            ("/ez", "application/json", json.dumps(points, separators=(",", ":"))),
        ):
            connection = yield self.connect()
            request = (
                f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
                f"Connection: Close\r\n\r\n{body}"
            )
            connection.transport.write(request.encode("ascii"))
            connection.transport.loseConnection()
        wanted = {
            "page view": Total("count", 1, 3),
            "load": Total("value", 1, 0.5),
            "by key": Total("count", 1, 4),
            "measured": Total("value", 1, 2.5),
            "sold": Total("count", 1, 2),
        }
        # Nobody is left to be told when they are stored.
        for _ in range(500):
            totals = yield self.totals()
            if totals == wanted:
                break
            yield deferLater(reactor, 0.01)
        self.assertEqual(totals, wanted)

    @inlineCallbacks
    def test_php_guzzle(self) -> Any:
        """What a PHP client posts through Guzzle: a form, also with amounts as text."""
        yield self.start()
        counter, value = self.stat_keys
        for path, body in (
            ("/ez", f"ezkey={quote_plus(self.ez)}&stat=page%20view&count=1"),
            ("/ez", f"ezkey={self.ez}&stat=load&value=0.25"),
            ("/c", f"key={counter}&ukey={self.user}&count=1"),
            ("/v", f"key={value}&ukey={self.user}&value=12"),
        ):
            connection = yield self.connect()
            answer = yield connection.ask(
                (
                    f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                    "Content-Type: application/x-www-form-urlencoded\r\n"
                    "Connection: Close\r\n"
                    "User-Agent: Guzzle/5.0.3 curl/7.38.0 PHP/5.6.4\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}"
                ).encode("ascii")
            )
            self.assertEqual(answer, (200, OK))
        totals = yield self.totals()
        self.assertEqual(totals["page view"], Total("count", 1, 1))
        self.assertEqual(totals["load"], Total("value", 1, 0.25))
        self.assertEqual(totals["by key"], Total("count", 1, 1))
        self.assertEqual(totals["measured"], Total("value", 1, 12))

    @inlineCallbacks
    def test_stathats_command_line(self) -> Any:
        """
        What StatHat's own command line sends, to whose structs the answers must fit:
        post, list, dataset, alert value, alert delta, alert data, comment, alert list,
        delete.
        """
        yield self.start()
        connection = yield self.connect()
        basic = b64encode(f"{self.token}:".encode()).decode()
        authorization = f"Authorization: Basic {basic}\r\n"

        def ask(method: str, path: str) -> Any:
            return connection.ask(
                (
                    f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                    f"User-Agent: Go-http-client/1.1\r\n{authorization}"
                    "Accept-Encoding: gzip\r\n\r\n"
                ).encode("ascii")
            )

        body = f"count=2.5&ezkey={self.ez}&stat=page+view"
        answer = yield connection.ask(self.go_post("/ez", body))
        self.assertEqual(answer, (200, OK))
        status, stats = yield ask("GET", "/a1/stats")
        self.assertEqual(status, 200)
        (id,) = (each["id"] for each in stats if each["name"] == "page view")
        status, dataset = yield ask("GET", f"/a1/stats/{id}/dataset?t=1w3h")
        self.assertEqual((status, len(dataset["Points"])), (200, 56))
        self.assertEqual(sum(point["Value"] for point in dataset["Points"]), 2.5)
        types = {"Time": int, "Value": (int, float), "Rcount": (int, float)}
        for point in dataset["Points"]:
            for name, type in types.items():
                self.assertIsInstance(point[name], type)
        for form in (
            f"kind=value&operator=&stat_id={id}&threshold=0&time_window=1d",
            f"kind=delta&operator=dt&percentage=50&stat_id={id}&time_delta=1d"
            "&time_window=1d",
            f"kind=data&stat_id={id}&time_window=1d",
        ):
            answer = yield connection.ask(
                self.go_post("/a1/alerts", form, authorization)
            )
            self.assertEqual(answer[0], 200, answer)
        form = f"id={id}&text=new+release"
        answer = yield connection.ask(self.go_post("/a1/comments", form, authorization))
        self.assertEqual(
            answer, (200, {"Message": "comment added to page view"}), answer
        )
        status, alerts = yield ask("GET", "/a1/alerts")
        self.assertEqual(status, 200)
        self.assertEqual(
            sorted(alert["kind"] for alert in alerts), ["data", "delta", "value"]
        )
        texts = ("id", "stat_id", "stat_name", "kind", "time_window")
        for alert in alerts:
            for name in texts:
                self.assertIsInstance(alert[name], str)
        status, _ = yield ask("DELETE", f"/a1/stats/{id}")
        self.assertEqual(status, 200)
        status, stats = yield ask("GET", "/a1/stats")
        self.assertEqual([each["name"] for each in stats], ["by key", "measured"])


class SuccessTests(TestCase):
    """
    The package's clients, with servers that say in their own way that they took points.
    """

    timeout = 600

    def setUp(self) -> None:
        self.server = AnsweringServer()
        port = self.server.listen()
        self.url = url_of(port)
        self.addCleanup(port.stopListening)

    def test_clients(self) -> Any:
        """Single points, several points, and a service: all fire ``True``, once each."""
        several = [Count("paid", Decimal("0.1")), Value("load", 0.25, 1_363_118_126)]

        async def check() -> None:
            for answer in answers(TAKEN):
                for make in (txStatHat, txStatHatClassic):
                    self.server.forget()
                    self.server.always(answer)
                    client = make("canary-key", url=self.url, ignore_errors=False)
                    self.assertIs(await client.count("signups", 7), True)
                    self.assertIs(await client.value("load", 0.5), True)
                    self.assertIs(await client.tick("signups"), True)
                    self.assertIs(await client.post(several), True)
                    outcome = await client.send(several)
                    self.assertTrue(outcome.accepted)
                    await client.close()
                    self.assertFalse(self.server.faults, self.server.faults[:1])
                    self.assertEqual(
                        self.server.totals,
                        {"signups": 8, "load": Decimal(1), "paid": Decimal("0.2")},
                        answer.name,
                    )
                    self.assertEqual(len(self.server.ledger), 7, answer.name)

        return ensureDeferred(check())

    def test_service(self) -> Any:
        """Five counts of a service are five on the server, whatever success looks like."""

        async def check() -> None:
            for answer in answers(TAKEN):
                for make in (txStatHat, txStatHatClassic):
                    self.server.forget()
                    self.server.always(answer)
                    client = make("canary-key", url=self.url)
                    service = StatHatService(client, interval=0.05)
                    service.startService()
                    for _ in range(5):
                        service.count("signups")
                    self.assertTrue(await service.flush(), answer.name)
                    await service.stopService()
                    self.assertEqual(service.health.delivered, 5, answer.name)
                    self.assertEqual(self.server.totals, {"signups": 5}, answer.name)
                    self.assertFalse(self.server.faults, self.server.faults[:1])

        return ensureDeferred(check())
