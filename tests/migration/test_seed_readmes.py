"""
The examples in the READMEs of the four packages that this one continues, with its own
calls: txStatHat 0.2, python-stathat, staste and migas-py.

Their lines are as they were, but for the import, ``yield`` (a Deferred's result), the
name of the store or the server, and a person's address. What the READMEs show as results is compared.
"""

from __future__ import annotations

import datetime
import os
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

import txstathat
from tests.fixtures.migas_server import MigasServer
from tests.fixtures.support import reactor
from txstathat import StatHatError, migas, txStatHat
from txstathat.charts import PieChart
from txstathat.metrica import AveragedMetrica, Axis, Metrica, StoredChoiceAxis
from txstathat.stores import open_store


class StatHat(Resource):
    """
    StatHat as the READMEs know it: it takes counts and values under one name.

    :ivar points: path and fields of what it took.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.allowed = True
        self.points: list[tuple[str, dict[str, str]]] = []

    def render_POST(self, request: Any) -> bytes:
        if not self.allowed:
            return b'{"status": 500, "msg": "invalid keys"}'
        fields = {name.decode(): one.decode() for name, (one,) in request.args.items()}
        self.points.append((request.path.decode(), fields))
        return b'{"status": 200, "msg": "ok"}'


class StatHatCase(TestCase):
    """A StatHat on the loopback interface, named by TXSTATHAT_URL."""

    timeout = 30

    def setUp(self) -> None:
        self.stathat = StatHat()
        site = Site(self.stathat)
        site.noisy = False
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        before = os.environ.get("TXSTATHAT_URL")
        if before is None:
            self.addCleanup(os.environ.pop, "TXSTATHAT_URL")
        else:
            self.addCleanup(os.environ.__setitem__, "TXSTATHAT_URL", before)
        os.environ["TXSTATHAT_URL"] = f"http://127.0.0.1:{port.getHost().port}"

    def client(self, make: Any, key: str, **options: Any) -> Any:
        made = make(key, **options)
        self.addCleanup(made.close)
        return made


class TxStatHatTests(StatHatCase):
    """txStatHat 0.2 (github.com/hynek/txStatHat): the example under its first lines."""

    @inlineCallbacks
    def test_usage(self) -> Any:
        """Three calls in a generator: two counts and a value."""
        sh = self.client(txStatHat, "keyOrEmail")
        yield sh.count("aCounter")  # Counts by 1 by default
        yield sh.count("anotherCounter", 42)
        yield sh.value("aValue", 0.42)

        key = {"ezkey": "keyOrEmail"}
        self.assertEqual(
            self.stathat.points,
            [
                ("/ez", {**key, "stat": "aCounter", "count": "1"}),
                ("/ez", {**key, "stat": "anotherCounter", "count": "42"}),
                ("/ez", {**key, "stat": "aValue", "value": "0.42"}),
            ],
        )


class PythonStatHatTests(StatHatCase):
    """
    python-stathat (github.com/mattrobenolt/python-stathat): its four examples.

    They count and measure under one name, which StatHat took. A collector of one's own
    refuses a point of another kind than its stat.
    """

    def taken(self) -> list[tuple[str, str, str]]:
        """Path, kind and amount of what was taken."""
        return [
            (path, kind, fields[kind])
            for path, fields in self.stathat.points
            for kind in ("count", "value")
            if kind in fields
        ]

    @inlineCallbacks
    def test_ez(self) -> Any:
        """Under "EZ API usage": an object for a stat; ``async=False`` is ``yield``."""
        stats = self.client(txStatHat, "matt@example.com").stat("awesome stuff")
        yield stats.tick()  # Increment a counter by 1
        yield stats.count(5)  # Increment a counter by 5
        yield stats.value(0.275)  # Track specific values
        self.assertEqual((yield stats.count(5)), True)

        self.assertEqual(
            self.taken(),
            [
                ("/ez", "count", "1"),
                ("/ez", "count", "5"),
                ("/ez", "value", "0.275"),
                ("/ez", "count", "5"),
            ],
        )
        self.assertEqual({f["stat"] for _, f in self.stathat.points}, {"awesome stuff"})

    @inlineCallbacks
    def test_classic(self) -> Any:
        """Under "Classic API usage": the same with a user key and a stat key."""
        client = self.client(txstathat.txStatHatClassic, "{{ my user key }}")
        stats = client.stat("{{ my stat key }}")
        yield stats.tick()
        yield stats.count(5)
        yield stats.value(0.275)
        self.assertEqual((yield stats.count(5)), True)

        self.assertEqual(
            self.taken(),
            [
                ("/c", "count", "1"),
                ("/c", "count", "5"),
                ("/v", "value", "0.275"),
                ("/c", "count", "5"),
            ],
        )
        fields = self.stathat.points[0][1]
        self.assertEqual(
            (fields["ukey"], fields["key"]), ("{{ my user key }}", "{{ my stat key }}")
        )

    @inlineCallbacks
    def test_error_handling(self) -> Any:
        """Under "Error handling": a refused call raises StatHatError."""
        client = self.client(txStatHat, "matt@example.com", ignore_errors=False)
        stats = client.stat("awesome stuff")
        self.stathat.allowed = False
        broke = ""
        try:
            yield stats.tick()
        except StatHatError as e:
            broke = f"Broke! {e}"
        self.assertIn("invalid keys", broke)

    @inlineCallbacks
    def test_shortcuts(self) -> Any:
        """Under "Shortcuts": four functions for one-off calls."""
        name, key = "awesome stuff", "{{ my stat key }}"
        yield txstathat.ez_count("matt@example.com", name, 5)
        yield txstathat.ez_value("matt@example.com", name, 0.275)
        yield txstathat.classic_count("{{ my user key }}", key, 5)
        yield txstathat.classic_value("{{ my user key }}", key, 0.275)

        self.assertEqual(
            self.taken(),
            [
                ("/ez", "count", "5"),
                ("/ez", "value", "0.275"),
                ("/c", "count", "5"),
                ("/v", "value", "0.275"),
            ],
        )


class StasteTests(TestCase):
    """staste (github.com/ur001/staste): its README, from "Quick Start" on."""

    @inlineCallbacks
    def setUp(self) -> Any:
        self.store = yield open_store("memory:", clock=Clock())
        self.addCleanup(self.store.close)
        gender_axis = Axis(choices=["boy", "girl"])
        age_axis = StoredChoiceAxis()
        self.metrica = Metrica(
            name="guest_visits_gender_age",
            axes=[("gender", gender_axis), ("age", age_axis)],
            store=self.store,
        )

    @inlineCallbacks
    def test_quick_start(self) -> Any:
        """Under "Quick Start": two axes, a Metrica, two kicks."""
        guests_metrica = self.metrica
        yield guests_metrica.kick(gender="girl", age=18)
        yield guests_metrica.kick(gender="boy", age=19)
        self.assertEqual((yield guests_metrica.total()), 2)

    @inlineCallbacks
    def test_getting_stats(self) -> Any:
        """Under "Getting stats": five questions about a party, with its answers."""
        metrica = self.metrica
        day = datetime.timedelta(days=1)
        birthday = datetime.datetime(2010, 2, 7)
        for date, gender, age, number in (
            (birthday - 32 * day, "boy", 17, 1),
            (birthday - 31 * day, "girl", 18, 1),
            (birthday - 31 * day, "girl", 19, 1),
            (birthday - 2 * day, "boy", 18, 5),
            (birthday - day, "girl", 17, 4),
            (birthday - day, "boy", 17, 4),
            (birthday, "boy", 18, 12),
            (birthday, "boy", 17, 6),
            (birthday, "girl", 19, 2),
            (birthday, "boy", 120, 1),
        ):
            for _ in range(number):
                yield metrica.kick(date=date, gender=gender, age=age)

        self.assertEqual((yield metrica.timespan(year=2010).total()), 37)
        self.assertEqual((yield metrica.filter(gender="girl").total()), 8)
        self.assertEqual((yield metrica.filter(gender="girl", age=19).total()), 3)
        boys = metrica.filter(gender="boy").timespan(year=2010, month=2)
        self.assertEqual((yield boys.filter(age=17).total()), 10)
        february = metrica.timespan(year=2010, month=2).filter(gender="boy")
        # The README's order is that of a set; this one is sorted.
        self.assertEqual(
            sorted((yield february.iterate("age"))),
            sorted([("120", 1), ("19", 0), ("17", 10), ("18", 17)]),
        )

    @inlineCallbacks
    def test_weighed_and_averaged(self) -> Any:
        """Under "Weighed and averaged metric": counts and averages by day and by choice."""
        axis = Axis(choices=["a", "b"])
        metrica = AveragedMetrica(
            name="some_averaged_metrica",
            axes=[("c", axis)],
            multiplier=100,
            store=self.store,
        )

        d1 = datetime.datetime(2010, 2, 7)
        d2 = datetime.datetime(2010, 2, 8)
        d3 = datetime.datetime(2010, 2, 9)

        yield metrica.kick(date=d1, value=12, c="a")
        yield metrica.kick(date=d1, value=2, c="b")
        yield metrica.kick(date=d2, value=7.5, c="a")
        yield metrica.kick(date=d2, value=0.16, c="a")
        yield metrica.kick(date=d3, c="b")

        days = list((yield metrica.timespan(year=2010, month=2).iterate_counts()))[5:10]
        self.assertEqual(days, [(6, 0), (7, 2), (8, 2), (9, 1), (10, 0)])

        days = list((yield metrica.timespan(year=2010, month=2).iterate_averages()))[
            5:10
        ]
        self.assertEqual(days, [(6, None), (7, 7), (8, 3.83), (9, 1), (10, None)])

        chars = list((yield metrica.filter().iterate_counts("c")))
        self.assertEqual(chars, [("a", 3), ("b", 2)])

        chars = list((yield metrica.filter().iterate_averages("c")))
        self.assertEqual(chars, [("a", (12 + 7.5 + 0.16) / 3), ("b", 1.5)])

    @inlineCallbacks
    def test_nice_charts(self) -> Any:
        """Under "Nice charts": a pie, put where a site has its resources."""
        yield self.metrica.kick(gender="girl", age=18)
        root = Resource()
        root.putChild(b"gender", PieChart(self.metrica, axis="gender"))
        html = yield root.children[b"gender"].fragment("/gender")
        self.assertIn(b"girl", html)


class MigasPyTests(TestCase):
    """migas-py (github.com/nipreps/migas-py): the examples of its README."""

    def setUp(self) -> None:
        server = MigasServer(old=True, project="mgxd/migas-py")
        self.agent = RequestTraversalAgent(server.resource)
        self.addCleanup(migas.setup, "nothing is set up")

    @inlineCallbacks
    def test_examples(self) -> Any:
        """Under "Usage": setup, add_project and get_usage, with their answers."""
        migas.setup(
            endpoint="http://your-endpoint",
            agent=self.agent,
            reactor=Clock(),
            environ={"HOME": self.mktemp()},
        )
        called = migas.add_project("mgxd/migas-py", "0.0.1")
        self.agent.flush()
        self.assertEqual(
            (yield called),
            {
                "bad_versions": [],
                "cached": True,
                "latest_version": "0.0.4",
                "message": "",
                "success": True,
            },
        )
        called = migas.get_usage("mgxd/migas-py", "2022-07-01")
        self.agent.flush()
        self.assertEqual(
            (yield called),
            {"hits": 7, "message": "", "unique": False, "success": True},
        )
