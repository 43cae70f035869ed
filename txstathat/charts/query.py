"""
The query parameters of a chart's URL, checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from txstathat.charts.old_query import translate_query
from txstathat.metrica import AveragedMetrica, HierarchicalAxis, Metrica
from txstathat.metrica.calendar import SCALES

__all__ = ["MAX_BACK", "BadQuery", "Query", "TimeRange", "measures"]

#: How many years, months, days, hours or minutes one chart may show.
MAX_BACK = 2_000
#: The prefix of the parameters that filter by a choice: ``filter.gender=girl``.
FILTER = "filter."
#: How many units of each scale a chart shows by default.
_BACK = {"year": 5, "month": 12, "day": 30, "hour": 48, "minute": 60}


class BadQuery(ValueError):
    """A query that cannot be answered; its text says why."""


class TimeRange:
    """
    The latest years, months, days, hours or minutes.

    :param metrica: its clock and its calendar are used.
    :param scale: the unit, one of :data:`~txstathat.metrica.calendar.SCALES`.
    :param back: how many units, the current one included; at least 1.
    :raises BadQuery: if the range would begin before the year 1.

    :ivar scale: the unit.
    :ivar back: how many units.
    :ivar since: an aware time in the first unit.
    :ivar until: the current time, in the Metrica's zone.
    """

    def __init__(self, metrica: Metrica, scale: str, back: int) -> None:
        self.scale = scale
        self.back = back
        now = datetime.fromtimestamp(metrica.clock.seconds(), UTC)
        self.until = now.astimezone(metrica.calendar.zone)
        try:
            self.since = self._first(now)
        except (OverflowError, ValueError):
            raise BadQuery(
                f"back={back}: the calendar does not go back {back} {scale}s"
            ) from None

    def _first(self, now: datetime) -> datetime:
        before = self.back - 1
        if self.scale == "minute":
            return now - timedelta(minutes=before)
        if self.scale == "hour":
            return now - timedelta(hours=before)
        # Days, months and years differ in length: count by calendar date.
        today = self.until.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.scale == "day":
            return today - timedelta(days=before)
        months = today.year * 12 + today.month - 1
        months -= before * (12 if self.scale == "year" else 1)
        return today.replace(year=months // 12, month=months % 12 + 1, day=1)


class Query:
    """
    The query parameters of a request for a chart. Its methods raise :class:`BadQuery`
    for a parameter with a bad value. The parameters of staste's charts are understood:
    see :func:`~txstathat.charts.old_query.translate_query`.

    :param args: the parameters, in the form of :attr:`.Request.args`.
    :raises BadQuery: if they are not UTF-8.
    """

    def __init__(self, args: Mapping[bytes, Sequence[bytes]]) -> None:
        try:
            decoded = {
                name.decode("utf-8"): [value.decode("utf-8") for value in values]
                for name, values in args.items()
            }
        except UnicodeDecodeError:
            raise BadQuery("the query is not in UTF-8") from None
        self._args = translate_query(decoded)

    def check_names(self, known: Sequence[str]) -> None:
        """
        Refuse parameters that the chart does not have.

        :param known: the names of its parameters, without the filters.
        """
        for name in self._args:
            if name not in known and not name.startswith(FILTER):
                raise BadQuery(
                    f"{name!r} is not a parameter of this chart; use one of: "
                    f"{', '.join(known)}, {FILTER}AXIS"
                )

    def one_of(self, name: str, allowed: Sequence[str], default: str) -> str:
        """
        Read a parameter that is one of several words.

        :param name: the parameter.
        :param allowed: the words.
        :param default: the value where the query does not have the parameter.
        """
        value = self._args.get(name, [default])[-1]
        if value not in allowed:
            raise BadQuery(
                f"{name}={value!r}: must be one of "
                f"{', '.join(word or '(empty)' for word in allowed)}"
            )
        return value

    def whole(self, name: str, default: int | None, low: int, high: int) -> int | None:
        """
        Read a parameter that is a whole number.

        :param name: the parameter.
        :param default: the value where the parameter is missing or empty.
        :param low: the lowest number allowed.
        :param high: the highest number allowed.
        """
        text = self._args.get(name, [""])[-1]
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise BadQuery(f"{name}={text!r}: must be a whole number")
        if not low <= int(text) <= high:
            raise BadQuery(f"{name}={text}: must be from {low} to {high}")
        return int(text)

    def time_range(self, metrica: Metrica) -> TimeRange:
        """
        Read ``scale`` and ``back``.

        :param metrica: the Metrica that has the scales.
        """
        default = "hour" if "hour" in metrica.scales else metrica.scales[-1]
        scale = self.one_of("scale", metrica.scales, default)
        back = self.whole("back", _BACK[scale], 1, MAX_BACK)
        assert back is not None
        return TimeRange(metrica, scale, back)

    def timespan(self) -> dict[str, int]:
        """
        Read a timespan: ``year``, ``month``, ``day``, ``hour`` and ``minute``, as far
        as the query has them.
        """
        span: dict[str, int] = {}
        for scale in SCALES:
            number = self.whole(scale, None, 0, 9999)
            if number is not None:
                span[scale] = number
        return span

    def filters(self, metrica: Metrica) -> dict[str, Any]:
        """
        Read the choices to filter by. The parts of a path are repeated parameters.

        :param metrica: the Metrica that has the axes.
        :returns: choices by axis, for :meth:`.Selection.filter`.
        """
        found: dict[str, Any] = {}
        for name, values in self._args.items():
            if not name.startswith(FILTER):
                continue
            word = name.removeprefix(FILTER)
            axis = metrica.axes.get(word)
            if axis is None:
                raise BadQuery(
                    f"{name}: no axis {word!r}; "
                    f"the axes are: {', '.join(metrica.axes) or 'none'}"
                )
            hierarchical = isinstance(axis, HierarchicalAxis)
            found[word] = tuple(values) if hierarchical else values[-1]
        return found

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """
        List the parameters in their order.

        :param without: names to leave out.
        """
        return [
            (name, value)
            for name, values in self._args.items()
            for value in values
            if name not in without
        ]


def measures(metrica: Metrica) -> tuple[str, ...]:
    """
    What a chart can show of a Metrica, the default first: the total; for an averaged
    Metrica also the count and the average.

    :param metrica: the Metrica.
    """
    if isinstance(metrica, AveragedMetrica):
        # The number of requests says more than the sum of their milliseconds.
        return ("count", "average", "total")
    return ("total",)
