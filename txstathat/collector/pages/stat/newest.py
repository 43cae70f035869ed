"""
The newest point of a stat, and the range with which its page opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.pages.frame.formatting import ago, day, minute
from txstathat.collector.pages.stat.ranges import DEFAULT, Range, StoredSince, pick_step
from txstathat.points.timeframe import Span, Timeframe

__all__ = ["Newest", "nearest_range", "opening_range", "read_newest"]

# The ranges with which a page opens, the shortest first, and the words for each.
_HOUR = "1h1m"
_OPENING = {
    _HOUR: "the hour",
    DEFAULT: "the day",
    "1w3h": "the week",
    "1M1h": "the month",
    "1y1d": "the year",
}
# A stat younger than this, in seconds, can open with the last hour: of a day it has
# little to show.
_YOUNG = 2 * 3600.0
_YEAR = Span(1, "y")


@dataclass(frozen=True)
class Newest:
    """
    The newest point of a stat.

    :ivar now: the current time, in Unix seconds.
    :ivar time: the point's own time, in Unix seconds; ``None`` for a stat without
        points.
    :ivar scale: how exactly it is known, such as ``'minute'``.
    """

    now: int
    time: int | None
    scale: str = ""

    @property
    def date(self) -> str:
        """
        Its time as a date, or as far as it is known.
        """
        if self.time is None:
            return "never"
        then = datetime.fromtimestamp(self.time, UTC)
        if self.scale == "year":
            return f"{then:%Y}"
        return f"{then:%b %Y}" if self.scale == "month" else day(self.time)

    @property
    def ago(self) -> str:
        """
        How long ago it was.
        """
        if self.time is None or self.scale not in ("hour", "minute"):
            return self.date
        return ago(self.time, self.now)

    @property
    def moment(self) -> str:
        """
        Its time, as exactly as it is known.
        """
        if self.time is None or self.scale not in ("hour", "minute"):
            return self.date
        return minute(self.time)


async def read_newest(archive: Archive, stat: Stat) -> Newest:
    """
    Read when the newest point of a stat was.

    :param archive: has the stat.
    :param stat: the stat.
    """
    now = int(archive.store.clock.seconds())
    latest = (await archive.latest([stat])).get(stat.name)
    return (
        Newest(now, None) if latest is None else Newest(now, latest.time, latest.scale)
    )


def opening_range(stat: Stat, newest: Newest) -> Range:
    """
    The range with which the page of a stat opens: the shortest one with data, but at
    least a day, or an hour for a new stat.

    :param stat: the stat.
    :param newest: its newest point.
    """
    young = newest.now - stat.created_at < _YOUNG
    usual = Range(Timeframe.parse(_HOUR if young else DEFAULT))
    for t in _OPENING:
        shown = Range(Timeframe.parse(t))
        if (t != _HOUR or young) and _has(shown, newest):
            return shown
    return usual


def nearest_range(newest: Newest, since: StoredSince) -> tuple[Range, str] | None:
    """
    The shortest range with the newest point of a stat, and words for it.

    :param newest: the newest point.
    :param since: returns since when a scale is stored, in Unix seconds.
    :returns: ``None`` for a stat without points.
    """
    if newest.time is None:
        return None
    for t, words in _OPENING.items():
        shown = Range(Timeframe.parse(t))
        if _has(shown, newest):
            return shown, words
    then = datetime.fromtimestamp(newest.time, UTC)
    start = int(datetime(then.year, 1, 1, tzinfo=UTC).timestamp())
    step = pick_step(_YEAR, start, since)
    return Range(Timeframe(_YEAR, step), start), str(then.year)


def _has(shown: Range, newest: Newest) -> bool:
    return newest.time is not None and shown.begin(newest.now) <= newest.time
