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

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from txstathat.metrica.calendar import ALL, MAX_POINTS, coarsen
from txstathat.metrica.cells import YEARS
from txstathat.metrica.reader import Reader
from txstathat.metrica.schema import Schema
from txstathat.stores.interface import Cell, CellKey

__all__ = ["Counts", "coarser_buckets", "find_expired"]


def coarser_buckets(
    schema: Schema, buckets: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """
    Return the time buckets whose counts tell whether detail has expired: those that
    contain the given ones.

    :param schema: the schema of the Metrica.
    :param buckets: the scale and the label of each.
    """
    labels: dict[str, set[str]] = {}
    for scale, label in buckets:
        labels.setdefault(scale, set()).add(label)
    coarser: list[tuple[str, str]] = []
    scales = [ALL, *schema.retention]
    for above, scale in reversed(list(pairwise(scales))):
        if scale in labels and _can_expire(schema, scale):
            known = labels.setdefault(above, set())
            new = {coarsen(label, above) for label in labels[scale]} - known
            known |= new
            coarser += [(above, label) for label in sorted(new)]
    return coarser


def _can_expire(schema: Schema, scale: str) -> bool:
    return scale != ALL and schema.retention[scale] is not None


class Counts:
    """
    The numbers of events in cells with one key, each read once.

    :param reader: reads the cells of the Metrica.
    :param key: the key of the cells.
    """

    def __init__(self, reader: Reader, key: str) -> None:
        self.reader = reader
        self.key = key
        self._known: dict[tuple[str, str], int] = {}

    def note(self, bucket: tuple[str, str], cell: Cell | None) -> None:
        """
        Note a cell that was read.

        :param bucket: the scale and the label of its time bucket.
        """
        self._known[bucket] = 0 if cell is None else cell.count

    async def of(self, scale: str, labels: Sequence[str]) -> dict[str, int]:
        """
        Return the numbers of events in some time buckets, by label.
        """
        unknown = [label for label in labels if (scale, label) not in self._known]
        name = self.reader.schema.name
        cells = await self.reader.stored_cells(
            [CellKey(name, scale, label, self.key) for label in unknown]
        )
        for label, cell in zip(unknown, cells, strict=True):
            self.note((scale, label), cell)
        return {label: self._known[scale, label] for label in labels}


async def find_expired(counts: Counts, scale: str, labels: Sequence[str]) -> set[str]:
    """
    Find the time buckets that have expired, or may have.

    :param counts: the numbers of events in a cell of each bucket.
    :param scale: the scale of the buckets, which is stored, or "all".
    :param labels: the labels of the buckets.
    :returns: the labels of those that have expired with events in this cell.
    """
    schema = counts.reader.schema
    events = await counts.of(scale, labels)
    if not _can_expire(schema, scale) or all(events.values()):
        return set()
    scales = [ALL, *schema.retention]
    coarser = scales[scales.index(scale) - 1]
    by_parent: dict[str, dict[str, int]] = {}
    for label, count in events.items():
        by_parent.setdefault(coarsen(label, coarser), {})[label] = count
    lost: set[str] = set()
    incomplete = await _find_incomplete(counts, coarser, by_parent, scale)
    for parent, empty in incomplete.items():
        missing = {label for label, count in by_parent[parent].items() if not count}
        candidates = missing if empty is None else empty
        old = {label for label in candidates if _is_old(counts.reader, scale, label)}
        lost |= missing & (old or candidates)
    return lost


def _is_old(reader: Reader, scale: str, label: str) -> bool:
    start = reader.schema.calendar.start(label)
    return start + (reader.schema.retention[scale] or 0) <= reader.clock.seconds()


async def _find_incomplete(
    counts: Counts,
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
    labels = list(known)
    events = await counts.of(scale, labels)
    incomplete: dict[str, set[str] | None] = dict.fromkeys(
        await find_expired(counts, scale, labels)
    )
    parts: dict[str, list[str]] = {}
    for label, count in events.items():
        if count and sum(known[label].values()) != count:
            found = await _parts(counts.reader, label, scale, finer)
            if found is None or sum(map(len, parts.values())) > MAX_POINTS:
                incomplete[label] = None  # too many to count
            else:
                parts[label] = found
    all_parts = [part for each in parts.values() for part in each]
    part_counts = await counts.of(finer, all_parts)
    for label, each in parts.items():
        if sum(part_counts[part] for part in each) != events[label]:
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
