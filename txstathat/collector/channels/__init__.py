"""
Channels: web hooks, e-mail, ntfy and PagerDuty, through which alerts reach people.
"""

from txstathat.collector.channels.channels import (
    BadSettings,
    Channels,
    describe,
    make_test,
)
from txstathat.collector.channels.kinds import (
    FIELDS,
    KINDS,
    make_channel,
    parse_channel,
)
from txstathat.collector.channels.message import (
    DIGEST,
    FIRED,
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
)
from txstathat.collector.channels.records import (
    MAX_CHANNELS,
    ChannelRecords,
    ChannelStatus,
)
from txstathat.collector.channels.secret_files import SecretFiles
from txstathat.collector.channels.sending.outgoing import Outgoing

__all__ = [
    "DIGEST",
    "FIELDS",
    "FIRED",
    "KINDS",
    "MAX_CHANNELS",
    "RECOVERED",
    "TEST",
    "BadField",
    "BadSettings",
    "ChannelDefinition",
    "ChannelField",
    "ChannelMessage",
    "ChannelRecords",
    "ChannelStatus",
    "Channels",
    "DeliveryFailed",
    "IChannel",
    "Outgoing",
    "SecretFiles",
    "describe",
    "make_channel",
    "make_test",
    "parse_channel",
]
