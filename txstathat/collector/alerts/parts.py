"""
What the API and the pages for alerts work with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.model import AlertDefinition, edit_alert, parse_alert
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.alerts.sending.delivery import NoticeDelivery
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.channels.channels import Channels

__all__ = ["AlertParts"]


@dataclass(frozen=True, slots=True)
class AlertParts:
    """
    What the API and the pages for alerts work with.

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

    async def create(self, fields: Mapping[str, str], stat: Stat) -> AlertDefinition:
        """
        Create an alert.

        :param fields: its fields.
        :param stat: its stat.
        :raises Refusal: if they are not valid, or there are too many alerts.
        :raises StoreError: if the store fails.
        """
        retention, check = self.archive.retention, self.webhooks.check
        alert = parse_alert(fields, stat, retention, check)
        await self.delivery.check_channels(alert)
        await self.records.create(alert)
        return alert

    async def edit(self, id: str, fields: Mapping[str, str]) -> AlertRecord:
        """
        Change an alert.

        :param id: its id.
        :param fields: the fields to change.
        :returns: the changed alert.
        :raises Refusal: if they are not valid, or the alert does not exist.
        :raises StoreError: if the store fails.
        """
        alert = (await self.records.get(id)).alert
        (stat,) = await self.archive.find([alert.stat_id])
        retention, check = self.archive.retention, self.webhooks.check

        def edited(alert: AlertDefinition) -> AlertDefinition:
            return edit_alert(alert, fields, stat, retention, check)

        await self.delivery.check_channels(edited(alert))
        return await self.records.edit(
            id, lambda record: replace(record, alert=edited(record.alert))
        )
