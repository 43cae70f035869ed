"""
How it went: lines over the latest stretches of time.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, inlineCallbacks

from txstathat.charts.chart import Chart
from txstathat.charts.pie import OTHER, choice_text, rounded
from txstathat.charts.query import Query, Window, measures
from txstathat.charts.table import Choice, Number, Table
from txstathat.points.exact import add_up

__all__ = ["MAX_LINES", "MAX_RANKED", "TimeserieChart", "latest_choices"]

#: How many choices have a line of their own; the rest are one line.
MAX_LINES = 8
#: How many choices are looked at closely: those with the most since the year began in
#: which the window begins.
MAX_RANKED = 50
_SERIES = {
    "total": "timeserie",
    "count": "timeserie_counts",
    "average": "timeserie_averages",
}


@inlineCallbacks
def latest_choices(
    chosen: Any, axis: str, window: Window
) -> Generator[Deferred[Any], Any, list[Any]]:
    """
    The choices of an axis worth looking at, at most :data:`MAX_RANKED`.

    :param chosen: the selection.
    :returns: fires with them.
    """
    choices: list[Any] = yield chosen.choices(axis)
    if len(choices) <= MAX_RANKED:
        return choices
    weights = dict.fromkeys(choices, 0)
    for year in range(window.since.year, window.until.year + 1):
        parts = yield chosen.timespan(year=year).iterate(axis)
        for choice, n in parts:
            weights[choice] = weights.get(choice, 0) + n
    return sorted(weights, key=lambda choice: weights[choice], reverse=True)[
        :MAX_RANKED
    ]


class TimeserieChart(Chart):
    """
    Lines over the latest stretches of time: of everything, or one for each choice of an
    axis, at most :data:`MAX_LINES`; what the other choices had, and what had none, is
    one more line.

    Query: ``axis`` (empty for none); ``scale`` (``hour`` by default); ``back``, how
    many stretches (by default 60 minutes, 48 hours, 30 days, 12 months or 5 years);
    ``total``, ``0`` to hide the line of everything; ``measure`` (``total``, and of an
    averaged Metrica ``count`` or ``average``); ``filter.AXIS``.

    :param metrica: what is shown.
    :param axis: the axis that is shown if the query names none; ``None`` for none.
    :param options: ``title``, ``refresh`` and ``assets``, as for
        :class:`~txstathat.charts.chart.Chart`.
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

    @inlineCallbacks
    def read(self, query: Query) -> Generator[Deferred[Any], Any, Table]:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        axis = query.one_of("axis", ["", *metrica.axes], self._axis)
        window = query.window(metrica)
        measure = query.one_of("measure", measures(metrica), measures(metrica)[0])
        with_total = query.one_of("total", ["0", "1"], "1") == "1"
        chosen: Any = metrica.values().filter(**query.filters(metrica))

        everything = yield self._series(chosen, window, measure)
        times = [begins for begins, _ in everything]
        lines: dict[str, list[Number]] = {}
        if axis:
            lines = yield self._lines(chosen, axis, window, measure, everything)
        if with_total or not axis:
            lines = {"total": [n for _, n in everything], **lines}
        total = self._sum(everything, measure)
        return Table(
            "lines",
            self.title,
            [window.scale, *(name for name in lines)],
            _rows(times, list(lines.values())),
            total=total,
            scale=window.scale,
            zone=metrica.tz,
            choices=self._choices(axis, window, measure, with_total),
            hidden=query.pairs("format", *self.parameters),
        )

    def _series(
        self, chosen: Any, window: Window, measure: str
    ) -> Deferred[list[tuple[datetime, Any]]]:
        ask = getattr(chosen, _SERIES[measure])
        asked: Deferred[list[tuple[datetime, Any]]] = ask(
            window.since, window.until, window.scale
        )
        return asked

    @inlineCallbacks
    def _lines(
        self,
        chosen: Any,
        axis: str,
        window: Window,
        measure: str,
        everything: list[tuple[datetime, Any]],
    ) -> Generator[Deferred[Any], Any, dict[str, list[Number]]]:
        choices = yield latest_choices(chosen, axis, window)
        found = []
        for choice in choices:
            series = yield self._series(
                chosen.filter(**{axis: choice}), window, measure
            )
            numbers = [n for _, n in series]
            found.append((choice, numbers))
        found.sort(key=lambda one: sum(abs(n or 0) for n in one[1]), reverse=True)
        shown = [one for one in found[:MAX_LINES] if any(n for n in one[1])]
        lines: dict[str, list[Number]] = {}
        for choice, numbers in shown:
            lines[_unused(choice_text(choice), lines)] = numbers
        if measure != "average":
            # What is left of a sum is a sum; of an average it is not.
            rest = [
                rounded(add_up([n, *(-numbers[at] for _, numbers in shown)]))
                for at, (_, n) in enumerate(everything)
            ]
            if any(rest):
                lines[_unused(OTHER, lines)] = rest
        return lines

    def _sum(self, everything: list[tuple[datetime, Any]], measure: str) -> Any:
        if measure == "average":
            return None
        return rounded(add_up(n for _, n in everything))

    def _choices(
        self, axis: str, window: Window, measure: str, with_total: bool
    ) -> list[Choice]:
        choices = []
        if self.metrica.axes:
            choices.append(self._axis_choice(axis))
        scales = tuple((word, word) for word in self.metrica.scales)
        choices.append(Choice("scale", "Scale", window.scale, scales))
        choices.append(Choice("back", "Back", str(window.back)))
        if len(measures(self.metrica)) > 1:
            options = tuple((word, word) for word in measures(self.metrica))
            choices.append(Choice("measure", "Measure", measure, options))
        if axis:
            options = (("1", "shown"), ("0", "hidden"))
            choices.append(Choice("total", "Total", str(int(with_total)), options))
        return choices


def _unused(name: str, lines: dict[str, Any]) -> str:
    # A choice may be called what another line is called.
    while name in lines or name == "total":
        name += "'"
    return name


def _rows(
    times: list[datetime], lines: list[list[Number]]
) -> list[tuple[str | datetime, list[Number]]]:
    return [(begins, [line[n] for line in lines]) for n, begins in enumerate(times)]
