"""
How requests that wait together are written: in one commit, and those without an id as
one batch, so that what a write costs follows the distinct stats, not the requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

from twisted.internet.task import deferLater

from txstathat.collector.archive.delta import BatchDelta, NotMergeable
from txstathat.errors import StoreInterrupted, StoreUnavailable
from txstathat.stores.batching import retry_delay
from txstathat.stores.interface import (
    BATCH_ID_TTL,
    Amounts,
    IStore,
    WriteBatch,
    WriteOutcome,
    WriteResult,
)

__all__ = ["FINISH", "REMEMBER_OWN", "PendingWrite", "write_requests"]

#: For how many seconds a write is repeated that was cut in half.
FINISH = 5.0
#: For how many seconds a store remembers a batch that its sender gave no id. Nobody
#: repeats it but the store's own connection, and this collector for :data:`FINISH`.
REMEMBER_OWN = 60.0

# Of batches whose sender gave no id.
_NO_DIGEST = ""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """
    A request that waits to be written.

    :ivar additions: what it adds.
    :ivar id: what it is known by; ``None`` if its sender gave it no id.
    :ivar digest: stands for its body.
    """

    additions: BatchDelta
    id: str | None
    digest: str

    def batch(self, keep: Mapping[str, float | None]) -> WriteBatch:
        """
        The request as a batch of its own.
        """
        if self.id is None:
            return _own(lambda: self.additions.amounts(keep))
        return WriteBatch(
            self.id, self.digest, lambda: self.additions.amounts(keep), BATCH_ID_TTL
        )


async def write_requests(
    store: IStore, requests: Sequence[PendingWrite], keep: Mapping[str, float | None]
) -> list[WriteResult]:
    """
    Write requests, each whole or not at all.

    :param store: where.
    :param requests: which.
    :param keep: the scales to keep, coarsest first, and for how many seconds.
    :returns: the store's answers, in their order.
    """
    nameless = [request for request in requests if request.id is None]
    if len(nameless) < 2:
        return await _add(store, [request.batch(keep) for request in requests])
    named = [request.batch(keep) for request in requests if request.id is not None]
    # What they add together is worked out in the store's thread, as all else is.
    several = [request.additions for request in nameless]
    together = _own(lambda: BatchDelta.merge(several).amounts(keep))
    try:
        shared, *answers = await _add(store, [together, *named])
    except NotMergeable:
        return await _add(store, [request.batch(keep) for request in requests])
    if shared.outcome is WriteOutcome.ADDED:
        of_nameless = [shared] * len(nameless)
    else:
        # One of them cannot be added; the others can.
        of_nameless = await _add(store, [request.batch(keep) for request in nameless])
    waiting = iter(of_nameless), iter(answers)
    return [next(waiting[request.id is not None]) for request in requests]


async def _add(store: IStore, batches: Sequence[WriteBatch]) -> list[WriteResult]:
    """
    Add batches, and finish what a fault left half done: nobody else knows the ids of
    those that came without one.
    """
    began: float | None = None
    for attempt in count(1):
        try:
            answers = await store.add(batches)
            break
        except StoreUnavailable as error:
            now = store.clock.seconds()
            if began is None and isinstance(error, StoreInterrupted):
                began = now
            pause = retry_delay(attempt)
            if began is None or now + pause > began + FINISH:
                raise
        await deferLater(store.clock, pause)
    # Nobody else repeats these either.
    return [
        WriteResult(WriteOutcome.ADDED)
        if batch.digest == _NO_DIGEST and answer.outcome is WriteOutcome.REPEATED
        else answer
        for batch, answer in zip(batches, answers, strict=True)
    ]


def _own(amounts: Callable[[], Amounts]) -> WriteBatch:
    return WriteBatch(uuid4().hex, _NO_DIGEST, amounts, REMEMBER_OWN)
