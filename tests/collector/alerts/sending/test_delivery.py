"""
Alerts through channels: outages of a channel, silences, acknowledgements, several
collectors, and a clock that steps.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource

from tests.fixtures.alerts_cases import AlertCase
from tests.fixtures.support import logged
from txstathat import Count
from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.history import MAX_EPISODES, MAX_SILENCE
from txstathat.collector.alerts.monitor import AlertMonitor
from txstathat.collector.alerts.notices import LEASE
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import CLOCK_SLACK
from txstathat.collector.channels import Channels, Outgoing

HOUR = 3600.0


class Service(Resource):
    """
    Receives what channels post, and notes when.
    """

    isLeaf = True

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock = clock
        self.status = {"up": 200, "down": 200}
        self.refuses = ""
        self.attempts: Counter[str] = Counter()
        self.received: dict[str, list[dict[str, Any]]] = {"up": [], "down": []}

    def render_POST(self, request: Any) -> bytes:
        """Accept a message, or not."""
        name = request.uri.decode().strip("/")
        self.attempts[name] += 1
        status = self.status[name]
        message = json.loads(request.content.read())
        if self.refuses and message["id"].startswith(self.refuses):
            status = 503
        if status == 200:
            message["received"] = self.clock.seconds()
            self.received[name].append(message)
        request.setResponseCode(status)
        return b""

    def ids(self, name: str) -> list[str]:
        """The ids of the messages of a channel."""
        return [message["id"] for message in self.received[name]]


class DeliveryCase(AlertCase):
    """
    Two channels, ``up`` and ``down``, and two collectors on one store.
    """

    def setUp(self) -> None:
        super().setUp()
        self.service = Service(self.clock)
        for name in ("up", "down"):
            fields = {"kind": "webhook", "url": f"https://h.example/{name}"}
            self.now(self.channels().create({"name": name, **fields}))
        self.monitors = [self.monitor_with_channels() for _ in range(2)]

    def channels(self) -> Channels:
        """The channels of a collector."""
        agent = RequestTraversalAgent(self.service)
        return Channels(self.here.store, Outgoing(reactor=self.clock, agent=agent))

    def monitor_with_channels(self) -> AlertMonitor:
        """The monitor of a collector."""
        return AlertMonitor(
            Archive(self.here.store),
            self.parts.alerts,
            Webhooks(),
            self.metrics,
            jitter=lambda low, high: (low + high) / 2,
            channels=self.channels(),
        )

    def run_for(self, seconds: float, count: float = 0) -> None:
        """Let time pass, with points each minute, as collectors do."""
        for second in range(0, int(seconds), 5):
            if count and second % 60 == 0:
                self.store_points(Count("errors", count))
            self.clock.advance(5)
            for monitor in self.monitors:
                if second % 15 == 0:
                    self.now(monitor.outages.note())
                    self.now(monitor.evaluate())
                self.now(monitor.notify())

    def verb(self, id: str, path: str, **fields: str) -> tuple[int, Any]:
        """Make a call about an alert; the status and the answer."""
        answer: tuple[int, Any] = self.post(f"/{id}/{path}", **fields)
        return answer


class OutageTests(DeliveryCase):
    """
    A channel that is down.
    """

    def test_down_for_an_hour(self) -> None:
        """
        With 40 alerts and two collectors, each notice is sent once when the channel is
        back, in order; the other channel has all of them at once; there are few
        attempts meanwhile.
        """
        ids = [
            self.create(kind="value", operator="gt", threshold=10 + number)
            for number in range(40)
        ]
        self.service.status["down"] = 503
        with logged() as log:
            self.run_for(10 * 60, count=20)
            self.run_for(15 * 60)
            self.run_for(10 * 60, count=30)
            self.run_for(25 * 60)
        self.assertEqual(self.service.received["down"], [])
        self.assertEqual(
            log.at_level("warn"),
            [
                "the channel 'down': a notice could not be delivered, and is tried again: HTTP status 503"
            ]
            * len(self.monitors),
        )
        attempts = self.service.attempts["down"]
        self.assertLess(attempts, 45)
        sent = self.service.ids("up")
        expected = sorted(
            f"{id}-{episode}-{event}"
            for id in ids
            for episode in (1, 2)
            for event in ("fired", "recovered")
        )
        self.assertEqual(sorted(sent), expected)
        (shown,) = [
            each for each in self.now(self.channels().list()) if each["name"] == "down"
        ]
        self.assertTrue(shown["failing"])
        errors = {each["last_error"] for each in self.here.get("/alerts")}
        self.assertEqual(errors, {None, "down: HTTP status 503"})
        self.service.status["down"] = 200
        began = self.clock.seconds()
        self.run_for(10 * 60)
        late = self.service.received["down"]
        self.assertEqual(sorted(self.service.ids("down")), expected)
        self.assertEqual(
            [message["at"] for message in late],
            sorted(message["at"] for message in late),
        )
        for id in ids:
            own = [each for each in self.service.ids("down") if each.startswith(id)]
            self.assertEqual(
                own,
                [
                    f"{id}-{n}-{event}"
                    for n in (1, 2)
                    for event in ("fired", "recovered")
                ],
            )
        self.assertLessEqual(late[-1]["received"] - began, 450 + 60)
        self.assertEqual(self.metrics.notices_dropped, 0)
        self.assertEqual({self.record(id).notices for id in ids}, {()})
        errors = {each["last_error"] for each in self.here.get("/alerts")}
        self.assertEqual(errors, {None})

    def test_a_notice_that_is_never_taken(self) -> None:
        """A notice that always fails, as if the channel did, does not block others."""
        first = self.create_many_errors()
        self.service.refuses = first
        self.run_for(2 * 60, count=20)
        others = [self.create_many_errors() for _ in range(5)]
        self.run_for(3 * 60, count=20)
        sent = self.service.ids("down")
        self.assertEqual(sorted(sent), sorted(f"{id}-1-fired" for id in others))
        self.run_for(60 * 60, count=20)
        self.assertLess(self.service.attempts["down"], 35)
        self.assertEqual(len(self.record(first).notices), 2)

    def test_a_refusal_is_for_one_notice(self) -> None:
        """A 400 is given up at once, is both last errors, and stops nothing else."""
        id = self.create_many_errors()
        self.service.status["down"] = 400
        with logged() as log:
            self.run_for(2 * 60, count=20)
        self.assertEqual(
            log.at_level("warn"),
            [
                f"the alert {id}: the notice that it fired is given up: the channel "
                "'down': HTTP status 400"
            ],
        )
        self.assertEqual(self.service.attempts["down"], 1)
        self.assertEqual(
            self.here.get(f"/alerts/{id}")["last_error"], "down: HTTP status 400"
        )
        self.assertEqual(self.service.ids("up"), [f"{id}-1-fired"])
        self.service.status["down"] = 200
        self.run_for(20 * 60)
        self.assertEqual(self.service.ids("down"), [f"{id}-1-recovered"])

    def test_a_channel_that_is_removed(self) -> None:
        """What waits for it is dropped and logged, and nothing new is made for it."""
        id = self.create_many_errors()
        self.service.status["down"] = 503
        self.run_for(2 * 60, count=20)
        self.now(self.channels().delete("down"))
        with logged() as log:
            self.run_for(20 * 60)
        self.assertEqual(
            log.at_level("warn"),
            [
                f"the alert {id}: the notice that it fired is given up: the channel "
                "'down': it was removed, or the collector may not post there any more"
            ],
        )
        self.assertEqual(self.service.received["down"], [])
        self.assertEqual(self.service.ids("up"), [f"{id}-1-fired", f"{id}-1-recovered"])

    def test_a_channel_of_a_newer_version(self) -> None:
        """What is for it waits for a collector that can read it, and is not dropped."""
        id = self.create_many_errors()
        store = self.here.store
        text = self.successResultOf(store.record("channel", "down"))
        newer = text.replace("{", '{"more": 1, ', 1)
        self.successResultOf(store.put_record("channel", "down", newer))
        with logged() as log:
            self.run_for(2 * 60, count=20)
        self.assertEqual(self.service.ids("up"), [f"{id}-1-fired"])
        self.assertEqual(self.service.attempts["down"], 0)
        self.assertIn("a newer txStatHat wrote it", log.text)
        self.assertEqual(self.metrics.notices_dropped, 0)
        self.successResultOf(store.put_record("channel", "down", text))
        self.run_for(15)
        self.assertEqual(self.service.ids("down"), [f"{id}-1-fired"])

    def test_the_channels_of_an_alert(self) -> None:
        """An alert that names channels goes through those only; they can be changed."""
        status, answer = self.post(
            kind="data",
            time_window="5m",
            stat_id=self.errors["id"],
            channels="nowhere",
        )
        self.assertEqual(status, 400)
        self.assertIn("no channel 'nowhere'; there are down, up", answer["msg"])
        id = self.create_many_errors(channels="up")
        self.run_for(2 * 60, count=20)
        self.assertEqual(self.service.attempts, {"up": 1})
        status, answer = self.post(f"/{id}", channels="")
        self.assertEqual((status, answer["channels"]), (200, []))
        self.run_for(20 * 60)
        # The end goes wherever the beginning went.
        self.assertEqual(self.service.attempts, {"up": 2})

    def test_test(self) -> None:
        """A test message goes to all targets; each result is returned, and noted."""
        id = self.create_many_errors()
        self.service.status["down"] = 404
        test = self.now(self.monitors[0].delivery.test(id))
        self.assertEqual(test, {"down": "HTTP status 404", "up": ""})
        (message,) = self.service.received["up"]
        self.assertEqual((message["event"], message["alert"]["id"]), ("test", id))
        failing = {
            each["name"]: each["failing"] for each in self.now(self.channels().list())
        }
        self.assertEqual(failing, {"down": True, "up": False})
        self.assertEqual(self.record(id).notices, ())


class SilenceTests(DeliveryCase):
    """
    Silences and acknowledgements.
    """

    def test_silenced(self) -> None:
        """A silenced alert has an episode in its history, and sends nothing."""
        id = self.create_many_errors()
        status, answer = self.verb(id, "silence", seconds="3600")
        until = int(self.clock.seconds() + HOUR)
        self.assertEqual((status, answer["silenced_until"]), (200, until))
        self.run_for(5 * 60, count=20)
        self.assertTrue(self.here.get(f"/alerts/{id}")["firing"])
        self.run_for(20 * 60)
        self.assertEqual(sum(self.service.attempts.values()), 0)
        (episode,) = self.here.get(f"/alerts/{id}/history")
        self.assertEqual((episode["episode"], episode["number"]), (1, 21))
        self.assertGreater(episode["ended"], episode["began"])

    def test_still_firing_when_the_silence_ends(self) -> None:
        """The notice is sent then, with the time at which the episode began."""
        id = self.create_many_errors()
        self.verb(id, "silence", seconds="1800")
        self.run_for(30 * 60, count=20)
        self.assertEqual(sum(self.service.attempts.values()), 0)
        self.run_for(60, count=20)
        (message,) = self.service.received["up"]
        self.assertEqual(message["event"], "fired")
        (episode,) = self.here.get(f"/alerts/{id}/history")
        self.assertEqual(message["at"], episode["began"])
        # Its end is sent in a silence too, wherever its beginning was sent.
        self.verb(id, "silence", seconds="36000")
        self.run_for(20 * 60)
        self.assertEqual(
            self.service.ids("down"), [f"{id}-1-fired", f"{id}-1-recovered"]
        )
        self.run_for(5 * 60, count=20)
        self.assertEqual(len(self.service.received["down"]), 2)
        status, answer = self.verb(id, "silence", seconds="0")
        self.assertEqual((status, answer["silenced_until"]), (200, None))
        self.run_for(60)
        self.assertEqual(self.service.ids("down")[2:], [f"{id}-2-fired"])

    def test_acknowledged(self) -> None:
        """An acknowledged episode sends nothing when a silence ends; the next one does."""
        id = self.create_many_errors()
        self.assertEqual(self.verb(id, "acknowledge")[0], 409)
        self.verb(id, "silence", seconds="600")
        self.run_for(5 * 60, count=20)
        status, answer = self.verb(id, "acknowledge")
        self.assertEqual((status, answer["acknowledged"]), (200, True))
        at = int(self.clock.seconds())
        self.run_for(10 * 60, count=20)
        self.assertEqual(self.verb(id, "acknowledge")[1]["acknowledged"], True)
        self.run_for(20 * 60)
        self.assertEqual(sum(self.service.attempts.values()), 0)
        (episode,) = self.here.get(f"/alerts/{id}/history")
        self.assertEqual(episode["acknowledged_at"], at)
        self.run_for(3 * 60, count=20)
        self.assertEqual(self.service.ids("up"), [f"{id}-2-fired"])
        self.assertFalse(self.here.get(f"/alerts/{id}")["acknowledged"])

    def test_refused(self) -> None:
        """A time that is none is refused, and an alert that does not exist."""
        id = self.create_many_errors()
        for status, words, path, fields in (
            (400, "seconds: is missing", f"{id}/silence", {}),
            (400, "seconds: must be a whole", f"{id}/silence", {"seconds": "-1"}),
            (400, "seconds: must be below", f"{id}/silence", {"seconds": str(int(MAX_SILENCE) + 1)}),
            (404, "no alert with the id 'x'", "x/silence", {"seconds": "1"}),
            (404, "no alert with the id 'x'", "x/acknowledge", {}),
            (404, "post to /alerts", f"{id}/dance", {}),
        ):  # fmt: skip
            code, answer = self.post(f"/{path}", **fields)
            self.assertEqual(code, status, answer)
            self.assertIn(words, answer["msg"])

    def test_edited(self) -> None:
        """An edited alert keeps its id and state; a wrong field changes nothing."""
        id = self.create_many_errors()
        self.run_for(2 * 60, count=20)
        status, answer = self.post(f"/{id}", threshold="1000", operator="gt")
        self.assertEqual((status, answer["threshold"]), (200, 1000))
        self.assertTrue(answer["firing"])
        self.run_for(6 * 60, count=20)
        self.assertEqual(self.service.ids("up"), [f"{id}-1-fired", f"{id}-1-recovered"])
        for words, fields in (
            ("threshold: 'x' is not", {"threshold": "x"}),
            ("time_window: must be", {"time_window": "9h"}),
            ("stat_id: cannot be changed", {"stat_id": self.load["id"]}),
            ("'colour': an alert of kind value", {"colour": "red"}),
        ):
            status, answer = self.post(f"/{id}", **fields)
            self.assertEqual(status, 400)
            self.assertIn(words, answer["msg"])
        self.assertEqual(self.record(id).alert.threshold, 1000)
        status, answer = self.post(f"/{id}", kind="data")
        self.assertEqual((status, answer["kind"]), (200, "data"))
        self.assertNotIn("threshold", answer)
        self.assertEqual(self.post("/x", threshold="1")[0], 404)

    def test_history_is_bounded(self) -> None:
        """Only the last episodes are remembered, the newest first."""
        id = self.create(kind="data")
        for _ in range(MAX_EPISODES + 3):
            self.clock.advance(400)
            self.now(self.monitor.evaluate())
            self.store_points(Count("errors"))
            self.now(self.monitor.evaluate())
            self.clock.advance(299)
            self.store_points(Count("errors"))
            self.clock.advance(2)
            self.now(self.monitor.evaluate())
        numbers = [each["episode"] for each in self.here.get(f"/alerts/{id}/history")]
        self.assertEqual(numbers, list(range(MAX_EPISODES + 3, 3, -1)))


class FlappingTests(DeliveryCase):
    """
    A number that wavers around its threshold.
    """

    def test_a_day(self) -> None:
        """
        A sum that crosses its threshold every five minutes for a day, by 3 % either
        way, is one episode.
        """
        id = self.create(kind="value", operator="gt", threshold=100)
        crossings, above = 0, False
        for number in range(24 * 12):
            for _ in range(5):
                self.store_points(Count("errors", 20.6 if number % 2 else 19.4))
                self.clock.advance(60)
                self.now(self.monitors[0].evaluate())
                self.now(self.monitors[0].notify())
            crossings += (number % 2 == 1) != above
            above = number % 2 == 1
        self.assertEqual(crossings, 287)
        self.assertEqual(self.service.ids("up"), [f"{id}-1-fired"])
        self.assertEqual(len(self.here.get(f"/alerts/{id}/history")), 1)


class ClockStepTests(DeliveryCase):
    """
    The wall clock is set while notices wait and silences last.
    """

    def test_steps(self) -> None:
        """
        Set forward or back by an hour or a day during an outage of a channel, no notice
        is lost or sent twice, and it is sent within ten minutes of the end.
        """
        for step in (HOUR, -HOUR, 86_400.0, -86_400.0):
            self.service.status["down"] = 503
            self.service.received["down"].clear()
            id = self.create_many_errors()
            self.run_for(6 * 60, count=20)
            self.clock.rightNow += step
            self.run_for(6 * 60, count=20)
            self.assertEqual(self.service.received["down"], [])
            self.service.status["down"] = 200
            self.run_for(10 * 60, count=20)
            own = [each for each in self.service.ids("down") if each.startswith(id)]
            self.assertEqual(own.count(f"{id}-1-fired"), 1, step)
            self.assertEqual(len(own), len(set(own)))
            self.now(self.parts.alerts.delete(id))
        self.assertEqual(self.metrics.notices_dropped, 0)

    def test_a_silence(self) -> None:
        """
        A silence that was set while the clock was ahead does not blind the alert after
        the clock is right; one that was set before a step forward ends early.
        """
        id = self.create_many_errors()
        self.clock.rightNow += 30 * 86_400
        self.verb(id, "silence", seconds="3600")
        self.clock.rightNow -= 30 * 86_400
        self.assertIsNone(self.here.get(f"/alerts/{id}")["silenced_until"])
        self.verb(id, "silence", seconds="3600")
        self.clock.rightNow -= CLOCK_SLACK / 2
        self.assertIsNotNone(self.here.get(f"/alerts/{id}")["silenced_until"])
        self.clock.rightNow += HOUR + CLOCK_SLACK
        self.assertIsNone(self.here.get(f"/alerts/{id}")["silenced_until"])

    def test_a_claim_while_the_clock_is_set_back(self) -> None:
        """A collector that dies in an attempt blocks its notice for no longer than that."""
        id = self.create_many_errors()
        self.run_for(30, count=20)
        self.clock.advance(30)
        self.now(self.monitors[0].evaluate())
        record = self.record(id)

        def claimed(current: AlertRecord) -> AlertRecord:
            return _with_lease(current, self.clock.seconds() + LEASE)

        self.now(self.parts.alerts.update(record, claimed))
        self.clock.rightNow -= HOUR
        self.run_for(15)
        self.assertEqual(self.service.ids("up"), [f"{id}-1-fired"])


def _with_lease(record: AlertRecord, until: float) -> AlertRecord:
    notices = tuple(replace(each, attempts=1, next_at=until) for each in record.notices)
    return replace(record, notices=notices)


class OldRecordTests(AlertCase):
    """
    Records of versions without channels.
    """

    def test_read(self) -> None:
        """They are read; an episode that goes on ends as it would have."""
        id = self.create_many_errors()
        self.store_points(Count("errors", 20))
        self.tick(60)
        record = self.record(id)
        old = json.loads(record.text)
        for name in ("history", "silence", "last_error"):
            del old[name]
        del old["alert"]["channels"]
        del old["state"]["notified"], old["state"]["acknowledged_at"]
        text = json.dumps(old)
        put = self.here.store.put_record("alert", id, text, was=record.stored)
        self.assertTrue(self.successResultOf(put))
        (episode,) = self.here.get(f"/alerts/{id}/history")
        self.assertEqual((episode["episode"], episode["ended"]), (1, None))
        self.minutes(12)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])
        (episode,) = self.here.get(f"/alerts/{id}/history")
        self.assertIsNotNone(episode["ended"])

    def test_wrong(self) -> None:
        """A part of the wrong type makes a record unreadable, and nothing else fails."""
        id = self.create_many_errors()
        record = self.record(id)
        good = json.loads(record.text)
        for wrong in (
            {"history": {}},
            {"history": [[1, 2]]},
            {"history": [["1", 2, None, None, None]]},
            {"silence": {"since": 1}},
            {"silence": {"since": "1", "until": 2}},
            {"last_error": {"at": 1, "channel": 2, "why": ""}},
            {"state": {**good["state"], "notified": "x"}},
            {"state": {**good["state"], "notified": [1]}},
            {"alert": {**good["alert"], "channels": "x"}},
        ):
            text = json.dumps({**good, **wrong})
            self.successResultOf(self.here.store.put_record("alert", id, text))
            self.assertEqual(self.here.get("/alerts"), [], wrong)
            made = Deferred.fromCoroutine(self.monitor.evaluate())
            self.assertIsNone(self.successResultOf(made))
