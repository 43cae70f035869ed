"""
The parts of a collector, and how they are put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime

from txstathat.collector.alerts.monitor import (
    AlertMonitor,
)
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.alerts.parts import AlertParts
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.api.alerts import AlertsApi
from txstathat.collector.api.channels import ChannelsApi
from txstathat.collector.api.export import CommandLineApi, ExportApi
from txstathat.collector.api.graphite import GraphiteApi
from txstathat.collector.api.monitoring import Healthz, Metrics
from txstathat.collector.api.readers import Readers
from txstathat.collector.api.trash import TrashApi
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.writing.cardinality import MAX_STATS
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.sessions import Sessions
from txstathat.collector.auth.shares import Shares
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.boards.records import BoardRecords
from txstathat.collector.channels.channels import Channels
from txstathat.collector.ingest.resource import IngestResource
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.pages import add_pages
from txstathat.collector.pages.assets import chart_policy
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.records import RecordReader
from txstathat.stores.interface import IStore

__all__ = ["CollectorParts", "build_collector"]


@dataclass(frozen=True, slots=True)
class CollectorParts:
    """
    The parts of a collector.

    :ivar root: the root resource, to which a program can add children.
    :ivar archive: the stats.
    :ivar keys: the keys.
    :ivar throttle: slows down clients with wrong keys.
    :ivar readers: checks access tokens.
    :ivar export: the export API, at ``/x``.
    :ivar command_line: the API of StatHat's command line, at ``/a1``.
    :ivar metrics: the collector's own metrics.
    :ivar sessions: the sessions of the web pages, and the one-time links.
    :ivar boards: the boards and the saved comparisons.
    :ivar shares: the shared links.
    :ivar alerts: the alerts.
    :ivar webhooks: delivers their notices to the operator's URLs.
    :ivar channels: the channels, which deliver them to people.
    :ivar monitor: evaluates them.
    """

    root: IngestResource
    archive: Archive
    keys: Keys
    throttle: KeyThrottle
    readers: Readers
    export: ExportApi
    command_line: CommandLineApi
    metrics: CollectorMetrics
    sessions: Sessions
    boards: BoardRecords
    shares: Shares
    alerts: AlertRecords
    webhooks: Webhooks
    channels: Channels
    monitor: AlertMonitor

    @property
    def record_readers(self) -> list[RecordReader[Any]]:
        """
        The readers of all kinds of records.
        """
        outages, channels = self.monitor.outages, self.channels
        owners = (
            self.keys,
            self.sessions,
            self.boards,
            self.shares,
            self.alerts,
            channels,
            outages,
            self.archive,
        )
        return [reader for owner in owners for reader in owner.record_readers]

    @property
    def pages(self) -> PageParts:
        """
        What the pages work with.
        """
        delivery = self.monitor.delivery
        return PageParts(
            archive=self.archive,
            keys=self.keys,
            sessions=self.sessions,
            readers=self.readers,
            throttle=self.throttle,
            boards=self.boards.boards,
            comparisons=self.boards.comparisons,
            shares=self.shares,
            alerting=AlertParts(
                self.archive, self.alerts, delivery, self.channels, self.webhooks
            ),
            chart_policy=chart_policy(),
        )

    async def check_records(self) -> None:
        """
        Read all records once, so that those which cannot be read are known.

        :raises StoreError: if the store fails.
        """
        for reader in self.record_readers:
            await reader.all()


def build_collector(
    store: IStore,
    retention: Mapping[str, float | None] | None = None,
    webhooks: Webhooks | None = None,
    timers: IReactorTime | None = None,
    channels: Channels | None = None,
    max_stats: int = MAX_STATS,
) -> CollectorParts:
    """
    Build a collector on an open store.

    :param store: the store.
    :param retention: as for :class:`~txstathat.collector.archive.archive.Archive`.
    :param webhooks: delivers the notices of alerts; by default there are none.
    :param timers: schedules what waits; by default the store's clock.
    :param channels: the channels; by default those in the store, without secrets and
        private addresses.
    :param max_stats: the largest number of stats.
    """
    timers = timers or store.clock
    channels = channels or Channels(store)
    archive = Archive(store, retention=retention, max_stats=max_stats, timers=timers)
    keys, throttle = Keys(store, timers), KeyThrottle(timers)
    metrics = CollectorMetrics()
    sessions, alerts = Sessions(store, keys), AlertRecords(store)
    boards, shares = BoardRecords(store), Shares(store)
    for follower in (keys, alerts, boards, shares):
        archive.followers.add(follower)
    readers, webhooks = Readers(keys, throttle), webhooks or Webhooks()
    parts = CollectorParts(
        root=IngestResource(archive.write, keys, throttle, metrics),
        archive=archive,
        keys=keys,
        throttle=throttle,
        readers=readers,
        export=ExportApi(archive, readers),
        command_line=CommandLineApi(archive, readers),
        metrics=metrics,
        sessions=sessions,
        boards=boards,
        shares=shares,
        alerts=alerts,
        webhooks=webhooks,
        channels=channels,
        monitor=AlertMonitor(archive, alerts, webhooks, metrics, channels=channels),
    )
    _add_resources(parts)
    return parts


def _add_resources(parts: CollectorParts) -> None:
    root, archive, readers = parts.root, parts.archive, parts.readers
    root.putChild(b"x", parts.export)
    root.putChild(b"a1", parts.command_line)
    root.putChild(b"graphite", GraphiteApi(archive, readers))
    records = parts.record_readers
    root.putChild(b"healthz", Healthz(archive, records))
    root.putChild(
        b"metrics", Metrics(readers, parts.metrics, archive, parts.throttle, records)
    )
    pages = parts.pages
    add_pages(root, pages)
    methods = AlertsApi(pages.alerting).methods
    parts.export.add("alerts", **methods)
    parts.command_line.add("alerts", **methods)
    trash = TrashApi(archive).methods
    parts.export.add("trash", **trash)
    parts.command_line.add("trash", **trash)
    parts.export.add("channels", **ChannelsApi(parts.channels).methods)
