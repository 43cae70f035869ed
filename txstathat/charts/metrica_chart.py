"""
What all charts of a Metrica share.
"""

from __future__ import annotations

from typing import Any

from txstathat.charts.chart import Chart
from txstathat.charts.query import TimeRange, measures
from txstathat.charts.table import Choice
from txstathat.metrica import Metrica

__all__ = ["MetricaChart"]


class MetricaChart(Chart):
    """
    A chart that reads a Metrica. Everybody who can request it sees what the Metrica
    stores: access control is the job of the site.

    :param metrica: the Metrica to show.
    :param title: the heading; the name of the Metrica by default.
    :param options: ``refresh``, ``assets`` and ``path``, as for
        :class:`~txstathat.charts.chart.Chart`.
    """

    def __init__(
        self, metrica: Metrica, *, title: str | None = None, **options: Any
    ) -> None:
        super().__init__(metrica.name if title is None else title, **options)
        self.metrica = metrica

    def axis_choice(self, axis: str, *, none: bool = True) -> Choice:
        """
        The control that chooses an axis.

        :param axis: the current axis.
        :param none: whether no axis can be chosen.
        """
        options = _options(*self.metrica.axes)
        return Choice("axis", "By", axis, (("", "none"), *options) if none else options)

    def measure_choices(self, measure: str, *without: str) -> list[Choice]:
        """
        The control that chooses a measure; none where there is only one.

        :param measure: the current measure.
        :param without: measures to leave out.
        """
        words = [word for word in measures(self.metrica) if word not in without]
        if len(words) == 1:
            return []
        return [Choice("measure", "Measure", measure, _options(*words))]

    def range_choices(self, time_range: TimeRange) -> list[Choice]:
        """
        The controls that choose a time range.

        :param time_range: the current range.
        """
        return [
            Choice("scale", "Scale", time_range.scale, _options(*self.metrica.scales)),
            Choice("back", "Back", str(time_range.back)),
        ]


def _options(*words: str) -> tuple[tuple[str, str], ...]:
    return tuple((word, word) for word in words)
