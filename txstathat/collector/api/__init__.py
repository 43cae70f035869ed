"""
The resources for reading stats, for alerts, and for monitoring the collector.
"""

from txstathat.collector.api.alerts import AlertsApi
from txstathat.collector.api.export import CommandLineApi, ExportApi, Readers
from txstathat.collector.api.graphite import GraphiteApi
from txstathat.collector.api.monitoring import Healthz, Metrics
from txstathat.collector.api.parameters import Parameters

__all__ = [
    "AlertsApi",
    "CommandLineApi",
    "ExportApi",
    "GraphiteApi",
    "Healthz",
    "Metrics",
    "Parameters",
    "Readers",
]
