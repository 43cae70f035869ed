"""
When no collector took points for a store, so that alerts do not take that for silence.

Each collector on a store notes every :data:`NOTE_EVERY` seconds that it takes points. A
longer interval without such a note is an outage: no collector was up, the machine was
suspended, the store could not be written, or the wall clock was set forward.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    is_number,
    load_fields,
)
from txstathat.stores.interface import IStore

__all__ = [
    "GAP_SECONDS",
    "MAX_OUTAGES",
    "NOTE_EVERY",
    "RETURN_SECONDS",
    "OutageRecords",
    "Outages",
]

#: The interval, in seconds, at which a collector notes that it takes points.
NOTE_EVERY = 15.0
#: A longer time without a note, in seconds, is an outage.
GAP_SECONDS = 30.0
#: For how many seconds after an outage senders may not be back yet.
RETURN_SECONDS = 60.0
#: How many outages are stored. One more drops the shortest.
MAX_OUTAGES = 50

_RECORDS, _ID = "outages", "outages"


@dataclass(frozen=True, slots=True)
class Outages:
    """
    The outages of a store.

    :ivar seen_at: when a collector last noted that it takes points, in Unix seconds.
    :ivar ended: the beginning and the end of each outage, in Unix seconds, the oldest
        first.
    """

    seen_at: float
    ended: tuple[tuple[float, float], ...] = ()

    @classmethod
    def read(cls, id: str, text: str) -> Outages:
        """
        Parse a record.

        :param id: its id.
        :param text: its text.
        :raises BadRecord: if it is not valid, or a newer version wrote it.
        """
        fields = load_fields(text, ("seen_at", "ended"))
        seen_at, ended = fields["seen_at"], fields["ended"]
        if not (is_number(seen_at) and isinstance(ended, list)):
            raise BadRecord("is not valid: it has a field of the wrong type")
        for each in ended:
            if not (
                isinstance(each, list) and len(each) == 2 and all(map(is_number, each))
            ):
                raise BadRecord("is not valid: it has an outage without two times")
        return cls(seen_at, tuple((start, end) for start, end in ended))

    @property
    def text(self) -> str:
        """
        The text to store.
        """
        return json.dumps({"seen_at": self.seen_at, "ended": self.ended})

    def at(self, now: float) -> Outages:
        """
        Return the outages as they are known at a time at which a collector is up.

        :param now: Unix seconds. If it is before the last note, the clock was set back.
        """
        ended = self.ended
        if now - self.seen_at > GAP_SECONDS:
            ended = (*ended, (self.seen_at, now))
        if len(ended) > MAX_OUTAGES:
            shortest = min(ended[:-1], key=lambda outage: outage[1] - outage[0])
            at = ended.index(shortest)
            ended = ended[:at] + ended[at + 1 :]
        return Outages(now, ended)

    def up_since(self, now: float) -> float:
        """
        Return when senders were back after the last outage, in Unix seconds; 0 if none
        is known. Outages that lie ahead of now were noted while the clock was wrong.

        :param now: Unix seconds.
        """
        return max(
            (end + RETURN_SECONDS for _, end in self.ended if end <= now), default=0.0
        )

    def lost(self, start: float, end: float) -> float:
        """
        Return for which part of a window points may be missing, from 0 to 1.

        :param start: its beginning, in Unix seconds.
        :param end: its end, in Unix seconds.
        """
        seconds = sum(
            max(0.0, min(end, to + RETURN_SECONDS) - max(start, since))
            for since, to in self.ended
        )
        return min(1.0, seconds / (end - start))


class OutageRecords:
    """
    The record of the outages in a store.

    Each method raises :class:`~txstathat.errors.StoreError` if the store fails.

    :param store: the store.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._reader = RecordReader(store, _RECORDS, Outages.read)
        self.record_readers = (self._reader,)

    async def known(self, now: float) -> Outages:
        """
        Return the outages up to a time.

        :param now: Unix seconds.
        """
        found = await self._reader.get(_ID)
        return Outages(now) if found is None else found.at(now)

    async def note(self) -> None:
        """
        Note that this collector takes points now. Call this before it listens, and
        then every :data:`NOTE_EVERY` seconds.
        """
        now = self._store.clock.seconds()
        text = await self._store.record(_RECORDS, _ID)
        found = None if text is None else self._reader.parse(_ID, text)
        if text is not None and found is None:
            return  # a newer version wrote it
        if found is not None and 0 <= now - found.seen_at < NOTE_EVERY / 2:
            return  # another collector has just noted it
        noted = Outages(now) if found is None else found.at(now)
        # If it has changed since, another collector has noted the same.
        await self._store.put_record(_RECORDS, _ID, noted.text, was=text)
