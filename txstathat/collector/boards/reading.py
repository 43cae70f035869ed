"""
Reads many series at once: all stats of a board in few reads of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.task import deferLater

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.records.comments import Comment
from txstathat.collector.archive.series import Plan, Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.boards.model import Board
from txstathat.collector.errors import Refusal
from txstathat.points.timeframe import Timeframe

__all__ = ["CELLS_AT_ONCE", "BoardData", "read_board"]

#: How many cells are read at once. More would block the reactor for long.
CELLS_AT_ONCE = 10_000


class _Wanted(NamedTuple):
    """
    A series to read: a stat over a timeframe, or over the time of the same length
    before it.
    """

    name: str
    t: str
    before: bool = False


@dataclass(frozen=True, slots=True)
class BoardData:
    """
    What the tiles of a board show.

    :ivar series: the series, by the stat's name and the timeframe; or why one cannot be
        shown. Stats that do not exist are left out.
    :ivar before: for tiles with a number, the series of the time of the same length
        before; without those whose detail is not stored.
    :ivar marks: the comments on these stats, by the stat's name, and under ``''`` those
        on no stat; oldest first.
    :ivar units: the units of the stats that have one, by the stat's name.
    :ivar now: the time to which they belong, in Unix seconds.
    """

    series: Mapping[tuple[str, str], Series | Refusal]
    before: Mapping[tuple[str, str], Series] = field(default_factory=dict)
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
        _Wanted(name, tile.timeframe, before)
        for tile in board.tiles
        for name in tile.stats
        for before in ((False, True) if tile.kind == "number" else (False,))
        if name in stats
    ]
    found = await _read_series(archive, stats, wanted, now)
    marks = await archive.notes.by_stat(list(stats.values())) if notes else {}
    details = await archive.details.read_some(list(stats.values()))
    return BoardData(
        {(name, t): each for (name, t, before), each in found.items() if not before},
        {
            (name, t): each
            for (name, t, before), each in found.items()
            if before and not isinstance(each, Refusal)
        },
        marks,
        {name: each.unit for name, each in details.items()},
        now,
    )


async def _read_series(
    archive: Archive,
    stats: Mapping[str, Stat],
    wanted: Iterable[_Wanted],
    now: float,
) -> dict[_Wanted, Series | Refusal]:
    """
    Read several series together.

    :param archive: the stats.
    :param stats: the stats by their names.
    :param wanted: the series. What is there twice is read once.
    :param now: Unix seconds.
    :returns: the series; or why there is none, such as that so much detail is not
        stored.
    :raises StoreError: if the store fails.
    """
    found: dict[_Wanted, Series | Refusal] = {}
    plans: dict[tuple[str, bool], Plan | Refusal] = {}
    waiting: list[tuple[_Wanted, Plan]] = []
    cells = 0
    for one in dict.fromkeys(wanted):
        span = (one.t, one.before)
        if span not in plans:
            plans[span] = _plan(archive, *span, now)
        plan = plans[span]
        if isinstance(plan, Refusal):
            found[one] = plan
            continue
        if waiting and cells + len(plan.buckets) > CELLS_AT_ONCE:
            found |= await _read(archive, stats, waiting)
            # Other requests have a turn between two reads.
            await deferLater(archive.timers, 0)
            waiting, cells = [], 0
        waiting.append((one, plan))
        cells += len(plan.buckets)
    return found | await _read(archive, stats, waiting)


def _plan(archive: Archive, t: str, before: bool, now: float) -> Plan | Refusal:
    timeframe = Timeframe.parse(t)
    limits = (archive.retention, archive.stored_since)
    try:
        plan = Plan(timeframe, now, *limits)
        if not before:
            return plan
        start = timeframe.duration.before(plan.edges[0])
        return Plan(timeframe, now, *limits, start=start)
    except Refusal as refusal:
        return refusal


async def _read(
    archive: Archive, stats: Mapping[str, Stat], waiting: list[tuple[_Wanted, Plan]]
) -> dict[_Wanted, Series | Refusal]:
    keys = [key for one, plan in waiting for key in plan.keys(one.name)]
    cells = await archive.store.read(keys) if keys else []
    found: dict[_Wanted, Series | Refusal] = {}
    at = 0
    for one, plan in waiting:
        width = len(plan.buckets)
        found[one] = plan.series(stats[one.name], cells[at : at + width])
        at += width
    return found
