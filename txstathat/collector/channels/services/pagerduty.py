"""
PagerDuty: an incident is triggered and resolved, with its Events API v2
(https://developer.pagerduty.com/docs/events-api-v2/trigger-events/).
"""

from __future__ import annotations

import json
from typing import Any

from zope.interface import implementer

from txstathat.collector.channels.message import (
    DIGEST,
    RECOVERED,
    TEST,
    ChannelMessage,
    DeliveryFailed,
)
from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    ChannelField,
    IChannel,
    one_of,
)
from txstathat.collector.channels.sending.outgoing import Outgoing

__all__ = ["PagerDutyChannel"]

_HOSTS = {"us": "events.pagerduty.com", "eu": "events.eu.pagerduty.com"}
_SEVERITIES = ("critical", "error", "warning", "info")
# PagerDuty's own limit.
_MAX_SUMMARY = 1_024


@implementer(IChannel)
class PagerDutyChannel:
    """
    A service of PagerDuty. The secret is its integration key.

    :param definition: the channel.
    """

    fields = (
        ChannelField(
            "region",
            "Where the account is: us or eu.",
            default="us",
            choices=tuple(_HOSTS),
        ),
        ChannelField(
            "severity",
            "The severity of the incidents.",
            default="critical",
            choices=_SEVERITIES,
        ),
        ChannelField(
            "source", "What PagerDuty shows as the source.", default="txStatHat"
        ),
    )

    def __init__(self, definition: ChannelDefinition) -> None:
        settings = definition.settings
        self.host = _HOSTS[one_of("region", settings["region"], tuple(_HOSTS))]
        self._severity = one_of("severity", settings["severity"], _SEVERITIES)
        self._source = settings["source"]
        if not self._source.strip():
            raise BadField("source", "must not be empty")
        if definition.secret == "":
            raise BadField("secret", "is missing: it is the integration key")
        self.address = f"https://{self.host}"
        self.encrypted = True

    async def send(
        self, message: ChannelMessage, outgoing: Outgoing, secret: str
    ) -> None:
        """
        See :meth:`~txstathat.collector.channels.model.IChannel.send`. A test triggers
        an incident and resolves it.
        """
        if message.event == DIGEST:
            raise DeliveryFailed("PagerDuty takes no digest", permanent=True)
        if message.event != RECOVERED:
            await self._post(outgoing, self._trigger(message, secret))
        if message.event in (RECOVERED, TEST):
            resolve = {
                "routing_key": secret,
                "dedup_key": message.key,
                "event_action": "resolve",
            }
            await self._post(outgoing, resolve)

    def _trigger(self, message: ChannelMessage, secret: str) -> dict[str, Any]:
        return {
            "payload": {
                "summary": message.text[:_MAX_SUMMARY],
                "timestamp": message.time,
                "source": self._source,
                "severity": self._severity,
                "custom_details": dict(message.details),
            },
            "routing_key": secret,
            "dedup_key": message.key,
            "event_action": "trigger",
            "client": "txStatHat",
        }

    async def _post(self, outgoing: Outgoing, event: dict[str, Any]) -> None:
        await outgoing.post(
            f"{self.address}/v2/enqueue",
            json.dumps(event, allow_nan=False).encode("ascii"),
            {"Content-Type": "application/json"},
        )
