"""
Alerts, kept: one record each, with where it stands and what is still to be told.

A record is only changed from what it was read as, so that of several collectors which
see the same thing happen only one writes it down, and of several which want to tell it
only one does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from txstathat.collector.alerts.evaluation import State
from txstathat.collector.alerts.model import Alert
from txstathat.collector.alerts.notices import Notice
from txstathat.collector.errors import Refusal
from txstathat.stores.interface import IStore

__all__ = ["MAX_ALERTS", "MAX_NOTICES", "AlertRecord", "AlertRecords"]

#: How many alerts there may be.
MAX_ALERTS = 1_000
#: How much there may be to tell of one alert; the oldest is dropped for more.
MAX_NOTICES = 20

_RECORDS = "alert"


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """
    All that is known of an alert.

    :ivar alert: the alert.
    :ivar state: where it stands.
    :ivar notices: what is still to be told, the first first.
    :ivar stored: the text that it was read from.
    """

    alert: Alert
    state: State = field(default_factory=State)
    notices: tuple[Notice, ...] = ()
    stored: str = field(default="", repr=False, compare=False)

    @classmethod
    def read(cls, text: str) -> AlertRecord:
        """
        Of its text in the store.
        """
        found = json.loads(text)
        return cls(
            Alert(**found["alert"]),
            State(**found["state"]),
            tuple(Notice(**notice) for notice in found["notices"]),
            text,
        )

    @property
    def text(self) -> str:
        """
        Its text in the store.
        """
        found = asdict(self)
        del found["stored"]
        return json.dumps(found)


class AlertRecords:
    """
    The alerts of a store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        # What was read last, so that only what has changed since is parsed.
        self._known: dict[str, AlertRecord] = {}

    async def all(self) -> dict[str, AlertRecord]:
        """
        All alerts, by id, in the order of their stats' names.
        """
        texts = await self._store.records(_RECORDS)
        self._known = {id: self._parsed(id, text) for id, text in texts.items()}
        in_order = sorted(
            self._known.values(),
            key=lambda record: (record.alert.stat_name, record.alert.id),
        )
        return {record.alert.id: record for record in in_order}

    def _parsed(self, id: str, text: str) -> AlertRecord:
        known = self._known.get(id)
        if known is not None and known.stored == text:
            return known
        return AlertRecord.read(text)

    async def _one(self, id: str) -> AlertRecord | None:
        text = await self._store.record(_RECORDS, id)
        return None if text is None else self._parsed(id, text)

    async def one(self, id: str) -> AlertRecord:
        """
        One alert.

        :raises Refusal: 404 if there is none.
        """
        found = await self._one(id)
        if found is None:
            raise Refusal(404, f"there is no alert with the id {id[:40]!r}")
        return found

    async def create(self, alert: Alert) -> None:
        """
        Keep a new alert.

        :raises Refusal: if there are too many.
        """
        if len(await self._store.records(_RECORDS)) >= MAX_ALERTS:
            raise Refusal(429, f"there are {MAX_ALERTS} alerts, which is the limit")
        text = AlertRecord(alert).text
        await self._store.put_record(_RECORDS, alert.id, text, was=None)

    async def delete(self, id: str) -> None:
        """
        Forget an alert, and what was still to be told of it.

        :raises Refusal: 404 if there is none.
        """
        await self.one(id)
        await self._store.put_record(_RECORDS, id, None)

    async def change(self, was: AlertRecord, now: AlertRecord) -> AlertRecord | None:
        """
        Change an alert's record, if it still is what it was read as.

        :param was: as it was read, from one of the above, or written by this.
        :param now: what it is to be.
        :returns: the record as it is kept now; ``None`` if it was another one.
        """
        id, text = was.alert.id, now.text
        if not await self._store.put_record(_RECORDS, id, text, was=was.stored):
            return None
        return replace(now, stored=text)

    async def update(
        self, record: AlertRecord, change: Callable[[AlertRecord], AlertRecord]
    ) -> None:
        """
        Change an alert's record, whatever it is by now, if it is there.

        :param record: as it was last seen. Only if it is another one by now it is read.
        :param change: takes the record and returns what it is to be; it may be called
            more than once.
        """
        now: AlertRecord | None = record
        while now is not None:
            changed = change(now)
            if changed == now or await self.change(now, changed):
                return
            now = await self._one(record.alert.id)
