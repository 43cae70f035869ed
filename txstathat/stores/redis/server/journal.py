"""
The journal of one Redis server: what was added and is not yet in its cells.

A commit appends a row to a list. A *fold* adds the first rows to the cells, and deletes
them. It proceeds in slices, each a script, in the order of the tags of the units. A
hash has the state: how many rows were folded; and while a fold is under way the number
of its last row, and its position, the tag of the last unit that is in the cells. So any
process can go on, and a reader knows what is in the cells and what is not.

A row is: when it was written, in Unix milliseconds, 6 bytes; how many additions it has,
4 bytes; the length of what follows, 4 bytes; as JSON, a list of its load and the names
of its Metricas; and the rest (:mod:`txstathat.stores.journal.rows`), in which a
Metrica is the number of its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from twisted.logger import Logger

from txstathat.stores.interface import Addition, CellKey, TimeBucket
from txstathat.stores.journal.pending import Change, Pending
from txstathat.stores.journal.prepared import Prepared, Usage
from txstathat.stores.journal.rows import encode
from txstathat.stores.journal.stored_rows import StoredSection, decode
from txstathat.stores.redis.cells import Found
from txstathat.stores.redis.keys import as_json, unit_tag
from txstathat.stores.redis.merging import milliseconds
from txstathat.stores.spread import longest_lasting
from txstathat.stores.sums import merge

__all__ = [
    "Journal",
    "Progress",
    "Row",
    "encode_row",
    "names_of",
    "spans",
]

_TIME, _SIZE, _HEAD = 6, 4, 4

_log = Logger()


class Progress(NamedTuple):
    """
    How far a fold is, as the state of the journal has it.

    :ivar folded: how many rows were folded before.
    :ivar upto: the number of its last row; empty if no fold has begun.
    :ivar at: the tag of the last unit that is in the cells; empty for none.
    """

    folded: str
    upto: str
    at: str


class Row(NamedTuple):
    """
    A row.

    :ivar number: its number; the first one that was ever written has number 1.
    :ivar at: when it was written, in Unix milliseconds.
    :ivar usage: its size.
    :ivar sections: its sections.
    """

    number: int
    at: int
    usage: Usage
    sections: Sequence[StoredSection]


def encode_row(prepared: Sequence[Prepared]) -> tuple[bytes, Usage]:
    """
    Return a row without its time, and its size.

    :param prepared: the batches that are in it.
    """
    usage = Usage(
        sum(one.usage.load for one in prepared),
        sum(one.usage.additions for one in prepared),
    )
    names = dict.fromkeys(name for one in prepared for name in one.amounts.definitions)
    ids = {name: number for number, name in enumerate(names)}
    sections = [section for one in prepared for section in one.sections]
    if len(prepared) > 1:
        # A time bucket expires at one time, whichever batch of the commit is asked.
        lasting = longest_lasting(one.buckets for one in sections)
        sections = [
            one._replace(buckets=[lasting[bucket[:2]] for bucket in one.buckets])
            for one in sections
        ]
    head = as_json([usage.load, list(names)]).encode("ascii")
    lengths = usage.additions.to_bytes(_SIZE, "little") + len(head).to_bytes(
        _HEAD, "little"
    )
    rest = encode((section, ids) for section in sections)
    return b"".join((lengths, head, rest)), usage


def _split(row: bytes) -> tuple[float, list[str], bytes]:
    """
    Return the load of a row, the names in it, and the rest.

    :raises ValueError: if it is damaged.
    """
    begin = _TIME + _SIZE + _HEAD
    end = begin + int.from_bytes(row[_TIME + _SIZE : begin], "little")
    try:
        load, names = json.loads(row[begin:end])
        return float(load), [str(name) for name in names], row[end:]
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error


def names_of(row: bytes) -> list[str]:
    """
    Return the names of the Metricas in a row; none if it is damaged.
    """
    try:
        return _split(row)[1]
    except ValueError:
        return []


def _decode_row(
    number: int, row: bytes, find: Callable[[str], int], names: Collection[str] | None
) -> Row:
    """
    Return a row.

    :param number: its number.
    :param row: its bytes.
    :param find: returns the id of a Metrica.
    :param names: the names of the Metricas that are of interest; by default all.
    :raises ValueError: if it is damaged.
    """
    load, owners, rest = _split(row)
    ids = [*map(find, owners)]
    sections = []
    if names is None or not set(names).isdisjoint(owners):
        for section in decode(rest):
            try:
                of_section = [*map(ids.__getitem__, section.owners)]
            except (LookupError, TypeError) as error:
                raise ValueError(str(error)) from error
            sections.append(replace(section, owners=of_section))
    at = int.from_bytes(row[:_TIME], "little")
    additions = int.from_bytes(row[_TIME : _TIME + _SIZE], "little")
    return Row(number, at, Usage(load, additions), sections)


def spans(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """
    Divide rows into those that can be summed up: in a span no time bucket expires, and
    those of a Metrica do not expire in another way than before.
    """
    first, end, lifetimes = 0, float("inf"), _Lifetimes()
    for place, row in enumerate(rows):
        if row.at >= end or any(map(lifetimes.differ, row.sections)):
            yield rows[first:place]
            first, end, lifetimes = place, float("inf"), _Lifetimes()
        for section in row.sections:
            lifetimes.add(section)
            limits = [one.ttl for one in section.buckets if one.ttl is not None]
            end = min(end, row.at + 1000 * min(limits, default=float("inf")))
    if first < len(rows):
        yield rows[first:]


class _Lifetimes:
    """
    For how long the time buckets of each Metrica last in some sections.
    """

    def __init__(self) -> None:
        # The ids of Metricas by time buckets; and these sets by scale and label of each
        # of the buckets, and by its time to live.
        self._owners: dict[tuple[TimeBucket, ...], set[int]] = {}
        self._sets: dict[tuple[str, str], dict[float | None, list[set[int]]]] = {}

    def add(self, section: StoredSection) -> None:
        """Take in a section."""
        buckets = tuple(section.buckets)
        owners = self._owners.get(buckets)
        if owners is None:
            owners = self._owners[buckets] = set()
            for bucket in buckets:
                by_ttl = self._sets.setdefault(bucket[:2], {})
                by_ttl.setdefault(bucket.ttl, []).append(owners)
        owners.update(section.owners)

    def differ(self, section: StoredSection) -> bool:
        """
        Return whether a time bucket of one of the Metricas lasts for another time.
        """
        return any(
            not owners.isdisjoint(section.owners)
            for bucket in section.buckets
            for ttl, several in self._sets.get(bucket[:2], {}).items()
            if ttl != bucket.ttl
            for owners in several
        )


class Journal:
    """
    Rows that were read.

    :param progress: how far a fold of them is.
    :param rows: their bytes; the first ones of the journal.
    :param names: the names of the Metricas that are of interest; by default all.

    :ivar progress: the same.
    :ivar rows: the rows that can be read.
    :ivar damaged: the numbers of the others.
    """

    def __init__(
        self,
        progress: Progress,
        rows: Sequence[bytes],
        names: Collection[str] | None = None,
    ) -> None:
        self.progress = progress
        self.rows: list[Row] = []
        self.damaged: list[int] = []
        self._ids: dict[str, int] = {}
        for number, row in enumerate(rows, int(progress.folded) + 1):
            try:
                self.rows.append(_decode_row(number, row, self._id, names))
            except ValueError as error:
                _log.error(
                    "row {number} of the store's journal is damaged, and not counted: "
                    "{error}",
                    number=number,
                    error=str(error),
                )
                self.damaged.append(number)

    def _id(self, name: str) -> int:
        return self._ids.setdefault(name, len(self._ids))

    def names(self) -> list[str]:
        """
        Return the names of the Metricas, by their ids.
        """
        return list(self._ids)

    def add_to(self, keys: Sequence[CellKey], found: list[Found | None]) -> None:
        """
        Add what the rows add to cells.

        :param keys: the names of the cells.
        :param found: their contents so far.
        """
        upto = int(self.progress.upto or 0)
        begun = [row for row in self.rows if row.number <= upto]
        later = [row for row in self.rows if row.number > upto]
        left = [
            place
            for place, key in enumerate(keys)
            if unit_tag(key.name, key.key) > self.progress.at
        ]
        self._add(begun, keys, left, found)
        for span in spans(later):
            self._add(span, keys, range(len(keys)), found)

    def _add(
        self,
        rows: Sequence[Row],
        keys: Sequence[CellKey],
        places: Sequence[int],
        found: list[Found | None],
    ) -> None:
        wanted: dict[tuple[str, str], dict[int, dict[str, list[int]]]] = {}
        for place in places:
            name, scale, label, key = keys[place]
            if name in self._ids:
                by_id = wanted.setdefault((scale, label), {})
                by_key = by_id.setdefault(self._ids[name], {})
                by_key.setdefault(key, []).append(place)
        pending = Pending(wanted)
        for row in rows:
            pending.add(row.number, row.at, row.sections)
        for change in pending.changes():
            by_id = wanted[change.bucket[:2]]
            for (id, key), more in change.cells:
                for place in by_id.get(id, {}).get(key, ()):
                    found[place] = _added(found[place], more, change)


def _added(old: Found | None, more: Addition, change: Change) -> Found:
    ttl = change.bucket.ttl
    expiry = None if ttl is None else int(change.end) + int(milliseconds(ttl))
    if old is None or (old[1] is not None and old[1] <= change.begin):
        return more, expiry
    return merge(old[0], more), expiry


def progress_of(reply: Sequence[Any]) -> Progress:
    """
    Return the progress that a script replied.
    """
    return Progress(*(str(one, "ascii") for one in reply))
