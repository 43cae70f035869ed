"""
Where the notices of an alert go: through channels, and to the operator's URL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from txstathat.collector.alerts.history import WEBHOOK
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.channels.channels import Channels
from txstathat.collector.channels.message import ChannelMessage, DeliveryFailed
from txstathat.collector.channels.model import ChannelDefinition
from txstathat.collector.channels.sending.hook_urls import origin_of

__all__ = ["KnownTargets", "Targets"]


@dataclass(frozen=True, slots=True)
class KnownTargets:
    """
    The targets that there are now.

    :ivar channels: the channels by their names.
    :ivar webhooks: the operator's URLs.
    :ivar unreadable: the names of channels with a record that a newer version wrote, or
        that is damaged. What is for them waits for a collector that can read it.
    """

    channels: Mapping[str, ChannelDefinition]
    webhooks: Webhooks
    unreadable: frozenset[str] = frozenset()

    def names(self, alert: AlertDefinition) -> tuple[str, ...]:
        """
        Return where the notices of an alert go: the names of channels, and
        :data:`~txstathat.collector.alerts.history.WEBHOOK`. An alert that names no
        channels has all of them, and the operator's first URL.
        """
        if alert.channels:
            names = [name for name in alert.channels if self.has(alert, name)]
            has_webhook = alert.webhook != ""
        else:
            names = sorted({*self.channels, *self.unreadable})
            has_webhook = True
        if has_webhook and self.webhooks.target(alert.webhook):
            names.append(WEBHOOK)
        return tuple(names)

    def has(self, alert: AlertDefinition, name: str) -> bool:
        """
        Return whether a target still exists.
        """
        if name == WEBHOOK:
            return bool(self.webhooks.target(alert.webhook))
        return name in self.channels or name in self.unreadable

    def key(self, alert: AlertDefinition, name: str) -> str:
        """
        Return what a target shares with others that go to the same receiver.
        """
        if name == WEBHOOK:
            return origin_of(self.webhooks.target(alert.webhook) or "//")
        return name


class Targets:
    """
    Delivers messages to targets.

    :param webhooks: the operator's URLs.
    :param channels: the channels.

    :ivar channels: the channels.
    """

    def __init__(self, webhooks: Webhooks, channels: Channels) -> None:
        self._webhooks = webhooks
        self.channels = channels

    async def known(self) -> KnownTargets:
        """
        Return the targets that there are now.

        :raises StoreError: if the store fails.
        """
        channels, unreadable = await self.channels.records.all_and_unreadable()
        return KnownTargets(channels, self._webhooks, unreadable)

    async def send(
        self,
        known: KnownTargets,
        alert: AlertDefinition,
        name: str,
        message: ChannelMessage,
    ) -> None:
        """
        Make one attempt to deliver a message.

        :param known: the targets.
        :param alert: the alert.
        :param name: one of :meth:`KnownTargets.names`.
        :param message: the message.
        :raises DeliveryFailed: if the attempt fails.
        :raises StatHatClosed: if :meth:`close` was called meanwhile.
        """
        if not known.has(alert, name):
            raise DeliveryFailed("it does not exist any more", permanent=True)
        if name == WEBHOOK:
            await self._webhooks.post(self._webhooks.target(alert.webhook), message)
        elif name in known.unreadable:
            raise DeliveryFailed("this version cannot read the channel's record")
        else:
            await self.channels.send(known.channels[name], message)

    async def close(self) -> None:
        """
        Make no more attempts. Those under way have a second to end.
        """
        closed = self._webhooks.close()
        await self.channels.close()
        await closed
