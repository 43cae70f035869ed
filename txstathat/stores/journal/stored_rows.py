"""
Reads the rows of a store's journal (:mod:`.journal.rows` writes them).
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, cast

from txstathat.stores.interface import Above, Addition, Key, TimeBucket
from txstathat.stores.journal.rows import Column, event_columns

__all__ = ["StoredSection", "decode"]


@dataclass(frozen=True, slots=True)
class StoredSection:
    """
    A section of a row that was written. Its columns are read only as far as necessary.

    :ivar buckets: the time buckets.
    :ivar owners: the id of the Metrica of each addition.
    :ivar above: the parts above each part of the keys.
    """

    buckets: Sequence[TimeBucket]
    owners: Column
    above: Above
    _parts: Sequence[tuple[Sequence[str], Column]]
    _is_text: bool
    _columns: Sequence[Column]
    _is_uniform: bool
    _amounts: Column | None

    def only(self, of: Set[int]) -> StoredSection | None:
        """
        Return the part of the section that belongs to some Metricas, if any.

        :param of: the ids of the Metricas.
        """
        if of.isdisjoint(self.owners):
            return None
        places = [n for n, owner in enumerate(self.owners) if owner in of]
        if len(places) == len(self.owners):
            return self
        return replace(
            self,
            owners=_pick(self.owners, places),
            _parts=[(texts, _pick(column, places)) for texts, column in self._parts],
            _columns=[_pick(column, places) for column in self._columns],
            _amounts=None if self._amounts is None else _pick(self._amounts, places),
        )

    def events(self) -> tuple[Key, Column] | None:
        """
        Return the only key, and the amount for each of the owners, if the section
        consists of single events.
        """
        return None if self._amounts is None else (self._key(), self._amounts)

    def _key(self) -> Key:
        texts = [found[column[0]] for found, column in self._parts]
        return texts[0] if self._is_text else tuple(texts)

    def uniform(self) -> tuple[Key, Addition] | None:
        """
        Return the only key and addition, if all Metricas have the same.
        """
        if not self._is_uniform:
            return None
        return self._key(), Addition(*[column[0] for column in self._columns])

    def additions(self) -> Iterator[tuple[tuple[int, Key], Addition]]:
        """
        Yield the additions, each with the id of its Metrica and its key.
        """
        texts = [[*map(found.__getitem__, column)] for found, column in self._parts]
        keys: Iterable[Key]
        if self._is_text:
            keys = texts[0]
        elif texts:
            keys = zip(*texts, strict=True)
        else:
            keys = repeat(())
        # Tuples in the form of Addition: objects would take as long as all the rest.
        sums = cast(Iterator[Addition], zip(*self._columns, strict=True))
        yield from zip(zip(self.owners, keys, strict=False), sums, strict=False)


def _pick(column: Column, places: Sequence[int]) -> Column:
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

    def column(number: int, described: Sequence[Any]) -> Column:
        nonlocal at
        code, value = described
        values: Column
        if code == "=":
            _check_numbers([value])
            return [value] * number
        if code == "@":
            return ()
        if code == "j":
            values = value
            _check_numbers(values)
        else:
            values = array(code)
            values.frombytes(row[at : at + value])
            at += value
            if sys.byteorder == "big":
                values.byteswap()
        if len(values) != number:
            raise ValueError(f"a column has {len(values)} values, not {number}")
        return values

    for section in header:
        if isinstance(section[0], int):  # the order in the first rows ever written
            section[:4] = section[1], section[0], section[2], section[3] < 0
        buckets, number, owners, is_text, parts, described, above = section
        owner_column = column(number, owners)
        part_columns = [(texts, column(number, numbers)) for texts, numbers in parts]
        columns = _with_repeated([column(number, one) for one in described], described)
        for texts, places in part_columns:
            _check_places(places, len(texts))
        has_one_key = number > 0 and all(numbers[0] == "=" for _, numbers in parts)
        yield StoredSection(
            [TimeBucket(*one) for one in buckets],
            owner_column,
            above,
            part_columns,
            is_text,
            columns,
            has_one_key and all(one[0] == "=" for one in described),
            _amounts(columns, described) if has_one_key and not above else None,
        )
    if at != len(row):
        raise ValueError(f"{len(row) - at} bytes are left over")


def _check_numbers(values: Iterable[Any]) -> None:
    for value in values:
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number")


def _check_places(places: Column, number: int) -> None:
    for place in set(places):
        if not isinstance(place, int) or not 0 <= place < number:
            raise ValueError(f"a key has the part {place} of {number}")


def _amounts(
    columns: Sequence[Column], described: Sequence[list[Any]]
) -> Column | None:
    """
    Return the amounts of single events; ``None`` if these are other additions.
    """
    if described == event_columns(described[0], False):
        return columns[0] if described[0] != ["=", None] else None
    if described == event_columns(described[2], True):
        return columns[4]
    return None


def _with_repeated(
    columns: list[Column], described: Sequence[Sequence[Any]]
) -> list[Column]:
    """
    Put columns in the places of those that only name another one.
    """
    for number, (code, value) in enumerate(described):
        if code == "@":
            if not 0 <= value < number:
                raise ValueError(f"column {number} is column {value}")
            columns[number] = columns[value]
    return columns
