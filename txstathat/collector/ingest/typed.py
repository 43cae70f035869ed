"""
Reads the usual JSON request with a typed decoder, several times as fast as json.

msgspec (https://jcristharif.com/msgspec/) takes the last of two fields with the same
name, and accepts numbers that :mod:`txstathat.points.model` refuses. Both are excluded
beforehand by exact tests on the bytes. Whatever is not plain is left to the strict
reader (:mod:`txstathat.collector.ingest.parse`), which accepts or refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias, overload

from txstathat.collector.limits import MAX_BATCH
from txstathat.points.amounts import MAX_INTEGER, MAX_TIME
from txstathat.points.model import Parts
from txstathat.points.names import is_plain_name

__all__ = ["GroupedPoints", "Groups", "read_typed"]

#: The stat and the amount of each point, by minute (since the epoch; ``None`` for those
#: without a time).
Groups: TypeAlias = dict[int | None, tuple[list[str], list[int | float]]]


class _Entry(Protocol):
    stat: str
    count: int | float | None
    value: int | float | None
    t: int | None


class _Request(Protocol):
    ezkey: str
    data: Sequence[_Entry]


class _Decoder(Protocol):
    def decode(self, body: bytes, /) -> _Request: ...


def _make_decoder() -> tuple[_Decoder, type[Exception]] | None:
    try:
        import msgspec
    except ImportError:
        return None
    number: Any = int | float | None
    time: Any = int | None
    fields: list[Any] = [("count", number, None), ("value", number, None)]
    entry = msgspec.defstruct(
        "Entry",
        [("stat", str), *fields, ("t", time, None)],
        forbid_unknown_fields=True,
        gc=False,
    )
    request = msgspec.defstruct(
        "Request",
        [("ezkey", str), ("data", list[entry])],  # type: ignore[valid-type]
        forbid_unknown_fields=True,
    )
    return msgspec.json.Decoder(request), msgspec.MsgspecError


_DECODER = _make_decoder()

# Digits, points and signs become 9, and the letter of an exponent becomes e.
_NUMBERS = bytes(
    ord("9") if chr(n) in "0123456789.+-" else ord("e") if chr(n) in "eE" else 32
    for n in range(256)
)
# An amount with fewer digits is not too long, and is read exactly.
_LONG_NUMBER = b"9" * 40
# An exponent with fewer digits is not too long.
_LONG_EXPONENT = b"9e999999"


class GroupedPoints(Sequence[Parts]):
    """
    The points of a request, grouped while they were read.

    :param entries: the entries of the request.
    :param counts: the points of counters, by minute.
    :param values: the points of value stats, likewise.

    :ivar counts: the same.
    :ivar values: the same.
    """

    def __init__(
        self, entries: Sequence[_Entry], counts: Groups, values: Groups
    ) -> None:
        self._entries = entries
        self.counts = counts
        self.values = values

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Parts]:
        return map(_parts, self._entries)

    def minutes(self) -> set[int | None]:
        """Return the minutes of the points."""
        return self.counts.keys() | self.values.keys()

    @overload
    def __getitem__(self, index: int) -> Parts: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Parts]: ...

    def __getitem__(self, index: int | slice) -> Parts | Sequence[Parts]:
        if isinstance(index, slice):
            return [*map(_parts, self._entries[index])]
        return _parts(self._entries[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def _parts(entry: _Entry) -> Parts:
    if entry.count is not None:
        return "count", entry.stat, entry.count, entry.t
    assert entry.value is not None
    return "value", entry.stat, entry.value, entry.t


def read_typed(body: bytes) -> tuple[str, GroupedPoints] | None:
    """
    Read a JSON request, if it is plain.

    :param body: the body.
    :returns: the key, not checked yet, and the points, which are valid; ``None`` for a
        request that is not plain or not valid, and if msgspec is not installed.
    """
    if _DECODER is None:
        return None
    decoder, error = _DECODER
    numbers = body.translate(_NUMBERS)
    if _LONG_NUMBER in numbers or _LONG_EXPONENT in numbers:
        return None
    try:
        request = decoder.decode(body)
    except (error, UnicodeDecodeError, RecursionError):
        return None
    entries = request.data
    if len(entries) > MAX_BATCH:
        return None
    groups = _group(entries)
    if groups is None:
        return None
    counts, values = groups
    without_time = sum(len(each[None][0]) for each in groups if None in each)
    if not _each_once(body, request, 2 + 3 * len(entries) - without_time):
        return None
    return request.ezkey, GroupedPoints(entries, counts, values)


def _each_once(body: bytes, request: _Request, fields: int) -> bool:
    """
    Return whether the body has no field but those that were read.

    :param fields: how many fields were read.
    """
    # A field has a colon. Others are in texts: without escapes, in those that were read
    # there are as many as in the body.
    colons = body.count(b":")
    if colons == fields:
        return True
    if b"\\" in body:
        return False
    in_texts = request.ezkey.count(":") + sum(
        entry.stat.count(":") for entry in request.data
    )
    return colons == fields + in_texts


def _group(entries: Sequence[_Entry]) -> tuple[Groups, Groups] | None:
    """
    Group the points by minute; ``None`` if an entry is not plain.
    """
    counts: Groups = {}
    values: Groups = {}
    for entry in entries:
        t = entry.t
        minute = None if t is None else t // 60
        amount = entry.value
        if amount is None:
            amount, groups = entry.count, counts
            if amount is None:
                return None
        elif entry.count is None:
            groups = values
        else:
            return None
        points = groups.get(minute)
        if points is None:
            if t is not None and not 0 <= t < MAX_TIME:
                return None
            points = groups[minute] = [], []
        points[0].append(entry.stat)
        points[1].append(amount)
    names = {
        name for stats, _ in chain(counts.values(), values.values()) for name in stats
    }
    if all(map(is_plain_name, names)) and _are_exact(counts) and _are_exact(values):
        return counts, values
    return None


def _are_exact(groups: Groups) -> bool:
    for _, amounts in groups.values():
        # Only a float can be so large.
        if (max(amounts) > MAX_INTEGER or min(amounts) < -MAX_INTEGER) and any(
            isinstance(one, int) and abs(one) > MAX_INTEGER for one in amounts
        ):
            return False
    return True
