"""
Distinguishes expired detail from time buckets without events: a store has no cells of
either.

Counting shows the difference. If the buckets within the next coarser one together have
as many events as that one, none of them has expired. Otherwise those have expired that
began before the time for which their detail is stored. If none began so early, it is
not known which of the empty ones have expired (an event can be written long before its
date).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from txstathat.metrica.calendar import ALL, MAX_POINTS, coarsen
from txstathat.metrica.cells import YEARS, cell_key
from txstathat.metrica.reader import Reader
from txstathat.stores.interface import CellKey

__all__ = ["find_expired"]


async def find_expired(
    reader: Reader, key: str, scale: str, counts: Mapping[str, int]
) -> set[str]:
    """
    Find the time buckets that have expired, or may have.

    :param reader: reads the cells of the Metrica.
    :param key: the key of a cell, in each bucket.
    :param scale: the scale of the buckets, which is stored, or "all".
    :param counts: the number of events in this cell of some buckets, by label.
    :returns: the labels of those that have expired with events in this cell.
    """
    schema = reader.schema
    if scale == ALL or schema.retention[scale] is None or all(counts.values()):
        return set()
    scales = [ALL, *schema.retention]
    coarser = scales[scales.index(scale) - 1]
    by_parent: dict[str, dict[str, int]] = {}
    for label, count in counts.items():
        by_parent.setdefault(coarsen(label, coarser), {})[label] = count
    lost: set[str] = set()
    incomplete = await _find_incomplete(reader, key, coarser, by_parent, scale)
    for parent, empty in incomplete.items():
        missing = {label for label, count in by_parent[parent].items() if not count}
        candidates = missing if empty is None else empty
        old = {label for label in candidates if _is_old(reader, scale, label)}
        lost |= missing & (old or candidates)
    return lost - await _find_stored(reader, key, scale, sorted(lost))


def _is_old(reader: Reader, scale: str, label: str) -> bool:
    start = reader.schema.calendar.start(label)
    return start + (reader.schema.retention[scale] or 0) <= reader.clock.seconds()


async def _find_stored(
    reader: Reader, key: str, scale: str, labels: Sequence[str]
) -> set[str]:
    """
    Find the time buckets that have any cell: all cells of a bucket expire together.
    """
    everything = cell_key((None,) * len(reader.schema.axes))
    if key == everything:
        return set()
    counts = await _counts(reader, everything, scale, labels)
    return {label for label, count in counts.items() if count}


async def _find_incomplete(
    reader: Reader,
    key: str,
    scale: str,
    known: Mapping[str, Mapping[str, int]],
    finer: str,
) -> dict[str, set[str] | None]:
    """
    Find the time buckets that have more events than the finer ones within them, or that
    have expired themselves.

    :param known: by label of a bucket: the number of events in some finer ones, by
        label.
    :returns: for each of them the labels of the empty finer ones; ``None`` if it is not
        known which ones had events.
    """
    counts = await _counts(reader, key, scale, list(known))
    incomplete: dict[str, set[str] | None] = dict.fromkeys(
        await find_expired(reader, key, scale, counts)
    )
    parts: dict[str, list[str]] = {}
    for label, count in counts.items():
        if count and sum(known[label].values()) != count:
            found = await _parts(reader, label, scale, finer)
            if found is None or sum(map(len, parts.values())) > MAX_POINTS:
                incomplete[label] = None  # too many to count
            else:
                parts[label] = found
    all_parts = [part for each in parts.values() for part in each]
    part_counts = await _counts(reader, key, finer, all_parts)
    for label, each in parts.items():
        if sum(part_counts[part] for part in each) != counts[label]:
            incomplete[label] = {part for part in each if not part_counts[part]}
    return incomplete


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
) -> dict[str, int]:
    name = reader.schema.name
    cells = await reader.stored_cells(
        [CellKey(name, scale, label, key) for label in labels]
    )
    return {
        label: 0 if cell is None else cell.count
        for label, cell in zip(labels, cells, strict=True)
    }
