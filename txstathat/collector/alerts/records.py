"""
Alerts in the store: a record for each, with its state and its undelivered notices.

A record is changed only if it still is what it was when it was read. So if several
collectors see the same event, one of them records it; and if several want to deliver a
notice, one of them does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from txstathat.collector.alerts.evaluation import AlertState
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.alerts.notices import AlertNotice
from txstathat.collector.errors import Refusal
from txstathat.stores.interface import IStore

__all__ = ["MAX_ALERTS", "MAX_NOTICES", "AlertRecord", "AlertRecords"]

#: The largest number of alerts in a store.
MAX_ALERTS = 1_000
#: The largest number of undelivered notices of an alert. One more drops the oldest.
MAX_NOTICES = 20

_RECORDS = "alert"


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """
    All that a store has of an alert.

    :ivar alert: its definition.
    :ivar state: its state.
    :ivar notices: the notices to deliver, the oldest first.
    :ivar stored: the text from which the record was read.
    """

    alert: AlertDefinition
    state: AlertState = field(default_factory=AlertState)
    notices: tuple[AlertNotice, ...] = ()
    stored: str = field(default="", repr=False, compare=False)

    @classmethod
    def read(cls, text: str) -> AlertRecord:
        """
        Parse the text of a record.
        """
        fields = json.loads(text)
        return cls(
            AlertDefinition(**fields["alert"]),
            AlertState(**fields["state"]),
            tuple(AlertNotice(**notice) for notice in fields["notices"]),
            text,
        )

    @property
    def text(self) -> str:
        """
        The text to store.
        """
        fields = asdict(self)
        del fields["stored"]
        return json.dumps(fields)


class AlertRecords:
    """
    The alerts of a store.

    Each method raises :class:`~txstathat.errors.StoreError` if the store fails.

    :param store: the store.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store
        # The records as last read, so that only those that have changed are parsed.
        self._cache: dict[str, AlertRecord] = {}

    async def all(self) -> dict[str, AlertRecord]:
        """
        Return all alerts by their ids, sorted by the names of their stats.
        """
        texts = await self._store.records(_RECORDS)
        self._cache = {id: self._parse(id, text) for id, text in texts.items()}
        in_order = sorted(
            self._cache.values(),
            key=lambda record: (record.alert.stat_name, record.alert.id),
        )
        return {record.alert.id: record for record in in_order}

    def _parse(self, id: str, text: str) -> AlertRecord:
        cached = self._cache.get(id)
        if cached is not None and cached.stored == text:
            return cached
        return AlertRecord.read(text)

    async def _get(self, id: str) -> AlertRecord | None:
        text = await self._store.record(_RECORDS, id)
        return None if text is None else self._parse(id, text)

    async def get(self, id: str) -> AlertRecord:
        """
        Return an alert.

        :param id: its id.
        :raises Refusal: 404 if it does not exist.
        """
        found = await self._get(id)
        if found is None:
            raise Refusal(404, f"there is no alert with the id {id[:40]!r}")
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
        Delete an alert, and its undelivered notices.

        :param id: its id.
        :raises Refusal: 404 if it does not exist.
        """
        await self.get(id)
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
            current = await self._get(record.alert.id)
