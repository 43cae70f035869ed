"""
The form of cells in Redis. The length of a cell tells which form it has:

- 16 bytes: ``whole events least most`` as integers of 32 bits;
- 32 bytes: the same as integers of 64 bits, each below 2**53, up to which Lua is exact;
- 49 bytes: a byte that tells whether ``least`` (1) and ``most`` (2) are whole numbers;
  ``whole events`` as integers of 64 bits; ``least most real rest`` as floats;
- 56 bytes or more: a text, with all of these in decimal digits.

All numbers are little-endian. With a limited time to live, 6 bytes follow: when the
cell expires, in Unix milliseconds. A text has that after an ``@``, then spaces up to 56
bytes. (The hash of a cell expires as a whole, later than its cells.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from txstathat.stores.interface import Addition, Cell
from txstathat.stores.sums import as_cell

__all__ = [
    "EXACT",
    "Found",
    "as_unexpired_cell",
    "pack_cell",
    "plan_of",
    "read_addition",
    "read_cell",
    "read_text",
    "split_cells",
]

#: What a cell contains, and when it expires in Unix milliseconds, ``None`` for never.
Found: TypeAlias = tuple[Addition, int | None]

#: Up to which number Lua computes exactly.
EXACT = 2**53

_SHORT = struct.Struct("<4i")
_LONG = struct.Struct("<4q")
_FLOATS = struct.Struct("<B2q4d")
_TEXT = 56
_EXPIRY = 6


def plan_of(addition: Addition) -> list[int | float] | str:
    """
    Return an addition for the plan of a script: a list of numbers or, beyond
    :data:`EXACT`, a text.
    """
    whole, events, least, most, real, rest = addition
    if not (
        -EXACT < whole < EXACT
        and events < EXACT
        and _is_exact(least)
        and _is_exact(most)
    ):
        return _text(addition)
    if real is None:
        return [whole, events, least, most]
    kinds = isinstance(least, int) + 2 * isinstance(most, int)
    return [whole, events, least, most, real, rest, kinds]


def pack_cell(addition: Addition, expiry: int | None) -> bytes:
    """
    Return a cell.

    :param addition: its contents.
    :param expiry: when it expires in Unix milliseconds; ``None`` for never.
    """
    plan = plan_of(addition)
    if isinstance(plan, str):
        end = "" if expiry is None else f" @{expiry}"
        return (plan + end).ljust(_TEXT).encode("ascii")
    ending = b"" if expiry is None else expiry.to_bytes(_EXPIRY, "little")
    if len(plan) > 4:
        whole, events, *floats, kinds = plan
        return _FLOATS.pack(kinds, whole, events, *floats) + ending
    if all(-(2**31) <= number < 2**31 for number in plan):
        return _SHORT.pack(*plan) + ending
    return _LONG.pack(*plan) + ending


def read_addition(cell: bytes) -> Found:
    """
    Return the exact contents of a cell.

    :param cell: the cell.
    :returns: the sums; and when it expires in Unix milliseconds, ``None`` for never.
    """
    size = len(cell)
    if size in (16, 22):
        return Addition(*_SHORT.unpack_from(cell)), _expiry(cell, 16)
    if size in (32, 38):
        return Addition(*_LONG.unpack_from(cell)), _expiry(cell, 32)
    if size in (49, 55):
        kinds, whole, events, least, most, real, rest = _FLOATS.unpack_from(cell)
        return (
            Addition(
                whole,
                events,
                int(least) if kinds & 1 else least,
                int(most) if kinds & 2 else most,
                real,
                rest,
            ),
            _expiry(cell, 49),
        )
    text, _, expiry = cell.decode("ascii").partition("@")
    return read_text(text), int(expiry) if expiry else None


def read_cell(cell: bytes | None, now: float) -> Cell | None:
    """
    Return a cell.

    :param cell: the cell in Redis; ``None`` or nothing if there is none.
    :param now: the time of the server, in Unix milliseconds.
    :returns: the cell; ``None`` if there is none, or it has expired.
    """
    return as_unexpired_cell(read_addition(cell) if cell else None, now)


def as_unexpired_cell(found: Found | None, now: float) -> Cell | None:
    """
    Return a cell.

    :param found: its exact contents; ``None`` if there is none.
    :param now: the time of the server, in Unix milliseconds.
    :returns: the cell; ``None`` if there is none, or it has expired.
    """
    if found is None or (found[1] is not None and found[1] <= now):
        return None
    return as_cell(*found[0])


def split_cells(reply: bytes, counts: Sequence[int]) -> tuple[float, list[list[bytes]]]:
    """
    Split the reply of the script :data:`.server.journal_scripts.READ`.

    :param reply: the reply.
    :param counts: the numbers of cells that were read from each hash.
    :returns: the time in milliseconds; and the cells, ``b""`` for a missing one.
    """
    now = int.from_bytes(reply[:_EXPIRY], "little")
    cells = _cells(reply)
    return float(now), [[next(cells) for _ in range(count)] for count in counts]


def _cells(reply: bytes) -> Iterator[bytes]:
    at = _EXPIRY
    while at < len(reply):
        end = at + 1 + reply[at]
        yield reply[at + 1 : end]
        at = end


def _expiry(cell: bytes, size: int) -> int | None:
    return int.from_bytes(cell[size:], "little") if len(cell) > size else None


def _is_exact(number: int | float) -> bool:
    return isinstance(number, float) or -EXACT < number < EXACT


def _text(addition: Addition) -> str:
    whole, events, least, most, real, rest = addition
    if real is None:
        return f"{whole} {events} {least} {most}"
    return f"{whole} {events} {least!r} {most!r} {real!r} {rest!r}"


def read_text(text: str) -> Addition:
    """
    Return the contents of a cell that is a text, as all were in version 1.
    """
    whole, events, least, most, *floats = text.split()
    real, rest = map(float, floats) if floats else (None, 0.0)
    return Addition(int(whole), int(events), _number(least), _number(most), real, rest)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
