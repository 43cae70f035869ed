"""
The resources for Grafana's Graphite data source, below ``/graphite``.

The calls are those of Graphite's render and metrics API
(https://graphite.readthedocs.io/en/latest/render_api.html,
https://graphite.readthedocs.io/en/latest/metrics_api.html), as far as Grafana uses
them.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.web.server import Request

from txstathat.collector.api.calls import Call, encode_pieces
from txstathat.collector.api.graphite.arguments import Range
from txstathat.collector.api.graphite.evaluation import Evaluation
from txstathat.collector.api.graphite.functions import FUNCTIONS
from txstathat.collector.api.graphite.paths import Node, Pattern
from txstathat.collector.api.graphite.series import TimeSeries, consolidate
from txstathat.collector.api.graphite.stats import StatFinder
from txstathat.collector.api.graphite.targets import MAX_TARGET, parse
from txstathat.collector.api.graphite.times import parse_time
from txstathat.collector.api.parameters import Parameters, no_path, path_of
from txstathat.collector.api.readers import Readers
from txstathat.collector.archive.archive import Archive
from txstathat.collector.errors import Refusal
from txstathat.collector.web.resources import Branch

__all__ = ["MAX_TARGETS", "VERSION", "GraphiteApi"]

#: The version of Graphite whose API this is. Grafana reads it.
VERSION = "1.1.10"
#: The most targets of a request.
MAX_TARGETS = 100

# These have no meaning here: nothing is cached, and there is only JSON.
_RENDER = (
    *("from", "until", "format", "maxDataPoints"),
    *("cacheTimeout", "noCache", "rawData", "local", "pretty"),
)
_FIND = ("query", "from", "until", "format", "local")
_TAGS = ("tag", "tagPrefix", "valuePrefix", "limit", "filter", "from", "until")


class GraphiteApi(Branch):
    """
    The calls that Grafana makes.

    :param archive: the stats.
    :param readers: checks access tokens.
    """

    def __init__(self, archive: Archive, readers: Readers) -> None:
        super().__init__()
        self._archive = archive

        def call(**methods: Any) -> Call:
            return Call(readers.check_header, **methods)

        metrics = Branch()
        metrics.putChild(b"find", call(GET=self._find, POST=self._find))
        self.putChild(b"metrics", metrics)
        self.putChild(b"render", call(GET=self._render, POST=self._render))
        self.putChild(b"version", call(GET=self._version))
        self.putChild(b"functions", call(GET=self._functions))
        self.putChild(b"tags", call(GET=self._tags))

    async def _render(self, request: Request) -> str:
        parameters = Parameters(request, _RENDER, "target")
        texts = parameters.repeated
        no_path(request, "read /graphite/render")
        form = parameters.fields.get("format", "json")
        if form != "json":
            raise Refusal(400, f"format: {form[:20]!r} is not known; use json")
        most = parameters.number("maxDataPoints")
        if not 1 <= len(texts) <= MAX_TARGETS:
            raise Refusal(
                400, f"target: give 1 to {MAX_TARGETS} targets, not {len(texts)}"
            )
        range = self._range(parameters)
        targets = [parse(text) for text in texts]
        evaluation = Evaluation(self._archive)
        found: list[TimeSeries] = []
        for target in targets:
            found += await evaluation.evaluate(target, range)
        return await encode_pieces(
            self._archive.timers,
            ((_series_json(one, range, most), len(one.values)) for one in found),
        )

    def _range(self, parameters: Parameters) -> Range:
        now = int(self._archive.store.clock.seconds())
        fields = parameters.fields
        start = parse_time(fields.get("from", "-1d"), now, "from")
        end = parse_time(fields.get("until", "now"), now, "until")
        if start >= end:
            raise Refusal(400, f"from, until: {start} is not before {end}")
        return Range(start, end)

    async def _find(self, request: Request) -> Any:
        parameters = Parameters(request, _FIND)
        no_path(request, "read /graphite/metrics/find")
        form = parameters.fields.get("format", "treejson")
        if form != "treejson":
            raise Refusal(400, f"format: {form[:20]!r} is not known; use treejson")
        query = parameters.text("query")
        if not 1 <= len(query) <= MAX_TARGET:
            raise Refusal(400, f"query: must have 1 to {MAX_TARGET} characters")
        above, dot, _ = query.rpartition(".")
        nodes = await StatFinder(self._archive).nodes(Pattern(query))
        return [_node_json(above + dot, node) for node in nodes]

    async def _version(self, request: Request) -> str:
        Parameters(request, ())
        no_path(request, "read /graphite/version")
        return json.dumps(VERSION)

    async def _functions(self, request: Request) -> Any:
        Parameters(request, ("grouped", "pretty"))
        path = path_of(request)
        if not path:
            return {name: one.to_json() for name, one in FUNCTIONS.items()}
        function = FUNCTIONS.get("/".join(path))
        if function is None:
            raise Refusal(404, "there is no such function; see /graphite/functions")
        return function.to_json()

    async def _tags(self, request: Request) -> Any:
        """
        Answer that there are no tags.
        """
        Parameters(request, _TAGS, "expr")
        path = path_of(request)
        if not path or path in (
            ["autoComplete", "tags"],
            ["autoComplete", "values"],
            ["findSeries"],
        ):
            return []
        if len(path) == 1:
            return {"tag": path[0], "values": []}
        raise Refusal(404, "read /graphite/tags")


def _series_json(one: TimeSeries, range: Range, most: int | None) -> dict[str, Any]:
    if most:
        # All series of a request get the same steps, if they had the same.
        length = max(range.end - range.start, one.end - one.start)
        factor = -(-length // (one.step * most)) if length > one.step * most else 1
        one = consolidate(one, one.step * factor)
    return {
        "target": one.name,
        "tags": {"name": one.name},
        "datapoints": one.points,
    }


def _node_json(above: str, node: Node) -> dict[str, Any]:
    return {
        "text": node.text,
        "id": above + node.text,
        "allowChildren": int(node.branch),
        "expandable": int(node.branch),
        "leaf": int(node.leaf),
    }
