"""
The page with the bookshop's charts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from twisted.web.server import Request
from twisted.web.template import flattenString, tags

from txstathat.charts import (
    ChartAssets,
    LatestCountAndAverageChart,
    PieChart,
    TimelineChart,
    TimeserieChart,
    content_security_policy,
)
from txstathat.charts.chart import Chart
from txstathat.charts.html import fragment, page
from txstathat.metrica import AveragedMetrica
from txstathat.web import CoroutineResource

__all__ = ["ChartsPage"]

#: The seconds between two updates of a chart.
REFRESH = 2.0
_QUERIES = {
    "requests": "scale=minute",
    "genres": "scale=hour&back=24&measure=count",
    "payments": "measure=count",
    "timeline": "measure=count&year={0.year}&month={0.month}&day={0.day}",
}


class ChartsPage(CoroutineResource):
    """
    A page with a chart of each kind.

    :param path: the page's own path, such as ``'/charts'``.
    :param stats_url: the URL of the server's pages.
    :param requests: the Metrica of the shop's requests.
    :param orders: the Metrica of the shop's sales.
    """

    def __init__(
        self,
        path: str,
        stats_url: str,
        requests: AveragedMetrica,
        orders: AveragedMetrica,
    ) -> None:
        super().__init__()
        self._path = path
        self._stats_url = stats_url
        options: dict[str, Any] = {"refresh": REFRESH, "assets": f"{path}/assets"}
        self._charts: dict[str, Chart] = {
            "genres": TimeserieChart(
                orders, "genre", title="Books sold in 24 hours, by genre", **options
            ),
            "requests": LatestCountAndAverageChart(
                requests, title="Requests and milliseconds, last hour", **options
            ),
            "payments": PieChart(orders, "payment", title="All payments", **options),
            "timeline": TimelineChart(orders, title="Books sold today", **options),
        }
        self.putChild(b"assets", ChartAssets())
        self.putChild(b"", self)
        for name, chart in self._charts.items():
            self.putChild(name.encode("ascii"), chart)

    async def respond(self, request: Request) -> bytes:
        """
        Draw all charts, and return the page.
        """
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        request.setHeader("Content-Security-Policy", content_security_policy())
        request.setHeader("Cache-Control", "no-store")
        content = tags.div(
            tags.h1("The bookshop"),
            tags.p(
                tags.a("Stats", href=self._stats_url),
                " (sign in with the link in the terminal)",
            ),
        )
        today = datetime.now(UTC)
        for name, chart in self._charts.items():
            query = parse_qs(_QUERIES[name].format(today).encode("ascii"))
            table = await chart.table(query)
            content(fragment(table, f"{self._path}/{name}", REFRESH))
        html = page("The bookshop", content, f"{self._path}/assets")
        return b"<!DOCTYPE html>" + await flattenString(None, html)
