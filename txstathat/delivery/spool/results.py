"""
What a spool folder dropped and found.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Adopted", "Dropped"]


@dataclass(frozen=True, slots=True)
class Dropped:
    """
    A batch that was dropped.

    :ivar number: see :class:`~txstathat.delivery.batch.SealedBatch`.
    :ivar calls: how many recorded calls were in it.
    :ivar reason: as in :class:`~txstathat.delivery.ledger.DeliveryHealth`.
    :ivar batches: how many batches, if it is more than one.
    """

    number: int
    calls: int
    reason: str
    batches: int = 1


@dataclass(slots=True)
class Adopted:
    """
    What the files of processes that have ended hold.

    :ivar batches: how many batches.
    :ivar calls: how many recorded calls are in them.
    :ivar damaged: how many batches cannot be read.
    :ivar foreign_files: how many files belong to other accounts.
    """

    batches: int = 0
    calls: int = 0
    damaged: int = 0
    foreign_files: int = 0
