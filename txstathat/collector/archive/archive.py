"""
The archive: all that is known of the stats of one store.

Several archives may share a store, in one process or in many: what one does the others
see. All methods that return Deferreds fail with
:class:`~txstathat.errors.StoreUnavailable` when the store cannot be reached, and with
:class:`~txstathat.collector.ingest.Refusal` when the question itself is at fault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn, cast
from uuid import uuid4

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from txstathat.collector.archive.all_time import all_time_of, first_time
from txstathat.collector.archive.cardinality import MAX_STATS, CardinalityLimiter
from txstathat.collector.archive.comments import Comment, Comments
from txstathat.collector.archive.commit import (
    REMEMBER_OWN,
    PendingWrite,
    write_requests,
)
from txstathat.collector.archive.delta import BatchDelta, other_kind, overflow
from txstathat.collector.archive.retention import Retention
from txstathat.collector.archive.series import Plan, Series
from txstathat.collector.archive.stats import (
    DEFINITIONS,
    RETENTION,
    Stat,
    Total,
    received,
    received_key,
    stat_id,
    total_key,
)
from txstathat.collector.archive.trash import Trash
from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.parse import Batch
from txstathat.errors import InvalidTimeframe, StoreBusy
from txstathat.metrica.calendar import MAX_POINTS, SCALES
from txstathat.points.model import check_name
from txstathat.points.timeframe import Timeframe
from txstathat.stores.batching import WriteBatcher
from txstathat.stores.interface import (
    Amounts,
    IStore,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)

__all__ = ["LINGER", "MAX_CELLS", "MAX_WAITING_POINTS", "Archive"]

#: For how long a request that is not alone waits for each other one to be written with
#: it, as a share of the time that the last write took.
LINGER = 0.1

#: How many points may wait to be written; more are refused.
MAX_WAITING_POINTS = 200_000
#: How many cells one question may read.
MAX_CELLS = 200_000
# How many stats are made of their cells at once, and how many cells are read at once
# for series, so that it holds up nobody.
_STATS_AT_ONCE = 5_000
_CELLS_AT_ONCE = 10_000


class Archive:
    """
    The stats of a store.

    :param store: where they are kept; it is not closed by this.
    :param retention: for how many seconds the detail of a scale is kept, ``None`` for
        ever; what is not named is as in :data:`~txstathat.collector.archive.stats.RETENTION`.
    :param max_stats: how many stats there may be.
    :raises ValueError: if a scale is unknown, or its time is not positive.

    :ivar gather: makes few writes of many requests.
    :ivar record_readers: the readers of the records.
    """

    def __init__(
        self,
        store: IStore,
        *,
        retention: Mapping[str, float | None] | None = None,
        max_stats: int = MAX_STATS,
    ) -> None:
        self.store = store
        self.retention = _checked(retention or {})
        self._kept = Retention(store, self.retention)
        # A write is tried once: who posted repeats it, under the same id.
        self.batcher: WriteBatcher[PendingWrite, WriteResult] = WriteBatcher(
            self._write, store.clock, timeout=0, linger=LINGER
        )
        self._waiting_points = 0
        self._cardinality = CardinalityLimiter(store, max_stats)
        self._comments = Comments(store)
        self._trash = Trash(store)
        self.record_readers = (
            *self._kept.record_readers,
            *self._comments.record_readers,
            *self._trash.record_readers,
        )

    async def note_retention(self) -> None:
        """
        Note in the store how long detail is kept, once before anything is: so that no
        archive takes for whole what was kept for a shorter time.
        """
        await self._kept.note()

    # -- writing

    def keep(self, batch: Batch) -> Deferred[bool]:
        """
        Keep the points of a request: all or none, and once under its id.

        :param batch: the points; the stats of the Classic API's keys are named already.
        :returns: fires when they are as safe as the store makes them, with ``True``, or
            with ``False`` when they had come before under this id. It fails with
            :class:`~txstathat.collector.ingest.Refusal` when they cannot be kept, with
            :class:`~txstathat.errors.StoreBusy` when too many wait, and with
            :class:`~txstathat.errors.StoreUnavailable` when the store could not write
            them. They may be there all the same: repeat them under the same id.
        """
        try:
            if self._waiting_points + len(batch.points) > MAX_WAITING_POINTS:
                raise StoreBusy(self._waiting_points)
            additions = BatchDelta(batch.points, self.store.clock.seconds())
        except (Refusal, StoreBusy):
            return fail()
        self._waiting_points += len(batch.points)
        request = PendingWrite(additions, _id(batch), batch.digest.hex())
        if self._cardinality.all_known(additions.kinds):
            written = self.batcher.put(request)
        else:
            written = Deferred.fromCoroutine(self._put_new(request, _sender(batch)))
        return written.addBoth(self._written, batch, additions)

    async def _put_new(self, request: PendingWrite, sender: str) -> WriteResult:
        reservation = await self._cardinality.admit(sender, request.additions.kinds)
        arrived = False
        try:
            answer = await self.batcher.put(request)
            arrived = answer.outcome is WriteOutcome.ADDED
        finally:
            self._cardinality.settled(reservation, arrived)
        return answer

    def _write(self, requests: list[PendingWrite]) -> Deferred[list[WriteResult]]:
        return Deferred.fromCoroutine(
            write_requests(self.store, requests, self.retention)
        )

    def _written(
        self, answer: WriteResult | Failure, batch: Batch, additions: BatchDelta
    ) -> Any:
        self._waiting_points -= len(batch.points)
        if isinstance(answer, Failure):
            return answer
        if answer.outcome is WriteOutcome.CONFLICT:
            raise Refusal(409, "another body was sent under this Idempotency-Key")
        if answer.outcome is WriteOutcome.OVERFLOW:
            raise overflow(answer.name)
        if answer.outcome is WriteOutcome.MISMATCH:
            sent = additions.kinds[answer.name]
            return Deferred.fromCoroutine(self._other_kind(answer.name, sent))
        return answer.outcome is WriteOutcome.ADDED

    async def _other_kind(self, name: str, sent: str) -> NoReturn:
        kind = "value" if sent == "count" else "count"
        until = None
        if await self.stat(name) is None:
            until = await self._trash.until(name)
        if until is None:
            raise other_kind(name, kind)
        raise Refusal(
            400,
            f"{name!r} was a {kind} stat; it is deleted, and in the trash until "
            f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC: from then on "
            "it can be of another kind",
        )

    async def create(self, name: str, kind: str) -> Stat:
        """
        Make a stat that has no points yet. One that is in the trash is back with this,
        as with a point.

        :param kind: ``'count'`` or ``'value'``.
        :raises InvalidPoint: if the name is not valid.
        :raises Refusal: if there is one of the other kind.
        """
        name = check_name(name)
        made = received([name], self.store.clock.seconds(), 0)
        amounts = Amounts({name: DEFINITIONS[kind]}, [made])
        (answer,) = await self.store.add(
            [WriteBatch(uuid4().hex, "", lambda: amounts, REMEMBER_OWN)]
        )
        if answer.outcome is WriteOutcome.MISMATCH:
            await self._other_kind(name, kind)
        await self._trash.take(stat_id(name))
        return cast(Stat, await self.stat(name))

    async def settled(self) -> None:
        """
        Wait for what came before to be written, or given up.
        """
        await self.batcher.settled()

    # -- questions

    async def stats(self, names: Sequence[str] | None = None) -> list[Stat]:
        """
        The stats, by name; not those in the trash.

        :param names: only those of these that there are; by default all.
        """
        definitions = await self.store.definitions(names)
        kept = {
            name: definition
            for name, definition in definitions.items()
            if definition in DEFINITIONS.values()
        }
        found = []
        listed = list(kept.items())
        for start in range(0, len(listed), _STATS_AT_ONCE):
            some = listed[start : start + _STATS_AT_ONCE]
            cells = await self.store.read([received_key(name) for name, _ in some])
            # A Metrica that a program keeps in the same store was never received here.
            found += [
                Stat.of(name, definition, cell)
                for (name, definition), cell in zip(some, cells, strict=True)
                if cell is not None
            ]
        return await self._trash.without(found)

    async def stat(self, name: str) -> Stat | None:
        """
        The stat of a name, if there is one.
        """
        found = await self.stats([name])
        return found[0] if found else None

    async def find(self, ids: Sequence[str]) -> list[Stat]:
        """
        The stats of some ids, in their order.

        :raises Refusal: 404 if there is none of one of them.
        """
        names = await self._cardinality.names(ids)
        found = {stat.id: stat for stat in await self.stats(sorted(set(names)))}
        for id in ids:
            if id not in found:
                raise Refusal(404, f"there is no stat with the id {id[:40]!r}")
        return [found[id] for id in ids]

    async def data(
        self,
        stats: Sequence[Stat],
        timeframe: Timeframe | str,
        now: float | None = None,
        start: int | None = None,
    ) -> list[Series]:
        """
        Stats over a timeframe.

        :param stats: which, from one of the above.
        :param timeframe: such as ``'1w3h'``.
        :param now: the time that its last step holds, by default now.
        :param start: the time that its first step holds, in Unix seconds; then it ends
            where the timeframe does, or now.
        :raises Refusal: if it is none, needs finer detail than is kept, or is too much.
        """
        try:
            frame = (
                Timeframe.parse(timeframe) if isinstance(timeframe, str) else timeframe
            )
        except InvalidTimeframe as error:
            raise Refusal(400, str(error)) from None
        now = self.store.clock.seconds() if now is None else now
        if start is not None and start > now:
            raise Refusal(400, f"start: {start} is in the future; it is {int(now)} now")
        plan = Plan(frame, now, self.retention, self._kept.whole_since, start)
        width = len(plan.stretches)
        if width * len(stats) > MAX_CELLS:
            raise Refusal(
                400,
                f"{frame} of {len(stats)} stats at once is too much: ask for at most "
                f"{max(1, MAX_CELLS // width)} of them in one request",
            )
        series = []
        at_once = max(1, _CELLS_AT_ONCE // width)
        for start in range(0, len(stats), at_once):
            some = stats[start : start + at_once]
            keys = [key for stat in some for key in plan.keys(stat.name)]
            cells = await self.store.read(keys)
            series += [
                plan.series(stat, cells[at * width : (at + 1) * width])
                for at, stat in enumerate(some)
            ]
        return series

    async def all_time(self, stat: Stat) -> Timeframe:
        """
        The timeframe from a stat's first data to now, in the finest steps that give at
        most :data:`~txstathat.points.timeframe.MAX_BUCKETS` points and of which all detail is
        still stored. For a stat without data it is one minute.
        """
        now = self.store.clock.seconds()

        def whole_since(scale: str) -> float:
            kept = self.retention[scale]
            return max(self._kept.whole_since(scale), 0 if kept is None else now - kept)

        first = await first_time(stat.name, now, self.store.read)
        return all_time_of(
            int(now) if first is None else min(first, int(now)),
            now,
            whole_since,
            MAX_POINTS,
        )

    async def totals(self, stats: Sequence[Stat] | None = None) -> dict[str, Total]:
        """
        All that was received, by the stat's name.

        :param stats: which; by default all.
        """
        if stats is None:
            stats = await self.stats()
        cells = await self.store.read([total_key(stat.name) for stat in stats])
        return {
            stat.name: Total(stat.kind, cell.count, cell.sum)
            for stat, cell in zip(stats, cells, strict=True)
            if cell is not None
        }

    # -- comments

    async def comment(self, stat: Stat, text: str) -> Comment:
        """
        Store a note about a stat, at this moment.

        :raises InvalidPoint: if the text is not valid.
        :raises Refusal: if there are too many comments.
        """
        return await self._comments.add(stat, text)

    async def comments(
        self, stats: Sequence[Stat], since: int = 0
    ) -> dict[str, list[Comment]]:
        """
        The notes about some stats, oldest first, by the stat's name.

        :param stats: which, from one of the above.
        :param since: only those of this time or later, in Unix seconds.
        """
        return await self._comments.read(stats, since)

    # -- the trash

    async def delete(self, id: str) -> Stat:
        """
        Put a stat in the trash, where it is for :data:`.trash.KEEP` seconds: it is in
        no list and has no data. With the next point of its name it is back, whole.

        :raises Refusal: 404 if there is none.
        """
        (stat,) = await self.find([id])
        await self._trash.put(stat)
        return stat

    async def restore(self, name: str) -> Stat:
        """
        Take a stat back out of the trash.

        :raises Refusal: 404 if it is not there.
        """
        if not await self._trash.take(stat_id(name)):
            raise Refusal(404, f"{name!r} is not in the trash")
        stat = await self.stat(name)
        if stat is None:
            raise Refusal(404, f"{name!r} is not in the trash any more")
        return stat

    async def empty_trash(self) -> int:
        """
        Forget for good what has been in the trash for long enough.

        :returns: how many stats.
        """
        forgotten = await self._trash.empty()
        self._cardinality.forget(forgotten)
        return len(forgotten)


def _id(batch: Batch) -> str | None:
    if batch.batch_id is None:
        return None
    # Another sender may call another batch the same.
    scoped = f"{_sender(batch)}\0{batch.batch_id}".encode()
    return hashlib.sha256(scoped).hexdigest()


def _sender(batch: Batch) -> str:
    secret = f"{batch.api}\0{batch.key}".encode()
    return hashlib.sha256(secret).hexdigest()


def _checked(retention: Mapping[str, float | None]) -> dict[str, float | None]:
    for scale, keep in retention.items():
        if scale not in SCALES:
            raise ValueError(f"{scale!r} is no scale; these are: {', '.join(SCALES)}")
        if keep is not None and not keep > 0:
            raise ValueError(f"the retention of {scale} must be positive, not {keep!r}")
    return RETENTION | dict(retention)
