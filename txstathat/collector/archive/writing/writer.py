"""
Writes posted points to the store, within limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txstathat.collector.archive.health import StoreHealth
from txstathat.collector.archive.listing import StatListing
from txstathat.collector.archive.writing.allowance import Allowances
from txstathat.collector.archive.writing.cardinality import CardinalityLimiter
from txstathat.collector.archive.writing.commit import (
    PendingWrite,
    WriteRoom,
    write_requests,
)
from txstathat.collector.archive.writing.delta import BatchDelta
from txstathat.collector.ingest.parse import PostedBatch
from txstathat.errors import StoreBusy
from txstathat.stores.batching import WriteBatcher
from txstathat.stores.interface import IStore, WriteOutcome, WriteResult

__all__ = ["LINGER", "MAX_WAITING_POINTS", "PointWriter"]

#: How long the batcher waits for more requests, as a share of the time that the last
#: write took (see :class:`~txstathat.stores.batching.WriteBatcher`).
LINGER = 0.5
#: How many points may wait to be written. Further ones are refused.
MAX_WAITING_POINTS = 200_000


class PointWriter:
    """
    Writes the points of requests.

    :param store: the store.
    :param timers: schedules what waits.
    :param retention: the scales to store, coarsest first, and for how many seconds.
    :param cardinality: limits the number of new stats.
    :param allowances: limits the time buckets of the past.
    :param health: notes the result of each write.
    :param listing: notes which stats were written.

    :ivar batcher: combines requests into few writes.
    :ivar waiting_points: the number of points that wait to be written.
    """

    def __init__(
        self,
        store: IStore,
        timers: IReactorTime,
        retention: Mapping[str, float | None],
        cardinality: CardinalityLimiter,
        allowances: Allowances,
        health: StoreHealth,
        listing: StatListing,
    ) -> None:
        self._store = store
        self._timers = timers
        self._retention = retention
        self._cardinality = cardinality
        self._allowances = allowances
        self._health = health
        self._listing = listing
        # A write is tried once: the sender repeats it, under the same id.
        self.batcher: WriteBatcher[PendingWrite, WriteResult] = WriteBatcher(
            self._write, timers, room=WriteRoom, timeout=0, linger=LINGER
        )
        self.waiting_points = 0

    async def write(self, batch: PostedBatch) -> tuple[WriteResult, BatchDelta]:
        """
        Write the points of a request, all or none, and once for each id. Cancelling it
        does not affect the write.

        :returns: the result of the store, and what was to be added.
        :raises Refusal: if the points do not go together, or there are too many new
            stats.
        :raises StoreBusy: if too many points wait.
        :raises StoreUnavailable: if the store could not write them.
        """
        points = len(batch.points)
        if self.waiting_points + points > MAX_WAITING_POINTS:
            raise StoreBusy(self.waiting_points)
        delta = BatchDelta(batch.points, self._store.clock.seconds())
        self.waiting_points += points
        try:
            request = PendingWrite(delta, _batch_id(batch), batch.digest.hex())
            past = delta.past(self._retention)
            if not past and self._cardinality.all_known(delta.kinds):
                result = await self.batcher.put(request)
            else:
                result = await self._put_new(request, sender_of(batch), past)
        finally:
            self.waiting_points -= points
        if result.outcome is WriteOutcome.ADDED:
            self._listing.note(delta.kinds)
        return result, delta

    async def _put_new(
        self, request: PendingWrite, sender: str, past: Collection[int]
    ) -> WriteResult:
        if past:
            await self._allowances.take_past(sender, past)
        reservation = await self._cardinality.admit(sender, request.delta.kinds)
        added = False
        try:
            result = await self.batcher.put(request)
            added = result.outcome is WriteOutcome.ADDED
        finally:
            created = self._cardinality.settled(reservation, added)
            kinds = request.delta.kinds
            self._listing.add({name: kinds[name] for name in created})
        # Otherwise the next write would wait for that.
        await self._allowances.saved_for(sender)
        return result

    def _write(self, requests: list[PendingWrite]) -> Deferred[list[WriteResult]]:
        written = Deferred.fromCoroutine(
            write_requests(self._store, requests, self._retention, self._timers)
        )

        def note(results: list[WriteResult]) -> list[WriteResult]:
            self._health.note(results)
            return results

        return written.addBoth(note)


def sender_of(batch: PostedBatch) -> str:
    """
    Return a text that identifies the key of a batch, and is not a secret.
    """
    secret = f"{batch.api}\0{batch.key}".encode()
    return hashlib.sha256(secret).hexdigest()


def _batch_id(batch: PostedBatch) -> str | None:
    if batch.batch_id is None:
        return None
    # Another sender may use the same id.
    scoped = f"{sender_of(batch)}\0{batch.batch_id}".encode()
    return hashlib.sha256(scoped).hexdigest()
