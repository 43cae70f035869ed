"""
Parts of a whole: how much each choice of an axis has.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, inlineCallbacks

from txstathat.charts.chart import Chart
from txstathat.charts.query import Query, measures
from txstathat.charts.table import Choice, Number, Table
from txstathat.metrica import Metrica
from txstathat.metrica.calendar import SCALES
from txstathat.points.exact import add_up

__all__ = ["MAX_SLICES", "NONE", "OTHER", "PieChart", "choice_text"]

#: How many choices a pie tells apart; the rest are one slice.
MAX_SLICES = 20
#: What is left over is called.
OTHER = "(other)"
#: Events without a choice on the axis.
NONE = "(none)"


def choice_text(choice: Any) -> str:
    """
    A choice as a label: the last part of a path, and what is not empty to the eye.
    """
    text = str(choice[-1] if isinstance(choice, tuple) else choice)
    return text if text.strip() else f"({text!r})"


class PieChart(Chart):
    """
    A pie of the choices of an axis, in a timespan. Its slices add up to the total: what
    had no choice is a slice of its own.

    Query: ``axis``; ``measure`` (``total``, and of an averaged Metrica ``count``); a
    timespan, by ``year``, ``month``, ``day``, ``hour``, ``minute`` (all time by
    default); ``filter.AXIS`` for a choice of another axis, or for the parts of a path,
    of which the level below is told.

    :param metrica: what is shown.
    :param axis: the axis that is shown if the query names none.
    :param options: ``title``, ``refresh`` and ``assets``, as for
        :class:`~txstathat.charts.chart.Chart`.
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

    @inlineCallbacks
    def read(self, query: Query) -> Generator[Deferred[Any], Any, Table]:
        """
        See :meth:`.Chart.read`.
        """
        axis = query.one_of("axis", list(self.metrica.axes), self._axis)
        shown = [word for word in measures(self.metrica) if word != "average"]
        measure = query.one_of("measure", shown, shown[0])
        chosen: Any = self.metrica.values().timespan(**query.timespan())
        chosen = chosen.filter(**query.filters(self.metrica))
        if measure == "count":
            parts = yield chosen.iterate_counts(axis)
            total = yield chosen.count()
        else:
            parts = yield chosen.iterate(axis)
            total = yield chosen.total()
        choices = [Choice("axis", "By", axis, tuple((w, w) for w in self.metrica.axes))]
        if len(shown) > 1:
            choices.append(
                Choice("measure", "Measure", measure, tuple((w, w) for w in shown))
            )
        return Table(
            "pie",
            self.title,
            [axis, measure],
            _slices(parts, total),
            total=total,
            zone=self.metrica.tz,
            choices=choices,
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


def rounded(n: Any) -> Any:
    """
    A sum or difference of floats without what only adding them made of it.
    """
    return round(n, 9) if isinstance(n, float) else n
