"""
What a channel is: the interface of each kind, and the definition that is stored.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

from zope.interface import Attribute, Interface

from txstathat.collector.channels.message import ChannelMessage
from txstathat.collector.channels.sending.outgoing import Outgoing

__all__ = [
    "MAX_NAME",
    "BadField",
    "ChannelDefinition",
    "ChannelField",
    "IChannel",
    "check_channel_name",
    "one_of",
]

#: The largest number of characters in the name of a channel.
MAX_NAME = 64

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME - 1}}}")


class BadField(ValueError):
    """
    A field of a channel is not valid, or several are. The message says why, without a
    secret.

    :param field: the name of the field.
    :param why: why it is not valid.
    :param others: the same of more fields, by their names.

    :ivar field: the same as the parameter.
    :ivar problems: why each field is not valid, by its name.
    """

    def __init__(self, field: str, why: str, **others: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.problems = {field: why, **others}


@dataclass(frozen=True, slots=True)
class ChannelField:
    """
    A setting of a kind of channel.

    :ivar name: its name.
    :ivar help: what it is, in a sentence for people.
    :ivar default: its value if it is not given.
    :ivar required: whether it must be given.
    :ivar longest: the largest number of characters.
    :ivar choices: the possible values; empty if it can be any text.
    :ivar lines: whether it can have several lines.
    :ivar hidden: whether it may hold a secret: it is not shown after it was stored.
    """

    name: str
    help: str
    default: str = ""
    required: bool = False
    longest: int = 255
    choices: tuple[str, ...] = ()
    lines: bool = False
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class ChannelDefinition:
    """
    A channel, as it is stored.

    :ivar name: its name, which is unique in a store.
    :ivar kind: one of :data:`~txstathat.collector.channels.kinds.KINDS`.
    :ivar settings: its settings, by the names of the kind's fields. Addresses of hooks
        in them may be secrets.
    :ivar secret: the name of the file with its secret; ``''`` without one.
    """

    name: str
    kind: str
    settings: Mapping[str, str] = field(repr=False)
    secret: str = ""


class IChannel(Interface):
    """
    A kind of channel. It is called with a :class:`ChannelDefinition`, and raises
    :class:`BadField` if one of the settings is not valid.
    """

    host: str = Attribute("The host to which it connects, and its secret is sent.")
    address: str = Attribute("Where it goes, for pages and logs: no secret is in it.")
    encrypted: bool = Attribute("Whether its connections use TLS.")

    def send(
        message: ChannelMessage, outgoing: Outgoing, secret: str
    ) -> Awaitable[None]:
        """
        Make one attempt to deliver a message.

        :param message: the message.
        :param outgoing: makes the connections.
        :param secret: the channel's secret; ``''`` without one.
        :returns: an awaitable of ``None``.
        :raises DeliveryFailed: if the attempt fails.
        :raises StatHatClosed: if ``outgoing`` was closed meanwhile.
        """


def check_channel_name(name: str) -> str:
    """
    Check the name of a channel.

    :returns: the name.
    :raises BadField: if it is not valid.
    """
    if not _NAME.fullmatch(name):
        raise BadField(
            "name",
            f"must be of 1 to {MAX_NAME} letters, digits, dots, hyphens and "
            f"underscores, and begin with a letter or digit, not {name[:40]!r}",
        )
    return name


def one_of(field: str, value: str, choices: tuple[str, ...]) -> str:
    """
    Check a setting that is a choice.

    :raises BadField: if it is none of the choices.
    """
    if value not in choices:
        raise BadField(
            field, f"must be one of {', '.join(choices)}, not {value[:40]!r}"
        )
    return value
