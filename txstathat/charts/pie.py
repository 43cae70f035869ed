"""
Pies: the share of each choice of an axis.
"""

from __future__ import annotations

from typing import Any, ClassVar

from txstathat.charts.metrica_chart import MetricaChart
from txstathat.charts.query import Query, measures
from txstathat.charts.table import Number, Table
from txstathat.metrica import Metrica
from txstathat.metrica.calendar import SCALES
from txstathat.points.exact import add_up

__all__ = ["MAX_SLICES", "NONE", "OTHER", "PieChart", "choice_text", "rounded"]

#: How many choices have a slice of their own; the rest share one.
MAX_SLICES = 20
#: The label of the choices that share a slice or a line.
OTHER = "(other)"
#: The label of the events that have no choice on the axis.
NONE = "(none)"


def choice_text(choice: Any) -> str:
    """
    Write a choice as a label.

    :param choice: the choice; of a path the last part is used.
    :returns: a visible text, also for an empty choice.
    """
    text = str(choice[-1] if isinstance(choice, tuple) else choice)
    return text if text.strip() else f"({text!r})"


def rounded(n: Any) -> Any:
    """
    Remove the rounding errors of a sum or difference of floats.

    :param n: a number; an ``int`` is returned as it is.
    """
    return round(n, 9) if isinstance(n, float) else n


class PieChart(MetricaChart):
    """
    A pie of the choices of an axis, in a timespan. The slices add up to the total:
    events without a choice are a slice of their own.

    Query: ``axis``; ``measure`` (``total``; for an averaged Metrica also ``count``); a
    timespan, by ``year``, ``month``, ``day``, ``hour``, ``minute`` (all time by
    default); ``filter.AXIS`` for a choice of another axis, or for the parts of a path,
    to show the level below it.

    :param metrica: the Metrica to show.
    :param axis: the axis to show if the query names none.
    :param options: ``title``, ``refresh`` and ``assets``, as for
        :class:`~txstathat.charts.MetricaChart`.
    :raises ValueError: if the Metrica has no such axis.
    """

    parameters: ClassVar[tuple[str, ...]] = ("axis", "measure", *SCALES)

    def __init__(self, metrica: Metrica, axis: str, **options: Any) -> None:
        super().__init__(metrica, **options)
        if axis not in metrica.axes:
            raise ValueError(
                f"{metrica.name!r} has no axis {axis!r}; "
                f"its axes are: {', '.join(metrica.axes) or 'none'}"
            )
        self._axis = axis

    async def read(self, query: Query) -> Table:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        axis = query.one_of("axis", list(metrica.axes), self._axis)
        allowed = [word for word in measures(metrica) if word != "average"]
        measure = query.one_of("measure", allowed, allowed[0])
        span = query.timespan()
        selection: Any = metrica.values().timespan(**span)
        selection = selection.filter(**query.filters(metrica))
        if measure == "count":
            parts = await selection.iterate_counts(axis)
            total = await selection.count()
        else:
            parts = await selection.iterate(axis)
            total = await selection.total()
        expired = [*span][-1] if not total and await selection.expired() else ""
        return Table(
            "pie",
            self.title,
            [axis, measure],
            _slices(parts, total),
            total=None if expired else total,
            expired=expired,
            zone=metrica.tz,
            choices=[
                self.axis_choice(axis, none=False),
                *self.measure_choices(measure, "average"),
            ],
            hidden=query.pairs("axis", "measure", "format"),
        )


def _slices(parts: list[tuple[Any, Any]], total: Any) -> list[tuple[Any, list[Number]]]:
    ranked = sorted(parts, key=lambda part: part[1], reverse=True)
    rows = [(choice_text(c), [n]) for c, n in ranked[:MAX_SLICES] if n]
    rest = [n for _, n in ranked[MAX_SLICES:]]
    if any(rest):
        rows.append((OTHER, [rounded(add_up(rest))]))
    left = rounded(add_up([total, *(-n for _, n in parts)]))
    if left:
        rows.append((NONE, [left]))
    return rows
