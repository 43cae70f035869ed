"""
The kinds of channels, and how a form becomes a channel or changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    ChannelField,
    IChannel,
    check_channel_name,
    one_of,
)
from txstathat.collector.channels.secret_files import check_secret_name
from txstathat.collector.channels.services.mail import EmailChannel
from txstathat.collector.channels.services.ntfy import NtfyChannel
from txstathat.collector.channels.services.pagerduty import PagerDutyChannel
from txstathat.collector.channels.services.webhook import WebhookChannel

__all__ = ["FIELDS", "KINDS", "edit_channel", "make_channel", "parse_channel"]

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


def edit_channel(
    channel: ChannelDefinition, given: Mapping[str, str]
) -> ChannelDefinition:
    """
    Return a channel with some of its settings changed. Its name and its kind stay the
    same.

    :param channel: the channel.
    :param given: the fields to change, as for :func:`parse_channel`.
    :raises BadField: as for :func:`parse_channel`. Also if the host changes, and a
        hidden setting does not: it may be a secret, which is not for another host.
    """
    same = {"name": channel.name, "kind": channel.kind}
    for name, value in same.items():
        if given.get(name, value) != value:
            raise BadField(name, "cannot be changed; add another channel")
    stored = {**channel.settings, "secret": channel.secret}
    edited = parse_channel({**stored, **given, **same})
    if make_channel(edited).host == make_channel(channel).host:
        return edited
    problems = {
        field.name: "type it again"
        + ("" if field.required else ", or remove it")
        + ": it may be a secret, and the host is another one now"
        for field in FIELDS[channel.kind]
        if field.hidden and field.name not in given and channel.settings[field.name]
    }
    if problems:
        (first, why), *others = problems.items()
        raise BadField(first, why, **dict(others))
    return edited


def _check_text(field: ChannelField, text: str) -> None:
    if field.required and not text:
        raise BadField(field.name, "is missing")
    if len(text) > field.longest:
        raise BadField(
            field.name, f"must have at most {field.longest} characters, not {len(text)}"
        )
    if not field.lines and not text.isprintable():
        raise BadField(field.name, "must be one line of printable characters")
