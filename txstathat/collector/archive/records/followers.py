"""
Records that name a stat: they follow it when it is renamed, and go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from txstathat.collector.archive.records.comments import RECORDS as COMMENTS
from txstathat.collector.archive.records.details import RECORDS as DETAILS
from txstathat.collector.archive.stats import stat_id
from txstathat.stores.interface import IStore

__all__ = ["Followers", "OwnRecords", "StatFollower"]


class StatFollower(Protocol):
    """
    Has records that name stats. A call may be repeated, after a collector died during
    the first one.
    """

    async def rename_stat(self, old: str, new: str) -> None:
        """
        Replace the name of a stat in all records, and the id made of it.

        :param old: the name of the stat.
        :param new: its new name.
        :raises StoreError: if the store fails.
        """

    async def forget_stat(self, name: str) -> None:
        """
        Delete what belongs to a stat that is deleted for good.

        :param name: the name of the stat.
        :raises StoreError: if the store fails.
        """


class OwnRecords:
    """
    The records that are stored under the id of a stat: comments and details.

    :param store: the store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store

    async def rename_stat(self, old: str, new: str) -> None:
        """See :meth:`StatFollower.rename_stat`."""
        for kind in (COMMENTS, DETAILS):
            while True:
                text = await self._store.record(kind, stat_id(old))
                if text is None:
                    break
                await self._store.put_record(kind, stat_id(new), text)
                # If it has changed meanwhile, it is moved again.
                await self._store.put_record(kind, stat_id(old), None, was=text)

    async def forget_stat(self, name: str) -> None:
        """See :meth:`StatFollower.forget_stat`."""
        for kind in (COMMENTS, DETAILS):
            await self._store.put_record(kind, stat_id(name), None)


class Followers:
    """
    Several followers as one.

    :param first: the first of them.
    """

    def __init__(self, first: Sequence[StatFollower]) -> None:
        self._all = [*first]

    def add(self, follower: StatFollower) -> None:
        """
        Add a follower.
        """
        self._all.append(follower)

    async def rename_stat(self, old: str, new: str) -> None:
        """See :meth:`StatFollower.rename_stat`."""
        for each in self._all:
            await each.rename_stat(old, new)

    async def forget_stat(self, name: str) -> None:
        """See :meth:`StatFollower.forget_stat`."""
        for each in self._all:
            await each.forget_stat(name)
