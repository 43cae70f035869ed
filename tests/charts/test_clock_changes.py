"""
The hour that comes twice, at the end of daylight saving time, and the one left out.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txstathat.charts import TimelineChart, TimeserieChart
from txstathat.metrica import AveragedMetrica, Metrica
from txstathat.stores import open_store

#: New York's clock goes from 2:00 back to 1:00 at 6:00 UTC.
CHANGE = datetime(2026, 11, 1, 6, tzinfo=UTC)
NOW = CHANGE + timedelta(hours=3, minutes=59)


class ClockChangeTests(SynchronousTestCase):
    """
    Charts of a Metrica in New York, with one event every five minutes over the change.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.store = self.successResultOf(
            open_store("memory:", reactor=self.clock, clock=self.clock)
        )
        self.addCleanup(lambda: self.successResultOf(self.store.close()))

    def metrica(self, tz: str = "America/New_York", change: datetime = CHANGE) -> Any:
        """A Metrica with events from 3 h before a change to 4 h after, 12 an hour."""
        metrica = AveragedMetrica("seen", [], self.store, tz=tz)
        for step in range(-36, 48):
            at = change + timedelta(minutes=5 * step)
            self.successResultOf(metrica.kick(1, at))
        return metrica

    def table(self, chart: Any, **query: str) -> Any:
        """The table of a chart."""
        args = {name.encode(): [value.encode()] for name, value in query.items()}
        return self.successResultOf(chart.table(args))

    def assert_true_line(self, table: Any, total: int) -> list[str]:
        """
        The labels are instants that never run back, no two are equal, and the numbers
        add up; the labels.
        """
        labels = [table.label(n) for n in range(len(table.rows))]
        instants = [datetime.fromisoformat(label) for label in labels]
        for before, after in pairwise(instants):
            self.assertLess(before, after)
        self.assertEqual(len(set(labels)), len(labels))
        self.assertEqual(sum(row[1][0] or 0 for row in table.rows), total)
        rows = list(csv.reader(io.StringIO(table.as_csv().decode())))[1:]
        self.assertEqual([row[0] for row in rows], labels)
        self.assertEqual(sum(int(row[1] or 0) for row in rows), total)
        shown = json.loads(table.as_json())
        self.assertEqual([row[0] for row in shown["rows"]], labels)
        return labels

    def test_latest_hours(self) -> None:
        """Both hours have a point of their own, with their offsets in table and CSV."""
        chart = TimeserieChart(self.metrica())
        table = self.table(chart, scale="hour", back="6")
        labels = self.assert_true_line(table, 72)
        self.assertEqual(
            labels[1:4],
            [
                "2026-11-01T01:00-04:00",
                "2026-11-01T01:00-05:00",
                "2026-11-01T02:00-05:00",
            ],
        )
        self.assertEqual(table.total, 72)

    def test_latest_minutes(self) -> None:
        """The minutes of both hours follow each other."""
        chart = TimeserieChart(self.metrica())
        table = self.table(chart, scale="minute", back="360")
        labels = self.assert_true_line(table, 72)
        self.assertEqual(len(labels), 360)
        at = labels.index("2026-11-01T01:59-04:00")
        self.assertEqual(labels[at + 1], "2026-11-01T01:00-05:00")

    def test_day(self) -> None:
        """The day of the change has 25 hours, and its sum is that of its hours."""
        chart = TimelineChart(self.metrica())
        table = self.table(chart, year="2026", month="11", day="1")
        labels = self.assert_true_line(table, 72)
        self.assertEqual(len(labels), 25)
        # The events of the first hour are of the evening before.
        self.assertEqual(table.total, 72)

    def test_hour(self) -> None:
        """A click on either of the two hours shows both, and their sum."""
        chart = TimelineChart(self.metrica())
        day = self.table(chart, year="2026", month="11", day="1")
        self.assertEqual(day.links[1], day.links[2])
        hour = self.table(chart, year="2026", month="11", day="1", hour="1")
        labels = self.assert_true_line(hour, 24)
        self.assertEqual(len(labels), 120)
        self.assertEqual(hour.total, 24)

    def test_midnight(self) -> None:
        """Where the hour before midnight comes twice, the day has both."""
        # Beirut's clock goes from 24:00 back to 23:00 at 21:00 UTC.
        change = datetime(2026, 10, 24, 21, tzinfo=UTC)
        chart = TimelineChart(self.metrica("Asia/Beirut", change))
        day = self.table(chart, year="2026", month="10", day="24")
        labels = self.assert_true_line(day, 48)
        self.assertEqual(labels[-1], "2026-10-24T23:00+02:00")
        self.assertEqual(day.total, 48)
        month = self.table(chart, year="2026", month="10")
        self.assertEqual(sum(row[1][0] or 0 for row in month.rows), 84)

    def test_hour_left_out(self) -> None:
        """The hour that is left out has no minutes and no sum; its day has 23 hours."""
        change = datetime(2026, 3, 8, 7, tzinfo=UTC)
        chart = TimelineChart(self.metrica(change=change))
        hour = self.table(chart, year="2026", month="3", day="8", hour="2")
        self.assertEqual((hour.rows, hour.total or 0), ([], 0))
        day = self.table(chart, year="2026", month="3", day="8")
        self.assertEqual(len(day.rows), 23)

    def test_metrica(self) -> None:
        """``timeserie`` runs on, and its sum is that of ``iterate`` and of the day."""
        metrica = Metrica("plain", [], self.store, tz="America/New_York")
        for step in range(-24, 48):
            at = CHANGE + timedelta(minutes=5 * step)
            self.successResultOf(metrica.kick(1, at))
        selection: Any = metrica.values()
        points = self.successResultOf(
            selection.timeserie(CHANGE - timedelta(hours=2), NOW, "hour")
        )
        instants = [at.astimezone(UTC) for at, _ in points]
        self.assertEqual(
            instants,
            [CHANGE + timedelta(hours=hour) for hour in range(-2, 4)],
        )
        self.assertEqual([n for _, n in points], [12] * 6)
        day = selection.timespan(year=2026, month=11, day=1)
        hours = self.successResultOf(day.iterate())
        self.assertEqual(hours[:5], [(0, 12), (1, 24), (2, 12), (3, 12), (4, 12)])
        self.assertEqual(self.successResultOf(day.total()), 72)
