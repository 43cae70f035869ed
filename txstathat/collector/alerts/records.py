"""
Alerts in the store: a record for each, with its state and its undelivered notices.

A record is changed only if it still is what it was when it was read. So if several
collectors see the same event, one of them records it; and if several want to deliver a
notice, one of them does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from txstathat.collector.alerts.evaluation import AlertState
from txstathat.collector.alerts.model import AlertDefinition, check_definition
from txstathat.collector.alerts.notices import FIRED, RECOVERED, AlertNotice
from txstathat.collector.alerts.webhooks import check_webhook
from txstathat.collector.errors import Refusal
from txstathat.collector.records import (
    BadRecord,
    RecordReader,
    check_fields,
    is_integer,
    is_number,
    load_fields,
)
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
    def read(cls, id: str, text: str) -> AlertRecord:
        """
        Parse a record.

        :param id: its id.
        :param text: its text.
        :raises BadRecord: if it is not valid, or a newer version wrote it.
        """
        parts = load_fields(text, ("alert", "state", "notices"))
        alert = AlertDefinition(**_check_names(AlertDefinition, parts["alert"]))
        state = AlertState(**_check_names(AlertState, parts["state"]))
        if not isinstance(parts["notices"], list):
            raise BadRecord("is not valid: its notices are no JSON array")
        notices = tuple(
            AlertNotice(**_check_names(AlertNotice, each)) for each in parts["notices"]
        )
        if alert.id != id:
            raise BadRecord("is not valid: it has another id")
        check_definition(alert)
        if alert.webhook != "":
            check_webhook(alert.webhook)
        _check_state(state)
        for notice in notices:
            _check_notice(notice)
        return cls(alert, state, notices, text)

    @property
    def text(self) -> str:
        """
        The text to store.
        """
        parts = asdict(self)
        del parts["stored"]
        return json.dumps(parts)


def _check_names(kind: type, parts: Any) -> dict[str, Any]:
    return check_fields(parts, [each.name for each in fields(kind)])


def _check_state(state: AlertState) -> None:
    if not (
        is_integer(state.episode)
        and isinstance(state.firing, bool)
        and (state.since is None or is_number(state.since, math.inf))
        and (state.clear_since is None or is_number(state.clear_since, math.inf))
    ):
        raise BadRecord("is not valid: its state has a field of the wrong type")


def _is_compared(number: object) -> bool:
    # A change from 0 to something else is infinite.
    if number is None or (isinstance(number, float) and math.isinf(number)):
        return True
    return is_number(number, math.inf)


def _check_notice(notice: AlertNotice) -> None:
    if not (
        notice.event in (FIRED, RECOVERED)
        and is_integer(notice.episode)
        and is_number(notice.at, math.inf)
        and _is_compared(notice.number)
        and is_integer(notice.attempts)
        and is_number(notice.next_at, math.inf)
    ):
        raise BadRecord("is not valid: a notice has a field of the wrong type")


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
