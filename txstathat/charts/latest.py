"""
How many and how long: counts and averages side by side.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, inlineCallbacks

from txstathat.charts.chart import Chart
from txstathat.charts.pie import choice_text, rounded
from txstathat.charts.query import Query, Window
from txstathat.charts.table import Choice, Number, Table
from txstathat.charts.timeserie import latest_choices
from txstathat.metrica import AveragedMetrica
from txstathat.points.exact import add_up

__all__ = ["MAX_PANEL_ROWS", "LatestCountAndAverageChart"]

#: How many choices are told, those with the highest counts.
MAX_PANEL_ROWS = 30


class LatestCountAndAverageChart(Chart):
    """
    For each choice of an axis the number of events in the latest stretches of time, and
    beside it their average: with :func:`~txstathat.metrica.request_metrica`, how often
    each view is asked for, and how long it takes.

    Query: ``axis``; ``scale`` (``hour`` by default); ``back``, how many stretches (by
    default 60 minutes, 48 hours, 30 days, 12 months or 5 years); ``filter.AXIS``.

    :param metrica: an averaged one.
    :param axis: the axis that is shown if the query names none: by default the first.
        A Metrica without axes has one line.
    :param options: ``title``, ``refresh`` and ``assets``, as for
        :class:`~txstathat.charts.chart.Chart`.
    :raises TypeError: if the Metrica keeps no counts.
    :raises ValueError: if it has no such axis.
    """

    parameters: ClassVar[tuple[str, ...]] = ("axis", "scale", "back")

    def __init__(
        self, metrica: AveragedMetrica, axis: str | None = None, **options: Any
    ) -> None:
        super().__init__(metrica, **options)
        if not isinstance(metrica, AveragedMetrica):
            raise TypeError(f"{metrica.name!r} keeps no counts: use an AveragedMetrica")
        if axis is not None and axis not in metrica.axes:
            raise ValueError(f"{metrica.name!r} has no axis {axis!r}")
        self._axis = axis or next(iter(metrica.axes), "")

    @inlineCallbacks
    def read(self, query: Query) -> Generator[Deferred[Any], Any, Table]:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        axis = query.one_of("axis", list(metrica.axes) or [""], self._axis)
        window = query.window(metrica)
        chosen: Any = metrica.values().filter(**query.filters(metrica))
        everything = yield _count_and_average(chosen, window)
        rows: list[tuple[Any, list[Number]]] = []
        if axis:
            choices = yield latest_choices(chosen, axis, window)
            for choice in choices:
                numbers = yield _count_and_average(
                    chosen.filter(**{axis: choice}), window
                )
                if numbers[0]:
                    rows.append((choice_text(choice), numbers))
            rows.sort(key=lambda row: row[1][0] or 0, reverse=True)
        else:
            rows.append(("all", everything))
        return Table(
            "panels",
            self.title,
            [axis or "stat", "count", "average"],
            rows[:MAX_PANEL_ROWS],
            total=everything[0],
            zone=metrica.tz,
            choices=self._choices(axis, window),
            hidden=query.pairs("format", *self.parameters),
        )

    def _choices(self, axis: str, window: Window) -> list[Choice]:
        choices = [self._axis_choice(axis, none=False)] if axis else []
        scales = tuple((word, word) for word in self.metrica.scales)
        choices.append(Choice("scale", "Scale", window.scale, scales))
        choices.append(Choice("back", "Back", str(window.back)))
        return choices


@inlineCallbacks
def _count_and_average(
    chosen: Any, window: Window
) -> Generator[Deferred[Any], Any, list[Number]]:
    span = (window.since, window.until, window.scale)
    counts = yield chosen.timeserie_counts(*span)
    count = sum(n for _, n in counts)
    if not count:
        return [0, None]
    sums = yield chosen.timeserie(*span)
    return [count, rounded(add_up(n for _, n in sums) / count)]
