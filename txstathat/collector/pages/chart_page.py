"""
Charts that are pages of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.web.server import Request
from twisted.web.template import tags

from txstathat.charts.chart import Chart
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.frame.layout import ASSETS
from txstathat.collector.pages.frame.paths import base_path
from txstathat.collector.pages.parts import PageParts

__all__ = ["CHART_FILES", "NO_CHARTS", "ChartPage", "respond_with"]

#: The style sheet and the scripts of pages with charts.
CHART_FILES = (
    tags.link(rel="stylesheet", href=f"{ASSETS}/charts.css"),
    tags.script(src=f"{ASSETS}/plotly.js", defer="defer"),
    tags.script(src=f"{ASSETS}/charts.js", defer="defer"),
)

#: What stands in the place of a chart if plotly is not installed.
NO_CHARTS = tags.p(
    "Charts need plotly. Install it on the server: ",
    tags.code("pip install 'txStatHat[charts]'"),
    class_="hint",
)


class ChartPage(GuardedPage):
    """
    A chart by itself, as a page, fragment, JSON or CSV.

    :param parts: what the page works with.
    :param policy: the Content-Security-Policy of pages with a chart.
    :param make: makes the chart, for the path below which browsers reach the collector.
    """

    def __init__(
        self,
        parts: PageParts,
        policy: str,
        make: Callable[[str], Awaitable[Chart]],
    ) -> None:
        super().__init__(parts)
        self._policy = policy
        self._make = make

    async def guarded(self, request: Request) -> bytes:
        return await respond_with(
            await self._make(base_path(request)), request, self._policy
        )


async def respond_with(chart: Chart, request: Request, policy: str) -> bytes:
    """
    Answer with a chart.

    :param chart: the chart.
    :param request: the request.
    :param policy: the Content-Security-Policy of pages with a chart.
    """
    body = await chart.respond(request)
    request.setHeader("Content-Security-Policy", policy)
    return body
