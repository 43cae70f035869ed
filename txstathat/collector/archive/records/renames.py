"""
Renaming stats, with all records that name them.

A record of the store notes a renaming before it begins. If a collector dies during it,
any collector completes it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from txstathat.collector.archive.records.followers import StatFollower
from txstathat.collector.archive.stats import received_key, stat_id
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_number,
    load_fields,
)
from txstathat.points.names import check_name
from txstathat.stores.interface import IStore

__all__ = ["Renames", "Renaming", "parse_renaming"]

_RECORDS = "renaming"


@dataclass(frozen=True, slots=True)
class Renaming:
    """
    What the record of a renaming holds.

    :ivar name: the name of the stat.
    :ivar new: its new name.
    :ivar created: when its first point was received, in Unix milliseconds. A stat that
        was made under the new name meanwhile has a later time.
    """

    name: str
    new: str
    created: int | float


def parse_renaming(id: str, text: str) -> Renaming:
    """
    Parse a record of a renaming.

    :param id: its id, which is the stat's id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    found = Renaming(**load_fields(text, ("name", "new", "created")))
    check_name(found.new)
    if stat_id(check_name(found.name)) != id:
        raise BadRecord("is not valid: it has the name of another stat")
    if not is_number(found.created, float("inf")):
        raise BadRecord("is not valid: created is not a time")
    return found


class Renames:
    """
    Renames the stats of a store.

    :param store: the store.
    :param followers: the records that name stats.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore, followers: StatFollower) -> None:
        self._store = store
        self._followers = followers
        self._reader = RecordReader(store, _RECORDS, parse_renaming)
        self.record_readers = (self._reader,)

    async def rename(self, name: str, new: str) -> None:
        """
        Rename a stat that exists.

        :param name: its name.
        :param new: its new name, which no stat has.
        :raises Refusal: 404 if the stat does not exist any more; 409 if a stat of the
            new name was made meanwhile, or this stat is just being renamed.
        :raises StoreError: if the store fails. Then :meth:`complete` does the rest.
        """
        (cell,) = await self._store.read([received_key(name)])
        if cell is None:
            raise Refusal(404, f"there is no stat {name!r}")
        renaming = Renaming(name, new, cell.min)
        text = json.dumps(asdict(renaming))
        if not await self._store.put_record(_RECORDS, stat_id(name), text, was=None):
            raise Refusal(409, f"{name!r} is just being renamed; try again in a minute")
        if not await self._finish(renaming, text):
            raise Refusal(409, f"there is a stat {new!r} already; choose another name")

    async def complete(self) -> list[tuple[str, str]]:
        """
        Complete the renamings that were interrupted.

        :returns: the old and the new names of the stats that were renamed.
        :raises StoreError: if the store fails.
        """
        texts = await self._store.records(_RECORDS)
        return [
            (each.name, each.new)
            for id, each in self._reader.parse_all(texts).items()
            if await self._finish(each, texts[id])
        ]

    async def _finish(self, renaming: Renaming, text: str) -> bool:
        name, new = renaming.name, renaming.new
        await self._store.rename(name, new)
        # Also if an earlier call, or another collector, has renamed it.
        (cell,) = await self._store.read([received_key(new)])
        is_renamed = cell is not None and cell.min == renaming.created
        if is_renamed:
            await self._followers.rename_stat(name, new)
        await self._store.put_record(_RECORDS, stat_id(name), None, was=text)
        return is_renamed
