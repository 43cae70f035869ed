"""
Prometheus: counts that it can scrape, and its clients' metrics as counts.

Needs ``prometheus_client``: ``pip install 'txStatHat[prometheus]'``.
"""

from txstathat.integrations.prometheus.bridge import PrometheusBridge
from txstathat.integrations.prometheus.resource import MetricsResource
from txstathat.integrations.prometheus.stats import PrometheusStats

__all__ = ["MetricsResource", "PrometheusBridge", "PrometheusStats"]
