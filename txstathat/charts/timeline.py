"""
What happened when: a timespan by its parts, with the way in and out.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from twisted.internet.defer import Deferred, inlineCallbacks

from txstathat.charts.chart import Chart
from txstathat.charts.query import BadQuery, Query, measures
from txstathat.charts.table import Choice, Table
from txstathat.metrica.calendar import SCALES

__all__ = ["TimelineChart"]


class TimelineChart(Chart):
    """
    Bars for the parts of a timespan: the years of everything, the months of a year, and
    so on down to the minutes of an hour. A bar (and a line of the table) leads into its
    part; the total stays what it was on the way out.

    Query: ``measure`` (``total``, and of an averaged Metrica ``count`` or ``average``);
    a timespan, by ``year``, ``month``, ``day``, ``hour`` (all time by default);
    ``filter.AXIS``. It is made as a :class:`~txstathat.charts.chart.Chart` is.
    """

    parameters: ClassVar[tuple[str, ...]] = ("measure", *SCALES[:-1])

    @inlineCallbacks
    def read(self, query: Query) -> Generator[Deferred[Any], Any, Table]:
        """
        See :meth:`.Chart.read`.
        """
        metrica = self.metrica
        measure = query.one_of("measure", measures(metrica), measures(metrica)[0])
        span = query.timespan()
        chosen: Any = metrica.values().timespan(**span)
        chosen = chosen.filter(**query.filters(metrica))
        scale = SCALES[len(span)]
        if scale not in metrica.scales:
            raise BadQuery(
                f"{metrica.name!r} keeps no {scale}s, only: {', '.join(metrica.scales)}"
            )
        suffix = {"total": "", "count": "_counts", "average": "_averages"}[measure]
        if span:
            first, last = _bounds(span)
            timeserie = getattr(chosen, f"timeserie{suffix}")
            rows = yield timeserie(first, last, scale)
        else:
            years = yield getattr(chosen, f"iterate{suffix}")()
            rows = [(datetime(year, 1, 1), n) for year, n in years]
        total = yield getattr(chosen, measure)()
        rest = query.pairs("format", *SCALES)
        choices = []
        if len(measures(metrica)) > 1:
            options = tuple((word, word) for word in measures(metrica))
            choices.append(Choice("measure", "Measure", measure, options))
        return Table(
            "bars",
            self.title,
            [scale, measure],
            [(begins, [n]) for begins, n in rows],
            total=total if measure != "average" else None,
            scale=scale,
            zone=metrica.tz,
            links=_links([begins for begins, _ in rows], span, scale, metrica, rest),
            trail=_trail(span, rest),
            choices=choices,
            hidden=[
                *query.pairs("format", "measure", *SCALES),
                *((word, str(number)) for word, number in span.items()),
            ],
        )


def _bounds(span: dict[str, int]) -> tuple[datetime, datetime]:
    """
    The first and the last minute of a timespan, in the Metrica's zone.
    """
    numbers = [*span.values()]
    first = datetime(*(*numbers, *(1, 1, 1)[len(numbers) :]))  # type: ignore[arg-type]
    if len(numbers) == 1:
        after = datetime(first.year, 12, 31, 23, 59)
        return first, after
    if len(numbers) == 2:
        later = (first + timedelta(days=31)).replace(day=1)
        return first, later - timedelta(minutes=1)
    width = timedelta(days=1) if len(numbers) == 3 else timedelta(hours=1)
    return first, first + width - timedelta(minutes=1)


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
