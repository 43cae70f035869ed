"""
Tells expired detail from time buckets without events: a store has a cell of neither.

Detail expires a certain time after it was last written. A bucket that began less than
that time ago has not expired. For an older one, counting shows it: if the buckets
within the next coarser one have as many events together as that one, none of them has
expired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from txstathat.metrica.calendar import ALL, MAX_POINTS, coarsen
from txstathat.metrica.cells import YEARS, cell_key
from txstathat.metrica.reader import Reader
from txstathat.stores.interface import CellKey

__all__ = ["find_expired"]


async def find_expired(
    reader: Reader, key: str, scale: str, labels: Iterable[str]
) -> set[str]:
    """
    Find the time buckets that have expired, or may have.

    :param reader: reads the cells of the Metrica.
    :param key: the key of a cell, in each bucket.
    :param scale: the scale of the buckets, which is stored, or "all".
    :param labels: the labels of buckets without this cell.
    :returns: the labels of those that have expired with the cell in them.
    """
    old = [label for label in labels if _is_old(reader, scale, label)]
    everything = cell_key((None,) * len(reader.schema.axes))
    if old and key != everything:
        # All cells of a bucket expire together.
        counts = await _counts(reader, everything, scale, old)
        old = [label for label, count in zip(old, counts, strict=True) if not count]
    if not old:
        return set()
    scales = [ALL, *reader.schema.retention]
    coarser = scales[scales.index(scale) - 1]
    by_parent: dict[str, list[str]] = {}
    for label in old:
        by_parent.setdefault(coarsen(label, coarser), []).append(label)
    lost = await _find_incomplete(reader, key, coarser, list(by_parent), scale)
    return {label for parent in lost for label in by_parent[parent]}


def _is_old(reader: Reader, scale: str, label: str) -> bool:
    ttl = None if scale == ALL else reader.schema.retention[scale]
    if ttl is None:
        return False
    start = reader.schema.calendar.start(label)
    return start + ttl <= reader.clock.seconds()


async def _find_incomplete(
    reader: Reader, key: str, scale: str, labels: Sequence[str], finer: str
) -> set[str]:
    """
    Find the time buckets that have more events than the finer ones within them, or that
    have expired themselves.
    """
    counts = dict(zip(labels, await _counts(reader, key, scale, labels), strict=True))
    empty = [label for label, count in counts.items() if not count]
    lost = await find_expired(reader, key, scale, empty)
    parts: dict[str, list[str]] = {}
    for label in labels:
        if counts[label]:
            found = await _parts(reader, label, scale, finer)
            if found is None or sum(map(len, parts.values())) > MAX_POINTS:
                lost.add(label)  # too many to count
            else:
                parts[label] = found
    labels = [part for each in parts.values() for part in each]
    part_counts = iter(await _counts(reader, key, finer, labels))
    for label, each in parts.items():
        if sum(next(part_counts) for _ in each) != counts[label]:
            lost.add(label)
    return lost


async def _parts(
    reader: Reader, label: str, scale: str, finer: str
) -> list[str] | None:
    """
    Return the labels of the finer time buckets in a bucket that may have events;
    ``None`` if there are too many.
    """
    calendar = reader.schema.calendar
    if scale != ALL:
        found = calendar.parts(label, scale, finer)
        return None if found is None else [part for _, part in found]
    labels: list[str] = []
    for year in await reader.choices(YEARS):
        if finer == "year":
            labels.append(year)
            continue
        found = calendar.parts(year, "year", finer)
        if found is None or len(labels) > MAX_POINTS:
            return None
        labels += [part for _, part in found]
    return labels


async def _counts(
    reader: Reader, key: str, scale: str, labels: Sequence[str]
) -> list[int]:
    name = reader.schema.name
    cells = await reader.stored_cells(
        [CellKey(name, scale, label, key) for label in labels]
    )
    return [0 if cell is None else cell.count for cell in cells]
