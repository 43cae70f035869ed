"""
Charts of a Metrica, as resources for any Twisted site.
"""

from txstathat.charts.assets import ChartAssets, content_security_policy, style_hashes
from txstathat.charts.chart import Chart
from txstathat.charts.latest import LatestCountAndAverageChart
from txstathat.charts.metrica_chart import MetricaChart
from txstathat.charts.pie import PieChart
from txstathat.charts.timeline import TimelineChart
from txstathat.charts.timeserie import TimeserieChart

__all__ = [
    "Chart",
    "ChartAssets",
    "LatestCountAndAverageChart",
    "MetricaChart",
    "PieChart",
    "TimelineChart",
    "TimeserieChart",
    "content_security_policy",
    "style_hashes",
]
