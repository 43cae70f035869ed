"""
The rows of a SQLite store's journal: what one commit adds, in a compact form.

A row is a list of sections. The additions of a section go to the same time buckets, and
are stored by column: a column of equal values is one value, one of numbers an array.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, cast

from txstathat.errors import StoreError
from txstathat.points.model import MAX_INTEGER
from txstathat.stores.interface import (
    Above,
    Addition,
    Amounts,
    Increment,
    Key,
    TimeBucket,
)

__all__ = [
    "LARGEST_FLOAT",
    "Section",
    "StoredSection",
    "TooLarge",
    "decode",
    "encode",
    "sections_of",
]

# A column, and the types of arrays from the smallest on: their names in the row.
_Column = Sequence[Any]
_ARRAYS = (("b", 2**7), ("h", 2**15), ("i", 2**31), ("q", 2**63))
#: The largest float.
LARGEST_FLOAT = sys.float_info.max


class TooLarge(Exception):
    """
    An addition is beyond the range of exact sums.

    :ivar name: the name of the Metrica.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Section:
    """
    Additions to the same time buckets, as they are written.

    :ivar buckets: the time buckets.
    :ivar owners: the name of the Metrica of each addition.
    :ivar keys: the key of each addition: all of them texts, or all of them tuples of
        the same length.
    :ivar columns: the fields of the additions (:class:`.Addition`).
    :ivar above: the parts above each part of the keys; empty for keys without any.
    """

    buckets: Sequence[TimeBucket]
    owners: _Column
    keys: Sequence[Key]
    columns: Sequence[_Column]
    above: Above = field(default=())

    def __len__(self) -> int:
        return len(self.owners)

    def load(self) -> float:
        """
        Return an upper bound of what the additions add to a cell, as a share of the
        largest sum: 1 is :data:`.MAX_INTEGER`, or the largest float.
        """
        whole, _, _, _, real, _ = self.columns
        load: float = sum(map(abs, whole)) / MAX_INTEGER
        if real[0] is not None:
            load += sum(abs(one) / LARGEST_FLOAT for one in real)
        return load


def sections_of(amounts: Amounts) -> list[Section]:
    """
    Divide what a batch adds into sections, with the names of the Metricas.

    :raises TooLarge: if an addition is beyond the range of exact sums.
    """
    ttls = _longest(amounts.increments)
    sections: list[Section] = []
    for buckets, cells in amounts.increments:
        buckets = [TimeBucket(*one[:2], ttls[one[:2]]) for one in buckets]
        plain = {name: one for name, one in cells.items() if name not in amounts.above}
        sections += _sections(buckets, plain, ())
        for name in cells.keys() & amounts.above.keys():
            above = amounts.above[name]
            sections += _sections(buckets, {name: cells[name]}, above)
    return sections


def _longest(increments: Iterable[Increment]) -> dict[tuple[str, str], float | None]:
    ttls: dict[tuple[str, str], float | None] = {}
    for buckets, _ in increments:
        for scale, label, ttl in buckets:
            old = ttls.get((scale, label), 0.0)
            if old is not None and (ttl is None or ttl > old):
                ttls[scale, label] = ttl
    return ttls


def _sections(
    buckets: Sequence[TimeBucket],
    cells: Mapping[str, Mapping[Key, Addition]],
    above: Above,
) -> Iterator[Section]:
    flat = [*chain.from_iterable([one.items() for one in cells.values()])]
    if not flat or not buckets:
        return
    keys, additions = zip(*flat, strict=True)
    if len(flat) == len(cells):
        owners = list(cells)
    else:
        owners = [
            *chain.from_iterable([name] * len(one) for name, one in cells.items())
        ]
    columns = list(zip(*additions, strict=True))
    shapes = list(zip(map(_shape, keys), map(_is_none, columns[4]), strict=True))
    for shape in dict.fromkeys(shapes):
        if shapes.count(shape) == len(shapes):
            some = Section(buckets, owners, keys, columns, above)
        else:
            rows = zip(owners, keys, additions, shapes, strict=True)
            chosen = [row[:3] for row in rows if row[3] == shape]
            some_owners, some_keys, some_additions = zip(*chosen, strict=True)
            some_columns = list(zip(*some_additions, strict=True))
            some = Section(buckets, some_owners, some_keys, some_columns, above)
        _check(some)
        yield some


def _shape(key: Key) -> int:
    return -1 if isinstance(key, str) else len(key)


def _is_none(value: object) -> bool:
    return value is None


def _check(section: Section) -> None:
    whole, _, least, most, _, _ = section.columns
    for column in (whole, least, most):
        try:
            if max(column) <= MAX_INTEGER and min(column) >= -MAX_INTEGER:
                continue
        except TypeError as error:
            raise StoreError(f"an amount is not a number: {error}") from error
        for name, one in zip(section.owners, column, strict=True):
            if isinstance(one, int) and abs(one) > MAX_INTEGER:
                raise TooLarge(name)


# -- the bytes of a row


def encode(sections: Iterable[tuple[Section, Mapping[str, int]]]) -> bytes:
    """
    Return the bytes of a row.

    :param sections: the sections, each with the ids of the Metricas by name.
    """
    data: list[bytes] = []
    header = []
    for section, ids in sections:
        owners = [*map(ids.__getitem__, section.owners)]
        shape = _shape(section.keys[0])
        parts = [section.keys] if shape < 0 else list(zip(*section.keys, strict=True))
        header.append(
            [
                len(section),
                section.buckets,
                _encode_column(owners, data),
                shape,
                [_encode_texts(part, data) for part in parts],
                [_encode_column(column, data) for column in section.columns],
                section.above,
            ]
        )
    head = json.dumps(header, separators=(",", ":")).encode("ascii")
    return b"".join((len(head).to_bytes(4, "little"), head, *data))


def _encode_column(values: _Column, data: list[bytes]) -> list[Any]:
    kinds = set(map(type, values))
    first = values[0]
    if len(kinds) == 1 and values.count(first) == len(values):
        return ["=", first]
    if kinds == {float}:
        return _encode_array("d", values, data)
    if kinds == {int}:
        largest = max(max(values), -1 - min(values))
        for code, limit in _ARRAYS:
            if largest < limit:
                return _encode_array(code, values, data)
    return ["j", list(values)]


def _encode_array(code: str, values: _Column, data: list[bytes]) -> list[Any]:
    numbers = array(code, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    data.append(numbers.tobytes())
    return [code, len(data[-1])]


def _encode_texts(values: _Column, data: list[bytes]) -> list[Any]:
    texts = {text: number for number, text in enumerate(dict.fromkeys(values))}
    column = _encode_column([*map(texts.__getitem__, values)], data)
    return [list(texts), column]


@dataclass(frozen=True, slots=True)
class StoredSection:
    """
    A section of a row that was written. Its columns are read only as far as necessary.

    :ivar buckets: the time buckets.
    :ivar owners: the id of the Metrica of each addition.
    :ivar above: the parts above each part of the keys.
    """

    buckets: Sequence[TimeBucket]
    owners: _Column
    above: Above
    _parts: Sequence[tuple[Sequence[str], _Column]]
    _is_text: bool
    _columns: Sequence[_Column]

    def additions(
        self, of: Collection[int] | None = None
    ) -> Iterator[tuple[tuple[int, Key], Addition]]:
        """
        Yield the additions, each with the id of its Metrica and its key.

        :param of: the ids of the Metricas; by default all.
        """
        owners, parts, columns = self.owners, self._parts, self._columns
        if of is not None:
            places = [n for n, owner in enumerate(owners) if owner in of]
            if not places:
                return
            if len(places) < len(owners):
                owners, *columns = (_pick(one, places) for one in (owners, *columns))
                parts = [(texts, _pick(column, places)) for texts, column in parts]
        texts = [[*map(found.__getitem__, column)] for found, column in parts]
        keys: Iterable[Key]
        if self._is_text:
            keys = texts[0]
        elif texts:
            keys = zip(*texts, strict=True)
        else:
            keys = repeat(())
        # Tuples in the form of Addition: objects would take as long as all the rest.
        sums = cast(Iterator[Addition], zip(*columns, strict=True))
        yield from zip(zip(owners, keys, strict=False), sums, strict=False)


def _pick(column: _Column, places: Sequence[int]) -> _Column:
    return [column[n] for n in places]


def decode(row: bytes) -> list[StoredSection]:
    """
    Return the sections of a row.

    :raises ValueError: if the row is damaged.
    """
    try:
        return [*_decode(memoryview(row))]
    except (TypeError, LookupError, AttributeError, OverflowError, EOFError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _decode(row: memoryview) -> Iterator[StoredSection]:
    at = 4 + int.from_bytes(row[:4], "little")
    header = json.loads(bytes(row[4:at]))

    def column(number: int, described: Sequence[Any]) -> _Column:
        nonlocal at
        code, value = described
        values: _Column
        if code == "=":
            return [value] * number
        if code == "j":
            values = value
        else:
            values = array(code)
            values.frombytes(row[at : at + value])
            at += value
            if sys.byteorder == "big":
                values.byteswap()
        if len(values) != number:
            raise ValueError(f"a column has {len(values)} values, not {number}")
        return values

    for number, buckets, owners, shape, parts, columns, above in header:
        yield StoredSection(
            [TimeBucket(*one) for one in buckets],
            column(number, owners),
            above,
            [(texts, column(number, numbers)) for texts, numbers in parts],
            shape < 0,
            [column(number, one) for one in columns],
        )
    if at != len(row):
        raise ValueError(f"{len(row) - at} bytes are left over")
