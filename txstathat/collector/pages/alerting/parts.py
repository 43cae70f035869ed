"""
What the pages for alerts work with.
"""

from __future__ import annotations

from dataclasses import dataclass

from txstathat.collector.alerts.delivery import NoticeDelivery
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.archive.archive import Archive
from txstathat.collector.channels.channels import Channels

__all__ = ["AlertParts"]


@dataclass(frozen=True, slots=True)
class AlertParts:
    """
    What the pages for alerts work with.

    :ivar archive: the stats.
    :ivar records: the alerts.
    :ivar delivery: delivers their notices.
    :ivar channels: the channels.
    :ivar webhooks: the operator's URLs.
    """

    archive: Archive
    records: AlertRecords
    delivery: NoticeDelivery
    channels: Channels
    webhooks: Webhooks
