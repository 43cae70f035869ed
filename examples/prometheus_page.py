"""
A site whose counts Prometheus reads.

    pip install '.[prometheus]'
    METRICS_TOKEN=secret python examples/prometheus_page.py [port]
    curl -H 'Authorization: Bearer secret' http://127.0.0.1:PORT/metrics
"""

import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from txstathat.instruments import MeasuredResource, ReactorMeter
from txstathat.integrations.prometheus import MetricsResource, PrometheusStats


def main(reactor, port="0"):
    stats = PrometheusStats(prefix="shop_", kick_name="requests ms")

    pages = Resource()
    pages.putChild(b"", Data(b"Buy something.", "text/plain"))
    root = Resource()
    root.putChild(b"shop", MeasuredResource(pages, metrica=stats))
    root.putChild(b"metrics", MetricsResource(token=os.environ["METRICS_TOKEN"]))

    ReactorMeter(stats, interval=2, reactor=reactor).startService()
    listening = reactor.listenTCP(int(port), Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
