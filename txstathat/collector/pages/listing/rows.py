"""
What the list shows of its stats, read from the store as it is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.latest import Latest
from txstathat.collector.archive.records.details import Details
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat, Total
from txstathat.collector.errors import Refusal
from txstathat.stores.listing import ListedRow

__all__ = ["DAY", "MAX_PINNED", "StatRow", "pinned_stats", "read_rows"]

#: The timeframe of the sparkline.
DAY = "1d1h"
#: The most pinned stats at the top of the list; further ones are in their usual place.
MAX_PINNED = 50


@dataclass(frozen=True, slots=True)
class StatRow:
    """
    A stat in the list.

    :ivar stat: the stat.
    :ivar day: its last 24 hours; ``None`` if hours are not stored for so long.
    :ivar latest: its newest point; ``None`` without points.
    :ivar total: the sum of all its points; ``None`` without points.
    :ivar details: its unit and its pin.
    :ivar firing: whether one of its alerts fires.
    """

    stat: Stat
    day: Series | None
    latest: Latest | None
    total: Total | None
    details: Details
    firing: bool = False

    @property
    def activity(self) -> int | None:
        """
        The number of points in the last 24 hours.
        """
        if self.day is None:
            return None
        return sum(bucket.count for bucket in self.day.buckets)


async def read_rows(
    archive: Archive,
    stats: Sequence[Stat],
    details: Mapping[str, Details],
    listed: Iterable[ListedRow] = (),
) -> list[StatRow]:
    """
    Read what the list shows of some stats.

    :param archive: the archive.
    :param stats: the stats.
    :param details: the details by the stat's id.
    :param listed: their rows in the store, as far as these are known.
    :returns: a row for each stat, in the same order.
    :raises StoreError: if the store fails.
    """
    try:
        days = {one.stat.name: one for one in await archive.data(stats, DAY)}
    except Refusal:
        days = {}
    hours = {
        name: bucket.time
        for name, day in days.items()
        for bucket in day.buckets
        if bucket.count
    }
    by_name = {row.name: row for row in listed}
    times = {
        stat.name: int(row.newest)
        for stat in stats
        # Otherwise points have come since.
        if (row := by_name.get(stat.name)) and row.receipts == stat.receipts
    }
    latest = await archive.latest(stats, hours=hours, times=times)
    totals = await archive.totals(stats)
    return [
        StatRow(
            stat,
            days.get(stat.name),
            latest.get(stat.name),
            totals.get(stat.name),
            details.get(stat.id, Details()),
        )
        for stat in stats
    ]


async def pinned_stats(archive: Archive, details: Mapping[str, Details]) -> list[Stat]:
    """
    Return the pinned stats, sorted by name, at most :data:`MAX_PINNED`.

    :param archive: the archive.
    :param details: the details by the stat's id.
    :raises StoreError: if the store fails.
    """
    ids = [id for id, one in details.items() if one.pinned]
    stats = await archive.known(ids) if ids else []
    return stats[:MAX_PINNED]
