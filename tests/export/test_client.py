"""
The export client: against the collector, and against servers that say other things.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from textwrap import dedent
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, quote_plus

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from tests.fixtures import ROOT
from tests.fixtures.archives import START, batch
from tests.fixtures.collectors import Collector
from tests.fixtures.stores import NOW
from tests.fixtures.support import logged
from txstathat import (
    Count,
    InvalidPoint,
    InvalidTimeframe,
    StatHatAPIError,
    StatHatBusy,
    StatHatClosed,
    StatHatExport,
    Value,
)
from txstathat.export.models import (
    Alert,
    DataPoint,
    Dataset,
    FullDataset,
    FullPoint,
    StatInfo,
)
from txstathat.points.summary import Summary, summarize

#: Has what is written differently in a path, in a query and in a header.
TOKEN = "canary/5ad1f2 +é"
ALERT = {
    "id": "al1",
    "stat_id": "abc123",
    "stat_name": "load",
    "kind": "value",
    "time_window": "1h",
    "operator": "greater than",
    "threshold": 7.5,
}


class CollectorCase(SynchronousTestCase):
    """
    With a collector of one's own.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.here = Collector(self)
        self.client = StatHatExport(
            self.here.token,
            url="http://localhost",
            agent=self.here.agent,
            reactor=self.clock,
        )
        self.keep(Count("page views", 3, START - 3600), Count("page views", 4))
        self.keep(Value("load/é <b>", 1, START), Value("load/é <b>", 2))

    def keep(self, *points: Any) -> None:
        """Have points kept."""
        self.successResultOf(self.here.parts.archive.add(batch(*points)))

    def ids(self) -> tuple[str, ...]:
        """The ids of the stats, by name."""
        return tuple(stat.id for stat in self.successResultOf(self.client.stats()))

    def keep_pages(self) -> list[str]:
        """Have stats kept that fill two of the smallest pages; their names."""
        self.here.parts.export.pages.page_size = 3_000
        names = [f"z{number:04}" for number in range(5_999)]
        self.keep(*map(Count, names))
        return names

    def test_stats(self) -> None:
        """All stats are listed, typed, over as many pages as there are."""
        names = self.keep_pages()
        stats = self.successResultOf(self.client.stats())
        self.assertEqual(
            [(stat.name, stat.counter, stat.public) for stat in stats],
            [
                ("load/é <b>", False, False),
                ("page views", True, False),
                *((name, True, False) for name in names),
            ],
        )
        self.assertEqual(len({stat.id for stat in stats}), len(stats))

    def test_latest(self) -> None:
        """The newest point and the number of points come over all pages, if asked."""
        self.keep_pages()
        self.here.now(self.here.parts.archive.create("zz", "count"))
        load, views, *_, z = self.successResultOf(self.client.stats(latest=True))
        minute = START // 60 * 60
        self.assertEqual((load.newest, load.points), (DataPoint(minute, 1.5), 2))
        self.assertEqual((views.newest, views.points), (DataPoint(minute, 4), 2))
        self.assertEqual((z.newest, z.points), (None, 0))
        for stat in self.successResultOf(self.client.stats()):
            self.assertEqual((stat.newest, stat.points), (None, None))

    def test_stat(self) -> None:
        """A stat is found by any name, and a missing one is an error."""
        load, _ = self.successResultOf(self.client.stats())
        self.assertEqual(self.successResultOf(self.client.stat("load/é <b>")), load)
        error = self.failureResultOf(self.client.stat("other"), StatHatAPIError).value
        self.assertEqual(error.status, 404)
        self.assertIn("no stat", error.msg)

    def test_data(self) -> None:
        """Points of several stats, in the order asked; one id may stand alone."""
        hour = START // 3600 * 3600
        load, views = self.ids()
        got = self.successResultOf(self.client.data([views, load], "2h1h"))
        self.assertEqual(
            got,
            [
                Dataset(
                    "page views",
                    "2 hours @ 1 hour",
                    (DataPoint(hour - 3600, 3), DataPoint(hour, 4)),
                ),
                Dataset("load/é <b>", "2 hours @ 1 hour", (DataPoint(hour, 1.5),)),
            ],
        )
        self.assertEqual(self.successResultOf(self.client.data(load, "2h1h")), got[1:])
        self.assertEqual(self.successResultOf(self.client.data([], "2h1h")), [])

    def test_data_of_many(self) -> None:
        """More ids than one request names go in several, and the order stays."""
        load, views = self.ids()
        asked = [load, views] * 11 + [load]
        got = self.successResultOf(self.client.data(asked, "1h1h"))
        self.assertEqual(
            [one.name for one in got],
            ["load/é <b>", "page views"] * 11 + ["load/é <b>"],
        )

    def test_start_and_summary(self) -> None:
        """Points from a start on, and one point a day; the default is 1w3h."""
        hour = START // 3600 * 3600
        load, views = self.ids()
        (got,) = self.successResultOf(
            self.client.data(views, "1d1h", start=START - 3600)
        )
        self.assertEqual(got.points, (DataPoint(hour - 3600, 3), DataPoint(hour, 4)))
        then = datetime.fromtimestamp(START - 3600, UTC)
        self.assertEqual(
            self.successResultOf(self.client.data(views, "1d1h", start=then)), [got]
        )
        (got,) = self.successResultOf(self.client.data(views, summary="3d"))
        self.assertEqual(got.timeframe, "3 days @ 1 day")
        self.assertEqual([point.value for point in got.points], [0, 0, 7])
        self.assertEqual(
            self.successResultOf(self.client.data([load, views])),
            self.successResultOf(self.client.data([load, views], "1w3h")),
        )

    def test_data_that_is_not_there(self) -> None:
        """The collector's words are the error's."""
        (load, _) = self.ids()
        for status, words, ids, timeframe in (
            (404, "no stat with the id", "nonsense", "1w3h"),
            (400, "minutes are stored for 26 hours", load, "3d1m"),
        ):
            error = self.failureResultOf(
                self.client.data(ids, timeframe), StatHatAPIError
            ).value
            self.assertEqual(error.status, status)
            self.assertIn(words, error.msg)

    def test_full_data(self) -> None:
        """With it come the kind and the receipts."""
        hour = START // 3600 * 3600
        load, views = self.ids()
        self.assertEqual(
            self.successResultOf(self.client.full_data(load, "2h1h")),
            FullDataset(
                "load/é <b>",
                "2h1h",
                False,
                (FullPoint(hour - 3600, 0, 0), FullPoint(hour, 1.5, 2)),
            ),
        )
        self.assertEqual(
            self.successResultOf(self.client.full_data(views, "3h1h")).points,
            (
                FullPoint(hour - 7200, 0, 0),
                FullPoint(hour - 3600, 3, 1),
                FullPoint(hour, 4, 1),
            ),
        )

    def test_summary(self) -> None:
        """Only points that have data are summed up."""
        _, views = self.ids()
        result = self.successResultOf(self.client.summary(views, "1w3h"))
        self.assertEqual((result.steps, result.latest, result.total), (1, 7, 7))
        result = self.successResultOf(self.client.summary(views, "1d1h"))
        self.assertEqual((result.steps, result.latest, result.total), (2, 4, 7))
        self.assertEqual((result.min, result.max, result.mean), (3, 4, 3.5))

    def test_delete(self) -> None:
        """A stat is deleted once."""
        load, views = self.ids()
        self.assertIsNone(self.successResultOf(self.client.delete(views)))
        self.assertEqual(self.ids(), (load,))
        error = self.failureResultOf(self.client.delete(views), StatHatAPIError).value
        self.assertEqual(error.status, 404)

    def test_alerts(self) -> None:
        """Alerts of each kind are created, listed, read one by one, and deleted."""
        id, _ = self.ids()
        self.assertEqual(self.successResultOf(self.client.alerts()), [])
        made = [
            self.successResultOf(self.client.create_alert(id, kind, "1h", **options))
            for kind, options in (
                ("value", {"operator": "less than", "threshold": -0.5}),
                (
                    "delta",
                    {
                        "operator": "different than",
                        "percentage": Decimal("12.50"),
                        "time_delta": "1d",
                    },
                ),
                ("data", {}),
            )
        ]
        value, delta, data = made
        self.assertEqual(
            value,
            Alert(
                *(value.id, id, "load/é <b>", "value", "1h", "less than", -0.5),
                firing=False,
                acknowledged=False,
                warning=value.warning,
            ),
        )
        self.assertIn("nobody will be notified", value.warning)
        self.assertEqual((delta.percentage, delta.time_delta), (12.5, "1d"))
        self.assertEqual((data.operator, data.threshold), (None, None))
        made = [replace(alert, warning=None) for alert in made]
        value, delta, data = made
        listed = self.successResultOf(self.client.alerts())
        self.assertEqual(listed, sorted(made, key=lambda alert: alert.id))
        self.assertEqual(self.successResultOf(self.client.alert(delta.id)), delta)
        self.successResultOf(self.client.delete_alert(delta.id))
        for ask in (self.client.alert, self.client.delete_alert):
            error = self.failureResultOf(ask(delta.id), StatHatAPIError).value
            self.assertEqual(error.status, 404)
        self.assertEqual(len(self.successResultOf(self.client.alerts())), 2)

    def test_an_alert_fires(self) -> None:
        """An alert tells that it fires, once the collector has judged it."""
        _, id = self.ids()
        made = self.successResultOf(
            self.client.create_alert(
                id, "value", "1h", operator="greater than", threshold=3
            )
        )
        self.clock.advance(120)
        self.here.now(self.here.parts.monitor.evaluate())
        alert = self.successResultOf(self.client.alert(made.id))
        self.assertIs(alert.firing, True)

    def test_alerts_that_cannot_be(self) -> None:
        """The collector's words come back, for each that does not fit."""
        id, _ = self.ids()
        for words, stat, kind, window, options in (
            ("there is no stat", "nosuchstatnosuch", "data", "1h", {}),
            ("kind: must be one of", id, "other", "1h", {}),
            ("time_window: must be one of", id, "data", "2h", {}),
            ("operator: must be one of", id, "value", "1h", {"threshold": 1}),
            ("threshold: is missing", id, "value", "1h", {"operator": "less than"}),
        ):
            failed = self.client.create_alert(stat, kind, window, **options)
            error = self.failureResultOf(failed, StatHatAPIError).value
            self.assertIn(words, error.msg)
        self.assertEqual(self.successResultOf(self.client.alerts()), [])

    def test_documentation(self) -> None:
        """The example in the documentation prints points and a summary."""
        self.keep(Count("signups", 5))
        page = (ROOT / "docs" / "export.rst").read_text()
        (block,) = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", page)
        names: dict[str, Any] = {}
        exec(dedent(block), names)
        names["StatHatExport"] = lambda token, url: self.client
        with redirect_stdout(StringIO()) as out:
            shown = Deferred.fromCoroutine(names["show"](self.here.token))
            self.successResultOf(shown)
        lines = out.getvalue().splitlines()
        self.assertEqual(len(lines), 56 + 1)
        self.assertEqual(lines[-2].split()[1], "5")
        self.assertEqual(lines[-1], "5 5.0 None")

    def test_a_wrong_token(self) -> None:
        """It is refused, and not quoted."""
        client = StatHatExport(
            TOKEN, url="http://localhost", agent=self.here.agent, reactor=self.clock
        )
        for call in (client.stats(), client.full_data("abc123", "1w3h")):
            error = self.failureResultOf(call, StatHatAPIError).value
            self.assertEqual(error.status, 403)
            self.assertNotIn("canary", str(error))


class _Script(Resource):
    """
    Answers with one thing after another, and remembers the requests.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Any] = []
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.authorized: list[str | None] = []

    def render(self, request: Request) -> Any:
        self.asked.append((request.method.decode(), request.uri.decode()))
        self.bodies.append(request.content.read())
        self.authorized.append(request.getHeader("authorization"))
        answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            return NOT_DONE_YET
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        request.setResponseCode(status)
        return body if isinstance(body, bytes) else json.dumps(body).encode()


@implementer(IAgent)
class _FailingAgent:
    def request(self, *arguments: Any, **more: Any) -> Deferred[Any]:
        return fail(ConnectionRefusedError("no"))


class ScriptCase(SynchronousTestCase):
    """
    With a server that gives scripted answers.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.script = _Script()
        self.client = self.make()

    def make(self, **settings: Any) -> StatHatExport:
        """A client of the server."""
        options = {"agent": RequestTraversalAgent(self.script), "reactor": self.clock}
        return StatHatExport(
            TOKEN, url="https://example.com/base", **{**options, **settings}
        )

    def calls(self, client: StatHatExport) -> list[Any]:
        """Every call that there is."""
        return [
            client.stats,
            lambda: client.stat("a"),
            lambda: client.data(["abc123"], "1w3h"),
            lambda: client.full_data("abc123", "1w3h"),
            lambda: client.summary("abc123", "1w3h"),
            lambda: client.delete("abc123"),
            client.alerts,
            lambda: client.alert("al1"),
            lambda: client.create_alert("abc123", "data", "1h"),
            lambda: client.delete_alert("al1"),
        ]

    def error(self, call: Any, *kinds: Any) -> Any:
        """What a call fails with; it shows the token nowhere."""
        with logged() as log:
            failure = self.failureResultOf(call(), *kinds)
        shown = "\n".join(
            [
                str(failure.value),
                repr(failure.value),
                repr(failure.value.args),
                failure.getTraceback(),
                log.text,
            ]
        )
        basic = b64encode(f"{TOKEN}:".encode()).decode()
        for form in (TOKEN, quote(TOKEN), quote(TOKEN, safe=""), basic, "canary"):
            self.assertNotIn(form, shown)
        return failure.value


class RequestTests(ScriptCase):
    """
    What is asked, and what is made of the answers.
    """

    def test_requests(self) -> None:
        """Each call asks for what StatHat's manual says, below the URL."""
        path = "/base/x/canary%2F5ad1f2%20%2B%C3%A9"
        stat = {"id": "abc123", "name": "a", "counter": True}
        full = {"Name": "a", "Timeframe": "1w3h", "Kind": "count", "Points": None}
        points = {"name": "a", "timeframe": "t", "points": None}
        self.script.answers = [
            *([stat], stat, [points], full, full, {"msg": "stat deleted."}),
            *([ALERT], ALERT, ALERT, {"msg": "alert deleted."}),
        ]
        for call in self.calls(self.client):
            self.successResultOf(call())
        self.assertEqual(
            self.script.asked,
            [
                ("GET", f"{path}/statlist"),
                ("GET", f"{path}/stat?name=a"),
                ("GET", f"{path}/data/abc123?t=1w3h"),
                ("GET", "/base/a1/stats/abc123/dataset?t=1w3h"),
                ("GET", "/base/a1/stats/abc123/dataset?t=1w3h"),
                ("DELETE", f"{path}/stats/abc123"),
                ("GET", f"{path}/alerts"),
                ("GET", f"{path}/alerts/al1"),
                ("POST", f"{path}/alerts"),
                ("DELETE", f"{path}/alerts/al1"),
            ],
        )
        basic = "Basic " + b64encode(f"{TOKEN}:".encode()).decode()
        self.assertEqual(
            [each for each in self.script.authorized if each], [basic, basic]
        )

    def test_many_ids(self) -> None:
        """At most five stats are named in a request; the answers keep the order."""
        ids = [f"id{n}" for n in range(12)]
        self.script.answers = [
            [{"name": id, "timeframe": "t", "points": []} for id in some]
            for some in (ids[:5], ids[5:10], ids[10:])
        ]
        got = self.successResultOf(self.client.data(ids, "1w3h", start=1_400_000_000))
        self.assertEqual([one.name for one in got], ids)
        self.assertEqual(
            [uri.partition("/data/")[2] for _, uri in self.script.asked],
            [
                f"{'/'.join(some)}?t=1w3h&start=1400000000"
                for some in (ids[:5], ids[5:10], ids[10:])
            ],
        )

    def test_ids_stay_where_they_are(self) -> None:
        """No id leads to another path."""
        self.script.answers = [{}]
        self.successResultOf(self.client.delete("../a?b#c%2e/"))
        self.assertEqual(
            self.script.asked[0][1].rpartition("/")[2], "..%2Fa%3Fb%23c%252e%2F"
        )

    def test_pages(self) -> None:
        """Full pages are followed by offset until one is short; each stat is listed once."""
        stats = [
            {"id": f"id-{n}", "name": str(n), "counter": True} for n in range(6_001)
        ]
        self.script.answers = [stats[:3_001], stats[3_000:6_001], stats[6_000:]]
        got = self.successResultOf(self.client.stats())
        self.assertEqual([stat.id for stat in got], [f"id-{n}" for n in range(6_001)])
        self.assertEqual(
            [uri.partition("?")[2] for _, uri in self.script.asked],
            ["", "offset=3001", "offset=6002"],
        )

    def test_a_short_page(self) -> None:
        """A page that is shorter than those of any known server is the last one."""
        page = [{"id": f"id-{n}", "name": "a", "counter": True} for n in range(2_999)]
        self.script.answers = [page]
        self.assertEqual(len(self.successResultOf(self.client.stats())), 2_999)

    def test_a_server_without_offsets(self) -> None:
        """The same full page twice is the end."""
        page = [{"id": f"id-{n}", "name": "a", "counter": True} for n in range(3_000)]
        self.script.answers = [page, page]
        self.assertEqual(
            self.successResultOf(self.client.stats()),
            [StatInfo(f"id-{n}", "a", False, True) for n in range(3_000)],
        )

    def test_a_server_without_an_end(self) -> None:
        """Pages are followed up to a limit."""
        stats = [{"id": f"id-{n}", "name": "a", "counter": True} for n in range(12_000)]
        self.script.answers = [stats[n : n + 3_000] for n in range(0, 12_000, 3_000)]
        client = self.make(max_stats=9_000)
        error = self.error(client.stats, StatHatAPIError)
        self.assertIn("more than 9,000 stats", error.msg)
        self.assertEqual(len(self.script.asked), 3)

    def test_alerts(self) -> None:
        """Alerts are typed; the fields that a kind does not have are None."""
        self.script.answers = [[ALERT, {**ALERT, "threshold": None}]]
        one, other = self.successResultOf(self.client.alerts())
        self.assertEqual(
            one,
            Alert(
                id="al1",
                stat_id="abc123",
                stat_name="load",
                kind="value",
                time_window="1h",
                operator="greater than",
                threshold=7.5,
            ),
        )
        self.assertIsNone(other.threshold)

    def test_create_alert(self) -> None:
        """The options that are given are sent, as a form, exactly."""
        self.script.answers = [ALERT]
        made = self.successResultOf(
            self.client.create_alert(
                "abc123",
                "delta",
                "1h",
                operator="different than",
                percentage=12.5,
                time_delta="1d",
            )
        )
        self.assertEqual(made.id, "al1")
        self.assertEqual(
            parse_qs(self.script.bodies[0].decode()),
            {
                "stat_id": ["abc123"],
                "kind": ["delta"],
                "time_window": ["1h"],
                "operator": ["different than"],
                "percentage": ["12.5"],
                "time_delta": ["1d"],
            },
        )


class BusyTests(ScriptCase):
    """
    A server that has had too many requests says so under HTTP 200.
    """

    busy: ClassVar[Any] = {"Error": "Rate limit exceeded."}

    def test_it_is_asked_again(self) -> None:
        """After 1, 2, 4 and 8 seconds; what it answers then is the result."""
        for call, good in zip(
            (lambda: self.client.stats(), lambda: self.client.delete("abc123")),
            ([], {"msg": "stat deleted."}),
            strict=True,
        ):
            self.script.asked.clear()
            self.script.answers = [self.busy] * 4 + [good]
            waiting = call()
            for asked, delay in enumerate((1, 2, 4, 8), 1):
                self.clock.advance(delay - 0.01)
                self.assertEqual(len(self.script.asked), asked)
                self.assertNoResult(waiting)
                self.clock.advance(0.01)
            self.assertEqual(len(self.script.asked), 5)
            self.assertFalse(self.successResultOf(waiting))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_stays_busy(self) -> None:
        """Every call fails with the server's words, after five requests."""
        for call in self.calls(self.client):
            self.script.asked.clear()
            self.script.answers = [self.busy] * 9
            waiting = call()
            self.clock.pump([1, 2, 4, 8])
            error = self.error(lambda waiting=waiting: waiting, StatHatAPIError)
            self.assertEqual((error.status, error.msg), (200, "Rate limit exceeded."))
            self.assertEqual(len(self.script.asked), 5)

    def test_other_errors(self) -> None:
        """Any such error is a refusal, even a strange one, and shows no token."""
        for words, answer in (
            ("bad [token]", {"Error": f"bad {TOKEN}"}),
            ("refused without a reason", {"Error": 7}),
            ("refused without a reason", {"Error": ""}),
        ):
            self.script.answers = [answer] * 5
            waiting = self.client.delete("abc123")
            self.clock.pump([1, 2, 4, 8])
            error = self.error(lambda waiting=waiting: waiting, StatHatAPIError)
            self.assertEqual(error.msg, words)
        # No error is one that is not there; and another HTTP status is not asked again.
        self.script.answers = [{"Error": None}, (429, self.busy)]
        self.assertIsNone(self.successResultOf(self.client.delete("abc123")))
        error = self.error(lambda: self.client.delete("abc123"), StatHatAPIError)
        self.assertEqual((error.status, error.msg), (429, "Rate limit exceeded."))

    def test_a_refusal_in_words(self) -> None:
        """A status of error is a refusal too, at once."""
        self.script.answers = [{"status": "error", "msg": "no such stat"}]
        error = self.error(lambda: self.client.delete("abc123"), StatHatAPIError)
        self.assertEqual((error.status, error.msg), (200, "no such stat"))

    def test_cancel_and_close(self) -> None:
        """Both end the waiting at once, and leave nothing behind."""
        self.script.answers = [self.busy] * 2
        cancelled, closed = self.client.stats(), self.client.stats()
        cancelled.cancel()
        self.error(lambda: cancelled, CancelledError)
        self.assertNoResult(closed)
        done = self.client.close()
        self.error(lambda: closed, StatHatClosed)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_all_wait(self) -> None:
        """No more calls wait than may wait in line; one more fails at once."""
        client = self.make(max_waiting=1)
        self.script.answers = [self.busy] * 2 + [[]]
        waiting = client.stats()
        self.error(client.stats, StatHatAPIError)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), [])


class FailureTests(ScriptCase):
    """
    Every way to fail, and no token in any.
    """

    def test_refusals(self) -> None:
        """The status inside the answer counts, else the HTTP status; the words stay."""
        for status, msg, answer in (
            (404, "no such stat", (404, {"status": 404, "msg": "no such stat"})),
            (500, "no", (200, {"status": 500, "msg": "no"})),
            (403, "no", (403, {"status": 200, "msg": "no"})),
            (403, "no", (403, {"error": "no"})),
            (502, "refused with HTTP status 502", (502, [])),
            (500, "refused with HTTP status 500", (500, {"status": True, "msg": 5})),
            (500, "a b", (500, {"msg": "a\nb"})),
            (500, "x" * 200, (500, {"msg": "x" * 300})),
        ):
            for call in self.calls(self.client):
                self.script.answers = [answer]
                error = self.error(call, StatHatAPIError)
                self.assertEqual((error.status, error.msg), (status, msg))

    def test_servers_that_quote(self) -> None:
        """A token in a refusal, in whatever form, is taken out."""
        basic = b64encode(f"{TOKEN}:".encode()).decode()
        forms = [TOKEN, quote(TOKEN), quote(TOKEN, safe=""), quote_plus(TOKEN), basic]
        for form in forms:
            for call in self.calls(self.client):
                self.script.answers = [(403, {"msg": f"bad {form}, {form}"})]
                error = self.error(call, StatHatAPIError)
                self.assertEqual(error.msg, "bad [token], [token]")

    def test_nonsense(self) -> None:
        """What is no answer of StatHat's is said to be none, and where."""
        here = f"/x/{quote(TOKEN, safe='')}"
        good = {"id": "a", "name": "a", "counter": True}
        for words, answer in (
            ("(HTTP status 200): it is not JSON", b""),
            ("(HTTP status 404): it is not JSON", (404, f"<b>{here}</b>".encode())),
            ("it is not JSON", b"[" * 100_000),
            ("it is not JSON", b"[NaN]"),
            ("it is not JSON", b"\xff\xfe"),
            ("it is not a list", {}),
            ("an object is missing", [[]]),
            ("id is missing", [{"name": "a", "counter": True}]),
            ("counter is of the wrong type", [{**good, "counter": 1}]),
            ("name is of the wrong type", [good, {**good, "name": 7}]),
        ):
            self.script.answers = [answer]
            error = self.error(self.client.stats, StatHatAPIError)
            self.assertTrue(error.msg.startswith("not an answer of StatHat's"))
            self.assertIn(words, error.msg)

    def test_nonsense_in_data(self) -> None:
        """Points must have whole times and finite numbers."""
        for words, points in (
            ("time is missing", [{"value": 1}]),
            ("time is not a whole number", [{"time": 1.5, "value": 1}]),
            ("time is not a time in Unix seconds", [{"time": -1, "value": 1}]),
            ("time is not a time in Unix seconds", [{"time": 1e12, "value": 1}]),
            ("value is not a number", [{"time": 1, "value": "1"}]),
            ("value is not a number", [{"time": 1, "value": True}]),
            ("value is beyond", [{"time": 1, "value": 10**400}]),
            ("an object is missing", [7]),
            ("points is of the wrong type", {}),
        ):
            self.script.answers = [[{"name": "a", "timeframe": "", "points": points}]]
            error = self.error(
                lambda: self.client.data("abc123", "1w3h"), StatHatAPIError
            )
            self.assertIn(words, error.msg)
        self.script.answers = [
            b'[{"name": "a", "timeframe": "", "points": [{"time": 1, "value": 1e999}]}]'
        ]
        self.error(lambda: self.client.data("abc123", "1w3h"), StatHatAPIError)
        self.script.answers = [[]]
        error = self.error(lambda: self.client.data("abc123", "1w3h"), StatHatAPIError)
        self.assertIn("1 stats were requested, but 0 came", error.msg)
        for words, full in (
            ("Kind", {"Name": "a", "Timeframe": "", "Kind": "x", "Points": []}),
            (
                "Rcount is missing",
                {
                    "Name": "a",
                    "Timeframe": "",
                    "Kind": "count",
                    "Points": [{"Time": 1, "Value": 1}],
                },
            ),
        ):
            self.script.answers = [full]
            error = self.error(
                lambda: self.client.full_data("abc123", "1w3h"), StatHatAPIError
            )
            self.assertIn(words, error.msg)

    def test_null_is_no_data(self) -> None:
        """A point without a value is left out; a time may be a whole float."""
        points = [{"time": 1.0, "value": 2}, {"time": 2, "value": None}]
        self.script.answers = [[{"name": "a", "timeframe": "", "points": points}]]
        (got,) = self.successResultOf(self.client.data("abc123", "1w3h"))
        self.assertEqual(got.points, (DataPoint(1, 2),))

    def test_too_large(self) -> None:
        """An answer beyond the cap is not read."""
        self.script.answers = [b" " * 1_001]
        error = self.error(self.make(max_reply=1_000).stats, StatHatAPIError)
        self.assertEqual(error.status, 200)

    def test_bad_arguments(self) -> None:
        """They fail before anything is sent, as a ValueError, with the field's name."""
        good = "abc123"
        for field, call in (
            ("name", lambda: self.client.stat("")),
            ("name", lambda: self.client.stat(7)),  # type: ignore[arg-type]
            ("id", lambda: self.client.delete("..")),
            ("id", lambda: self.client.delete("")),
            ("id", lambda: self.client.alert("x" * 256)),
            ("id", lambda: self.client.delete_alert("a\n")),
            ("id", lambda: self.client.full_data(".", "1w3h")),
            ("id", lambda: self.client.data([good, ""], "1w3h")),
            ("ids", lambda: self.client.data(7, "1w3h")),  # type: ignore[arg-type]
            ("kind", lambda: self.client.create_alert(good, "", "1h")),
            (
                "threshold",
                lambda: self.client.create_alert(
                    good, "value", "1h", threshold=float("nan")
                ),
            ),
        ):
            error = self.error(call, InvalidPoint)
            self.assertEqual(error.field, field)
        for timeframe in ("", "1w", "x", 5):
            self.error(
                lambda text=timeframe: self.client.data([], text), InvalidTimeframe
            )
            self.error(
                lambda text=timeframe: self.client.summary(good, text),
                InvalidTimeframe,
            )
        self.error(lambda: self.client.data(good, summary="7"), InvalidTimeframe)
        error = self.error(
            lambda: self.client.data(good, "1w3h", summary="7d"), InvalidTimeframe
        )
        self.assertIn("not both", str(error))
        for start in (-1, 1e12, "1", datetime(2026, 1, 1)):
            error = self.error(
                lambda start=start: self.client.data(good, start=start), InvalidPoint
            )
            self.assertEqual(error.field, "start")
        self.assertEqual(self.script.asked, [])

    def test_bad_settings(self) -> None:
        """A client that could not work is not made; the error shows no token."""
        for words, token in (
            ("the access token is not valid: must not be empty", ""),
            ("must be text", None),
            ("begins or ends with white space", "canary\n"),
            ("begins or ends with white space", " canary"),
            ("white space or a byte-order mark", "\ufeffcanary"),
            ("it must not be . or ..", ".."),
            ("at most 255", "canary" * 50),
        ):
            with self.assertRaises(ValueError) as caught:
                StatHatExport(token)  # type: ignore[arg-type]
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("canary", repr(caught.exception))
        with self.assertRaises(ValueError) as caught:
            StatHatExport(TOKEN, url="ftp://canary")
        self.assertNotIn("canary", str(caught.exception))

    def test_repr(self) -> None:
        """It shows neither the token nor the URL's path, which may be secret."""
        self.assertEqual(repr(self.client), "<StatHatExport at https://example.com>")

    def test_network(self) -> None:
        """Twisted's own exceptions come as they are."""
        client = self.make(agent=_FailingAgent())
        for call in self.calls(client):
            self.error(call, ConnectionRefusedError)

    def test_time_limit(self) -> None:
        """A server that does not answer is given up, and its connection cut."""
        for call in self.calls(self.client):
            waiting = call()
            self.assertNoResult(waiting)
            self.clock.advance(30)
            self.error(lambda waiting=waiting: waiting, TimeoutError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """A call that is cancelled ends at once, and leaves nothing behind."""
        for call in self.calls(self.client):
            waiting = call()
            self.assertNoResult(waiting)
            waiting.cancel()
            self.error(lambda waiting=waiting: waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.script.answers = [[]]
        self.assertEqual(self.successResultOf(self.client.stats()), [])

    def test_busy_and_closed(self) -> None:
        """More than may wait is refused; after close so is everything."""
        client = self.make(max_connections=1, max_waiting=0)
        waiting = client.stats()
        for call in self.calls(client):
            self.error(call, StatHatBusy)
        closed = client.close()
        self.clock.advance(1)
        self.successResultOf(closed)
        self.failureResultOf(waiting, StatHatClosed)
        for call in self.calls(client):
            self.error(call, StatHatClosed)


class SummaryTests(SynchronousTestCase):
    """
    The numbers that sum up many.
    """

    def test_by_hand(self) -> None:
        """2, 4, 4, 4, 5, 5, 7, 9: mean 5, squares 32, so the deviation is sqrt(32/7)."""
        result = summarize([2, 4, 4, 4, 5, 5, 7, 9], True)
        self.assertEqual(
            (
                result.steps,
                result.latest,
                result.min,
                result.max,
                result.mean,
                result.total,
            ),
            (8, 9, 2, 9, 5, 40),
        )
        self.assertAlmostEqual(result.deviation, 2.1380899)
        # 2.1380899 / sqrt(8) = 0.7559289, times 1.9599640 and 2.5758293
        assert result.confidence_95
        assert result.confidence_99
        self.assertAlmostEqual(result.confidence_95[0], 5 - 1.4815934, 6)
        self.assertAlmostEqual(result.confidence_95[1], 5 + 1.4815934, 6)
        self.assertAlmostEqual(result.confidence_99[0], 5 - 1.9471439, 6)
        self.assertAlmostEqual(result.confidence_99[1], 5 + 1.9471439, 6)

    def test_few(self) -> None:
        """Without points there is nothing but a total; one point has no deviation."""
        nothing = (None,) * 4
        self.assertEqual(summarize([], True), Summary(0, *nothing, 0, None, None, None))
        self.assertEqual(
            summarize([], False), Summary(0, *nothing, None, None, None, None)
        )
        self.assertEqual(
            summarize([2.5], False),
            Summary(1, 2.5, 2.5, 2.5, 2.5, None, None, None, None),
        )

    def test_large(self) -> None:
        """What is beyond the largest float is None; the rest has values."""
        result = summarize([1.7e308, -1.7e308, 1.7e308], True)
        self.assertEqual((result.total, result.mean), (1.7e308, 1.7e308 / 3))
        self.assertEqual(
            (result.latest, result.min, result.max), (1.7e308, -1.7e308, 1.7e308)
        )
        self.assertEqual((result.deviation, result.confidence_95), (None, None))
        result = summarize([1.7e308, 1.7e308], True)
        self.assertEqual((result.total, result.mean, result.max), (None, None, 1.7e308))

    @settings(max_examples=100)
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
    def test_order_of_results(self, values: list[float]) -> None:
        """Whatever the points: min, mean and max are in order; what is too large is none."""
        result = summarize(values, False)
        assert result.min is not None
        assert result.max is not None
        if result.mean is None or (result.deviation is None and len(values) > 1):
            self.assertGreater(max(map(abs, values)), 1e300)
        if result.mean is None:
            return
        room = 1e-9 * max(abs(result.min), abs(result.max))
        self.assertLessEqual(result.min - room, result.mean)
        self.assertLessEqual(result.mean, result.max + room)
        if result.deviation is not None:
            self.assertGreaterEqual(result.deviation, 0)
