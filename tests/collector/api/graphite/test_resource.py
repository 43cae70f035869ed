"""
``/graphite``: requests as Grafana sends them, and what is refused.

The requests are those of Grafana's published source, of 2019 (the browser's
``datasource.ts``, version 6) and of 2025 (the server's ``pkg/tsdb/graphite``, version
12).
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.archives import DAY, START, batch
from tests.fixtures.collectors import Collector
from txstathat import Count, Value
from txstathat.collector.api.graphite.evaluation import MAX_CALLS, MAX_SERIES
from txstathat.collector.api.graphite.resource import MAX_TARGETS
from txstathat.collector.api.graphite.stats import MAX_NODES

FORM = "application/x-www-form-urlencoded"


class GraphiteCase(SynchronousTestCase):
    """
    A collector with some stats.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START + 30)
        self.here = Collector(self)
        self.store(
            *(Count("web.get 2xx", n, START - 60 * n) for n in range(10)),
            Count("web.post 2xx", 5, START - 120),
            Count("web", 1),
            Value("load/é", 1, START),
            Value("load/é", 2, START),
        )

    def store(self, *points: Any) -> None:
        """Store points."""
        self.successResultOf(self.here.parts.archive.add(batch(*points)))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request with the access token; the status and the JSON of the answer."""
        headers.setdefault("Authorization", f"Bearer {self.here.token}")
        waiting = self.here.begin(method, f"/graphite{path}", body, **headers)
        # Large answers are made in pieces.
        self.clock.pump([0] * 20)
        self.here.agent.flush()
        response = self.successResultOf(waiting)
        self.assertEqual(
            response.headers.getRawHeaders("content-type"), ["application/json"]
        )
        return response.code, self.successResultOf(response.json())

    def get(self, path: str, **fields: Any) -> Any:
        """The JSON of the answer to a GET."""
        query = urlencode(fields, doseq=True)
        status, answer = self.ask("GET", f"{path}?{query}")
        self.assertEqual(status, 200, answer)
        return answer

    def post(self, path: str, form: str) -> Any:
        """The JSON of the answer to a form."""
        body = form.encode()
        status, answer = self.ask("POST", path, body, Content_Type=FORM)
        self.assertEqual(status, 200, answer)
        return answer

    def refused(self, words: str, path: str, **fields: Any) -> None:
        """A GET is refused with 400, and the reason."""
        query = urlencode(fields, doseq=True)
        status, answer = self.ask("GET", f"{path}?{query}")
        self.assertEqual((status, answer["status"]), (400, 400), answer)
        self.assertIn(words, answer["msg"])


class GrafanaTests(GraphiteCase):
    """
    What Grafana sends, byte for byte in the order of its own encoders.
    """

    def test_save_and_test(self) -> None:
        """The health check of the server draws a line."""
        answer = self.post(
            "/render",
            f"format=json&from={START - 3600}&maxDataPoints=100"
            f"&target=constantLine%28100%29&until={START}",
        )
        (line,) = answer
        self.assertEqual(line["target"], "100.0")
        self.assertEqual([value for value, _ in line["datapoints"]], [100] * 3)
        self.assertEqual(line["datapoints"][0][1], START - 3600)

    def test_save_and_test_in_the_browser(self) -> None:
        """Older versions search for everything."""
        self.assertEqual(
            self.get("/metrics/find", query="*"),
            [
                {
                    "text": "web",
                    "id": "web",
                    "allowChildren": 1,
                    "expandable": 1,
                    "leaf": 1,
                },
                {
                    "text": "load%2F%C3%A9",
                    "id": "load%2F%C3%A9",
                    "allowChildren": 0,
                    "expandable": 0,
                    "leaf": 1,
                },
            ],
        )

    def test_search(self) -> None:
        """The server searches by POST, with the times in the query."""
        path = f"/metrics/find?from={START - 3600}&until={START}"
        nodes = self.post(path, "query=web.%2A")
        self.assertEqual(
            [(node["text"], node["id"], node["expandable"]) for node in nodes],
            [("get%202xx", "web.get%202xx", 0), ("post%202xx", "web.post%202xx", 0)],
        )

    def test_panel_of_the_server(self) -> None:
        """A panel or an alert, whose form the server encodes in order of names."""
        target = "aliasByNode%28web.%2A%2C+1%29"
        answer = self.post(
            "/render",
            f"format=json&from={START - 240}&maxDataPoints=1200&target={target}"
            f"&until={START}",
        )
        times = [START - 180, START - 120, START - 60, START]
        self.assertEqual(
            [(one["target"], one["datapoints"]) for one in answer],
            [
                ("get%202xx", [[3 - n, t] for n, t in enumerate(times)]),
                ("post%202xx", [[5 * (t == START - 120), t] for t in times]),
            ],
        )

    def test_panel_of_the_browser(self) -> None:
        """Several targets, one of which refers to another, and relative times."""
        answer = self.post(
            "/render",
            "target=scale(web.get%25202xx%2C%202)"
            "&target=sumSeries(scale(web.get%25202xx%2C%202)%2C%20web.post%25202xx)"
            "&from=-5min&until=now&format=json&maxDataPoints=640",
        )
        self.assertEqual(
            [one["target"] for one in answer],
            [
                "scale(web.get%202xx,2)",
                "sumSeries(scale(web.get%202xx,2),web.post%202xx)",
            ],
        )
        points = {time: value for value, time in answer[1]["datapoints"]}
        self.assertEqual(points[START - 120], 2 * 2 + 5)

    def test_tags(self) -> None:
        """There are no tags."""
        self.assertEqual(self.get("/tags"), [])
        self.assertEqual(
            self.get("/tags/autoComplete/tags", expr=["a=b", "c=d"], limit=100), []
        )
        self.assertEqual(
            self.get("/tags/autoComplete/values", tag="a", valuePrefix="x"), []
        )
        self.assertEqual(self.get("/tags/name"), {"tag": "name", "values": []})

    def test_version_and_functions(self) -> None:
        """The version is text; each function has its parameters."""
        self.assertEqual(self.get("/version"), "1.1.10")
        functions = self.get("/functions")
        self.assertEqual(
            sorted(functions),
            [
                *("alias", "aliasByNode", "averageSeries", "constantLine"),
                *("keepLastValue", "movingAverage", "nonNegativeDerivative"),
                *("perSecond", "removeBelowValue", "scale", "sumSeries"),
                *("summarize", "timeShift"),
            ],
        )
        one = functions["aliasByNode"]
        self.assertEqual(one["function"], "aliasByNode(seriesList, *nodes)")
        self.assertEqual(
            one["params"],
            [
                {"name": "seriesList", "type": "seriesList", "required": True},
                {"name": "nodes", "type": "node", "required": True, "multiple": True},
            ],
        )
        self.assertEqual(self.get("/functions/aliasByNode"), one)

    def test_dashboard(self) -> None:
        """Every target of the example dashboard is drawn."""
        text = (ROOT / "examples" / "grafana-dashboard.json").read_text()
        targets = [
            target["target"]
            for panel in json.loads(text)["panels"]
            for target in panel["targets"]
        ]
        self.assertGreater(len(targets), 3)
        self.store(Count("page views", 3), Value("load", 0.5))
        for target in targets:
            target = target.replace("$stat", "page%20views")
            answer = self.get("/render", target=target, maxDataPoints=500)
            self.assertGreater(len(answer), 0, target)


class TokenTests(GraphiteCase):
    """
    Who can read.
    """

    def test_every_call_needs_a_token(self) -> None:
        """Without a token 401, with a wrong one 403, as Bearer or as user."""
        right = b64encode(f"{self.here.token}:".encode()).decode()
        wrong = b64encode(b"wrong:").decode()
        for path in (
            *("/version", "/functions", "/tags", "/metrics/find?query=*"),
            "/render?target=web",
        ):
            for expected, value in (
                (200, f"Basic {right}"),
                (200, f"Bearer {self.here.token}"),
                (401, "Basic !"),
                (403, f"Basic {wrong}"),
                (403, "Bearer wrong"),
            ):
                status, _ = self.ask("GET", path, Authorization=value)
                self.assertEqual(status, expected, (path, value[:6]))
            status, _ = self.here.ask("GET", f"/graphite{path}")
            self.assertEqual(status, 401)


class RenderTests(GraphiteCase):
    """
    Steps, times and limits.
    """

    def series(self, **fields: Any) -> Any:
        """The points of the only series."""
        (one,) = self.get("/render", **fields)
        return one["datapoints"]

    def test_steps(self) -> None:
        """Steps of minutes, hours or days: the finest that are stored and not many."""
        for since, step in (("-1h", 60), ("-25h", 60), ("-2d", 3600), ("-60d", DAY)):
            points = self.series(target="web.get%202xx", **{"from": since})
            self.assertEqual(points[1][1] - points[0][1], step, since)
            self.assertEqual(sum(value for value, _ in points), 45, since)

    def test_before_anything_is_stored(self) -> None:
        """Days that have expired are null."""
        points = self.series(target="web.get%202xx", **{"from": "-3y"})
        self.assertEqual(points[0][0], None)
        self.assertEqual(sum(value or 0 for value, _ in points), 45)
        self.assertEqual(len(points), 3 * 365)
        old = self.series(target="web", **{"from": "-4y", "until": "-2y"})
        self.assertEqual({value for value, _ in old}, {None})

    def test_max_data_points(self) -> None:
        """Counts are added up, and values averaged, in steps that do not move."""
        points = self.series(
            target="web.get%202xx", maxDataPoints=12, **{"from": "-1h"}
        )
        self.assertLessEqual(len(points), 12)
        self.assertEqual({time % 300 for _, time in points}, {0})
        self.assertEqual(sum(value for value, _ in points), 45)
        points = self.series(target="load%2F*", maxDataPoints=2, **{"from": "-1h"})
        self.assertEqual([value for value, _ in points], [None, 1.5])

    def test_nothing_found(self) -> None:
        """A path that no stat has, or a time to come, gives no series."""
        for fields in (
            {"target": "nothing.here"},
            {"target": "a..b"},
            {"target": "web.*", "from": "now+1h", "until": "now+2h"},
        ):
            self.assertEqual(self.get("/render", **fields), [])

    def test_refused(self) -> None:
        """A request that is not valid is refused with the reason."""
        for words, fields in (
            ("target: give 1 to", {}),
            ("target: give 1 to", {"target": ["web"] * (MAX_TARGETS + 1)}),
            ("'hitcount' is not known", {"target": "hitcount(web, '1h')"}),
            ("scale: factor is missing", {"target": "scale(web)"}),
            ("factor must be a number, not 'x'", {"target": "scale(web, 'x')"}),
            ("factor must be a constant", {"target": "scale(web, web)"}),
            ("too many arguments", {"target": "scale(web, 1, 2)"}),
            ("is no path and no function", {"target": "scale(1, 2)"}),
            ("func must be one of", {"target": "summarize(web, '1h', 'x')"}),
            ("windowSize must be from 1", {"target": "movingAverage(web, 0)"}),
            ("too short", {"target": "summarize(web, '1s')"}),
            ("format: 'png'", {"target": "web", "format": "png"}),
            ("'jsonp' is not known", {"target": "web", "jsonp": "x"}),
            ("is not before", {"target": "web", "from": "now", "until": "-1h"}),
            ("from: 'x' is no time", {"target": "web", "from": "x"}),
            ("maxDataPoints", {"target": "web", "maxDataPoints": "-1"}),
            ("more than 2000 days", {"target": "web", "from": "0"}),
        ):
            self.refused(words, "/render", **fields)
        self.refused("query: is missing", "/metrics/find")
        self.refused("use treejson", "/metrics/find", query="*", format="pickle")

    def test_calls_are_bounded(self) -> None:
        """Nested functions that evaluate their arguments twice end soon."""
        target = "constantLine(1)"
        for _ in range(18):
            target = f"timeShift({target}, '1min')"
        self.refused(f"at most {MAX_CALLS} functions", "/render", target=target)

    def test_series_and_nodes_are_bounded(self) -> None:
        """Too many series or points in a request are refused."""
        for first in range(0, MAX_SERIES + 1, 100):
            self.store(*(Count(f"many.{first + n}") for n in range(100)))
        self.refused(f"more than {MAX_SERIES} stats", "/render", target="many.*")
        self.refused("at most 200000 points", "/render", target="many.1*")
        target = "summarize(many.*0*, '1s')"
        words = "can make at most 1000000 points"
        self.refused(words, "/render", target=target, **{"from": "-2h"})
        some = {"target": "many.1[0-4]?", "from": "-1h"}
        self.assertEqual(len(self.get("/render", **some)), 50)
        found = self.get("/metrics/find", query="many.*")
        self.assertEqual(len(found), MAX_SERIES + 100)
        self.assertGreater(MAX_NODES, MAX_SERIES)

    def test_large_numbers(self) -> None:
        """What is beyond the largest float is null: JSON has no infinity."""
        points = self.series(
            target="scale(scale(web.get%202xx, 1e308), 10)", **{"from": "-5min"}
        )
        self.assertIn(None, [value for value, _ in points])

    def test_deleted(self) -> None:
        """A stat in the trash is not there."""
        stat = self.here.now(self.here.parts.archive.stat("web.post 2xx"))
        self.here.now(self.here.parts.archive.delete(stat.id))
        names = [one["target"] for one in self.get("/render", target="web.*")]
        self.assertEqual(names, ["web.get%202xx"])
