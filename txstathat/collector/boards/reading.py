"""
Reads many series at once: all stats of a board in few reads of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from twisted.internet.task import deferLater

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.comments import Comment
from txstathat.collector.archive.series import Plan, Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.boards.model import Board
from txstathat.collector.errors import Refusal
from txstathat.points.timeframe import Timeframe

__all__ = ["CELLS_AT_ONCE", "BoardData", "read_board", "read_series"]

#: How many cells are read at once. More would block the reactor for long.
CELLS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class BoardData:
    """
    What the tiles of a board show.

    :ivar series: the series, by the stat's name and the timeframe; or why one cannot be
        shown. Stats that do not exist are left out.
    :ivar marks: the comments on these stats, by the stat's name, and under ``''`` those
        on no stat; oldest first.
    :ivar units: the units of the stats that have one, by the stat's name.
    :ivar now: the time to which they belong, in Unix seconds.
    """

    series: Mapping[tuple[str, str], Series | Refusal]
    marks: Mapping[str, list[Comment]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0

    def marks_of(self, names: Iterable[str], since: float) -> list[Comment]:
        """
        Return what the chart of some stats marks, oldest first.

        :param names: the names of the stats.
        :param since: when the chart begins, in Unix seconds.
        """
        found = [mark for name in ("", *names) for mark in self.marks.get(name, [])]
        since_then = [mark for mark in found if since <= mark.time <= self.now]
        return sorted(since_then, key=lambda mark: mark.time)


async def read_board(
    archive: Archive, board: Board, *, notes: bool = True
) -> BoardData:
    """
    Read what a board shows. However many tiles it has, that is one read of the stats,
    and one of their data for each :data:`CELLS_AT_ONCE` cells.

    :param archive: the stats.
    :param board: the board.
    :param notes: whether to read the comments too.
    :raises StoreError: if the store fails.
    """
    now = archive.store.clock.seconds()
    stats = {stat.name: stat for stat in await archive.stats(board.stats)}
    wanted = [
        (stats[name], tile.timeframe)
        for tile in board.tiles
        for name in tile.stats
        if name in stats
    ]
    series = await read_series(archive, wanted, now)
    marks = await archive.notes.by_stat(list(stats.values())) if notes else {}
    details = await archive.details.read_some(list(stats.values()))
    units = {name: each.unit for name, each in details.items()}
    return BoardData(series, marks, units, now)


async def read_series(
    archive: Archive, wanted: Iterable[tuple[Stat, str]], now: float
) -> dict[tuple[str, str], Series | Refusal]:
    """
    Read series of several stats and timeframes together.

    :param archive: the stats.
    :param wanted: the stats, each with a timeframe. What is there twice is read once.
    :param now: Unix seconds.
    :returns: the series, by the stat's name and the timeframe; or why there is none,
        such as that so much detail is not stored.
    :raises StoreError: if the store fails.
    """
    found: dict[tuple[str, str], Series | Refusal] = {}
    plans: dict[str, Plan | Refusal] = {}
    waiting: list[tuple[Stat, str, Plan]] = []
    cells = 0
    for stat, t in dict.fromkeys(wanted):
        if t not in plans:
            plans[t] = _plan(archive, t, now)
        plan = plans[t]
        if isinstance(plan, Refusal):
            found[stat.name, t] = plan
            continue
        if waiting and cells + len(plan.buckets) > CELLS_AT_ONCE:
            found |= await _read(archive, waiting)
            # Other requests have a turn between two reads.
            await deferLater(archive.timers, 0)
            waiting, cells = [], 0
        waiting.append((stat, t, plan))
        cells += len(plan.buckets)
    return found | await _read(archive, waiting)


def _plan(archive: Archive, t: str, now: float) -> Plan | Refusal:
    try:
        return Plan(Timeframe.parse(t), now, archive.retention, archive.stored_since)
    except Refusal as refusal:
        return refusal


async def _read(
    archive: Archive, waiting: list[tuple[Stat, str, Plan]]
) -> dict[tuple[str, str], Series | Refusal]:
    keys = [key for stat, _, plan in waiting for key in plan.keys(stat.name)]
    cells = await archive.store.read(keys) if keys else []
    found: dict[tuple[str, str], Series | Refusal] = {}
    at = 0
    for stat, t, plan in waiting:
        width = len(plan.buckets)
        found[stat.name, t] = plan.series(stat, cells[at : at + width])
        at += width
    return found
