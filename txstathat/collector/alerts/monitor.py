"""
Alerts, watched: their conditions are judged, and what follows is told.

Every collector on a store does both; the records see to it that each thing is noted by
one of them and told by one of them (:mod:`txstathat.collector.alerts.records`). An
attempt to tell is noted before it is made. So if a collector dies in the midst of one,
another one makes the next; the receiver knows it by its id.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.collector.alerts.evaluation import (
    Evaluation,
    Reading,
    Window,
    advance,
    judge,
    windows,
)
from txstathat.collector.alerts.notices import (
    ATTEMPTS,
    FIRED,
    LEASE,
    RECOVERED,
    Jitter,
    Notice,
    delay,
)
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

__all__ = ["EVALUATE_EVERY", "MAX_UNDER_WAY", "NOTIFY_EVERY", "AlertMonitor"]

#: Every how many seconds the alerts' conditions are judged.
EVALUATE_EVERY = 15.0
#: Every how many seconds it is looked for what is to be told.
NOTIFY_EVERY = 5.0
#: How many attempts to tell something may be under way to one host.
MAX_UNDER_WAY = 8

# How many cells are read at once, so that making sums of them holds up nobody.
_CELLS_AT_ONCE = 3_000

_Readings = dict[tuple[str, Window], Reading]


class AlertMonitor:
    """
    Watches the alerts of a store.

    :param archive: what they are about.
    :param records: the alerts.
    :param webhooks: tells what happens.
    :param metrics: counts what was told, and what was not.
    :param jitter: draws from between two numbers; by default from the system's
        randomness.
    """

    _log = Logger()

    def __init__(
        self,
        archive: Archive,
        records: AlertRecords,
        webhooks: Webhooks,
        metrics: CollectorMetrics,
        jitter: Jitter | None = None,
    ) -> None:
        self._archive = archive
        self._records = records
        self._webhooks = webhooks
        self._metrics = metrics
        self._jitter = jitter or random.SystemRandom().uniform
        # What was read does not have to be read again until its step is over.
        self._readings: _Readings = {}
        # What was told and could not be noted as told.
        self._to_json: set[str] = set()
        # By host, of which there are as many as the operator named: one that does not
        # answer holds up only what it is to be told itself.
        self._slots: dict[str, ConcurrencyLimit] = defaultdict(
            lambda: ConcurrencyLimit(MAX_UNDER_WAY)
        )
        # The alerts of which something is being told, or waits for a slot.
        self._under_way: dict[str, Deferred[None]] = {}
        self._closed = False

    def _now(self) -> float:
        return self._archive.store.clock.seconds()

    def _target(self, record: AlertRecord) -> str:
        return self._webhooks.target(record.alert.webhook)

    # -- judging

    async def evaluate(self) -> None:
        """
        Judge all conditions, and note which episodes begin and end.

        :raises StoreError: if the store cannot be used; the next time makes up for it.
        """
        records = list((await self._records.all()).values())
        names = sorted({record.alert.stat_name for record in records})
        if not names:
            self._readings = {}
            return
        stats = {stat.name: stat for stat in await self._archive.stats(names)}
        now = self._now()
        # While its stat is in the trash, an alert rests.
        wanted = [
            (record, stats[record.alert.stat_name], self._windows(record, now))
            for record in records
            if record.alert.stat_name in stats
        ]
        await self._read(wanted, stats)
        for record, stat, read in wanted:
            if read is None:
                judgement = Evaluation(None)
            else:
                readings = [self._readings[stat.name, window] for window in read]
                judgement = judge(record.alert, stat, readings, now)
            await self._advance(record, judgement, now)

    def _windows(self, record: AlertRecord, now: float) -> list[Window] | None:
        try:
            return windows(record.alert, self._archive.retention, now)
        except Refusal as error:
            # Since it was made, less is kept.
            self._log.debug(
                "the alert {id}: {error}", id=record.alert.id, error=str(error)
            )
            return None

    async def _read(
        self,
        wanted: list[tuple[AlertRecord, Stat, list[Window] | None]],
        stats: Mapping[str, Stat],
    ) -> None:
        keys = {
            (stat.name, window) for _, stat, read in wanted for window in read or []
        }
        known = {key: kept for key, kept in self._readings.items() if key in keys}
        missing: dict[Window, list[Stat]] = {}
        for name, window in sorted(keys - known.keys(), key=lambda key: key[0]):
            missing.setdefault(window, []).append(stats[name])
        for window, those in missing.items():
            now = window.end - 1
            at_once = max(1, _CELLS_AT_ONCE // len(window.frame.edges(now)))
            for start in range(0, len(those), at_once):
                some = those[start : start + at_once]
                try:
                    data = await self._archive.data(some, window.frame, now)
                except Refusal as error:
                    # What was kept before was kept for a shorter time.
                    self._log.debug("{frame}: {error}", frame=window.frame, error=error)
                    nothing = Reading(None, False)
                    known |= {(stat.name, window): nothing for stat in some}
                    continue
                for series in data:
                    known[series.stat.name, window] = Reading.of(series)
        self._readings = known

    async def _advance(
        self, record: AlertRecord, judgement: Evaluation, now: float
    ) -> None:
        state = advance(record.state, judgement.holds, now)
        if state == record.state:
            return
        notices = record.notices
        if state.firing != record.state.firing and self._target(record):
            event = FIRED if state.firing else RECOVERED
            notice = Notice(event, state.episode, now, judgement.number)
            notices = (*notices, notice)
        kept = notices[-MAX_NOTICES:]
        changed = replace(record, state=state, notices=kept)
        if await self._records.change(record, changed):
            for dropped in notices[: len(notices) - len(kept)]:
                self._drop(record, dropped, "too much is waiting")

    # -- telling

    async def notify(self) -> None:
        """
        Begin to tell what is to be told and due. Of one alert one thing is told after
        the other.

        :raises StoreError: if the store cannot be used; the next time makes up for it.
        """
        records = [
            record for record in (await self._records.all()).values() if record.notices
        ]
        self._to_json &= {record.notices[0].id(record.alert) for record in records}

        now = self._now()
        for record in records:
            id = record.alert.id
            if record.notices[0].next_at <= now and id not in self._under_way:
                self._under_way[id] = begun = self._begin(record)
                begun.addBoth(self._ended, id)

    def _begin(self, record: AlertRecord) -> Deferred[None]:
        slots = self._slots[origin_of(self._target(record))]
        return slots.run(lambda: Deferred.fromCoroutine(self._attempt(record)))

    def _ended(self, outcome: Failure | None, id: str) -> None:
        del self._under_way[id]
        if outcome is None:
            return
        # The next time makes up for it.
        if outcome.check(StatHatError):
            error = outcome.getErrorMessage()
            self._log.debug("the alert {id}: {error}", id=id, error=error)
        else:
            self._log.failure("the alert {id}", outcome, id=id)

    async def settled(self) -> None:
        """
        Wait until nothing is being told, and nothing waits for a slot.
        """
        await DeferredList(list(self._under_way.values()))

    async def close(self) -> None:
        """
        Tell nothing more; attempts under way have a second to end.
        """
        self._closed = True
        await self._webhooks.close()
        await self.settled()

    async def _attempt(self, record: AlertRecord) -> None:
        if self._closed:
            return
        alert, notice = record.alert, record.notices[0]
        id, url = notice.id(alert), self._target(record)
        if id in self._to_json:
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
            # Another collector was faster, or something else happened just now.
            return
        try:
            await self._webhooks.post(url, notice.to_json(alert), id)
        except WebhookFailed as error:
            await self._failed(claimed, begun, str(error))
        else:
            self._metrics.notices_sent += 1
            self._to_json.add(id)
            await self._settle(claimed, begun, None)

    async def _failed(self, record: AlertRecord, begun: Notice, why: str) -> None:
        self._metrics.notices_failed += 1
        if begun.attempts >= ATTEMPTS:
            await self._settle(record, begun, None)
            self._drop(record, begun, why)
            return
        next_at = self._now() + delay(begun.attempts, self._jitter)
        await self._settle(record, begun, replace(begun, next_at=next_at))

    async def _settle(
        self, record: AlertRecord, begun: Notice, left: Notice | None
    ) -> None:
        """
        Put something in place of an attempt, in whatever the record is by now.
        """

        def settled(now: AlertRecord) -> AlertRecord:
            if now.notices[:1] != (begun,):
                return now
            rest = now.notices[1:]
            return replace(now, notices=rest if left is None else (left, *rest))

        await self._records.update(record, settled)
        self._to_json.discard(begun.id(record.alert))

    def _drop(self, record: AlertRecord, notice: Notice, why: str) -> None:
        self._metrics.notices_dropped += 1
        self._log.warn(
            "the alert {id}: that it {event} is not told: {why}",
            id=record.alert.id,
            event=notice.event,
            why=why,
        )
