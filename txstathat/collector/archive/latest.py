"""
The newest point of a stat, as exactly as the stored detail allows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from txstathat.collector.archive.all_time import LENGTHS
from txstathat.collector.archive.stats import EVERYTHING, Stat
from txstathat.collector.limits import MAX_AHEAD
from txstathat.metrica.calendar import Calendar, coarsen
from txstathat.stores.interface import Cell, CellKey

__all__ = ["Latest", "find_latest"]

# Reads cells of a store.
_Read = Callable[[Sequence[CellKey]], Awaitable[list[Cell | None]]]

_UTC = Calendar("UTC")
# The minutes to look at first, after that of the last receipt: nearly all points are
# received within these minutes.
_MINUTES = (1, 0, -1, -2)
# How many cells are read at once.
_CELLS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Latest:
    """
    The newest time bucket with points of a stat.

    :ivar time: when it begins, in Unix seconds.
    :ivar scale: its scale: ``'minute'``, or a coarser one if finer detail has expired.
    :ivar value: the sum of a counter in it, or the average of a value.
    """

    time: int
    scale: str
    value: int | float

    @classmethod
    def of(cls, stat: Stat, scale: str, time: int, cell: Cell) -> Latest:
        """
        Make it of a cell.
        """
        return cls(time, scale, cell.sum if stat.counter else cell.sum / cell.count)


async def find_latest(
    stats: Iterable[Stat],
    read: _Read,
    *,
    hours: Mapping[str, int] | None = None,
    times: Mapping[str, int] | None = None,
) -> dict[str, Latest]:
    """
    Find the newest points of stats. Points ahead of the time of their receipt may be
    missed until another point arrives.

    :param stats: the stats.
    :param read: reads cells.
    :param hours: when the newest hour with points begins, in Unix seconds, by the name
        of each stat for which that is known.
    :param times: when the newest time bucket begins, in Unix seconds, by the name of
        each stat for which that is known.
    :returns: the newest time buckets, by the stat's name, of the stats with points.
    """
    found: dict[str, Latest] = {}
    left = [stat for stat in stats if stat.receipts]
    left = await _at(left, times or {}, found, read)
    left = await _near_receipt(left, found, read)
    spans = {
        name: (hour, hour + LENGTHS["hour"].longest - 1)
        for name, hour in (hours or {}).items()
    }
    await _search(left, spans, ("minute",), found, read)
    left = [stat for stat in left if stat.name not in found]
    spans = {stat.name: (0, int(stat.received_at) + MAX_AHEAD) for stat in left}
    await _search(left, spans, LENGTHS, found, read)
    return found


async def _at(
    stats: Sequence[Stat],
    times: Mapping[str, int],
    found: dict[str, Latest],
    read: _Read,
) -> list[Stat]:
    """
    Find the buckets of known times, in the finest scale that is stored.

    :returns: the stats of which none was found.
    """
    known = [stat for stat in stats if stat.name in times]
    for scale in reversed(LENGTHS):
        left = [stat for stat in known if stat.name not in found]
        if not left:
            break
        lines = [
            [(times[stat.name], coarsen(_UTC.minute(times[stat.name]), scale))]
            for stat in left
        ]
        for stat, buckets in await _read_lines(left, scale, lines, read):
            if buckets:
                found[stat.name] = Latest.of(stat, scale, *buckets[0])
    return [stat for stat in stats if stat.name not in found]


async def _near_receipt(
    stats: Sequence[Stat], found: dict[str, Latest], read: _Read
) -> list[Stat]:
    """
    Find the newest minutes near the last receipts.

    :returns: the stats of which none was found.
    """
    label = cache(_UTC.minute)
    lines = []
    for stat in stats:
        minute = int(stat.received_at) // 60
        times = [(minute + offset) * 60 for offset in _MINUTES]
        lines.append([(time, label(time)) for time in times])
    left = []
    for stat, buckets in await _read_lines(stats, "minute", lines, read):
        if buckets:
            found[stat.name] = Latest.of(stat, "minute", *buckets[0])
        else:
            left.append(stat)
    return left


async def _search(
    stats: Sequence[Stat],
    spans: dict[str, tuple[int, int]],
    scales: Iterable[str],
    found: dict[str, Latest],
    read: _Read,
) -> None:
    """
    Find the newest bucket of the coarsest scale of each stat, then the newest one of
    the next scale in it, and so on.

    :param stats: the stats.
    :param spans: when to begin and to end, in Unix seconds, by the stat's name.
    :param scales: the scales, the coarsest first.
    :param found: gets the newest buckets, by the stat's name.
    :param read: reads cells.
    """
    for scale in scales:
        stats = [stat for stat in stats if stat.name in spans]
        # Many stats have the same spans.
        line = cache(partial(_line, scale=scale))
        lines = [line(*spans.pop(stat.name)) for stat in stats]
        for stat, buckets in await _read_lines(stats, scale, lines, read):
            # Without any, this detail has expired, and so has finer detail.
            if buckets:
                time, cell = buckets[-1]
                found[stat.name] = Latest.of(stat, scale, time, cell)
                spans[stat.name] = (time, LENGTHS[scale].after(time) - 1)


def _line(since: int, until: int, scale: str) -> list[tuple[int, str]]:
    """
    Return the beginnings and the labels of the buckets of a span.
    """
    return [
        (int(start.timestamp()), label)
        for start, label in _UTC.timeline(since, until, scale)
    ]


async def _read_lines(
    stats: Sequence[Stat],
    scale: str,
    lines: Sequence[Sequence[tuple[int, str]]],
    read: _Read,
) -> list[tuple[Stat, list[tuple[int, Cell]]]]:
    """
    Read time buckets of several stats.

    :param lines: for each stat the times and labels of its buckets.
    :returns: for each stat the times and cells of the buckets that are not empty.
    """
    if not stats:
        return []
    keys = [
        CellKey(stat.name, scale, label, EVERYTHING)
        for stat, line in zip(stats, lines, strict=True)
        for _, label in line
    ]
    cells: list[Cell | None] = []
    for start in range(0, len(keys), _CELLS_AT_ONCE):
        cells += await read(keys[start : start + _CELLS_AT_ONCE])
    left = iter(cells)
    return [
        (stat, [(time, cell) for time, _ in line if (cell := next(left)) is not None])
        for stat, line in zip(stats, lines, strict=True)
    ]
