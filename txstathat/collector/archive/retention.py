"""
The history of the retention: since when detail is stored for how long.

Detail that was written under a shorter retention has expired earlier than the current
one says. So a record for each scale has the history of its retention.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from txstathat.stores.interface import IStore

__all__ = ["MAX_CHANGES", "Retention", "read_history"]

#: How many changes of a scale's retention are remembered.
MAX_CHANGES = 10

_RECORDS = "retention"

# Pairs of a time in Unix seconds and the retention from then on, the oldest first.
_History: TypeAlias = list[tuple[float, float | None]]


def read_history(text: str) -> _History:
    """
    Read the text of a record.

    :raises ValueError: if it is not valid.
    """
    return [
        (float(since), None if seconds is None else float(seconds))
        for since, seconds in json.loads(text)
    ]


class Retention:
    """
    The history of a store's retention.

    :param store: the store.
    :param retention: for how many seconds each scale is stored now; ``None`` for ever.
    """

    def __init__(self, store: IStore, retention: Mapping[str, float | None]) -> None:
        self._store = store
        self._retention = retention
        self._histories: dict[str, _History] = {}

    async def note(self) -> None:
        """
        Add the current retention to the history, if it has changed. Call this before
        anything is written.

        :raises StoreError: if the store fails.
        """
        for scale, seconds in self._retention.items():
            while True:
                text = await self._store.record(_RECORDS, scale)
                history = read_history(text or "[]")
                if history and history[-1][1] == seconds:
                    break
                # An empty store cannot have lost anything.
                since = self._store.clock.seconds() if history else 0.0
                history = [*history, (since, seconds)][-MAX_CHANGES:]
                new = json.dumps(history)
                if await self._store.put_record(_RECORDS, scale, new, was=text):
                    break
            self._histories[scale] = history

    def whole_since(self, scale: str) -> float:
        """
        Return since when all detail of a scale is stored, in Unix seconds, under all
        retentions that it had.
        """
        now = self._store.clock.seconds()
        whole = now
        for since, seconds in reversed(self._histories.get(scale, [(0.0, None)])):
            begin = since if seconds is None else max(since, now - seconds)
            if begin > whole:
                break
            whole = begin
            if begin > since:
                break
        return whole
