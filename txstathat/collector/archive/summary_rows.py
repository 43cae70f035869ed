"""
Makes the rows from which the list of stats is sorted.
"""

from __future__ import annotations

from collections.abc import Sequence

from txstathat.collector.archive.latest import find_latest
from txstathat.collector.archive.stats import EVERYTHING, Stat, total_key
from txstathat.metrica.calendar import Calendar
from txstathat.stores.interface import Cell, CellKey, IStore
from txstathat.stores.listing import ListedRow

__all__ = ["ACTIVITY_HOURS", "no_total", "summary_rows"]

#: The hours of which a stat's activity is the number of points; the last one is the
#: current hour.
ACTIVITY_HOURS = 24

_UTC = Calendar("UTC")
_HOUR = 3600


async def summary_rows(
    stats: Sequence[Stat], store: IStore, now: float
) -> list[ListedRow]:
    """
    Make the rows of some stats.

    :param stats: the stats.
    :param store: has their cells.
    :param now: Unix seconds.
    :returns: a row for each stat, in the same order.
    :raises StoreError: if the store fails.
    """
    since = int(now) - (ACTIVITY_HOURS - 1) * _HOUR
    hours = _UTC.timeline(since, int(now), "hour")
    keys = [total_key(stat.name) for stat in stats]
    keys += [
        CellKey(stat.name, "hour", label, EVERYTHING)
        for stat in stats
        for _, label in hours
    ]
    cells = await store.read(keys)
    totals, days = cells[: len(stats)], cells[len(stats) :]
    activity: dict[str, int] = {}
    newest_hours: dict[str, int] = {}
    for number, stat in enumerate(stats):
        day = days[number * len(hours) : (number + 1) * len(hours)]
        counts = [cell.count if cell else 0 for cell in day]
        activity[stat.name] = sum(counts)
        for (start, _), count in zip(hours, counts, strict=True):
            if count:
                newest_hours[stat.name] = int(start.timestamp())
    latest = await find_latest(stats, store.read, hours=newest_hours)
    return [
        ListedRow(
            *(stat.name, stat.kind, _total(stat, total)),
            float(latest[stat.name].time) if stat.name in latest else 0.0,
            *(float(activity[stat.name]), stat.receipts, now),
            id=stat.id,
        )
        for stat, total in zip(stats, totals, strict=True)
    ]


def no_total(kind: str) -> float:
    """
    Return the total of a stat without points. A value never has a total: it comes
    before all counters.

    :param kind: ``'count'`` or ``'value'``.
    """
    return 0.0 if kind == "count" else float("-inf")


def _total(stat: Stat, cell: Cell | None) -> float:
    if cell is None or not stat.counter:
        return no_total(stat.kind)
    return float(cell.sum)
