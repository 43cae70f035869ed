"""
The archive: all stats of one store.

Several archives can share a store, in one process or in several: each sees the changes
of the others. All methods that return a Deferred or a coroutine fail with
:class:`~txstathat.errors.StoreUnavailable` if the store cannot be reached, and with
:class:`~txstathat.collector.errors.Refusal` if the request cannot be fulfilled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn, cast
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from txstathat.collector.archive.health import StoreHealth
from txstathat.collector.archive.receipts import NewestReceipt
from txstathat.collector.archive.records.comments import Comment, Comments
from txstathat.collector.archive.records.details import StatDetails
from txstathat.collector.archive.records.renames import Renames
from txstathat.collector.archive.records.trash import DeletedStat
from txstathat.collector.archive.stats import (
    DEFINITIONS,
    Stat,
    received,
    stat_id,
)
from txstathat.collector.archive.stored import CELLS_AT_ONCE, STATS_AT_ONCE, StoredStats
from txstathat.collector.archive.writing.allowance import MAX_PAST
from txstathat.collector.archive.writing.cardinality import (
    MAX_NEW_STATS,
    MAX_STATS,
)
from txstathat.collector.archive.writing.commit import OWN_ID_TTL, PendingWrite
from txstathat.collector.archive.writing.delta import other_kind, overflow
from txstathat.collector.archive.writing.writer import PointWriter
from txstathat.collector.errors import PointAhead, Refusal, clock_doubt, utc
from txstathat.collector.ingest.parse import PostedBatch
from txstathat.collector.limits import MAX_AHEAD
from txstathat.errors import StoreError
from txstathat.points.names import check_name
from txstathat.stores.batching import WriteBatcher
from txstathat.stores.interface import (
    Amounts,
    IStore,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)

__all__ = ["Archive"]


class Archive(StoredStats):
    """
    The stats of a store.

    :param store: the store; the archive does not close it.
    :param retention: for how many seconds the detail of a scale is stored, ``None`` for
        ever. Scales that are not in it have the default of
        :data:`~txstathat.collector.archive.stats.RETENTION`.
    :param max_stats: the largest number of stats.
    :param timers: schedules what waits; by default the store's clock.
    :param max_new_stats: the largest number of stats that a key can create in a day.
    :param max_past: how many time buckets of the past a key can add in a day.
    :param stats_at_once: how many stats are read before other work has its turn.
    :param cells_at_once: how many cells are read at once for series.
    :raises ValueError: if a scale is unknown, or its time is not positive.

    :ivar details: the units, descriptions and pins of the stats.
    :ivar followers: the records that follow a renamed stat, and go with a deleted one.
    :ivar notes: the comments on the stats, and on none of them.
    :ivar max_stats: the largest number of stats.
    :ivar health: knows whether the store can be written.
    :ivar listing: the rows from which the list of stats is sorted.
    :ivar record_readers: the readers of the records.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        *,
        retention: Mapping[str, float | None] | None = None,
        max_stats: int = MAX_STATS,
        timers: IReactorTime | None = None,
        max_new_stats: int = MAX_NEW_STATS,
        max_past: int = MAX_PAST,
        stats_at_once: int = STATS_AT_ONCE,
        cells_at_once: int = CELLS_AT_ONCE,
    ) -> None:
        super().__init__(
            store,
            retention or {},
            max_stats,
            timers,
            max_new_stats=max_new_stats,
            max_past=max_past,
            stats_at_once=stats_at_once,
            cells_at_once=cells_at_once,
        )
        self.health = StoreHealth(store, self.timers)
        self._writer = PointWriter(
            store,
            self.timers,
            self.retention,
            self._cardinality,
            self._allowances,
            self.health,
            self.listing,
        )
        self._newest_receipt = NewestReceipt(store, self.timers)
        self.notes = Comments(store)
        self.details = StatDetails(store)
        self._renames = Renames(store, self.followers)
        self._has_traces = False
        self.record_readers = (
            *self._history.record_readers,
            *self.notes.record_readers,
            *self.details.record_readers,
            *self._trash.record_readers,
            *self._renames.record_readers,
        )

    @property
    def batcher(self) -> WriteBatcher[PendingWrite, WriteResult]:
        """
        Combines requests into few writes.
        """
        return self._writer.batcher

    async def note_retention(self) -> None:
        """
        Note in the store for how long detail is stored. Call this once, before points
        are added, so that no archive takes incomplete detail for complete.
        """
        await self._history.note()

    # -- writing

    def add(self, batch: PostedBatch) -> Deferred[bool]:
        """
        Store the points of a request: all or none, and once for each id.

        :param batch: the points. Those of the Classic API have the names of their
            stats, not keys.
        :returns: a new Deferred, which fires when the points are as durable as the
            store makes them: with ``True``, or with ``False`` if the same batch was
            stored before under this id. It fails with
            :class:`~txstathat.collector.errors.Refusal` if the points cannot be stored,
            with :class:`~txstathat.errors.StoreBusy` if too many points wait, and with
            :class:`~txstathat.errors.StoreUnavailable` if the store could not write
            them. Then they may be stored nevertheless: repeat them under the same id.
            Cancelling it does not affect the write.
        """
        return Deferred.fromCoroutine(self.write(batch))

    async def write(self, batch: PostedBatch) -> bool:
        """
        Do what :meth:`add` does, as a coroutine.
        """
        try:
            result, delta = await self._writer.write(batch)
        except PointAhead as error:
            newest = await self._newest_receipt.is_behind(error.now)
            if newest is not None and error.t <= newest + MAX_AHEAD:
                raise clock_doubt(
                    error.now, f"the store has points received at {utc(newest)}"
                ) from None
            raise
        self._newest_receipt.note(self.store.clock.seconds())
        if result.outcome is WriteOutcome.CONFLICT:
            raise Refusal(409, "another request was sent under this Idempotency-Key")
        if result.outcome is WriteOutcome.OVERFLOW:
            raise overflow(result.name)
        if result.outcome is WriteOutcome.MISMATCH:
            await self._refuse_kind(result.name, delta.kinds[result.name])
        return result.outcome is WriteOutcome.ADDED

    async def _refuse_kind(self, name: str, posted: str) -> NoReturn:
        kind = "value" if posted == "count" else "count"
        until = None
        if await self.stat(name) is None:
            until = await self._trash.until(name)
        if until is None:
            raise other_kind(name, kind)
        raise Refusal(
            400,
            f"{name!r} was a {kind} stat; it is deleted, and in the trash until "
            f"{utc(until)}: from then on it can be of another kind, or as soon as it "
            "is deleted for good",
        )

    async def create(self, name: str, kind: str) -> Stat:
        """
        Create a stat without points. If it is in the trash, this restores it, as a
        point does.

        :param name: the name of the stat.
        :param kind: ``'count'`` or ``'value'``.
        :raises InvalidPoint: if the name is not valid.
        :raises Refusal: 400 if a stat of the other kind has this name.
        """
        name = check_name(name)
        receipt = received([name], self.store.clock.seconds(), 0)
        amounts = Amounts({name: DEFINITIONS[kind]}, [receipt])
        (result,) = await self.store.add(
            [WriteBatch(uuid4().hex, "", lambda: amounts, OWN_ID_TTL)]
        )
        if result.outcome is WriteOutcome.MISMATCH:
            await self._refuse_kind(name, kind)
        self._cardinality.learn([name])
        await self._trash.take(stat_id(name))
        await self.listing.make([name])
        return cast(Stat, await self.stat(name))

    async def settled(self) -> None:
        """
        Wait until all batches added so far are written, or have failed.
        """
        await self.batcher.settled()
        await self._allowances.saved()
        await self.listing.settled()

    # -- comments

    async def comment(self, stat: Stat | None, text: str) -> Comment:
        """
        Store a comment on a stat, or on none. Its time is now.

        :raises InvalidPoint: if the text is not valid.
        :raises Refusal: 429 if there are too many comments.
        """
        return await self.notes.add(stat, text)

    async def comments(
        self, stats: Sequence[Stat], since: int = 0
    ) -> dict[str, list[Comment]]:
        """
        Return the comments on some stats, by the stat's name, oldest first.

        :param stats: the stats, as the methods above return them.
        :param since: the time of the oldest comment to return, in Unix seconds.
        """
        return await self.notes.read(stats, since)

    # -- the trash

    async def delete(self, id: str) -> Stat:
        """
        Put a stat in the trash for
        :data:`~txstathat.collector.archive.records.trash.TRASH_SECONDS`. There it is in
        no list and has no data. Its next point restores it, with all its data.

        :param id: the stat's id.
        :raises Refusal: 404 if the stat does not exist.
        """
        (stat,) = await self.find([id])
        await self._trash.put(stat)
        await self.listing.remove([stat.name])
        return stat

    async def restore(self, name: str) -> Stat:
        """
        Take a stat out of the trash.

        :raises Refusal: 404 if it is not there.
        """
        if not await self._trash.take(stat_id(name)):
            raise Refusal(404, f"{name!r} is not in the trash")
        stat = await self.stat(name)
        if stat is None:
            raise Refusal(404, f"{name!r} is not in the trash any more")
        await self.listing.make([name])
        return stat

    async def restore_id(self, id: str) -> Stat:
        """
        Take a stat out of the trash, by its id.

        :raises Refusal: 404 if it is not there.
        """
        for each in await self._trash.all():
            if each.id == id:
                return await self.restore(each.name)
        raise Refusal(404, f"there is no stat with the id {id[:40]!r} in the trash")

    async def trash(self) -> list[DeletedStat]:
        """
        Return the stats in the trash, sorted by name.
        """
        return await self._trash.all()

    async def purge(self, id: str) -> str:
        """
        Delete for good a stat in the trash: nothing of it stays in the store, nor in
        exports and copies that are made from then on. Its name can then be of another
        kind.

        :param id: the stat's id.
        :returns: its name.
        :raises Refusal: 404 if it is not in the trash; 409 if a point has just taken it
            out.
        """
        name = await self._trash.purge(id)
        await self._erase([name])
        return name

    async def empty_trash(self) -> int:
        """
        Delete for good the stats that have been in the trash for long enough.

        :returns: the number of deleted stats.
        """
        deleted = await self._trash.empty()
        if deleted or self._has_traces:
            await self._erase(deleted)
        return len(deleted)

    async def _erase(self, names: Sequence[str]) -> None:
        self._cardinality.forget(names)
        await self.listing.remove(names)
        self._has_traces = True
        try:
            while await self.store.drop_expired():
                pass
            await self.store.erase_deleted()
        except StoreError as error:
            # They are deleted; empty_trash tries again to overwrite what is left.
            self._log.warn(
                "parts of deleted stats are still in the store's files, and will be "
                "overwritten later: {error}",
                error=str(error),
            )
            return
        self._has_traces = False

    # -- renaming

    async def rename(self, id: str, new: str) -> Stat:
        """
        Rename a stat, with its history, comments, details, and all that names it. Its
        id changes, since it is made of its name. Nothing is forwarded: a point that
        arrives under the old name later makes a new stat.

        :param id: the stat's id.
        :param new: its new name.
        :returns: the stat under its new name.
        :raises InvalidPoint: if the new name is not valid.
        :raises Refusal: 404 if the stat does not exist; 409 if the new name is in use,
            or in the trash.
        """
        (stat,) = await self.find([id])
        new = check_name(new)
        if new == stat.name:
            raise Refusal(409, f"the stat is named {new!r} already")
        if await self.store.definitions([new]):
            trashed = [each.name for each in await self._trash.all()]
            raise Refusal(
                409,
                f"{new!r} is in the trash; restore it, or delete it for good, first"
                if new in trashed
                else f"there is a stat {new!r} already; choose another name",
            )
        # A point took it out of the trash, if it was there.
        await self._trash.take(stat.id)
        await self._renames.rename(stat.name, new)
        await self._note_renamed([(stat.name, new)])
        return (await self.find([stat_id(new)]))[0]

    async def complete_renames(self) -> None:
        """
        Complete the renamings that a collector could not, because it died.
        """
        await self._note_renamed(await self._renames.complete())

    async def _note_renamed(self, renamed: Sequence[tuple[str, str]]) -> None:
        self._cardinality.forget([old for old, _ in renamed])
        self._cardinality.learn([new for _, new in renamed])
        if renamed:
            await self.listing.make([name for names in renamed for name in names])
