"""
Web hooks: a message is posted to a URL, with a body and headers from templates.
"""

from __future__ import annotations

import json
import re

from zope.interface import implementer

from txstathat.collector.channels.message import ChannelMessage
from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    ChannelField,
    IChannel,
)
from txstathat.collector.channels.sending.hook_urls import (
    MAX_URL,
    check_hook_url,
    host_of,
    mask_url,
)
from txstathat.collector.channels.sending.outgoing import Outgoing
from txstathat.collector.channels.services.template import (
    check_template,
    fill_json,
    fill_line,
    fill_text,
    names_secret,
    values_of,
)

__all__ = ["MAX_BODY", "MAX_HEADER_LINES", "WebhookChannel", "post_details"]

#: The largest number of characters in the template of a body.
MAX_BODY = 10_000
#: The largest number of headers of a web hook.
MAX_HEADER_LINES = 20

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# These belong to the connection, and are set by the client.
_RESERVED = ("connection", "content-length", "host", "te", "transfer-encoding")
_JSON = "application/json"


def _parse_headers(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_HEADER_LINES:
        raise BadField("headers", f"must be at most {MAX_HEADER_LINES} lines")
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name.strip()):
            raise BadField("headers", f"line {number} must be like Name: value")
        name, value = name.strip(), value.strip()
        if name.lower() in _RESERVED:
            raise BadField("headers", f"line {number}: {name} cannot be set")
        if name.lower() in map(str.lower, headers):
            raise BadField("headers", f"line {number}: {name} is given twice")
        if not value.isascii() or not value.isprintable():
            raise BadField("headers", f"line {number} must be printable ASCII")
        try:
            headers[name] = check_template(value, is_json=False)
        except ValueError as error:
            raise BadField("headers", f"line {number} {error}") from None
    return headers


async def post_details(
    outgoing: Outgoing, url: str, message: ChannelMessage, *, trusted: bool = False
) -> None:
    """
    Post a message as the JSON that a web hook without a template gets.

    :param outgoing: makes the connection.
    :param url: where to.
    :param message: the message.
    :param trusted: as for
        :meth:`~txstathat.collector.channels.sending.outgoing.Outgoing.post`.
    """
    headers = {"Content-Type": _JSON, "Idempotency-Key": message.id}
    body = json.dumps(message.details, allow_nan=False).encode("ascii")
    await outgoing.post(url, body, headers, trusted=trusted)


@implementer(IChannel)
class WebhookChannel:
    """
    A web hook.

    :param definition: the channel.
    """

    fields = (
        ChannelField(
            "url",
            "The URL to post to. ${secret} stands for the secret.",
            required=True,
            longest=MAX_URL,
            hidden=True,
        ),
        ChannelField(
            "body",
            'The template of the body, such as {"text": "${text}"}; by default all '
            "of the message as JSON.",
            longest=MAX_BODY,
            lines=True,
            hidden=True,
        ),
        ChannelField(
            "headers",
            "Headers, one on each line, such as Authorization: Bearer ${secret}.",
            longest=4_000,
            lines=True,
            hidden=True,
        ),
    )

    def __init__(self, definition: ChannelDefinition) -> None:
        settings = definition.settings
        self._url, self._body = settings["url"], settings["body"]
        try:
            check_template(check_hook_url(self._url), is_json=False)
        except ValueError as error:
            raise BadField("url", str(error)) from None
        self._headers = _parse_headers(settings["headers"])
        given = {name.lower(): value for name, value in self._headers.items()}
        content_type = given.get("content-type", _JSON).partition(";")[0].strip()
        self._is_json = content_type.lower() == _JSON
        try:
            check_template(self._body, is_json=self._is_json and self._body != "")
        except ValueError as error:
            raise BadField("body", str(error)) from None
        templates = (self._url, self._body, *self._headers.values())
        if definition.secret == "" and any(map(names_secret, templates)):
            raise BadField("secret", "a template names the secret, and there is none")
        self.host = host_of(self._url)
        self.address = mask_url(self._url)
        self.encrypted = self._url.lower().startswith("https:")

    async def send(
        self, message: ChannelMessage, outgoing: Outgoing, secret: str
    ) -> None:
        """
        See :meth:`~txstathat.collector.channels.model.IChannel.send`.
        """
        values = values_of(message, secret)
        headers = {"Content-Type": _JSON, "Idempotency-Key": message.id}
        for name, value in self._headers.items():
            # The names of headers have no case.
            default = {known.lower(): known for known in headers}.get(
                name.lower(), name
            )
            headers[default] = fill_line(value, values)
        if self._body == "":
            body = json.dumps(message.details, allow_nan=False)
        elif self._is_json:
            body = fill_json(self._body, values)
        else:
            body = fill_text(self._body, values)
        url = fill_line(self._url, values, in_url=True)
        await outgoing.post(url, body.encode("utf-8"), headers)
