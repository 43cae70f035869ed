"""
The clients, against the fake.
"""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    inlineCallbacks,
)
from twisted.internet.error import (
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from zope.interface.verify import verifyObject

from tests.fixtures.support import logged
from txstathat import (
    Count,
    InvalidPoint,
    NullStatHat,
    StatHatAPIError,
    StatHatBusy,
    StatHatClosed,
    Value,
    ez_count,
    stathat_from_env,
    txStatHat,
    txStatHatApiException,
    txStatHatClassic,
)
from txstathat.client.health import MAX_BAD_STATS
from txstathat.client.outcome import Verdict
from txstathat.http.connections.tracking import HandshakeFailed
from txstathat.interfaces import IStatHatProvider
from txstathat.testing import FakeStatHat, MemoryStatHat

KEY = "canary-5ad1f2"


class ClientTests(SynchronousTestCase):
    """
    What every call does.
    """

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.client = self.make()

    def make(self, **settings: Any) -> txStatHat:
        return txStatHat(KEY, agent=self.fake.agent, reactor=self.clock, **settings)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_provide_the_interface(self) -> None:
        """Clients, the null object and the fake can stand for each other."""
        for each in (
            self.client,
            txStatHatClassic("u"),
            NullStatHat(),
            MemoryStatHat(),
        ):
            verifyObject(IStatHatProvider, each)

    def test_counts_and_values_arrive(self) -> None:
        """Each method sends the point that it says."""
        for call in (
            self.client.count("signups"),
            self.client.count("signups", 42, t=1363118126),
            self.client.value("load", 0.42),
            self.client.tick("signups"),
        ):
            self.assertIs(self.successResultOf(call), True)
        self.assertEqual(
            self.fake.points,
            [
                Count("signups", 1),
                Count("signups", 42, 1363118126),
                Value("load", 0.42),
                Count("signups", 1),
            ],
        )

    def test_bound_stat(self) -> None:
        """A stat that is bound once counts and measures under its name."""
        stat = self.client.stat("signups")
        self.successResultOf(stat.tick())
        self.successResultOf(stat.count(5, t=9))
        self.assertEqual(self.fake.points, [Count("signups"), Count("signups", 5, 9)])
        self.assertNotIn(KEY, repr(stat))

    def test_one_point_is_a_form(self) -> None:
        """A single point goes as the form that the EZ API documents."""
        self.successResultOf(self.client.count("web~hits,a+b&c", 2, t=9))
        self.successResultOf(self.client.value("load", Decimal("1E+2")))
        self.successResultOf(self.client.post([Count("Zürich")]))
        forms = [dict(parse_qsl(r.body.decode())) for r in self.fake.requests]
        self.assertEqual(
            forms,
            [
                {"ezkey": KEY, "stat": "web~hits,a+b&c", "count": "2", "t": "9"},
                {"ezkey": KEY, "stat": "load", "value": "1E+2"},
                {"ezkey": KEY, "stat": "Zürich", "count": "1"},
            ],
        )
        self.assertEqual({r.path for r in self.fake.requests}, {"/ez"})
        self.assertEqual(self.fake.points[0], Count("web hits", 2, 9))

    def test_post_is_one_json_request(self) -> None:
        """Many points go in one request of StatHat's JSON API."""
        points = [Count("a", 2), Value("b", 0.5, t=1363118126)]
        self.assertIs(self.successResultOf(self.client.post(points)), True)
        (request,) = self.fake.requests
        self.assertEqual((request.method, request.path), ("POST", "/ez"))
        self.assertEqual(
            json.loads(request.body),
            {
                "ezkey": KEY,
                "data": [
                    {"stat": "a", "count": 2},
                    {"stat": "b", "value": 0.5, "t": 1363118126},
                ],
            },
        )

    def test_post_of_nothing_sends_nothing(self) -> None:
        """No points need no request."""
        self.assertIs(self.successResultOf(self.client.post([])), True)
        self.assertEqual(self.fake.requests, [])

    def test_classic(self) -> None:
        """The Classic API gets one form for each point, with the user key."""
        client = txStatHatClassic("user key", agent=self.fake.agent)
        self.assertTrue(self.successResultOf(client.count("k1", 5)))
        self.assertTrue(self.successResultOf(client.stat("k2").value(0.275)))
        self.assertTrue(self.successResultOf(client.post([Count("a"), Value("b", 2)])))
        self.assertEqual(
            [(r.path, dict(parse_qsl(r.body.decode()))) for r in self.fake.requests],
            [
                ("/c", {"ukey": "user key", "key": "k1", "count": "5"}),
                ("/v", {"ukey": "user key", "key": "k2", "value": "0.275"}),
                ("/c", {"ukey": "user key", "key": "a", "count": "1"}),
                ("/v", {"ukey": "user key", "key": "b", "value": "2"}),
            ],
        )

    def test_path_in_the_url_is_kept(self) -> None:
        """A collector may live below a path."""
        self.successResultOf(self.make(url="https://example.org/stats/").count("a"))
        self.assertEqual(self.fake.requests[0].path, "/stats/ez")

    def test_works_with_yield_and_await(self) -> None:
        """Calls are used by yielding and by awaiting."""

        @inlineCallbacks
        def yielding() -> Any:
            return (yield self.client.count("a"))

        async def awaiting() -> bool:
            return await self.client.value("b", 1)

        self.assertIs(self.successResultOf(yielding()), True)
        self.assertIs(self.successResultOf(ensureDeferred(awaiting())), True)

    def test_failures_are_swallowed_unless_asked(self) -> None:
        """By default a failure is False; the call or the client can ask for it."""
        self.fake.fail(ConnectionRefusedError(), times=3)
        self.assertIs(self.successResultOf(self.client.count("a")), False)
        self.failureResultOf(
            self.client.count("a", ignore_errors=False), ConnectionRefusedError
        )
        strict = self.make(ignore_errors=False)
        self.failureResultOf(strict.value("a", 1), ConnectionRefusedError)
        self.assertIs(self.successResultOf(strict.count("", ignore_errors=True)), False)

    def test_api_errors(self) -> None:
        """What StatHat says is in the error, under the name of 0.2 too."""
        self.fake.answer(200, '{"status": 500, "msg": "no ezkey specified"}')
        failure = self.failureResultOf(
            self.client.count("a", ignore_errors=False), txStatHatApiException
        )
        self.assertEqual(failure.value.status, 500)
        self.assertEqual(failure.value.msg, "no ezkey specified")
        self.assertEqual(str(failure.value), "status=500, msg='no ezkey specified'")

    def test_wrong_key_is_refused_by_the_fake(self) -> None:
        """A fake that knows its keys refuses another, as a collector does."""
        fake = FakeStatHat(allow=lambda api, key: (api, key) == ("ez", "right"))
        good = txStatHat("right", agent=fake.agent, ignore_errors=False)
        wrong = txStatHat("wrong", agent=fake.agent, ignore_errors=False)
        self.successResultOf(good.count("a"))
        failure = self.failureResultOf(wrong.count("a"), StatHatAPIError)
        self.assertEqual(failure.value.status, 403)
        self.assertEqual(fake.points, [Count("a")])

    def test_time_limit(self) -> None:
        """Past the time limit a call ends, not before."""
        self.fake.hang()
        call = self.client.count("a", ignore_errors=False)
        self.clock.advance(9.9)
        self.assertNoResult(call)
        self.clock.advance(0.1)
        self.failureResultOf(call, TimeoutError)

    def test_a_reply_in_the_last_moment(self) -> None:
        """A reply that is there when the time limit passes is taken."""
        answered: Deferred[Any] = Deferred()
        agent = _Later(answered, self.fake.agent)
        client = txStatHat(KEY, agent=agent, reactor=self.clock, ignore_errors=False)
        call = client.count("a")
        # A program that was held up runs its timers first, and reads then.
        self.clock.callLater(10, answered.callback, None)
        self.clock.advance(10)
        self.assertIs(self.successResultOf(call), True)

    def test_time_limit_starts_at_the_call(self) -> None:
        """Waiting in line counts."""
        client = self.make(max_connections=1)
        self.fake.hang(times=2)
        first = client.count("a", ignore_errors=False)
        self.clock.advance(6)
        second = client.count("b", ignore_errors=False)
        self.clock.advance(4)
        self.failureResultOf(first, TimeoutError)
        self.clock.advance(6)
        self.failureResultOf(second, TimeoutError)

    def test_cancelling(self) -> None:
        """A cancelled call fails with CancelledError, whatever is ignored."""
        client = self.make(max_connections=1)
        self.fake.hang()
        in_flight = client.count("a")
        in_line = client.count("b")
        in_line.cancel()
        self.failureResultOf(in_line, CancelledError)
        in_flight.cancel()
        self.failureResultOf(in_flight, CancelledError)
        self.assertIs(self.successResultOf(client.count("c")), True)
        self.assertEqual(self.fake.points, [Count("c")])

    def test_cancelling_a_classic_post_ends_all_its_requests(self) -> None:
        """A post of several requests ends as one."""
        client = txStatHatClassic("u", agent=self.fake.agent, reactor=self.clock)
        self.fake.hang(times=2)
        call = client.post([Count("a"), Count("b")])
        call.cancel()
        self.failureResultOf(call, CancelledError)

    def test_line_is_bounded(self) -> None:
        """One call more than may wait is refused, and the others go on."""
        client = self.make(max_connections=1, max_waiting=2, ignore_errors=False)
        self.fake.hang()
        first, *line = [client.count("a") for _ in range(3)]
        refused = self.failureResultOf(client.count("b"), StatHatBusy)
        self.assertEqual(refused.value.waiting, 2)
        self.assertIn("raise max_waiting, or use StatHatService", str(refused.value))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        for call in line:
            self.assertIs(self.successResultOf(call), True)

    def test_a_long_line_that_ends_at_once(self) -> None:
        """Thousands in line end one after the other, not one within the other."""
        client = self.make(max_connections=1)
        self.fake.hang()
        first, *line = [client.count("a") for _ in range(3000)]
        first.cancel()
        self.failureResultOf(first, CancelledError)
        for call in line:
            self.assertIs(self.successResultOf(call), True)

    def test_counting_from_a_callback(self) -> None:
        """A call may be made, and another cancelled, from where one has ended."""
        client = self.make(max_connections=1)
        self.fake.hang()
        first, second, third = [client.count(stat) for stat in "abc"]
        ended: list[Any] = []

        def again(result: Any) -> Any:
            third.cancel()
            client.count("d").addBoth(ended.append)
            return result

        second.addBoth(again)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertIs(self.successResultOf(second), True)
        self.failureResultOf(third, CancelledError)
        self.assertEqual(ended, [True])
        self.assertEqual(self.fake.points, [Count("b"), Count("d")])

    def test_private_keys_of_stats_are_not_told(self) -> None:
        """A Classic stat's key is private: its error does not quote it."""
        client = txStatHatClassic("u", agent=self.fake.agent)
        for key in ("canary\n", "canary" * 100):
            with logged() as log:
                self.assertIs(self.successResultOf(client.count(key)), False)
            self.assertNotIn("canary", log.text + repr(client.health))

    def test_posts_are_bounded(self) -> None:
        """More points than may go at once are refused, without end or not."""
        for points in ([Count("a")] * 10_001, itertools.repeat(Count("a"))):
            failure = self.failureResultOf(
                self.client.post(points, ignore_errors=False), InvalidPoint
            )
            self.assertIn("at most 10000", str(failure.value))

    def test_a_classic_post_goes_whole_or_not(self) -> None:
        """Where there is no room for all of its requests, none is sent."""
        client = txStatHatClassic(
            "u",
            agent=self.fake.agent,
            reactor=self.clock,
            max_connections=1,
            max_waiting=2,
        )
        call = client.post([Count("a")] * 4, ignore_errors=False)
        self.failureResultOf(call, StatHatBusy)
        self.assertEqual(self.fake.requests, [])

    def test_each_call_gets_its_own_deferred(self) -> None:
        """No Deferred is shared between callers."""
        self.assertIsNot(self.client.count(""), self.client.count(""))

    def test_bad_points_change_nothing(self) -> None:
        """One bad point refuses the whole post, before anything is sent."""
        call = self.client.post([Count("a"), Count("b", float("nan"))])
        self.assertIs(self.successResultOf(call), False)
        self.assertEqual(self.fake.requests, [])

    def test_null(self) -> None:
        """The null object says yes to all, and nothing happens."""
        null = NullStatHat()
        for call in (null.count("a", 2), null.value("b", 1), null.tick("c")):
            self.assertIs(self.successResultOf(call), True)
        self.assertIsNone(self.successResultOf(null.close()))


class ConstructorTests(SynchronousTestCase):
    """
    What a client refuses to be made of.
    """

    def test_bad_keys(self) -> None:
        """A bad key is a ValueError that does not show it."""
        for key in ("", None, 7, b"key", "canary\n", "canary" * 100):
            for make in (txStatHat, txStatHatClassic):
                error = self.assertRaises(ValueError, make, key)
                self.assertNotIn("canary", str(error) + repr(error))

    def test_keys_with_something_around_them(self) -> None:
        """A key as a file may hold it is refused, with a hint, and not shown."""
        for key in (
            "canary\n",
            "canary\r\n",
            " canary",
            "\ufeffcanary",
            "\ufeff canary",
            "canary\u00a0",
            " ",
        ):
            for make in (txStatHat, txStatHatClassic):
                error = self.assertRaises(ValueError, make, key)
                self.assertIn("white space or a byte-order mark", str(error))
                self.assertIn(".strip()", str(error))
                self.assertNotIn("canary", str(error) + repr(error))
        self.assertIn("txStatHat at", repr(txStatHat("a key with space\ufeffinside")))

    def test_the_second_argument_is_a_bool(self) -> None:
        """A URL or a key there would be ignored: it is refused, and not shown."""
        for second in ("http://canary", "canary", 0, None, {}):
            for make in (txStatHat, txStatHatClassic):
                for failing in (
                    lambda make=make, second=second: make("key", second),
                    lambda make=make, second=second: make("key", ignore_errors=second),
                ):
                    error = self.assertRaises(TypeError, failing)
                    self.assertIn("must be True or False, not", str(error))
                    self.assertIn("URL as url=", str(error))
                    self.assertNotIn("canary", str(error))
        self.assertIn("txStatHat at", repr(txStatHat("key", False)))
        called = ez_count("key", "a", ignore_errors="http://canary")
        self.failureResultOf(called, TypeError)

    def test_bad_urls(self) -> None:
        """A bad URL is a ValueError that does not show it."""
        for url in (
            "",
            7,
            "api.stathat.com",
            "ftp://canary",
            "https://",
            "https://canary:99999",
            "https://canary:0",
            "https://user:canary@example.org",
            "https://example.org/?canary=1",
            "https://example.org/#canary",
            "https://exa mple.org",
            "https://a..example.org",
            f"https://{'x' * 64}.org",
            "https://exämple.org",
            "http://-canary:8080",
            "http://localhost:",
            "http://localhost:x",
            "http://[::1]x",
            "http://::1",
            "http://[::1]:0",
            "http://[canary]",
            "http://[1.2.3.4]",
            "http://[]",
            "http://_n--canary.org",
            "http://a,b",
            "http://%41.org",
            "http://xn--a.org",
            'http://exa"mple.org',
            "http://[fe80::1%25eth0]/",
            "https://[::1",
        ):
            error = self.assertRaises(ValueError, txStatHat, "key", url=url)
            self.assertNotIn("canary", str(error))

    def test_good_urls(self) -> None:
        """What a URL may have: a port, a path, an address for a name."""
        for url in (
            "https://example.org",
            "http://127.0.0.1:8080/",
            "https://example.org./a/b/",
            "http://[::1]:8080",
            "https://[2001:db8::7]/a",
            "http://stack_stathat:8080",
            "http://_a.b_",
        ):
            origin = "/".join(url.split("/")[:3])
            client = txStatHat("key", url=url)
            self.assertEqual(repr(client), f"<txStatHat at {origin}>")

    def test_bad_limits(self) -> None:
        """Limits out of range are refused with the value."""
        for limit in (
            {"timeout": 0},
            {"timeout": float("nan")},
            {"timeout": float("inf")},
            {"timeout": 10**400},
            {"timeout": True},
            {"timeout": "10"},
            {"max_connections": 0},
            {"max_connections": 1.5},
            {"max_waiting": float("nan")},
            {"max_waiting": -1},
        ):
            error = self.assertRaises(ValueError, txStatHat, "key", **limit)
            self.assertIn(next(iter(limit)), str(error))

    def test_bad_keys_leave_no_trace(self) -> None:
        """Not even in what an error was raised from."""
        error = self.assertRaises(ValueError, txStatHat, "canary\n")
        self.assertIsNone(error.__context__)

    def test_repr_holds_no_path(self) -> None:
        """A path may be a secret too."""
        client = txStatHat(KEY, url="https://example.org:8443/canary/path")
        self.assertEqual(repr(client), "<txStatHat at https://example.org:8443>")

    def test_repr_holds_no_key(self) -> None:
        """A client can be logged."""
        client = txStatHat(KEY, url="https://example.org")
        self.assertEqual(repr(client), "<txStatHat at https://example.org>")


class HealthTests(SynchronousTestCase):
    """
    What is swallowed can be seen.
    """

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        self.clock = Clock()
        self.clock.advance(1000)
        self.client = txStatHat(KEY, agent=self.fake.agent, reactor=self.clock)

    def test_numbers(self) -> None:
        """Accepted calls, swallowed failures by cause, the last of each."""
        self.successResultOf(self.client.count("a"))
        self.clock.advance(5)
        self.fake.answer(503)
        self.fake.fail(DNSLookupError("nowhere"))
        self.fake.fail(DNSLookupError("nowhere"))
        for stat in ("a", "b", "c", ""):
            self.successResultOf(self.client.count(stat))
        health = self.client.health
        self.assertEqual(health.accepted, 1)
        self.assertEqual(
            health.swallowed,
            {"StatHatAPIError": 1, "DNSLookupError": 2, "InvalidPoint": 1},
        )
        self.assertEqual(health.last_success, 1000)
        self.assertEqual(health.last_error, "InvalidPoint: stat: must not be empty")

    def test_no_control_characters(self) -> None:
        """What a server, or an exception, says reaches neither log nor health raw."""
        evil = "\x1b[31m \r\n \x9b \u2028 \u202e \x00"
        self.fake.answer(400, json.dumps({"status": 400, "msg": f"a{evil}b"}))
        self.fake.fail(OSError(f"c{evil}d"))
        with logged() as log:
            for _ in range(2):
                self.successResultOf(self.client.count("a"))
                error = self.client.health.last_error or ""
                self.assertTrue(error.isprintable(), error)
        self.assertIn("[31m", error)
        for event in log.events:
            self.assertTrue(formatEvent(event).isprintable(), formatEvent(event))

    def test_snapshot_is_frozen(self) -> None:
        """A snapshot does not move with the client, nor can it be changed."""
        before = self.client.health
        self.fake.answer(503)
        self.successResultOf(self.client.count("a"))
        self.assertEqual(before.swallowed, {})
        self.assertRaises(AttributeError, setattr, before, "accepted", 9)

    def test_an_outage_is_two_warnings(self) -> None:
        """One when failures begin, one when they end, and no other event."""
        self.fake.fail(ConnectionRefusedError(), times=5)
        with logged() as log:
            for _ in range(7):
                self.successResultOf(self.client.count("a"))
        self.assertEqual(len(log.at_level("warn")), 2)
        self.assertIn("points were not accepted: Conn", log.at_level("warn")[0])
        self.assertIn("points are accepted again", log.at_level("warn")[1])
        self.assertIn("calls that failed: 5", log.at_level("warn")[1])
        self.assertEqual(len(log.events), 2)

    def test_bad_points_are_no_outage(self) -> None:
        """The first bad point is a warning; a good one after it logs nothing."""
        with logged() as log:
            for stat in ("", "a", "", "a"):
                self.successResultOf(self.client.count(stat))
        self.assertEqual(len(log.at_level("warn")), 1)

    def test_bad_points_are_logged_once_for_each_stat(self) -> None:
        """Each stat's first bad point is a warning that names it, in a post too."""
        bad: list[Any] = [float("nan"), "1", 2**70]
        with logged() as log:
            for amount in bad:
                self.client.count("signups", amount)
                self.client.value("load", amount)
                self.client.post([Count("good"), Count("posted", amount), Count("")])
                self.client.post(Count(stat) for stat in ("good", "x" * 300))
                self.client.post(7)  # type: ignore[arg-type]
                self.client.post([7])  # type: ignore[list-item]
                self.client.count([amount])  # type: ignore[arg-type]
        warnings = log.at_level("warn")
        self.assertEqual(len(warnings), 6)
        for stat, warning in zip(
            ("'signups'", "'load'", "'posted'", "'xxx", "None", "[nan]"),
            warnings,
            strict=True,
        ):
            self.assertIn(f"a point of stat {stat}", warning)
        self.assertIn("count: must be finite, not nan", warnings[0])
        self.assertEqual(self.client.health.swallowed, {"InvalidPoint": 21})

    def test_what_is_remembered_of_bad_stats_is_bounded(self) -> None:
        """A program that makes up names does not fill the log or the memory."""
        with logged() as log:
            for number in range(MAX_BAD_STATS + 100):
                self.client.count(f"stat {number}", float("nan"))
        self.assertEqual(len(log.at_level("warn")), MAX_BAD_STATS)

    def test_private_keys_are_told_apart_and_not_shown(self) -> None:
        """With the Classic API each key has its warning, which does not hold it."""
        client = txStatHatClassic("u", agent=self.fake.agent)
        with logged() as log:
            for key in ("canary 1", "canary 2", "canary 1"):
                client.count(key, float("nan"))
        self.assertEqual(len(log.at_level("warn")), 2)
        self.assertIn("a stat (its key is not shown)", log.at_level("warn")[0])
        self.assertNotIn("canary", log.text)

    def test_the_error_of_a_bad_point_knows_its_stat(self) -> None:
        """A caller that gets the failure can see which point of many it was."""
        points = [Count("good"), Count("bad", float("nan")), Count("worse", True)]
        outcome = self.successResultOf(self.client.send(points))
        self.assertEqual(outcome.error.stat, "bad")

    def test_key_is_hidden_in_every_form(self) -> None:
        """A server that quotes the key, encoded or not, cannot spread it."""
        key = "me+canary@example.org"
        client = txStatHat(key, agent=self.fake.agent)
        for form in (
            key,
            "me%2Bcanary%40example.org",
            "me%2bcanary@example.org",
            "me&#43;canary&#64;example.org",
            "x" * 190 + key,
        ):
            self.fake.answer(403, json.dumps({"status": 403, "msg": f"bad {form}"}))
            with logged() as log:
                self.successResultOf(client.count("a"))
            self.assertNotIn("canary", log.text + repr(client.health))


class AnswerTests(SynchronousTestCase):
    """
    What each kind of answer is to a caller.
    """

    def test_successes(self) -> None:
        """204 without a body and "ok" are successes, for one point and for many."""
        fake = FakeStatHat()
        for make in (txStatHat, txStatHatClassic):
            client = make("key", False, agent=fake.agent)
            for answer in ((204, b""), (200, b'{"status": "ok", "msg": "ok"}')):
                fake.answer(*answer, times=3 if make is txStatHat else 4)
                self.assertIs(self.successResultOf(client.count("a")), True)
                self.assertIs(self.successResultOf(client.value("a", 0.5)), True)
                posted = client.post([Count("a"), Value("b", 1)])
                self.assertIs(self.successResultOf(posted), True)
        self.assertEqual(client.health.accepted, 6)

    def test_failures(self) -> None:
        """A refusal, a page and an unclear answer are False, or a StatHatAPIError."""
        fake = FakeStatHat()
        client = txStatHat("key", agent=fake.agent)
        for status, body, words in (
            (200, b'{"status": "error", "msg": "invalid ezkey"}', "invalid ezkey"),
            (503, b'{"status": 503, "msg": "busy"}', "busy"),
            (404, b"<html>", "the URL may be wrong"),
            (202, b"queued", "202"),
        ):
            fake.answer(status, body, times=2)
            self.assertIs(self.successResultOf(client.count("a")), False)
            failing = client.count("a", ignore_errors=False)
            error = self.failureResultOf(failing, StatHatAPIError).value
            self.assertIn(words, str(error))
        self.assertEqual(fake.points, [])


class SendTests(SynchronousTestCase):
    """
    ``send`` tells what became of the points.
    """

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        self.clock = Clock()
        self.client = txStatHat("key", agent=self.fake.agent, reactor=self.clock)

    def send(self, batch_id: str | None = None) -> Any:
        return self.successResultOf(self.client.send([Count("a")], batch_id))

    def test_accepted(self) -> None:
        """Accepted points have no error."""
        outcome = self.send()
        self.assertTrue(outcome.accepted)
        self.assertIsNone(outcome.error)

    def test_batch_id_is_the_idempotency_key(self) -> None:
        """The id goes in the header; the same id with the same body counts once."""
        for _ in range(2):
            self.assertTrue(self.send("batch-1").accepted)
        self.assertEqual(self.fake.points, [Count("a")])
        self.assertEqual(
            self.fake.requests[0].headers.getRawHeaders("Idempotency-Key"), ["batch-1"]
        )

    def test_another_body_under_the_same_id_is_refused(self) -> None:
        """An id stands for one body."""
        self.assertTrue(self.send("batch-1").accepted)
        outcome = self.successResultOf(self.client.send([Count("b")], "batch-1"))
        self.assertEqual((outcome.verdict, outcome.status), (Verdict.REFUSED, 409))

    def test_classic_requests_have_an_id_each(self) -> None:
        """Where a batch is several requests, each has its own id."""
        client = txStatHatClassic("u", agent=self.fake.agent)
        outcome = self.successResultOf(client.send([Count("a"), Count("b")], "id"))
        self.assertTrue(outcome.accepted)
        ids = [r.headers.getRawHeaders("Idempotency-Key") for r in self.fake.requests]
        self.assertEqual(ids, [["id-0"], ["id-1"]])

    def test_large_batches_have_an_id_for_each_request(self) -> None:
        """More than a thousand points are several requests, each with its id."""
        points = [Count(f"s{i}", i) for i in range(2001)]
        outcome = self.successResultOf(self.client.send(points, "id"))
        self.assertTrue(outcome.accepted)
        self.assertEqual(self.fake.points, points)
        ids = [r.headers.getRawHeaders("Idempotency-Key") for r in self.fake.requests]
        self.assertEqual(ids, [["id-0"], ["id-1"], ["id-2"]])
        kinds = [r.headers.getRawHeaders("Content-Type") for r in self.fake.requests]
        form = "application/x-www-form-urlencoded"
        self.assertEqual(kinds, [["application/json"], ["application/json"], [form]])

    def test_an_id_too_long_for_all_requests_sends_none(self) -> None:
        """All requests are sent or none, also where only some ids would do."""
        client = txStatHatClassic("u", agent=self.fake.agent)
        points = [Count(f"s{i}") for i in range(11)]
        outcome = self.successResultOf(client.send(points, "x" * 253))
        self.assertIsInstance(outcome.error, InvalidPoint)
        self.assertEqual(self.fake.requests, [])
        outcome = self.successResultOf(client.send(points[:10], "x" * 253))
        self.assertTrue(outcome.accepted)

    def test_bad_batch_ids(self) -> None:
        """What cannot be a header is refused, not changed, and nothing is raised."""
        for batch_id in (7, "", "a\ud800", "a\r\nX-Evil: 1", "é", "x" * 256, " a"):
            outcome = self.successResultOf(self.client.send([Count("a")], batch_id))
            self.assertEqual(outcome.verdict, Verdict.REFUSED)
            self.assertIsInstance(outcome.error, InvalidPoint)
        self.assertEqual(self.fake.requests, [])

    def test_status_is_that_of_http_unless_it_says_success(self) -> None:
        """A refusal inside a 200 has the inner status, any other the HTTP one."""
        self.fake.answer(200, '{"status": 500, "msg": ""}')
        self.assertEqual(self.send().status, 500)
        self.fake.answer(413, '{"status": 400, "msg": ""}')
        self.assertEqual(self.send().status, 413)

    def test_retry_after(self) -> None:
        """Seconds and dates are read; other values are ignored."""
        self.clock.advance(784111777)
        for text, seconds in (
            ("0", 0),
            ("120", 120),
            ("86400", 86400),
            ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
            ("Sun, 06 Nov 1994 08:40:37 GMT", 0),
            ("-5", None),
            ("soon", None),
            ("", None),
            ("99999999999999999999", 9999999999),
            ("Sun, 06 Nov 1994 08:50:37 +9999999999999999", None),
            ("Sun, 06 Nov 99999 08:50:37 GMT", None),
            ("\u00e9", None),
        ):
            self.fake.answer(503, headers={"Retry-After": text})
            self.assertEqual(self.send().retry_after, seconds, text)

    def test_failures_before_anything_was_sent_can_be_retried(self) -> None:
        """Without a connection no server has read the points."""
        for error in (ConnectionRefusedError(), DNSLookupError()):
            self.fake.fail(error)
            outcome = self.send()
            self.assertEqual(outcome.verdict, Verdict.RETRY)
            self.assertIs(outcome.error, error)

    def test_a_lost_answer_is_ambiguous(self) -> None:
        """A request that was sent and not answered may have been taken."""
        self.fake.fail(ResponseNeverReceived([]))
        self.assertEqual(self.send().verdict, Verdict.AMBIGUOUS)

    def test_a_bad_point_is_refused(self) -> None:
        """What cannot be sent will not be taken later either."""
        outcome = self.successResultOf(self.client.send([Count("")]))
        self.assertEqual(outcome.verdict, Verdict.REFUSED)
        self.assertIsInstance(outcome.error, InvalidPoint)

    def test_a_full_line_can_be_retried(self) -> None:
        """Too many calls at once is a matter of time."""
        client = txStatHat(
            "key",
            agent=self.fake.agent,
            reactor=self.clock,
            max_connections=1,
            max_waiting=0,
        )
        self.fake.hang()
        first = client.send([Count("a")])
        outcome = self.successResultOf(client.send([Count("a")]))
        self.assertEqual(outcome.verdict, Verdict.RETRY)
        first.cancel()
        self.failureResultOf(first, CancelledError)


class CloseTests(SynchronousTestCase):
    """
    ``close`` ends everything, soon.
    """

    def setUp(self) -> None:
        self.fake = FakeStatHat()
        self.clock = Clock()
        self.client = txStatHat(
            "key", agent=self.fake.agent, reactor=self.clock, ignore_errors=False
        )

    def test_idle(self) -> None:
        """An idle client closes at once, twice too."""
        self.successResultOf(self.client.count("a"))
        self.assertIsNone(self.successResultOf(self.client.close()))
        self.assertIsNone(self.successResultOf(self.client.close()))

    def test_calls_after(self) -> None:
        """A closed client takes no calls."""
        self.successResultOf(self.client.close())
        self.failureResultOf(self.client.count("a"), StatHatClosed)
        self.assertEqual(self.fake.requests, [])

    def test_calls_under_way_may_end(self) -> None:
        """What ends within a second ends as it would have."""
        answered: Deferred[Any] = Deferred()
        agent = _Later(answered, self.fake.agent)
        client = txStatHat("key", agent=agent, reactor=self.clock)
        call = client.count("a")
        closed, again = client.close(), client.close()
        self.clock.advance(0.5)
        self.assertNoResult(closed)
        self.assertNoResult(again)
        answered.callback(None)
        self.assertIs(self.successResultOf(call), True)
        self.successResultOf(closed)
        self.successResultOf(again)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelling_does_not_stop_it(self) -> None:
        """Who does not want to wait need not; all is closed nevertheless."""
        self.fake.hang()
        call = self.client.count("a")
        self.client.close().addErrback(lambda _: None).cancel()
        closed = self.client.close()
        self.clock.advance(1)
        self.failureResultOf(call, StatHatClosed)
        self.assertIsNone(self.successResultOf(closed))

    def test_calls_that_hang_are_ended(self) -> None:
        """What has not ended after a second fails."""
        self.fake.hang(times=20)
        calls = [self.client.count("a") for _ in range(20)]
        closed = self.client.close()
        self.clock.advance(1)
        self.successResultOf(closed)
        for call in calls:
            self.failureResultOf(call, StatHatClosed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_was_in_flight_is_ambiguous(self) -> None:
        """Points that were sent when the client was closed may have been taken."""
        lost = ResponseNeverReceived([])
        for reached, verdict in (
            (lost, Verdict.AMBIGUOUS),
            (HandshakeFailed([]), Verdict.RETRY),
            (CancelledError(), Verdict.RETRY),
        ):
            answer: Deferred[Any] = Deferred(lambda d, e=reached: d.errback(e))
            agent = _Later(answer, None)
            client = txStatHat(
                "key",
                agent=agent,
                reactor=self.clock,
                max_connections=1,
            )
            sent, in_line = client.send([Count("a")]), client.send([Count("a")])
            client.close()
            self.clock.advance(1)
            outcome = self.successResultOf(sent)
            self.assertIsInstance(outcome.error, StatHatClosed)
            self.assertEqual(outcome.verdict, verdict)
            self.assertEqual(self.successResultOf(in_line).verdict, Verdict.RETRY)
            self.assertEqual(agent.requests, 1)
            after = self.successResultOf(client.send([Count("a")]))
            self.assertEqual(after.verdict, Verdict.RETRY)


class _Later:
    """
    An agent that starts on demand.
    """

    def __init__(self, when: Deferred[Any], agent: Any) -> None:
        self._when = when
        self._agent = agent
        self.requests = 0

    def request(self, *arguments: Any) -> Any:
        self.requests += 1
        return self._when.addCallback(lambda _: self._agent.request(*arguments))


class ShortcutTests(SynchronousTestCase):
    """
    One-off calls, and clients from the environment.
    """

    def test_bad_key_comes_through_the_deferred(self) -> None:
        """Nothing is raised, not even for what a constructor refuses."""
        self.failureResultOf(ez_count("", "a"), ValueError)
        self.failureResultOf(ez_count("key", "a", url="nowhere"), ValueError)
        self.failureResultOf(ez_count("key", "a", nonsense=1), TypeError)

    def test_environment(self) -> None:
        """The key makes a client, at the URL that is set; no key makes none."""
        self.assertIsInstance(stathat_from_env({}), NullStatHat)
        self.assertIsInstance(stathat_from_env({"TXSTATHAT_EZKEY": ""}), NullStatHat)
        client = stathat_from_env({"TXSTATHAT_EZKEY": "k"})
        self.assertEqual(repr(client), "<txStatHat at https://api.stathat.com>")
        environ = {"TXSTATHAT_EZKEY": "k", "TXSTATHAT_URL": "http://localhost:8080"}
        self.assertIn("http://localhost:8080", repr(stathat_from_env(environ)))
        fake = FakeStatHat()
        client = stathat_from_env({"TXSTATHAT_EZKEY": "k"}, agent=fake.agent)
        self.assertIs(self.successResultOf(client.count("a")), True)
        self.assertEqual(fake.points, [Count("a")])
