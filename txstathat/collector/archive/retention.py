"""
Since when detail is kept for as long as it is now.

Detail that was written while it was kept for a shorter time is gone earlier than is
configured now. So a record of each scale says since when it was kept for how long.
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

# Since when, in Unix seconds, and for how many seconds; the first one first.
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
        (float(since), None if keep is None else float(keep)) for since, keep in history
    ]


def _is_change(thing: object) -> bool:
    if not isinstance(thing, list) or len(thing) != 2:
        return False
    since, keep = thing
    return is_number(since) and (keep is None or (is_number(keep) and keep > 0))


class Retention:
    """
    What a store's retention was.

    :param store: the store.
    :param keep: for how many seconds the scales are kept now, ``None`` for ever.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore, keep: Mapping[str, float | None]) -> None:
        self._store = store
        self._reader = RecordReader(store, _RECORDS, read_history)
        self.record_readers = (self._reader,)
        self._keep = keep
        self._histories: dict[str, _History] = {}

    async def note(self) -> None:
        """
        Note how long the scales are kept from now on, where that has changed. Call it
        before anything is written.

        Of a scale with a record that cannot be read, the record stays as it is, and
        all detail counts as whole.

        :raises StoreError: if that cannot be done.
        """
        for scale, keep in self._keep.items():
            while True:
                text = await self._store.record(_RECORDS, scale)
                history = [] if text is None else self._reader.parse(scale, text)
                if history is None:
                    history = [(0.0, None)]
                    break
                if history and history[-1][1] == keep:
                    break
                # Of an empty store nothing can have been lost.
                since = self._store.clock.seconds() if history else 0.0
                history = [*history, (since, keep)][-MAX_CHANGES:]
                new = json.dumps(history)
                if await self._store.put_record(_RECORDS, scale, new, was=text):
                    break
            self._histories[scale] = history

    def whole_since(self, scale: str) -> float:
        """
        Since when all detail of a scale is there, in Unix seconds, whatever is kept for
        how long now.
        """
        now = self._store.clock.seconds()
        whole = now
        for since, keep in reversed(self._histories.get(scale, [(0.0, None)])):
            begin = since if keep is None else max(since, now - keep)
            if begin > whole:
                break
            whole = begin
            if begin > since:
                break
        return whole
