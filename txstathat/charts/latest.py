"""
Counts and averages: of each choice, side by side, or as lines over time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from txstathat.charts.metrica_chart import MetricaChart
from txstathat.charts.pie import choice_text, rounded
from txstathat.charts.query import Query, TimeRange
from txstathat.charts.table import Choice, Number, Table, gaps
from txstathat.charts.timeserie import latest_choices
from txstathat.metrica import AveragedMetrica
from txstathat.points.exact import add_up

__all__ = ["MAX_PANEL_ROWS", "LatestCountAndAverageChart"]

#: How many choices are shown: those with the highest counts.
MAX_PANEL_ROWS = 30

_SHAPES = ("bars", "lines")


class LatestCountAndAverageChart(MetricaChart):
    """
    For each choice of an axis the number of events in the latest years, months, days,
    hours or minutes, and beside it their average. With
    :func:`~txstathat.metrica.request_metrica` it shows how often each view is
    requested, and how long it takes.

    As ``lines`` it shows the number and the average over time instead, of all events or
    of those with the choices of the filter.

    Query: ``shape`` (``bars`` or ``lines``); ``axis``, for bars; ``scale`` (``hour`` by
    default); ``back``, how many units of the scale (by default 60 minutes, 48 hours, 30
    days, 12 months or 5 years); ``filter.AXIS``.

    :param metrica: an averaged Metrica.
    :param axis: the axis to show if the query names none; by default the first. A
        Metrica without axes has one row.
    :param shape: ``'bars'`` or ``'lines'``: what to show if the query does not say.
    :param options: ``title``, ``refresh`` and ``assets``, as for
        :class:`~txstathat.charts.MetricaChart`.
    :raises TypeError: if the Metrica is not averaged.
    :raises ValueError: if the Metrica has no such axis, or the shape is another one.
    """

    parameters: ClassVar[tuple[str, ...]] = ("shape", "axis", "scale", "back")

    def __init__(
        self,
        metrica: AveragedMetrica,
        axis: str | None = None,
        *,
        shape: str = "bars",
        **options: Any,
    ) -> None:
        super().__init__(metrica, **options)
        if not isinstance(metrica, AveragedMetrica):
            raise TypeError(
                f"{metrica.name!r} stores no counts: use an AveragedMetrica"
            )
        if axis is not None and axis not in metrica.axes:
            raise ValueError(f"{metrica.name!r} has no axis {axis!r}")
        if shape not in _SHAPES:
            raise ValueError(f"shape must be 'bars' or 'lines', not {shape!r}")
        self._axis = axis or next(iter(metrica.axes), "")
        self._shape = shape

    async def read(self, query: Query) -> Table:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        axis = query.one_of("axis", list(metrica.axes) or [""], self._axis)
        time_range = query.time_range(metrica)
        shape = query.one_of("shape", _SHAPES, self._shape)
        selection: Any = metrica.values().filter(**query.filters(metrica))
        series = await selection.timeserie_counts_and_averages(
            time_range.since, time_range.until, time_range.scale
        )
        if shape == "lines":
            return self._lines(query, axis, time_range, series)
        everything = await _count_and_average(selection, time_range)
        rows: list[tuple[Any, list[Number]]] = [("all", everything)]
        if axis:
            rows = await _rows(selection, axis, time_range)
        return Table(
            "panels",
            self.title,
            [axis or "stat", "count", "average"],
            rows[:MAX_PANEL_ROWS],
            total=everything[0],
            zone=metrica.tz,
            choices=self._choices(shape, axis, time_range),
            hidden=query.pairs("format", *self.parameters),
            **gaps(time_range.scale, [(begin, n) for begin, n, _ in series]),
        )

    def _lines(
        self,
        query: Query,
        axis: str,
        time_range: TimeRange,
        series: list[tuple[datetime, Any, Any]],
    ) -> Table:
        return Table(
            "pair",
            self.title,
            [time_range.scale, "count", "average"],
            [(begin, [count, average]) for begin, count, average in series],
            total=sum(count or 0 for _, count, _ in series),
            scale=time_range.scale,
            zone=self.metrica.tz,
            choices=self._choices("lines", axis, time_range),
            hidden=query.pairs("format", *self.parameters),
            **gaps(time_range.scale, [(begin, n) for begin, n, _ in series]),
        )

    def _choices(self, shape: str, axis: str, time_range: TimeRange) -> list[Choice]:
        options = tuple((word, word) for word in _SHAPES)
        choices = [Choice("shape", "Show", shape, options)]
        if axis and shape == "bars":
            choices.append(self.axis_choice(axis, none=False))
        return [*choices, *self.range_choices(time_range)]


async def _rows(
    selection: Any, axis: str, time_range: TimeRange
) -> list[tuple[Any, list[Number]]]:
    rows = []
    for choice in await latest_choices(selection, axis, time_range):
        chosen = selection.filter(**{axis: choice})
        numbers = await _count_and_average(chosen, time_range)
        if numbers[0]:
            rows.append((choice_text(choice), numbers))
    rows.sort(key=lambda row: row[1][0] or 0, reverse=True)
    return rows


async def _count_and_average(selection: Any, time_range: TimeRange) -> list[Number]:
    span = (time_range.since, time_range.until, time_range.scale)
    counts = await selection.timeserie_counts(*span)
    count = sum(n or 0 for _, n in counts)
    if not count:
        return [0, None]
    sums = await selection.timeserie(*span)
    return [count, rounded(add_up(n for _, n in sums if n is not None) / count)]
