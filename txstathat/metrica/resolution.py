"""
Which detail is still kept, for timelines in the finest there is.

Detail goes by when it was last written, so only the store knows. What is whole can be
told by counting: where the finer stretches together hold as many events as the coarser
one, none of them has been dropped, and they stand in its place. So a timeline's total
does not depend on what was dropped.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks

from txstathat.metrica.calendar import MAX_POINTS, coarsen
from txstathat.metrica.cells import cell_key
from txstathat.stores.interface import CellKey

if TYPE_CHECKING:
    from txstathat.metrica.metrica import Metrica

__all__ = ["finest_stretches"]

# Seconds after its start by which a stretch is surely over, changed clocks included.
_OVER = {"year": 367 * 86_400, "month": 32 * 86_400, "day": 2 * 86_400, "hour": 7_200}

# When it begins, as a datetime and in seconds; its scale; its label.
_Stretch = tuple[datetime, int, str, str]


@inlineCallbacks
def finest_stretches(
    metrica: Metrica, since: int, until: int
) -> Generator[Deferred[Any], Any, list[tuple[datetime, str, str]]]:
    """
    Cut a length of time into stretches, each of the finest scale that is still whole.

    Where nothing happened, the scale is the finest that would still be kept of
    something that was written when it happened.

    :param since: whole Unix seconds.
    :param until: whole Unix seconds.
    :returns: fires with the stretches in time order: start, scale and label. It fails
        with a ``ValueError`` if there would be more than
        :data:`txstathat.metrica.calendar.MAX_POINTS`.
    """
    yield metrica.ready()
    coarse, *finer_scales = metrica.retention
    open_stretches = _timeline(metrica, since, until, coarse)
    counts = yield _counts(metrica, open_stretches)
    done: list[_Stretch] = []
    for scale in finer_scales:
        inner = [
            (stretch, count, _within(metrica, stretch, scale))
            for stretch, count in zip(open_stretches, counts, strict=True)
            if count or _would_be_kept(metrica, stretch, scale)
        ]
        refined = {id(stretch) for stretch, _, _ in inner}
        done += [one for one in open_stretches if id(one) not in refined]
        if sum(len(parts) for _, _, parts in inner) > MAX_POINTS:
            raise ValueError(f"more than {MAX_POINTS} points; name a scale")
        inner_counts = iter(
            (yield _counts(metrica, [one for _, _, parts in inner for one in parts]))
        )
        open_stretches, counts = [], []
        for stretch, count, parts in inner:
            part_counts = [next(inner_counts) for _ in parts]
            if sum(part_counts) != count:
                done.append(stretch)
                continue
            ends = [part[1] for part in parts[1:]] + [until + 1]
            for part, part_count, end in zip(parts, part_counts, ends, strict=True):
                if part[1] <= until and end > since:
                    open_stretches.append(part)
                    counts.append(part_count)
    return [
        (start, scale, label)
        for start, _, scale, label in sorted(
            done + open_stretches, key=lambda one: one[1]
        )
    ]


def _timeline(metrica: Metrica, since: int, until: int, scale: str) -> list[_Stretch]:
    return [
        (start, metrica.calendar.seconds(start), scale, label)
        for start, label in metrica.calendar.timeline(since, until, scale)
    ]


def _within(metrica: Metrica, stretch: _Stretch, scale: str) -> list[_Stretch]:
    _, begin, outer, label = stretch
    return [
        part
        for part in _timeline(metrica, begin, begin + _OVER[outer], scale)
        if coarsen(part[3], outer) == label
    ]


def _would_be_kept(metrica: Metrica, stretch: _Stretch, scale: str) -> bool:
    keep = metrica.retention[scale]
    return (
        keep is None or stretch[1] + _OVER[stretch[2]] > metrica.clock.seconds() - keep
    )


def _counts(metrica: Metrica, stretches: list[_Stretch]) -> Deferred[list[int]]:
    everything = cell_key((None,) * len(metrica.axes))
    read: Deferred[Any] = metrica.store.read(
        [
            CellKey(metrica.name, scale, label, everything)
            for _, _, scale, label in stretches
        ]
    )
    return read.addCallback(
        lambda cells: [0 if cell is None else cell.count for cell in cells]
    )
