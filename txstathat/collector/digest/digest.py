"""
The weekly digest: sent once for a store, whichever of its collectors sends it.

A record of the store says which digest was sent last. An attempt is recorded before it
is made, on condition that the record is still the same, so one collector makes it.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace

from twisted.logger import Logger

from txstathat.backoff import Jitter
from txstathat.collector.alerts.notices import GIVE_UP_SECONDS, notice_retry_delay
from txstathat.collector.archive.archive import Archive
from txstathat.collector.channels.channels import Channels
from txstathat.collector.channels.message import (
    DIGEST,
    ChannelMessage,
    DeliveryFailed,
)
from txstathat.collector.digest.schedule import Schedule
from txstathat.collector.digest.totals import WEEK, digest_text, read_week
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_integer,
    is_number,
    load_fields,
)

__all__ = ["DIGEST_EVERY", "DIGEST_LEASE", "DigestState", "WeeklyDigest"]

#: The interval, in seconds, at which a due digest is looked for.
DIGEST_EVERY = 60.0
#: The time, in seconds, that one collector has for an attempt. After that another
#: collector can try.
DIGEST_LEASE = 600.0

_RECORDS, _ID = "digest", "digest"


@dataclass(frozen=True, slots=True)
class DigestState:
    """
    The digest that was due last.

    :ivar due: when it was due, in Unix seconds.
    :ivar done: whether it was sent, or given up.
    :ivar attempts: how many attempts to send it have begun.
    :ivar next_at: the earliest time of the next attempt, in Unix seconds.
    """

    due: int
    done: bool = False
    attempts: int = 0
    next_at: float = 0.0

    @classmethod
    def read(cls, id: str, text: str) -> DigestState:
        """
        Parse a record.

        :param id: its id.
        :param text: its text.
        :raises BadRecord: if it is not valid, or a newer version wrote it.
        """
        fields = load_fields(text, ("due", "done", "attempts", "next_at"))
        if not (
            is_integer(fields["due"])
            and isinstance(fields["done"], bool)
            and is_integer(fields["attempts"])
            and is_number(fields["next_at"])
        ):
            raise BadRecord("is not valid: it has a field of the wrong type")
        return cls(**fields)

    @property
    def text(self) -> str:
        """
        The text to store.
        """
        return json.dumps(asdict(self))

    def is_waiting(self, now: float) -> bool:
        """
        Return whether an attempt is under way, or the next one is not due. If that is
        further ahead than it can be, the clock was set back.

        :param now: Unix seconds.
        """
        return now < self.next_at <= now + DIGEST_LEASE


class WeeklyDigest:
    """
    Sends the digest of a store through an e-mail channel.

    :param archive: the stats.
    :param channels: the channels.
    :param channel: the name of the channel.
    :param schedule: when it is due.
    :param jitter: as for
        :class:`~txstathat.collector.alerts.sending.delivery.NoticeDelivery`.

    :ivar record_readers: the readers of the records.
    """

    _log = Logger()

    def __init__(
        self,
        archive: Archive,
        channels: Channels,
        channel: str,
        schedule: Schedule,
        jitter: Jitter | None = None,
    ) -> None:
        self._archive = archive
        self._store = archive.store
        self._channels = channels
        self._channel = channel
        self._schedule = schedule
        self._jitter = jitter or random.SystemRandom().uniform
        self._reader = RecordReader(archive.store, _RECORDS, DigestState.read)
        self.record_readers = (self._reader,)

    async def check(self) -> None:
        """
        Log a warning if the channel does not exist, or is none for e-mail.

        :raises StoreError: if the store fails.
        """
        found = (await self._channels.records.all()).get(self._channel)
        if found is None or found.kind != "email":
            self._log.warn(
                "there is no e-mail channel {name!r} for the weekly digest; add it "
                "with: txstathat channels add email {name}",
                name=self._channel,
            )

    async def run(self) -> None:
        """
        Send the digest that was due last, unless it was sent. The first time, nothing
        is sent: the first digest is the next one.

        :raises StoreError: if the store fails; the next call makes up for it.
        """
        now = self._store.clock.seconds()
        due = self._schedule.last_due(now)
        text = await self._store.record(_RECORDS, _ID)
        state = None if text is None else self._reader.parse(_ID, text)
        if text is not None and state is None:
            return  # a newer version wrote it
        if state is None or state.due > due + WEEK:
            # None was due before; or one was noted while the clock was wrong.
            await self._put(DigestState(due, done=True), text)
            return
        if state.due < due:
            state = DigestState(due)
        if state.due > due or state.done or state.is_waiting(now):
            return
        begun = replace(state, attempts=state.attempts + 1, next_at=now + DIGEST_LEASE)
        if await self._put(begun, text):
            await self._attempt(begun)

    async def _attempt(self, begun: DigestState) -> None:
        try:
            await self._send(begun.due)
        except DeliveryFailed as error:
            await self._failed(begun, error)
            return
        await self._finish(begun, replace(begun, done=True))

    async def _send(self, due: int) -> None:
        try:
            definition = await self._channels.records.get(self._channel)
            totals, left_out = await read_week(self._archive, due)
        except Refusal as error:
            raise DeliveryFailed(str(error), permanent=True) from None
        if definition.kind != "email":
            raise DeliveryFailed("the channel is not one for e-mail", permanent=True)
        text = digest_text(totals, left_out, due)
        message = ChannelMessage(
            f"digest-{due}",
            DIGEST,
            self._store.clock.seconds(),
            f"txStatHat: {text.partition(' (UTC)')[0]}",
            text,
            f"digest-{due}",
        )
        await self._channels.send(definition, message)

    async def _failed(self, begun: DigestState, error: DeliveryFailed) -> None:
        now = self._store.clock.seconds()
        over = error.permanent or now - begun.due >= GIVE_UP_SECONDS
        if over or begun.attempts == 1:
            self._log.warn(
                "the weekly digest could not be sent through the channel {channel!r}, "
                "and {what}: {error}",
                channel=self._channel,
                what="is given up" if over else "is tried again",
                error=str(error),
            )
        next_at = now + notice_retry_delay(begun.attempts, self._jitter)
        await self._finish(begun, replace(begun, done=over, next_at=next_at))
        await self._channels.records.note(self._channel, str(error), now)

    async def _finish(self, begun: DigestState, after: DigestState) -> None:
        await self._put(after, begun.text)

    async def _put(self, state: DigestState, was: str | None) -> bool:
        return await self._store.put_record(_RECORDS, _ID, state.text, was=was)
