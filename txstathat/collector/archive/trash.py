"""
The trash: stats that were deleted, for as long as that may have been a mistake.

What is noted of a stat is how many batches it had received. So it is in the trash until
it receives one more, and whoever keeps points need not know of the trash.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from txstathat.collector.archive.comments import RECORDS as COMMENTS
from txstathat.collector.archive.stats import Stat, received_key, stat_id
from txstathat.stores.interface import IStore

__all__ = ["KEEP", "Trash"]

#: For how many seconds what is in the trash can be taken back: 48 hours.
KEEP = 48 * 3600

_KIND = "trash"


class Trash:
    """
    The trash of a store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store

    async def put(self, stat: Stat) -> None:
        """
        Put a stat in it.
        """
        note = {
            "name": stat.name,
            "receipts": stat.receipts,
            "deleted_at": int(self._store.clock.seconds()),
        }
        await self._store.put_record(_KIND, stat.id, json.dumps(note))

    async def take(self, id: str) -> bool:
        """
        Take a stat out of it, and tell whether it was there.
        """
        if await self._store.record(_KIND, id) is None:
            return False
        return await self._store.put_record(_KIND, id, None)

    async def until(self, name: str) -> int | None:
        """
        Until when a stat is in it, in Unix seconds; ``None`` if it is not.
        """
        text = await self._store.record(_KIND, stat_id(name))
        return None if text is None else int(json.loads(text)["deleted_at"]) + KEEP

    async def without(self, stats: Sequence[Stat]) -> list[Stat]:
        """
        Those of some stats that are not in it.
        """
        notes = map(json.loads, (await self._store.records(_KIND)).values())
        receipts = {note["name"]: note["receipts"] for note in notes}
        return [stat for stat in stats if receipts.get(stat.name) != stat.receipts]

    async def empty(self) -> list[str]:
        """
        Forget what has been in it for :data:`KEEP` seconds.

        :returns: the names of the stats that are gone.
        """
        gone = []
        old = self._store.clock.seconds() - KEEP
        for id, text in (await self._store.records(_KIND)).items():
            note = json.loads(text)
            if note["deleted_at"] > old:
                continue
            name = note["name"]
            key = received_key(name)
            (cell,) = await self._store.read([key])
            # A point may come until it is gone: then it stays.
            if (
                cell is not None
                and cell.count == note["receipts"]
                and await self._store.drop(name, (key, cell))
            ):
                gone.append(name)
                cell = None
            if cell is None:
                # Also where this was cut off, the last time, after dropping it.
                await self._store.put_record(COMMENTS, id, None)
            await self._store.put_record(_KIND, id, None, was=text)
        return gone
