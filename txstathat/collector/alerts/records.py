"""
Alerts in the store: a record for each, with its state and its undelivered notices.

A record is changed only if it still is what it was when it was read. So if several
collectors see the same event, one of them records it; and if several want to deliver a
notice, one of them does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.history import Silence
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.errors import Refusal
from txstathat.collector.records import RecordReader
from txstathat.stores.interface import IStore

__all__ = ["MAX_ALERTS", "AlertRecords"]

#: The largest number of alerts in a store.
MAX_ALERTS = 1_000

_RECORDS = "alert"


class AlertRecords:
    """
    The alerts of a store.

    Each method raises :class:`~txstathat.errors.StoreError` if the store fails.

    A record that cannot be read is as good as absent for all of them, except that it
    counts towards :data:`MAX_ALERTS` and can be deleted.

    :param store: the store.

    :ivar record_readers: the readers of the records.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        self._reader = RecordReader(store, _RECORDS, self._parse)
        self.record_readers = (self._reader,)
        # The records as last read, so that only those that have changed are parsed.
        self._cache: dict[str, AlertRecord] = {}

    def now(self) -> float:
        """
        Return the time, in Unix seconds.
        """
        return self._store.clock.seconds()

    async def all(self) -> dict[str, AlertRecord]:
        """
        Return all alerts by their ids, sorted by the names of their stats.
        """
        self._cache = await self._reader.all()
        in_order = sorted(
            self._cache.values(),
            key=lambda record: (record.alert.stat_name, record.alert.id),
        )
        return {record.alert.id: record for record in in_order}

    async def of_stat(self, name: str) -> list[AlertRecord]:
        """
        Return the alerts of a stat.

        :param name: the name of the stat.
        """
        found = (await self.all()).values()
        return [record for record in found if record.alert.stat_name == name]

    async def firing_stats(self) -> set[str]:
        """
        Return the names of the stats of which an alert fires.
        """
        found = (await self.all()).values()
        return {record.alert.stat_name for record in found if record.state.firing}

    def _parse(self, id: str, text: str) -> AlertRecord:
        cached = self._cache.get(id)
        if cached is not None and cached.stored == text:
            return cached
        return AlertRecord.read(id, text)

    async def get(self, id: str) -> AlertRecord:
        """
        Return an alert.

        :param id: its id.
        :raises Refusal: 404 if it does not exist.
        """
        found = await self._reader.get(id)
        if found is None:
            raise _unknown(id)
        return found

    async def create(self, alert: AlertDefinition) -> None:
        """
        Store a new alert.

        :raises Refusal: 429 if there are :data:`MAX_ALERTS` alerts.
        """
        if len(await self._store.records(_RECORDS)) >= MAX_ALERTS:
            raise Refusal(429, f"there are {MAX_ALERTS} alerts, which is the limit")
        text = AlertRecord(alert).text
        await self._store.put_record(_RECORDS, alert.id, text, was=None)

    async def delete(self, id: str) -> None:
        """
        Delete an alert, and its undelivered notices, also if its record cannot be read.

        :param id: its id.
        :raises Refusal: 404 if it does not exist.
        """
        if await self._store.record(_RECORDS, id) is None:
            raise _unknown(id)
        await self._store.put_record(_RECORDS, id, None)

    async def change(
        self, before: AlertRecord, after: AlertRecord
    ) -> AlertRecord | None:
        """
        Change a record, if it still is what it was when it was read.

        :param before: the record as one of these methods returned it.
        :param after: what it becomes.
        :returns: the record as it is stored now; ``None`` if it had changed meanwhile.
        """
        id, text = before.alert.id, after.text
        if not await self._store.put_record(_RECORDS, id, text, was=before.stored):
            return None
        return replace(after, stored=text)

    async def edit(
        self, id: str, change: Callable[[AlertRecord], AlertRecord]
    ) -> AlertRecord:
        """
        Change a record that somebody names.

        :param id: its id.
        :param change: takes the current record and returns what it becomes, or raises
            :class:`~txstathat.collector.errors.Refusal`. It may be called more than
            once.
        :returns: the record as it is now.
        :raises Refusal: 404 if it does not exist.
        """
        while True:
            current = await self.get(id)
            changed = change(current)
            if changed == current:
                return current
            stored = await self.change(current, changed)
            if stored is not None:
                return stored

    async def silence(self, id: str, seconds: float | None) -> AlertRecord:
        """
        Silence an alert: it sends no notice that it fires, until the silence ends. If
        it fires then, the notice is sent.

        :param id: its id.
        :param seconds: for how long, at most
            :data:`~txstathat.collector.alerts.history.MAX_SILENCE`; ``None`` ends a
            silence.
        :returns: the record as it is now.
        :raises Refusal: 404 if it does not exist; 400 if the time is not valid.
        """
        now = self.now()
        silence = None if seconds is None else Silence.lasting(seconds, now)
        return await self.edit(id, lambda record: replace(record, silence=silence))

    async def acknowledge(self, id: str) -> AlertRecord:
        """
        Acknowledge the current episode of an alert.

        :param id: its id.
        :returns: the record as it is now.
        :raises Refusal: 404 if it does not exist; 409 if it does not fire.
        """
        now = self.now()
        return await self.edit(id, lambda record: record.acknowledged(now))

    async def rename_stat(self, old: str, new: str) -> None:
        """
        Let the alerts of a stat watch it under its new name.

        :param old: the name of the stat.
        :param new: its new name.
        """

        def renamed(record: AlertRecord) -> AlertRecord:
            alert = replace(record.alert, stat_id=stat_id(new), stat_name=new)
            return replace(record, alert=alert)

        for record in (await self.all()).values():
            if record.alert.stat_name == old:
                await self.update(record, renamed)

    async def forget_stat(self, name: str) -> None:
        """
        Delete the alerts of a stat.

        :param name: the name of the stat.
        """
        for id, record in (await self.all()).items():
            if record.alert.stat_name == name:
                await self._store.put_record(_RECORDS, id, None)

    async def update(
        self, record: AlertRecord, change: Callable[[AlertRecord], AlertRecord]
    ) -> None:
        """
        Change a record, whatever it is now, unless it was deleted.

        :param record: the record as it was last seen. It is read again only if it has
            changed since.
        :param change: takes the current record and returns what it becomes. It may be
            called more than once.
        """
        current: AlertRecord | None = record
        while current is not None:
            changed = change(current)
            if changed == current or await self.change(current, changed):
                return
            current = await self._reader.get(record.alert.id)


def _unknown(id: str) -> Refusal:
    return Refusal(404, f"there is no alert with the id {id[:40]!r}")
