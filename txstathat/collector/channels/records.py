"""
Channels in the store: a record for each, under its name, and one for its last failure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from txstathat.collector.channels.kinds import FIELDS, KINDS, make_channel
from txstathat.collector.channels.model import (
    BadField,
    ChannelDefinition,
    check_channel_name,
)
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    check_fields,
    is_number,
    load_fields,
)
from txstathat.stores.interface import IStore

__all__ = ["MAX_CHANNELS", "RECORDS", "ChannelRecords", "ChannelStatus", "read_channel"]

#: The largest number of channels in a store.
MAX_CHANNELS = 50

#: The kind of the records.
RECORDS = "channel"

_STATUS = "channel status"
_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """
    How the last deliveries through a channel went.

    :ivar error: why the last failed attempt failed; ``''`` if none has.
    :ivar error_at: when that was, in Unix seconds.
    :ivar failing: whether nothing was delivered since.
    """

    error: str = ""
    error_at: float = 0.0
    failing: bool = False

    @classmethod
    def read(cls, id: str, text: str) -> ChannelStatus:
        """
        Parse a record.

        :param id: its id.
        :param text: its text.
        :raises BadRecord: if it is not valid, or a newer version wrote it.
        """
        fields = load_fields(text, ("error", "error_at", "failing"))
        if not (
            isinstance(fields["error"], str)
            and is_number(fields["error_at"], math.inf)
            and isinstance(fields["failing"], bool)
        ):
            raise BadRecord("is not valid: it has a field of the wrong type")
        return cls(**fields)

    @property
    def text(self) -> str:
        """
        The text to store.
        """
        return json.dumps(
            {
                "error": self.error[:_LONGEST_ERROR],
                "error_at": self.error_at,
                "failing": self.failing,
            }
        )


def read_channel(id: str, text: str) -> ChannelDefinition:
    """
    Parse the record of a channel.

    :param id: its id, which is the channel's name.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("kind", "settings", "secret"))
    kind, secret = fields["kind"], fields["secret"]
    if not isinstance(secret, str) or not isinstance(kind, str):
        raise BadRecord("is not valid: it has a field of the wrong type")
    if kind not in KINDS:
        raise BadRecord("has a kind that this version does not know")
    settings = check_fields(fields["settings"], [each.name for each in FIELDS[kind]])
    if not all(isinstance(value, str) for value in settings.values()):
        raise BadRecord("is not valid: it has a setting of the wrong type")
    definition = ChannelDefinition(id, kind, settings, secret)
    try:
        make_channel(definition)
    except BadField as error:
        # Only the name of the field: its value may be a secret.
        raise BadRecord(f"is not valid: its setting {error.field!r} is wrong") from None
    return definition


class ChannelRecords:
    """
    The channels of a store.

    Each method raises :class:`~txstathat.errors.StoreError` if the store fails.

    :param store: the store.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._channels = RecordReader(store, RECORDS, read_channel)
        self._statuses = RecordReader(store, _STATUS, ChannelStatus.read)
        self.record_readers = (self._channels, self._statuses)

    async def all(self) -> dict[str, ChannelDefinition]:
        """
        Return all channels by their names, sorted.
        """
        return (await self.all_and_unreadable())[0]

    async def all_and_unreadable(
        self,
    ) -> tuple[dict[str, ChannelDefinition], frozenset[str]]:
        """
        Return all channels by their names, sorted, and the names of those with a record
        that cannot be read.
        """
        texts = await self._store.records(RECORDS)
        found = self._channels.parse_all(texts)
        return dict(sorted(found.items())), frozenset(texts.keys() - found.keys())

    async def get(self, name: str) -> ChannelDefinition:
        """
        Return a channel.

        :raises Refusal: 404 if it does not exist.
        """
        found = await self._channels.get(name)
        if found is None:
            raise _unknown(name)
        return found

    async def create(self, channel: ChannelDefinition) -> None:
        """
        Store a new channel.

        :raises Refusal: 409 if there is one with this name; 429 if there are
            :data:`MAX_CHANNELS` channels.
        """
        if len(await self._store.records(RECORDS)) >= MAX_CHANNELS:
            raise Refusal(429, f"there are {MAX_CHANNELS} channels, which is the limit")
        check_channel_name(channel.name)
        text = _text_of(channel)
        if not await self._store.put_record(RECORDS, channel.name, text, was=None):
            raise Refusal(
                409,
                f"name: there is a channel {channel.name!r} already; remove it first, "
                "or choose another name",
            )

    async def edit(
        self, name: str, change: Callable[[ChannelDefinition], ChannelDefinition]
    ) -> None:
        """
        Change a channel.

        :param name: its name.
        :param change: takes what is stored and returns what to store, or raises
            :class:`~txstathat.collector.errors.Refusal`. It is called again if another
            collector changes the channel meanwhile.
        :raises Refusal: 404 if it does not exist, or its record cannot be read.
        """
        while True:
            was = await self._store.record(RECORDS, name)
            channel = None if was is None else self._channels.parse(name, was)
            if channel is None:
                raise _unknown(name)
            text = _text_of(change(channel))
            if await self._store.put_record(RECORDS, name, text, was=was):
                return

    async def delete(self, name: str) -> None:
        """
        Delete a channel, also if its record cannot be read.

        :raises Refusal: 404 if it does not exist.
        """
        if await self._store.record(RECORDS, name) is None:
            raise _unknown(name)
        await self._store.put_record(RECORDS, name, None)
        await self._store.put_record(_STATUS, name, None)

    async def statuses(self) -> dict[str, ChannelStatus]:
        """
        Return how the last deliveries went, by the names of the channels, as far as
        anything failed.
        """
        return await self._statuses.all()

    async def note(self, name: str, error: str, now: float) -> None:
        """
        Note the result of an attempt. Nothing is written if it is the same as before.

        :param name: the channel.
        :param error: why it failed; ``''`` if it was delivered.
        :param now: Unix seconds.
        """
        before = await self._statuses.get(name) or ChannelStatus()
        if error:
            error = error[:_LONGEST_ERROR]
            if before.failing and before.error == error:
                return
            after = ChannelStatus(error, now, True)
        elif before.failing:
            after = ChannelStatus(before.error, before.error_at, False)
        else:
            return
        await self._store.put_record(_STATUS, name, after.text)


def _text_of(channel: ChannelDefinition) -> str:
    return json.dumps(
        {
            "kind": channel.kind,
            "settings": dict(channel.settings),
            "secret": channel.secret,
        }
    )


def _unknown(name: str) -> Refusal:
    return Refusal(404, f"there is no channel with the name {name[:40]!r}")
