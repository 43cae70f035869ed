"""
What the weekly digest says: the totals of a week beside those of the week before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.points.timeframe import Timeframe
from txstathat.printable import printable

__all__ = ["MAX_DIGEST_STATS", "WEEK", "WeekTotal", "digest_text", "read_week"]

#: The largest number of stats in a digest. Further ones are only counted.
MAX_DIGEST_STATS = 500
#: The seconds of a week.
WEEK = 7 * 86_400

_DAY = 86_400
_FRAME = Timeframe.parse("1w1d")
_LONGEST_NAME = 60
# How many stats are read at once.
_STATS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class WeekTotal:
    """
    The totals of a stat.

    :ivar name: the stat's name.
    :ivar counter: whether the totals are sums; otherwise they are averages.
    :ivar week: the total of the week; ``None`` for a value without points.
    :ivar before: the total of the week before.
    """

    name: str
    counter: bool
    week: int | float | None
    before: int | float | None

    @property
    def change(self) -> str:
        """
        The change in percent, for people.
        """
        if self.week is None or not self.before:
            return ""
        percent = (self.week / abs(self.before) - (1 if self.before > 0 else -1)) * 100
        return f"{percent:+,.1f} %"


async def read_week(archive: Archive, due: int) -> tuple[list[WeekTotal], int]:
    """
    Read the totals of the seven whole days (UTC) before a time, and of the seven before
    those.

    :param archive: the stats.
    :param due: Unix seconds.
    :returns: the totals, sorted by name, of stats with points in either week; and how
        many stats are left out.
    :raises Refusal: if days are not stored for two weeks.
    :raises StoreError: if the store fails.
    """
    end = due // _DAY * _DAY
    some: list[Stat] = []
    left_out = 0
    names = await archive.names()
    for first in range(0, len(names), _STATS_AT_ONCE):
        for stat in await archive.stats(names[first : first + _STATS_AT_ONCE]):
            if stat.received_at < end - 2 * WEEK or stat.created_at >= end:
                continue
            if len(some) < MAX_DIGEST_STATS:
                some.append(stat)
            else:
                left_out += 1
    week = await _totals(archive, some, end)
    before = await _totals(archive, some, end - WEEK)
    totals = [
        WeekTotal(stat.name, stat.counter, week[stat.name], before[stat.name])
        for stat in some
    ]
    shown = [each for each in totals if each.week or each.before]
    return shown, left_out


async def _totals(
    archive: Archive, stats: Sequence[Stat], end: int
) -> dict[str, int | float | None]:
    series = await archive.data(stats, _FRAME, end - 1)
    return {one.stat.name: one.whole for one in series}


def digest_text(totals: Sequence[WeekTotal], left_out: int, due: int) -> str:
    """
    Return the text of a digest.

    :param totals: the totals.
    :param left_out: how many stats are left out.
    :param due: as for :func:`read_week`.
    """
    end = due // _DAY * _DAY
    first, last = _date(end - WEEK), _date(end - 1)
    lines = [f"{first} to {last} (UTC), beside the week before", ""]
    if not totals:
        lines.append("No stat had points in these two weeks.")
    else:
        rows = [("", "this week", "week before", "change"), *map(_row, totals)]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for name, *cells in rows:
            aligned = [
                cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)
            ]
            lines.append("  ".join([name.ljust(widths[0]), *aligned]).rstrip())
    if left_out:
        lines += ["", f"{left_out:,} more stats are not shown."]
    return "\n".join(lines)


def _row(total: WeekTotal) -> tuple[str, str, str, str]:
    name = printable(total.name)
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1] + "…"
    kind = "" if total.counter else " (average)"
    return name + kind, _number(total.week), _number(total.before), total.change


def _number(number: int | float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"


def _date(time: int) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"
