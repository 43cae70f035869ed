"""
Alerts: their definitions, when they fire, and that each notice is delivered once.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from tests.fixtures import ROOT
from tests.fixtures.alerts_cases import HOOK, AlertCase, Receiver
from tests.fixtures.archives import START, batch
from tests.fixtures.collector_services import ServiceCase
from tests.fixtures.collectors import in_memory
from tests.fixtures.python_programs import run_python
from tests.fixtures.stores import NOW, RedisHost, SqliteHost, Turns
from tests.fixtures.support import Authority, logged, reactor
from tests.fixtures.visitors import Visitor
from txstathat import Count, Value
from txstathat.collector.alerts.alert_record import MAX_NOTICES, AlertRecord
from txstathat.collector.alerts.conditions.evaluation import (
    RECOVERY_SECONDS,
    AlertState,
    Evaluation,
    WindowReading,
    evaluate,
    next_state,
    windows_to_read,
)
from txstathat.collector.alerts.model import (
    MARGIN,
    WINDOWS,
    AlertDefinition,
    choose_step,
)
from txstathat.collector.alerts.monitor import AlertMonitor
from txstathat.collector.alerts.notices import LEASE, AlertNotice, notice_retry_delay
from txstathat.collector.alerts.operator_webhooks import Webhooks, check_webhook
from txstathat.collector.alerts.records import MAX_ALERTS, AlertRecords
from txstathat.collector.alerts.sending.delivery import MAX_UNDER_WAY
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import RETENTION, Stat
from txstathat.collector.channels.message import ChannelMessage, DeliveryFailed
from txstathat.collector.channels.sending.hook_urls import MAX_URL
from txstathat.collector.channels.sending.outgoing import TIMEOUT
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.service import CollectorService
from txstathat.errors import StatHatClosed, StoreUnavailable
from txstathat.http.connections.pool import PooledAgent


class ApiTests(AlertCase):
    """
    The alerts API, at ``/x/TOKEN/alerts`` and ``/a1/alerts``.
    """

    def test_kinds(self) -> None:
        """Each kind is returned with StatHat's fields and ``firing``, then and later."""
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
            status, answer = self.post(**fields)
            self.assertEqual(status, 200)
            own = {
                "id": answer["id"],
                "stat_name": "errors",
                "firing": False,
                "acknowledged": False,
                "silenced_until": None,
                "channels": [],
                "last_error": None,
                "webhook": None,
            }
            self.assertEqual(answer, {**fields, **own})
            self.assertGreaterEqual(len(answer["id"]), 6)
            made.append(answer)
        listed = self.here.get("/alerts")
        by_id = sorted(made, key=lambda answer: answer["id"])
        self.assertEqual(listed, by_id)
        for answer in made:
            self.assertEqual(self.here.get(f"/alerts/{answer['id']}"), answer)

    def test_delete(self) -> None:
        """A deleted alert is gone, and its notices are not delivered."""
        id = self.create_many_errors()
        self.store_points(Count("errors", 11))
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
        self.assertEqual(self.receiver.messages, [])

    def test_stathats_command_line(self) -> None:
        """It posts forms to /a1 with Basic auth, and short or empty operators."""
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
            status, answer = self.here.ask(
                "POST",
                "/a1/alerts",
                form.encode(),
                Authorization=basic,
                Content_Type="application/x-www-form-urlencoded",
            )
            self.assertEqual((status, answer["operator"]), (200, operator))
        self.here.now(self.here.parts.alerts.delete(answer["id"]))
        form = (
            f"kind=value&operator=&stat_id={self.errors['id']}&threshold=0"
            "&time_window=1d"
        )
        status, answer = self.here.ask(
            "POST",
            "/a1/alerts",
            form.encode(),
            Authorization=basic,
            Content_Type="application/x-www-form-urlencoded",
        )
        self.assertEqual((status, answer["operator"]), (200, "greater than"))
        status, answer = self.here.ask("GET", "/a1/alerts", Authorization=basic)
        self.assertEqual((status, len(answer)), (200, 3))
        path = f"/a1/alerts/{answer[0]['id']}"
        self.assertEqual(
            self.here.ask("GET", path, Authorization=basic), (200, answer[0])
        )
        status, _ = self.here.ask("DELETE", path, Authorization=basic)
        self.assertEqual(status, 200)
        self.assertEqual(self.here.ask("GET", "/a1/alerts")[0], 401)
        self.assertEqual(len(self.here.get("/alerts")), 2)

    def test_refused(self) -> None:
        """An invalid alert is refused; the message names the field and the rule."""
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
                "webhook: this collector may not post",
                {**value, "webhook": "https://x.y/"},
            ),
            ("webhook: the URL", {**value, "webhook": "canary"}),
        ):
            fields = {"stat_id": self.errors["id"], "time_window": "5m", **fields}
            if fields.get("kind") == "data" and "threshold" in fields:
                del fields["operator"]
            status, answer = self.post(**fields)
            self.assertEqual((status, answer["status"]), (400, 400), fields)
            self.assertIn(words, answer["msg"])
            self.assertNotIn("canary", answer["msg"])
        for status, words, path, fields in (
            (400, "stat_id: is missing", "", {}),
            (404, "no stat with the id 'x'", "", {"stat_id": "x"}),
            (404, "post to /alerts", "/x/more", {}),
            (404, "no alert with the id 'x'", "/x", {}),
            (400, "'a' is given twice", "?a=1&a=2", {"kind": "data"}),
            (400, "'a' is not UTF-8", "?a=%ff", {}),
        ):
            code, answer = self.post(path, **fields)
            self.assertEqual(code, status)
            self.assertIn(words, answer["msg"])
        self.assertEqual(self.here.get("/alerts"), [])

    def test_limit(self) -> None:
        """There is a largest number of alerts."""
        record = self.record(self.create(kind="data"))
        for number in range(MAX_ALERTS - 1):
            self.successResultOf(
                self.here.store.put_record("alert", f"{number}", record.text, was=None)
            )
        status, answer = self.post(
            kind="data", stat_id=self.errors["id"], time_window="1h"
        )
        self.assertEqual(status, 429)
        self.assertIn(f"{MAX_ALERTS} alerts, which is the limit", answer["msg"])

    def test_the_url_of_a_webhook_is_secret(self) -> None:
        """
        It is in no answer, page, repr or message, and the notice goes there. Its host
        is shown.
        """
        own = "https://hooks.example.com/own/canary"
        id = self.create_many_errors(webhook=own)
        self.assertEqual(self.record(id).alert.webhook, own)
        visitor = Visitor(self.here)
        visitor.sign_in()
        page = visitor.see(f"/alerts/{id}")
        for shown in (
            page,
            visitor.see("/alerts"),
            visitor.see(f"/alerts/{id}/edit"),
            json.dumps(self.here.get("/alerts")),
            json.dumps(self.here.get(f"/alerts/{id}")),
            repr(self.record(id)),
        ):
            self.assertNotIn("canary", shown)
        host = "https://hooks.example.com/…"
        self.assertEqual(self.here.get(f"/alerts/{id}")["webhook"], host)
        self.assertIn(f"Notices go to: webhook ({host}).", page)
        self.store_points(Count("errors", 11))
        self.tick(60)
        self.assertEqual(self.receiver.requests[0][0], b"/own/canary")
        self.assertNotIn("canary", json.dumps(self.receiver.messages))


STAT = Stat("a", True, 0.0, NOW, 1)
MESSAGE = ChannelMessage("id", "fired", NOW, "title", "text", "key", details={"a": 1})


def alert(**fields: Any) -> AlertDefinition:
    """An alert for more than 100, with some fields changed."""
    made = AlertDefinition("x", STAT.id, "a", "value", "1h", "greater than", 100)
    return replace(made, **fields)


class EvaluationTests(SynchronousTestCase):
    """
    Evaluations and episodes, without a clock or a store.
    """

    def test_steps(self) -> None:
        """Windows are read in steps that are stored for long enough."""
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
            self.assertEqual(str(choose_step(window, delta, RETENTION)), step)
        for window, delta in (("5m", "1w"), ("1h", "1y"), ("1y", "1h")):
            self.assertRaises(Refusal, choose_step, window, delta, RETENTION)
        self.assertRaises(
            Refusal, choose_step, "5m", None, {**RETENTION, "minute": 60.0}
        )

    def test_windows(self) -> None:
        """A window ends with the last complete step; the earlier one lies before it."""
        now = START + 120 + MARGIN
        for time, end in ((now, START + 120), (now - 0.5, START + 60)):
            (window,) = windows_to_read(alert(time_window="5m"), RETENTION, time)
            self.assertEqual((window.end, str(window.frame)), (end, "5m1m"))
        delta = alert(kind="delta", time_window="1h", time_delta="1d")
        late, early = windows_to_read(delta, RETENTION, now)
        self.assertEqual(late.end - early.end, 86_400)
        self.assertEqual(windows_to_read(alert(kind="data"), RETENTION, now), [])

    def test_all_windows_can_be_read(self) -> None:
        """For each accepted pair of lengths, the windows are whole and of that length."""
        for length in WINDOWS:
            for delta in (None, *WINDOWS):
                rule = alert(kind="delta", time_window=length, time_delta=delta)
                try:
                    read = windows_to_read(rule, RETENTION, NOW)
                except Refusal:
                    continue
                for window in read:
                    edges = window.frame.edges(window.end - 1)
                    self.assertEqual(edges[-1], window.end)
                    self.assertEqual(edges[0], WINDOWS[length].before(window.end))

    def test_value(self) -> None:
        """Beyond the threshold it holds; 5 % back it is clear; between, it is neither."""
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
            rule = alert(operator=operator, threshold=threshold)
            for stat in (STAT, replace(STAT, counter=False)):
                evaluated = evaluate(rule, stat, [WindowReading(number, True)], NOW)
                self.assertEqual(
                    evaluated, Evaluation(holds, number), (operator, number)
                )

    def test_a_young_counter(self) -> None:
        """A counter younger than the window can be too high, but not too low."""
        little = alert(operator="less than")
        self.assertIsNone(evaluate(little, STAT, [WindowReading(0, False)], NOW).holds)
        self.assertTrue(evaluate(little, STAT, [WindowReading(0, True)], NOW).holds)
        self.assertTrue(evaluate(alert(), STAT, [WindowReading(101, False)], NOW).holds)

    def test_delta(self) -> None:
        """The change is in percent; from 0 it is infinite."""
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
            rule = alert(kind="delta", operator=operator, percentage=50)
            for counter in (True, False):
                evaluated = evaluate(
                    rule,
                    replace(STAT, counter=counter),
                    [WindowReading(now, True), WindowReading(before, True)],
                    NOW,
                )
                self.assertIs(evaluated.holds, holds, (operator, before, now))
                if change is not None:
                    self.assertTrue(math.isclose(evaluated.number or 0, change))
        young = [WindowReading(9, True), WindowReading(0, False)]
        rule = alert(kind="delta", operator="greater than", percentage=50)
        self.assertEqual(evaluate(rule, STAT, young, NOW), Evaluation(None))

    def test_data(self) -> None:
        """It holds when no point has arrived for longer than the window."""
        rule = alert(kind="data", time_window="5m")
        for ago, holds in ((0, False), (300, False), (301, True)):
            stat = replace(STAT, received_at=NOW - ago)
            self.assertEqual(evaluate(rule, stat, [], NOW), Evaluation(holds, ago))

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
    # The clock is set back while the condition is clear: the time counts from then on.
    @example([(True, 0), (False, 300), (False, -200), (False, 299), (False, 1)])
    # The same before the episode, and forward.
    @example([(False, -100), (True, -3600), (False, -3600), (False, 3600)])
    def test_episodes(self, evaluated: list[tuple[bool | None, int]]) -> None:
        """
        An episode begins when the condition first holds, and ends when it has been
        clear without a break for long enough, also if the clock is set.
        """
        state, now = AlertState(), NOW
        clear: list[float] = []
        for holds, passed in evaluated:
            now += passed
            before, state = state, next_state(state, holds, now)
            clear = [*clear, now] if holds is False and before.firing else []
            ends = bool(clear) and now - min(clear) >= RECOVERY_SECONDS
            if before.firing:
                self.assertEqual(state.firing, not ends)
                self.assertEqual(state.episode, before.episode)
            else:
                self.assertEqual(state.firing, holds is True)
                self.assertEqual(state.episode, before.episode + state.firing)
            if state.firing != before.firing:
                self.assertEqual((state.since, state.clear_since), (now, None))
                clear = []

    def test_message(self) -> None:
        """The message has a sentence for people, and only numbers that JSON has."""
        delta = alert(
            kind="delta", percentage=50, time_delta="1d", operator="less than"
        )
        for rule, event, number, text in (
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
            message = AlertNotice(event, 3, NOW, number).to_json(rule)
            self.assertEqual(message["text"], text)
            self.assertEqual(message["id"], f"x-3-{event}")
            json.dumps(message, allow_nan=False)

    def test_a_message_about_any_name(self) -> None:
        """The sentence for people has no character that changes how it is shown."""
        rule = replace(alert(), stat_name="a\u202eb")
        message = AlertNotice("fired", 1, NOW, 101).to_json(rule)
        self.assertEqual(
            message["text"],
            "a\N{REPLACEMENT CHARACTER}b: 101 over 1h, greater than 100",
        )
        self.assertEqual(message["alert"]["stat_name"], "a\u202eb")

    def test_delays(self) -> None:
        """The delays double up to five minutes, and vary by half either way."""
        even = [
            notice_retry_delay(attempts, lambda low, high: (low + high) / 2)
            for attempts in range(1, 8)
        ]
        self.assertEqual(even, [15, 30, 60, 120, 240, 300, 300])
        self.assertEqual(notice_retry_delay(1, lambda low, high: low), 7.5)
        self.assertEqual(notice_retry_delay(1, lambda low, high: high), 22.5)


class MonitorTests(AlertCase):
    """
    ``AlertMonitor``, with the test's own clock.
    """

    def test_an_episode(self) -> None:
        """One notice says that it fired, and one that it recovered."""
        id = self.create_many_errors()
        self.tick()
        self.store_points(Count("errors", 11))
        self.tick(59)
        self.assertEqual(self.receiver.messages, [])
        self.tick(1)
        (message,) = self.receiver.messages
        at = START + MARGIN + 60
        self.assertEqual(
            message,
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
        # In minutes 1 to 4 it holds; from minute 5 it is clear; at minute 10 it ends.
        self.minutes(4)
        self.assertTrue(self.record(id).state.firing)
        self.assertIsNone(self.record(id).state.clear_since)
        self.minutes(5)
        self.assertEqual(len(self.receiver.messages), 1)
        self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])
        self.assertEqual(self.receiver.messages[1]["number"], 0)
        self.minutes(5)
        self.store_points(Count("errors", 99))
        self.minutes(2)
        self.assertEqual(self.receiver.events[2:], [("fired", 2)])
        self.assertEqual(self.metrics.notices_sent, 3)

    def test_hysteresis(self) -> None:
        """A number that wavers around the threshold, or dips briefly, is one episode."""
        self.create_many_errors()
        dip = [2.1] * 6 + [0.0] + [2.1] * 9
        for count in [2.4] * 5 + [1.92] * 5 + [2.2] * 5 + [1.96] * 20 + dip:
            self.store_points(Count("errors", count))
            self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_no_data(self) -> None:
        """It fires when points stop, and recovers some time after the next point."""
        self.create(kind="data")
        self.minutes(5)
        self.assertEqual(self.receiver.messages, [])
        self.tick(1)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        for _ in range(6):
            self.store_points(Count("errors"))
            self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])

    def test_averages(self) -> None:
        """The number of a value is the average of all its points in the window."""
        self.create(
            stat_id=self.load["id"], kind="value", operator="lt", threshold="0.5"
        )
        self.store_points(*[Value("load", 0.45)] * 9)
        self.tick(60)
        self.assertEqual(self.receiver.messages, [])
        self.store_points(*[Value("load", 0.3)] * 30)
        self.tick(60)
        self.assertAlmostEqual(self.receiver.messages[0]["number"], (1 + 4.05 + 9) / 40)

    def test_changes(self) -> None:
        """A window is compared with the one an hour before."""
        self.create(kind="delta", operator="dt", percentage="50", time_delta="1h")
        for _ in range(64):
            self.store_points(Count("errors", 1))
            self.minutes(1)
        self.assertEqual(self.receiver.messages, [])
        for _ in range(3):
            self.store_points(Count("errors", 3))
            self.minutes(1)
        self.assertEqual(
            [message["text"] for message in self.receiver.messages],
            ["errors: 80% over 5m, 50% different than 1h before"],
        )

    def test_read_once_for_each_step(self) -> None:
        """Stats are read together, and not again before the next step is complete."""
        for _ in range(3):
            self.create_many_errors()
        for name in ("b", "c"):
            self.store_points(Count(name))
            self.create_many_errors(stat_id=self.here.get(f"/stat?name={name}")["id"])
        reads = self.record_reads()
        for _ in range(4):
            self.tick(14)
        self.assertEqual(reads, [["b", "c", "errors"]])
        self.tick(14)
        self.assertEqual(len(reads), 2)

    def record_reads(self) -> list[list[str]]:
        """The stats that are read from now on: the names in each call."""
        reads: list[list[str]] = []
        data = self.parts.archive.data

        def recorded(stats: Any, *args: Any) -> Any:
            reads.append([stat.name for stat in stats])
            return data(stats, *args)

        self.parts.archive.data = recorded  # type: ignore[method-assign]
        return reads

    def test_read_in_parts(self) -> None:
        """Many stats are read a few at a time; all alerts are evaluated."""
        self.monitor = self.make_monitor(self.webhooks, cells_at_once=12)
        names = [f"stat {number}" for number in range(5)]
        self.store_points(*[Count(name, 11) for name in names])
        for name in names:
            self.create_many_errors(
                stat_id=self.here.get(f"/stat?name={name}".replace(" ", "+"))["id"]
            )
        reads = self.record_reads()
        self.tick(60)
        self.assertEqual([len(read) for read in reads], [2, 2, 1])
        fired = sorted(each["alert"]["stat_name"] for each in self.receiver.messages)
        self.assertEqual(fired, names)

    def test_metrics(self) -> None:
        """/metrics counts delivered notices, failed attempts, and dropped notices."""
        self.metrics.notices_dropped = 3
        self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.receiver.answers = [500]
        self.minutes(3)
        answer = self.here.begin(
            "GET", "/metrics", Authorization=f"Bearer {self.here.token}"
        )
        text = self.successResultOf(self.successResultOf(answer).text())
        for line in ("sent_total 1.0", "failed_total 1.0", "dropped_total 3.0"):
            self.assertIn(f"\ntxstathat_notices_{line}\n", text)

    def test_a_stat_in_the_trash(self) -> None:
        """Its alerts are suspended until it is restored."""
        id = self.create(kind="data")
        self.now(self.parts.archive.delete(self.errors["id"]))
        self.minutes(10)
        self.assertEqual(self.record(id).state, AlertState())
        self.now(self.parts.archive.restore("errors"))
        self.minutes(1)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_a_shortened_retention(self) -> None:
        """An alert that cannot be evaluated any more is suspended; others are not."""
        self.create_many_errors()
        self.create(kind="data")
        self.parts.archive.retention["minute"] = 60.0
        self.store_points(Count("errors", 99))
        self.minutes(6)
        self.assertEqual(
            [message["alert"]["kind"] for message in self.receiver.messages], ["data"]
        )

    def test_an_extended_retention(self) -> None:
        """An alert is suspended until its window is complete; others are not."""
        archive = self.parts.archive
        archive.retention["minute"] = 60.0
        self.now(archive.note_retention())
        archive.retention["minute"] = 3600.0
        self.now(archive.note_retention())
        self.create_many_errors()
        self.create(kind="data")
        for _ in range(4):
            self.store_points(Count("errors", 99))
            self.minutes(1)
        self.assertEqual(self.receiver.messages, [])
        self.minutes(3)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        self.minutes(3)
        self.assertEqual(self.receiver.messages[-1]["alert"]["kind"], "data")

    def test_retries(self) -> None:
        """A failed attempt is repeated after a growing delay until it succeeds."""
        self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.receiver.answers = [500, 429, 503]
        attempts: list[float] = []
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        for second in range(120):
            before = len(self.receiver.messages)
            self.now(self.monitor.notify())
            attempts += [second] * (len(self.receiver.messages) - before)
            self.clock.advance(1)
        self.assertEqual(attempts, [0, 15, 45, 105])
        self.assertEqual(self.receiver.messages, [self.receiver.messages[0]] * 4)
        self.assertEqual(len({key for _, key, _ in self.receiver.requests}), 1)
        self.assertEqual(self.metrics.notices_failed, 3)
        self.assertEqual(self.metrics.notices_sent, 1)

    def test_read_once_for_many_notices(self) -> None:
        """Many notices need one read of the alerts, not one for each."""
        for _ in range(2 * MAX_UNDER_WAY):
            self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        reads: list[str] = []
        records, store = self.here.store.records, self.here.store
        store.records = lambda kind: reads.append(kind) or records(kind)
        record = store.record
        store.record = lambda kind, id: reads.append(id) or record(kind, id)
        self.now(self.monitor.notify())
        self.assertEqual(reads, ["alert", "channel"])
        self.assertEqual(self.metrics.notices_sent, 2 * MAX_UNDER_WAY)

    def test_given_up(self) -> None:
        """
        After a day of failures a notice is counted and logged as given up; later ones
        go on. The first failure is logged at once.
        """
        id = self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.receiver.answers = [500] * 1_000
        with logged() as log:
            self.minutes(1)
            self.assertEqual(
                log.at_level("warn"),
                [
                    "the webhook: a notice could not be delivered, and is tried again: "
                    "HTTP status 500"
                ],
            )
            self.minutes(23 * 60)
            self.assertEqual(len(log.at_level("warn")), 1)
            self.assertEqual(len(self.record(id).notices), 2)
            self.minutes(65)
            self.assertEqual(
                log.at_level("warn")[1:],
                [
                    f"the alert {id}: the notice that it fired is given up: the "
                    "webhook: HTTP status 500"
                ],
            )
            self.receiver.answers = []
            self.minutes(10)
        self.assertEqual(self.receiver.events[-1], ("recovered", 1))
        self.assertEqual(self.metrics.notices_sent, 1)
        self.assertEqual(self.metrics.notices_dropped, 1)
        self.assertEqual(self.record(id).notices, ())
        self.assertNotIn("canary", log.text)

    def test_a_refusal_that_cannot_heal(self) -> None:
        """A 404 is logged at once, is the alert's last error, and is not tried again."""
        id = self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.receiver.answers = [404]
        with logged() as log:
            self.minutes(1)
        self.assertEqual(
            log.at_level("warn"),
            [
                f"the alert {id}: the notice that it fired is given up: the webhook: "
                "HTTP status 404"
            ],
        )
        self.assertEqual(
            self.here.get(f"/alerts/{id}")["last_error"], "webhook: HTTP status 404"
        )
        self.minutes(5)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        self.minutes(5)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])
        self.assertIsNone(self.here.get(f"/alerts/{id}")["last_error"])

    def test_too_many_notices(self) -> None:
        """The oldest notice is dropped and counted."""
        id = self.create_many_errors()
        old = [
            AlertNotice("fired", number, NOW, 1, next_at=self.clock.seconds() + 400)
            for number in range(30)
        ]
        record = self.record(id)
        full = replace(record, notices=tuple(old[:MAX_NOTICES]))
        self.now(self.parts.alerts.change(record, full))
        self.store_points(Count("errors", 11))
        self.tick(60)
        notices = self.record(id).notices
        self.assertEqual(len(notices), MAX_NOTICES)
        self.assertEqual([each.episode for each in notices], [*range(1, 20), 1])
        self.assertEqual(self.metrics.notices_dropped, 1)

    def test_a_receiver_that_stalls(self) -> None:
        """An attempt has ten seconds, and does not delay evaluations; others follow."""
        for _ in range(MAX_UNDER_WAY + 1):
            self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.receiver.stalled = []
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        notifying = Deferred.fromCoroutine(self.monitor.notify())
        self.assertEqual(len(self.receiver.messages), MAX_UNDER_WAY)
        self.now(self.monitor.evaluate())
        self.receiver.stalled = None
        self.clock.advance(TIMEOUT)
        self.successResultOf(notifying)
        self.assertEqual(len(self.receiver.messages), MAX_UNDER_WAY)
        self.assertEqual(self.metrics.notices_failed, MAX_UNDER_WAY)
        # One is tried when the pause is over, and then all of them.
        self.clock.advance(300)
        self.now(self.monitor.notify())
        self.assertEqual(self.metrics.notices_sent, 1)
        self.now(self.monitor.notify())
        self.assertEqual(self.metrics.notices_sent, MAX_UNDER_WAY + 1)

    def test_a_host_that_does_not_answer(self) -> None:
        """It does not delay the notices to another host."""
        dead, good = "https://dead.example/x", "https://good.example/x"
        webhooks = self.make_webhooks(good, dead)
        self.monitor = self.make_monitor(webhooks)
        posted: list[str] = []

        async def post(url: str, message: Any) -> None:
            posted.append(url)
            if url == dead:
                await deferLater(self.clock, TIMEOUT)
                raise DeliveryFailed("TimeoutError")

        webhooks.post = post  # type: ignore[method-assign]
        records = self.parts.alerts
        notice = AlertNotice("fired", 1, NOW, 7)
        for number in range(10 * MAX_UNDER_WAY + 1):
            made = replace(alert(webhook=dead), id=f"{number:016x}")
            self.now(records.create(made))
            record = self.record(made.id)
            self.now(records.change(record, replace(record, notices=(notice,))))
        self.now(self.monitor.notify())
        self.assertEqual(posted, [dead] * MAX_UNDER_WAY)
        # A notice a moment later, while all of those wait.
        self.clock.advance(1)
        self.now(records.create(replace(alert(webhook=good), id="f" * 16)))
        record = self.record("f" * 16)
        self.now(records.change(record, replace(record, notices=(notice,))))
        self.now(self.monitor.notify())
        self.assertEqual(posted, [*[dead] * MAX_UNDER_WAY, good])
        self.assertEqual(self.record("f" * 16).notices, ())
        self.clock.pump([TIMEOUT] * 11)
        # The others for it wait until it is back.
        self.assertEqual(len(posted), MAX_UNDER_WAY + 1)
        self.assertEqual(self.monitor.under_way, 0)

    def test_only_what_has_changed_is_parsed(self) -> None:
        """Only records that have changed since the last read are parsed."""
        ids = [self.create_many_errors() for _ in range(3)]
        records = self.parts.alerts
        before = self.now(records.all())
        changed = replace(before[ids[1]], notices=(AlertNotice("fired", 1, NOW, 7),))
        self.now(records.change(before[ids[1]], changed))
        after = self.now(records.all())
        self.assertEqual([after[id] is before[id] for id in ids], [True, False, True])
        self.assertEqual(after[ids[1]], changed)
        self.assertIs(self.record(ids[0]), before[ids[0]])

    def test_what_happens_during_an_attempt(self) -> None:
        """Only the delivered notice is removed, whatever other notices there are now."""
        for given_up in (False, True):
            id = self.create_many_errors()
            self.store_points(Count("errors", 11))
            self.clock.advance(60)
            self.now(self.monitor.evaluate())
            self.receiver.stalled = []
            notifying = Deferred.fromCoroutine(self.monitor.notify())
            over = AlertNotice("recovered", 1, NOW, 7, next_at=1e12)

            def change(
                record: AlertRecord, given_up: bool = given_up, over: AlertNotice = over
            ) -> AlertRecord:
                before = () if given_up else record.notices
                return replace(record, notices=(*before, over))

            self.now(self.parts.alerts.update(self.record(id), change))
            self.receiver.stalled[0].finish()
            self.agent.flush()
            self.successResultOf(notifying)
            self.receiver.stalled = None
            self.assertEqual(self.record(id).notices, (over,))

    def test_no_webhook(self) -> None:
        """Without a webhook alerts are evaluated, and there are no notices."""
        self.monitor = self.make_monitor(Webhooks())
        id = self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.tick(60)
        self.assertTrue(self.record(id).state.firing)
        self.assertEqual(self.record(id).notices, ())
        self.assertEqual(self.metrics.notices_dropped, 0)

    def test_a_webhook_that_the_operator_removes(self) -> None:
        """Notices for it are dropped."""
        self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        self.monitor = self.make_monitor(Webhooks())
        with logged() as log:
            self.tick()
        self.assertEqual(self.receiver.messages, [])
        self.assertEqual(self.metrics.notices_dropped, 1)
        self.assertIn("may not post there any more", log.text)

    def test_a_store_that_fails(self) -> None:
        """A notice is not delivered again if the store could not record its delivery."""
        id = self.create_many_errors()
        self.store_points(Count("errors", 11))
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
        self.assertEqual(self.record(id).notices, ())

    def test_a_collector_that_dies(self) -> None:
        """Another collector delivers its notice again, under the same id."""
        id = self.create_many_errors()
        self.store_points(Count("errors", 11))
        self.clock.advance(60)
        self.now(self.monitor.evaluate())
        self.receiver.stalled = []
        notifying = Deferred.fromCoroutine(self.monitor.notify())
        closed = self.webhooks.close()
        self.clock.advance(1)
        self.successResultOf(notifying)
        self.successResultOf(closed)
        self.receiver.stalled = None
        other = self.make_monitor(self.make_webhooks())
        self.now(other.notify())
        self.assertEqual(len(self.receiver.messages), 1)
        self.clock.advance(LEASE)
        self.now(other.notify())
        self.assertEqual(len(self.receiver.messages), 2)
        self.assertEqual(
            {key for _, key, _ in self.receiver.requests}, {f"{id}-1-fired"}
        )


class RecordingWebhooks(Webhooks):
    """
    Webhooks that record what they deliver, and fail when the test says so.

    :param delivered: the ids of the delivered notices are appended to it.
    :param fails: returns whether an attempt fails.
    """

    def __init__(
        self, delivered: list[str], fails: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__([HOOK])
        self.delivered = delivered
        self.fails = fails

    async def post(self, url: str, message: Any) -> None:
        """Record the id, or fail."""
        if self.fails():
            raise DeliveryFailed("drawn")
        self.delivered.append(message.id)


class SeveralTests(SynchronousTestCase):
    """
    Several collectors that monitor one store.
    """

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0), st.lists(st.booleans(), min_size=1, max_size=20))
    def test_each_notice_is_delivered_once(self, seed: int, bad: list[bool]) -> None:
        """In whatever order they proceed, and whatever attempts fail."""
        self.clock = Clock()
        self.clock.advance(START + MARGIN)
        store = in_memory(self)
        archive = Archive(store)
        self.successResultOf(archive.add(batch(Count("a"))))
        turns = Turns(store)
        delivered: list[str] = []
        drawn = random.Random(seed)
        webhooks = RecordingWebhooks(delivered, lambda: drawn.random() < 0.3)
        monitors = [
            AlertMonitor(
                Archive(store),
                AlertRecords(turns),  # type: ignore[arg-type]
                webhooks,
                CollectorMetrics(),
                lambda low, high: (low + high) / 2,
            )
            for _ in range(2)
        ]
        records = AlertRecords(store)
        created = records.create(alert(time_window="5m", threshold=10))
        self.successResultOf(Deferred.fromCoroutine(created))

        def minute(choose: Any) -> None:
            self.clock.advance(60)
            work = [
                Deferred.fromCoroutine(coroutine)
                for each in monitors
                for coroutine in (each.evaluate(), each.notify())
            ]
            while turns.waiting:
                turns.waiting.pop(choose(len(turns.waiting))).callback(None)
            for done in work:
                self.successResultOf(done)

        for is_bad in bad:
            if is_bad:
                self.successResultOf(archive.add(batch(Count("a", 20))))
            minute(drawn.randrange)
        webhooks.fails = lambda: False
        for _ in range(40):
            minute(lambda waiting: 0)
        record = self.successResultOf(Deferred.fromCoroutine(records.get("x")))
        self.assertEqual(record.notices, ())
        episodes = range(1, record.state.episode + 1)
        self.assertEqual(len(episodes) > 0, any(bad))
        self.assertEqual(
            delivered,
            [
                f"x-{each}-{event}"
                for each in episodes
                for event in ("fired", "recovered")
            ],
        )


class SeveralOnSqliteTests(TestCase):
    """
    Several collectors at once on a SQLite file.
    """

    timeout = 600
    host: Any = SqliteHost

    @inlineCallbacks
    def test_each_notice_is_delivered_once(self) -> Any:
        """Four of them see twenty alerts fire; one of them delivers each notice."""
        host = self.host(self)
        delivered: list[str] = []
        stores = []
        for _ in range(4):
            stores.append((yield host.open()))
        monitors = [
            AlertMonitor(
                Archive(store),
                AlertRecords(store),
                RecordingWebhooks(delivered),
                CollectorMetrics(),
            )
            for store in stores
        ]
        yield Archive(stores[0]).add(batch(Count("a", 11)))
        ids = [f"{number:02}" for number in range(20)]
        for id in ids:
            created = alert(id=id, time_window="5m", threshold=10)
            yield Deferred.fromCoroutine(AlertRecords(stores[0]).create(created))
        host.clock.advance(60 + MARGIN)
        for _ in range(3):
            for work in (
                AlertMonitor.evaluate,
                AlertMonitor.notify,
                AlertMonitor.settled,
            ):
                yield gatherResults(
                    [Deferred.fromCoroutine(work(each)) for each in monitors]
                )
        self.assertEqual(sorted(delivered), [f"{id}-1-fired" for id in ids])


class SeveralOnRedisTests(SeveralOnSqliteTests):
    """
    The same on Redis.
    """

    host = RedisHost


class WebhookTests(SynchronousTestCase):
    """
    ``Webhooks``, and the URLs it accepts.
    """

    def test_urls(self) -> None:
        """URLs are HTTPS, except to localhost; a message has no part of a wrong one."""
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
        """The command refuses a wrong file; its message has nothing of what is in it."""
        path = self.mktemp()
        Path(path).write_text("http://h.example.com/canary")
        os.chmod(path, 0o600)
        done = run_python(
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
        """A URL of an alert must be at an origin that the operator names."""
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

    def test_path_and_query_are_sent_as_they_are(self) -> None:
        """A signature in them stays valid."""
        clock, receiver = Clock(), Receiver()
        webhooks = Webhooks(
            [HOOK], reactor=clock, agent=RequestTraversalAgent(receiver)
        )
        sent = ["/a%2Fb?sig=x%3D%26y&z=a+b%20c", "/a;b=c:@!$&'()*,=~?d?e=/", "?%ff%zz"]
        for target in sent:
            posted = webhooks.post(f"https://hooks.example.com{target}", MESSAGE)
            self.successResultOf(Deferred.fromCoroutine(posted))
        seen = [uri.decode() for uri, _, _ in receiver.requests]
        self.assertEqual(seen, [*sent[:2], "/?%ff%zz"])

    def test_failures_hold_no_secret(self) -> None:
        """However an attempt fails, the URL is not in its failure."""

        class Broken:
            def request(self, *args: Any, **more: Any) -> Any:
                """Fail with an error that holds the URL."""
                return fail(ValueError(f"canary {args}"))

        webhooks = Webhooks([HOOK], reactor=Clock(), agent=Broken())  # type: ignore[arg-type]
        failed = Deferred.fromCoroutine(webhooks.post(HOOK, MESSAGE))
        failure = self.failureResultOf(failed, DeliveryFailed)
        self.assertNotIn("canary", failure.getTraceback() + repr(failure.value))
        self.successResultOf(webhooks.close())
        failed = Deferred.fromCoroutine(webhooks.post(HOOK, MESSAGE))
        self.failureResultOf(failed, StatHatClosed)


class RealTests(ServiceCase):
    """
    A collector and its receiver, over real sockets.
    """

    def listen(self, receiver: Receiver, tls: Any = None) -> Any:
        """Let a receiver listen; its port."""
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
        """Only a receiver with the right certificate gets the notice and the URL."""
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
            posted = Deferred.fromCoroutine(webhooks.post(hook, MESSAGE))
            failure = yield self.assertFailure(posted, DeliveryFailed)
            self.assertNotIn("canary", str(failure))
            yield webhooks.close()
        self.assertEqual(receiver.messages, [])
        trusting = Webhooks(hooks, agent=agent)
        yield Deferred.fromCoroutine(trusting.post(right, MESSAGE))
        yield trusting.close()
        self.assertEqual(receiver.messages, [{"a": 1}])

    @inlineCallbacks
    def test_over_a_socket(self) -> Any:
        """A point makes an alert fire; its receiver gets one notice."""
        receiver = Receiver()
        port = self.listen(receiver)
        hook = f"http://127.0.0.1:{port.getHost().port}/hook?canary"
        with logged() as log:
            yield self.start(webhooks=hook)
            store = self.parts.archive.store
            now = int(store.clock.seconds())
            yield self.parts.archive.add(batch(Count("errors", 11, now - 120)))
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
    def test_stopped_during_an_attempt(self) -> Any:
        """The service stops during an attempt; the next start finds the notice."""
        receiver = Receiver()
        receiver.stalled = []
        port = self.listen(receiver)
        hook = f"http://127.0.0.1:{port.getHost().port}/"
        yield self.start(webhooks=[hook])
        made = alert(time_window="5m", stat_name="errors")
        yield self.parts.archive.add(batch(Count("errors")))
        yield Deferred.fromCoroutine(self.parts.alerts.create(made))
        record = yield Deferred.fromCoroutine(self.parts.alerts.get("x"))
        waits = replace(record, notices=(AlertNotice("fired", 1, NOW, 7),))
        yield Deferred.fromCoroutine(self.parts.alerts.change(record, waits))
        yield Deferred.fromCoroutine(self.parts.monitor.notify())
        while not receiver.stalled:
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.01, pause.callback, None)
            yield pause
        yield self.service.stopService()
        yield self.start()
        record = yield Deferred.fromCoroutine(self.parts.alerts.get("x"))
        self.assertEqual(record.notices[0].attempts, 1)
