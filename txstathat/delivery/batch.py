"""
Sealed batches: points frozen as the bytes that are sent, under an id of their own.
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
    "Batch",
    "Client",
    "PAGE_SIZE",
    "Place",
    "Tally",
    "divide",
    "seal_batches",
]

#: The size of a page of a spool file, in bytes.
PAGE_SIZE = 4096
#: Bytes that a batch takes on disk beside its body.
ROW_OVERHEAD = 256

#: A point, and how many calls were summed in it.
Tally = tuple[Point, int]
#: Where a batch is on disk: the number of the spool file, and the row in it.
Place = tuple[int, int]


class Client(Protocol):
    """
    What delivery needs of a client, :class:`~txstathat.client.txStatHat` or
    :class:`~txstathat.client.txStatHatClassic`.
    """

    def encode(self, points: Iterable[Point]) -> list[Payload]: ...

    def decode(self, payload: Payload) -> list[Point]: ...

    def check_stat(self, stat: object) -> None: ...

    def describe_stat(self, stat: object) -> str: ...

    def send_payload(
        self, payload: Payload, batch_id: str | None = None
    ) -> Deferred[Outcome]: ...

    def close(self) -> Deferred[None]: ...


@dataclass(slots=True, eq=False)
class Batch:
    """
    One request, the same on every try.

    :ivar id: its ``Idempotency-Key``.
    :ivar number: the place in the order of sealing; 0 for one of an earlier process.
    :ivar created: when it was sealed, in Unix seconds.
    :ivar payload: what is sent.
    :ivar calls: how many recorded calls are in each point.
    :ivar place: where it is on disk; ``None`` for one that is only in memory.
    :ivar home: the spool file that it belongs in; ``None`` for the process's own.
    :ivar tries: how many attempts have failed.
    :ivar resent: how often it was sent again after an answer that nobody understands.
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


def seal_batches(
    client: Client, tallies: Sequence[Tally], number: int, now: float
) -> list[Batch]:
    """
    Freeze points as batches: one for all with the EZ API, one for each with the
    Classic API.

    :param tallies: valid points, each with a time, and the calls in each.
    :param number: see :class:`Batch`.
    :param now: the time in Unix seconds.
    """
    batches = []
    first = 0
    for payload in client.encode([point for point, _ in tallies]):
        part = tallies[first : first + payload.points]
        batches.append(Batch(number, now, payload, [calls for _, calls in part]))
        first += payload.points
    return batches


def divide(
    client: Client, batch: Batch, groups: Iterable[Sequence[int]]
) -> list[list[Batch]]:
    """
    Batches of some of the points of a batch, each with an id of its own.

    :param groups: which points go together, by their places in the batch.
    :returns: for each group its batches: mostly one.
    :raises ValueError: if another client sealed the batch.
    """
    tallies = list(zip(client.decode(batch.payload), batch.calls, strict=True))
    parts = [
        seal_batches(client, [tallies[i] for i in group], batch.number, batch.created)
        for group in groups
    ]
    for part in (each for group in parts for each in group):
        part.home = None if batch.place is None else batch.place[0]
    return parts
