"""
The trash: deleted stats, for some time, in case that was a mistake.

The record of a deleted stat has the number of its receipts. The stat is in the trash
until it receives one more, so the code that stores points need not know the trash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from txstathat.collector.archive.comments import RECORDS as COMMENTS
from txstathat.collector.archive.stats import Stat, received_key, stat_id
from txstathat.stores.interface import IStore

__all__ = ["TRASH_SECONDS", "Trash"]

#: For how many seconds a deleted stat can be restored: 48 hours.
TRASH_SECONDS = 48 * 3600

_RECORDS = "trash"


class Trash:
    """
    The trash of a store.

    :param store: the store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store

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
        text = await self._store.record(_RECORDS, stat_id(name))
        if text is None:
            return None
        return int(json.loads(text)["deleted_at"]) + TRASH_SECONDS

    async def without(self, stats: Sequence[Stat]) -> list[Stat]:
        """
        Return those of some stats that are not in the trash.
        """
        texts = (await self._store.records(_RECORDS)).values()
        receipts = {
            fields["name"]: fields["receipts"] for fields in map(json.loads, texts)
        }
        return [stat for stat in stats if receipts.get(stat.name) != stat.receipts]

    async def empty(self) -> list[str]:
        """
        Delete the stats that have been in the trash for :data:`TRASH_SECONDS`.

        :returns: the names of the deleted stats.
        """
        deleted = []
        before = self._store.clock.seconds() - TRASH_SECONDS
        for id, text in (await self._store.records(_RECORDS)).items():
            fields = json.loads(text)
            if fields["deleted_at"] > before:
                continue
            name = fields["name"]
            key = received_key(name)
            (cell,) = await self._store.read([key])
            # If a point arrives before the stat is deleted, the stat stays.
            if (
                cell is not None
                and cell.count == fields["receipts"]
                and await self._store.drop(name, (key, cell))
            ):
                deleted.append(name)
                cell = None
            if cell is None:
                # Also if an earlier call stopped after it had dropped the stat.
                await self._store.put_record(COMMENTS, id, None)
            await self._store.put_record(_RECORDS, id, None, was=text)
        return deleted
