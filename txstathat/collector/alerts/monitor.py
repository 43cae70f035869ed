"""
Evaluates the alerts of a store, and delivers the notices that follow.

Every collector on a store does both. The records ensure that one of them records each
event and one of them delivers it (:mod:`txstathat.collector.alerts.records`). An
attempt is recorded before it is made. So if a collector dies during an attempt, another
collector makes the next one; the receiver recognizes the notice by its id.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.backoff import Jitter
from txstathat.collector.alerts.evaluation import (
    AlertWindow,
    Evaluation,
    WindowReading,
    evaluate,
    next_state,
    windows_to_read,
)
from txstathat.collector.alerts.notices import (
    ATTEMPTS,
    FIRED,
    LEASE,
    RECOVERED,
    AlertNotice,
    retry_delay,
)
from txstathat.collector.alerts.outages import OutageRecords, Outages
from txstathat.collector.alerts.records import (
    MAX_NOTICES,
    AlertRecord,
    AlertRecords,
)
from txstathat.collector.alerts.webhooks import WebhookFailed, Webhooks, origin_of
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import CollectorMetrics
from txstathat.errors import StatHatError
from txstathat.http.limit import ConcurrencyLimit

__all__ = [
    "CELLS_AT_ONCE",
    "EVALUATE_EVERY",
    "MAX_UNDER_WAY",
    "NOTIFY_EVERY",
    "AlertMonitor",
]

#: The interval, in seconds, at which the conditions of all alerts are evaluated.
EVALUATE_EVERY = 15.0
#: The interval, in seconds, at which due notices are looked for.
NOTIFY_EVERY = 5.0
#: How many notices can be under way to one host.
MAX_UNDER_WAY = 8
#: How many cells are read at once. To sum up many more would block the reactor.
CELLS_AT_ONCE = 3_000

_Readings = dict[tuple[str, AlertWindow], WindowReading]


class AlertMonitor:
    """
    Evaluates alerts and delivers their notices.

    :param archive: the stats.
    :param records: the alerts.
    :param webhooks: delivers the notices.
    :param metrics: counts them.
    :param jitter: returns a random number between two numbers, for the retry delays; by
        default from the system's randomness.
    :param cells_at_once: how many cells are read at once.

    :ivar outages: when no collector was up.
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
    ) -> None:
        self._archive = archive
        self.outages = OutageRecords(archive.store)
        self._records = records
        self._webhooks = webhooks
        self._metrics = metrics
        self._jitter = jitter or random.SystemRandom().uniform
        self._cells_at_once = cells_at_once
        # Readings stay valid until the step after their window is complete.
        self._readings: _Readings = {}
        # Ids of notices that were delivered, when the store could not record that.
        self._delivered: set[str] = set()
        # By host, so that one that does not answer delays only its own notices. There
        # are as many hosts as the operator named.
        self._limits: dict[str, ConcurrencyLimit] = defaultdict(
            lambda: ConcurrencyLimit(MAX_UNDER_WAY)
        )
        # By alert: the delivery that is under way, or waits for others to its host.
        self._under_way: dict[str, Deferred[None]] = {}
        self._closed = False

    @property
    def under_way(self) -> int:
        """
        How many notices are being delivered, or wait for others to the same host.
        """
        return len(self._under_way)

    def _now(self) -> float:
        return self._archive.store.clock.seconds()

    def _target(self, record: AlertRecord) -> str:
        return self._webhooks.target(record.alert.webhook)

    # -- evaluation

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
            await self._advance(record, evaluation, now)

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
        self, record: AlertRecord, evaluation: Evaluation, now: float
    ) -> None:
        state = next_state(record.state, evaluation.holds, now)
        if state == record.state:
            return
        notices = record.notices
        if state.firing != record.state.firing and self._target(record):
            event = FIRED if state.firing else RECOVERED
            notice = AlertNotice(event, state.episode, now, evaluation.number)
            notices = (*notices, notice)
        remaining = notices[-MAX_NOTICES:]
        changed = replace(record, state=state, notices=remaining)
        if await self._records.change(record, changed):
            for dropped in notices[: len(notices) - len(remaining)]:
                self._drop(record, dropped, "too many are waiting")

    # -- delivery

    async def notify(self) -> None:
        """
        Begin to deliver all notices that are due. The notices of one alert are
        delivered one after the other.

        :raises StoreError: if the store fails; the next call makes up for it.
        """
        records = [
            record for record in (await self._records.all()).values() if record.notices
        ]
        self._delivered &= {record.notices[0].id(record.alert) for record in records}

        now = self._now()
        for record in records:
            id = record.alert.id
            if record.notices[0].is_due(now) and id not in self._under_way:
                self._under_way[id] = begun = self._begin(record)
                begun.addBoth(self._ended, id)

    def _begin(self, record: AlertRecord) -> Deferred[None]:
        limit = self._limits[origin_of(self._target(record))]
        return limit.run(lambda: Deferred.fromCoroutine(self._attempt(record)))

    def _ended(self, result: Failure | None, id: str) -> None:
        del self._under_way[id]
        if result is None:
            return
        # The next call of notify makes up for it.
        if result.check(StatHatError):
            error = result.getErrorMessage()
            self._log.debug("the alert {id}: {error}", id=id, error=error)
        else:
            self._log.failure("the alert {id}", result, id=id)

    async def settled(self) -> None:
        """
        Wait until no notice is under way or waits for others.
        """
        await DeferredList(list(self._under_way.values()))

    async def close(self) -> None:
        """
        Begin no more deliveries, and wait for those under way, for a second at most.
        """
        self._closed = True
        await self._webhooks.close()
        await self.settled()

    async def _attempt(self, record: AlertRecord) -> None:
        if self._closed:
            return
        alert, notice = record.alert, record.notices[0]
        id, url = notice.id(alert), self._target(record)
        if id in self._delivered:
            await self._settle(record, notice, None)
            return
        if not url:
            await self._settle(record, notice, None)
            self._drop(record, notice, "the collector may not post there any more")
            return
        begun = replace(
            notice, attempts=notice.attempts + 1, next_at=self._now() + LEASE
        )
        claimed = await self._records.change(
            record, replace(record, notices=(begun, *record.notices[1:]))
        )
        if claimed is None:
            # Another collector was faster, or the record has just changed.
            return
        try:
            await self._webhooks.post(url, notice.to_json(alert), id)
        except WebhookFailed as error:
            await self._failed(claimed, begun, str(error))
        else:
            self._metrics.notices_sent += 1
            self._delivered.add(id)
            await self._settle(claimed, begun, None)

    async def _failed(self, record: AlertRecord, begun: AlertNotice, why: str) -> None:
        self._metrics.notices_failed += 1
        if begun.attempts >= ATTEMPTS:
            await self._settle(record, begun, None)
            self._drop(record, begun, why)
            return
        next_at = self._now() + retry_delay(begun.attempts, self._jitter)
        await self._settle(record, begun, replace(begun, next_at=next_at))

    async def _settle(
        self, record: AlertRecord, begun: AlertNotice, after: AlertNotice | None
    ) -> None:
        """
        Record the result of an attempt, whatever the record is now.

        :param record: the record as it was last seen.
        :param begun: the notice, as it was recorded before the attempt.
        :param after: what replaces it; ``None`` to remove it.
        """

        def settled(current: AlertRecord) -> AlertRecord:
            if current.notices[:1] != (begun,):
                return current
            others = current.notices[1:]
            return replace(
                current, notices=others if after is None else (after, *others)
            )

        await self._records.update(record, settled)
        self._delivered.discard(begun.id(record.alert))

    def _drop(self, record: AlertRecord, notice: AlertNotice, why: str) -> None:
        self._metrics.notices_dropped += 1
        self._log.warn(
            "the alert {id}: the notice that it {event} is given up: {why}",
            id=record.alert.id,
            event=notice.event,
            why=why,
        )
