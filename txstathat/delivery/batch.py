"""
Sealed batches: points frozen as the bytes that are sent, with an id of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from twisted.internet.defer import Deferred

from txstathat.client.outcome import Outcome
from txstathat.client.payload import Payload
from txstathat.points.model import Point

__all__ = [
    "DeliveryClient",
    "PAGE_SIZE",
    "Place",
    "SealedBatch",
    "Tally",
    "divide",
    "seal_batches",
]

#: The size of a page of a spool file, in bytes.
PAGE_SIZE = 4096
#: Bytes that a batch takes on disk in addition to its body.
ROW_OVERHEAD = 256

#: A point, and how many calls were summed in it.
Tally = tuple[Point, int]
#: Where a batch is on disk: the number of the spool file, and the row in it.
Place = tuple[int, int]


class DeliveryClient(Protocol):
    """
    The part of a client that delivery uses: :class:`~txstathat.client.txStatHat` or
    :class:`~txstathat.client.txStatHatClassic`.
    """

    def encode(self, points: Iterable[Point]) -> list[Payload]: ...

    def decode(self, payload: Payload) -> list[Point]: ...

    def check_stat(self, stat: object) -> None: ...

    def describe_stat(self, stat: object) -> str: ...

    def fingerprint(self, salt: bytes) -> str: ...

    def send_payload(
        self, payload: Payload, batch_id: str | None = None
    ) -> Deferred[Outcome]: ...

    def close(self) -> Deferred[None]: ...


@dataclass(slots=True, eq=False)
class SealedBatch:
    """
    One request, the same on every attempt.

    :ivar id: its ``Idempotency-Key``.
    :ivar number: its place in the order of sealing; 0 if an earlier process sealed it.
    :ivar created: when this process sealed it, or read it from the file of an earlier
        process, in Unix seconds.
    :ivar payload: what is sent.
    :ivar calls: for each point, how many recorded calls are in it.
    :ivar place: where it is on disk; ``None`` if it is only in memory.
    :ivar home: the spool file to write it to; ``None`` for the process's own file.
    :ivar tries: how many attempts have failed.
    :ivar resent: how often it was sent again after an answer that the client does not
        understand.
    :ivar waiting: whether it waits at the slowest pace.
    """

    number: int
    created: float
    payload: Payload
    calls: Sequence[int]
    id: str = field(default_factory=lambda: uuid4().hex)
    place: Place | None = None
    home: int | None = None
    tries: int = 0
    resent: int = 0
    waiting: bool = False

    @property
    def total(self) -> int:
        """
        How many recorded calls are in the batch.
        """
        return sum(self.calls)

    @property
    def size(self) -> int:
        """
        About how many bytes it takes on disk, rounded up.
        """
        row = len(self.payload.body) + 4 * len(self.calls) + ROW_OVERHEAD
        # A row that is larger than a page fills whole pages.
        return row if row < PAGE_SIZE else -(-row // PAGE_SIZE) * PAGE_SIZE

    def is_too_old(self, now: float, max_age: float) -> bool:
        """
        Whether to drop the batch because of its age.

        A batch of an earlier process is sent at least once.

        :param now: the time by the steady clock, in Unix seconds.
        :param max_age: in seconds.
        """
        is_untried = not (self.number or self.tries or self.resent)
        return not is_untried and self.created < now - max_age


def seal_batches(
    client: DeliveryClient, tallies: Sequence[Tally], number: int, now: float
) -> list[SealedBatch]:
    """
    Freeze points as batches: one batch for all with the EZ API, one for each with the
    Classic API.

    :param tallies: valid points, each with a time, and the calls in each.
    :param number: see :class:`SealedBatch`.
    :param now: the time in Unix seconds.
    """
    batches = []
    first = 0
    for payload in client.encode([point for point, _ in tallies]):
        part = tallies[first : first + payload.points]
        batches.append(SealedBatch(number, now, payload, [calls for _, calls in part]))
        first += payload.points
    return batches


def divide(
    client: DeliveryClient, batch: SealedBatch, groups: Iterable[Sequence[int]]
) -> list[list[SealedBatch]]:
    """
    Make batches of some of the points of a batch, each with an id of its own.

    :param groups: which points go together, by their index in the batch.
    :returns: for each group its batches: mostly one.
    :raises ValueError: if a client of the other API sealed the batch.
    """
    tallies = list(zip(client.decode(batch.payload), batch.calls, strict=True))
    parts = [
        seal_batches(client, [tallies[i] for i in group], batch.number, batch.created)
        for group in groups
    ]
    for part in (each for group in parts for each in group):
        part.home = None if batch.place is None else batch.place[0]
    return parts
