"""
Batches that are prepared for a journal.
"""

from __future__ import annotations

from typing import NamedTuple

from txstathat.stores.interface import WriteBatch, WriteOutcome, WriteResult
from txstathat.stores.journal.rows import Section, TooLarge, sections_of

__all__ = ["MAX_LOAD", "Prepared", "Usage"]

#: How much the journal adds to a sum at most, as a share of the largest sum. Beyond
#: that, a commit first folds all, or adds its batch to the cells at once.
MAX_LOAD = 0.25


class Usage(NamedTuple):
    """
    The size of a journal.

    :ivar load: an upper bound of what it adds to a cell, as a share of the largest sum.
    :ivar additions: about how many additions it has (:attr:`.Section.size`).
    """

    load: float
    additions: int


class Prepared:
    """
    A batch, divided into sections. Creating it takes most of the time, and no lock.

    :param batch: the batch.

    :ivar batch: the batch.
    :ivar amounts: what it adds.
    :ivar sections: the same, divided.
    :ivar usage: its size.
    :ivar refusal: the result if the batch cannot be added.
    """

    def __init__(self, batch: WriteBatch) -> None:
        self.batch = batch
        self.amounts = batch.amounts()
        self.refusal: WriteResult | None = None
        self.sections: list[Section] = []
        try:
            self.sections = sections_of(self.amounts)
        except TooLarge as error:
            self.refusal = WriteResult(WriteOutcome.OVERFLOW, error.name)
        self.usage = Usage(
            sum(section.load for section in self.sections),
            sum(section.size for section in self.sections),
        )
