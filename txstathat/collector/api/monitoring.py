"""
The resources for monitoring the collector itself: ``/healthz`` and ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from twisted.web.server import Request

from txstathat.collector.api.readers import Readers
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import BUCKETS, CollectorMetrics
from txstathat.collector.records import RecordReader, count_unreadable
from txstathat.collector.web.async_resource import AsyncResource
from txstathat.collector.web.resources import answer
from txstathat.errors import StoreError

__all__ = ["Healthz", "Metrics"]


class Healthz(AsyncResource):
    """
    ``/healthz``: 200 while the store can be written, otherwise 503 with the reason. It
    needs no token.

    Records that cannot be read are counted by kind, as ``unreadable_records``; they do
    not change the status, since everything else works.

    :param archive: the stats.
    :param records: the readers of the collector's records.
    """

    takes_body = False

    def __init__(
        self, archive: Archive, records: Sequence[RecordReader[Any]] = ()
    ) -> None:
        super().__init__()
        self._archive = archive
        self._records = records

    async def respond(self, request: Request) -> bytes:
        """
        Check that the store can be written and read.
        """
        try:
            await self._archive.health.check()
        except StoreError as error:
            raise Refusal(503, f"the store cannot be written: {error}") from None
        request.setHeader("Content-Type", "application/json")
        unreadable = count_unreadable(self._records)
        return answer(
            200, "ok", **({"unreadable_records": unreadable} if unreadable else {})
        )


class Metrics(AsyncResource):
    """
    ``/metrics``: the collector's own metrics, in the text format of Prometheus. It
    needs an access token (as Bearer token, or as user name of HTTP Basic), because the
    amount of traffic may be confidential. The names of stats are not in it.

    :param readers: checks access tokens.
    :param metrics: the metrics.
    :param archive: has the number of waiting writes.
    :param throttle: has the number of wrong keys.
    :param records: the readers of the collector's records.
    """

    takes_body = False

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
        text: bytes = exposition.generate_latest(_Registry(list(self._families())))
        return text

    def _families(self) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        metrics, waiting = self._metrics, self._archive.batcher.waiting
        for name, text, count in self._counters():
            yield CounterMetricFamily(f"txstathat_{name}", text, value=count)
        for name, text, label, counts in self._labelled_counters():
            counter = CounterMetricFamily(f"txstathat_{name}", text, labels=[label])
            for value, count in counts:
                counter.add_metric([value], count)
            yield counter
        for name, text, count in (
            ("waiting", "Requests that wait to be written.", waiting),
            ("connections", "Open connections.", metrics.connections),
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
            "How long it took to store the points of a request.",
            buckets=list(zip(bounds, accumulate(metrics.latencies), strict=True)),
            sum_value=metrics.seconds,
        )

    def _counters(self) -> list[tuple[str, str, float]]:
        """
        The counters without labels: their names, descriptions and counts.
        """
        metrics = self._metrics
        retries = self._archive.batcher.retries
        sent, failed = metrics.notices_sent, metrics.notices_failed
        return [
            ("points", "Points that were stored.", metrics.points),
            ("batches", "Requests whose points were stored.", metrics.batches),
            ("repeated", "Requests that repeated a stored one.", metrics.repeated),
            ("wrong_keys", "Wrong keys.", self._throttle.wrong),
            ("write_retries", "Writes that were repeated.", retries),
            ("connections_cut", "Connections closed to make room.", metrics.cut),
            ("bodies_cut", "Bodies dropped to make room.", metrics.bodies_cut),
            ("notices_sent", "Notices of alerts that were delivered.", sent),
            ("notices_failed", "Attempts to deliver a notice that failed.", failed),
            ("notices_dropped", "Notices that were given up.", metrics.notices_dropped),
        ]

    def _labelled_counters(
        self,
    ) -> Iterator[tuple[str, str, str, Iterable[tuple[str, float]]]]:
        """
        The counters with one label: their names, descriptions and labels, and the count
        for each value of the label.
        """
        metrics = self._metrics
        yield (
            "refusals",
            "Requests with points that were refused.",
            "status",
            [
                (str(status), count)
                for status, count in sorted(metrics.refusals.items())
            ],
        )
        if metrics.statsd is not None:
            yield (
                "statsd",
                "Datagrams of statsd, and what became of their lines and points.",
                "what",
                metrics.statsd().items(),
            )


class _Registry:
    """
    Has the one method of a registry that prometheus_client calls.
    """

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
