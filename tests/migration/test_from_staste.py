"""
Every line of "Coming from staste": the new call runs, and does what the page says.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource

from tests.fixtures import ROOT
from tests.fixtures.migration_pages import EveryLine, literals, read_tables
from txstathat.charts import (
    LatestCountAndAverageChart,
    PieChart,
    TimelineChart,
    TimeserieChart,
)
from txstathat.errors import StoreUnavailable
from txstathat.metrica import (
    AveragedMetrica,
    Axis,
    HierarchicalAxis,
    Metrica,
    StoredChoiceAxis,
    request_metrica,
)
from txstathat.stores import open_store

PAGE = "metrica-from-staste.rst"
NOW = datetime(2010, 2, 7, 12, 30, tzinfo=UTC)
AXES = [("gender", Axis(choices=["boy", "girl"])), ("age", StoredChoiceAxis())]


class StasteCase(SynchronousTestCase):
    """A store in memory, and some guests."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.store: Any = self.ok(open_store("memory:", clock=self.clock))
        self.addCleanup(self.store.close)
        self.guests = Metrica("guests", axes=AXES, store=self.store)
        for gender, age in (("girl", 18), ("boy", 19), ("boy", 9)):
            self.ok(self.guests.kick(gender=gender, age=age))

    def ok(self, result: Deferred[Any]) -> Any:
        """The result of a Deferred that has fired."""
        return self.successResultOf(result)


class ModelTests(EveryLine, StasteCase):
    """Metricas, kicks, axes and queries."""

    page = PAGE
    heading = "Coming from staste"
    lines: ClassVar[dict[str, str]] = {
        "``Metrica(name='guests', axes=[...])``": "test_metrica",
        "a Metrica in ``metrics.py``, made when it is imported": "test_imported",
        "``guests.kick(gender='girl')``": "test_kick",
        "``guests.values()``, ``.timespan(...)``, ``.filter(...)``": "test_selections",
        "``.filter(gender=None)``": "test_filter_none",
        "``.filter(gender='zz')``, which is none of the choices: 0": "test_no_choice",
        "``.total()``, ``.iterate(...)``, ``.timeserie(...)``": "test_queries",
        (
            "``timeserie(since, until, scale='hour')`` over hours that have expired: "
            "coarser points"
        ): "test_expired",
        "``guests.choices('age')``": "test_choices",
        "``guests.choices('label', ('out',))``, below a path": "test_choices_below",
        "``StoredChoiceAxis()``, ``Axis(choices=...)``": "test_axes",
        "hierarchical axes": "test_hierarchical",
        "``date_scales=``": "test_scales",
        "``AveragedMetrica``; no events: 0 or ``ZeroDivisionError``": "test_averaged",
        "``multiplier=100`` cuts smaller fractions off": "test_multiplier",
        "the time zone of the process": "test_zone",
        "a point of a timeline is in the middle of its time bucket": "test_points",
        "``:`` in a choice makes it collide with others": "test_any_text",
        (
            "a write for each kick: a pipeline with one command for each scale and "
            "combination"
        ): "test_one_write",
        "an interrupted kick may count twice, or in part": "test_once",
        "the request middleware": "test_middleware",
        "unique visitors": "test_unique",
    }

    def test_metrica(self) -> None:
        """The store is one more parameter."""
        code = self.code().replace("[...]", "AXES")
        made = eval(code, {"Metrica": Metrica, "AXES": AXES, "store": self.store})
        self.assertEqual(self.ok(made.total()), 3)

    def test_imported(self) -> None:
        """A Metrica without a store is made at import, and bound later."""
        names: dict[str, Any] = {"Metrica": Metrica, "AXES": AXES, "store": self.store}
        exec(self.code(0).replace("[...]", "AXES"), names)
        self.failureResultOf(names["guests"].total(), StoreUnavailable)
        eval(self.code(1), names)
        self.assertEqual(self.ok(names["guests"].total()), 3)

    def test_kick(self) -> None:
        """A kick returns a Deferred that fires when the event is in the store."""
        self.assertTrue(self.right().startswith("the same"))
        self.assertIsNone(self.ok(self.guests.kick(gender="girl")))
        self.assertEqual(self.ok(self.guests.filter(gender="girl").total()), 2)

    def test_selections(self) -> None:
        """Selections are made in any order, also from the Metrica itself."""
        self.assertIn("guests.filter(...)", self.right())
        month = self.guests.values().timespan(year=2010, month=2).filter(gender="boy")
        self.assertEqual(self.ok(month.total()), 2)
        self.assertEqual(self.ok(self.guests.filter(gender="boy").total()), 2)

    def test_filter_none(self) -> None:
        """None takes a filter back."""
        self.assertIn("removes the filter", self.right())
        boys = self.guests.filter(gender="boy", age=9)
        self.assertEqual(self.ok(boys.filter(age=None).total()), 2)
        self.assertEqual(self.ok(boys.filter(age=None, gender=None).total()), 3)

    def test_no_choice(self) -> None:
        """A choice that cannot be is refused at once."""
        self.assertIn("ValueError", self.right())
        self.assertRaises(ValueError, self.guests.filter, gender="zz")

    def test_queries(self) -> None:
        """Queries are Deferreds of plain values, also of the Metrica itself."""
        self.assertIn("on the Metrica itself", self.right())
        span = (NOW, NOW, "day")
        for asked in (self.guests, self.guests.values()):
            self.assertEqual(self.ok(asked.total()), 3)
            by_gender = self.ok(asked.iterate("gender"))
            self.assertEqual(by_gender, [("boy", 2), ("girl", 1)])
            self.assertEqual(self.ok(asked.iterate()), [(2010, 3)])
            self.assertEqual([n for _, n in self.ok(asked.timeserie(*span))], [3])

    def test_expired(self) -> None:
        """Expired hours are None; without a scale the points are coarser."""
        self.assertTrue(self.right().startswith("``None``"))
        self.clock.advance(20 * 86_400)
        span = (NOW, NOW + timedelta(hours=1))
        points = self.ok(self.guests.timeserie(*span, scale="hour"))
        self.assertEqual([n for _, n in points], [None, None])
        self.assertEqual([n for _, n in self.ok(self.guests.timeserie(*span))], [3])

    def test_choices(self) -> None:
        """Choices are in order; with value_type=int they are ints."""
        self.assertEqual(self.ok(self.guests.choices("age")), ["18", "19", "9"])
        axis = eval(self.code(), {"StoredChoiceAxis": StoredChoiceAxis})
        ints = Metrica("ints", axes=[("age", axis)], store=self.store)
        for age in (18, 19, 9):
            self.ok(ints.kick(age=age))
        self.assertEqual(self.ok(ints.choices("age")), [9, 18, 19])

    def test_choices_below(self) -> None:
        """The choices below a path are whole paths."""
        self.assertIn("whole paths", self.right())
        labels = Metrica("l", axes=[("label", HierarchicalAxis())], store=self.store)
        self.ok(labels.kick(label=("out", "se", "google")))
        self.assertEqual(self.ok(labels.choices("label", ("out",))), [("out", "se")])

    def test_axes(self) -> None:
        """Axes with given and with remembered choices are the same."""
        self.assertEqual(self.right(), "the same")
        self.assertEqual(self.ok(self.guests.choices("gender")), ["boy", "girl"])
        self.failureResultOf(self.guests.kick(gender="cat"), ValueError)

    def test_hierarchical(self) -> None:
        """Paths are tuples; a text is a path of one."""
        axis = eval(self.code(), {"HierarchicalAxis": HierarchicalAxis})
        labels = Metrica("labels", axes=[("label", axis)], store=self.store)
        self.ok(labels.kick(label=("out", "se")))
        self.ok(labels.kick(label="out"))
        self.assertEqual(self.ok(labels.filter(label="out").total()), 2)

    def test_scales(self) -> None:
        """The scales, and for how long they are stored, are parameters."""
        options = eval(f"dict({self.code()})")
        days = Metrica("d", [], self.store, retention={"hour": 9}, **options)
        self.assertEqual(days.scales, ("day", "hour"))

    def test_averaged(self) -> None:
        """An average of nothing is None."""
        self.assertEqual(self.code(), "None")
        averaged = AveragedMetrica("a", [], self.store)
        self.assertIsNone(self.ok(averaged.average()))

    def test_multiplier(self) -> None:
        """Smaller fractions are rounded, half to even."""
        self.assertIn("half to even", self.right())
        money = Metrica("money", [], self.store, multiplier=100)
        for amount in (0.015, 0.025, 0.029):
            self.ok(money.kick(amount))
        self.assertEqual(self.ok(money.total()), 0.07)

    def test_zone(self) -> None:
        """The zone is that of the Metrica, UTC by default."""
        self.assertIn("``tz=``", self.right())
        self.assertEqual(self.guests.tz, "UTC")
        local = Metrica("local", [], self.store, tz="Pacific/Apia")
        self.ok(local.kick())
        self.assertEqual(self.ok(local.timespan(year=2010, month=2, day=7).total()), 1)

    def test_points(self) -> None:
        """A point is at the start of its bucket, with a zone."""
        self.assertIn("at its start", self.right())
        ((at, _),) = self.ok(self.guests.timeserie(NOW, NOW, scale="hour"))
        self.assertEqual(at, NOW.replace(minute=0))
        self.assertIsNotNone(at.tzinfo)

    def test_any_text(self) -> None:
        """Texts with colons do not collide."""
        self.assertIn("any text", self.right())
        two = [("a", StoredChoiceAxis()), ("b", StoredChoiceAxis())]
        texts = Metrica("texts", two, self.store)
        self.ok(texts.kick(a="x:y", b="z"))
        self.ok(texts.kick(a="x", b="y:z"))
        self.assertEqual(self.ok(texts.filter(a="x:y").total()), 1)
        self.assertEqual(self.ok(texts.filter(a="x").total()), 1)

    def test_one_write(self) -> None:
        """Kicks that arrive together are one write."""
        self.assertIn("one write", self.right())
        writes: list[Any] = []
        first: Deferred[Any] = Deferred()
        add = self.store.add

        def add_counted(batches: Any) -> Deferred[Any]:
            writes.append(batches)
            if len(writes) > 1:
                return add(batches)
            return first.addCallback(lambda _: add(batches))

        self.store.add = add_counted
        kicks = [self.guests.kick(age=n) for n in range(100)]
        first.callback(None)
        self.ok(gatherResults(kicks))
        self.assertEqual(self.ok(self.guests.total()), 103)
        # One for those that arrived while the first was being written.
        self.assertLessEqual(len(writes), 2)

    def test_once(self) -> None:
        """A batch that is repeated, since nobody saw its end, counts once."""
        self.assertIn("counts once", self.right())
        add = self.store.add
        self.store.add = lambda batches: add(batches).addCallback(
            lambda _: add(batches)
        )
        self.ok(self.guests.kick(gender="girl"))
        self.assertEqual(self.ok(self.guests.total()), 4)

    def test_middleware(self) -> None:
        """request_metrica creates the Metrica of the middleware."""
        module, _, name = self.code().partition("(")[0].rpartition(".")
        self.assertEqual((module, name), ("txstathat.metrica", "request_metrica"))
        requests = request_metrica(self.store)
        self.ok(requests.kick(12, view="index", method="GET"))
        self.assertEqual(self.ok(requests.iterate_averages("view")), [("index", 12)])

    def test_unique(self) -> None:
        """There is no question for unique visitors."""
        self.assertIn("not available", self.right())
        self.assertFalse(hasattr(self.guests, "unique"))


class ChartTests(EveryLine, StasteCase):
    """Charts and their queries."""

    page = PAGE
    heading = "Charts"
    lines: ClassVar[dict[str, str]] = {
        "``PieChart.as_view(metrica=guests, axis_keyword='gender')``": "test_pie",
        "``TimelineChart.as_view(metrica=guests)``": "test_timeline",
        "``TimeserieChart.as_view(metrica=guests)``, the first axis": "test_timeserie",
        (
            "``LatestCountAndAverageChart.as_view(metrica=requests)``, a line over time"
        ): "test_latest",
        "``template_name=``": "test_template",
        "``?timespan__year=2010&timespan__month=2``": "test_timespan",
        "``?show_axis=gender``": "test_axis",
        "``?timescale=day``": "test_scale",
        "``?timescale=day&day__ago=2``": "test_ago",
        "``?show_axis=gender&hide_total=1``": "test_hide_total",
        "``?clean_date=1``": "test_clean_date",
        "``?view=index``": "test_view",
    }

    def setUp(self) -> None:
        super().setUp()
        self.requests = request_metrica(self.store)
        for ms, view in ((3, "index"), (9, "about")):
            self.ok(self.requests.kick(ms, view=view))

    def made(self) -> Any:
        """The chart that the page makes."""
        names = {
            "PieChart": PieChart,
            "TimelineChart": TimelineChart,
            "TimeserieChart": TimeserieChart,
            "LatestCountAndAverageChart": LatestCountAndAverageChart,
            "guests": self.guests,
            "requests": self.requests,
        }
        chart = eval(self.code(), names)
        self.assertTrue(IResource.providedBy(chart))
        return chart

    def table(self, chart: Any, query: str = "") -> Any:
        return self.ok(chart.table(parse_qs(query.removeprefix("?").encode())))

    def same(self, *charts: Any) -> Any:
        """
        The old and the new query have the same answer, which differs from that without
        a query.
        """
        method = self.id().rpartition(".")[2]
        (left,) = [left for left, name in self.lines.items() if name == method]
        (old,) = literals(left)
        table = None
        for chart in charts:
            table = self.table(chart, old)
            new = self.table(chart, self.code())
            self.assertEqual((table.columns, table.rows), (new.columns, new.rows))
            plain = self.table(chart)
            self.assertNotEqual(
                (table.columns, table.rows), (plain.columns, plain.rows)
            )
        return table

    def test_pie(self) -> None:
        """A pie of an axis."""
        table = self.table(self.made())
        self.assertEqual(table.rows, [("boy", [2]), ("girl", [1])])

    def test_timeline(self) -> None:
        """Bars."""
        self.assertEqual([n for _, n in self.table(self.made()).rows], [[3]])

    def test_timeserie(self) -> None:
        """Lines for the axis that is named."""
        self.assertEqual(
            self.table(self.made()).columns, ["hour", "total", "boy", "girl"]
        )

    def test_latest(self) -> None:
        """A line of counts and one of averages, over time; else bars."""
        table = self.table(self.made())
        self.assertEqual((table.kind, table.rows[-1][1]), ("pair", [2, 6.0]))
        bars = self.table(LatestCountAndAverageChart(self.requests))
        self.assertEqual((bars.kind, len(bars.rows)), ("panels", 2))

    def test_template(self) -> None:
        """A fragment is for pages of one's own."""
        chart = PieChart(self.guests, "gender", assets="/assets")
        html = self.ok(getattr(chart, self.code())("/pie"))
        self.assertIn(b"<section", html)
        self.assertNotIn(b"<html", html)

    def test_timespan(self) -> None:
        """A timespan."""
        self.ok(self.guests.kick(date=datetime(2009, 1, 1), gender="girl"))
        self.same(PieChart(self.guests, "gender"), TimelineChart(self.guests))

    def test_axis(self) -> None:
        """The axis."""
        self.same(TimeserieChart(self.guests))

    def test_scale(self) -> None:
        """The scale."""
        self.same(TimeserieChart(self.guests))

    def test_ago(self) -> None:
        """How far back."""
        self.assertEqual(len(self.same(TimeserieChart(self.guests)).rows), 3)

    def test_hide_total(self) -> None:
        """Without the line of everything."""
        table = self.same(TimeserieChart(self.guests))
        self.assertEqual(table.columns, ["hour", "boy", "girl"])

    def test_clean_date(self) -> None:
        """This changes nothing: the browser writes the times."""
        self.assertIn("nothing", self.right())
        chart = TimeserieChart(self.guests)
        self.assertEqual(
            self.table(chart, "?clean_date=1").rows, self.table(chart).rows
        )
        script = ROOT / "txstathat" / "charts" / "static" / "charts.js"
        self.assertIn("time.textContent = local", script.read_text(encoding="utf-8"))

    def test_view(self) -> None:
        """One view."""
        table = self.same(LatestCountAndAverageChart(self.requests, shape="lines"))
        self.assertEqual(table.rows[-1][1], [1, 3.0])


class PageTests(SynchronousTestCase):
    """The page as a whole."""

    def test_tables(self) -> None:
        """The page has these two tables, and both are tried."""
        self.assertEqual(
            set(read_tables(PAGE)), {ModelTests.heading, ChartTests.heading}
        )
