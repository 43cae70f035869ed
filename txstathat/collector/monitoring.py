"""
How the collector itself is watched: ``/healthz`` and ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from twisted.web.server import Request

from txstathat.collector.archive import Archive
from txstathat.collector.doorman import Doorman
from txstathat.collector.export_api import Readers
from txstathat.collector.ingest import Refusal
from txstathat.collector.numbers import BUCKETS, Numbers
from txstathat.collector.replies import AsyncResource, answer

__all__ = ["Healthz", "Metrics"]


class Healthz(AsyncResource):
    """
    What is at ``/healthz``: 200 while the store answers, else 503. Anyone may ask.

    :param archive: whose store is asked.
    """

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        self._archive = archive

    async def respond(self, request: Request) -> bytes:
        """
        Ask the store.
        """
        await self._archive.store.definitions(["healthz"])
        request.setHeader("Content-Type", "application/json")
        return answer(200, "ok")


class Metrics(AsyncResource):
    """
    What is at ``/metrics``: the collector's own numbers, in the text format of
    Prometheus. It takes an access token (as Bearer, or as HTTP Basic user name): how
    much comes in is nobody else's business. No stat's name is in it.

    :param readers: who may read.
    :param numbers: what came in.
    :param archive: what waits to be written.
    :param doorman: how many wrong keys there were.
    """

    def __init__(
        self, readers: Readers, numbers: Numbers, archive: Archive, doorman: Doorman
    ) -> None:
        super().__init__()
        self._readers = readers
        self._numbers = numbers
        self._archive = archive
        self._doorman = doorman

    async def respond(self, request: Request) -> bytes:
        """
        Tell the numbers.
        """
        await self._readers.check_header(request)
        try:
            from prometheus_client import exposition
        except ImportError:
            raise Refusal(
                501,
                "this needs prometheus_client; install it with: "
                "pip install 'txStatHat[collector]'",
            ) from None
        request.setHeader("Content-Type", exposition.CONTENT_TYPE_LATEST)
        told: bytes = exposition.generate_latest(_Source(list(self._families())))
        return told

    def _families(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        numbers, gather = self._numbers, self._archive.gather
        for name, text, count in (
            ("points", "Points that were kept.", numbers.points),
            ("batches", "Requests that were kept.", numbers.batches),
            ("repeated", "Requests that had been kept before.", numbers.repeated),
            ("wrong_keys", "Keys that are not known.", self._doorman.wrong),
            ("write_retries", "Writes that were repeated.", gather.retries),
            ("connections_cut", "Connections cut for others.", numbers.cut),
            ("notices_told", "Alerts that were told.", numbers.notices_told),
            ("notices_failed", "Attempts that failed.", numbers.notices_failed),
            ("notices_dropped", "Alerts given up.", numbers.notices_dropped),
        ):
            yield CounterMetricFamily(f"txstathat_{name}", text, value=count)
        refusals = CounterMetricFamily(
            "txstathat_refusals",
            "Requests with points that were refused.",
            labels=["status"],
        )
        for status, count in sorted(numbers.refusals.items()):
            refusals.add_metric([str(status)], count)
        yield refusals
        for name, text, count in (
            ("waiting", "Requests that wait to be written.", gather.waiting),
            ("connections", "Connections that are open.", numbers.connections),
        ):
            yield GaugeMetricFamily(f"txstathat_{name}", text, value=count)
        bounds = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "txstathat_keep_seconds",
            "How long it took to keep the points of a request.",
            buckets=list(zip(bounds, accumulate(numbers.latencies), strict=True)),
            sum_value=numbers.seconds,
        )


class _Source:
    """
    What prometheus_client takes for a registry.
    """

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
