"""
Alerts after a time in which no collector was up, and with receipts ahead of the clock.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.alerts_cases import AlertCase
from tests.fixtures.archives import START, batch
from tests.fixtures.stores import NOW
from txstathat import Count
from txstathat.collector.alerts.conditions.evaluation import (
    Evaluation,
    WindowReading,
    evaluate,
)
from txstathat.collector.alerts.conditions.outages import (
    GAP_SECONDS,
    MAX_OUTAGES,
    NOTE_EVERY,
    RETURN_SECONDS,
    Outages,
)
from txstathat.collector.alerts.model import MARGIN, AlertDefinition
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.records import BadRecord

RULE = AlertDefinition("x", "i", "a", "value", "1h", "less than", 100)
STAT = Stat("a", True, 0.0, NOW, 1)


class DownCase(AlertCase):
    """
    A collector that notes that it is up, a sender, and a restart.
    """

    def run_minutes(self, number: int, count: int = 10) -> None:
        """Let the collector run, with points in each minute."""
        for _ in range(number):
            if count:
                self.store_points(Count("errors", count))
            for _ in range(4):
                self.now(self.monitor.outages.note())
                self.tick(NOTE_EVERY)

    def restart_after(self, seconds: float) -> None:
        """Let time pass without a collector, and start one on the same store."""
        self.clock.advance(seconds)
        self.monitor = self.make_monitor(self.webhooks)
        self.now(self.monitor.outages.note())


class DownTests(DownCase):
    """
    A collector that was down does not take its own absence for silence.
    """

    def create_low(self, window: str, threshold: float) -> None:
        """Create an alert for a low count."""
        self.create(
            kind="value", operator="lt", threshold=threshold, time_window=window
        )

    def test_no_false_alerts(self) -> None:
        """After 20 minutes of absence no alert for silence, low counts or falls fires."""
        self.run_minutes(200)
        for window in ("5m", "1h", "3h"):
            self.create(kind="data", time_window=window)
        self.create_low("5m", 45)
        self.create_low("1h", 550)
        self.create_low("3h", 1700)
        for operator in ("less than", "greater than", "different than"):
            for delta in ("5m", "1h"):
                self.create(
                    kind="delta",
                    operator=operator,
                    percentage=5,
                    time_delta=delta,
                    time_window="5m" if delta == "5m" else "1h",
                )
        self.run_minutes(5)
        self.assertEqual(self.receiver.events, [])
        self.restart_after(20 * 60)
        # The sender is back a minute later.
        self.run_minutes(1, count=0)
        self.run_minutes(200)
        self.assertEqual(self.receiver.events, [])

    def test_real_silence(self) -> None:
        """A sender that does not come back is silent a window after the collector is up."""
        self.create(kind="data")
        self.create_low("5m", 45)
        self.run_minutes(10)
        self.receiver.messages.clear()
        self.restart_after(20 * 60)
        self.run_minutes(5, count=0)
        self.assertEqual(self.receiver.messages, [])
        self.run_minutes(3, count=0)
        kinds = sorted(each["alert"]["kind"] for each in self.receiver.messages)
        self.assertEqual(kinds, ["data", "value"])

    def test_an_alert_that_fires_goes_on(self) -> None:
        """An episode before the absence neither ends nor begins again in it."""
        self.create(kind="data")
        self.run_minutes(7, count=0)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        self.restart_after(20 * 60)
        self.run_minutes(20, count=0)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_another_collector_was_up(self) -> None:
        """While one of several collectors is up, the restart of another is no outage."""
        self.create(kind="data")
        self.run_minutes(4)
        other = self.make_monitor(self.webhooks)
        for _ in range(24):
            self.clock.advance(NOTE_EVERY)
            self.now(other.outages.note())
        self.assertEqual(self.receiver.events, [])
        self.restart_after(1)
        self.tick()
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_suspended(self) -> None:
        """
        A process that stood still takes that for an outage, even if it evaluates first.
        """
        self.create(kind="data")
        self.run_minutes(2)
        self.tick(20 * 60)
        self.assertEqual(self.receiver.events, [])
        self.run_minutes(8, count=0)
        self.assertEqual(self.receiver.events, [("fired", 1)])

    def test_clock_set_back(self) -> None:
        """When the clock is set back, the notes go on from the earlier time."""
        self.run_minutes(2)
        behind = self.clock.seconds() - 3600
        self.clock.rightNow = behind
        self.now(self.monitor.outages.note())
        known = self.now(self.monitor.outages.known(behind))
        self.assertEqual(known, Outages(behind))

    def test_a_newer_record(self) -> None:
        """A record that a newer version wrote is left as it is, and no outage is known."""
        text = '{"seen_at": 1, "ended": [], "by": "x"}'
        self.successResultOf(self.here.store.put_record("outages", "outages", text))
        self.now(self.monitor.outages.note())
        stored = self.successResultOf(self.here.store.record("outages", "outages"))
        self.assertEqual(stored, text)
        now = self.clock.seconds()
        self.assertEqual(self.now(self.monitor.outages.known(now)), Outages(now))
        self.assertEqual(self.monitor.outages.record_readers[0].unreadable, 1)


class OutagesTests(SynchronousTestCase):
    """
    What is known of outages, without a store, and what they do to an evaluation.
    """

    def test_gap(self) -> None:
        """Only a gap longer than that between late notes is an outage."""
        seen = Outages(NOW)
        self.assertEqual(seen.at(NOW + GAP_SECONDS).ended, ())
        late = NOW + GAP_SECONDS + 1
        self.assertEqual(seen.at(late), Outages(late, ((NOW, late),)))
        self.assertEqual(seen.at(late).up_since(late), late + RETURN_SECONDS)
        self.assertEqual(seen.up_since(late), 0.0)

    def test_lost(self) -> None:
        """The lost part of a window is that in which it overlaps with outages."""
        outages = Outages(1000.0, ((100.0, 140.0), (500.0, 640.0)))
        for start, end, lost in (
            (0, 100, 0.0),
            (200, 300, 0.0),
            (100, 200, 1.0),
            (150, 250, 0.5),
            (0, 1000, 0.3),
        ):
            self.assertAlmostEqual(outages.lost(start, end), lost)

    def test_bounded(self) -> None:
        """Beyond the limit the shortest outage is dropped, and never the newest."""
        known = Outages(0.0)
        now = 0.0
        for number in range(MAX_OUTAGES + 5):
            now += 100 + number
            known = known.at(now)
        known = known.at(now + 40)
        self.assertEqual(len(known.ended), MAX_OUTAGES)
        self.assertEqual(known.ended[-1], (now, now + 40))
        self.assertEqual(known.ended[0][1] - known.ended[0][0], 106)

    def test_records(self) -> None:
        """A record is read as it was written; another shape is refused."""
        known = Outages(5.5, ((1.0, 2.5),))
        self.assertEqual(Outages.read("outages", known.text), known)
        for text in (
            "[]",
            '{"seen_at": 1}',
            '{"seen_at": "1", "ended": []}',
            '{"seen_at": 1, "ended": {}}',
            '{"seen_at": 1, "ended": [[1]]}',
            '{"seen_at": 1, "ended": [[1, null]]}',
        ):
            self.assertRaises(BadRecord, Outages.read, "outages", text)

    def test_short_outages_in_long_windows(self) -> None:
        """A low count that a short outage explains is none; a much lower one is."""
        for number, lost, holds in (
            (99, 0.0, True),
            (99, 0.001, None),
            (94, 0.001, True),
            (94, 0.02, None),
            (200, 0.001, False),
            (0, 0.001, True),
        ):
            reading = WindowReading(number, True, 1, lost)
            evaluation = evaluate(RULE, STAT, [reading], NOW)
            self.assertEqual(evaluation, Evaluation(holds, number))
            # The average of a value is not lower for want of points.
            value = replace(STAT, counter=False)
            self.assertEqual(
                evaluate(RULE, value, [reading], NOW).holds,
                {99: True, 94: True, 200: False, 0: True}[number],
            )

    def test_changes(self) -> None:
        """A change that an outage in either window explains is none."""
        rule = replace(
            RULE,
            kind="delta",
            operator="different than",
            percentage=10,
            time_delta="1h",
        )
        for now, before, lost_now, lost_before, holds in (
            (112, 100, 0.0, 0.0, True),
            (112, 100, 0.0, 0.001, None),
            (130, 100, 0.0, 0.001, True),
            (130, 100, 0.0, 0.02, None),
            (89, 100, 0.001, 0.0, None),
            (60, 100, 0.001, 0.0, True),
            (60, 100, 0.02, 0.0, None),
        ):
            readings = [
                WindowReading(now, True, 1, lost_now),
                WindowReading(before, True, 1, lost_before),
            ]
            self.assertEqual(evaluate(rule, STAT, readings, NOW).holds, holds)


class ReceiptAheadTests(DownCase):
    """
    A receipt that was noted while the clock was wrong.
    """

    def setUp(self) -> None:
        super().setUp()
        # A collector with a clock a month ahead takes a point of now.
        month = 30 * 86_400
        self.clock.advance(month)
        ahead = Archive(self.here.store, retention=self.parts.archive.retention)
        self.successResultOf(ahead.add(batch(Count("errors", 1, t=START))))
        self.clock.rightNow -= month

    def test_silence_is_seen(self) -> None:
        """The alert for silence fires all the same, and recovers with points."""
        self.create(kind="data")
        self.run_minutes(10)
        self.assertEqual(self.receiver.events, [])
        self.run_minutes(4, count=0)
        self.assertEqual(self.receiver.events, [])
        self.run_minutes(2, count=0)
        self.assertEqual(self.receiver.events, [("fired", 1)])
        self.assertIsNone(self.receiver.messages[0]["number"])
        self.run_minutes(8)
        self.assertEqual(self.receiver.events, [("fired", 1), ("recovered", 1)])

    def test_no_false_alert(self) -> None:
        """A point each five minutes is no silence of five minutes."""
        self.create(kind="data")
        for _ in range(6):
            self.run_minutes(1)
            self.run_minutes(3, count=0)
        self.assertEqual(self.receiver.events, [])

    def test_slack(self) -> None:
        """A receipt a little ahead is that of another collector, and is trusted."""
        (errors,) = self.now(self.parts.archive.stats(["errors"]))
        self.assertTrue(errors.is_ahead)
        self.clock.rightNow -= MARGIN
        (load,) = self.now(self.parts.archive.stats(["load"]))
        self.assertFalse(load.is_ahead)
