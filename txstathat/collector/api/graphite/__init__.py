"""
What Grafana's Graphite data source asks for.
"""

from txstathat.collector.api.graphite.paths import name_of, path_of_name
from txstathat.collector.api.graphite.resource import GraphiteApi

__all__ = ["GraphiteApi", "name_of", "path_of_name"]
