"""
Targets of any shape: an answer or a refusal, never a server error.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fixtures.archives import START, batch
from tests.fixtures.collectors import Collector
from txstathat import Count, Value
from txstathat.collector.api.graphite.functions import FUNCTIONS

PATHS = st.sampled_from(["*", "a", "a.*", "a.b", "{a,z}", "z", "none", "a..b", "?"])
CONSTANTS = st.sampled_from(
    [
        *("0", "-1", "1", "3", "0.5", "1e308", "-1e308", "1e-300", "9" * 14, "true"),
        *("'1min'", "'7s'", "'1h'", "'-2d'", "'100y'", "'0s'", "'sum'", "'last'"),
        *("'count'", "'x)'", "None", "false", "'average'", "alignToFrom=true"),
    ]
)
TARGETS = st.recursive(
    PATHS,
    lambda inner: st.builds(
        lambda name, args, more: f"{name}({', '.join([*args, *more])})",
        st.sampled_from(sorted(FUNCTIONS)),
        st.lists(inner, max_size=2),
        st.lists(CONSTANTS, max_size=2),
    ),
    max_leaves=4,
)
TIMES = st.sampled_from(
    [
        *("-1h", "-30s", "-1d", "-3d", "-400d", "-10y", "now", "now-5min", "0", "1"),
        *(str(START), str(START + 86_400), str(START - 7), "20140101"),
    ]
)


class AnyTargetTests(SynchronousTestCase):
    """
    A collector with counters and values, large ones too.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START + 30)
        self.here = Collector(self)
        points: list[Any] = [
            *(Count("a", n, START - 60 * n) for n in range(20)),
            *(Value("a.b", n, START - 300 * n) for n in range(9)),
            Value("z", 1.7e308, START),
            Value("z", -1.7e308, START - 60),
            Count("a.c", 2**62, START - 3600),
        ]
        self.successResultOf(self.here.parts.archive.add(batch(*points)))

    @given(TARGETS, TIMES, TIMES, st.sampled_from(["", "0", "1", "7", "1000"]))
    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def test_any(self, target: str, since: str, until: str, most: str) -> None:
        """Each series has numbers or null, at times that rise by equal steps."""
        fields = {"target": target, "from": since, "until": until}
        if most:
            fields["maxDataPoints"] = most
        waiting = self.here.begin(
            "GET",
            f"/graphite/render?{urlencode(fields)}",
            Authorization=f"Bearer {self.here.token}",
        )
        # Large answers are made in pieces.
        self.clock.pump([0] * 50)
        self.here.agent.flush()
        response = self.successResultOf(waiting)
        answer: Any = json.loads(self.successResultOf(response.content()))
        self.assertIn(response.code, (200, 400), answer)
        if response.code == 400:
            self.assertGreater(len(answer["msg"]), 10)
            return
        for one in answer:
            self.assertIsInstance(one["target"], str)
            times = [time for _, time in one["datapoints"]]
            self.assertLessEqual(
                len({after - before for before, after in pairwise(times)}),
                1,
            )
            for value, _ in one["datapoints"]:
                self.assertTrue(value is None or abs(value) < float("inf"))
