"""
ntfy: a message is published to a topic (https://docs.ntfy.sh/publish/#publish-as-json).
"""

from __future__ import annotations

import json
import re

from zope.interface import implementer

from txstathat.collector.channels.message import FIRED, RECOVERED, ChannelMessage
from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    ChannelField,
    IChannel,
    one_of,
)
from txstathat.collector.channels.sending.hook_urls import (
    MAX_URL,
    check_hook_url,
    host_of,
    mask_url,
    split_url,
)
from txstathat.collector.channels.sending.outgoing import Outgoing

__all__ = ["NtfyChannel"]

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PRIORITIES = ("1", "2", "3", "4", "5")
_TAGS = {FIRED: ["warning"], RECOVERED: ["white_check_mark"]}
# ntfy makes an attachment of a longer message.
_MAX_BYTES = 4_000
_USUAL = 3


@implementer(IChannel)
class NtfyChannel:
    """
    A topic of ntfy. The secret is an access token, if the server wants one.

    :param definition: the channel.
    """

    fields = (
        ChannelField("topic", "The topic.", required=True, longest=64, hidden=True),
        ChannelField(
            "server", "The server.", default="https://ntfy.sh", longest=MAX_URL
        ),
        ChannelField(
            "priority",
            "The priority when an alert fires, from 1 to 5.",
            default="4",
            choices=_PRIORITIES,
        ),
    )

    def __init__(self, definition: ChannelDefinition) -> None:
        settings = definition.settings
        self._topic = settings["topic"]
        if not _TOPIC.fullmatch(self._topic):
            raise BadField(
                "topic", "must be of 1 to 64 letters, digits, hyphens and underscores"
            )
        try:
            self._server = check_hook_url(settings["server"]).rstrip("/")
        except ValueError as error:
            raise BadField("server", str(error)) from None
        if split_url(self._server)[1] != "/":
            raise BadField("server", "must be a URL without a path or a query")
        self._priority = int(one_of("priority", settings["priority"], _PRIORITIES))
        self.host = host_of(self._server)
        # The topic is as good as a password.
        self.address = mask_url(f"{self._server}/{self._topic}")
        self.encrypted = self._server.lower().startswith("https:")

    async def send(
        self, message: ChannelMessage, outgoing: Outgoing, secret: str
    ) -> None:
        """
        See :meth:`~txstathat.collector.channels.model.IChannel.send`.
        """
        text = message.text.encode("utf-8")[:_MAX_BYTES].decode("utf-8", "ignore")
        body = {
            "topic": self._topic,
            "message": text,
            "title": message.title,
            "tags": _TAGS.get(message.event, []),
            "priority": self._priority if message.event == FIRED else _USUAL,
        }
        headers = {"Content-Type": "application/json"}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        await outgoing.post(self._server, json.dumps(body).encode("ascii"), headers)
