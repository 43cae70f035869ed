"""
Alerts, and the chart of a stat, over the hour that comes twice.
"""

from __future__ import annotations

import csv
import io
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred

from tests.fixtures.alerts_cases import AlertCase
from tests.fixtures.archives import START
from txstathat import Count
from txstathat.collector.alerts.model import MARGIN
from txstathat.collector.pages.stat.chart import StatChart

#: New York's clock goes from 2:00 back to 1:00 at 6:00 UTC.
CHANGE = datetime(2026, 11, 1, 6, tzinfo=UTC)


class ClockChangeTests(AlertCase):
    """
    A collector on a machine in New York, with ten events a minute over the change.
    """

    def setUp(self) -> None:
        super().setUp()
        zone = os.environ.get("TZ")
        self.addCleanup(self.live_in, zone)
        self.live_in("America/New_York")
        self.clock.advance(CHANGE.timestamp() - 4 * 3600 - START)

    def live_in(self, zone: str | None) -> None:
        """Set the machine's time zone."""
        os.environ.pop("TZ", None)
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()

    def run_minutes(self, number: int, count: int = 10) -> None:
        """Let time pass, with points in each minute."""
        for _ in range(number):
            self.store_points(Count("errors", count))
            self.minutes(1)

    def table(self, **query: str) -> Any:
        """The table of the stat's chart."""
        (stat,) = self.now(self.parts.archive.stats(["errors"]))
        args = {name.encode(): [value.encode()] for name, value in query.items()}
        made: Deferred[Any] = StatChart(self.parts.archive, stat).table(args)
        return self.successResultOf(made)

    def test_windows_are_of_instants(self) -> None:
        """
        A window has the same length over the change as ever: a steady count is neither
        low, nor high, nor another than before; and a real change is seen at its time.
        """
        self.run_minutes(130)
        for operator, threshold in (("lt", 590), ("gt", 610)):
            self.create(
                kind="value", operator=operator, threshold=threshold, time_window="1h"
            )
        self.create(
            kind="delta",
            operator="dt",
            percentage=3,
            time_window="1h",
            time_delta="1h",
        )
        self.create(kind="data")
        # To 3:40 New York time, so over both hours.
        self.run_minutes(270)
        self.assertEqual(self.receiver.events, [])
        self.run_minutes(3, count=40)
        texts = sorted(message["text"] for message in self.receiver.messages)
        self.assertEqual(
            texts,
            [
                "errors: 5% over 1h, 3% different than 1h before",
                "errors: 630 over 1h, greater than 610",
            ],
        )

    def test_chart_of_a_stat(self) -> None:
        """Its chart, table and CSV have each step once, in order, with its sum."""
        self.run_minutes(360)
        at = CHANGE + timedelta(hours=2)
        self.assertEqual(self.clock.seconds(), at.timestamp() + MARGIN)
        for t, length in (("6h5m", 72), ("6h1h", 6)):
            table = self.table(t=t)
            labels = [table.label(n) for n in range(len(table.rows))]
            self.assertEqual(len(set(labels)), length)
            instants = [datetime.fromisoformat(label) for label in labels]
            self.assertEqual(instants, sorted(instants))
            step = (instants[1] - instants[0]).total_seconds()
            self.assertEqual(
                [row[1][0] for row in table.rows],
                [step / 6] * (length - 1) + [0],
            )
            rows = list(csv.reader(io.StringIO(table.as_csv().decode())))[1:]
            self.assertEqual([row[0] for row in rows], labels)
