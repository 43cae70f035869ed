"""
The texts of cells in Redis.

A cell is the text ``whole events least most``, with floats also ``real rest``, and with
a limited time to live also ``@`` and the time of expiry in Unix milliseconds. (The hash
of a cell expires as a whole, later than its cells.)
"""

from __future__ import annotations

from txstathat.stores.interface import Addition, Cell
from txstathat.stores.sums import as_cell

__all__ = ["addition_text", "read_addition", "read_cell"]


def addition_text(addition: Addition) -> str:
    """
    Return the text of an addition.
    """
    whole, events, least, most, real, rest = addition
    if real is None:
        return f"{whole} {events} {least} {most}"
    return f"{whole} {events} {least!r} {most!r} {real!r} {rest!r}"


def read_addition(text: str) -> tuple[Addition, int | None]:
    """
    Return the exact contents of a cell.

    :param text: its text in Redis.
    :returns: the sums; and when it expires in Unix milliseconds, ``None`` for never.
    """
    text, _, expiry = text.partition("@")
    whole, events, least, most, *floats = text.split()
    real, rest = map(float, floats) if floats else (None, 0.0)
    sums = Addition(int(whole), int(events), _number(least), _number(most), real, rest)
    return sums, int(expiry) if expiry else None


def read_cell(text: str | None, now: float) -> Cell | None:
    """
    Return a cell.

    :param text: its text in Redis; ``None`` or ``''`` if there is none.
    :param now: the time of the server, in Unix milliseconds.
    :returns: the cell; ``None`` if there is none, or it has expired.
    """
    if not text:
        return None
    sums, expiry = read_addition(text)
    if expiry is not None and expiry <= now:
        return None
    return as_cell(*sums)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
