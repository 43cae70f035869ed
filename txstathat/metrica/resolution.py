"""
Finds the finest detail that is still stored, for timelines without a given scale.

Detail expires a certain time after it was last written, so only the store knows what is
left. Counting shows whether detail is complete: if the finer time buckets together have
as many events as the coarser one, none of them has expired. Then the timeline has them
in place of the coarser one. So its total does not depend on what has expired.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from txstathat.metrica.calendar import MAX_POINTS
from txstathat.metrica.cells import cell_key
from txstathat.metrica.reader import Reader
from txstathat.metrica.schema import Schema
from txstathat.stores.interface import CellKey

__all__ = ["Bucket", "finest_buckets"]


class Bucket(NamedTuple):
    """
    A time bucket of a timeline.

    :ivar start: its start, in the zone of the Metrica.
    :ivar seconds: its start, in Unix seconds.
    :ivar scale: its scale.
    :ivar label: its label.
    """

    start: datetime
    seconds: int
    scale: str
    label: str


async def finest_buckets(reader: Reader, since: int, until: int) -> list[Bucket]:
    """
    Divide a length of time into time buckets, each of the finest scale with complete
    detail.

    Where nothing happened, the scale is the finest one that would still be stored if
    something had been written then.

    :param reader: reads the cells of the Metrica.
    :param since: whole Unix seconds.
    :param until: whole Unix seconds.
    :returns: the buckets in time order.
    :raises ValueError: if there would be more than
        :data:`txstathat.metrica.calendar.MAX_POINTS`.
    """
    await reader.ready()
    schema = reader.schema
    coarsest, *finer_scales = schema.retention
    buckets = _timeline(schema, since, until, coarsest)
    counted = list(zip(buckets, await _counts(reader, buckets), strict=True))
    finished: list[Bucket] = []
    for scale in finer_scales:
        divisible = []
        for bucket, count in counted:
            if count or _could_be_stored(reader, bucket, scale):
                divisible.append((bucket, count))
            else:
                finished.append(bucket)
        divided = []
        points = 0
        for bucket, _ in divisible:
            parts = schema.calendar.parts(bucket.label, bucket.scale, scale)
            points += MAX_POINTS + 1 if parts is None else len(parts)
            if parts is None or points > MAX_POINTS:
                raise ValueError(f"more than {MAX_POINTS} points; pass a scale")
            divided.append(_as_buckets(schema, parts, scale))
        counts = iter(
            await _counts(reader, [part for parts in divided for part in parts])
        )
        counted = []
        for (bucket, count), buckets in zip(divisible, divided, strict=True):
            part_counts = [next(counts) for _ in buckets]
            if sum(part_counts) == count:
                counted += _overlapping(buckets, part_counts, since, until)
            else:
                finished.append(bucket)
    finished += [bucket for bucket, _ in counted]
    return sorted(finished, key=lambda bucket: bucket.seconds)


def _timeline(schema: Schema, since: int, until: int, scale: str) -> list[Bucket]:
    return _as_buckets(schema, schema.calendar.timeline(since, until, scale), scale)


def _as_buckets(
    schema: Schema, timeline: list[tuple[datetime, str]], scale: str
) -> list[Bucket]:
    return [
        Bucket(start, schema.calendar.seconds(start), scale, label)
        for start, label in timeline
    ]


def _overlapping(
    parts: list[Bucket], counts: list[int], since: int, until: int
) -> Iterator[tuple[Bucket, int]]:
    ends = [part.seconds for part in parts[1:]] + [until + 1]
    for part, count, end in zip(parts, counts, ends, strict=True):
        if part.seconds <= until and end > since:
            yield part, count


def _could_be_stored(reader: Reader, bucket: Bucket, scale: str) -> bool:
    ttl = reader.schema.retention[scale]
    end = reader.schema.calendar.end(bucket.label, bucket.scale)
    return ttl is None or end > reader.clock.seconds() - ttl


async def _counts(reader: Reader, buckets: list[Bucket]) -> list[int]:
    name = reader.schema.name
    everything = cell_key((None,) * len(reader.schema.axes))
    cells = await reader.stored_cells(
        [CellKey(name, one.scale, one.label, everything) for one in buckets]
    )
    return [0 if cell is None else cell.count for cell in cells]
