"""
Alerts: what may be asked of them, when they fire, and that each is told once.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.stores import NOW, RedisHost, SqliteHost, Turns
from tests.support import Authority, logged, reactor
from tests.test_archive import START, batch
from tests.test_collector import Collector, in_memory
from tests.test_collector_service import ROOT, ServiceCase
from txstathat import Count, Value
from txstathat.collector.alerts import monitor as watch
from txstathat.collector.alerts import records as alert_records
from txstathat.collector.alerts.evaluation import (
    HOLD,
    Evaluation,
    Reading,
    State,
    advance,
    judge,
    windows,
)
from txstathat.collector.alerts.model import MARGIN, WINDOWS, Alert, steps_of
from txstathat.collector.alerts.monitor import MAX_UNDER_WAY, AlertMonitor
from txstathat.collector.alerts.notices import ATTEMPTS, LEASE, Notice, delay
from txstathat.collector.alerts.records import MAX_NOTICES, AlertRecord, AlertRecords
from txstathat.collector.alerts.webhooks import (
    MAX_URL,
    TIMEOUT,
    WebhookFailed,
    Webhooks,
    check_webhook,
)
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import RETENTION, Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.service import CollectorService
from txstathat.errors import StatHatClosed, StoreUnavailable
from txstathat.http.connections import PooledAgent

HOOK = "https://hooks.example.com/services/canary?token=canary"


class Receiver(Resource):
    """
    What webhooks post to.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []
        self.requests: list[tuple[bytes, str | None, str | None]] = []
        self.answers: list[int] = []
        self.stalled: list[Any] | None = None

    def render_POST(self, request: Any) -> Any:
        """Note what is told; answer 200, or what is in ``answers``."""
        self.told.append(json.loads(request.content.read()))
        headers = map(request.getHeader, ("idempotency-key", "content-type"))
        self.requests.append((request.uri, *headers))
        request.setResponseCode(self.answers.pop(0) if self.answers else 200)
        request.setHeader("Location", "https://elsewhere.example.com/")
        if self.stalled is not None:
            self.stalled.append(request)
            return NOT_DONE_YET
        return b""

    @property
    def events(self) -> list[tuple[str, int]]:
        """What was told, in short."""
        return [(each["event"], each["episode"]) for each in self.told]


class AlertCase(SynchronousTestCase):
    """
    A collector with a counter, a value, and somebody who is told.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        # On a whole minute, and a margin more.
        self.clock.advance(START + MARGIN)
        self.receiver = Receiver()
        self.webhooks = self.make_webhooks()
        self.here = Collector(self, webhooks=self.webhooks)
        self.parts = self.here.parts
        self.monitor = self.parts.monitor
        self.monitor._jitter = lambda low, high: 1.0
        self.metrics = self.parts.metrics
        self.keep(Count("errors", 1), Value("load", 1))
        self.errors, self.load = self.here.get("/statlist")

    def make_webhooks(self, *urls: str) -> Webhooks:
        """Webhooks that go to the receiver."""
        agent = RequestTraversalAgent(self.receiver)
        return Webhooks(urls or (HOOK,), reactor=self.clock, agent=agent)

    def keep(self, *points: Any) -> None:
        """Have points kept."""
        self.successResultOf(self.parts.archive.keep(batch(*points)))

    def post(self, path: str = "", **fields: Any) -> Any:
        """Status and answer of a form posted to alerts."""
        body = urlencode(fields).encode()
        return self.here.ask(
            "POST",
            f"/x/{self.here.token}/alerts{path}",
            body,
            Content_Type="application/x-www-form-urlencoded",
        )

    def create(self, **fields: Any) -> str:
        """Make an alert; its id."""
        fields = {"stat_id": self.errors["id"], "time_window": "5m", **fields}
        status, made = self.post(**fields)
        self.assertEqual(status, 200, made)
        return str(made["id"])

    def many(self, **more: Any) -> str:
        """Make an alert for over 10 errors in 5 minutes."""
        fields = {"kind": "value", "operator": "greater than", "threshold": 10}
        return self.create(**fields, **more)

    def now(self, waited: Any) -> Any:
        """What has come of it already."""
        return self.here.now(waited)

    def record(self, id: str) -> AlertRecord:
        """What is known of an alert."""
        record: AlertRecord = self.now(self.parts.alerts.one(id))
        return record

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass, judge, and tell."""
        self.clock.advance(seconds)
        self.now(self.monitor.evaluate())
        self.now(self.monitor.notify())

    def minutes(self, number: int) -> None:
        """Let minutes pass."""
        for _ in range(number):
            self.tick(60)


class ApiTests(AlertCase):
    """
    ``/x/TOKEN/alerts`` and ``/a1/alerts``.
    """

    def test_kinds(self) -> None:
        """Each kind is answered with what StatHat tells of it, and firing, then and later."""
        id = self.errors["id"]
        made = []
        for fields in (
            {"kind": "value", "operator": "greater than", "threshold": 500},
            {"kind": "value", "operator": "less than", "threshold": -0.5},
            {
                "kind": "delta",
                "operator": "different than",
                "percentage": 50,
                "time_delta": "1d",
            },
            {"kind": "data"},
        ):
            fields = {"stat_id": id, "time_window": "1h", **fields}
            status, told = self.post(**fields)
            self.assertEqual(status, 200)
            own = {"id": told["id"], "stat_name": "errors", "firing": False}
            self.assertEqual(told, {**fields, **own})
            self.assertGreaterEqual(len(told["id"]), 6)
            made.append(told)
        listed = self.here.get("/alerts")
        by_id = sorted(made, key=lambda told: told["id"])
        self.assertEqual(listed, by_id)
        for told in made:
            self.assertEqual(self.here.get(f"/alerts/{told['id']}"), told)

    def test_delete(self) -> None:
        """A deleted alert is gone, and is not told of any more."""
        id = self.many()
        self.keep(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        self.assertEqual(len(self.record(id).notices), 1)
        path = f"/x/{self.here.token}/alerts/{id}"
        answer = self.here.ask("DELETE", path)
        self.assertEqual(answer, (200, {"msg": "alert deleted."}))
        self.assertEqual(self.here.ask("DELETE", path)[0], 404)
        self.assertEqual(self.here.ask("GET", path)[0], 404)
        self.assertEqual(self.here.get("/alerts"), [])
        self.tick()
        self.assertEqual(self.receiver.told, [])

    def test_stathats_command_line(self) -> None:
        """It posts forms to /a1 with Basic auth, its operators short, or none."""
        basic = "Basic " + b64encode(f"{self.here.token}:".encode()).decode()
        for short, operator in (
            ("gt", "greater than"),
            ("lt", "less than"),
            ("dt", "different than"),
        ):
            form = (
                f"kind=delta&operator={short}&percentage=50&stat_id={self.errors['id']}"
                "&time_delta=1d&time_window=1d"
            )
            status, told = self.here.ask(
                "POST",
                "/a1/alerts",
                form.encode(),
                Authorization=basic,
                Content_Type="application/x-www-form-urlencoded",
            )
            self.assertEqual((status, told["operator"]), (200, operator))
        self.here.now(self.here.parts.alerts.delete(told["id"]))
        form = (
            f"kind=value&operator=&stat_id={self.errors['id']}&threshold=0"
            "&time_window=1d"
        )
        status, told = self.here.ask(
            "POST",
            "/a1/alerts",
            form.encode(),
            Authorization=basic,
            Content_Type="application/x-www-form-urlencoded",
        )
        self.assertEqual((status, told["operator"]), (200, "greater than"))
        status, told = self.here.ask("GET", "/a1/alerts", Authorization=basic)
        self.assertEqual((status, len(told)), (200, 3))
        path = f"/a1/alerts/{told[0]['id']}"
        self.assertEqual(
            self.here.ask("GET", path, Authorization=basic), (200, told[0])
        )
        status, _ = self.here.ask("DELETE", path, Authorization=basic)
        self.assertEqual(status, 200)
        self.assertEqual(self.here.ask("GET", "/a1/alerts")[0], 401)
        self.assertEqual(len(self.here.get("/alerts")), 2)

    def test_refused(self) -> None:
        """What cannot be an alert is refused, with the field and the rule."""
        value = {"kind": "value", "operator": "gt", "threshold": "1"}
        delta = {
            "kind": "delta",
            "operator": "gt",
            "percentage": "50",
            "time_delta": "1d",
        }
        for words, fields in (
            ("kind: must be one of value, delta, data, and is missing", {}),
            ("kind: must be one of value, delta, data, not 'x'", {"kind": "x"}),
            (
                "time_window: must be one of 5m, 1h",
                {"kind": "data", "time_window": "2h"},
            ),
            ("operator: must be one of greater than, less", {"kind": "value"}),
            ("operator: must be", {**value, "operator": "different than"}),
            ("operator: must be", {**delta, "operator": "equal to"}),
            ("threshold: is missing", {**value, "threshold": ""}),
            ("threshold: 'x' is not a decimal number", {**value, "threshold": "x"}),
            ("threshold: 'nan' is not", {**value, "threshold": "nan"}),
            ("threshold: '1e999' is too large", {**value, "threshold": "1e999"}),
            ("percentage: is missing", {**delta, "percentage": ""}),
            ("percentage: must be above 0", {**delta, "percentage": "-5"}),
            ("time_delta: must be one of", {**delta, "time_delta": ""}),
            ("time_window: 5m compared with 1w", {**delta, "time_delta": "1w"}),
            ("'threshold': an alert of kind data has no", {**value, "kind": "data"}),
            ("'colour': an alert of kind value has no", {**value, "colour": "red"}),
            (
                "webhook: this collector was not told",
                {**value, "webhook": "https://x.y/"},
            ),
            ("webhook: the URL", {**value, "webhook": "canary"}),
        ):
            fields = {"stat_id": self.errors["id"], "time_window": "5m", **fields}
            if fields.get("kind") == "data" and "threshold" in fields:
                del fields["operator"]
            status, told = self.post(**fields)
            self.assertEqual((status, told["status"]), (400, 400), fields)
            self.assertIn(words, told["msg"])
            self.assertNotIn("canary", told["msg"])
        for status, words, path, fields in (
            (400, "stat_id: is missing", "", {}),
            (404, "no stat with the id 'x'", "", {"stat_id": "x"}),
            (404, "post to /alerts", "/more", {}),
            (400, "'a' is given twice", "?a=1&a=2", {"kind": "data"}),
            (400, "'a' is not UTF-8", "?a=%ff", {}),
        ):
            code, told = self.post(path, **fields)
            self.assertEqual(code, status)
            self.assertIn(words, told["msg"])
        self.assertEqual(self.here.get("/alerts"), [])

    def test_not_too_many(self) -> None:
        """There is a limit."""
        self.patch(alert_records, "MAX_ALERTS", 1)
        self.create(kind="data")
        status, told = self.post(
            kind="data", stat_id=self.errors["id"], time_window="1h"
        )
        self.assertEqual(status, 429)
        self.assertIn("1 alerts, which is the limit", told["msg"])

    def test_a_webhooks_url_is_shown_to_nobody(self) -> None:
        """Not in answers, reprs or refusals; and it goes where the alert says."""
        own = "https://hooks.example.com/own/canary"
        id = self.many(webhook=own)
        self.assertEqual(self.record(id).alert.webhook, own)
        for shown in (
            json.dumps(self.here.get("/alerts")),
            json.dumps(self.here.get(f"/alerts/{id}")),
            repr(self.record(id)),
        ):
            self.assertNotIn("canary", shown)
        self.keep(Count("errors", 11))
        self.tick(60)
        self.assertEqual(self.receiver.requests[0][0], b"/own/canary")
        self.assertNotIn("canary", json.dumps(self.receiver.told))


STAT = Stat("a", True, 0.0, NOW, 1)


def alert(**fields: Any) -> Alert:
    """An alert for more than 100, with changes."""
    made = Alert("x", STAT.id, "a", "value", "1h", "greater than", 100)
    return replace(made, **fields)


class EvaluationTests(SynchronousTestCase):
    """
    Conditions and episodes, without a clock or a store.
    """

    def test_steps(self) -> None:
        """Windows are read in steps that are kept for as long as it takes."""
        for window, delta, step in (
            ("5m", None, "1m"),
            ("3h", None, "1m"),
            ("1d", None, "1h"),
            ("1y", None, "1d"),
            ("5m", "1d", "1m"),
            ("1h", "1w", "1h"),
            ("1d", "5m", "1m"),
            ("1M", "1y", "1M"),
            ("1y", "1y", "1M"),
        ):
            self.assertEqual(str(steps_of(window, delta, RETENTION)), step)
        for window, delta in (("5m", "1w"), ("1h", "1y"), ("1y", "1h")):
            self.assertRaises(Refusal, steps_of, window, delta, RETENTION)
        self.assertRaises(Refusal, steps_of, "5m", None, {**RETENTION, "minute": 60.0})

    def test_windows(self) -> None:
        """They end with the last whole step, a margin ago; the earlier one before it."""
        now = START + 120 + MARGIN
        for time, end in ((now, START + 120), (now - 0.5, START + 60)):
            (window,) = windows(alert(time_window="5m"), RETENTION, time)
            self.assertEqual((window.end, str(window.frame)), (end, "5m1m"))
        delta = alert(kind="delta", time_window="1h", time_delta="1d")
        late, early = windows(delta, RETENTION, now)
        self.assertEqual(late.end - early.end, 86_400)
        self.assertEqual(windows(alert(kind="data"), RETENTION, now), [])

    def test_all_windows_can_be_read(self) -> None:
        """Each pair of lengths that is let in has whole windows of the right length."""
        for length in WINDOWS:
            for delta in (None, *WINDOWS):
                asked = alert(kind="delta", time_window=length, time_delta=delta)
                try:
                    read = windows(asked, RETENTION, NOW)
                except Refusal:
                    continue
                for window in read:
                    edges = window.frame.edges(window.end - 1)
                    self.assertEqual(edges[-1], window.end)
                    self.assertEqual(edges[0], WINDOWS[length].before(window.end))

    def test_value(self) -> None:
        """Over the threshold it holds; 5 % back it is clear; in between neither."""
        for operator, threshold, number, holds in (
            ("greater than", 100, 100.1, True),
            ("greater than", 100, 100, None),
            ("greater than", 100, 95.1, None),
            ("greater than", 100, 95, False),
            ("greater than", -100, -99, True),
            ("greater than", -100, -104, None),
            ("greater than", -100, -105, False),
            ("greater than", 0, 0, False),
            ("less than", 100, 99.9, True),
            ("less than", 100, 104, None),
            ("less than", 100, 105, False),
            ("less than", 100, None, None),
            ("greater than", 1e308, math.inf, True),
            ("greater than", 2**63 - 1, 2**63, True),
        ):
            asked = alert(operator=operator, threshold=threshold)
            for stat in (STAT, replace(STAT, counter=False)):
                judged = judge(asked, stat, [Reading(number, True)], NOW)
                self.assertEqual(judged, Evaluation(holds, number), (operator, number))

    def test_a_young_counter(self) -> None:
        """It is not said to have counted little before it was there; but much it may."""
        little = alert(operator="less than")
        self.assertIsNone(judge(little, STAT, [Reading(0, False)], NOW).holds)
        self.assertTrue(judge(little, STAT, [Reading(0, True)], NOW).holds)
        self.assertTrue(judge(alert(), STAT, [Reading(101, False)], NOW).holds)

    def test_delta(self) -> None:
        """A change in percent; from 0 it is without a bound."""
        for operator, before, now, change, holds in (
            ("greater than", 100, 151, 51, True),
            ("greater than", 100, 149, 49, None),
            ("greater than", 100, 147, 47, False),
            ("greater than", 100, 1, -99, False),
            ("greater than", 0, 0, 0, False),
            ("greater than", 0, 1, math.inf, True),
            ("less than", 100, 49, -51, True),
            ("less than", 100, 200, 100, False),
            ("less than", 0, -1, -math.inf, True),
            ("different than", 100, 49, -51, True),
            ("different than", 100, 151, 51, True),
            ("different than", 100, 120, 20, False),
            ("less than", -100, -151, -51, True),
            ("greater than", 100, None, None, None),
            ("greater than", None, 100, None, None),
        ):
            asked = alert(kind="delta", operator=operator, percentage=50)
            for counter in (True, False):
                judged = judge(
                    asked,
                    replace(STAT, counter=counter),
                    [Reading(now, True), Reading(before, True)],
                    NOW,
                )
                self.assertIs(judged.holds, holds, (operator, before, now))
                if change is not None:
                    self.assertTrue(math.isclose(judged.number or 0, change))
        young = [Reading(9, True), Reading(0, False)]
        asked = alert(kind="delta", operator="greater than", percentage=50)
        self.assertEqual(judge(asked, STAT, young, NOW), Evaluation(None))

    def test_data(self) -> None:
        """It holds when nothing has come for longer than the window."""
        asked = alert(kind="data", time_window="5m")
        for ago, holds in ((0, False), (300, False), (301, True)):
            stat = replace(STAT, received_at=NOW - ago)
            self.assertEqual(judge(asked, stat, [], NOW), Evaluation(holds, ago))

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([True, False, None]),
                st.integers(-100, 400),
            ),
            max_size=60,
        )
    )
    def test_episodes(self, judged: list[tuple[bool | None, int]]) -> None:
        """
        An episode begins at the first time that the condition holds, and ends at the
        first at which it has been clear, without a break, for long enough; whatever the
        clock does.
        """
        state, now = State(), NOW
        clear: list[float] = []
        for holds, passed in judged:
            now += passed
            before, state = state, advance(state, holds, now)
            clear = [*clear, now] if holds is False and before.firing else []
            ends = bool(clear) and now - min(clear) >= HOLD
            if before.firing:
                self.assertEqual(state.firing, not ends)
                self.assertEqual(state.episode, before.episode)
            else:
                self.assertEqual(state.firing, holds is True)
                self.assertEqual(state.episode, before.episode + state.firing)
            if state.firing != before.firing:
                self.assertEqual((state.since, state.clear_since), (now, None))
                clear = []

    def test_what_is_told(self) -> None:
        """A sentence for eyes, and numbers that JSON has."""
        delta = alert(
            kind="delta", percentage=50, time_delta="1d", operator="less than"
        )
        for asked, event, number, text in (
            (alert(), "fired", 101, "a: 101 over 1h, greater than 100"),
            (
                alert(),
                "recovered",
                1 / 3,
                "a: 0.333333 over 1h, no longer greater than 100",
            ),
            (delta, "fired", -51.5, "a: -51.5% over 1h, 50% less than 1d before"),
            (delta, "fired", -math.inf, "a: -inf% over 1h, 50% less than 1d before"),
            (alert(kind="data"), "fired", 3601, "a: has had no data for 1h"),
            (alert(kind="data"), "recovered", 0, "a: has data again, after 1h"),
        ):
            told = Notice(event, 3, NOW, number).to_json(asked)
            self.assertEqual(told["text"], text)
            self.assertEqual(told["id"], f"x-3-{event}")
            json.dumps(told, allow_nan=False)

    def test_delays(self) -> None:
        """Twice as long each time, give or take a half: half an hour in all."""
        even = [delay(attempts, lambda low, high: 1.0) for attempts in range(1, 8)]
        self.assertEqual(even, [15, 30, 60, 120, 240, 480, 960])
        self.assertEqual(delay(1, lambda low, high: low), 7.5)
        self.assertEqual(delay(1, lambda low, high: high), 22.5)


class WatchTests(AlertCase):
    """
    A collector that watches, with a clock of the test's own.
    """

    def test_an_episode(self) -> None:
        """It is told once that it fired, and once that it is over."""
        id = self.many()
        self.tick()
        self.keep(Count("errors", 11))
        self.tick(59)
        self.assertEqual(self.receiver.told, [])
        self.tick(1)
        (told,) = self.receiver.told
        at = START + MARGIN + 60
        self.assertEqual(
            told,
            {
                "id": f"{id}-1-fired",
                "event": "fired",
                "at": at,
                "episode": 1,
                "number": 12,
                "alert": {
                    "id": id,
                    "stat_id": self.errors["id"],
                    "stat_name": "errors",
                    "kind": "value",
                    "time_window": "5m",
                    "operator": "greater than",
                    "threshold": 10,
                },
                "text": "errors: 12 over 5m, greater than 10",
            },
        )
        self.assertEqual(
            self.receiver.requests,
            [(b"/services/canary?token=canary", f"{id}-1-fired", "application/json")],
        )
        self.assertTrue(self.here.get(f"/alerts/{id}")["firing"])
        # Minutes 1 to 4 still see it; at 5 it is clear; five more and it is over.
        self.minutes(4)
        self.assertTrue(self.record(id).state.firing)
        self.assertIsNone(self.record(id).state.clear_since)
        self.minutes(5)
        self.assertEqual(len(self.receiver.told), 1)
        self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])
        self.assertEqual(self.receiver.told[1]["number"], 0)
        self.minutes(5)
        self.keep(Count("errors", 99))
        self.minutes(2)
        self.assertEqual(self.receiver.events[2:], [("fired", 2)])
        self.assertEqual(self.metrics.notices_sent, 3)

    def test_hysteresis(self) -> None:
        """Up and down about the threshold is one episode; so is a dip that is short."""
        self.many()
        dip = [2.1] * 6 + [0.0] + [2.1] * 9
        for count in [2.4] * 5 + [1.92] * 5 + [2.2] * 5 + [1.96] * 20 + dip:
            self.keep(Count("errors", count))
            self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_no_data(self) -> None:
        """Silence fires; the next point is the beginning of the end."""
        self.create(kind="data")
        self.minutes(5)
        self.assertEqual(self.receiver.told, [])
        self.tick(1)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        for _ in range(6):
            self.keep(Count("errors"))
            self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])

    def test_averages(self) -> None:
        """A value's points are averaged over the window, however many there are."""
        self.create(
            stat_id=self.load["id"], kind="value", operator="lt", threshold="0.5"
        )
        self.keep(*[Value("load", 0.45)] * 9)
        self.tick(60)
        self.assertEqual(self.receiver.told, [])
        self.keep(*[Value("load", 0.3)] * 30)
        self.tick(60)
        self.assertAlmostEqual(self.receiver.told[0]["number"], (1 + 4.05 + 9) / 40)

    def test_changes(self) -> None:
        """A window beside the one an hour before."""
        self.create(kind="delta", operator="dt", percentage="50", time_delta="1h")
        for _ in range(64):
            self.keep(Count("errors", 1))
            self.minutes(1)
        self.assertEqual(self.receiver.told, [])
        for _ in range(3):
            self.keep(Count("errors", 3))
            self.minutes(1)
        self.assertEqual(
            [told["text"] for told in self.receiver.told],
            ["errors: 80% over 5m, 50% different than 1h before"],
        )

    def test_read_once_for_each_step(self) -> None:
        """What was read is not read again before its step is over; nor one by one."""
        for _ in range(3):
            self.many()
        for name in ("b", "c"):
            self.keep(Count(name))
            self.many(stat_id=self.here.get(f"/stat?name={name}")["id"])
        reads: list[Any] = []
        data = self.parts.archive.data
        self.parts.archive.data = lambda *args: reads.append(args) or data(*args)  # type: ignore[func-returns-value]
        for _ in range(4):
            self.tick(14)
        ((stats, _, _),) = reads
        self.assertEqual([stat.name for stat in stats], ["b", "c", "errors"])
        self.tick(14)
        self.assertEqual(len(reads), 2)

    def test_read_in_parts(self) -> None:
        """Many stats are not read all at once; each alert is judged all the same."""
        self.patch(watch, "_CELLS_AT_ONCE", 12)
        names = [f"stat {number}" for number in range(5)]
        self.keep(*[Count(name, 11) for name in names])
        for name in names:
            self.many(
                stat_id=self.here.get(f"/stat?name={name}".replace(" ", "+"))["id"]
            )
        sizes: list[int] = []
        data = self.parts.archive.data
        self.parts.archive.data = lambda *args: (
            sizes.append(len(args[0])) or data(*args)
        )  # type: ignore[func-returns-value]
        self.tick(60)
        self.assertEqual(sizes, [2, 2, 1])
        told = sorted(each["alert"]["stat_name"] for each in self.receiver.told)
        self.assertEqual(told, names)

    def test_numbers(self) -> None:
        """What was told, what failed and what was given up stands at /metrics."""
        self.metrics.notices_dropped = 3
        self.many()
        self.keep(Count("errors", 11))
        self.receiver.answers = [500]
        self.minutes(3)
        answer = self.here.begin(
            "GET", "/metrics", Authorization=f"Bearer {self.here.token}"
        )
        text = self.successResultOf(self.successResultOf(answer).text())
        for line in ("told_total 1.0", "failed_total 1.0", "dropped_total 3.0"):
            self.assertIn(f"\ntxstathat_notices_{line}\n", text)

    def test_a_stat_in_the_trash(self) -> None:
        """Its alerts rest until it is back."""
        id = self.create(kind="data")
        self.now(self.parts.archive.delete(self.errors["id"]))
        self.minutes(10)
        self.assertEqual(self.record(id).state, State())
        self.now(self.parts.archive.restore("errors"))
        self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_less_is_kept_than_before(self) -> None:
        """An alert that cannot be judged any more rests, and keeps up nobody else."""
        self.many()
        self.create(kind="data")
        self.parts.archive.retention["minute"] = 60.0
        self.keep(Count("errors", 99))
        self.minutes(6)
        self.assertEqual(
            [told["alert"]["kind"] for told in self.receiver.told], ["data"]
        )

    def test_more_is_kept_than_before(self) -> None:
        """What is not whole yet rests until it is, and keeps up nobody else."""
        archive = self.parts.archive
        archive.retention["minute"] = 60.0
        self.now(archive.note_retention())
        archive.retention["minute"] = 3600.0
        self.now(archive.note_retention())
        self.many()
        self.create(kind="data")
        for _ in range(4):
            self.keep(Count("errors", 99))
            self.minutes(1)
        self.assertEqual(self.receiver.told, [])
        self.minutes(3)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        self.minutes(3)
        self.assertEqual(self.receiver.told[-1]["alert"]["kind"], "data")

    def test_retries(self) -> None:
        """A failed attempt is repeated, later each time, until it is told or given up."""
        self.many()
        self.keep(Count("errors", 11))
        self.receiver.answers = [500, 404, 302]
        attempts: list[float] = []
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        for second in range(120):
            before = len(self.receiver.told)
            self.now(self.monitor.notify())
            attempts += [second] * (len(self.receiver.told) - before)
            self.clock.advance(1)
        self.assertEqual(attempts, [0, 15, 45, 105])
        self.assertEqual(self.receiver.told, [self.receiver.told[0]] * 4)
        self.assertEqual(len({key for _, key, _ in self.receiver.requests}), 1)
        self.assertEqual(self.metrics.notices_failed, 3)
        self.assertEqual(self.metrics.notices_sent, 1)

    def test_read_once_to_tell_many(self) -> None:
        """All there is to tell takes reading all alerts once, not once for each."""
        for _ in range(2 * MAX_UNDER_WAY):
            self.many()
        self.keep(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        self.receiver.answers = [200, 500] * MAX_UNDER_WAY
        reads: list[str] = []
        records, store = self.here.store.records, self.here.store
        store.records = lambda kind: reads.append(kind) or records(kind)
        record = store.record
        store.record = lambda kind, id: reads.append(id) or record(kind, id)
        self.now(self.monitor.notify())
        self.assertEqual(reads, ["alert"])
        self.assertEqual(self.metrics.notices_sent, MAX_UNDER_WAY)
        self.assertEqual(self.metrics.notices_failed, MAX_UNDER_WAY)

    def test_given_up(self) -> None:
        """After eight attempts; counted, and logged without the URL. What comes is told."""
        id = self.many()
        self.keep(Count("errors", 11))
        self.receiver.answers = [500] * ATTEMPTS
        with logged() as log:
            for _ in range(60):
                self.minutes(1)
        self.assertEqual(
            self.receiver.events, [("fired", 1)] * ATTEMPTS + [("recovered", 1)]
        )
        self.assertEqual(self.metrics.notices_dropped, 1)
        self.assertEqual(self.record(id).notices, ())
        self.assertEqual(
            log.at_level("warn"),
            [f"the alert {id}: that it fired is not told: HTTP status 500"],
        )
        self.assertNotIn("canary", log.text)

    def test_not_too_much_waits(self) -> None:
        """The oldest is dropped, and counted."""
        id = self.many()
        old = [Notice("fired", number, NOW, 1, next_at=1e12) for number in range(30)]
        record = self.record(id)
        full = replace(record, notices=tuple(old[:MAX_NOTICES]))
        self.now(self.parts.alerts.change(record, full))
        self.keep(Count("errors", 11))
        self.tick(60)
        notices = self.record(id).notices
        self.assertEqual(len(notices), MAX_NOTICES)
        self.assertEqual([each.episode for each in notices], [*range(1, 20), 1])
        self.assertEqual(self.metrics.notices_dropped, 1)

    def test_a_receiver_that_stalls(self) -> None:
        """An attempt has ten seconds; it holds up neither judging nor other attempts."""
        for _ in range(MAX_UNDER_WAY + 1):
            self.many()
        self.keep(Count("errors", 11))
        self.receiver.stalled = []
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        telling = Deferred.fromCoroutine(self.monitor.notify())
        self.assertEqual(len(self.receiver.told), MAX_UNDER_WAY)
        self.now(self.monitor.evaluate())
        self.receiver.stalled = None
        self.clock.advance(TIMEOUT)
        self.successResultOf(telling)
        self.assertEqual(len(self.receiver.told), MAX_UNDER_WAY + 1)
        self.assertEqual(self.metrics.notices_failed, MAX_UNDER_WAY)
        self.assertEqual(self.metrics.notices_sent, 1)

    def test_a_host_that_does_not_answer(self) -> None:
        """It holds up nothing that another host is to be told."""
        dead, good = "https://dead.example/x", "https://good.example/x"
        self.monitor._webhooks = webhooks = self.make_webhooks(good, dead)
        asked: list[str] = []

        async def post(url: str, told: Any, id: str) -> None:
            asked.append(url)
            if url == dead:
                await deferLater(self.clock, TIMEOUT)
                raise WebhookFailed("TimeoutError")

        webhooks.post = post  # type: ignore[method-assign]
        records = self.parts.alerts
        notice = Notice("fired", 1, NOW, 7)
        for number in range(10 * MAX_UNDER_WAY + 1):
            made = replace(alert(webhook=dead), id=f"{number:016x}")
            self.now(records.create(made))
            record = self.record(made.id)
            self.now(records.change(record, replace(record, notices=(notice,))))
        self.now(self.monitor.notify())
        self.assertEqual(asked, [dead] * MAX_UNDER_WAY)
        # What comes up a moment later, while all of that waits.
        self.clock.advance(1)
        self.now(records.create(replace(alert(webhook=good), id="f" * 16)))
        record = self.record("f" * 16)
        self.now(records.change(record, replace(record, notices=(notice,))))
        self.now(self.monitor.notify())
        self.assertEqual(asked, [*[dead] * MAX_UNDER_WAY, good])
        self.assertEqual(self.record("f" * 16).notices, ())
        self.clock.pump([TIMEOUT] * 11)
        self.assertEqual(len(asked), 10 * MAX_UNDER_WAY + 2)
        self.assertEqual(self.monitor._under_way, {})

    def test_only_what_has_changed_is_parsed(self) -> None:
        """Reading all alerts again, or one, parses those that are other ones by now."""
        ids = [self.many() for _ in range(3)]
        records = self.parts.alerts
        before = self.now(records.all())
        changed = replace(before[ids[1]], notices=(Notice("fired", 1, NOW, 7),))
        self.now(records.change(before[ids[1]], changed))
        after = self.now(records.all())
        self.assertEqual([after[id] is before[id] for id in ids], [True, False, True])
        self.assertEqual(after[ids[1]], changed)
        self.assertIs(self.record(ids[0]), before[ids[0]])

    def test_what_happens_during_an_attempt(self) -> None:
        """Only what was told is done with, whatever else there is to tell by then."""
        for given_up in (False, True):
            id = self.many()
            self.keep(Count("errors", 11))
            self.clock.advance(60)
            self.now(self.monitor.evaluate())
            self.receiver.stalled = []
            telling = Deferred.fromCoroutine(self.monitor.notify())
            over = Notice("recovered", 1, NOW, 7, next_at=1e12)

            def change(
                record: AlertRecord, given_up: bool = given_up, over: Notice = over
            ) -> AlertRecord:
                before = () if given_up else record.notices
                return replace(record, notices=(*before, over))

            self.now(self.parts.alerts.update(self.record(id), change))
            self.receiver.stalled[0].finish()
            self.webhooks._agent.flush()  # type: ignore[union-attr]
            self.successResultOf(telling)
            self.receiver.stalled = None
            self.assertEqual(self.record(id).notices, (over,))

    def test_nowhere_to_tell(self) -> None:
        """Without a webhook an alert is judged all the same, and nothing waits."""
        self.monitor._webhooks = Webhooks()
        id = self.many()
        self.keep(Count("errors", 11))
        self.tick(60)
        self.assertTrue(self.record(id).state.firing)
        self.assertEqual(self.record(id).notices, ())
        self.assertEqual(self.metrics.notices_dropped, 0)

    def test_an_operator_who_changes_their_mind(self) -> None:
        """What may not be posted to any more is not posted to."""
        self.many()
        self.keep(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        self.monitor._webhooks = Webhooks()
        with logged() as log:
            self.tick()
        self.assertEqual(self.receiver.told, [])
        self.assertEqual(self.metrics.notices_dropped, 1)
        self.assertIn("may not post there any more", log.text)

    def test_a_store_that_is_away(self) -> None:
        """What was told and could not be noted is not told again."""
        self.many()
        self.keep(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        put, store = self.here.store.put_record, self.here.store
        writes: list[Any] = []

        def once(*args: Any, **more: Any) -> Any:
            writes.append(args)
            if len(writes) > 1:
                return fail(StoreUnavailable("away"))
            return put(*args, **more)

        store.put_record = once
        with logged() as log:
            self.now(self.monitor.notify())
        self.assertIn("away", log.text)
        store.put_record = put
        self.minutes(4)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        self.assertEqual(self.monitor._to_json, set())

    def test_a_collector_that_dies(self) -> None:
        """What it began to tell is told by another one, under the same id."""
        id = self.many()
        self.keep(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        self.receiver.stalled = []
        telling = Deferred.fromCoroutine(self.monitor.notify())
        closed = self.webhooks.close()
        self.clock.advance(1)
        self.successResultOf(telling)
        self.successResultOf(closed)
        self.receiver.stalled = None
        other = AlertMonitor(
            self.parts.archive, self.parts.alerts, self.make_webhooks(), self.metrics
        )
        self.now(other.notify())
        self.assertEqual(len(self.receiver.told), 1)
        self.clock.advance(LEASE)
        self.now(other.notify())
        self.assertEqual(len(self.receiver.told), 2)
        self.assertEqual(
            {key for _, key, _ in self.receiver.requests}, {f"{id}-1-fired"}
        )


class Ledger(Webhooks):
    """
    Webhooks that note what is told, and fail when the test says so.
    """

    def __init__(self, told: list[str], fails: Any) -> None:
        super().__init__([HOOK])
        self._to_json = told
        self._fails = fails

    async def post(self, url: str, told: Any, id: str) -> None:
        """Note the id, or fail."""
        if self._fails():
            raise WebhookFailed("drawn")
        self._to_json.append(id)


class SeveralTests(SynchronousTestCase):
    """
    Several collectors that watch one store.
    """

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0), st.lists(st.booleans(), min_size=1, max_size=20))
    def test_each_thing_is_told_once(self, seed: int, bad: list[bool]) -> None:
        """Whichever is first at each step of the way, and whatever fails."""
        self.clock = Clock()
        self.clock.advance(START + MARGIN)
        store = in_memory(self)
        archive = Archive(store)
        self.successResultOf(archive.keep(batch(Count("a"))))
        turns = Turns(store)
        told: list[str] = []
        drawn = random.Random(seed)
        collectors = [
            AlertMonitor(
                Archive(store),
                AlertRecords(turns),  # type: ignore[arg-type]
                Ledger(told, lambda: drawn.random() < 0.3),
                CollectorMetrics(),
                lambda low, high: 1.0,
            )
            for _ in range(2)
        ]
        watched = alert(time_window="5m", threshold=10)
        records = AlertRecords(store)
        self.successResultOf(Deferred.fromCoroutine(records.create(watched)))

        def minute(choose: Any) -> None:
            self.clock.advance(60)
            work = [
                Deferred.fromCoroutine(coroutine)
                for each in collectors
                for coroutine in (each.evaluate(), each.notify())
            ]
            while turns.waiting:
                turns.waiting.pop(choose(len(turns.waiting))).callback(None)
            for done in work:
                self.successResultOf(done)

        for is_bad in bad:
            if is_bad:
                self.successResultOf(archive.keep(batch(Count("a", 20))))
            minute(drawn.randrange)
        for each in collectors:
            each._webhooks = Ledger(told, lambda: False)
        for _ in range(40):
            minute(lambda waiting: 0)
        record = self.successResultOf(Deferred.fromCoroutine(records.one("x")))
        self.assertEqual(record.notices, ())
        episodes = range(1, record.state.episode + 1)
        self.assertEqual(len(episodes) > 0, any(bad))
        self.assertEqual(
            told,
            [
                f"x-{each}-{event}"
                for each in episodes
                for event in ("fired", "recovered")
            ],
        )


class SeveralOnSqliteTests(TestCase):
    """
    Several collectors at once on a real store.
    """

    timeout = 600
    host: Any = SqliteHost

    @inlineCallbacks
    def test_each_thing_is_told_once(self) -> Any:
        """Four of them see twenty alerts fire, and each is told by one of them."""
        host = self.host(self)
        told: list[str] = []
        watches = []
        for _ in range(4):
            store = yield host.open()
            watches.append(
                AlertMonitor(
                    Archive(store),
                    AlertRecords(store),
                    Ledger(told, lambda: False),
                    CollectorMetrics(),
                )
            )
        yield watches[0]._archive.keep(batch(Count("a", 11)))
        ids = [f"{number:02}" for number in range(20)]
        for id in ids:
            watched = alert(id=id, time_window="5m", threshold=10)
            yield Deferred.fromCoroutine(watches[0]._records.create(watched))
        host.clock.advance(60 + MARGIN)
        for _ in range(3):
            for work in (
                AlertMonitor.evaluate,
                AlertMonitor.notify,
                AlertMonitor.settled,
            ):
                yield gatherResults(
                    [Deferred.fromCoroutine(work(each)) for each in watches]
                )
        self.assertEqual(sorted(told), [f"{id}-1-fired" for id in ids])


class SeveralOnRedisTests(SeveralOnSqliteTests):
    """
    The same on Redis.
    """

    host = RedisHost


class WebhookTests(SynchronousTestCase):
    """
    Posting to a URL.
    """

    def test_urls(self) -> None:
        """HTTPS only, but to this machine; no part of a bad one is told."""
        for url in (
            HOOK,
            "https://h.example.com",
            "https://h.example.com?x=1",
            "https://h.example.com:8443/a/b?c=%2F",
            "http://localhost:8000/x",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://[::1]:8000/x",
            "https://[2001:db8::7]/x",
            "https://stack_hooks/x",
        ):
            self.assertEqual(check_webhook(url), url)
        for url in (
            7,
            "",
            "canary",
            "http://h.example.com/canary",
            "http://localhost.canary.com/",
            "ftp://canary.com",
            "https://user:canary@h.example.com/",
            "https://h.example.com/canary#x",
            "https://h.example.com/canary x",
            "https://h.example.com/canary\r\nx",
            "https://h.example.com/canary/é",
            "https://h.example.com/" + "canary" * MAX_URL,
            "https://-canary/",
            "http://[2001:db8::7]/canary",
            "https://[::1/canary",
            "https:///canary",
        ):
            with self.assertRaises(ValueError) as caught:
                check_webhook(url)
            self.assertNotIn("canary", str(caught.exception))
        self.assertRaises(ValueError, CollectorService, "memory:", webhooks=["x"])

    def test_serve(self) -> None:
        """The command refuses a bad file with words, and without what is in it."""
        path = self.mktemp()
        Path(path).write_text("http://h.example.com/canary")
        done = subprocess.run(
            [sys.executable, "-m", "txstathat", "serve", "--webhooks", path],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("line 1: the URL must begin with https://", done.stderr)
        self.assertNotIn("canary", done.stderr)

    def test_only_where_the_operator_says(self) -> None:
        """Another URL is fine at a host that is named, port and all; else refused."""
        webhooks = Webhooks([HOOK, "https://Second.example.com:444/x"])
        self.assertEqual(webhooks.target(""), HOOK)
        for url in (
            "https://HOOKS.example.com/other",
            "https://second.example.com:444?x=canary",
        ):
            self.assertEqual(webhooks.check(url), url)
            self.assertEqual(webhooks.target(url), url)
        for url in (
            "https://second.example.com/canary",
            "https://hooks.example.com.evil.com/canary",
            "https://hooks.example.com@evil.com/canary",
            "http://localhost/canary",
        ):
            with self.assertRaises(Refusal) as caught:
                webhooks.check(url)
            self.assertNotIn("canary", str(caught.exception))
            self.assertEqual(webhooks.target(url), "")
        self.assertEqual(Webhooks().target(""), "")

    def test_what_comes_after_the_host_goes_out_as_it_is(self) -> None:
        """Signatures in it stay valid."""
        clock, receiver = Clock(), Receiver()
        webhooks = Webhooks(
            [HOOK], reactor=clock, agent=RequestTraversalAgent(receiver)
        )
        sent = ["/a%2Fb?sig=x%3D%26y&z=a+b%20c", "/a;b=c:@!$&'()*,=~?d?e=/", "?%ff%zz"]
        for target in sent:
            posted = webhooks.post(f"https://hooks.example.com{target}", {}, "id")
            self.successResultOf(Deferred.fromCoroutine(posted))
        seen = [uri.decode() for uri, _, _ in receiver.requests]
        self.assertEqual(seen, [*sent[:2], "/?%ff%zz"])

    def test_failures_hold_no_secret(self) -> None:
        """Whatever an attempt fails with, the URL is not in it."""

        class Broken:
            def request(self, *args: Any, **more: Any) -> Any:
                """Fail with all that is known."""
                return fail(ValueError(f"canary {args}"))

        webhooks = Webhooks([HOOK], reactor=Clock(), agent=Broken())  # type: ignore[arg-type]
        failed = Deferred.fromCoroutine(webhooks.post(HOOK, {}, "x"))
        failure = self.failureResultOf(failed, WebhookFailed)
        self.assertNotIn("canary", failure.getTraceback() + repr(failure.value))
        self.successResultOf(webhooks.close())
        failed = Deferred.fromCoroutine(webhooks.post(HOOK, {}, "x"))
        self.failureResultOf(failed, StatHatClosed)


class RealTests(ServiceCase):
    """
    Over real sockets.
    """

    def listen(self, receiver: Receiver, tls: Any = None) -> Any:
        """Have a receiver listen."""
        site = Site(receiver)
        site.log = lambda request: None
        if tls is None:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, site, tls, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port

    @inlineCallbacks
    def test_tls(self) -> Any:
        """Only who has the right certificate is told, and only it sees the URL."""
        authority, receiver = Authority(), Receiver()
        hooks = []
        for name in ("localhost", "elsewhere.example.com"):
            port = self.listen(receiver, authority.server_options(name))
            hooks.append(f"https://localhost:{port.getHost().port}/canary")
        right, wrong = hooks
        agent = PooledAgent(reactor, trust_root=authority.trust_root)
        self.addCleanup(agent.close)
        trusting = Webhooks(hooks, agent=agent)
        for webhooks, hook in ((trusting, wrong), (Webhooks(hooks), right)):
            posted = Deferred.fromCoroutine(webhooks.post(hook, {"a": 1}, "id"))
            failure = yield self.assertFailure(posted, WebhookFailed)
            self.assertNotIn("canary", str(failure))
            yield webhooks.close()
        self.assertEqual(receiver.told, [])
        trusting = Webhooks(hooks, agent=agent)
        yield Deferred.fromCoroutine(trusting.post(right, {"a": 1}, "id"))
        yield trusting.close()
        self.assertEqual(receiver.told, [{"a": 1}])

    @inlineCallbacks
    def test_over_a_socket(self) -> Any:
        """A point, an alert, and its receiver, who is told once; then all is closed."""
        receiver = Receiver()
        port = self.listen(receiver)
        hook = f"http://127.0.0.1:{port.getHost().port}/hook?canary"
        with logged() as log:
            yield self.start(webhooks=hook)
            store = self.parts.archive.store
            now = int(store.clock.seconds())
            yield self.parts.archive.keep(batch(Count("errors", 11, now - 120)))
            made = alert(time_window="5m", threshold=10, stat_name="errors")
            yield Deferred.fromCoroutine(self.parts.alerts.create(made))
            for _ in range(2):
                yield Deferred.fromCoroutine(self.parts.monitor.evaluate())
                yield Deferred.fromCoroutine(self.parts.monitor.notify())
                yield Deferred.fromCoroutine(self.parts.monitor.settled())
            yield self.service.stopService()
        self.assertEqual(receiver.events, [("fired", 1)])
        self.assertEqual(
            receiver.requests, [(b"/hook?canary", "x-1-fired", "application/json")]
        )
        self.assertNotIn("canary", log.text)

    @inlineCallbacks
    def test_stopped_amid_an_attempt(self) -> Any:
        """The service stops in bounded time, and leaves the rest to the next start."""
        receiver = Receiver()
        receiver.stalled = []
        port = self.listen(receiver)
        hook = f"http://127.0.0.1:{port.getHost().port}/"
        yield self.start(webhooks=[hook])
        made = alert(time_window="5m", stat_name="errors")
        yield self.parts.archive.keep(batch(Count("errors")))
        yield Deferred.fromCoroutine(self.parts.alerts.create(made))
        record = yield Deferred.fromCoroutine(self.parts.alerts.one("x"))
        waits = replace(record, notices=(Notice("fired", 1, NOW, 7),))
        yield Deferred.fromCoroutine(self.parts.alerts.change(record, waits))
        yield Deferred.fromCoroutine(self.parts.monitor.notify())
        while not receiver.stalled:
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.01, pause.callback, None)
            yield pause
        yield self.service.stopService()
        yield self.start()
        record = yield Deferred.fromCoroutine(self.parts.alerts.one("x"))
        self.assertEqual(record.notices[0].attempts, 1)
