"""
Channels, for whatever manages them or sends through them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txstathat.collector.channels.kinds import (
    edit_channel,
    make_channel,
    parse_channel,
)
from txstathat.collector.channels.message import TEST, ChannelMessage, DeliveryFailed
from txstathat.collector.channels.model import BadField, ChannelDefinition
from txstathat.collector.channels.records import ChannelRecords, ChannelStatus
from txstathat.collector.channels.secret_files import SecretFiles
from txstathat.collector.channels.sending.outgoing import Outgoing
from txstathat.collector.errors import Refusal
from txstathat.stores.interface import IStore

__all__ = ["Channels", "describe", "make_test"]


def describe(
    definition: ChannelDefinition, status: ChannelStatus | None = None
) -> dict[str, Any]:
    """
    Return what can be shown of a channel: nothing that could be a secret.

    :param definition: the channel.
    :param status: how the last deliveries went.
    :returns: ``name``, ``kind``, ``address`` (masked), ``secret`` (the name of its
        file), ``failing``, ``last_error`` and ``last_error_at`` (Unix seconds; both
        ``None`` if nothing failed).
    """
    status = status or ChannelStatus()
    return {
        "name": definition.name,
        "kind": definition.kind,
        "address": make_channel(definition).address,
        "secret": definition.secret,
        "failing": status.failing,
        "last_error": status.error or None,
        "last_error_at": int(status.error_at) if status.error else None,
    }


class BadSettings(Refusal):
    """
    Settings of a channel are not valid. The message begins with the name of the first.

    :param error: what is not valid.

    :ivar problems: why each field is not valid, by its name.
    """

    def __init__(self, error: BadField) -> None:
        super().__init__(400, str(error))
        self.problems = error.problems


class Channels:
    """
    The channels of a collector.

    :param store: stores them.
    :param outgoing: makes their connections.
    :param secret_files: reads their secrets.

    :ivar records: the channels in the store.
    :ivar secret_files: the same as the parameter.
    """

    def __init__(
        self,
        store: IStore,
        outgoing: Outgoing | None = None,
        secret_files: SecretFiles | None = None,
    ) -> None:
        self.records = ChannelRecords(store)
        self.record_readers = self.records.record_readers
        self.outgoing = outgoing or Outgoing()
        self.secret_files = secret_files or SecretFiles()
        self._clock: IReactorTime = store.clock

    async def list(self) -> list[dict[str, Any]]:
        """
        Return all channels, sorted by their names, as
        :func:`~txstathat.collector.channels.channels.describe` does.

        :raises StoreError: if the store fails.
        """
        statuses = await self.records.statuses()
        return [
            describe(definition, statuses.get(name))
            for name, definition in (await self.records.all()).items()
        ]

    async def show(self, name: str) -> dict[str, Any]:
        """
        Return one channel, as
        :func:`~txstathat.collector.channels.channels.describe` does.

        :raises Refusal: 404 if it does not exist.
        :raises StoreError: if the store fails.
        """
        definition = await self.records.get(name)
        return describe(definition, (await self.records.statuses()).get(name))

    async def create(self, fields: Mapping[str, str]) -> ChannelDefinition:
        """
        Create a channel.

        :param fields: the fields of a form: ``name``, ``kind``, ``secret`` and the
            fields of the kind (:data:`~txstathat.collector.channels.kinds.FIELDS`).
        :raises BadSettings: if a field is not valid.
        :raises Refusal: 409 if the name is in use, 429 if there are too many.
        :raises StoreError: if the store fails.
        """
        definition = self._checked(lambda: parse_channel(fields))
        await self.records.create(definition)
        return definition

    async def edit(self, name: str, fields: Mapping[str, str]) -> None:
        """
        Change some settings of a channel.

        :param name: the channel.
        :param fields: the fields to change, as for :meth:`create`. A hidden one is not
            shown anywhere, so if the host changes it must be given too.
        :raises BadSettings: as for :meth:`create`.
        :raises Refusal: 404 if the channel does not exist.
        :raises StoreError: if the store fails.
        """
        await self.records.edit(
            name, lambda channel: self._checked(lambda: edit_channel(channel, fields))
        )

    def _checked(self, make: Callable[[], ChannelDefinition]) -> ChannelDefinition:
        """
        Return what a function makes of a form, if this collector can send there.
        """
        try:
            definition = make()
            self._check_reach(definition)
        except BadField as error:
            raise BadSettings(error) from None
        if definition.secret:
            self._check_secret(definition)
        return definition

    def _check_reach(self, definition: ChannelDefinition) -> None:
        channel = make_channel(definition)
        if not channel.encrypted and not self.outgoing.networks:
            names = ("security", "url", "server")
            raise BadField(
                next(name for name in names if name in definition.settings),
                "must be encrypted (https://, starttls or tls), except to private "
                "addresses that the operator allows with --allow-private",
            )

    def _check_secret(self, definition: ChannelDefinition) -> None:
        try:
            self.secret_files.read(make_channel(definition).host, definition.secret)
        except DeliveryFailed as error:
            raise BadSettings(BadField("secret", str(error))) from None

    async def delete(self, name: str) -> None:
        """
        Delete a channel. What waits for it is dropped.

        :raises Refusal: 404 if it does not exist.
        :raises StoreError: if the store fails.
        """
        await self.records.delete(name)

    async def send(
        self, definition: ChannelDefinition, message: ChannelMessage
    ) -> None:
        """
        Make one attempt to deliver a message.

        :raises DeliveryFailed: if the attempt fails.
        :raises StatHatClosed: if :meth:`close` was called meanwhile.
        """
        channel = make_channel(definition)
        secret = ""
        if definition.secret:
            secret = self.secret_files.read(channel.host, definition.secret)
        await channel.send(message, self.outgoing, secret)

    async def test(self, name: str) -> None:
        """
        Send a test message through a channel, and note the result.

        :param name: the channel.
        :raises Refusal: 404 if it does not exist.
        :raises DeliveryFailed: if it could not be delivered; the text says why.
        :raises StoreError: if the store fails.
        """
        definition = await self.records.get(name)
        now = self._clock.seconds()
        text = f"This is a test of the channel {name}. No alert fires."
        message = make_test(now, "txStatHat: test", text)
        try:
            await self.send(definition, message)
        except DeliveryFailed as error:
            await self.records.note(name, str(error), now)
            raise
        await self.records.note(name, "", now)

    def close(self) -> Deferred[None]:
        """
        Make no more attempts. Those under way have a second to end.

        :returns: fires with ``None`` when no connection is open.
        """
        return self.outgoing.close()


def make_test(
    now: float, title: str, text: str, details: Mapping[str, Any] | None = None
) -> ChannelMessage:
    """
    Return a test message.

    :param now: Unix seconds.
    :param title: one line for people.
    :param text: the text for people.
    :param details: more members of its JSON.
    """
    id = f"test-{secrets.token_hex(8)}"
    all_details = {
        "id": id,
        "event": TEST,
        "at": int(now),
        "text": text,
        **(details or {}),
    }
    return ChannelMessage(id, TEST, now, title, text, id, details=all_details)
