"""
Selections: some of the events of a Metrica, and the queries about them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail

from txstathat.metrica.axes import HierarchicalAxis
from txstathat.metrica.calendar import (
    ALL,
    SCALES,
    Date,
    check_timespan,
    finer_labels,
)
from txstathat.metrica.cells import YEARS, Event, cell_key, choice_group
from txstathat.metrica.expiry import Counts, coarser_buckets, find_expired
from txstathat.metrica.reader import Reader
from txstathat.metrica.resolution import finest_buckets
from txstathat.points.exact import add_up
from txstathat.stores.interface import Cell, CellKey

__all__ = ["AveragedSelection", "Selection"]

#: A sum in the units of the store, and the number of events.
Sums: TypeAlias = tuple[int | float, int]
#: The numbers of a timespan, coarsest first: ``(2010, 2)`` is February 2010.
Span: TypeAlias = tuple[int, ...]
#: The scale and label of a time bucket.
BucketName: TypeAlias = tuple[str, str]


class Selection:
    """
    Some of the events of a Metrica: those in a timespan, with certain choices.

    A selection does not change; :meth:`timespan` and :meth:`filter` return a narrower
    one, in any order. Each query returns a Deferred that fires with plain values. It
    includes every kick made before in this process. It fails with
    :class:`~txstathat.errors.StoreUnavailable` if the store cannot be read, and with
    :class:`~txstathat.errors.DefinitionMismatch` if the store has another definition
    for the name of the Metrica. Cancelling it has no side effects.

    Call :meth:`.Metrica.values` to get one.
    """

    def __init__(
        self,
        reader: Reader,
        timespan: dict[str, int] | None = None,
        choices: dict[str, Any] | None = None,
    ) -> None:
        self._reader = reader
        self._schema = reader.schema
        self._timespan = timespan or {}
        self._choices = choices or {}
        self._span: Span = check_timespan(self._timespan)
        self._event: Event = self._schema.event(self._choices)

    def __repr__(self) -> str:
        parts = [f"{word}={n}" for word, n in self._timespan.items()]
        parts += [f"{word}={choice!r}" for word, choice in self._choices.items()]
        return (
            f"<{type(self).__name__} of {self._schema.name!r}: "
            f"{', '.join(parts) or 'all events'}>"
        )

    def timespan(self, **timespan: int) -> Selection:
        """
        Select the events in a year, month, day, hour or minute.

        :param timespan: ``year``, ``month``, ``day``, ``hour``, ``minute``, as numbers,
            in the zone of the Metrica. Each needs all coarser ones, in this call or an
            earlier one.
        :raises TypeError: if a coarser one is missing, or a keyword is unknown.
        :raises ValueError: if there is no such time.
        """
        return type(self)(self._reader, self._timespan | timespan, self._choices)

    def filter(self, **choices: Any) -> Selection:
        """
        Select the events with these choices.

        :param choices: a choice by the keyword of its axis. ``None`` takes an earlier
            filter back: it selects the events with any choice, or none, on this axis.
        :raises TypeError: if there is no such axis.
        :raises ValueError: if an axis does not allow the choice.
        """
        return type(self)(self._reader, self._timespan, self._merged(choices))

    def _merged(self, choices: dict[str, Any]) -> dict[str, Any]:
        self._schema.event(choices)  # raises if a choice is not valid
        merged = self._choices | choices
        return {word: one for word, one in merged.items() if one is not None}

    def total(self) -> Deferred[int | float]:
        """
        Sum up the events. The sum of a timespan that has expired is 0: see
        :meth:`expired`.

        :returns: fires with the sum.
        """
        return self._query(self._to_user_units)

    def expired(self) -> Deferred[bool]:
        """
        Find out whether the detail of this timespan has expired. Then the store no
        longer has numbers of these events, although some of them happened.

        :returns: fires with ``True`` if the detail has expired.
        """
        return Deferred.fromCoroutine(self._has_expired())

    def choices(
        self, axis: str, path: str | Sequence[str] | None = None
    ) -> Deferred[list[Any]]:
        """
        List the choices of an axis, whatever the selection.

        :param axis: its keyword.
        :param path: on a hierarchical axis: list the paths one level below this one; by
            default below the path of the filter.
        :returns: fires with the allowed choices, else with all choices ever seen, in
            order. It fails with a ``TypeError`` if there is no such axis, and with a
            ``ValueError`` if the axis has no paths.
        """
        return Deferred.fromCoroutine(self._axis_choices(axis, path))

    def iterate(self, axis: str | None = None) -> Deferred[list[tuple[Any, Any]]]:
        """
        Sum up the events for each choice of an axis, or for each part of the timespan.

        :param axis: the keyword of the axis. A hierarchical axis gives the paths one
            level below the path of the filter. Without an axis, the parts are of the
            next finer scale: ``timespan(year=2010)`` has 12 months. Without a timespan,
            they are the years from the first to the last one with events.
        :returns: fires with a list of pairs, of a choice (or number) and its sum. The
            sum of a part of the timespan is ``None`` if its detail has expired.
        """
        return self._iterate(axis, self._to_user_units)

    def timeserie(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, Any]]]:
        """
        Sum up the events for each time bucket, with 0 for empty ones, and ``None`` for
        those with expired detail. The timespan of this selection has no influence, only
        its choices.

        :param since: a time in the first bucket.
        :param until: a time in the last bucket.
        :param scale: ``'year'``, ``'month'``, ``'day'``, ``'hour'`` or ``'minute'``.
            Without it, each bucket is of the finest scale with complete detail.
        :returns: fires with a list of pairs, in time order: the start of a bucket, as a
            datetime in the zone of the Metrica, and its sum. It fails with a
            ``ValueError`` if the scale is unknown or not stored, a date is not a date,
            or there would be too many points.
        """
        return self._timeserie(
            since, until, scale, lambda sums: (self._to_user_units(sums),)
        )

    def _to_user_units(self, sums: Sums) -> Any:
        return self._schema.to_user_units(sums[0])

    def _read(
        self, spans: Sequence[Sequence[BucketName]], events: Sequence[Event]
    ) -> Deferred[list[Sums]]:
        """
        Read the sums for each timespan, given as its time buckets, and for each of the
        events in it.
        """
        name = self._schema.name
        keys = [cell_key(event) for event in events]
        cell_keys = [
            CellKey(name, scale, label, key)
            for buckets in spans
            for key in keys
            for scale, label in buckets
        ]

        def add_up_buckets(cells: list[Cell | None]) -> list[Sums]:
            sums = []
            at = 0
            for buckets in spans:
                for _ in keys:
                    sums.append(_add_cells(cells[at : at + len(buckets)]))
                    at += len(buckets)
            return sums

        return self._reader.cells(cell_keys).addCallback(add_up_buckets)

    def _buckets(self, span: Span) -> list[BucketName]:
        """
        Return the stored time buckets that make up a timespan: the timespan itself, or
        finer buckets if its scale is not stored.
        """
        stored = self._schema.retention
        scale = SCALES[len(span) - 1] if span else ALL
        if scale == ALL or scale in stored:
            return [(scale, label) for label in self._schema.calendar.labels(span)]
        if not set(SCALES[len(span) :]) & set(stored):
            raise ValueError(
                f"{self._schema.name!r} does not store the scale {scale!r}, only: "
                f"{', '.join(stored)}"
            )
        return [
            bucket
            for number in finer_labels(span)
            for bucket in self._buckets((*span, number))
        ]

    def _query(self, convert: Callable[[Sums], Any]) -> Deferred[Any]:
        try:
            buckets = self._buckets(self._span)
        except ValueError:
            return fail()
        return self._read([buckets], [self._event]).addCallback(
            lambda sums: convert(sums[0])
        )

    def _iterate(
        self, axis: str | None, convert: Callable[[Sums], Any]
    ) -> Deferred[list[tuple[Any, Any]]]:
        parts = self._by_time() if axis is None else self._by_choice(axis)
        return Deferred.fromCoroutine(parts).addCallback(
            lambda pairs: [
                (label, None if sums is None else convert(sums))
                for label, sums in pairs
            ]
        )

    async def _by_time(self) -> list[tuple[Any, Sums | None]]:
        numbers = await self._finer_numbers()
        spans = [self._buckets((*self._span, number)) for number in numbers]
        return list(zip(numbers, await self._read_stored(spans), strict=True))

    async def _read_stored(
        self, spans: Sequence[Sequence[BucketName]]
    ) -> list[Sums | None]:
        """
        Read the sums for each timespan, given as its time buckets; ``None`` for one
        with expired detail.
        """
        key = cell_key(self._event)
        names = [bucket for buckets in spans for bucket in buckets]
        # What tells expired detail is read with the rest.
        all_names = names + coarser_buckets(self._schema, names)
        cells = await self._reader.cells(
            [CellKey(self._schema.name, *bucket, key) for bucket in all_names]
        )
        counts = Counts(self._reader, key)
        labels: dict[str, list[str]] = {}
        for bucket, cell in zip(all_names, cells, strict=True):
            counts.note(bucket, cell)
        for scale, label in names:
            labels.setdefault(scale, []).append(label)
        lost = {
            (scale, label)
            for scale, some in labels.items()
            for label in await find_expired(counts, scale, some)
        }
        rest = iter(cells)
        sums = [_add_cells([next(rest) for _ in buckets]) for buckets in spans]
        return [
            None if not one[1] and lost.intersection(buckets) else one
            for buckets, one in zip(spans, sums, strict=True)
        ]

    async def _has_expired(self) -> bool:
        (sums,) = await self._read_stored([self._buckets(self._span)])
        return sums is None

    async def _by_choice(self, axis: str) -> list[tuple[Any, Sums | None]]:
        choices = await self.choices(axis)
        events = [self._schema.event(self._choices | {axis: one}) for one in choices]
        sums = await self._read([self._buckets(self._span)], events)
        return list(zip(choices, sums, strict=True))

    async def _finer_numbers(self) -> Sequence[int]:
        if len(self._span) == len(SCALES):
            raise ValueError("there is no finer scale than a minute")
        if self._span:
            return finer_labels(self._span)
        years = await self._reader.choices(YEARS)
        return range(int(min(years)), int(max(years)) + 1) if years else []

    def _timeserie(
        self,
        since: Date,
        until: Date,
        scale: str | None,
        convert: Callable[[Sums], tuple[Any, ...]],
    ) -> Deferred[list[Any]]:
        points = self._timeline_sums(since, until, scale)
        nothing = (None,) * len(convert((0, 0)))
        return Deferred.fromCoroutine(points).addCallback(
            lambda pairs: [
                (start, *(nothing if sums is None else convert(sums)))
                for start, sums in pairs
            ]
        )

    async def _timeline_sums(
        self, since: Date, until: Date, scale: str | None
    ) -> list[tuple[datetime, Sums | None]]:
        calendar = self._schema.calendar
        timeline = await self._timeline(
            calendar.seconds(since), calendar.seconds(until), scale
        )
        sums = await self._read_stored([[bucket] for _, bucket in timeline])
        return list(zip([start for start, _ in timeline], sums, strict=True))

    async def _timeline(
        self, since: int, until: int, scale: str | None
    ) -> list[tuple[datetime, BucketName]]:
        schema = self._schema
        if scale is None:
            buckets = await finest_buckets(self._reader, since, until)
            return [(one.start, (one.scale, one.label)) for one in buckets]
        if scale not in schema.retention:
            raise ValueError(
                f"{schema.name!r} does not store the scale {scale!r}, only: "
                f"{', '.join(schema.retention)}"
            )
        return [
            (start, (scale, label))
            for start, label in schema.calendar.timeline(since, until, scale)
        ]

    async def _axis_choices(
        self, word: str, below: str | Sequence[str] | None = None
    ) -> list[Any]:
        if word not in self._schema.axes:
            self._schema.event({word: None})  # raises, with the list of the axes
        axis = self._schema.axes[word]
        if below is not None and not isinstance(axis, HierarchicalAxis):
            raise ValueError(f"axis {word!r} is not hierarchical, so it has no paths")
        if axis.choices is not None:
            return list(axis.choices)
        path: tuple[str, ...] = ()
        if isinstance(axis, HierarchicalAxis):
            chosen = self._choices.get(word, ()) if below is None else below
            path = () if chosen in ((), []) else tuple(axis.encode(chosen))
        seen = await self._reader.choices(choice_group(word, path))
        texts = axis.sort([json.loads(text) for text in seen])
        if isinstance(axis, HierarchicalAxis):
            return [(*path, text) for text in texts]
        return [axis.decode(text) for text in texts]


class AveragedSelection(Selection):
    """
    Some of the events of an :class:`~txstathat.metrica.AveragedMetrica`.
    """

    def timespan(self, **timespan: int) -> AveragedSelection:
        """See :meth:`.Selection.timespan`."""
        return AveragedSelection(self._reader, self._timespan | timespan, self._choices)

    def filter(self, **choices: Any) -> AveragedSelection:
        """See :meth:`.Selection.filter`."""
        return AveragedSelection(self._reader, self._timespan, self._merged(choices))

    def count(self) -> Deferred[int]:
        """
        Count the events.

        :returns: fires with the number of events.
        """
        return self._query(_count)

    def average(self) -> Deferred[float | None]:
        """
        Calculate the average of the events.

        :returns: fires with the sum divided by the number of events; ``None`` without
            events.
        """
        return self._query(self._average)

    def iterate_counts(
        self, axis: str | None = None
    ) -> Deferred[list[tuple[Any, int | None]]]:
        """Like :meth:`.Selection.iterate`, with the numbers of events."""
        return self._iterate(axis, _count)

    def iterate_averages(
        self, axis: str | None = None
    ) -> Deferred[list[tuple[Any, float | None]]]:
        """Like :meth:`.Selection.iterate`, with the averages."""
        return self._iterate(axis, self._average)

    def timeserie_counts(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, int | None]]]:
        """Like :meth:`.Selection.timeserie`, with the numbers of events."""
        return self._timeserie(since, until, scale, lambda sums: (sums[1],))

    def timeserie_averages(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, float | None]]]:
        """Like :meth:`.Selection.timeserie`, with the averages."""
        return self._timeserie(since, until, scale, lambda sums: (self._average(sums),))

    def timeserie_counts_and_averages(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, int | None, float | None]]]:
        """Like :meth:`.Selection.timeserie`, with the numbers and the averages."""
        return self._timeserie(
            since, until, scale, lambda sums: (sums[1], self._average(sums))
        )

    def _average(self, sums: Sums) -> float | None:
        total, count = sums
        # A single division rounds only once.
        return total / (count * (self._schema.multiplier or 1)) if count else None


def _count(sums: Sums) -> int:
    return sums[1]


def _add_cells(cells: Sequence[Cell | None]) -> Sums:
    if len(cells) == 1:
        (cell,) = cells
        return (0, 0) if cell is None else (cell.sum, cell.count)
    found = [cell for cell in cells if cell is not None]
    parts = (part for cell in found for part in cell.parts)
    return add_up(parts), sum(cell.count for cell in found)
