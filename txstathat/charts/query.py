"""
What a viewer asks of a chart: the query of its URL, checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from txstathat.metrica import AveragedMetrica, HierarchicalAxis, Metrica
from txstathat.metrica.calendar import SCALES

__all__ = ["MAX_BACK", "BadQuery", "Query", "Window", "measures"]

#: How many stretches of time one chart may show.
MAX_BACK = 2_000
#: The prefix of the parameters that filter by a choice: ``filter.gender=girl``.
FILTER = "filter."
#: How far back each scale shows by default, in stretches.
_BACK = {"year": 5, "month": 12, "day": 30, "hour": 48, "minute": 60}


class BadQuery(ValueError):
    """A query that cannot be answered; its text says why."""


class Window:
    """
    The latest stretches of a scale.

    :ivar scale: the scale.
    :ivar back: how many there are.
    :ivar since: lies in the first.
    :ivar until: lies in the last: now.
    """

    def __init__(self, metrica: Metrica, scale: str, back: int) -> None:
        self.scale = scale
        self.back = back
        now = datetime.fromtimestamp(metrica.clock.seconds(), UTC)
        self.until = now.astimezone(metrica.calendar.zone)
        try:
            self.since = self._first(now)
        except (OverflowError, ValueError):
            raise BadQuery(f"back={back}: there are not so many {scale}s") from None

    def _first(self, now: datetime) -> datetime:
        before = self.back - 1
        if self.scale == "minute":
            return now - timedelta(minutes=before)
        if self.scale == "hour":
            return now - timedelta(hours=before)
        # The calendar's stretches differ in length: count them by their numbers.
        today = self.until.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.scale == "day":
            return today - timedelta(days=before)
        months = today.year * 12 + today.month - 1
        months -= before * (12 if self.scale == "year" else 1)
        return today.replace(year=months // 12, month=months % 12 + 1, day=1)


class Query:
    """
    The parameters of a request for a chart.

    :param args: as :attr:`.Request.args` has them.
    :raises BadQuery: out of its methods, for what cannot be answered.
    """

    def __init__(self, args: Mapping[bytes, Sequence[bytes]]) -> None:
        try:
            self._args = {
                name.decode("utf-8"): [value.decode("utf-8") for value in values]
                for name, values in args.items()
            }
        except UnicodeDecodeError:
            raise BadQuery("the query is not in UTF-8") from None

    def check_names(self, known: Sequence[str]) -> None:
        """
        Refuse parameters that the chart doesn't have.
        """
        for name in self._args:
            if name not in known and not name.startswith(FILTER):
                raise BadQuery(
                    f"{name!r} is no parameter here; these are: {', '.join(known)}, "
                    f"and {FILTER}AXIS"
                )

    def one_of(self, name: str, allowed: Sequence[str], default: str) -> str:
        """
        A parameter that is one of several words.
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
        A parameter that is a whole number; an empty one is the default.
        """
        text = self._args.get(name, [""])[-1]
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise BadQuery(f"{name}={text!r}: must be a whole number")
        if not low <= int(text) <= high:
            raise BadQuery(f"{name}={text}: must be from {low} to {high}")
        return int(text)

    def window(self, metrica: Metrica) -> Window:
        """
        How far back to look (``back``), and in which ``scale``.
        """
        default = "hour" if "hour" in metrica.scales else metrica.scales[-1]
        scale = self.one_of("scale", metrica.scales, default)
        back = self.whole("back", _BACK[scale], 1, MAX_BACK)
        assert back is not None
        return Window(metrica, scale, back)

    def timespan(self) -> dict[str, int]:
        """
        A timespan: ``year`` and so on, each with all coarser ones.
        """
        span: dict[str, int] = {}
        for scale in SCALES:
            number = self.whole(scale, None, 0, 9999)
            if number is not None:
                span[scale] = number
        return span

    def filters(self, metrica: Metrica) -> dict[str, Any]:
        """
        The choices to filter by; of a path, each part is given once more.
        """
        found: dict[str, Any] = {}
        for name, values in self._args.items():
            if not name.startswith(FILTER):
                continue
            word = name.removeprefix(FILTER)
            axis = metrica.axes.get(word)
            if axis is None:
                raise BadQuery(
                    f"{name}: there is no axis {word!r}; "
                    f"the axes are: {', '.join(metrica.axes) or 'none'}"
                )
            hierarchical = isinstance(axis, HierarchicalAxis)
            found[word] = tuple(values) if hierarchical else values[-1]
        return found

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """
        The parameters as they came, but for some.
        """
        return [
            (name, value)
            for name, values in self._args.items()
            for value in values
            if name not in without
        ]


def measures(metrica: Metrica) -> tuple[str, ...]:
    """
    What can be shown of a Metrica: its totals, and counts and averages if it has them.
    The first is shown if the query names none: how many requests there were says more
    than the sum of their milliseconds.
    """
    if isinstance(metrica, AveragedMetrica):
        return ("count", "average", "total")
    return ("total",)
