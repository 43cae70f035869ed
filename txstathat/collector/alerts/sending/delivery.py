"""
Delivers the notices of alerts.

Every collector on a store does so. An attempt is recorded before it is made, so that
one of them makes it. If a collector dies during an attempt, another collector makes the
next one; the receiver recognizes the notice by its id.

:mod:`txstathat.collector.alerts.sending.queue` decides which notices are tried.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.backoff import Jitter
from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.history import WEBHOOK
from txstathat.collector.alerts.model import AlertDefinition
from txstathat.collector.alerts.notices import LEASE, AlertNotice, notice_retry_delay
from txstathat.collector.alerts.records import AlertRecords
from txstathat.collector.alerts.sending.queue import (
    Failing,
    QueuedNotice,
    choose,
    queued,
)
from txstathat.collector.alerts.sending.targets import KnownTargets, Targets
from txstathat.collector.channels.channels import make_test
from txstathat.collector.channels.message import DeliveryFailed
from txstathat.collector.errors import Refusal
from txstathat.collector.metrics import CollectorMetrics
from txstathat.errors import StatHatError
from txstathat.http.limit import ConcurrencyLimit
from txstathat.printable import printable

__all__ = ["MAX_UNDER_WAY", "NoticeDelivery"]

#: How many notices can be under way to one receiver.
MAX_UNDER_WAY = 8


def _named(channel: str) -> str:
    return "the webhook" if channel == WEBHOOK else f"the channel {channel!r}"


class NoticeDelivery:
    """
    Delivers notices. The notices of one alert to one target are delivered one after the
    other.

    :param records: the alerts.
    :param targets: where notices go.
    :param metrics: counts the notices.
    :param jitter: returns a random number between two numbers, for the retry delays; by
        default from the system's randomness.
    """

    _log = Logger()

    def __init__(
        self,
        records: AlertRecords,
        targets: Targets,
        metrics: CollectorMetrics,
        jitter: Jitter | None = None,
    ) -> None:
        self._records = records
        self._targets = targets
        self._metrics = metrics
        self._jitter = jitter or random.SystemRandom().uniform
        # Notices that were delivered, when the store could not record that.
        self._delivered: set[tuple[str, str]] = set()
        # By receiver, so that one that does not answer delays only its own notices.
        self._limits: dict[str, ConcurrencyLimit] = defaultdict(
            lambda: ConcurrencyLimit(MAX_UNDER_WAY)
        )
        # The receivers that fail, or have failed.
        self._failing: dict[str, Failing] = {}
        # By alert and target: the delivery that is under way, or waits for others.
        self._under_way: dict[tuple[str, str], Deferred[None]] = {}
        self._closed = False

    @property
    def under_way(self) -> int:
        """
        How many notices are being delivered, or wait for others to the same receiver.
        """
        return len(self._under_way)

    async def notify(self) -> None:
        """
        Begin to deliver all notices that are due.

        :raises StoreError: if the store fails; the next call makes up for it.
        """
        records = [
            record for record in (await self._records.all()).values() if record.notices
        ]
        if not records:
            self._delivered.clear()
            self._failing.clear()
            return
        known = await self._targets.known()
        waiting = queued(records, known)
        self._delivered &= {
            (each.notice.id(each.record.alert), each.notice.channel) for each in waiting
        }
        self._forget({each.key for each in waiting})
        for each in choose(waiting, self._failing, self._records.now()):
            if each.id not in self._under_way:
                limit = self._limits[each.key]
                begun = limit.run(self._attempt_later(known, each))
                self._under_way[each.id] = begun
                begun.addBoth(self._ended, each.id)

    def _attempt_later(
        self, known: KnownTargets, chosen: QueuedNotice
    ) -> Callable[[], Deferred[None]]:
        return lambda: Deferred.fromCoroutine(self._attempt(known, chosen))

    def _forget(self, keys: set[str]) -> None:
        """
        Forget the receivers for which nothing waits.
        """
        for key in self._failing.keys() - keys:
            del self._failing[key]
        for key in self._limits.keys() - keys:
            limit = self._limits[key]
            if limit.free == limit.limit:
                del self._limits[key]

    def _ended(self, result: Failure | None, id: tuple[str, str]) -> None:
        del self._under_way[id]
        if result is None:
            return
        # The next call of notify makes up for it.
        if result.check(StatHatError):
            error = result.getErrorMessage()
            self._log.debug("the alert {id}: {error}", id=id[0], error=error)
        else:
            self._log.failure("the alert {id}", result, id=id[0])

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
        await self._targets.close()
        await self.settled()

    async def target_names(self, alert: AlertDefinition) -> tuple[str, ...]:
        """
        Return where the notices of an alert go: the names of channels, and
        :data:`~txstathat.collector.alerts.history.WEBHOOK`. Empty if they reach nobody.

        :raises StoreError: if the store fails.
        """
        return (await self._targets.known()).names(alert)

    async def check_channels(self, alert: AlertDefinition) -> None:
        """
        Check that the channels that an alert names exist.

        :raises Refusal: 400 if one does not.
        :raises StoreError: if the store fails.
        """
        known = await self._targets.known()
        for name in alert.channels:
            if not known.has(alert, name):
                raise Refusal(
                    400,
                    f"channels: there is no channel {name!r}; there are "
                    f"{', '.join(known.channels) or 'none'}",
                )

    async def test(self, id: str) -> dict[str, str]:
        """
        Send a test message to all targets of an alert.

        :param id: the alert's id.
        :returns: why each attempt failed, by the name of the target; ``''`` for one
            that was delivered. Empty if the alert has no target.
        :raises Refusal: 404 if the alert does not exist.
        :raises StoreError: if the store fails.
        """
        record = await self._records.get(id)
        alert, known = record.alert, await self._targets.known()
        name, now = printable(alert.stat_name), self._records.now()
        text = f"This is a test of an alert about {name}. The alert does not fire."
        details = {"alert": alert.to_json()}
        results: dict[str, str] = {}
        for target in known.names(alert):
            message = make_test(now, f"{name}: test", text, details)
            try:
                await self._targets.send(known, alert, target, message)
                results[target] = ""
            except DeliveryFailed as error:
                results[target] = str(error)
            await self._note(target, results[target], now)
        return results

    async def _attempt(self, known: KnownTargets, chosen: QueuedNotice) -> None:
        if self._closed or self._is_pointless(chosen):
            return
        record, notice = chosen.record, chosen.notice
        alert, delivered = record.alert, (notice.id(record.alert), notice.channel)
        if delivered in self._delivered:
            await self._settle(record, notice, None, "")
            return
        if not known.has(alert, notice.channel):
            why = "it was removed, or the collector may not post there any more"
            await self._give_up(record, notice, why)
            return
        now = self._records.now()
        begun = replace(
            notice, attempts=notice.attempts + 1, next_at=now + LEASE, failed=False
        )
        notices = tuple(begun if each == notice else each for each in record.notices)
        claimed = await self._records.change(record, replace(record, notices=notices))
        if claimed is None:
            # Another collector was faster, or the record has just changed.
            return
        try:
            await self._targets.send(known, alert, notice.channel, begun.message(alert))
        except DeliveryFailed as error:
            await self._failed(claimed, begun, chosen.key, error)
            return
        self._metrics.notices_sent += 1
        self._delivered.add(delivered)
        self._came_back(chosen.key, notice.channel)
        await self._settle(claimed, begun, None, "")
        await self._note(notice.channel, "", self._records.now())

    async def _failed(
        self, record: AlertRecord, begun: AlertNotice, key: str, error: DeliveryFailed
    ) -> None:
        self._metrics.notices_failed += 1
        why, now = str(error), self._records.now()
        if error.permanent:
            # The receiver answers.
            self._came_back(key, begun.channel)
        else:
            self._note_failure(key, begun, why, now)
        if error.permanent or begun.is_over(now):
            await self._give_up(record, begun, why)
        else:
            next_at = now + notice_retry_delay(begun.attempts, self._jitter)
            after = replace(begun, next_at=next_at, failed=True)
            await self._settle(record, begun, after, why)
        await self._note(begun.channel, why, now)

    def _is_pointless(self, chosen: QueuedNotice) -> bool:
        """
        Whether the receiver has failed while a first attempt waited for its turn.
        """
        state = self._failing.get(chosen.key)
        if state is None or state.is_back:
            return False
        return not state.is_due(self._records.now())

    def _note_failure(self, key: str, begun: AlertNotice, why: str, now: float) -> None:
        state = self._failing.setdefault(key, Failing())
        if state.failures == 0 or state.is_back:
            self._log.warn(
                "{channel}: a notice could not be delivered, and is tried again: {why}",
                channel=_named(begun.channel),
                why=why,
            )
        state.fail(now, self._jitter)

    def _came_back(self, key: str, channel: str) -> None:
        state = self._failing.get(key)
        if state is not None and not state.is_back:
            state.is_back = True
            self._log.info("{channel} is back", channel=_named(channel))

    async def _note(self, channel: str, why: str, now: float) -> None:
        if channel != WEBHOOK:
            await self._targets.channels.records.note(channel, why, now)

    async def _settle(
        self,
        record: AlertRecord,
        begun: AlertNotice,
        after: AlertNotice | None,
        why: str,
    ) -> None:
        """
        Record the result of an attempt, whatever the record is now.

        :param record: the record as it was last seen.
        :param begun: the notice, as it was recorded before the attempt.
        :param after: what replaces it; ``None`` to remove it.
        :param why: why the attempt failed; ``''`` if it did not.
        """
        now = self._records.now()

        def settled(current: AlertRecord) -> AlertRecord:
            notices = tuple(
                each if each != begun else after for each in current.notices
            )
            remaining = tuple(each for each in notices if each is not None)
            changed = replace(current, notices=remaining)
            return changed.with_error(begun.channel, why, now)

        await self._records.update(record, settled)
        self._delivered.discard((begun.id(record.alert), begun.channel))

    async def _give_up(
        self, record: AlertRecord, notice: AlertNotice, why: str
    ) -> None:
        await self._settle(record, notice, None, why)
        self.drop(record, notice, why)

    def drop(self, record: AlertRecord, notice: AlertNotice, why: str) -> None:
        """
        Count and log a notice that is given up.

        :param record: the alert.
        :param notice: the notice.
        :param why: the reason, without a secret.
        """
        self._metrics.notices_dropped += 1
        self._log.warn(
            "the alert {id}: the notice that it {event} is given up: {channel}: {why}",
            id=record.alert.id,
            event=notice.event,
            channel=_named(notice.channel),
            why=why,
        )
