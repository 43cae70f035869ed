"""
The timeframe that covers all points of a stat, in the shortest possible steps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from txstathat.collector.archive.series import scale_of
from txstathat.collector.archive.stats import EVERYTHING
from txstathat.metrica.calendar import Calendar
from txstathat.points.timeframe import MAX_BUCKETS, Span, Timeframe
from txstathat.stores.interface import Cell, CellKey

__all__ = ["INTERVALS", "LENGTHS", "all_time_of", "first_time"]

#: The possible steps: all that divide an hour or a day, then longer ones.
INTERVALS = (
    *(Span(number, "m") for number in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(Span(number, "h") for number in (1, 2, 3, 4, 6, 8, 12)),
    *(Span(1, unit) for unit in "dwMy"),
)

_UTC = Calendar("UTC")
#: The length of a time bucket of each scale, from coarse to fine.
LENGTHS = {
    "year": Span(1, "y"),
    "month": Span(1, "M"),
    "day": Span(1, "d"),
    "hour": Span(1, "h"),
    "minute": Span(1, "m"),
}


async def first_time(
    name: str,
    now: float,
    read: Callable[[Sequence[CellKey]], Awaitable[list[Cell | None]]],
) -> int | None:
    """
    Return the time of a stat's first data, as exactly as the stored detail allows.

    :param name: the stat's name.
    :param now: Unix seconds.
    :param read: reads cells of the store.
    :returns: Unix seconds; ``None`` for a stat without data.
    """
    first, events = None, 0
    since, until = 0, int(now)
    for scale, length in LENGTHS.items():
        try:
            timeline = _UTC.timeline(since, until, scale)
        except ValueError:
            break  # too many cells
        cells = await read([CellKey(name, scale, at, EVERYTHING) for _, at in timeline])
        found = [
            (int(start.timestamp()), cell.count)
            for (start, _), cell in zip(timeline, cells, strict=True)
            if cell is not None
        ]
        # If some events are missing, the detail of this scale has expired. A finer one
        # may be stored for longer.
        if not found and first is None:
            break
        if not found or (first is not None and sum(n for _, n in found) != events):
            continue
        first, events = found[0]
        since, until = first, length.after(first) - 1
    return first


def all_time_of(
    first: int,
    now: float,
    whole_since: Callable[[str], float],
    max_cells: int,
) -> Timeframe:
    """
    Return the timeframe from a stat's first data to now, in the shortest steps that
    give at most :data:`~txstathat.points.timeframe.MAX_BUCKETS` points and of which all
    detail is stored.

    :param first: the time of the first data, in Unix seconds.
    :param now: Unix seconds.
    :param whole_since: returns since when a scale is complete, in Unix seconds.
    :param max_cells: the largest number of cells to read.
    """
    for interval in INTERVALS:
        begin = interval.bucket(first)
        steps = interval.bucket(int(now)) - begin + 1
        scale = scale_of(interval)
        cells = (now - first) / LENGTHS[scale].longest + 2
        if (
            steps <= MAX_BUCKETS
            and cells <= max_cells
            and max(0, interval.start(begin)) >= whole_since(scale)
        ):
            break
    # By default years are stored for ever, so the last interval always fits.
    return Timeframe(Span(steps * interval.number, interval.unit), interval)
