"""
Questions: a selection of a Metrica's events, and what can be asked of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import Deferred, fail, inlineCallbacks

from txstathat.metrica.axes import HierarchicalAxis
from txstathat.metrica.calendar import (
    ALL,
    SCALES,
    Date,
    check_timespan,
    finer_labels,
)
from txstathat.metrica.cells import YEARS, Event, cell_key, choice_group
from txstathat.metrica.resolution import finest_stretches
from txstathat.points.exact import add_up
from txstathat.stores.interface import Cell, CellKey

if TYPE_CHECKING:
    from txstathat.metrica.metrica import Metrica

__all__ = ["AveragedSelection", "Selection"]

#: A sum as it is kept, and a number of events.
Sums: TypeAlias = tuple[int | float, int]
Span: TypeAlias = tuple[int, ...]


class Selection:
    """
    Some of a Metrica's events: those in a timespan, with certain choices.

    It never changes; :meth:`timespan` and :meth:`filter` return a narrower one, in any
    order. What is asked returns a Deferred of plain values. It sees every kick that was
    made before in this process. It fails with
    :class:`~txstathat.errors.StoreUnavailable` when the store cannot be read, and with
    :class:`~txstathat.errors.DefinitionMismatch` when what is stored under the
    Metrica's name is something else. Cancelling it is harmless.
    """

    def __init__(
        self,
        metrica: Metrica,
        timespan: dict[str, int] | None = None,
        choices: dict[str, Any] | None = None,
    ) -> None:
        self._metrica = metrica
        self._timespan = timespan or {}
        self._choices = choices or {}
        self._span: Span = check_timespan(self._timespan)
        for word, choice in self._choices.items():
            if choice is None:
                raise ValueError(
                    f"None is no choice of {word!r}; leave it out to count all"
                )
        self._event: Event = metrica.event(self._choices)

    def timespan(self, **timespan: int) -> Selection:
        """
        Only what happened in a year, month, day, hour or minute.

        :param timespan: ``year``, ``month``, ``day``, ``hour``, ``minute``, as numbers,
            in the Metrica's zone. Each needs all coarser ones, given here or before.
        :raises TypeError: if a coarser one is missing, or a keyword is unknown.
        :raises ValueError: if there is no such time.
        """
        return type(self)(self._metrica, self._timespan | timespan, self._choices)

    def filter(self, **choices: Any) -> Selection:
        """
        Only what has these choices.

        :param choices: keywords of axes, and a choice of each.
        :raises TypeError: if there is no such axis.
        :raises ValueError: if the axis does not allow the choice.
        """
        return type(self)(self._metrica, self._timespan, self._choices | choices)

    def total(self) -> Deferred[int | float]:
        """
        :returns: fires with the sum.
        """
        return self._ask(self._told)

    def choices(self, axis: str) -> Deferred[list[Any]]:
        """
        The choices of an axis, whether or not something was selected under them.

        :param axis: its keyword.
        :returns: fires with those that are allowed, else with all that were ever seen,
            in order; on a hierarchical axis with the paths one level below the one that
            is filtered by.
        :raises TypeError: if there is no such axis.
        """
        return self._axis_choices(axis)

    def iterate(self, axis: str | None = None) -> Deferred[list[tuple[Any, Any]]]:
        """
        The sum for each choice of an axis, or for each part of the timespan.

        :param axis: the axis's keyword. On a hierarchical axis the paths one level
            below the one that is filtered by are told. Without it, each stretch of the
            next finer scale is told: ``timespan(year=2010)`` has 12 months; what is not
            limited in time has the years from the first to the last one seen.
        :returns: fires with a list of pairs, of a choice (or number) and its sum.
        """
        return self._iterate(axis, self._told)

    def timeserie(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, Any]]]:
        """
        The sum for each stretch of time, gaps as 0. Only the choices of this selection
        matter, not its timespan.

        :param since: lies in the first stretch.
        :param until: lies in the last stretch.
        :param scale: ``'year'``, ``'month'``, ``'day'``, ``'hour'`` or ``'minute'``.
            Without it, each time is told in the finest detail still kept.
        :returns: fires with a list of pairs, in time order: when a stretch begins, as a
            datetime in the Metrica's zone, and its sum. It fails with a ``ValueError``
            when the scale is unknown or not kept, a date is no date, or there would be
            too many points.
        """
        return self._timeserie(since, until, scale, lambda sums: (self._told(sums),))

    # -- how

    def _told(self, sums: Sums) -> Any:
        return self._metrica.to_user_units(sums[0])

    def _read(
        self, stretches: Sequence[Sequence[tuple[str, str]]], events: Sequence[Event]
    ) -> Deferred[list[Sums]]:
        """
        Sums for each timespan, given as the stretches that make it up, and within that
        for each of the events.
        """
        name = self._metrica.name
        keys = [cell_key(event) for event in events]
        wanted = [
            CellKey(name, scale, label, key)
            for several in stretches
            for key in keys
            for scale, label in several
        ]

        def sums_of(cells: list[Cell | None]) -> list[Sums]:
            sums = []
            at = 0
            for several in stretches:
                for _ in keys:
                    sums.append(_added_up(cells[at : at + len(several)]))
                    at += len(several)
            return sums

        return (
            self._metrica.ready()
            .addCallback(lambda _: self._metrica.store.read(wanted))
            .addCallback(sums_of)
        )

    def _stretches(self, span: Span) -> list[tuple[str, str]]:
        """
        The kept stretches that make up a timespan: itself, or finer ones where its
        scale is not kept.
        """
        kept = self._metrica.retention
        scale = SCALES[len(span) - 1] if span else ALL
        if scale == ALL or scale in kept:
            return [(scale, label) for label in self._metrica.calendar.labels(span)]
        if not set(SCALES[len(span) :]) & set(kept):
            raise ValueError(
                f"{self._metrica.name!r} keeps no {scale}s, only: {', '.join(kept)}"
            )
        return [
            stretch
            for number in finer_labels(span)
            for stretch in self._stretches((*span, number))
        ]

    def _ask(self, tell: Callable[[Sums], Any]) -> Deferred[Any]:
        try:
            stretches = self._stretches(self._span)
        except ValueError:
            return fail()
        return self._read([stretches], [self._event]).addCallback(
            lambda sums: tell(sums[0])
        )

    @inlineCallbacks
    def _iterate(
        self, axis: str | None, tell: Callable[[Sums], Any]
    ) -> Generator[Deferred[Any], Any, list[tuple[Any, Any]]]:
        if axis is None:
            labels = yield self._finer_numbers()
            spans = [self._stretches((*self._span, number)) for number in labels]
            sums = yield self._read(spans, [self._event])
        else:
            labels = yield self.choices(axis)
            events = [self._metrica.event(self._choices | {axis: c}) for c in labels]
            sums = yield self._read([self._stretches(self._span)], events)
        return [(label, tell(one)) for label, one in zip(labels, sums, strict=True)]

    @inlineCallbacks
    def _finer_numbers(self) -> Generator[Deferred[Any], Any, Sequence[int]]:
        if len(self._span) == len(SCALES):
            raise ValueError("nothing is finer than a minute")
        if self._span:
            return finer_labels(self._span)
        yield self._metrica.ready()
        seen = yield self._metrica.store.choices(self._metrica.name, YEARS)
        return range(int(min(seen)), int(max(seen)) + 1) if seen else []

    @inlineCallbacks
    def _timeserie(
        self,
        since: Date,
        until: Date,
        scale: str | None,
        tell: Callable[[Sums], tuple[Any, ...]],
    ) -> Generator[Deferred[Any], Any, list[Any]]:
        metrica = self._metrica
        begin = metrica.calendar.seconds(since)
        end = metrica.calendar.seconds(until)
        if scale is None:
            stretches = yield finest_stretches(metrica, begin, end)
        elif scale in metrica.retention:
            stretches = [
                (start, scale, label)
                for start, label in metrica.calendar.timeline(begin, end, scale)
            ]
        else:
            raise ValueError(
                f"{scale!r} is no scale that {metrica.name!r} keeps; "
                f"these are: {', '.join(metrica.retention)}"
            )
        sums = yield self._read(
            [[(scale, label)] for _, scale, label in stretches], [self._event]
        )
        return [
            (start, *tell(one))
            for (start, _, _), one in zip(stretches, sums, strict=True)
        ]

    @inlineCallbacks
    def _axis_choices(self, word: str) -> Generator[Deferred[Any], Any, list[Any]]:
        if word not in self._metrica.axes:
            self._metrica.event({word: None})  # says which axes there are
        axis = self._metrica.axes[word]
        if axis.choices is not None:
            return list(axis.choices)
        path: tuple[str, ...] = ()
        if isinstance(axis, HierarchicalAxis) and word in self._choices:
            path = tuple(axis.encode(self._choices[word]))
        yield self._metrica.ready()
        seen = yield self._metrica.store.choices(
            self._metrica.name, choice_group(word, path)
        )
        texts = axis.sort([json.loads(text) for text in seen])
        if isinstance(axis, HierarchicalAxis):
            return [(*path, text) for text in texts]
        return [axis.decode(text) for text in texts]


class AveragedSelection(Selection):
    """
    Some events of a Metrica that also counts them.
    """

    def timespan(self, **timespan: int) -> AveragedSelection:
        """See :meth:`.Selection.timespan`."""
        return AveragedSelection(
            self._metrica, self._timespan | timespan, self._choices
        )

    def filter(self, **choices: Any) -> AveragedSelection:
        """See :meth:`.Selection.filter`."""
        return AveragedSelection(self._metrica, self._timespan, self._choices | choices)

    def count(self) -> Deferred[int]:
        """
        :returns: fires with the number of events.
        """
        return self._ask(_count)

    def average(self) -> Deferred[float | None]:
        """
        :returns: fires with the sum divided by the number of events, ``None`` when
            there were none.
        """
        return self._ask(self._average)

    def iterate_counts(
        self, axis: str | None = None
    ) -> Deferred[list[tuple[Any, int]]]:
        """As :meth:`.Selection.iterate`, with numbers of events."""
        return self._iterate(axis, _count)

    def iterate_averages(
        self, axis: str | None = None
    ) -> Deferred[list[tuple[Any, float | None]]]:
        """As :meth:`.Selection.iterate`, with averages."""
        return self._iterate(axis, self._average)

    def timeserie_counts(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, int]]]:
        """As :meth:`.Selection.timeserie`, with numbers of events."""
        return self._timeserie(since, until, scale, lambda sums: (sums[1],))

    def timeserie_averages(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, float | None]]]:
        """As :meth:`.Selection.timeserie`, with averages."""
        return self._timeserie(since, until, scale, lambda sums: (self._average(sums),))

    def timeserie_counts_and_averages(
        self, since: Date, until: Date, scale: str | None = None
    ) -> Deferred[list[tuple[datetime, int, float | None]]]:
        """As :meth:`.Selection.timeserie`, with numbers of events and averages."""
        return self._timeserie(
            since, until, scale, lambda sums: (sums[1], self._average(sums))
        )

    def _average(self, sums: Sums) -> float | None:
        total, count = sums
        # One division, so that it is rounded once.
        return total / (count * (self._metrica.multiplier or 1)) if count else None


def _count(sums: Sums) -> int:
    return sums[1]


def _added_up(cells: Sequence[Cell | None]) -> Sums:
    if len(cells) == 1:
        (cell,) = cells
        return (0, 0) if cell is None else (cell.sum, cell.count)
    found = [cell for cell in cells if cell is not None]
    parts = (part for cell in found for part in cell.parts)
    return add_up(parts), sum(cell.count for cell in found)
