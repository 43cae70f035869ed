"""
The functions of targets: graphite-web's answers beside the collector's.

The answers of graphite-web 1.1.10 are in ``tests/fixtures/graphite_web.json``. With the
Python of an environment with graphite-web in ``TXSTATHAT_GRAPHITE_WEB`` they are made
again, and compared with the file too.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any
from urllib.parse import urlencode

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fixtures import ROOT
from tests.fixtures.archives import START, batch
from tests.fixtures.collectors import Collector
from txstathat import Count, Value

FIXTURES = ROOT / "tests" / "fixtures"
RECORDED = FIXTURES / "graphite_web.json"
SINCE, UNTIL = START - 3600, START - 60
TARGETS = (
    "web.get",
    "web.*",
    "web.{get,post}",
    "nothing.here",
    "load",
    "alias(web.get, 'hits')",
    "aliasByNode(web.*, 1)",
    "aliasByNode(web.*, -1, 0)",
    "aliasByNode(scale(web.*, 2), 1)",
    "aliasByNode(web.*, 7)",
    "sumSeries(web.*)",
    "sumSeries(web.get, load)",
    "sumSeries(scale(web.get,2),web.get,web.get)",
    'alias(sumSeries(web.*, load), "all")',
    "averageSeries(web.*, load)",
    "scale(web.get, 0.5)",
    "scale(load, -3)",
    "timeShift(web.get, '30min')",
    "timeShift(web.get, '-10min')",
    "timeShift(scale(load,10), '1h')",
    "sumSeries(web.get, timeShift(web.get, '5min'))",
    "summarize(web.get, '10min')",
    "summarize(web.get, '10min', 'max')",
    "summarize(load, '7min', 'average')",
    "summarize(load, '5min', 'last', true)",
    "summarize(web.*, '1h', 'count')",
    "summarize(load, '15min', 'min', alignToFrom=true)",
    "keepLastValue(load)",
    "keepLastValue(load, 2)",
    "nonNegativeDerivative(web.get)",
    "nonNegativeDerivative(load)",
    "nonNegativeDerivative(web.get, 5)",
    "perSecond(web.post)",
    "perSecond(web.post, 25)",
    "removeBelowValue(web.get, 3)",
    "removeBelowValue(load, 12.5)",
    "movingAverage(web.get, 5)",
    "movingAverage(load, '10min')",
    "movingAverage(sumSeries(web.*), 3)",
    "constantLine(100)",
    "constantLine(1.5)",
)


def points() -> dict[str, dict[int, int]]:
    """The points of each stat, by minute: counts, and values with gaps."""
    minutes = range(START - 3 * 3600, START, 60)
    return {
        "web.get": {t: t // 60 % 7 for t in minutes},
        "web.post": {t: t // 60 % 5 * 10 for t in minutes},
        "load": {t: t // 60 % 17 for t in minutes if t // 60 % 11 not in (2, 3, 4, 8)},
    }


def from_graphite_web(python: str) -> Any:
    """The answers of graphite-web."""
    stats = {
        path: {"empty": None if path == "load" else 0, "points": values}
        for path, values in points().items()
    }
    asked = {"stats": stats, "step": 60, "from": SINCE, "until": UNTIL}
    program = str(FIXTURES / "graphite_web.py")
    done = subprocess.run(
        [python, program],
        input=json.dumps({**asked, "targets": TARGETS}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


def rounded(answer: list[dict[str, Any]]) -> list[Any]:
    """An answer, with values that are equal but for the last digits."""
    return [
        (
            one["target"],
            [(v if v is None else round(v, 9), t) for v, t in one["datapoints"]],
        )
        for one in answer
    ]


class PeerTests(SynchronousTestCase):
    """
    The same data in both.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.here = Collector(self)
        for path, values in points().items():
            kind: Any = Value if path == "load" else Count
            self.successResultOf(
                self.here.parts.archive.add(
                    batch(*(kind(path, value, t) for t, value in values.items()))
                )
            )

    def answer(self, target: str) -> Any:
        """The collector's answer."""
        query = urlencode({"target": target, "from": SINCE, "until": UNTIL})
        status, answer = self.here.ask(
            "GET",
            f"/graphite/render?{query}",
            Authorization=f"Bearer {self.here.token}",
        )
        self.assertEqual(status, 200, answer)
        return answer

    def test_beside_graphite_web(self) -> None:
        """Every target has the names, times and values that graphite-web gives."""
        recorded = json.loads(RECORDED.read_text())
        self.assertEqual(set(recorded), set(TARGETS))
        for target in TARGETS:
            self.assertEqual(
                rounded(self.answer(target)), rounded(recorded[target]), target
            )

    def test_recorded(self) -> None:
        """The file has what graphite-web answers."""
        python = os.environ.get("TXSTATHAT_GRAPHITE_WEB")
        if not python:
            raise SkipTest("set TXSTATHAT_GRAPHITE_WEB to a Python with graphite-web")
        answers = from_graphite_web(python)
        if os.environ.get("TXSTATHAT_RECORD"):
            RECORDED.write_text(json.dumps(answers))
        self.assertEqual(answers, json.loads(RECORDED.read_text()))
