"""
The bookshop's charts on one page.
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
from txstathat.cli.demo.page import AsyncPage
from txstathat.metrica import AveragedMetrica

__all__ = ["Overview"]

#: Every how many seconds the charts ask for fresh numbers.
REFRESH = 2.0
_QUERIES = {
    "requests": "scale=minute",
    "genres": "scale=hour&back=24&measure=count",
    "payments": "measure=count",
    "timeline": "measure=count&year={0.year}&month={0.month}&day={0.day}",
}


class Overview(AsyncPage):
    """
    A page with a chart of each kind, to be hung in at a path of its own.

    :param path: that path, such as ``'/charts'``.
    :param stats: where the collector's pages are.
    :param requests: what was asked of the site.
    :param orders: what was sold.
    """

    def __init__(
        self, path: str, stats: str, requests: AveragedMetrica, orders: AveragedMetrica
    ) -> None:
        super().__init__()
        self._path = path
        self._stats = stats
        options: dict[str, Any] = {"refresh": REFRESH, "assets": f"{path}/assets"}
        self._charts: dict[str, Chart] = {
            "genres": TimeserieChart(
                orders, "genre", title="Books sold in 24 hours, by genre", **options
            ),
            "requests": LatestCountAndAverageChart(
                requests, title="Requests of the last hour, and milliseconds", **options
            ),
            "payments": PieChart(orders, "payment", title="Payments of all", **options),
            "timeline": TimelineChart(orders, title="Books sold today", **options),
        }
        self.putChild(b"assets", ChartAssets())
        self.putChild(b"", self)
        for name, chart in self._charts.items():
            self.putChild(name.encode("ascii"), chart)

    async def made(self, request: Request) -> bytes:
        """
        See :meth:`.AsyncPage.made`.
        """
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        request.setHeader("Content-Security-Policy", content_security_policy())
        request.setHeader("Cache-Control", "no-store")
        content = tags.div(
            tags.h1("The bookshop"),
            tags.p(tags.a("Its stats", href=self._stats), " (sign in by the link)"),
        )
        today = datetime.now(UTC)
        for name, chart in self._charts.items():
            query = parse_qs(_QUERIES[name].format(today).encode("ascii"))
            table = await chart.table(query)
            content(fragment(table, f"{self._path}/{name}", REFRESH))
        html = page("The bookshop", content, f"{self._path}/assets")
        return b"<!DOCTYPE html>" + await flattenString(None, html)
