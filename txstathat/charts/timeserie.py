"""
Lines over the latest years, months, days, hours or minutes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from txstathat.charts.metrica_chart import MetricaChart
from txstathat.charts.pie import OTHER, choice_text, rounded
from txstathat.charts.query import Query, TimeRange, measures
from txstathat.charts.table import Choice, Number, Table, gaps
from txstathat.points.exact import add_up

__all__ = ["MAX_LINES", "MAX_RANKED", "TimeserieChart", "latest_choices"]

#: How many choices have a line of their own; the rest share one.
MAX_LINES = 8
#: How many choices are read in detail: those with the most in the years that the time
#: range touches.
MAX_RANKED = 50
_SERIES = {
    "total": "timeserie",
    "count": "timeserie_counts",
    "average": "timeserie_averages",
}


async def latest_choices(selection: Any, axis: str, time_range: TimeRange) -> list[Any]:
    """
    The choices of an axis that matter most in a time range.

    :param selection: the selection to read.
    :param axis: the axis.
    :param time_range: the time range.
    :returns: at most :data:`MAX_RANKED` choices.
    """
    choices: list[Any] = await selection.choices(axis)
    if len(choices) <= MAX_RANKED:
        return choices
    weights = dict.fromkeys(choices, 0)
    for year in range(time_range.since.year, time_range.until.year + 1):
        parts = await selection.timespan(year=year).iterate(axis)
        for choice, n in parts:
            weights[choice] = weights.get(choice, 0) + n
    ranked = sorted(weights, key=lambda choice: weights[choice], reverse=True)
    return ranked[:MAX_RANKED]


class TimeserieChart(MetricaChart):
    """
    Lines over the latest years, months, days, hours or minutes: one line of everything,
    and one for each choice of an axis, at most :data:`MAX_LINES`. The other choices,
    and events without a choice, share one more line.

    Query: ``axis`` (empty for none); ``scale`` (``hour`` by default); ``back``, how
    many units of the scale (by default 60 minutes, 48 hours, 30 days, 12 months or 5
    years); ``total``, ``0`` to hide the line of everything; ``measure`` (``total``; for
    an averaged Metrica also ``count`` or ``average``); ``filter.AXIS``.

    :param metrica: the Metrica to show.
    :param axis: the axis to show if the query names none; ``None`` for none.
    :param options: ``title``, ``refresh`` and ``assets``, as for
        :class:`~txstathat.charts.MetricaChart`.
    :raises ValueError: if the Metrica has no such axis.
    """

    parameters: ClassVar[tuple[str, ...]] = (
        "axis",
        "scale",
        "back",
        "total",
        "measure",
    )

    def __init__(self, metrica: Any, axis: str | None = None, **options: Any) -> None:
        super().__init__(metrica, **options)
        if axis is not None and axis not in metrica.axes:
            raise ValueError(f"{metrica.name!r} has no axis {axis!r}")
        self._axis = axis or ""

    async def read(self, query: Query) -> Table:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        axis = query.one_of("axis", ["", *metrica.axes], self._axis)
        time_range = query.time_range(metrica)
        measure = query.one_of("measure", measures(metrica), measures(metrica)[0])
        with_total = query.one_of("total", ["0", "1"], "1") == "1"
        selection: Any = metrica.values().filter(**query.filters(metrica))

        totals = await _series(selection, time_range, measure)
        known = totals
        if measure == "average":
            # An average is None too where nothing happened.
            known = await _series(selection, time_range, "count")
        lines: dict[str, list[Number]] = {}
        if axis:
            lines = await _lines(selection, axis, time_range, measure, totals)
        if with_total or not axis:
            lines = {"total": [n for _, n in totals], **lines}
        return Table(
            "lines",
            self.title,
            [time_range.scale, *lines],
            _rows([begin for begin, _ in totals], list(lines.values())),
            total=None
            if measure == "average"
            else rounded(add_up(n for _, n in totals if n is not None)),
            scale=time_range.scale,
            zone=metrica.tz,
            choices=self._choices(axis, time_range, measure, with_total),
            hidden=query.pairs("format", *self.parameters),
            **gaps(time_range.scale, known),
        )

    def _choices(
        self, axis: str, time_range: TimeRange, measure: str, with_total: bool
    ) -> list[Choice]:
        choices = [self.axis_choice(axis)] if self.metrica.axes else []
        choices += self.range_choices(time_range)
        choices += self.measure_choices(measure)
        if axis:
            options = (("1", "shown"), ("0", "hidden"))
            choices.append(Choice("total", "Total", str(int(with_total)), options))
        return choices


async def _series(
    selection: Any, time_range: TimeRange, measure: str
) -> list[tuple[datetime, Any]]:
    read = getattr(selection, _SERIES[measure])
    series: list[tuple[datetime, Any]] = await read(
        time_range.since, time_range.until, time_range.scale
    )
    return series


async def _lines(
    selection: Any,
    axis: str,
    time_range: TimeRange,
    measure: str,
    totals: list[tuple[datetime, Any]],
) -> dict[str, list[Number]]:
    found = []
    for choice in await latest_choices(selection, axis, time_range):
        chosen = selection.filter(**{axis: choice})
        series = await _series(chosen, time_range, measure)
        found.append((choice, [n for _, n in series]))
    found.sort(key=lambda one: sum(abs(n or 0) for n in one[1]), reverse=True)
    shown = [one for one in found[:MAX_LINES] if any(one[1])]
    lines: dict[str, list[Number]] = {}
    for choice, numbers in shown:
        lines[_unused(choice_text(choice), lines)] = numbers
    if measure != "average":
        # Averages of the rest cannot be had by subtracting; sums can.
        rest = [
            None
            if n is None
            else rounded(add_up([n, *(-(numbers[at] or 0) for _, numbers in shown)]))
            for at, (_, n) in enumerate(totals)
        ]
        if any(rest):
            lines[_unused(OTHER, lines)] = rest
    return lines


def _unused(name: str, lines: dict[str, Any]) -> str:
    # A choice can have the same name as another line.
    while name in lines or name == "total":
        name += "'"
    return name


def _rows(
    begins: list[datetime], lines: list[list[Number]]
) -> list[tuple[str | datetime, list[Number]]]:
    return [(begin, [line[n] for line in lines]) for n, begin in enumerate(begins)]
