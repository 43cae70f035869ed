"""
What a store is, and what goes in and out of it.

A store knows nothing of axes and calendars. It keeps *cells*, each named by a Metrica's
name, a scale, the label of a stretch of time, and a key within that stretch.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from txstathat.stores.batching import WriteBatcher

__all__ = [
    "ANY",
    "REMEMBER",
    "Addition",
    "Amounts",
    "Answer",
    "Batch",
    "Cell",
    "CellKey",
    "IEntry",
    "IStore",
    "Increment",
    "Outcome",
    "TimeBucket",
]

#: Stands for any record, or none, in :meth:`IStore.put_record`. (A lone surrogate is no
#: record's text: no store could encode it.)
ANY = "\udcff"
#: For how many seconds a store remembers the id of a batch, by default: 8 days.
REMEMBER = 8 * 86_400


class Addition(NamedTuple):
    """
    What is added to a cell: events already summed up.

    Whole numbers and floats are kept apart, so that the whole ones stay exact. A float
    sum is kept as two floats, ``real + rest``, of which the second is what the first
    could not hold (:func:`txstathat.stores.sums.add_floats`).

    :ivar whole: the sum of the whole amounts.
    :ivar events: how many there were.
    :ivar least: the least amount.
    :ivar most: the greatest amount.
    :ivar real: the sum of the float amounts; ``None`` when there were none.
    :ivar rest: what ``real`` could not hold.
    """

    whole: int
    events: int
    least: int | float
    most: int | float
    real: float | None = None
    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """
    What a cell holds.

    :ivar sum: the sum of the amounts: an int while all of them were ints, else a float.
    :ivar count: how many events there were.
    :ivar min: the least amount.
    :ivar max: the greatest amount.
    :ivar parts: what ``sum`` is the sum of. Where that had to be rounded, these were
        not: whoever adds up cells adds these.
    """

    sum: int | float
    count: int
    min: int | float
    max: int | float
    parts: tuple[int | float, ...] = field(default=(), compare=False)


class CellKey(NamedTuple):
    """
    The name of a cell.

    :ivar name: the Metrica's name.
    :ivar scale: ``'all'``, ``'year'``, ``'month'``, ``'day'``, ``'hour'`` or
        ``'minute'``; to a store any text.
    :ivar label: the stretch of time; to a store any text.
    :ivar key: which of the stretch's cells; to a store any text.
    """

    name: str
    scale: str
    label: str
    key: str


class TimeBucket(NamedTuple):
    """
    A stretch of time in which something is added.

    :ivar scale: the scale.
    :ivar label: the stretch.
    :ivar keep: for how many seconds from now on its cells are kept, or up to a
        thousandth longer; ``None`` is for ever.
    """

    scale: str
    label: str
    keep: float | None


class Increment(NamedTuple):
    """
    What is added alike in several stretches.

    :ivar stretches: in which.
    :ivar cells: additions by Metrica's name, then key.
    """

    stretches: Sequence[TimeBucket]
    cells: Mapping[str, Mapping[str, Addition]]


@dataclass(frozen=True, slots=True)
class Amounts:
    """
    What one batch adds.

    :ivar definitions: the definition of each Metrica in it, by name: written when the
        store has none for that name, else they must be equal.
    :ivar increments: the additions.
    :ivar choices: choices seen, by Metrica's name and set of choices.
    """

    definitions: Mapping[str, str]
    increments: Sequence[Increment]
    choices: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Additions that are made all or none, and once.

    :ivar id: names the batch, so that it can be repeated.
    :ivar digest: stands for what is in it: the same id with another digest is refused.
    :ivar amounts: returns what it adds. It is called in a thread of the store's (and
        again when the batch is repeated), so that working it out holds up nobody. What
        it raises is what adding fails with; then neither this batch is added nor those
        after it.
    :ivar remember: for how many seconds the id is remembered.
    """

    id: str
    digest: str
    amounts: Callable[[], Amounts]
    remember: float = REMEMBER


class Outcome(enum.Enum):
    """What became of a batch."""

    #: It was added.
    ADDED = "added"
    #: It had been added before, under this id; nothing was added.
    REPEATED = "repeated"
    #: Another batch was added before under this id; nothing was added.
    CONFLICT = "conflict"
    #: A sum would go beyond its range; nothing was added.
    OVERFLOW = "overflow"
    #: A name is defined in another way; nothing was added.
    MISMATCH = "mismatch"


class Answer(NamedTuple):
    """
    A store's answer to one batch.

    :ivar outcome: what became of it.
    :ivar name: for an overflow or a mismatch, the name of the Metrica concerned.
    """

    outcome: Outcome
    name: str = ""


class IEntry(Interface):
    """
    What can be put into a store's gather: something that becomes a batch when it is
    written, and may still grow until then.
    """

    def encode() -> Batch:
        """
        Called when it is about to be written, once for each attempt; it must not
        change from the first time on.

        :returns: the same batch each time.
        """


class IStore(Interface):
    """
    Keeps cells. All results are Deferreds, which fail with
    :class:`~txstathat.errors.StoreUnavailable` when the store cannot be reached or
    cannot write (with :class:`~txstathat.errors.StoreInterrupted` when a batch may be
    half added), and with :class:`~txstathat.errors.StoreClosed` after :meth:`close`.
    Cancelling a Deferred does not undo what was begun.
    """

    clock: IReactorTime = Attribute("Tells the time, by default the reactor.")
    batcher: WriteBatcher[IEntry, Answer] = Attribute(
        "Shared by all who write in small, so that they write in large together."
    )

    def add(batches: Sequence[Batch]) -> Deferred[list[Answer]]:
        """
        Add batches, committed together; each is added whole or not at all.

        :param batches: with ids of their own.
        :returns: fires with an answer for each, in their order, when what was added is
            as safe as the store makes it.
        """

    def read(keys: Sequence[CellKey]) -> Deferred[list[Cell | None]]:
        """
        Read cells.

        :returns: fires with as many cells, in the keys' order; ``None`` for one that
            holds nothing.
        """

    def choices(name: str, group: str) -> Deferred[list[str]]:
        """
        The choices seen.

        :param name: the Metrica's name.
        :param group: which set of choices.
        :returns: fires with them, sorted.
        """

    def definitions(names: Sequence[str] | None = None) -> Deferred[dict[str, str]]:
        """
        The Metricas that are kept.

        :param names: only these; all by default.
        :returns: fires with their definitions by name. A name not kept is left out.
        """

    def drop(
        name: str, unchanged: tuple[CellKey, Cell] | None = None
    ) -> Deferred[bool]:
        """
        Forget a Metrica: its definition, choices and cells.

        :param name: the Metrica's name.
        :param unchanged: a cell of it and what it held: drop it only if it still holds
            that. (In a Redis Cluster what is added in the moments between looking and
            dropping is dropped too.)
        :returns: fires with whether there was one and it is dropped.
        """

    def records(kind: str) -> Deferred[dict[str, str]]:
        """
        The records of a kind: small documents that belong to what is counted, such as
        keys and alerts. There are hundreds of them rather than millions.

        :param kind: any text.
        :returns: fires with their texts, by id.
        """

    def put_record(
        kind: str, id: str, text: str | None, was: str | None = ANY
    ) -> Deferred[bool]:
        """
        Write, replace or delete a record.

        :param kind: any text.
        :param id: any text.
        :param text: the record; ``None`` deletes it.
        :param was: change it only if it is this now (``None``: only if there is none),
            so that of several who want to only one does. Default: whatever it is.
        :returns: fires with whether it is as wanted now because of this.
        """

    def drop_expired(limit: int = 10_000) -> Deferred[int]:
        """
        Give back the space of what has expired. (What has expired is never read, also
        before this; and stores do this by themselves while they are written to.)

        :param limit: how many rows to delete at most.
        :returns: fires with how many were deleted: 0 when nothing was left to do, and
            always 0 for a store whose server does it.
        """

    def close() -> Deferred[None]:
        """
        Write what is gathered, within a bounded time, then close.

        :returns: fires with ``None`` when it is closed; it does not fail. What could
            not be written by then fails with
            :class:`~txstathat.errors.StoreUnavailable`.
        """
