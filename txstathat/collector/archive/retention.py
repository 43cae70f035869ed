"""
The history of the retention: since when detail is stored for how long.

Detail that was written under a shorter retention has expired earlier than the current
one says. So a record for each scale has the history of its retention.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_number,
    load_list,
)
from txstathat.metrica.calendar import SCALES
from txstathat.stores.interface import IStore

__all__ = ["MAX_CHANGES", "Retention", "read_history"]

#: How many changes of a scale's retention are remembered.
MAX_CHANGES = 10

_RECORDS = "retention"

# Pairs of a time in Unix seconds and the retention from then on, the oldest first.
_History: TypeAlias = list[tuple[float, float | None]]


def read_history(scale: str, text: str) -> _History:
    """
    Parse the record of a scale.

    :param scale: the scale, which is the record's id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    if scale not in SCALES:
        raise BadRecord("is about a scale that this version does not know")
    history = load_list(text)
    if not history or not all(map(_is_change, history)):
        raise BadRecord("is not valid: it has no list of times")
    return [
        (float(since), None if seconds is None else float(seconds))
        for since, seconds in history
    ]


def _is_change(thing: object) -> bool:
    if not isinstance(thing, list) or len(thing) != 2:
        return False
    since, keep = thing
    return is_number(since) and (keep is None or (is_number(keep) and keep > 0))


class Retention:
    """
    The history of a store's retention.

    :param store: the store.
    :param retention: for how many seconds each scale is stored now; ``None`` for ever.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore, retention: Mapping[str, float | None]) -> None:
        self._store = store
        self._reader = RecordReader(store, _RECORDS, read_history)
        self.record_readers = (self._reader,)
        self._retention = retention
        self._histories: dict[str, _History] = {}

    async def note(self) -> None:
        """
        Add the current retention to the history, if it has changed. Call this before
        anything is written.

        If the record of a scale cannot be read, it stays as it is, and all detail of
        the scale counts as complete.

        :raises StoreError: if the store fails.
        """
        for scale, seconds in self._retention.items():
            while True:
                text = await self._store.record(_RECORDS, scale)
                history = [] if text is None else self._reader.parse(scale, text)
                if history is None:
                    history = [(0.0, None)]
                    break
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
