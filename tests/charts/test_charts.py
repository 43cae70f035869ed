"""
Charts: the numbers that they read, and the forms in which they show them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.template import flattenString
from zope.interface.verify import verifyObject

from tests.fixtures.web_client import WebClient
from txstathat.charts import (
    ChartAssets,
    LatestCountAndAverageChart,
    PieChart,
    TimelineChart,
    TimeserieChart,
    content_security_policy,
    timeserie,
)
from txstathat.charts.assets import StaticFile, plotly_js
from txstathat.charts.html import fragment
from txstathat.charts.query import BadQuery
from txstathat.charts.table import Level, Mark, Table
from txstathat.errors import AmountOverflow, StoreUnavailable
from txstathat.metrica import (
    AveragedMetrica,
    Axis,
    HierarchicalAxis,
    Metrica,
    StoredChoiceAxis,
)
from txstathat.stores import IStore, open_store

#: A Sunday evening in summer.
NOW = datetime(2026, 7, 5, 20, 30, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>&\"'"


class ChartCase(SynchronousTestCase):
    """A store in memory, and a clock that does not move."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.store = self.new_store()

    def new_store(self) -> IStore:
        store = self.successResultOf(
            open_store("memory:", reactor=self.clock, clock=self.clock)
        )
        self.addCleanup(lambda: self.successResultOf(store.close()))
        return store

    def guests(self, **options: Any) -> Metrica:
        axes = [
            ("gender", Axis(choices=["boy", "girl"])),
            ("age", StoredChoiceAxis(value_type=int)),
        ]
        metrica = Metrica("guests", axes, self.store, **options)
        for days, number, guest in (
            (31, 2, {"gender": "girl", "age": 18}),
            (2, 5, {"gender": "boy", "age": 18}),
            (1, 4, {"gender": "girl", "age": 17}),
            (0, 12, {"gender": "boy", "age": 18}),
            (0, 3, {}),
        ):
            self.kick(metrica, number, NOW - timedelta(days=days), **guest)
        return metrica

    def averaged(self, axes: Any = (), **options: Any) -> AveragedMetrica:
        return AveragedMetrica("times", axes, self.store, multiplier=10, **options)

    def kick(self, metrica: Metrica, *args: Any, **axes: Any) -> None:
        self.successResultOf(metrica.kick(*args, **axes))

    def table(self, chart: Any, **query: str) -> Any:
        args = {k.replace("__", ".").encode(): [v.encode()] for k, v in query.items()}
        return self.successResultOf(chart.table(args))

    def rows(self, chart: Any, **query: str) -> list[tuple[Any, ...]]:
        table = self.table(chart, **query)
        return [(table.label(n), *row[1]) for n, row in enumerate(table.rows)]

    def bad(self, chart: Any, **query: str) -> str:
        args = {k.replace("__", ".").encode(): [v.encode()] for k, v in query.items()}
        return str(self.failureResultOf(chart.table(args), BadQuery).value)


class PieTests(ChartCase):
    """Slices."""

    def test_slices(self) -> None:
        """Each choice is a slice, the largest first; events without one are a slice too."""
        chart = PieChart(self.guests(), "gender")
        self.assertEqual(self.rows(chart), [("boy", 17), ("girl", 6), ("(none)", 3)])
        self.assertEqual(self.table(chart).total, 26)

    def test_axis_timespan_filter(self) -> None:
        """The query chooses the axis, a timespan, and a choice of another axis."""
        chart = PieChart(self.guests(), "gender")
        rows = self.rows(
            chart, axis="age", year="2026", month="7", filter__gender="boy"
        )
        self.assertEqual(rows, [("18", 17)])

    def test_counts(self) -> None:
        """Of an averaged Metrica the number of events can be shown."""
        metrica = self.averaged([("view", StoredChoiceAxis())])
        for ms in (1.5, 2.5, 4):
            self.kick(metrica, ms, view="/")
        chart = PieChart(metrica, "view")
        self.assertEqual(self.rows(chart), [("/", 3)])
        self.assertEqual(self.rows(chart, measure="total"), [("/", 8.0)])

    def test_extremes(self) -> None:
        """Slices with a sum that overflows only in between add up to the total."""
        metrica = Metrica("n", [("a", StoredChoiceAxis())], self.store)
        for choice, n in (("x", 1.7e308), ("z", -1.7e308), ("y", 1.7e308)):
            self.kick(metrica, n, a=choice)
        expected = [("x", 1.7e308), ("y", 1.7e308), ("z", -1.7e308)]
        self.assertEqual(self.rows(PieChart(metrica, "a")), expected)

    def test_path(self) -> None:
        """Of a hierarchical axis one level is shown: that below the filter."""
        metrica = Metrica("clicks", [("label", HierarchicalAxis())], self.store)
        for path in (("out", "se"), ("out", "link"), ("out",), ("in", "x")):
            self.kick(metrica, label=path)
        chart = PieChart(metrica, "label")
        self.assertEqual(self.rows(chart), [("out", 3), ("in", 1)])
        below = {("link", 1), ("se", 1), ("(none)", 1)}
        self.assertEqual(set(self.rows(chart, filter__label="out")), below)

    def test_many(self) -> None:
        """Choices beyond the limit are one slice; the slices add up to the total."""
        metrica = Metrica("many", [("n", StoredChoiceAxis())], self.store)
        for n in range(30):
            self.kick(metrica, n + 1, n=n)
        rows = self.rows(PieChart(metrica, "n"))
        self.assertEqual((len(rows), rows[-1]), (21, ("(other)", sum(range(1, 11)))))
        self.assertEqual(sum(n for _, n in rows), sum(range(1, 31)))

    def test_odd_choices(self) -> None:
        """An empty choice has a visible label."""
        metrica = Metrica("odd", [("n", StoredChoiceAxis())], self.store)
        self.kick(metrica, n="")
        self.assertEqual(self.rows(PieChart(metrica, "n")), [("('')", 1)])

    def test_no_axis(self) -> None:
        """An unknown axis is refused; the message lists the axes."""
        error = self.assertRaises(ValueError, PieChart, self.guests(), "name")
        self.assertIn("its axes are: gender, age", str(error))

    def test_bad(self) -> None:
        """The message names the unknown axis, choice or number."""
        chart = PieChart(self.guests(), "gender")
        self.assertIn(
            "axis='name': must be one of gender", self.bad(chart, axis="name")
        )
        self.assertIn("no axis 'x'", self.bad(chart, filter__x="1"))
        self.assertIn("not one of the choices", self.bad(chart, filter__gender="x"))
        self.assertIn("month", self.bad(chart, year="2026", month="13"))
        self.assertIn("also needs year", self.bad(chart, month="7"))
        self.assertIn("whole number", self.bad(chart, year="2026; DROP"))
        self.assertIn("whole number", self.bad(chart, year="٣"))
        self.assertIn("'scale' is not a parameter", self.bad(chart, scale="day"))


class TimelineTests(ChartCase):
    """Timespans by their parts."""

    def test_zoom(self) -> None:
        """Each row links to its part; the total there is the row's number."""
        chart = TimelineChart(self.guests())
        query: dict[str, str] = {}
        total = 26
        for scale in ("year", "month", "day", "hour", "minute"):
            table = self.table(chart, **query)
            self.assertEqual((table.scale, table.total), (scale, total))
            self.assertEqual(sum(numbers[0] for _, numbers in table.rows), total)
            if scale == "minute":
                self.assertEqual(table.links, [])
                break
            best = max(range(len(table.rows)), key=lambda n: table.rows[n][1][0])
            total = table.rows[best][1][0]
            query = dict(pair.split("=") for pair in table.links[best].split("&"))
        self.assertEqual(
            query, {"year": "2026", "month": "7", "day": "5", "hour": "20"}
        )
        self.assertEqual([text for text, _ in table.trail][:2], ["all", "year 2026"])

    def test_zone(self) -> None:
        """Days are the Metrica's; hours show their offset, also the repeated hour."""
        metrica = Metrica("zoned", [], self.store, tz="Europe/Berlin")
        night = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
        self.kick(metrica, 1, night - timedelta(hours=3))
        self.kick(metrica, 2, night)
        self.kick(metrica, 4, night + timedelta(hours=1))
        chart = TimelineChart(metrica)
        days = dict(self.rows(chart, year="2026", month="10"))
        self.assertEqual((days["2026-10-24"], days["2026-10-25"]), (1, 6))
        hours = dict(self.rows(chart, year="2026", month="10", day="25"))
        self.assertEqual(len(hours), 25)
        self.assertEqual(hours["2026-10-25T02:00+02:00"], 2)
        self.assertEqual(hours["2026-10-25T02:00+01:00"], 4)

    def test_averages(self) -> None:
        """Averages have gaps and no total."""
        metrica = self.averaged()
        self.kick(metrica, 2, NOW)
        self.kick(metrica, 5, NOW)
        table = self.table(
            TimelineChart(metrica), measure="average", year="2026", month="7"
        )
        self.assertEqual(table.total, None)
        self.assertEqual([n[0] for _, n in table.rows[3:6]], [None, 3.5, None])

    def test_empty(self) -> None:
        """A Metrica without events has an empty chart."""
        self.assertEqual(self.rows(TimelineChart(Metrica("e", [], self.store))), [])

    def test_scales(self) -> None:
        """A scale that the Metrica does not count by is refused."""
        chart = TimelineChart(Metrica("e", [], self.store, scales=["year", "day"]))
        self.assertIn(
            "does not count by month, only by year, day", self.bad(chart, year="2026")
        )

    def test_totals_never_change(self) -> None:
        """For any kicks, the total of each part is the sum of its own parts."""
        moments = st.integers(0, 10**9).map(lambda s: NOW - timedelta(seconds=s))
        amounts = st.integers(-50, 50)

        @settings(max_examples=15, deadline=None)
        @given(st.lists(st.tuples(moments, amounts), min_size=1, max_size=6))
        def holds(events: list[tuple[datetime, int]]) -> None:
            store = self.successResultOf(
                open_store("memory:", reactor=self.clock, clock=self.clock)
            )
            metrica = Metrica("any", [], store)
            kicks = [metrica.kick(n, when) for when, n in events]
            self.successResultOf(gatherResults(kicks))
            chart = TimelineChart(metrica)
            when = events[0][0]
            query: dict[str, str] = {}
            for scale in ("year", "month", "day", "hour"):
                table = self.table(chart, **query)
                self.assertEqual(sum(n[0] for _, n in table.rows), table.total)
                number = getattr(when, scale)
                (inside,) = (
                    n[0] for begins, n in table.rows if getattr(begins, scale) == number
                )
                query[scale] = str(number)
                self.assertEqual(self.table(chart, **query).total, inside)
            self.successResultOf(store.close())

        holds()


class TimeserieTests(ChartCase):
    """Lines."""

    def test_total(self) -> None:
        """Without an axis there is one line, gaps as 0."""
        chart = TimeserieChart(self.guests())
        rows = self.rows(chart, scale="day", back="4")
        self.assertEqual(
            rows,
            [
                ("2026-07-02", 0),
                ("2026-07-03", 5),
                ("2026-07-04", 4),
                ("2026-07-05", 15),
            ],
        )
        self.assertEqual(self.table(chart, scale="day", back="4").total, 24)

    def test_scales(self) -> None:
        """Each scale goes back by its own unit; days and longer follow the calendar."""
        chart = TimeserieChart(self.guests())
        for scale, back, first in (
            ("year", "2", "2025"),
            ("month", "8", "2025-12"),
            ("day", "5", "2026-07-01"),
            ("hour", "22", "2026-07-04T23:00+00:00"),
            ("minute", "32", "2026-07-05T19:59+00:00"),
        ):
            rows = self.rows(chart, scale=scale, back=back)
            self.assertEqual((len(rows), rows[0][0]), (int(back), first))

    def test_without_axes(self) -> None:
        """A Metrica without axes is one line, and has no control for axes."""
        metrica = Metrica("plain", [], self.store)
        self.kick(metrica, 7)
        table = self.table(TimeserieChart(metrica), back="1")
        self.assertEqual(table.columns, ["hour", "total"])
        self.assertNotIn("axis", [choice.name for choice in table.choices])

    def test_axis(self) -> None:
        """Choices, and events without one, have lines; these add up to the total."""
        chart = TimeserieChart(self.guests(), "gender")
        table = self.table(chart, scale="day", back="2")
        self.assertEqual(table.columns, ["day", "total", "boy", "girl", "(other)"])
        for _, (total, *lines) in table.rows:
            self.assertEqual(sum(lines), total)
        hidden = self.table(chart, scale="day", back="2", total="0")
        self.assertEqual(hidden.columns, ["day", "boy", "girl", "(other)"])
        self.assertEqual(hidden.total, table.total)

    def test_many(self) -> None:
        """At most eight choices have lines: those with the most."""
        metrica = Metrica("many", [("n", StoredChoiceAxis())], self.store)
        for n in range(60):
            self.kick(metrica, n + 1, n=n)
        table = self.table(TimeserieChart(metrica, "n"), scale="day", back="1")
        self.assertEqual(
            table.columns, ["day", "total", *map(str, range(59, 51, -1)), "(other)"]
        )
        ((_, (total, *lines)),) = table.rows
        self.assertEqual((total, sum(lines)), (sum(range(1, 61)),) * 2)

    def test_names(self) -> None:
        """A choice with the name of another line has a line of its own."""
        metrica = Metrica("odd", [("n", StoredChoiceAxis())], self.store)
        self.kick(metrica, 1, n="total")
        table = self.table(TimeserieChart(metrica, "n"), back="1")
        self.assertEqual(table.columns, ["hour", "total", "total'"])

    def test_averages(self) -> None:
        """Averages are the Metrica's; where data is missing they have gaps."""
        metrica = self.averaged([("view", StoredChoiceAxis())])
        self.kick(metrica, 1, view="/")
        self.kick(metrica, 2, view="/")
        self.kick(metrica, 9, view="/a")
        table = self.table(
            TimeserieChart(metrica, "view"), measure="average", scale="hour", back="2"
        )
        self.assertEqual(table.columns, ["hour", "total", "/a", "/"])
        self.assertEqual(table.rows[0][1], [None, None, None])
        self.assertEqual(table.rows[1][1], [4.0, 9.0, 1.5])

    def test_bad(self) -> None:
        """The message names the unknown scale or bad number, and the limits."""
        chart = TimeserieChart(self.guests())
        self.assertIn(
            "scale='week': must be one of year", self.bad(chart, scale="week")
        )
        self.assertIn("from 1 to 2000", self.bad(chart, back="0"))
        self.assertIn("from 1 to 2000", self.bad(chart, back="2001"))
        self.assertIn("whole number", self.bad(chart, back="-1"))
        self.assertIn("whole number", self.bad(chart, back="1e3"))
        self.assertIn("must be one of total", self.bad(chart, measure="average"))
        self.assertIn(
            "UTF-8", str(self.failureResultOf(chart.table({b"axis": [b"\xff"]})).value)
        )

    def test_far_back(self) -> None:
        """A range may begin long before the first event."""
        chart = TimeserieChart(Metrica("e", [], self.store))
        self.assertEqual(len(self.rows(chart, scale="year", back="2000")), 2000)


class LatestTests(ChartCase):
    """Counts and averages side by side."""

    def test_views(self) -> None:
        """Each choice has its count and average in the range, the most first."""
        metrica = self.averaged([("view", StoredChoiceAxis())])
        self.kick(metrica, 100, NOW - timedelta(days=9), view="/a")
        for ms in (1, 2.5):
            self.kick(metrica, ms, view="/a")
        self.kick(metrica, 9, view="/b")
        chart = LatestCountAndAverageChart(metrica)
        self.assertEqual(
            self.rows(chart, scale="hour", back="3"), [("/a", 2, 1.75), ("/b", 1, 9.0)]
        )
        self.assertEqual(self.table(chart, scale="hour", back="3").total, 3)
        rows = {a: b for a, *b in self.rows(chart, scale="day", back="30")}
        self.assertEqual(rows["/a"], [3, 34.5])

    def test_lines(self) -> None:
        """As lines it has the count and the average of each unit, of one view or all."""
        metrica = self.averaged([("view", StoredChoiceAxis())])
        for ms, hours, view in (
            (4, 2, "/a"),
            (1, 0, "/a"),
            (2.5, 0, "/a"),
            (9, 0, "/b"),
        ):
            self.kick(metrica, ms, NOW - timedelta(hours=hours), view=view)
        query = {"scale": "hour", "back": "3", "shape": "lines"}
        chart = LatestCountAndAverageChart(metrica)
        rows = [row[1:] for row in self.rows(chart, **query)]
        self.assertEqual(rows, [(1, 4.0), (0, None), (3, 12.5 / 3)])
        chart = LatestCountAndAverageChart(metrica, shape="lines")
        rows = [
            r[1:] for r in self.rows(chart, scale="hour", back="1", filter__view="/b")
        ]
        self.assertEqual(rows, [(1, 9.0)])
        table = self.table(chart, **query)
        self.assertEqual((table.kind, table.total), ("pair", 4))
        self.assertRaises(ValueError, LatestCountAndAverageChart, metrica, shape="pie")

    def test_without_axes(self) -> None:
        """A Metrica without axes has one row."""
        metrica = self.averaged()
        self.kick(metrica, 3)
        self.assertEqual(
            self.rows(LatestCountAndAverageChart(metrica)), [("all", 1, 3.0)]
        )

    def test_needs_counts(self) -> None:
        """A Metrica without counts is refused."""
        error = self.assertRaises(TypeError, LatestCountAndAverageChart, self.guests())
        self.assertIn("AveragedMetrica", str(error))


class ExpiredTests(ChartCase):
    """Detail that the store has dropped."""

    def setUp(self) -> None:
        super().setUp()
        self.metrica = self.averaged([("view", StoredChoiceAxis())])
        self.kick(self.metrica, 7, view="/a")
        # Two weeks later, hours of the day of this kick have expired.
        self.clock.advance(14 * 86_400 + 4 * 3600)
        self.kick(self.metrica, 2, view="/b")

    def test_timeserie(self) -> None:
        """Expired hours are a gap, and the chart says from when on there are hours."""
        chart = TimeserieChart(self.metrica)
        for measure in ("count", "average", "total"):
            query = {"scale": "hour", "back": "343", "measure": measure, "axis": ""}
            rows = self.rows(chart, **query)
            self.assertEqual({n for _, n in rows[:6]}, {None}, measure)
            self.assertEqual(rows[-1][1], {"count": 1}.get(measure, 2), measure)
            table = self.table(chart, **query)
            self.assertEqual(table.stored_from_text, "2026-07-06T00:00+00:00")
        table = self.table(
            chart, scale="hour", back="343", measure="count", axis="view"
        )
        self.assertEqual(table.columns, ["hour", "total", "/b"])
        self.assertEqual(table.total, 1)
        # That day had no /b, and this is still known.
        self.assertEqual([n for _, n in table.rows[:6]], [[None, 0]] * 6)
        self.assertEqual(self.table(chart, scale="hour", back="48").expired, "")
        self.assertEqual(self.table(chart, scale="day", back="20").expired, "")

    def test_timeline(self) -> None:
        """The hours of a day that was dropped in part are gaps beside its total."""
        chart = TimelineChart(self.metrica)
        day = {"year": "2026", "month": "7", "day": "5"}
        table = self.table(chart, **day)
        self.assertEqual(table.total, 1)
        self.assertEqual({n for _, (n,) in table.rows}, {None})
        self.assertEqual((table.expired, table.stored_from), ("hour", None))
        table = self.table(chart, **day, hour="20", measure="total")
        self.assertEqual((table.expired, table.total), ("minute", None))

    def test_latest(self) -> None:
        """Counts and averages say from when on there are hours."""
        chart = LatestCountAndAverageChart(self.metrica)
        for shape in ("bars", "lines"):
            table = self.table(chart, scale="hour", back="343", shape=shape)
            self.assertEqual((table.expired, table.total), ("hour", 1))

    def test_pie(self) -> None:
        """A pie of an expired hour has no slices, and says why; no total of 0."""
        chart = PieChart(self.metrica, "view")
        span = {"year": "2026", "month": "7", "day": "5", "hour": "20"}
        table = self.table(chart, **span)
        self.assertEqual((table.rows, table.total, table.expired), ([], None, "hour"))
        empty = self.table(chart, **{**span, "month": "6"})
        self.assertEqual((empty.total, empty.expired), (0, ""))

    def test_page(self) -> None:
        """The page and the JSON have the line."""
        root = Resource()
        root.putChild(b"t", TimeserieChart(self.metrica))
        client = WebClient(root)
        answer = client.request("/t?scale=hour&back=343", "GET", "").decode()
        self.assertIn('Hours are stored from <time datetime="2026-07-06T00:00', answer)
        answer = client.request("/t?scale=hour&back=343&format=json", "GET", "")
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        self.assertEqual(body["expired"], "hour")
        self.assertIsNone(body["rows"][0][1])
        line = client.request("/t?scale=hour&back=10", "GET", "").decode()
        self.assertIn('<p class="txstathat-note"></p>', line)


class OldQueryTests(ChartCase):
    """The query parameters of staste's charts."""

    def test_same_tables(self) -> None:
        """An old query has the same answer as ours."""
        guests = self.guests()
        times = self.averaged([("view", StoredChoiceAxis())])
        for ms, view in ((1, "/a"), (5, "/b")):
            self.kick(times, ms, view=view)
        span = {"timespan__year": "2026", "timespan__month": "7"}
        for chart, old, new in (
            (PieChart(guests, "age"), span, {"year": "2026", "month": "7"}),
            (TimelineChart(guests), span, {"year": "2026", "month": "7"}),
            (
                TimeserieChart(guests),
                {"show_axis": "gender", "timescale": "day", "day__ago": "2"},
                {"axis": "gender", "scale": "day", "back": "3"},
            ),
            (
                TimeserieChart(guests, "age"),
                {"day__ago": "3", "hour__ago": "1", "hide_total": "1"},
                {"scale": "hour", "back": "74", "total": "0"},
            ),
            (
                TimeserieChart(guests),
                {"clean_date": "1", "timescale": "", "hide_total": ""},
                {},
            ),
            (
                LatestCountAndAverageChart(times, shape="lines"),
                {"view": "/a", "scale": "minute"},
                {"filter__view": "/a", "scale": "minute"},
            ),
        ):
            expected = self.table(chart, **new)
            args = {k.encode(): [v.encode()] for k, v in old.items()}
            found = self.successResultOf(chart.table(args))
            self.assertEqual(
                (found.columns, found.rows), (expected.columns, expected.rows)
            )

    def test_both(self) -> None:
        """Where a query has an old and a new parameter, the new one counts."""
        chart = PieChart(self.guests(), "age")
        table = self.table(chart, show_axis="age", axis="gender")
        self.assertEqual(table.columns[0], "gender")

    def test_links_are_new(self) -> None:
        """What a chart links to has our parameters."""
        chart = TimelineChart(self.guests())
        args = {b"timespan__year": [b"2026"]}
        table = self.successResultOf(chart.table(args))
        self.assertEqual(table.hidden, [("year", "2026")])


class FormTests(ChartCase):
    """Pages, fragments, JSON, CSV and errors."""

    def setUp(self) -> None:
        super().setUp()
        self.metrica = Metrica(HOSTILE, [("n", StoredChoiceAxis())], self.store)
        for n in (HOSTILE, "=1+1"):
            self.kick(self.metrica, 2, n=n)
        self.chart = PieChart(self.metrica, "n")
        root = Resource()
        root.putChild(b"pie", self.chart)
        root.putChild(b"<pie>", self.chart)
        self.client = WebClient(root)

    def ask(self, path: str, method: str = "GET", accept: str = "") -> Any:
        headers = f"Accept: {accept}\r\n" if accept else ""
        answer = self.client.request(path, method, headers)
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        return lines[0], dict(line.split(": ", 1) for line in lines[1:]), body.decode()

    def test_interface(self) -> None:
        """A chart is a resource."""
        verifyObject(IResource, self.chart)

    def test_page(self) -> None:
        """A page is complete, has the strict policy, and escapes all its texts."""
        status, headers, body = self.ask("/pie")
        self.assertIn("200", status)
        self.assertEqual(headers["Content-Type"], "text/html; charset=utf-8")
        self.assertEqual(headers["Content-Security-Policy"], content_security_policy())
        self.assertTrue(body.startswith("<!DOCTYPE html><html"))
        self.assertNotIn("<script>", body)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;&amp;", body)
        self.assertIn('src="/pie/assets/plotly.js"', body)
        self.assertNotRegex(body, "https?://")
        self.assertNotIn("style=", body)

    def test_conditional(self) -> None:
        """A chart that has not changed is answered with 304, and no body."""
        for path in ("/pie", "/pie?format=fragment", "/pie?format=csv"):
            _, headers, _ = self.ask(path)
            header = f"If-None-Match: {headers['ETag']}\r\n"
            answer = self.client.request(path, "GET", header)
            self.assertTrue(answer.startswith(b"HTTP/1.1 304 "), answer)
            self.assertTrue(answer.endswith(b"\r\n\r\n"))
            self.kick(self.metrica, 1, n="x")
            answer = self.client.request(path, "GET", header)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertNotIn("ETag", self.ask("/pie?axis=none")[1])

    def test_marks_and_levels(self) -> None:
        """
        Notes are in the row of their time bucket, levels above the picture, and numbers
        as they are shown to people, with the exact ones beside them.
        """
        first = datetime(2026, 7, 5, 20, tzinfo=UTC)
        hours = [first + timedelta(hours=n) for n in range(3)]
        table = Table(
            "bars",
            "T",
            ["hour", "sum"],
            [(hour, [1234.5]) for hour in hours],
            scale="hour",
            unit="<ms>",
            unfinished=True,
            marks=[
                Mark(first - timedelta(seconds=1), "before"),
                Mark(first, "first"),
                Mark(hours[1] - timedelta(seconds=1), "late"),
                Mark(hours[2] + timedelta(days=9), HOSTILE),
            ],
            levels=[Level(0.5, HOSTILE)],
            figure=lambda value: f"{value:,.0f}",
        )
        html = self.successResultOf(flattenString(None, fragment(table, "/c", 0)))
        rows = re.findall(r"<tr>.*?</tr>", html.decode())[1:]
        marks = [re.findall(r"<p [^>]*><bdi>(.*?)</bdi>", row) for row in rows]
        self.assertEqual(marks, [["first", "late"], [], [escape(HOSTILE, quote=False)]])
        self.assertIn('<td data-value="1234.5">1,234</td>', rows[0])
        self.assertIn('<strong data-value="0.5">0</strong>', html.decode())
        self.assertNotIn("before", html.decode())
        shown = json.loads(table.as_json())
        self.assertEqual([text for _, text in shown["notes"]][:2], ["first", "late"])
        self.assertEqual(shown["levels"], [[0.5, HOSTILE]])

    def test_policy(self) -> None:
        """The policy allows nothing unsafe, and no other host."""
        policy = content_security_policy()
        self.assertNotIn("unsafe", policy)
        self.assertNotIn("http", policy)
        self.assertIn(
            "default-src 'none'; script-src 'self'; style-src 'self' 'sha", policy
        )

    def test_hostile_path(self) -> None:
        """The page contains its own path as it was in the request."""
        _, _, body = self.ask("/%3Cpie%3E")
        self.assertIn('data-path="/%3Cpie%3E"', body)

    def test_trailing_slash(self) -> None:
        """A path with a slash at the end is the same chart."""
        self.assertEqual(self.ask("/pie/")[2], self.ask("/pie")[2])

    def test_fragment(self) -> None:
        """A fragment is the chart alone; a program can make it too."""
        _, _, body = self.ask("/pie?format=fragment")
        self.assertTrue(body.startswith("<section"))
        self.assertNotIn("<link", body)
        made = self.successResultOf(self.chart.fragment("/pie"))
        self.assertEqual(made.decode(), body)

    def test_json(self) -> None:
        """JSON has the numbers and their headings."""
        _, headers, body = self.ask("/pie?format=json")
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(
            json.loads(body),
            {
                "kind": "pie",
                "title": HOSTILE,
                "scale": None,
                "zone": "UTC",
                "total": 4,
                "columns": ["n", "total"],
                "rows": [[HOSTILE, 2], ["=1+1", 2]],
            },
        )

    def test_csv(self) -> None:
        """CSV can be read back; what a spreadsheet would run is a text."""
        _, headers, body = self.ask("/pie?format=csv")
        self.assertEqual(headers["Content-Type"], "text/csv; charset=utf-8")
        rows = list(csv.reader(io.StringIO(body)))
        self.assertEqual(rows, [["n", "total"], [HOSTILE, "2"], ["'=1+1", "2"]])

    def test_file_names(self) -> None:
        """JSON and CSV are saved under the title, of which only words stay."""
        for form in ("json", "csv"):
            _, headers, _ = self.ask(f"/pie?format={form}")
            name = headers["Content-Disposition"]
            self.assertRegex(name, rf'^attachment; filename="[A-Za-z0-9-]+\.{form}"$')
        self.assertNotIn("Content-Disposition", self.ask("/pie")[1])
        self.assertNotIn("Content-Disposition", self.ask("/pie?format=json&x=y")[1])
        self.chart.title = "Größe: \ud800 \r\n"
        _, headers, _ = self.ask("/pie?format=csv")
        self.assertEqual(
            headers["Content-Disposition"],
            "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe.csv",
        )

    def test_accept(self) -> None:
        """Without format= the Accept header chooses, by its weights."""
        for accept, kind in (
            ("", "text/html"),
            ("*/*", "text/html"),
            ("text/html,application/xml;q=0.9,*/*;q=0.8", "text/html"),
            ("application/json", "application/json"),
            ("text/html;q=0.2, text/csv;q=0.7", "text/csv"),
            ("image/png", "text/html"),
            ("text/csv;q=x", "text/html"),
        ):
            _, headers, _ = self.ask("/pie", accept=accept)
            self.assertEqual(headers["Content-Type"].partition(";")[0], kind, accept)

    def test_head(self) -> None:
        """HEAD has the headers of GET and no body; other methods are refused."""
        _, headers, body = self.ask("/pie", "HEAD")
        self.assertEqual(body, "")
        self.assertEqual(
            headers["Content-Length"], self.ask("/pie")[1]["Content-Length"]
        )
        status, headers, _ = self.ask("/pie", "POST")
        self.assertIn("405", status)

    def test_refused(self) -> None:
        """A bad query is a 400 with the reason, escaped, in the form that was chosen."""
        status, _, body = self.ask("/pie?axis=%3Cb%3E")
        self.assertIn("400", status)
        self.assertIn("axis='&lt;b&gt;': must be one of n", body)
        self.assertIn('<a href="/pie">', body)
        self.assertIn("/charts.css", body)
        self.assertNotIn("<script", body)
        status, _, body = self.ask("/pie?axis=x&format=json")
        self.assertIn("400", status)
        self.assertEqual(json.loads(body), {"error": "axis='x': must be one of n"})
        status, _, body = self.ask("/pie?axis=x&format=csv")
        self.assertEqual(body, "axis='x': must be one of n")
        status, _, body = self.ask("/pie?format=png")
        self.assertIn("400", status)
        self.assertIn("must be one of page, fragment, json, csv", body)

    def test_store_down(self) -> None:
        """A store that cannot be read is a 503 that does not reveal its location."""
        self.metrica.store.read = lambda cells: fail(StoreUnavailable("/secret/path"))
        status, _, body = self.ask("/pie?format=json")
        self.assertIn("503", status)
        self.assertNotIn("secret", body)
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 1)

    def test_beyond_the_largest_float(self) -> None:
        """A sum beyond the largest float is a 400 with the reason."""
        self.metrica.store.read = lambda keys: fail(AmountOverflow("of canaries"))
        status, _, body = self.ask("/pie?format=json")
        self.assertIn("400", status, body)
        self.assertIn("beyond the largest float", body)

    def test_broken(self) -> None:
        """An unexpected failure is a 500, and is logged."""
        self.metrica.store.read = lambda cells: fail(ZeroDivisionError())
        self.assertIn("500", self.ask("/pie")[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_client_gone(self) -> None:
        """A client that leaves while the store is read cancels the reading."""
        cancelled: list[Any] = []
        waiting: Deferred[Any] = Deferred(cancelled.append)
        self.metrica.store.read = lambda cells: waiting
        self.client.request("/pie")
        self.client.disconnect()
        self.assertEqual(cancelled, [waiting])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_assets(self) -> None:
        """A chart serves its scripts and style sheet, which a browser can cache."""
        for name, kind in (
            ("plotly.js", "text/javascript"),
            ("charts.js", "text/javascript"),
            ("charts.css", "text/css"),
        ):
            status, headers, _ = self.ask(f"/pie/assets/{name}", "HEAD")
            self.assertIn("200", status)
            self.assertTrue(headers["Content-Type"].startswith(kind))
            tag = headers["ETag"]
            answer = self.client.request(
                f"/pie/assets/{name}", headers=f"If-None-Match: {tag}\r\n"
            )
            self.assertTrue(answer.startswith(b"HTTP/1.1 304 "), answer[:100])
            self.assertTrue(answer.endswith(b"\r\n\r\n"))
        verifyObject(IResource, ChartAssets())
        self.assertGreater(plotly_js().stat().st_size, 10**6)

    def test_no_ranges(self) -> None:
        """A request for any ranges is answered with the file, once."""
        whole = plotly_js().read_bytes()
        for ranges in ("0-9", ",".join(["0-"] * 3000), ",".join(["0-0"] * 3500)):
            answer = self.client.request(
                "/pie/assets/plotly.js", headers=f"Range: bytes={ranges}\r\n"
            )
            head, _, body = answer.partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 200 "), head)
            self.assertNotIn(b"accept-ranges", head.lower())
            self.assertTrue(body == whole)

    def test_other_requests_for_assets(self) -> None:
        """Other methods are refused, and so are paths below a file."""
        for path, method, status in (
            ("/pie/assets/charts.css", "PUT", "405"),
            ("/pie/assets/charts.css", "FOO", "405"),
            ("/pie/assets/charts.css/x", "GET", "404"),
        ):
            line, headers, body = self.ask(path, method)
            self.assertIn(status, line)
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(body, "")

    def test_file_vanishes(self) -> None:
        """A file is read when its resource is made, and may vanish afterwards."""
        path = Path(self.mktemp())
        path.write_bytes(b"let a = 1;")
        root = Resource()
        root.putChild(b"a.js", StaticFile(path, "text/javascript"))
        path.unlink()
        answer = WebClient(root).request("/a.js")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nlet a = 1;"), answer)

    def test_file_is_missing(self) -> None:
        """A file that cannot be read is an error at the start, not at a request."""
        missing = Path(self.mktemp())
        self.assertRaises(FileNotFoundError, StaticFile, missing, "text/css")

    def test_shared_assets(self) -> None:
        """Charts of a site can share assets, and then have none of their own."""
        chart = PieChart(self.metrica, "n", assets="/shared")
        body = WebClient(chart).request("/")
        self.assertIn(b'src="/shared/plotly.js"', body)
        self.assertEqual(chart.children, {})

    def test_root(self) -> None:
        """A chart may be a whole site."""
        body = WebClient(self.chart).request("/")
        self.assertIn(b'src="/assets/plotly.js"', body)


class BoundTests(ChartCase):
    """Limits on what one query reads."""

    def test_ranked(self) -> None:
        """Of many choices only those with the most are read in detail."""
        metrica = Metrica("many", [("n", StoredChoiceAxis())], self.store)
        kicks = [metrica.kick(n, n=n) for n in range(200)]
        self.successResultOf(gatherResults(kicks))
        asked: list[Any] = []
        read = self.store.read
        self.store.read = lambda cells: asked.append(len(cells)) or read(cells)
        self.rows(TimeserieChart(metrica, "n"), scale="hour", back="10")
        self.assertLess(sum(asked), 200 + (timeserie.MAX_RANKED + 1) * 14 + 1)
