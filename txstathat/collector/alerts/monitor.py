"""
Evaluates the alerts of a store, and records the notices that follow.

Every collector on a store does so. The records ensure that one of them records each
event (:mod:`txstathat.collector.alerts.records`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from twisted.logger import Logger

from txstathat.backoff import Jitter
from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.conditions.evaluation import (
    AlertState,
    AlertWindow,
    Evaluation,
    WindowReading,
    evaluate,
    next_state,
    windows_to_read,
)
from txstathat.collector.alerts.conditions.outages import OutageRecords, Outages
from txstathat.collector.alerts.notices import FIRED, RECOVERED, AlertNotice
from txstathat.collector.alerts.operator_webhooks import Webhooks
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.alerts.sending.delivery import NoticeDelivery
from txstathat.collector.alerts.sending.targets import KnownTargets, Targets
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.channels.channels import Channels
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import CollectorMetrics

__all__ = ["CELLS_AT_ONCE", "EVALUATE_EVERY", "NOTIFY_EVERY", "AlertMonitor"]

#: The interval, in seconds, at which the conditions of all alerts are evaluated.
EVALUATE_EVERY = 15.0
#: The interval, in seconds, at which due notices are looked for.
NOTIFY_EVERY = 5.0
#: How many cells are read at once. To sum up many more would block the reactor.
CELLS_AT_ONCE = 3_000

_Readings = dict[tuple[str, AlertWindow], WindowReading]


class AlertMonitor:
    """
    Evaluates alerts and delivers their notices.

    :param archive: the stats.
    :param records: the alerts.
    :param webhooks: delivers notices to the operator's URLs.
    :param metrics: counts them.
    :param jitter: returns a random number between two numbers, for the retry delays; by
        default from the system's randomness.
    :param cells_at_once: how many cells are read at once.
    :param channels: delivers notices through channels; by default those of the store.

    :ivar outages: when no collector was up.
    :ivar delivery: delivers the notices.
    """

    _log = Logger()

    def __init__(
        self,
        archive: Archive,
        records: AlertRecords,
        webhooks: Webhooks,
        metrics: CollectorMetrics,
        jitter: Jitter | None = None,
        cells_at_once: int = CELLS_AT_ONCE,
        channels: Channels | None = None,
    ) -> None:
        self._archive = archive
        self.outages = OutageRecords(archive.store)
        self._records = records
        self._targets = Targets(webhooks, channels or Channels(archive.store))
        self.delivery = NoticeDelivery(records, self._targets, metrics, jitter)
        self._cells_at_once = cells_at_once
        # Readings stay valid until the step after their window is complete.
        self._readings: _Readings = {}

    def _now(self) -> float:
        return self._archive.store.clock.seconds()

    async def evaluate(self) -> None:
        """
        Evaluate all conditions, and record which episodes begin and end.

        :raises StoreError: if the store fails; the next call makes up for it.
        """
        records = list((await self._records.all()).values())
        names = sorted({record.alert.stat_name for record in records})
        if not names:
            self._readings = {}
            return
        stats = {stat.name: stat for stat in await self._archive.stats(names)}
        now = self._now()
        outages = await self.outages.known(now)
        known = await self._targets.known()
        # The alerts of a stat in the trash are suspended.
        active = [
            (
                record,
                stats[record.alert.stat_name],
                self._windows(record, stats[record.alert.stat_name], now),
            )
            for record in records
            if record.alert.stat_name in stats
        ]
        await self._read(active, stats)
        for record, stat, windows in active:
            evaluation = self._evaluate(record, stat, windows, outages, now)
            await self._advance(record, evaluation, known, now)

    def _evaluate(
        self,
        record: AlertRecord,
        stat: Stat,
        windows: list[AlertWindow] | None,
        outages: Outages,
        now: float,
    ) -> Evaluation:
        if windows is None:
            return Evaluation(None)
        readings = [
            replace(
                self._readings[stat.name, window],
                lost=outages.lost(window.start, window.end),
            )
            for window in windows
        ]
        try:
            return evaluate(record.alert, stat, readings, now, outages.up_since(now))
        except Exception:
            # It must not stop the other alerts.
            self._log.failure("the alert {id}", id=record.alert.id)
            return Evaluation(None)

    def _windows(
        self, record: AlertRecord, stat: Stat, now: float
    ) -> list[AlertWindow] | None:
        alert, retention = record.alert, self._archive.retention
        try:
            return windows_to_read(alert, retention, now, stat.is_ahead)
        except Refusal as error:
            # The retention has been shortened since the alert was created.
            self._log.debug(
                "the alert {id}: {error}", id=record.alert.id, error=str(error)
            )
            return None

    async def _read(
        self,
        active: list[tuple[AlertRecord, Stat, list[AlertWindow] | None]],
        stats: Mapping[str, Stat],
    ) -> None:
        """
        Update the readings to just those that are needed now.
        """
        needed = {
            (stat.name, window)
            for _, stat, windows in active
            for window in windows or []
        }
        readings = {
            key: reading for key, reading in self._readings.items() if key in needed
        }
        missing: dict[AlertWindow, list[Stat]] = {}
        for name, window in sorted(needed - readings.keys(), key=lambda key: key[0]):
            missing.setdefault(window, []).append(stats[name])
        for window, unread in missing.items():
            cells = len(window.frame.edges(window.end - 1))
            at_once = max(1, self._cells_at_once // cells)
            for start in range(0, len(unread), at_once):
                some = unread[start : start + at_once]
                readings |= await self._read_window(window, some)
        self._readings = readings

    async def _read_window(
        self, window: AlertWindow, stats: Sequence[Stat]
    ) -> _Readings:
        try:
            data = await self._archive.data(stats, window.frame, window.end - 1)
        except Refusal as error:
            # The retention has been extended, and the window began before that.
            self._log.debug("{frame}: {error}", frame=window.frame, error=error)
            nothing = WindowReading(None, False)
            return {(stat.name, window): nothing for stat in stats}
        return {(series.stat.name, window): WindowReading.of(series) for series in data}

    async def _advance(
        self,
        record: AlertRecord,
        evaluation: Evaluation,
        known: KnownTargets,
        now: float,
    ) -> None:
        state = next_state(record.state, evaluation.holds, now)
        notices: list[AlertNotice] = []
        if state.firing and not state.notified and not self._is_muted(record, state):
            names = known.names(record.alert)
            state = replace(state, notified=names)
            at = state.since or now
            notices = _notices(FIRED, state.episode, at, evaluation, names)
        if record.state.firing and not state.firing:
            # It goes wherever the first one went, also in a silence.
            names = tuple(
                name for name in record.state.notified if known.has(record.alert, name)
            )
            notices = _notices(RECOVERED, state.episode, now, evaluation, names)
        if state == record.state:
            return
        changed = record.advanced(state, evaluation.number, now)
        changed, dropped = changed.add_notices(notices)
        if await self._records.change(record, changed):
            for each in dropped:
                self.delivery.drop(record, each, "too many are waiting")

    def _is_muted(self, record: AlertRecord, state: AlertState) -> bool:
        is_silenced = record.silenced_until(self._now()) is not None
        return is_silenced or state.acknowledged_at is not None

    # -- delivery

    @property
    def under_way(self) -> int:
        """
        How many notices are being delivered, or wait for others to the same receiver.
        """
        return self.delivery.under_way

    async def notify(self) -> None:
        """
        Begin to deliver all notices that are due.

        :raises StoreError: if the store fails; the next call makes up for it.
        """
        await self.delivery.notify()

    async def settled(self) -> None:
        """
        Wait until no notice is under way or waits for others.
        """
        await self.delivery.settled()

    async def close(self) -> None:
        """
        Begin no more deliveries, and wait for those under way, for a second at most.
        """
        await self.delivery.close()


def _notices(
    event: str, episode: int, at: float, evaluation: Evaluation, names: Sequence[str]
) -> list[AlertNotice]:
    return [
        AlertNotice(event, episode, at, evaluation.number, channel=name)
        for name in names
    ]
