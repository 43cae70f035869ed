"""
The interface of a store, and the values that go in and out of it.

A store stores *cells*. Four texts identify a cell: the name of its Metrica, a scale,
the label of a time bucket, and a key within that bucket. A store does not know axes or
calendars.
"""
# mypy: disable-error-code="misc"

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from txstathat.stores.batching import WriteBatcher
from txstathat.stores.listing import Group, ListedRow, ListPage, ListQuery

__all__ = [
    "ANY",
    "BATCH_ID_TTL",
    "Above",
    "Addition",
    "Amounts",
    "Cell",
    "CellKey",
    "Dump",
    "IEntry",
    "IStore",
    "Increment",
    "IncrementLike",
    "Key",
    "StoredCell",
    "TimeBucket",
    "WriteBatch",
    "WriteOutcome",
    "WriteResult",
]

#: In :meth:`IStore.put_record`: whatever the record is now, or none. (A lone surrogate
#: cannot be the text of a record: no store can encode it.)
ANY = "\udcff"
#: For how many seconds a store remembers the id of a batch, by default: 8 days.
BATCH_ID_TTL = 8 * 86_400


class Addition(NamedTuple):
    """
    What to add to a cell: the sum of one or more events.

    Whole numbers and floats have separate sums, so that the sum of whole numbers is
    exact. The sum of floats is a pair, ``real + rest``: ``rest`` is the rounding error
    of ``real`` (:func:`txstathat.stores.sums.add_floats`).

    :ivar whole: the sum of the whole amounts.
    :ivar events: the number of events.
    :ivar least: the smallest amount.
    :ivar most: the largest amount.
    :ivar real: the sum of the float amounts; ``None`` without any.
    :ivar rest: the rounding error of ``real``.
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
    The contents of a cell.

    :ivar sum: the sum of the amounts: an int if all of them are ints, else a float.
    :ivar count: the number of events.
    :ivar min: the smallest amount.
    :ivar max: the largest amount.
    :ivar parts: the exact summands of ``sum``, which itself may be rounded. To add
        several cells, add their parts.
    """

    sum: int | float
    count: int
    min: int | float
    max: int | float
    parts: tuple[int | float, ...] = field(default=(), compare=False)


class CellKey(NamedTuple):
    """
    The name of a cell.

    :ivar name: the name of the Metrica.
    :ivar scale: ``'all'``, ``'year'``, ``'month'``, ``'day'``, ``'hour'`` or
        ``'minute'``; a store accepts any text.
    :ivar label: the label of the time bucket; any text.
    :ivar key: the key of the cell within the bucket; any text.
    """

    name: str
    scale: str
    label: str
    key: str


class StoredCell(NamedTuple):
    """
    A cell with its exact contents and its time of expiry.

    :ivar name: the name of the Metrica.
    :ivar scale: the scale.
    :ivar label: the label of the time bucket.
    :ivar key: the key of the cell within the bucket.
    :ivar expires: when it expires, in Unix seconds; ``None`` for never.
    :ivar sums: its contents.
    """

    name: str
    scale: str
    label: str
    key: str
    expires: float | None
    sums: Addition


class TimeBucket(NamedTuple):
    """
    A year, month, day, hour or minute, or all time, to which a batch adds something.

    :ivar scale: the scale.
    :ivar label: the label.
    :ivar ttl: after how many seconds from now its cells expire (or up to a thousandth
        later); ``None`` for never.
    """

    scale: str
    label: str
    ttl: float | None


#: The key of a cell: any text; or a tuple of JSON texts. A tuple stands for the text of
#: the JSON list of these, and for the keys above it (:attr:`Amounts.above`).
Key: TypeAlias = str | tuple[str, ...]
#: For each part of a key that is a tuple: the parts that are above a part. A part that
#: is missing has none.
Above: TypeAlias = Sequence[Mapping[str, Sequence[str]]]


class IncrementLike(Protocol):
    """
    The same additions to several time buckets: an :class:`Increment`,
    :class:`~txstathat.stores.sums.Events` or
    :class:`~txstathat.stores.sums.SumColumns`.
    """

    @property
    def buckets(self) -> Sequence[TimeBucket]:
        """See :attr:`Increment.buckets`."""

    @property
    def cells(self) -> Mapping[str, Mapping[Key, Addition]]:
        """See :attr:`Increment.cells`."""

    @property
    def names(self) -> Collection[str]:
        """The names of the Metricas; some may be in it several times."""


class Increment(NamedTuple):
    """
    The same additions to several time buckets.

    :ivar buckets: the time buckets, each once. Several increments of a batch may have a
        bucket: the store adds all of them to it.
    :ivar cells: the additions, by name of the Metrica, then by key.
    """

    buckets: Sequence[TimeBucket]
    cells: Mapping[str, Mapping[Key, Addition]]

    @property
    def names(self) -> Collection[str]:
        """The names of the Metricas."""
        return self.cells.keys()


@dataclass(frozen=True, slots=True)
class Amounts:
    """
    Everything that one batch adds.

    :ivar definitions: the definition of each Metrica in the batch, by name. The store
        saves a new definition, and compares a known one.
    :ivar increments: the additions.
    :ivar choices: new choices, by name of the Metrica and group of choices.
    :ivar above: for keys that are tuples, by name of the Metrica: the parts above each
        part. An addition to such a key is also added to each key in which some parts
        are replaced by one above them.
    """

    definitions: Mapping[str, str]
    increments: Sequence[IncrementLike]
    choices: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    above: Mapping[str, Above] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """
    Additions that a store applies all or none, and only once.

    :ivar id: identifies the batch, so that a caller can repeat it.
    :ivar digest: represents its contents: the store refuses the same id with another
        digest.
    :ivar amounts: returns what to add. The store calls it in a thread of its own (again
        if the batch is repeated), so that this work does not block the reactor. If it
        raises, the whole write fails with that exception.
    :ivar id_ttl: for how many seconds the store remembers the id.
    """

    id: str
    digest: str
    amounts: Callable[[], Amounts]
    id_ttl: float = BATCH_ID_TTL


class WriteOutcome(enum.Enum):
    """What a store did with a batch."""

    #: The store added it.
    ADDED = "added"
    #: The store had added it before, under this id; it added nothing now.
    REPEATED = "repeated"
    #: The store had added another batch under this id; it added nothing now.
    CONFLICT = "conflict"
    #: A sum would exceed its range; the store added nothing.
    OVERFLOW = "overflow"
    #: A Metrica has another definition; the store added nothing.
    MISMATCH = "mismatch"


class WriteResult(NamedTuple):
    """
    The result of writing one batch.

    :ivar outcome: what the store did.
    :ivar name: for an overflow or a mismatch, the name of the Metrica concerned.
    """

    outcome: WriteOutcome
    name: str = ""


class IEntry(Interface):
    """
    An entry for a store's batcher. It may grow until the batcher writes it.
    """

    def encode() -> WriteBatch:
        """
        Return the batch to write. The batcher calls this once for each attempt. The
        entry must not change after the first call.

        :returns: the same batch each time.
        """


class IStore(Interface):
    """
    Stores cells. All results are Deferreds. They fail with
    :class:`~txstathat.errors.StoreUnavailable` if the store cannot be reached or cannot
    write (with :class:`~txstathat.errors.StoreInterrupted` if a batch may be partly
    added), and with :class:`~txstathat.errors.StoreClosed` after :meth:`close`.
    Cancelling a Deferred does not undo the work that has begun.
    """

    clock: IReactorTime = Attribute("The source of time, by default the reactor.")
    batcher: WriteBatcher[IEntry, WriteResult] = Attribute(
        "Combines small writes into large ones. All writers of the store share it."
    )

    def add(batches: Sequence[WriteBatch]) -> Deferred[list[WriteResult]]:
        """
        Add batches in one commit. Each batch is added whole or not at all.

        :param batches: the batches, each with an id of its own.
        :returns: fires with a result for each batch, in the same order, when the data
            is as durable as this kind of store makes it.
        """

    def read(keys: Sequence[CellKey]) -> Deferred[list[Cell | None]]:
        """
        Read cells.

        :returns: fires with a cell for each key, in the same order; ``None`` for an
            empty one.
        """

    def choices(name: str, group: str) -> Deferred[list[str]]:
        """
        Read the choices seen so far.

        :param name: the name of the Metrica.
        :param group: the group of choices.
        :returns: fires with the choices, sorted.
        """

    def definitions(names: Sequence[str] | None = None) -> Deferred[dict[str, str]]:
        """
        Read the definitions of Metricas.

        :param names: the names to look up; by default all. Of all, those that are
            created, deleted or renamed meanwhile may be missing.
        :returns: fires with the definitions by name. An unknown name is left out. All
            of them are sorted by name.
        """

    def count_definitions(apart_from: Sequence[str] = ()) -> Deferred[int]:
        """
        Count the Metricas. This is much faster than reading their names.

        :param apart_from: names that do not count.
        :returns: fires with the number. (In a Redis Cluster, a Metrica that is renamed
            at the moment may count twice.)
        """

    def drop(
        name: str, unchanged: tuple[CellKey, Cell] | None = None
    ) -> Deferred[bool]:
        """
        Delete a Metrica: its definition, choices and cells.

        :param name: the name of the Metrica.
        :param unchanged: one of its cells and the contents read before: delete the
            Metrica only if the cell is still the same. (In a Redis Cluster, points that
            arrive between this check and the deletion are deleted too.)
        :returns: fires with whether this call deleted it.
        """

    def rename(name: str, new: str) -> Deferred[bool]:
        """
        Give a Metrica another name. Its definition, choices and cells, and when they
        expire, stay the same. What is added under the old name later makes a new
        Metrica.

        SQLite and a Redis server do this at once. In a Redis Cluster it takes many
        steps, during which the Metrica cannot be read. What is added to it meanwhile
        fails with :class:`~txstathat.errors.StoreInterrupted`, so that the writer
        repeats it. If the process dies, nothing is lost or doubled: a call with the
        same arguments completes what was begun, and until then the Metrica cannot be
        read.

        :param name: its name.
        :param new: its new name.
        :returns: fires with whether this call renamed it: not if there is no such
            Metrica, or another one has the new name.
        """

    def records(kind: str) -> Deferred[dict[str, str]]:
        """
        Read all records of a kind. Records are small documents that belong to the
        counts, such as keys and alerts: hundreds of them, not millions.

        :param kind: any text.
        :returns: fires with their texts, by id.
        """

    def record(kind: str, id: str) -> Deferred[str | None]:
        """
        Read one record.

        :param kind: any text.
        :param id: any text.
        :returns: fires with its text; ``None`` if the store has no such record.
        """

    def put_record(
        kind: str, id: str, text: str | None, was: str | None = ANY
    ) -> Deferred[bool]:
        """
        Write, replace or delete a record.

        :param kind: any text.
        :param id: any text.
        :param text: the new text; ``None`` deletes the record.
        :param was: change the record only if this is its text now (``None``: only if it
            does not exist). So only one of several callers makes the change. The
            default changes it in any case.
        :returns: fires with whether this call made the change.
        """

    def put_listed(
        rows: Sequence[ListedRow], gone: Sequence[str] = ()
    ) -> Deferred[None]:
        """
        Write rows of the listing, and delete others
        (:mod:`txstathat.stores.listing`).

        :param rows: the rows, each with another name. A row replaces the one with its
            name.
        :param gone: the names of the rows to delete.
        :returns: fires with ``None`` when that is done.
        """

    def list_page(query: ListQuery) -> Deferred[ListPage]:
        """
        Read a page of the listing.

        :param query: which rows to list.
        :returns: fires with the page.
        """

    def listed_names(ids: Sequence[str]) -> Deferred[dict[str, str]]:
        """
        Read the names of the rows of the listing that have some ids.

        :param ids: the ids.
        :returns: fires with the names by id. An unknown id is left out.
        """

    def list_groups(query: ListQuery) -> Deferred[list[Group]]:
        """
        Read the groups into which separators divide the names of the listing.

        :param query: which names to list, of which this uses the kinds, the prefix, the
            limit, ``after`` and ``descending``.
        :returns: fires with the groups, sorted by name. A name that has no separator
            after the prefix is a group of its own.
        """

    def drop_expired(limit: int = 10_000) -> Deferred[int]:
        """
        Delete expired rows. (A store never returns an expired cell, and also deletes
        expired rows by itself while it is written to.)

        :param limit: how many rows to look at, at most.
        :returns: fires with how many rows it looked at or deleted: 0 if none are left,
            and always 0 for a store with a server that does this.
        """

    def erase_deleted() -> Deferred[None]:
        """
        Overwrite what was deleted: the names of Metricas that were dropped, the texts
        of records, and cells. Otherwise a database may have them in parts of its files
        that it does not use, and so in copies of these files. Call :meth:`drop_expired`
        first, until it returns 0.

        :returns: fires with ``None``. For a store with a server it does nothing.
        """

    def size() -> Deferred[int]:
        """
        Return how large the database is.

        :returns: fires with the bytes of a SQLite store's file and its write-ahead log,
            or of the memory that the Redis servers use, for whatever they store.
        """

    def close() -> Deferred[None]:
        """
        Write what waits in the batcher, within a bounded time, then close.

        :returns: fires with ``None`` when the store is closed; it does not fail. What
            could not be written fails with
            :class:`~txstathat.errors.StoreUnavailable`.
        """


class Dump(Protocol):
    """
    Reads the whole contents of a store. Its methods block.
    """

    def definitions(self, names: Sequence[str] | None) -> dict[str, str]:
        """Return definitions by name; ``None`` stands for all names."""

    def records(self, kind: str) -> dict[str, str]:
        """Return the texts of the records of a kind, by id."""

    def cells(self) -> Iterator[StoredCell]:
        """
        Yield all cells that have not expired: those of a name together, in any order of
        names; and those of a key sorted by scale and label.
        """
