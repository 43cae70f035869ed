"""
The kinds of channels, and how a form becomes a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txstathat.collector.channels.mail import EmailChannel
from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    ChannelField,
    IChannel,
    check_channel_name,
    one_of,
)
from txstathat.collector.channels.ntfy import NtfyChannel
from txstathat.collector.channels.pagerduty import PagerDutyChannel
from txstathat.collector.channels.secret_files import check_secret_name
from txstathat.collector.channels.webhook import WebhookChannel

__all__ = ["FIELDS", "KINDS", "make_channel", "parse_channel"]

#: The class of each kind.
KINDS: dict[str, Any] = {
    "webhook": WebhookChannel,
    "email": EmailChannel,
    "ntfy": NtfyChannel,
    "pagerduty": PagerDutyChannel,
}

#: The settings of each kind.
FIELDS: dict[str, tuple[ChannelField, ...]] = {
    kind: made.fields for kind, made in KINDS.items()
}


def make_channel(definition: ChannelDefinition) -> IChannel:
    """
    Return the channel of a definition.

    :raises BadField: if the definition is not valid.
    """
    kind = one_of("kind", definition.kind, tuple(KINDS))
    check_channel_name(definition.name)
    if definition.secret:
        try:
            check_secret_name(definition.secret)
        except ValueError as error:
            raise BadField("secret", str(error)) from None
    for field in FIELDS[kind]:
        _check_text(field, definition.settings[field.name])
    made: IChannel = KINDS[kind](definition)
    return made


def parse_channel(given: Mapping[str, str]) -> ChannelDefinition:
    """
    Return the definition of a channel from a form: ``name``, ``kind``, ``secret``, and
    the fields of the kind.

    :param given: the fields, by their names.
    :raises BadField: if a field is missing, unknown or not valid.
    """
    kind = one_of("kind", given.get("kind", ""), tuple(KINDS))
    names = ("name", "kind", "secret", *(field.name for field in FIELDS[kind]))
    for name in given:
        if name not in names:
            raise BadField(name[:40], f"a channel of kind {kind} has no such field")
    settings = {
        field.name: given.get(field.name, "").strip() or field.default
        for field in FIELDS[kind]
    }
    definition = ChannelDefinition(
        given.get("name", "").strip(), kind, settings, given.get("secret", "").strip()
    )
    make_channel(definition)
    return definition


def _check_text(field: ChannelField, text: str) -> None:
    if field.required and not text:
        raise BadField(field.name, "is missing")
    if len(text) > field.longest:
        raise BadField(
            field.name, f"must have at most {field.longest} characters, not {len(text)}"
        )
    if not field.lines and not text.isprintable():
        raise BadField(field.name, "must be one line of printable characters")
