"""
Writes requests that wait together in one commit. Requests without an id become one
batch, so the cost of a write depends on the number of distinct stats, not of requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from txstathat.collector.archive.writing.delta import BatchDelta, NotMergeable
from txstathat.errors import StoreInterrupted, StoreUnavailable
from txstathat.stores.batching import write_retry_delay
from txstathat.stores.interface import (
    BATCH_ID_TTL,
    Amounts,
    IStore,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)

__all__ = [
    "FINISH_SECONDS",
    "MAX_SUMS",
    "OWN_ID_TTL",
    "PendingWrite",
    "WriteRoom",
    "write_requests",
]

#: How many sums one write has at most: one for each stat and minute of its requests. A
#: request with more is a write of its own.
MAX_SUMS = 10_000
#: For how many seconds a write that may be partly applied is repeated: until a cluster
#: has replaced a node that failed.
FINISH_SECONDS = 60.0
#: For how many seconds a store remembers the id of a batch whose sender gave none. Only
#: the store's own connection repeats it, and this collector for
#: :data:`FINISH_SECONDS`.
OWN_ID_TTL = 300.0

# The digest of batches whose sender gave no id.
_NO_DIGEST = ""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """
    A request that waits to be written.

    :ivar delta: what it adds.
    :ivar id: its id in the store; ``None`` if its sender gave none.
    :ivar digest: represents its body.
    """

    delta: BatchDelta
    id: str | None
    digest: str

    def batch(self, retention: Mapping[str, float | None]) -> WriteBatch:
        """
        Return the request as a batch for the store.
        """
        if self.id is None:
            return _own_batch(lambda: self.delta.amounts(retention))
        return WriteBatch(
            self.id, self.digest, lambda: self.delta.amounts(retention), BATCH_ID_TTL
        )


class WriteRoom:
    """
    The room for requests in one write: a store takes longer for more sums.

    :param most: how many sums a write has at most.
    """

    def __init__(self, most: int = MAX_SUMS) -> None:
        self._most = most
        self._stats: dict[int, set[str]] = {}

    def __call__(self, request: PendingWrite) -> bool:
        """
        Return whether there is room for one more request.
        """
        for minute, stats in request.delta.stats():
            self._stats.setdefault(minute, set()).update(stats)
        return sum(map(len, self._stats.values())) <= self._most


async def write_requests(
    store: IStore,
    requests: Sequence[PendingWrite],
    retention: Mapping[str, float | None],
    timers: IReactorTime,
    merge: Callable[[Sequence[BatchDelta]], BatchDelta] = BatchDelta.merge,
) -> list[WriteResult]:
    """
    Write requests, each whole or not at all.

    :param store: the store.
    :param requests: the requests.
    :param retention: the scales to store, coarsest first, and for how many seconds.
    :param timers: schedules repetitions.
    :param merge: puts the requests without an id together, in the store's thread, since
        that may take a while.
    :returns: the results, in the order of the requests.
    """
    without_id = [request for request in requests if request.id is None]
    with_id = [request for request in requests if request.id is not None]
    if len(without_id) < 2:
        return await _add(
            store, timers, [request.batch(retention) for request in requests]
        )
    deltas = [request.delta for request in without_id]
    merged = _own_batch(lambda: merge(deltas).amounts(retention))
    try:
        shared, *others = await _add(
            store, timers, [merged, *(request.batch(retention) for request in with_id)]
        )
    except NotMergeable:
        return await _add(
            store, timers, [request.batch(retention) for request in requests]
        )
    if shared.outcome is WriteOutcome.ADDED:
        results = [shared] * len(without_id)
    else:
        # One of them cannot be added; the others can.
        results = await _add(
            store, timers, [request.batch(retention) for request in without_id]
        )
    # Both lists are in the order of the requests.
    shares, named = iter(results), iter(others)
    return [next(shares) if request.id is None else next(named) for request in requests]


async def _add(
    store: IStore, timers: IReactorTime, batches: Sequence[WriteBatch]
) -> list[WriteResult]:
    """
    Add batches, and repeat a write that may be partly applied if it has requests
    without an id: their senders cannot repeat them.
    """
    has_own = any(batch.digest == _NO_DIGEST for batch in batches)
    interrupted_at: float | None = None
    for attempt in count(1):
        try:
            results = await store.add(batches)
            break
        except StoreUnavailable as error:
            now = timers.seconds()
            if not has_own:
                raise
            if interrupted_at is None and isinstance(error, StoreInterrupted):
                interrupted_at = now
            delay = write_retry_delay(attempt)
            if interrupted_at is None or now + delay > interrupted_at + FINISH_SECONDS:
                raise
        await deferLater(timers, delay)
    # A batch without an id that the store calls repeated was repeated above.
    return [
        WriteResult(WriteOutcome.ADDED)
        if batch.digest == _NO_DIGEST and result.outcome is WriteOutcome.REPEATED
        else result
        for batch, result in zip(batches, results, strict=True)
    ]


def _own_batch(amounts: Callable[[], Amounts]) -> WriteBatch:
    return WriteBatch(uuid4().hex, _NO_DIGEST, amounts, OWN_ID_TTL)
