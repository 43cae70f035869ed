"""
The Metrica: a named class of events, counted along axes and time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from txstathat.errors import StoreBusy
from txstathat.interfaces import IKickProvider
from txstathat.metrica.axes import Axis
from txstathat.metrica.calendar import SCALES, Date
from txstathat.metrica.cells import (
    Event,
    cells_of,
    distinct_choices,
    increments,
    keys_above,
    seen_choices,
)
from txstathat.metrica.kick_batch import KickBatch, Sums, refusal
from txstathat.metrica.reader import Reader
from txstathat.metrica.schema import Schema
from txstathat.metrica.selection import AveragedSelection, Selection
from txstathat.points.amounts import Amount
from txstathat.stores.interface import (
    Amounts,
    IStore,
    WriteOutcome,
    WriteResult,
)

__all__ = ["MAX_CELLS", "MAX_WAITING", "AveragedMetrica", "Metrica"]

#: How many kicks may wait to be written, by default; one more is refused.
MAX_WAITING = 100_000
#: About how many cells one batch may change. Further kicks go to another batch. So do
#: kicks of another second: all of a batch time out together.
MAX_CELLS = 50_000


@implementer(IKickProvider)
class Metrica:
    """
    A named class of events. The store has the sums of their weights.

    All queries about a selection of its events can be made for all events too: see
    :class:`Selection`.

    :param name: its name in the store: 1 to 255 printable characters.
    :param axes: the parameters of an event, as pairs of a keyword and an axis. Their
        order must not change.
    :param store: the store; see :func:`txstathat.stores.open_store`. Without one, such
        as in a module that makes its Metricas when it is imported, call :meth:`bind`
        before the first kick or query.
    :param multiplier: store amounts as whole numbers of this fraction: 100 makes them
        exact to 1/100, and rounds smaller fractions half to even. By default amounts
        are stored as they are, and sums of floats have 15 digits. 1 to 10\\ :sup:`12`.
    :param tz: the name of its time zone in the tz database.
    :param scales: the scales to store, by default all: year, month, day, hour, minute.
    :param retention: for how many seconds to store the detail of a scale, from the last
        write to a time bucket on; ``None`` is for ever. A scale that is not in it has
        its default (:data:`txstathat.metrica.calendar.RETENTION`).
    :param clock: the source of time, by default the clock of the store.
    :param max_waiting: how many kicks may wait to be written.
    :raises ValueError: if a parameter is not valid.

    :ivar schema: its :class:`~txstathat.metrica.schema.Schema`.
    :ivar written: how many kicks were written.
    :ivar lost: how many kicks could not be written, and failed.
    :ivar refused: how many kicks were refused because too many waited.
    """

    #: A part of the definition: a store refuses a Metrica of another kind.
    kind: ClassVar[str] = "sum"

    def __init__(
        self,
        name: str,
        axes: Iterable[tuple[str, Axis]],
        store: IStore | None = None,
        *,
        multiplier: int | None = None,
        tz: str = "UTC",
        scales: Iterable[str] = SCALES,
        retention: Mapping[str, float | None] | None = None,
        clock: IReactorTime | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.schema = Schema(
            name,
            axes,
            kind=self.kind,
            multiplier=multiplier,
            tz=tz,
            scales=scales,
            retention=retention,
        )
        self.name = self.schema.name
        self.axes = self.schema.axes
        self.tz = self.schema.tz
        self.calendar = self.schema.calendar
        self._reader = Reader(self.schema, store, clock)
        self._axes = list(self.axes.values())
        self._batch: KickBatch | None = None
        self._max_waiting = max_waiting
        self._waiting = 0
        self.written = 0
        self.lost = 0
        self.refused = 0

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name!r}, "
            f"axes: {', '.join(self.axes) or 'none'}>"
        )

    def bind(self, store: IStore) -> None:
        """
        Set the store. Selections made before use it too. Binding again replaces the
        store, for example in the next test; kicks that wait go to the former one.

        :param store: the store.
        """
        self._reader.bind(store)
        self._batch = None

    @property
    def store(self) -> IStore:
        """
        The store.

        :raises StoreUnavailable: if there is none yet.
        """
        return self._reader.store

    @property
    def clock(self) -> IReactorTime:
        """
        The source of time.

        :raises StoreUnavailable: if it is the clock of the store, and there is none
            yet.
        """
        return self._reader.clock

    @property
    def scales(self) -> tuple[str, ...]:
        """The stored scales, from the coarsest to the finest."""
        return tuple(self.schema.retention)

    @property
    def waiting(self) -> int:
        """How many kicks are not yet written."""
        return self._waiting

    # -- events

    def kick(
        self, value: Amount = 1, date: Date | None = None, **axes: Any
    ) -> Deferred[None]:
        """
        Count one event. Call this in the thread of the reactor.

        :param value: its weight.
        :param date: when it happened: a datetime (in the zone of the Metrica if it has
            none), or a date, which means its midnight; by default now.
        :param axes: the choice on each axis. Without a choice, or with ``None``, the
            event counts in every total, but under no choice of that axis.
        :returns: a new Deferred, which fires with ``None`` when the event is in the
            store. It fails with a ``ValueError`` or ``TypeError`` if an argument is not
            valid, with :class:`~txstathat.errors.StoreUnavailable` if there is no store
            yet, with :class:`~txstathat.errors.StoreBusy` if too many kicks wait,
            and otherwise with the :class:`~txstathat.errors.StoreError` of the write.
            Cancelling it does not undo the event.
        """
        if self._waiting >= self._max_waiting:
            self.refused += 1
            return fail(StoreBusy(self._max_waiting))
        kicked: Deferred[None] = Deferred()
        try:
            second = int(self._reader.clock.seconds())
            event = self.schema.event(axes)
            amount = self.schema.amount(value)
            label = None if date is None else self._label(date)
            batch = self._batch
            if batch is None or batch.second != second:
                batch = self._begin_batch(second, event)
            batch.kick(label or batch.label, event, amount, kicked)
        except Exception:
            # The methods of a value may raise anything.
            return fail()
        self._waiting += 1
        if batch is not self._batch:
            self._batch = batch
            self._put(batch)
        return kicked

    def _label(self, date: Date) -> str:
        return self.schema.bucket_label(self.calendar.seconds(date))

    def _begin_batch(self, second: int, event: Event) -> KickBatch:
        """
        Return a new batch.

        :param second: the second in which it takes kicks.
        :param event: the choices of its first event.
        """
        schema = self.schema
        label = schema.bucket_label(second)
        cells = cells_of(self._axes, event) * (len(schema.retention) + 1)
        max_sums = max(1, MAX_CELLS // cells)
        return KickBatch(self._reader.store, self._amounts, second, label, max_sums)

    def _amounts(self, sums: Sums) -> Amounts:
        schema = self.schema
        choices = distinct_choices(chain.from_iterable(sums.values()))
        return Amounts(
            {schema.name: schema.definition},
            increments(schema.name, schema.retention, sums),
            seen_choices(schema.name, schema.axes, choices, sums),
            {schema.name: keys_above(self._axes, choices)},
        )

    def _put(self, batch: KickBatch) -> None:
        batch.store.batcher.put(batch).addCallbacks(
            self._wrote, self._settle, callbackArgs=(batch,), errbackArgs=(batch,)
        )

    def _wrote(self, result: WriteResult, batch: KickBatch) -> None:
        if result.outcome is WriteOutcome.OVERFLOW and batch.distinct > 1:
            for half in batch.halves():
                self._put(half)
            return
        error = refusal(result)
        # A batch may have thousands of kicks: they share one failure.
        self._settle(None if error is None else Failure(error), batch)

    def _settle(self, failure: Failure | None, batch: KickBatch) -> None:
        if batch is self._batch:
            self._batch = None
        # Count before firing the Deferreds: callbacks may read the counts.
        self._waiting -= batch.kicks
        if failure is None:
            self.written += batch.kicks
        else:
            self.lost += batch.kicks
        batch.settle(failure)

    # -- queries

    def values(self) -> Selection:
        """Return the selection of all events."""
        return Selection(self._reader)

    def timespan(self, **timespan: int) -> Selection:
        """See :meth:`.Selection.timespan`."""
        return self.values().timespan(**timespan)

    def filter(self, **choices: Any) -> Selection:
        """See :meth:`.Selection.filter`."""
        return self.values().filter(**choices)

    def total(self) -> Deferred[int | float]:
        """See :meth:`.Selection.total`."""
        return self.values().total()

    def choices(
        self, axis: str, path: str | Sequence[str] | None = None
    ) -> Deferred[list[Any]]:
        """See :meth:`.Selection.choices`."""
        return self.values().choices(axis, path)

    def iterate(self, axis: str | None = None) -> Deferred[list[tuple[Any, Any]]]:
        """See :meth:`.Selection.iterate`."""
        return self.values().iterate(axis)

    def timeserie(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, Any]]]:
        """See :meth:`.Selection.timeserie`."""
        return self.values().timeserie(since, until, scale)


class AveragedMetrica(Metrica):
    """
    A Metrica with queries for the number of events, and for their average.
    """

    kind: ClassVar[str] = "average"

    def values(self) -> AveragedSelection:
        """Return the selection of all events."""
        return AveragedSelection(self._reader)

    def timespan(self, **timespan: int) -> AveragedSelection:
        """See :meth:`.Selection.timespan`."""
        return self.values().timespan(**timespan)

    def filter(self, **choices: Any) -> AveragedSelection:
        """See :meth:`.Selection.filter`."""
        return self.values().filter(**choices)

    def count(self) -> Deferred[int]:
        """See :meth:`.AveragedSelection.count`."""
        return self.values().count()

    def average(self) -> Deferred[float | None]:
        """See :meth:`.AveragedSelection.average`."""
        return self.values().average()

    def iterate_counts(
        self, axis: str | None = None
    ) -> Deferred[list[tuple[Any, int | None]]]:
        """See :meth:`.AveragedSelection.iterate_counts`."""
        return self.values().iterate_counts(axis)

    def iterate_averages(
        self, axis: str | None = None
    ) -> Deferred[list[tuple[Any, float | None]]]:
        """See :meth:`.AveragedSelection.iterate_averages`."""
        return self.values().iterate_averages(axis)

    def timeserie_counts(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, int | None]]]:
        """See :meth:`.AveragedSelection.timeserie_counts`."""
        return self.values().timeserie_counts(since, until, scale)

    def timeserie_averages(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, float | None]]]:
        """See :meth:`.AveragedSelection.timeserie_averages`."""
        return self.values().timeserie_averages(since, until, scale)

    def timeserie_counts_and_averages(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, int | None, float | None]]]:
        """See :meth:`.AveragedSelection.timeserie_counts_and_averages`."""
        return self.values().timeserie_counts_and_averages(since, until, scale)
