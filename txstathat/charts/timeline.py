"""
Timelines: the parts of a timespan, to zoom into and out of.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from txstathat.charts.metrica_chart import MetricaChart
from txstathat.charts.query import BadQuery, Query, measures
from txstathat.charts.table import Table, gaps
from txstathat.metrica.calendar import SCALES

__all__ = ["TimelineChart"]

_SUFFIX = {"total": "", "count": "_counts", "average": "_averages"}


class TimelineChart(MetricaChart):
    """
    Bars for the parts of a timespan: all years, the months of a year, and so on down to
    the minutes of an hour. A click on a bar, or on its line in the table, zooms in.

    Query: ``measure`` (``total``; for an averaged Metrica also ``count`` or
    ``average``); a timespan, by ``year``, ``month``, ``day``, ``hour`` (all time by
    default); ``filter.AXIS``. The parameters of the class are those of
    :class:`~txstathat.charts.MetricaChart`.
    """

    parameters: ClassVar[tuple[str, ...]] = ("measure", *SCALES[:-1])

    async def read(self, query: Query) -> Table:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        measure = query.one_of("measure", measures(metrica), measures(metrica)[0])
        span = query.timespan()
        selection: Any = metrica.values().timespan(**span)
        selection = selection.filter(**query.filters(metrica))
        scale = SCALES[len(span)]
        if scale not in metrica.scales:
            raise BadQuery(
                f"{metrica.name!r} does not count by {scale}, "
                f"only by {', '.join(metrica.scales)}"
            )
        rows = await _bars(selection, span, scale, measure)
        known = rows
        if measure == "average":
            # An average is None too where nothing happened.
            known = await _bars(selection, span, scale, "count")
        total = await getattr(selection, measure)()
        if not total and await selection.expired():
            total = None
        rest = query.pairs("format", *SCALES)
        return Table(
            "bars",
            self.title,
            [scale, measure],
            [(begin, [n]) for begin, n in rows],
            total=total if measure != "average" else None,
            scale=scale,
            zone=metrica.tz,
            links=_links([begin for begin, _ in rows], span, scale, metrica, rest),
            trail=_trail(span, rest),
            choices=self.measure_choices(measure),
            hidden=[
                *query.pairs("format", "measure", *SCALES),
                *((word, str(number)) for word, number in span.items()),
            ],
            **gaps(scale, known),
        )


async def _bars(
    selection: Any, span: dict[str, int], scale: str, measure: str
) -> list[tuple[datetime, Any]]:
    if span:
        timeserie = getattr(selection, f"timeserie{_SUFFIX[measure]}")
        rows: list[tuple[datetime, Any]] = await timeserie(*_bounds(span), scale)
        return rows
    years = await getattr(selection, f"iterate{_SUFFIX[measure]}")()
    return [(datetime(year, 1, 1), n) for year, n in years]


def _bounds(span: dict[str, int]) -> tuple[datetime, datetime]:
    """
    The first and the last minute of a timespan, in the Metrica's zone. Of a last minute
    that comes twice it is the second one, so that an hour that comes twice is whole.
    """
    numbers = [*span.values()]
    first = datetime(*(*numbers, *(1, 1, 1)[len(numbers) :]))  # type: ignore[arg-type]
    if len(numbers) == 1:
        return first, datetime(first.year, 12, 31, 23, 59, fold=1)
    if len(numbers) == 2:
        later = (first + timedelta(days=31)).replace(day=1)
        return first, (later - timedelta(minutes=1)).replace(fold=1)
    width = timedelta(days=1) if len(numbers) == 3 else timedelta(hours=1)
    return first, (first + width - timedelta(minutes=1)).replace(fold=1)


def _links(
    begins: list[datetime],
    span: dict[str, int],
    scale: str,
    metrica: Any,
    rest: list[tuple[str, str]],
) -> list[str]:
    finer = SCALES[len(span) + 1 : len(span) + 2]
    if not finer or finer[0] not in metrica.scales:
        return []
    return [
        urlencode([*rest, *span.items(), (scale, getattr(begin, scale))])
        for begin in begins
    ]


def _trail(span: dict[str, int], rest: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if not span:
        return []
    trail = [("all", urlencode(rest))]
    numbers = list(span.items())
    for n in range(1, len(numbers)):
        word, number = numbers[n - 1]
        trail.append((f"{word} {number}", urlencode([*rest, *numbers[:n]])))
    return trail
