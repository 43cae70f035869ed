"""
The rows of a store's journal: what one commit adds, in a compact form.

A row is a list of sections. The additions of a section go to the same time buckets, and
are stored by column: a column of equal values is one value, one of numbers an array.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, compress
from math import ceil
from typing import Any, NamedTuple, TypeAlias

from txstathat.errors import StoreError
from txstathat.points.amounts import MAX_INTEGER
from txstathat.stores.interface import (
    Above,
    Addition,
    Amounts,
    Key,
    TimeBucket,
)
from txstathat.stores.spread import longest_lasting
from txstathat.stores.sums import Events, SumColumns

__all__ = [
    "Column",
    "LARGEST_FLOAT",
    "SUMMED_FROM",
    "Section",
    "TooLarge",
    "encode",
    "event_columns",
    "sections_of",
]

#: A column of a section.
Column: TypeAlias = Sequence[Any]
# The types of arrays from the smallest on: their names in the row.
_CODES = "bhiqd"
_ARRAYS = (("b", 2**7), ("h", 2**15), ("i", 2**31), ("q", 2**63))
#: With how many events for each Metrica they are summed up before they are written:
#: the row is much smaller then. Fewer are summed up when they are folded.
SUMMED_FROM = 16
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


class Section(NamedTuple):
    """
    Additions to the same time buckets, as they are written.

    :ivar buckets: the time buckets.
    :ivar owners: the name of the Metrica of each addition.
    :ivar head: a description of the keys and columns, as the row has it.
    :ivar data: the bytes of the keys and columns.
    :ivar size: about how many additions it costs to fold them: single events, and
        additions that are the same for all Metricas, are summed up together first, and
        count a quarter.
    :ivar load: an upper bound of what the additions add to a cell, as a share of the
        largest sum: 1 is :data:`.MAX_INTEGER`, or the largest float.
    """

    buckets: Sequence[TimeBucket]
    owners: Column
    head: list[Any]
    data: list[bytes]
    size: int
    load: float


def sections_of(amounts: Amounts) -> list[Section]:
    """
    Divide what a batch adds into sections, with the names of the Metricas.

    :raises TooLarge: if an addition is beyond the range of exact sums.
    """
    lasting = longest_lasting(one.buckets for one in amounts.increments)
    sections: list[Section] = []
    for increment in amounts.increments:
        buckets = [lasting[one[:2]] for one in increment.buckets]
        if isinstance(increment, Events) and _are_few(increment):
            sections += _event_sections(buckets, increment)
            continue
        if isinstance(increment, SumColumns) and _has_one_kind(increment.fields):
            _, name, parts, fields = increment
            owners = [name] * len(fields[0])
            above = amounts.above.get(name, ())
            sections.append(_section(buckets, owners, False, parts, fields, above))
            continue
        cells = increment.cells
        plain = {name: one for name, one in cells.items() if name not in amounts.above}
        sections += _sections(buckets, plain, ())
        for name in cells.keys() & amounts.above.keys():
            above = amounts.above[name]
            sections += _sections(buckets, {name: cells[name]}, above)
    return sections


def _has_one_kind(fields: Sequence[Column]) -> bool:
    """
    Return whether all additions have a sum of floats, or none has.
    """
    return len({*map(type, fields[4])}) == 1


def _are_few(events: Events) -> bool:
    """
    Return whether there are so few for each Metrica that sums save little.
    """
    return len(events.names) < SUMMED_FROM * len({*events.names})


def _event_sections(buckets: Sequence[TimeBucket], events: Events) -> Iterator[Section]:
    _, names, amounts = events
    if not (buckets and names):
        return
    floats = [isinstance(one, float) for one in amounts]
    for are_floats in {*floats}:
        some_names, some = names, amounts
        if floats.count(are_floats) < len(floats):
            which = [one is are_floats for one in floats]
            some_names = [*compress(names, which)]
            some = [*compress(amounts, which)]
        yield _event_section(buckets, some_names, some, are_floats)


def _event_section(
    buckets: Sequence[TimeBucket],
    names: Sequence[str],
    amounts: Sequence[int | float],
    are_floats: bool,
) -> Section:
    data: list[bytes] = []
    with _name_too_large(names):
        columns = event_columns(_encode_column(amounts, data), are_floats)
    load = _load((0,), amounts) if are_floats else _load(amounts, (None,))
    head = [False, [], columns, ()]
    return Section(buckets, names, head, data, _quarter(len(names)), load)


def event_columns(amounts: list[Any], are_floats: bool) -> list[list[Any]]:
    """
    Return the description of the columns of single events.

    :param amounts: that of their amounts.
    """
    # The least and the greatest amount are the sum.
    if are_floats:
        same = amounts if amounts[0] == "=" else ["@", 2]
        return [["=", 0], ["=", 1], amounts, same, same, ["=", 0.0]]
    same = amounts if amounts[0] == "=" else ["@", 0]
    return [amounts, ["=", 1], same, same, ["=", None], ["=", 0.0]]


@contextmanager
def _name_too_large(owners: Column) -> Iterator[None]:
    try:
        yield
    except _NoRoom as error:
        raise TooLarge(owners[error.place]) from None
    except TypeError as error:
        raise StoreError(f"an amount is not a number: {error}") from error


def _sections(
    buckets: Sequence[TimeBucket],
    cells: Mapping[str, Mapping[Key, Addition]],
    above: Above,
) -> Iterator[Section]:
    if not buckets:
        return
    if len(cells) > 1 and len({*map(id, cells.values())}) == 1:
        # The same for all Metricas: sum up what there is once.
        (owner, additions), *_ = cells.items()
        for section in _sections(buckets, {owner: additions}, above):
            yield section._replace(owners=list(cells), size=_quarter(len(cells)))
        return
    # No tuple is made for an addition: Python's garbage collector would look at each.
    keys = [*chain.from_iterable(cells.values())]
    sums = [*chain.from_iterable([one.values() for one in cells.values()])]
    if not keys:
        return
    if len(keys) == len(cells):
        owners = list(cells)
    else:
        owners = [
            *chain.from_iterable([name] * len(one) for name, one in cells.items())
        ]
    columns = list(zip(*sums, strict=True))
    # Nearly always all keys have one shape, and all additions have floats or none.
    kinds = {*map(type, keys)}
    lengths = {0} if kinds == {str} else {*map(len, keys)}
    if len(kinds) == len(lengths) == 1 and _has_one_kind(columns):
        yield _section(buckets, owners, *_parts(keys), columns, above)
        return
    shaped: dict[tuple[int, bool], list[Any]] = {}
    for owner, key, one in zip(owners, keys, sums, strict=True):
        shape = -1 if isinstance(key, str) else len(key), one[4] is None
        shaped.setdefault(shape, []).append((owner, key, one))
    for rows in shaped.values():
        some_owners, some_keys, some = zip(*rows, strict=True)
        some_columns = list(zip(*some, strict=True))
        yield _section(buckets, some_owners, *_parts(some_keys), some_columns, above)


def _parts(keys: Sequence[Key]) -> tuple[bool, Sequence[Column]]:
    is_text = isinstance(keys[0], str)
    return is_text, [keys] if is_text else list(zip(*keys, strict=True))


def _section(
    buckets: Sequence[TimeBucket],
    owners: Column,
    is_text: bool,
    parts: Sequence[Column],
    columns: Sequence[Column],
    above: Above,
) -> Section:
    data: list[bytes] = []
    texts = [_encode_texts(part, data) for part in parts]
    with _name_too_large(owners):
        encoded = _encode_columns(columns, data)
        load = _load(columns[0], columns[4])
    head = [is_text, texts, encoded, above]
    return Section(buckets, owners, head, data, len(owners), load)


def _quarter(number: int) -> int:
    return ceil(number / 4)


def _load(whole: Column, real: Column) -> float:
    load: float = sum(map(abs, whole)) / MAX_INTEGER
    if real[0] is not None:
        load += sum(map(abs, real)) / LARGEST_FLOAT
    return load


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
        column = _encode_column(owners, data)
        header.append([section.buckets, len(owners), column, *section.head])
        data += section.data
    head = json.dumps(header, separators=(",", ":")).encode("ascii")
    return b"".join((len(head).to_bytes(4, "little"), head, *data))


class _NoRoom(Exception):
    """A whole number is too large."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def _encode_columns(columns: Sequence[Column], data: list[bytes]) -> list[list[Any]]:
    encoded: list[list[Any]] = []
    for number, values in enumerate(columns):
        # Of single events, the least and the greatest amount are the sum.
        for other in range(number):
            if encoded[other][0] in _CODES and _same(columns[other], values):
                encoded.append(["@", other])
                break
        else:
            encoded.append(_encode_column(values, data))
    return encoded


def _same(one: Column, other: Column) -> bool:
    # 1 equals 1.0, and is another amount.
    return one == other and {*map(type, one)} == {*map(type, other)}


def _encode_column(values: Column, data: list[bytes]) -> list[Any]:
    kinds = {*map(type, values)}
    first = values[0]
    if kinds == {float}:
        if first == values[-1] and values.count(first) == len(values):
            return ["=", first]
        return _encode_array("d", values, data)
    if int in kinds:
        numbers = values
        if len(kinds) > 1:
            numbers = [one if isinstance(one, int) else 0 for one in values]
        low, high = min(numbers), max(numbers)
        if high > MAX_INTEGER or low < -MAX_INTEGER:
            bad = high if high > MAX_INTEGER else low
            raise _NoRoom(numbers.index(bad))
        if len(kinds) > 1:
            return ["j", list(values)]
        if low == high:
            return ["=", low]
        largest = max(high, -1 - low)
        for code, limit in _ARRAYS:
            if largest < limit:
                return _encode_array(code, values, data)
    if kinds == {type(None)}:
        return ["=", None]
    raise TypeError(f"{kinds} are not numbers")


def _encode_array(code: str, values: Column, data: list[bytes]) -> list[Any]:
    numbers = array(code, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    data.append(numbers.tobytes())
    return [code, len(data[-1])]


def _encode_texts(values: Column, data: list[bytes]) -> list[Any]:
    texts = {text: number for number, text in enumerate(dict.fromkeys(values))}
    column = _encode_column([*map(texts.__getitem__, values)], data)
    return [list(texts), column]
