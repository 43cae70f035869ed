"""
How requests that wait together are written: in one commit, and those without an id as
one batch, so that what a write costs follows the distinct stats, not the requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from txstathat.collector.additions import Additions
from txstathat.stores.interface import REMEMBER, Answer, Batch, IStore, Outcome

__all__ = ["REMEMBER_OWN", "Request", "write_requests"]

#: For how many seconds a store remembers a batch that its sender gave no id. Nobody
#: repeats it but the store's own connection.
REMEMBER_OWN = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request that waits to be written.

    :ivar additions: what it adds.
    :ivar id: what it is known by; ``None`` if its sender gave it no id.
    :ivar digest: stands for its body.
    """

    additions: Additions
    id: str | None
    digest: str

    def batch(self, keep: Mapping[str, float | None]) -> Batch:
        """
        The request as a batch of its own.
        """
        if self.id is None:
            return _own(self.additions, keep)
        return Batch(
            self.id, self.digest, lambda: self.additions.amounts(keep), REMEMBER
        )


async def write_requests(
    store: IStore, requests: Sequence[Request], keep: Mapping[str, float | None]
) -> list[Answer]:
    """
    Write requests, each whole or not at all.

    :param store: where.
    :param requests: which.
    :param keep: the scales to keep, coarsest first, and for how many seconds.
    :returns: the store's answers, in their order.
    """
    nameless = [request for request in requests if request.id is None]
    together = (
        Additions.together([request.additions for request in nameless])
        if len(nameless) > 1
        else None
    )
    if together is None:
        return await store.add([request.batch(keep) for request in requests])
    named = [request.batch(keep) for request in requests if request.id is not None]
    shared, *answers = await store.add([_own(together, keep), *named])
    if shared.outcome is Outcome.ADDED:
        of_nameless = [shared] * len(nameless)
    else:
        # One of them cannot be added; the others can.
        of_nameless = await store.add([request.batch(keep) for request in nameless])
    waiting = iter(of_nameless), iter(answers)
    return [next(waiting[request.id is not None]) for request in requests]


def _own(additions: Additions, keep: Mapping[str, float | None]) -> Batch:
    return Batch(uuid4().hex, "", lambda: additions.amounts(keep), REMEMBER_OWN)
