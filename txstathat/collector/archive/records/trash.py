"""
The trash: deleted stats, for some time, in case that was a mistake.

The record of a deleted stat has the number of its receipts. The stat is in the trash
until it receives one more, so the code that stores points need not know the trash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from txstathat.collector.archive.records.followers import StatFollower
from txstathat.collector.archive.stats import Stat, received_key, stat_id
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_integer,
    load_fields,
)
from txstathat.points.amounts import MAX_INTEGER
from txstathat.points.names import check_name
from txstathat.stores.interface import IStore

__all__ = ["TRASH_SECONDS", "DeletedStat", "Trash", "parse_deleted"]

#: For how many seconds a deleted stat can be restored: 48 hours.
TRASH_SECONDS = 48 * 3600

_RECORDS = "trash"


@dataclass(frozen=True, slots=True)
class DeletedStat:
    """
    What the record of a stat in the trash holds.

    :ivar name: the name of the stat.
    :ivar receipts: how many batches it had received.
    :ivar deleted_at: when it was deleted, in Unix seconds.
    """

    name: str
    receipts: int
    deleted_at: int

    @property
    def id(self) -> str:
        """The id of the stat."""
        return stat_id(self.name)

    @property
    def until(self) -> int:
        """Until when it can be restored, in Unix seconds."""
        return self.deleted_at + TRASH_SECONDS


def parse_deleted(id: str, text: str) -> DeletedStat:
    """
    Parse a record of the trash.

    :param id: its id, which is the stat's id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("name", "receipts", "deleted_at"))
    if stat_id(check_name(fields["name"])) != id:
        raise BadRecord("is not valid: it has the name of another stat")
    if not is_integer(fields["receipts"], 0, MAX_INTEGER):
        raise BadRecord("is not valid: receipts is not a number of batches")
    if not is_integer(fields["deleted_at"]):
        raise BadRecord("is not valid: deleted_at is not a time")
    return DeletedStat(**fields)


class Trash:
    """
    The trash of a store.

    :param store: the store.
    :param followers: the records that name stats.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore, followers: StatFollower) -> None:
        self._store = store
        self._followers = followers
        self._reader = RecordReader(store, _RECORDS, parse_deleted)
        self.record_readers = (self._reader,)

    async def put(self, stat: Stat) -> None:
        """
        Put a stat in the trash.
        """
        fields = {
            "name": stat.name,
            "receipts": stat.receipts,
            "deleted_at": int(self._store.clock.seconds()),
        }
        await self._store.put_record(_RECORDS, stat.id, json.dumps(fields))

    async def take(self, id: str) -> bool:
        """
        Take a stat out of the trash.

        :param id: the stat's id.
        :returns: whether it was there.
        """
        if await self._store.record(_RECORDS, id) is None:
            return False
        return await self._store.put_record(_RECORDS, id, None)

    async def until(self, name: str) -> int | None:
        """
        Return until when a stat is in the trash, in Unix seconds; ``None`` if it is not
        there.
        """
        note = await self._reader.get(stat_id(name))
        return None if note is None else note.until

    async def all(self) -> list[DeletedStat]:
        """
        Return the stats that are in the trash, sorted by name.
        """
        notes = sorted((await self._reader.all()).values(), key=lambda note: note.name)
        cells = await self._store.read([received_key(note.name) for note in notes])
        return [
            note
            for note, cell in zip(notes, cells, strict=True)
            if cell is not None and cell.count == note.receipts
        ]

    async def names(self, ids: Iterable[str]) -> dict[str, str]:
        """
        Return the names of the stats with some ids that were deleted, by id. Points may
        have taken them out of the trash.
        """
        notes = await self._reader.all()
        return {id: notes[id].name for id in ids if id in notes}

    async def restored(self) -> list[str]:
        """
        Return the names of the stats that points have taken out of the trash lately.
        """
        names = {note.name for note in (await self._reader.all()).values()}
        return sorted(names.difference(note.name for note in await self.all()))

    async def without(self, stats: Sequence[Stat]) -> list[Stat]:
        """
        Return those of some stats that are not in the trash.
        """
        notes = (await self._reader.all()).values()
        receipts = {note.name: note.receipts for note in notes}
        return [stat for stat in stats if receipts.get(stat.name) != stat.receipts]

    async def purge(self, id: str) -> str:
        """
        Delete a stat in the trash for good.

        :param id: the stat's id.
        :returns: its name.
        :raises Refusal: 404 if it is not in the trash, or its record cannot be read;
            409 if a point has just taken it out.
        """
        text = await self._store.record(_RECORDS, id)
        note = None if text is None else self._reader.parse(id, text)
        if text is None or note is None:
            raise Refusal(404, f"there is no stat with the id {id[:40]!r} in the trash")
        if not await self._delete(note, text):
            raise Refusal(
                409,
                f"{note.name!r} has received a point, and so is not in the trash any "
                "more; stop what sends it, and delete it again",
            )
        return note.name

    async def empty(self) -> list[str]:
        """
        Delete the stats that have been in the trash for :data:`TRASH_SECONDS`.

        :returns: the names of the deleted stats.
        """
        now = self._store.clock.seconds()
        texts = await self._store.records(_RECORDS)
        return [
            note.name
            for id, note in self._reader.parse_all(texts).items()
            if note.until <= now and await self._delete(note, texts[id])
        ]

    async def _delete(self, note: DeletedStat, text: str) -> bool:
        """
        :returns: whether this call deleted the stat.
        """
        key = received_key(note.name)
        (cell,) = await self._store.read([key])
        deleted = False
        # If a point arrives before the stat is deleted, the stat stays.
        if cell is not None and cell.count == note.receipts:
            deleted = await self._store.drop(note.name, (key, cell))
        if cell is None or deleted:
            # Also if an earlier call stopped after it had dropped the stat.
            await self._followers.forget_stat(note.name)
        await self._store.put_record(_RECORDS, note.id, None, was=text)
        return deleted
