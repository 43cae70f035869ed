"""
Which notices to try now: a decision without a clock, a store or a network.

While a receiver fails, one notice at a time is tried, after growing pauses: mostly the
oldest one, so that all are sent in their order when the receiver is back. Every third
attempt is for the notice that was tried least. So a notice that the receiver can never
take does not block the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from txstathat.backoff import Jitter
from txstathat.collector.alerts.alert_record import AlertRecord
from txstathat.collector.alerts.notices import (
    LONGEST_DELAY,
    AlertNotice,
    notice_retry_delay,
)
from txstathat.collector.alerts.sending.targets import KnownTargets

__all__ = ["Failing", "QueuedNotice", "choose", "queued"]

# A notice that was tried much more often than its receiver failed is what fails.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class QueuedNotice:
    """
    A notice that waits.

    :ivar record: the alert.
    :ivar notice: the notice.
    :ivar key: the receiver; see
        :meth:`~txstathat.collector.alerts.sending.targets.KnownTargets.key`.
    :ivar is_first: whether no older notice of the alert waits for this target.
    """

    record: AlertRecord
    notice: AlertNotice
    key: str
    is_first: bool

    @property
    def id(self) -> tuple[str, str]:
        """
        The alert and the target.
        """
        return self.record.alert.id, self.notice.channel

    @property
    def order(self) -> tuple[float, str]:
        """
        What notices are sorted by.
        """
        return self.notice.at, self.record.alert.id


@dataclass(slots=True)
class Failing:
    """
    A receiver that fails, or has failed until the last attempt.

    :ivar failures: how many attempts have failed since it last took a notice.
    :ivar next_at: the earliest time of the next attempt, in Unix seconds.
    :ivar is_back: whether it has taken a notice since. Then the others that failed need
        not wait for their next attempt.
    """

    failures: int = 0
    next_at: float = 0.0
    is_back: bool = False

    def fail(self, now: float, jitter: Jitter) -> None:
        """
        Note a failed attempt.

        :param now: Unix seconds.
        :param jitter: as for
            :func:`~txstathat.collector.alerts.notices.notice_retry_delay`.
        """
        if self.is_back:
            self.failures, self.is_back = 0, False
        self.failures += 1
        self.next_at = now + notice_retry_delay(self.failures, jitter)

    def is_due(self, now: float) -> bool:
        """
        Return whether the pause is over. If it would last longer than it can, the clock
        was set back.

        :param now: Unix seconds.
        """
        return not now < self.next_at <= now + LONGEST_DELAY

    def releases(self, notice: AlertNotice) -> bool:
        """
        Return whether a notice failed because of the receiver, so that it need not wait
        for its own next attempt.
        """
        return notice.failed and notice.attempts <= _TRIES * self.failures


@dataclass(slots=True)
class _Choice:
    now: float
    failing: dict[str, Failing]
    chosen: list[QueuedNotice] = field(default_factory=list)

    def is_ready(self, queued: QueuedNotice) -> bool:
        state = self.failing.get(queued.key)
        if state is not None and state.releases(queued.notice):
            return True
        return queued.notice.is_due(self.now)

    def add(self, waiting: list[QueuedNotice]) -> None:
        """
        Choose among the notices for one receiver, which are sorted.
        """
        state = self.failing.get(waiting[0].key)
        ready = []
        for each in waiting:
            if not each.is_first:
                # A newer notice must not overtake it.
                break
            if self.is_ready(each):
                ready.append(each)
        if state is None or state.is_back:
            self.chosen += ready
        elif state.is_due(self.now) and ready:
            least_tried = state.failures % _TRIES == _TRIES - 1
            self.chosen.append(
                min(ready, key=lambda each: each.notice.attempts)
                if least_tried
                else ready[0]
            )


def queued(records: Iterable[AlertRecord], known: KnownTargets) -> list[QueuedNotice]:
    """
    Return all notices that wait, sorted by receiver, and by time; without those for a
    channel that this version cannot read.

    :param records: the alerts.
    :param known: the targets.
    """
    found: list[QueuedNotice] = []
    for record in records:
        seen: set[str] = set()
        for notice in record.notices:
            if notice.channel in known.unreadable:
                continue
            key = known.key(record.alert, notice.channel)
            is_first = notice.channel not in seen
            seen.add(notice.channel)
            found.append(QueuedNotice(record, notice, key, is_first))
    return sorted(found, key=lambda each: (each.key, each.order))


def choose(
    waiting: Iterable[QueuedNotice], failing: dict[str, Failing], now: float
) -> list[QueuedNotice]:
    """
    Return the notices to try now.

    :param waiting: as :func:`queued` returns them.
    :param failing: the receivers that fail, by their keys.
    :param now: Unix seconds.
    """
    by_key: dict[str, list[QueuedNotice]] = {}
    for each in waiting:
        by_key.setdefault(each.key, []).append(each)
    choice = _Choice(now, failing)
    for notices in by_key.values():
        choice.add(notices)
    return choice.chosen
