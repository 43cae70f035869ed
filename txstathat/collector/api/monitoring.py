"""
How the collector itself is watched: ``/healthz`` and ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from twisted.web.server import Request

from txstathat.collector.api.export import Readers
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import BUCKETS, CollectorMetrics
from txstathat.collector.records import RecordReader, count_unreadable
from txstathat.collector.web.resources import AsyncResource, answer

__all__ = ["Healthz", "Metrics"]


class Healthz(AsyncResource):
    """
    What is at ``/healthz``: 200 while the store answers, else 503. Anyone may ask.

    Records that cannot be read are counted by kind, as ``unreadable_records``; they do
    not change the status, since everything else works.

    :param archive: whose store is asked.
    :param records: the readers of the collector's records.
    """

    def __init__(
        self, archive: Archive, records: Sequence[RecordReader[Any]] = ()
    ) -> None:
        super().__init__()
        self._archive = archive
        self._records = records

    async def respond(self, request: Request) -> bytes:
        """
        Ask the store.
        """
        await self._archive.store.definitions(["healthz"])
        request.setHeader("Content-Type", "application/json")
        unreadable = count_unreadable(self._records)
        return answer(
            200, "ok", **({"unreadable_records": unreadable} if unreadable else {})
        )


class Metrics(AsyncResource):
    """
    What is at ``/metrics``: the collector's own numbers, in the text format of
    Prometheus. It takes an access token (as Bearer, or as HTTP Basic user name): how
    much comes in is nobody else's business. No stat's name is in it.

    :param readers: who may read.
    :param metrics: what came in.
    :param archive: what waits to be written.
    :param throttle: how many wrong keys there were.
    :param records: the readers of the collector's records.
    """

    def __init__(
        self,
        readers: Readers,
        metrics: CollectorMetrics,
        archive: Archive,
        throttle: KeyThrottle,
        records: Sequence[RecordReader[Any]] = (),
    ) -> None:
        super().__init__()
        self._readers = readers
        self._metrics = metrics
        self._archive = archive
        self._throttle = throttle
        self._records = records

    async def respond(self, request: Request) -> bytes:
        """
        Tell the metrics.
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

        metrics, gather = self._metrics, self._archive.batcher
        for name, text, count in (
            ("points", "Points that were kept.", metrics.points),
            ("batches", "Requests that were kept.", metrics.batches),
            ("repeated", "Requests that had been kept before.", metrics.repeated),
            ("wrong_keys", "Keys that are not known.", self._throttle.wrong),
            ("write_retries", "Writes that were repeated.", gather.retries),
            ("connections_cut", "Connections cut for others.", metrics.cut),
            ("notices_sent", "Alerts that were told.", metrics.notices_sent),
            ("notices_failed", "Attempts that failed.", metrics.notices_failed),
            ("notices_dropped", "Alerts given up.", metrics.notices_dropped),
        ):
            yield CounterMetricFamily(f"txstathat_{name}", text, value=count)
        refusals = CounterMetricFamily(
            "txstathat_refusals",
            "Requests with points that were refused.",
            labels=["status"],
        )
        for status, count in sorted(metrics.refusals.items()):
            refusals.add_metric([str(status)], count)
        yield refusals
        for name, text, count in (
            ("waiting", "Requests that wait to be written.", gather.waiting),
            ("connections", "Connections that are open.", metrics.connections),
        ):
            yield GaugeMetricFamily(f"txstathat_{name}", text, value=count)
        unreadable = GaugeMetricFamily(
            "txstathat_unreadable_records",
            "Records in the store that cannot be read.",
            labels=["kind"],
        )
        for reader in self._records:
            unreadable.add_metric([reader.kind], reader.unreadable)
        yield unreadable
        bounds = [*map(str, BUCKETS), "+Inf"]
        yield HistogramMetricFamily(
            "txstathat_keep_seconds",
            "How long it took to keep the points of a request.",
            buckets=list(zip(bounds, accumulate(metrics.latencies), strict=True)),
            sum_value=metrics.seconds,
        )


class _Source:
    """
    What prometheus_client takes for a registry.
    """

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
