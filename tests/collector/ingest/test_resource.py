"""
Which requests with points the collector accepts, and how it refuses others.
"""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody

from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW
from tests.fixtures.support import logged, reactor
from txstathat import StatHatAPIError, txStatHat
from txstathat.collector.archive.stats import Total
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.throttle import (
    HELD_PER_SECOND,
    HOLD_SECONDS,
    MAX_ADDRESSES,
    MAX_HELD,
    MAX_WRONG,
    KeyThrottle,
)
from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.parse import PostedBatch, read_request
from txstathat.collector.limits import MAX_BATCH, MAX_BODY, MAX_FORM
from txstathat.collector.web.site import CollectorSite
from txstathat.errors import StoreUnavailable
from txstathat.testing import FakeStatHat


def read_json(body: Any, batch_id: str | None = None) -> PostedBatch:
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return read_request(
        "/ez",
        content_type="application/json; charset=utf-8",
        body=text.encode() if isinstance(text, str) else text,
        batch_id=batch_id,
    )


def data(entries: str) -> str:
    return '{"ezkey": "k", "data": [%s]}' % entries


class IngestTests(SynchronousTestCase):
    """
    ``read_request``.
    """

    def test_published_clients(self) -> None:
        """Requests as other clients of StatHat send them are read correctly."""
        for path, form, api, key, point in (
            # python-stathat's EZ and Classic, urlencoded by Python
            ("/ez", "ezkey=k&stat=a+b&count=1", "ez", "k", ("count", "a b", 1, None)),
            (
                "/v",
                "ukey=u&key=s&value=0.275",
                "classic",
                "u",
                ("value", "s", 0.275, None),
            ),
            # the Go client, which writes every number as %g and sorts the fields
            (
                "/ez",
                "count=1e%2B06&ezkey=k&stat=a&t=9",
                "ez",
                "k",
                ("count", "a", 1e6, 9),
            ),
            ("/c", "count=1&key=s&ukey=u", "classic", "u", ("count", "s", 1, None)),
            # curl -d, which escapes nothing
            (
                "/ez",
                "ezkey=k&stat=Größe 日%E6%9C%AC&value=3",
                "ez",
                "k",
                ("value", "Größe 日本", 3, None),
            ),
            # early clients, which called the EZ key email
            (
                "/ez",
                "email=me%40x.org&stat=a&value=3",
                "ez",
                "me@x.org",
                ("value", "a", 3, None),
            ),
        ):
            batch = read_request(path, body=form.encode())
            self.assertEqual((batch.api, batch.key), (api, key))
            self.assertEqual(batch.points, [point])
            by_get = read_request(path, query=form.encode())
            self.assertEqual(by_get.points, [point])

    def test_json(self) -> None:
        """A list of points, with names with ~ and times."""
        batch = read_json(
            data('{"stat": "a~b,c", "count": 2}, {"stat": "d", "value": 0.7, "t": 5}')
        )
        self.assertEqual(
            batch.points,
            [
                ("count", "a b", 2, None),
                ("count", "a c", 2, None),
                ("value", "d", 0.7, 5),
            ],
        )
        self.assertTrue(batch.is_list)

    def test_json_of_other_senders(self) -> None:
        """What some published clients send: email, null, amounts as text, exponents."""
        for body, points in (
            ('{"email": "k", "data": null}', []),
            ('{"email": "k", "ezkey": null, "data": []}', []),
            ('{"email": "other", "ezkey": "k", "data": []}', []),
            (
                data('{"stat": "a", "count": 1, "value": null, "t": null}'),
                [("count", "a", 1, None)],
            ),
            (
                data('{"stat": "a", "count": null, "value": 0, "t": 9.5}'),
                [("value", "a", 0, 9)],
            ),
            (data('{"stat": "a~b,c", "count": "2"}'), None),
            (data('{"stat": "a", "value": "1.0E7"}'), [("value", "a", 1e7, None)]),
            (data('{"stat": "a", "value": 1e+06}'), [("value", "a", 1e6, None)]),
        ):
            batch = read_json(body)
            self.assertEqual((batch.key, batch.is_list), ("k", True))
            if points is None:
                points = [("count", "a b", 2, None), ("count", "a c", 2, None)]
            self.assertEqual(list(batch.points), points)

    def refusal(self, status: int, words: str, body: Any, **request: Any) -> Refusal:
        with self.assertRaises(Refusal) as caught:
            if request:
                read_request(**{"path": "/ez", "body": body, **request})
            else:
                read_json(body)
        self.assertEqual(caught.exception.http_status, status)
        self.assertIn(words, caught.exception.msg)
        return caught.exception

    def test_refused_json(self) -> None:
        """Anything doubtful is refused; the message says where it is."""
        for words, body in (
            ("not JSON: Expecting value at character 0", ""),
            ("not JSON", '{"ezkey": "k", "data": ['),
            ("must be a JSON object", "[]"),
            ("must be a JSON object", "null"),
            ("no ezkey specified", '{"data": []}'),
            ("no ezkey specified", '{"ezkey": "", "data": []}'),
            ("ezkey: must be text", '{"ezkey": 7, "data": []}'),
            ("data: must be a list", '{"ezkey": "k"}'),
            ("data: must be a list", '{"ezkey": "k", "data": {}}'),
            ("data[1]: point: must be an object", data('{"stat":"a","count":1}, 7')),
            ("data[0]: stat: must not be empty", data('{"count": 1}')),
            ("data[0]: point: needs either", data('{"stat": "a"}')),
            ("data[0]: point: needs either", data('{"stat":"a","count":1,"value":1}')),
            ("data[0]: count: must be a number", data('{"stat": "a", "count": true}')),
            ("count: 'one' is not a decimal", data('{"stat": "a", "count": "one"}')),
            ("count: '' is not a decimal", data('{"stat": "a", "count": ""}')),
            ("count: 'NaN' is not a decimal", data('{"stat": "a", "count": "NaN"}')),
            ("count: must be a number", data('{"stat": "a", "count": [1]}')),
            ("data[0]: point: needs either", data('{"stat": "a", "count": null}')),
            (
                "data[0]: point: needs either",
                data('{"stat": "a", "count": null, "value": null}'),
            ),
            ("no ezkey specified", '{"ezkey": null, "email": "", "data": []}'),
            ("data: must be a list", '{"ezkey": "k", "data": "x"}'),
            ("data[0]: t: ", data('{"stat": "a", "count": 1, "t": -1}')),
            ("data[0]: t: ", data('{"stat": "a", "count": 1, "t": 1363118126000}')),
            ("data[0]: stat: ", data(r'{"stat": "\ud800", "count": 1}')),
            ("NaN is not a number", data('{"stat": "a", "count": NaN}')),
            ("Infinity is not a number", data('{"stat": "a", "count": -Infinity}')),
            ("is too large", data('{"stat": "a", "count": 1e400}')),
            ("beyond the largest", data('{"stat": "a", "count": %d}' % 2**63)),
            ("too many digits", data('{"stat":"a","count":%s}' % ("9" * 5000))),
            ("a field is given twice", data('{"stat":"a","count":1,"count":2}')),
            ("nested too deeply", "[" * 100_000),
            ("not UTF-8", b'{"ezkey": "\xff"}'),
        ):
            self.refusal(400, words, body)

    def test_refused_forms(self) -> None:
        """The same holds for forms."""
        for words, body in (
            (b"no ezkey specified", b""),
            (b"no ezkey specified", b"stat=a&count=1"),
            (b"stat: must not be empty", b"ezkey=k&count=1"),
            (b"stat: ' ' is only white space", b"ezkey=k&stat=+&count=1"),
            (b"needs either a count or a value", b"ezkey=k&stat=a"),
            (b"needs either a count or a value", b"ezkey=k&stat=a&count=1&value=2"),
            (b"count: 'x' is not a decimal number", b"ezkey=k&stat=a&count=x"),
            (b"a field is given twice", b"ezkey=k&stat=a&stat=b&count=1"),
            (b"not URL-encoded UTF-8", b"ezkey=k&stat=%ff&count=1"),
            (b"not URL-encoded UTF-8", b"ezkey=k&stat=\xff&count=1"),
            (b"not URL-encoded UTF-8", "ezkey=k&stat=%C3ö&count=1".encode()),
            (b"not URL-encoded UTF-8", b"ezkey=k&stat=\xed\xa0\x80&count=1"),
            (b"more than 20 fields", b"a=b&" * 21),
            (b"t: ", b"ezkey=k&stat=a&count=1&t=soon"),
        ):
            self.refusal(400, words.decode(), body, query=b"")
        self.refusal(400, "needs a count", b"ukey=u&key=s&value=1", path="/c")
        self.refusal(400, "needs a value", b"ukey=u&key=s&count=1", path="/v")
        self.refusal(400, "no ukey specified", b"key=s&count=1", path="/c")
        self.refusal(400, "without ~", b"ukey=u&key=a~b&count=1", path="/c")

    def test_no_key(self) -> None:
        """The status in the JSON is 500, as StatHat's is."""
        refusal = self.refusal(400, "no ezkey specified", b"stat=a&count=1", query=b"")
        self.assertEqual(refusal.status, 500)

    def test_keys_are_secret(self) -> None:
        """Not even an invalid key is in an answer or a repr."""
        refusal = self.refusal(400, "ezkey", '{"ezkey": "canary\\u0001", "data": []}')
        self.assertNotIn("canary", refusal.msg)
        self.assertNotIn("canary", repr(read_json('{"ezkey": "canary", "data": []}')))

    def test_bounds(self) -> None:
        """Bodies, forms, points and batch ids have limits."""
        self.refusal(413, f"{MAX_BODY} bytes", b" " * (MAX_BODY + 1), query=b"")
        self.refusal(413, f"{MAX_FORM} bytes", b"x" * (MAX_FORM + 1), query=b"")
        many = ",".join(['{"stat":"a~b,c","count":1}'] * (MAX_BATCH // 2 + 1))
        self.refusal(413, f"more than {MAX_BATCH} points", data(many))
        for batch_id in ("", "x" * 256, "a\nb"):
            self.assertRaises(Refusal, read_json, data(""), batch_id)

    @given(st.binary(max_size=200), st.sampled_from(["/ez", "/c", "/v"]), st.booleans())
    def test_fuzz(self, body: bytes, path: str, is_json: bool) -> None:
        """Any bytes are a batch or are refused."""
        self.survives(path, body, is_json)

    @example(["stat=a", "count=1", ""])
    @example(["stat=a=b", "count=1", "", "t"])
    @example(["stat=a", "count", "=1"])
    @example(["stat=a", "count=1", "count=1"])
    @example(["stat=a", "count=1", *["a=a"] * 20])
    @given(
        st.lists(
            st.sampled_from(["stat=a", "count=1", "value=2", "t=", "é", ""])
            | st.text("a=&; é\0", max_size=4),
            max_size=24,
        )
    )
    def test_unescaped_forms(self, fields: list[str]) -> None:
        """A form reads the same with and without escapes."""
        outcomes: list[Any] = []
        form = "&".join(["ezkey=a", *fields])
        for each in (form, form.replace("a", "%61")):
            try:
                outcomes.append(read_request("/ez", body=each.encode()))
            except Refusal as refusal:
                outcomes.append(str(refusal))
        self.assertEqual(outcomes[0], outcomes[1])

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.floats()
            | st.integers()
            | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["ezkey", "data", "stat", "count", "value", "t", "x"]
                    ),
                    inner,
                    max_size=5,
                )
            ),
            max_leaves=20,
        )
    )
    def test_fuzz_json(self, body: Any) -> None:
        """So is any JSON, of the right structure or similar."""
        for each in (
            body,
            {"ezkey": "k", "data": body},
            {"ezkey": "k", "data": [body]},
        ):
            self.survives("/ez", json.dumps(each).encode(), True)

    def survives(self, path: str, body: bytes, is_json: bool) -> None:
        content_type = "application/json" if is_json else ""
        try:
            read_request(path, content_type=content_type, body=body)
        except Refusal as refusal:
            self.assertIn(refusal.http_status, (400, 413))
            self.assertTrue(refusal.msg)


class IngestResourceTests(SynchronousTestCase):
    """
    Posts to a whole collector, over HTTP in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.here = Collector(self)
        self.ask = self.here.ask

    def test_form(self) -> None:
        """The answer to a form is StatHat's."""
        form = {"ezkey": self.here.ez, "stat": "a", "count": "3"}
        self.assertEqual(
            self.ask("POST", "/ez", form), (200, {"status": 200, "msg": "ok"})
        )
        self.assertEqual(self.here.totals["a"].sum, 3)

    def test_every_path_and_method(self) -> None:
        """No path and method is a server error, whether the path exists or not."""
        names = [name.decode() for name in self.here.parts.root.listNames()]
        self.assertIn("x", names)
        for path in (f"/{name}{end}" for name in names for end in ("", "/", "?", "/a")):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
                asked = self.here.begin(method, path)
                self.clock.advance(60)
                self.here.agent.flush()
                status = self.successResultOf(asked).code
                self.assertLess(status, 500, f"{method} {path}")

    def test_classic(self) -> None:
        """The Classic API posts, also with GET, to stats by their keys."""
        self.here.now(self.here.parts.archive.create("latency", "value"))
        key = self.here.now(self.here.parts.keys.add("stat", "s", "latency"))
        query = urlencode({"ukey": self.here.user, "key": key, "value": "0.5"})
        answer = self.ask("GET", f"/v?{query}")
        self.assertEqual(answer, (200, {"status": 200, "msg": "ok"}))
        self.assertEqual(self.here.totals, {"latency": Total("value", 1, 0.5)})
        form = {"ukey": self.here.user, "key": key, "count": "1"}
        status, answer = self.ask("POST", "/c", form)
        self.assertEqual(
            (status, answer["msg"][:28]), (400, "'latency' is a value stat; s")
        )
        status, answer = self.ask("POST", "/c", {**form, "key": "another"})
        self.assertEqual(
            (status, answer["msg"]),
            (403, "invalid keys: this stat key is unknown to this server"),
        )

    def test_answer_to_json(self) -> None:
        """The answer to a list has the number of its points."""
        points = '{"stat":"a","count":1},{"stat":"b","count":1}'
        body = '{"ezkey": "%s", "data": [%s]}' % (self.here.ez, points)
        answer = self.ask("POST", "/ez", body.encode(), Content_Type="application/json")
        self.assertEqual(answer, (200, {"status": 200, "msg": "ok", "multiple": 2}))

    def test_digest_of_the_query(self) -> None:
        """A GET with the same id and another query is a conflict."""
        query = {"ezkey": self.here.ez, "stat": "a", "count": "1"}
        for count, status in (("1", 200), ("1", 200), ("2", 409)):
            path = f"/ez?{urlencode({**query, 'count': count})}"
            self.assertEqual(self.ask("GET", path, Idempotency_Key="x")[0], status)
        self.assertEqual(self.here.totals["a"], Total("count", 1, 1))

    def test_a_time_ahead(self) -> None:
        """A point with a bad time is named by its index in the list, ~ names or not."""
        ahead = int(NOW) + 10 * 86_400
        points = (
            '{"stat":"a~b,c","count":1},{"stat":"d","count":1},'
            '{"stat":"e~f,g","count":1,"t":%d}' % ahead
        )
        body = '{"ezkey": "%s", "data": [%s]}' % (self.here.ez, points)
        for date in (None, "", "Tue, 13 May 2014 16:53:20 GMT", "nonsense"):
            headers = {} if date is None else {"Date": date}
            status, answer = self.ask(
                "POST",
                "/ez",
                body.encode(),
                Content_Type="application/json",
                **headers,
            )
            self.assertEqual(status, 400)
            self.assertTrue(answer["msg"].startswith("data[2]: t: 'e f' has the time"))
        self.assertEqual(self.here.totals, {})

    def test_the_clock_of_the_sender(self) -> None:
        """If the sender's clock is far ahead too, it is asked to send again later."""
        ahead = int(NOW) + 3 * 86_400
        form = {"ezkey": self.here.ez, "stat": "a", "count": "1", "t": str(ahead)}
        for at, status in (
            (ahead, 503),
            (ahead - 86_300, 503),
            (ahead - 86_500, 400),
            (int(NOW) + 3500, 400),
        ):
            date = formatdate(at, usegmt=True)
            found, answer = self.ask("POST", "/ez", form, Date=date)
            self.assertEqual(found, status, answer)
        self.assertEqual(self.here.totals, {})

    def test_no_points(self) -> None:
        """An empty list, which Go writes as null, is accepted, and counts nothing."""
        for points in ("[]", "null"):
            body = '{"email": "%s", "data": %s}' % (self.here.ez, points)
            answer = self.ask(
                "POST", "/ez", body.encode(), Content_Type="application/json"
            )
            self.assertEqual(answer, (200, {"status": 200, "msg": "ok", "multiple": 0}))
        self.assertEqual(self.here.totals, {})

    def test_large_lists(self) -> None:
        """A large list is not parsed unless it has a known key."""
        points = '{"stat": "a", "count": 1}, ' * 3000
        for key, end, status in (
            (f'"ezkey": "{self.here.ez}",', '{"stat": "a", "count": 1}', 200),
            (f'"ezkey"\n: "{self.here.ez}",', "broken", 400),
            (f'"email": "{self.here.ez}",', "broken", 400),
            (f'"email": "wrong", "ezkey": "{self.here.ez}",', "broken", 400),
            ('"email": "wrong",', "broken", 403),
            ('"ezkey": "wrong",', "broken", 403),
            ('"ezkey": "wr\\u006fng",', "broken", 403),
            (f'"ezkey": "{self.here.user}",', "broken", 403),
            ("", "broken", 403),
        ):
            body = f'{{{key} "data": [{points} {end}]}}'.encode()
            code, answer = self.ask(
                "POST", "/ez", body, Content_Type="application/json"
            )
            self.assertEqual(code, status, answer)
        self.assertEqual(self.here.totals, {"a": Total("count", 3001, 3001)})

    def test_once(self) -> None:
        """Requests with one Idempotency-Key count once; with another body it is a 409."""
        form = {"ezkey": self.here.ez, "stat": "a", "count": "3"}
        for status, count in ((200, "3"), (200, "3"), (409, "4")):
            answer = self.ask(
                "POST", "/ez", {**form, "count": count}, Idempotency_Key="x"
            )
            self.assertEqual((answer[0], answer[1]["status"]), (status, status))
        self.assertEqual(self.here.totals["a"], Total("count", 1, 3))
        self.assertEqual(self.here.parts.metrics.repeated, 1)

    def test_refusals(self) -> None:
        """The status is in HTTP and in the JSON, and nothing is stored."""
        good = {"ezkey": self.here.ez, "stat": "a", "count": "1"}
        for status, words, method, path, body in (
            (403, "EZ key is unknown", "POST", "/ez", {**good, "ezkey": "x"}),
            (403, "user key is", "POST", "/c", {"ukey": "k", "key": "s", "count": "1"}),
            (400, "decimal", "POST", "/ez", {**good, "count": "x"}),
            (400, "beyond", "POST", "/ez", {**good, "count": str(2**63)}),
            (400, "a day in the future", "POST", "/ez", {**good, "t": "1999999999"}),
            (405, "use POST", "PUT", "/ez", good),
            (404, "post to", "POST", "/", good),
            (404, "post to", "POST", "/ez/more", good),
            (404, "post to", "GET", "/favicon.ico", None),
        ):
            code, answer = self.ask(method, path, body)
            self.assertEqual((code, answer["status"]), (status, status))
            self.assertIn(words, answer["msg"])
        code, answer = self.ask("POST", "/ez", good, Content_Encoding="gzip")
        self.assertEqual(code, 415)
        self.assertEqual(self.here.totals, {})

    def test_every_answer_is_the_collectors_own(self) -> None:
        """Errors are JSON or a page; no browser guesses a type or caches an answer."""
        site = CollectorSite(self.here.parts.root, self.clock)
        site._updateLogDateTime = lambda: None
        for method, path, status, kind in (
            ("GET", "/x", 404, "application/json"),
            ("FOO", "/x", 404, "application/json"),
            ("GET", "/x/wrong/statlist", 403, "application/json"),
            ("GET", "/a1", 404, "application/json"),
            ("GET", "/a1/nope", 404, "application/json"),
            ("GET", "/a1/stats", 401, "application/json"),
            ("OPTIONS", "/ez", 405, "application/json"),
            ("FOO", "/nope", 404, "application/json"),
            ("GET", "/metrics", 401, "application/json"),
            ("GET", "/healthz", 200, "application/json"),
            ("GET", "/assets", 404, "application/json"),
            ("GET", "/assets/nope", 404, "application/json"),
            ("GET", "/assets/pages.css", 200, "text/css; charset=utf-8"),
            ("FOO", "/assets/pages.css", 405, None),
            ("GET", "/assets/pages.css/nope", 404, None),
            ("FOO", "/stats", 405, "application/json"),
            ("GET", "/sign-in/nope/nope", 404, "text/html; charset=utf-8"),
            ("OPTIONS", "*", 200, None),
        ):
            channel: Any = site.buildProtocol(None)
            channel.makeConnection(StringTransport())
            channel.dataReceived(
                f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
            head, _, body = channel.transport.value().decode().partition("\r\n\r\n")
            first, *lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            what = f"{method} {path}: {head}"
            self.assertEqual(first.split()[1], str(status), what)
            self.assertEqual(headers.get("Content-Type"), kind, what)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff", what)
            cached = "no-cache" if path.startswith("/assets/pages") else "no-store"
            self.assertEqual(headers["Cache-Control"], cached, what)
            if kind == "application/json":
                self.assertEqual(json.loads(body)["status"], status)
            if kind is None:
                self.assertEqual(body, "")
            channel.connectionLost(None)

    def test_a_store_that_fails(self) -> None:
        """It is a 503 with Retry-After; the reason is in the log, not in the answer."""
        self.here.store.add = lambda batches: fail(
            StoreUnavailable("disk /dev/secret is full")
        )
        form = {"ezkey": self.here.ez, "stat": "a", "count": "1"}
        with logged() as log:
            response = self.successResultOf(self.here.begin("POST", "/ez", form))
        self.assertEqual(response.code, 503)
        self.assertEqual(response.headers.getRawHeaders("retry-after"), ["1"])
        answer = self.successResultOf(response.text())
        self.assertNotIn("secret", answer)
        self.assertIn("try again", answer)
        self.assertIn("disk /dev/secret is full", log.text)

    def test_an_unexpected_failure(self) -> None:
        """It is a 500; the reason is in the log, not in the answer."""
        self.here.store.add = lambda batches: fail(OSError("/secret"))
        code, answer = self.ask(
            "POST", "/ez", {"ezkey": self.here.ez, "stat": "a", "count": "1"}
        )
        self.assertEqual((code, answer["status"]), (500, 500))
        self.assertNotIn("secret", answer["msg"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_new_key_works_at_once(self) -> None:
        """An unknown key makes the collector read the keys again."""
        self.clock.advance(2)
        key = self.here.now(Keys(self.here.store).add("ez", "new"))
        code, _ = self.ask("POST", "/ez", {"ezkey": key, "stat": "a", "count": "1"})
        self.assertEqual(code, 200)

    def test_wrong_keys_are_slowed_down(self) -> None:
        """After twenty in a minute their answers are delayed; right keys' never are."""
        wrong = {"ezkey": "wrong", "stat": "a", "count": "1"}
        for _ in range(MAX_WRONG):
            self.assertEqual(self.ask("POST", "/ez", wrong)[0], 403)
        held = self.here.begin("POST", "/ez", wrong)
        token = self.here.begin("GET", "/x/wrong/statlist")
        self.assertEqual(
            self.ask("POST", "/ez", {**wrong, "ezkey": self.here.ez})[0], 200
        )
        self.clock.advance(HOLD_SECONDS * 0.99)
        self.here.agent.flush()
        self.assertNoResult(held)
        self.clock.advance(HOLD_SECONDS * 1.01)
        self.here.agent.flush()
        for one in (held, token):
            response = self.successResultOf(one)
            self.assertEqual(response.code, 429)
            self.assertEqual(response.headers.getRawHeaders("retry-after"), ["58"])
        self.clock.advance(60)
        self.assertEqual(self.ask("POST", "/ez", wrong)[0], 403)

    def test_few_addresses_are_remembered(self) -> None:
        """When there are too many, the oldest are forgotten."""
        throttle = KeyThrottle(self.clock, spread=float)
        for number in range(MAX_ADDRESSES + 5):
            throttle.refuse(f"10.{number}", "key")
        self.assertEqual(throttle.addresses, MAX_ADDRESSES)

    def test_networks(self) -> None:
        """All of an IPv6 /64 counts as one address; IPv4 in IPv6 counts as IPv4."""
        for tried, same, other in (
            (
                [f"2001:db8:1:2:{n:x}::1" for n in range(MAX_WRONG)],
                "2001:db8:1:2::7",
                "2001:db8:1:3::7",
            ),
            # The first four groups are zeros, which :: leaves out.
            ([f"2001:db8::{n:x}:1:1" for n in range(1, 21)], "2001:db8::7", "2001::7"),
            ([f"fe80::{n:x}%eth0" for n in range(MAX_WRONG)], "fe80::7", "fe81::7"),
            (["::ffff:192.0.2.1"] * MAX_WRONG, "192.0.2.1", "192.0.2.2"),
            (["192.0.2.3"] * MAX_WRONG, "192.0.2.3", "::ffff:192.0.2.4"),
            ([""] * MAX_WRONG, "", "192.0.2.5"),
        ):
            throttle = KeyThrottle(self.clock, spread=float)
            for address in tried:
                throttle.refuse(address, "key")
            self.assertEqual(throttle.refuse(other, "key").status, 403)
            held = delayed(throttle, same)
            self.assertNoResult(held)
            self.clock.advance(HOLD_SECONDS)
            self.assertEqual(self.successResultOf(held).status, 429)

    def test_too_many_delayed_answers(self) -> None:
        """A further one is sent at once, and closes its connection."""
        throttle = KeyThrottle(self.clock, max_wrong=0, spread=float)
        held = [delayed(throttle, "") for _ in range(MAX_HELD)]
        refusal = throttle.refuse("", "key")
        self.assertEqual((refusal.closes, refusal.status), (True, 429))
        for one in held:
            self.assertNoResult(one)
        self.clock.advance(MAX_HELD / HELD_PER_SECOND)
        for one in held:
            refusal = self.successResultOf(one)
            self.assertEqual((refusal.closes, refusal.status), (False, 429))
        one = delayed(throttle, "")
        self.assertNoResult(one)
        self.clock.advance(HOLD_SECONDS)
        self.successResultOf(one)

    def test_many_delayed_answers(self) -> None:
        """With many of them the delays are longer, so that few are let go a second."""
        throttle = KeyThrottle(self.clock, max_wrong=0, spread=float)
        held: list[Deferred[Refusal]] = []
        let_go = [0]
        for _ in range(20):
            for _ in range(MAX_HELD - len(held) + let_go[-1]):
                held.append(delayed(throttle, ""))
            self.clock.advance(1)
            let_go.append(sum(one.called for one in held))
        self.assertEqual(let_go[1], HELD_PER_SECOND)
        self.assertLess(let_go[-1] - let_go[-9], 8 * HELD_PER_SECOND * 1.1)

    def test_delays_differ(self) -> None:
        """Each answer has its own delay, from once to twice the shortest."""
        shares = iter([0.0, 0.5, 1.0])
        throttle = KeyThrottle(self.clock, max_wrong=0, spread=lambda: next(shares))
        held = [delayed(throttle, "10.0.0.1") for _ in range(3)]
        for done in (1, 2, 3):
            self.clock.advance(HOLD_SECONDS if done == 1 else HOLD_SECONDS / 2)
            self.assertEqual([one.called for one in held].count(True), done)


def delayed(throttle: KeyThrottle, address: str) -> Deferred[Refusal]:
    """The refusal of a wrong key, at the end of its delay."""
    refusal = throttle.refuse(address, "key")
    assert refusal.hold is not None
    answered: Deferred[Refusal] = Deferred()
    refusal.hold(lambda: answered.callback(refusal))
    return answered


class _Raw(Protocol):
    """
    A connection that records what it receives.
    """

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class SocketTests(TestCase):
    """
    Limits on bodies, over real sockets.
    """

    timeout = 600

    async def _exchange(self, *writes: bytes) -> bytes:
        self.fake = FakeStatHat(lambda api, key: key == "k")
        site = CollectorSite(self.fake.resource, reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        raw = await connectProtocol(endpoint, _Raw())
        for data_ in writes:
            raw.transport.write(data_)
        while not raw.received:
            await deferLater(reactor, 0.01)
        raw.transport.abortConnection()
        return raw.received

    def test_a_large_body_is_refused_before_it_is_read(self) -> Any:
        """A too large Content-Length is a 413."""

        async def check() -> None:
            answer = await self._exchange(
                b"POST /ez HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
            )
            self.assertTrue(answer.startswith(b"HTTP/1.1 413 "))
            self.assertIn(b'"status": 413', answer)
            for line in (
                b"X-Content-Type-Options: nosniff",
                b"Cache-Control: no-store",
            ):
                self.assertIn(line, answer)

        return ensureDeferred(check())

    def test_endless_chunks_are_refused(self) -> Any:
        """Without a length, a body is a 413 when too much of it has arrived."""

        async def check() -> None:
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            answer = await self._exchange(
                b"POST /ez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunk * 20,
            )
            self.assertTrue(answer.startswith(b"HTTP/1.1 413 "))

        return ensureDeferred(check())

    def test_statuses_of_stathat(self) -> Any:
        """
        With stathat_statuses a refused point has HTTP status 200, and its status in the
        JSON; an unknown path and an accepted point are answered as ever.
        """
        self.fake = FakeStatHat(lambda api, key: key == "k")

        async def check() -> None:
            for inside in (False, True):
                site = CollectorSite(
                    self.fake.resource, reactor, stathat_statuses=inside
                )
                site.noisy = False
                port = reactor.listenTCP(0, site, interface="127.0.0.1")
                self.addCleanup(port.stopListening)
                url = f"http://127.0.0.1:{port.getHost().port}"
                agent = Agent(reactor)
                for path, http, status, words in (
                    ("/ez?ezkey=k&stat=a&count=1", 200, 200, "ok"),
                    ("/ez?ezkey=x&stat=a&count=1", 403, 403, "invalid keys"),
                    ("/c?ukey=x&key=a&count=1", 403, 403, "invalid keys"),
                    ("/ez?ezkey=k&stat=a&count=x", 400, 400, "count"),
                    ("/nope", 404, 404, "post to"),
                ):
                    response = await agent.request(b"GET", (url + path).encode())
                    answer = json.loads(await readBody(response))
                    expected = 200 if inside and http in (400, 403) else http
                    self.assertEqual(response.code, expected, path)
                    self.assertEqual(answer["status"], status)
                    self.assertIn(words, answer["msg"])
                client = txStatHat("x", url=url, ignore_errors=False)
                self.addCleanup(client.close)
                error = await self.assertFailure(client.count("a"), StatHatAPIError)
                self.assertEqual(error.status, 403)
                self.assertIn("invalid keys", error.msg)

        return ensureDeferred(check())

    def test_headers_of_any_bytes(self) -> Any:
        """A header that is not text is refused or ignored, and no error is logged."""

        async def check() -> None:
            form = b"ezkey=k&stat=a&count=1"
            for header, status in (
                (b"Idempotency-Key: \xff", b"400"),
                (b"Content-Type: \xff", b"200"),
                (b"Content-Encoding: \xff", b"415"),
            ):
                answer = await self._exchange(
                    b"POST /ez HTTP/1.1\r\nHost: x\r\n%b\r\nContent-Length: %d\r\n\r\n%b"
                    % (header, len(form), form)
                )
                self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)

        return ensureDeferred(check())

    def test_no_key_is_logged(self) -> Any:
        """Not even for a HEAD request, which Twisted logs when it is answered."""

        async def check() -> None:
            with logged() as log:
                for path in (b"/ez", b"/nowhere"):
                    await self._exchange(
                        b"HEAD %b?ezkey=canary&stat=a&count=1 HTTP/1.1\r\n"
                        b"Host: x\r\n\r\n" % path
                    )
            self.assertNotIn("canary", log.text)

        return ensureDeferred(check())

    def test_a_sender_that_leaves(self) -> Any:
        """Its points are stored, and no error is logged."""

        async def check() -> None:
            form = b"ezkey=k&stat=a&count=1"
            request = b"POST /ez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            await self._exchange((request % (len(form), form)) * 50)
            self.assertGreater(self.fake.summaries["a"].sum, 0)

        return ensureDeferred(check())
