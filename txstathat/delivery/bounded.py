"""
Dictionaries that do not grow without end.
"""

from __future__ import annotations

from typing import TypeVar

__all__ = ["MAX_ENTRIES", "put_bounded"]

#: The most entries of a dictionary.
MAX_ENTRIES = 10_000

_T = TypeVar("_T")


def put_bounded(entries: dict[str, _T], name: str, entry: _T) -> None:
    """
    Set an entry, and remove the oldest one if there are more than
    :data:`MAX_ENTRIES`.
    """
    entries.pop(name, None)
    entries[name] = entry
    if len(entries) > MAX_ENTRIES:
        del entries[next(iter(entries))]
