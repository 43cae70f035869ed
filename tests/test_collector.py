"""
What the collector takes in, and what it refuses.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import ensureDeferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests.support import reactor
from txstathat import Count, Value
from txstathat.collector.front import Front, front_site
from txstathat.collector.ingest import (
    MAX_BATCH,
    MAX_BODY,
    MAX_FORM,
    Batch,
    Refusal,
    read_request,
)
from txstathat.collector.keys import Keys, new_key
from txstathat.collector.totals import IKeeper, MemoryTotals, Total
from txstathat.transport import _Body


def read_json(body: Any, batch_id: str | None = None) -> Batch:
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
    Requests, read.
    """

    def test_published_clients(self) -> None:
        """The requests that other clients of StatHat send are read as they mean."""
        for path, form, api, key, point in (
            # python-stathat's EZ and Classic, urlencoded by Python
            ("/ez", "ezkey=k&stat=a+b&count=1", "ez", "k", Count("a b", 1)),
            ("/v", "ukey=u&key=s&value=0.275", "classic", "u", Value("s", 0.275)),
            # the Go client, which writes every number as %g and sorts the fields
            ("/ez", "count=1e%2B06&ezkey=k&stat=a&t=9", "ez", "k", Count("a", 1e6, 9)),
            ("/c", "count=1&key=s&ukey=u", "classic", "u", Count("s", 1)),
            # early clients, which called the EZ key email
            ("/ez", "email=me%40x.org&stat=a&value=3", "ez", "me@x.org", Value("a", 3)),
        ):
            batch = read_request(path, body=form.encode())
            self.assertEqual((batch.api, batch.key), (api, key))
            self.assertEqual(batch.points, (point,))
            by_get = read_request(path, query=form.encode())
            self.assertEqual(by_get.points, (point,))

    def test_json(self) -> None:
        """A list of points, with ~ names and times."""
        batch = read_json(
            data('{"stat": "a~b,c", "count": 2}, {"stat": "d", "value": 0.7, "t": 5}')
        )
        self.assertEqual(
            batch.points, (Count("a b", 2), Count("a c", 2), Value("d", 0.7, 5))
        )
        self.assertTrue(batch.many)

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
        """What is not points in doubt is refused, with words that find the spot."""
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
            ("data[0]: count: must be an int", data('{"stat": "a", "count": "1"}')),
            ("data[0]: count: must be an int", data('{"stat": "a", "count": null}')),
            ("data[0]: t: ", data('{"stat": "a", "count": 1, "t": -1}')),
            ("data[0]: t: ", data('{"stat": "a", "count": 1, "t": 1363118126000}')),
            ("data[0]: stat: ", data(r'{"stat": "\ud800", "count": 1}')),
            ("NaN is not a number", data('{"stat": "a", "count": NaN}')),
            ("Infinity is not a number", data('{"stat": "a", "count": -Infinity}')),
            ("is too large", data('{"stat": "a", "count": 1e400}')),
            ("beyond the largest", data('{"stat": "a", "count": %d}' % 2**63)),
            ("not a decimal number", data('{"stat":"a","count":%s}' % ("9" * 5000))),
            ("a field is given twice", data('{"stat":"a","count":1,"count":2}')),
            ("nested too deeply", "[" * 100_000),
            ("not UTF-8", b'{"ezkey": "\xff"}'),
        ):
            self.refusal(400, words, body)

    def test_refused_forms(self) -> None:
        """The same for forms."""
        for words, body in (
            (b"no ezkey specified", b""),
            (b"no ezkey specified", b"stat=a&count=1"),
            (b"stat: must not be empty", b"ezkey=k&count=1"),
            (b"needs either a count or a value", b"ezkey=k&stat=a"),
            (b"needs either a count or a value", b"ezkey=k&stat=a&count=1&value=2"),
            (b"count: 'x' is not a decimal number", b"ezkey=k&stat=a&count=x"),
            (b"a field is given twice", b"ezkey=k&stat=a&stat=b&count=1"),
            (b"not URL-encoded UTF-8", b"ezkey=k&stat=%ff&count=1"),
            (b"not URL-encoded UTF-8", b"ezkey=k&stat=\xff&count=1"),
            (b"more than 20 fields", b"a=b&" * 21),
            (b"t: ", b"ezkey=k&stat=a&count=1&t=soon"),
        ):
            self.refusal(400, words.decode(), body, query=b"")
        self.refusal(400, "needs a count", b"ukey=u&key=s&value=1", path="/c")
        self.refusal(400, "needs a value", b"ukey=u&key=s&count=1", path="/v")
        self.refusal(400, "no ukey specified", b"key=s&count=1", path="/c")
        self.refusal(400, "without ~", b"ukey=u&key=a~b&count=1", path="/c")

    def test_no_key_is_stathats_own_answer(self) -> None:
        """The status inside is the one that StatHat is known to give."""
        refusal = self.refusal(400, "no ezkey specified", b"stat=a&count=1", query=b"")
        self.assertEqual(refusal.status, 500)

    def test_keys_are_not_quoted(self) -> None:
        """Not even a broken key comes back in an answer."""
        refusal = self.refusal(400, "ezkey", '{"ezkey": "canary\\u0001", "data": []}')
        self.assertNotIn("canary", refusal.msg)
        self.assertNotIn("canary", repr(read_json('{"ezkey": "canary", "data": []}')))

    def test_bounds(self) -> None:
        """Bodies, forms, points and batch ids have a limit."""
        self.refusal(413, f"{MAX_BODY} bytes", b" " * (MAX_BODY + 1), query=b"")
        self.refusal(413, f"{MAX_FORM} bytes", b"x" * (MAX_FORM + 1), query=b"")
        many = ",".join(['{"stat":"a~b,c","count":1}'] * (MAX_BATCH // 2 + 1))
        self.refusal(413, f"more than {MAX_BATCH} points", data(many))
        for batch_id in ("", "x" * 256, "a\nb"):
            self.assertRaises(Refusal, read_json, data(""), batch_id)

    @given(st.binary(max_size=200), st.sampled_from(["/ez", "/c", "/v"]), st.booleans())
    def test_fuzz(self, body: bytes, path: str, is_json: bool) -> None:
        """Any bytes are a batch or a refusal."""
        self.survives(path, body, is_json)

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
        """So is any JSON, in the right shape or nearly."""
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


class TotalsTests(SynchronousTestCase):
    """
    The keeper in memory.
    """

    def setUp(self) -> None:
        self.totals = MemoryTotals()

    def keep(self, body: str, batch_id: str | None = None) -> None:
        self.successResultOf(self.totals.keep(read_json(body, batch_id)))

    def test_interface(self) -> None:
        """It is a keeper."""
        verifyObject(IKeeper, self.totals)

    def test_sums(self) -> None:
        """Counters sum, values average."""
        self.keep(data('{"stat":"a","count":2}, {"stat":"b","value":1}'))
        self.keep(data('{"stat":"a","count":-5}, {"stat":"b","value":2}'))
        self.assertEqual(self.totals.totals["a"], Total("count", 2, -3))
        self.assertEqual(self.totals.totals["b"].average, 1.5)
        self.assertIsNone(Total("value").average)

    def test_kind_is_that_of_the_first_point(self) -> None:
        """A point of the other kind refuses its batch, which changes nothing."""
        self.keep(data('{"stat":"a","count":2}'))
        batch = read_json(data('{"stat":"new","count":1}, {"stat":"a","value":1}'))
        refused = self.failureResultOf(self.totals.keep(batch), Refusal)
        self.assertIn("'a' is a count stat", refused.value.msg)
        self.assertEqual(set(self.totals.totals), {"a"})

    def test_an_id_counts_once_for_each_key(self) -> None:
        """Ids are of a sender: another's may be the same."""
        self.keep(data('{"stat":"a","count":1}'), "id")
        self.keep(data('{"stat":"a","count":1}'), "id")
        self.keep('{"ezkey": "other", "data": [{"stat":"a","count":1}]}', "id")
        self.assertEqual(self.totals.totals["a"], Total("count", 2, 2))

    def test_another_body_under_an_id_is_a_conflict(self) -> None:
        """409, and nothing is added."""
        self.keep(data('{"stat":"a","count":1}'), "id")
        batch = read_json(data('{"stat":"a","count":2}'), "id")
        refused = self.failureResultOf(self.totals.keep(batch), Refusal)
        self.assertEqual(refused.value.status, 409)
        self.assertEqual(self.totals.totals["a"], Total("count", 1, 1))


class KeyTests(SynchronousTestCase):
    """
    Keys.
    """

    def test_only_known_keys_of_the_same_api(self) -> None:
        """An EZ key is no user key."""
        keys = Keys(["ez", "other"], ["user"])
        for api, key, allowed in (
            ("ez", "ez", True),
            ("ez", "other", True),
            ("ez", "user", False),
            ("classic", "user", True),
            ("classic", "ez", False),
            ("ez", "", False),
        ):
            self.assertIs(keys.allow(api, key), allowed)

    def test_kept_hashed(self) -> None:
        """The keys themselves are not kept."""
        self.assertNotIn("canary", repr(vars(Keys(["canary"]))))

    def test_new_keys_differ(self) -> None:
        """A new key has 24 random bytes."""
        self.assertNotEqual(new_key(), new_key())
        self.assertEqual(len(new_key()), 32)


class FrontTests(SynchronousTestCase):
    """
    The front door, over HTTP in memory.
    """

    def setUp(self) -> None:
        self.totals = MemoryTotals()
        self.open(self.totals)

    def open(self, keeper: Any) -> None:
        root = Front(keeper, Keys(["k"], ["u"]).allow)
        self.http = HTTPClient(RequestTraversalAgent(root), data_to_body_producer=_Body)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        response = self.successResultOf(
            self.http.request(
                method,
                f"http://localhost{path}",
                data=body,
                headers={k.replace("_", "-"): v for k, v in headers.items()},
            )
        )
        self.assertEqual(
            response.headers.getRawHeaders("content-type"), ["application/json"]
        )
        return response.code, self.successResultOf(response.json())

    def test_form(self) -> None:
        """A form gets StatHat's answer."""
        answer = self.ask("POST", "/ez", {"ezkey": "k", "stat": "a", "count": "3"})
        self.assertEqual(answer, (200, {"status": 200, "msg": "ok"}))
        self.assertEqual(self.totals.totals["a"].sum, 3)

    def test_get(self) -> None:
        """So does a GET."""
        query = urlencode({"ukey": "u", "key": "s", "value": "0.5"})
        answer = self.ask("GET", f"/v?{query}")
        self.assertEqual(answer, (200, {"status": 200, "msg": "ok"}))

    def test_json_tells_how_many(self) -> None:
        """A list is answered with the number of its points."""
        body = data('{"stat":"a","count":1},{"stat":"b","count":1}').encode()
        answer = self.ask("POST", "/ez", body, Content_Type="application/json")
        self.assertEqual(answer, (200, {"status": 200, "msg": "ok", "multiple": 2}))

    def test_refusals(self) -> None:
        """The status stands in HTTP and inside, and nothing is kept."""
        good = {"ezkey": "k", "stat": "a", "count": "1"}
        for status, words, method, path, body in (
            (403, "not known", "POST", "/ez", {**good, "ezkey": "x"}),
            (403, "not known", "POST", "/c", {"ukey": "k", "key": "s", "count": "1"}),
            (400, "decimal", "POST", "/ez", {**good, "count": "x"}),
            (405, "use POST", "PUT", "/ez", good),
            (404, "post to", "POST", "/", good),
            (404, "post to", "POST", "/ez/more", good),
            (404, "post to", "GET", "/favicon.ico", None),
        ):
            code, answer = self.ask(method, path, body)
            self.assertEqual((code, answer["status"]), (status, status))
            self.assertIn(words, answer["msg"])
        self.assertEqual(dict(self.totals.totals), {})

    def test_a_keeper_that_breaks(self) -> None:
        """The sender is told to try again; the reason is logged, not told."""

        class Broken:
            def keep(self, batch: Batch) -> Any:
                return fail(OSError("disk /dev/secret is full"))

        self.open(Broken())
        code, answer = self.ask(
            "POST", "/ez", {"ezkey": "k", "stat": "a", "count": "1"}
        )
        self.assertEqual((code, answer["status"]), (500, 500))
        self.assertNotIn("secret", answer["msg"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class _Raw(Protocol):
    """
    A connection to write bytes to, and what came back.
    """

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class SocketTests(TestCase):
    """
    What takes a real socket to see.
    """

    timeout = 20

    async def _exchange(self, *writes: bytes) -> bytes:
        self.totals = MemoryTotals()
        site = front_site(Front(self.totals, Keys(["k"]).allow), reactor)
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
        """The length that is declared is enough for a 413."""

        async def check() -> None:
            answer = await self._exchange(
                b"POST /ez HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
            )
            self.assertTrue(answer.startswith(b"HTTP/1.1 413 "))
            self.assertIn(b'"status": 413', answer)

        return ensureDeferred(check())

    def test_endless_chunks_are_refused(self) -> Any:
        """Without a length, what has arrived is counted."""

        async def check() -> None:
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            answer = await self._exchange(
                b"POST /ez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunk * 20,
            )
            self.assertTrue(answer.startswith(b"HTTP/1.1 413 "))

        return ensureDeferred(check())

    def test_a_sender_that_leaves(self) -> Any:
        """Its points are kept; nothing is logged as an error."""

        async def check() -> None:
            form = b"ezkey=k&stat=a&count=1"
            request = b"POST /ez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
            await self._exchange((request % (len(form), form)) * 50)
            self.assertGreater(self.totals.totals["a"].sum, 0)

        return ensureDeferred(check())
