"""
Charts of a Metrica, for any Twisted site.
"""

from txstathat.charts.assets import ChartAssets, content_security_policy, style_hashes
from txstathat.charts.latest import LatestCountAndAverageChart
from txstathat.charts.pie import PieChart
from txstathat.charts.timeline import TimelineChart
from txstathat.charts.timeserie import TimeserieChart

__all__ = [
    "ChartAssets",
    "LatestCountAndAverageChart",
    "PieChart",
    "TimelineChart",
    "TimeserieChart",
    "content_security_policy",
    "style_hashes",
]
