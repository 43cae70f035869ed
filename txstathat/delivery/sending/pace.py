"""
How long the sender waits before the next attempt while the server fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from txstathat.backoff import Jitter
from txstathat.delivery.batch import SealedBatch
from txstathat.delivery.bounded import put_bounded
from txstathat.delivery.sending.retry_policy import batch_retry_delay, slowest_delay

__all__ = ["HeldStats", "Pace"]


class Pace:
    """
    Delays all batches while the server fails, longer with each failure in a row.

    :param jitter: draws a number between two.
    :param monotonic: the clock that never steps, in seconds.
    :ivar failures: how many attempts failed in a row since the server last accepted a
        batch. Attempts that are in flight together are one, and so is a batch that
        fails again by itself.
    :ivar resume_at: when the next attempt may be made, on the monotonic clock.
    """

    def __init__(self, jitter: Jitter, monotonic: Callable[[], float]) -> None:
        self._jitter = jitter
        self._monotonic = monotonic
        self._server_asked = False
        self.accept()

    def accept(self) -> None:
        """
        Note that the server accepts batches.
        """
        self.failures = 0
        self._last_failed: SealedBatch | None = None
        self._go()

    def _go(self) -> None:
        self.resume_at = -math.inf
        self._server_asked = self._needs_person = False

    def fail(
        self,
        batch: SealedBatch,
        failures_before: int,
        retry_after: float | None,
        needs_person: bool,
    ) -> None:
        """
        Note that an attempt failed.

        :param failures_before: :attr:`failures` when the attempt began.
        :param retry_after: how many seconds the server asked to wait.
        :param needs_person: whether a person has to correct something.
        """
        is_new = failures_before == self.failures
        if is_new and batch is not self._last_failed:
            self.failures += 1
        self._last_failed = batch
        self._needs_person = needs_person
        if needs_person:
            delay = slowest_delay(self._jitter, retry_after)
        else:
            delay = batch_retry_delay(max(1, self.failures), self._jitter, retry_after)
        if is_new or retry_after:
            self.resume_at = max(self.resume_at, self._monotonic() + delay)
            self._server_asked = bool(retry_after)

    @property
    def allows_attempt(self) -> bool:
        """
        Whether an attempt may be made now.
        """
        return self._monotonic() >= self.resume_at

    @property
    def needs_person(self) -> bool:
        """
        Whether no attempt is made soon, because a person has to correct something.
        """
        return self._needs_person and not self.allows_attempt

    def resume_now(self) -> bool:
        """
        Allow the next attempt at once, unless the server asked to wait.

        :returns: whether it is allowed.
        """
        if self._server_asked:
            return False
        self._go()
        return True


class HeldStats:
    """
    Stats that wait at the slowest pace because the server refuses their keys.

    :param jitter: draws a number between two.
    :param monotonic: the clock that never steps, in seconds.
    """

    def __init__(self, jitter: Jitter, monotonic: Callable[[], float]) -> None:
        self._jitter = jitter
        self._monotonic = monotonic
        self._due: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def hold(self, stat: str, retry_after: float | None) -> tuple[bool, float]:
        """
        Let a stat wait.

        :param stat: its name; ``''`` where it is not known.
        :returns: whether it did not wait before, and until when it waits.
        """
        is_new = stat not in self._due
        due = self._monotonic() + slowest_delay(self._jitter, retry_after)
        if stat:
            put_bounded(self._due, stat, due)
        return is_new, due

    def release(self, stat: str) -> None:
        """
        Let a stat wait no longer.
        """
        self._due.pop(stat, None)

    def release_all(self) -> None:
        """
        Let no stat wait any longer.
        """
        self._due.clear()

    def next_attempt(self, stat: str) -> float:
        """
        Return when a batch of a stat may be sent, on the monotonic clock.

        Once that time has come, one batch may be sent. The stat's other batches wait
        for its result.
        """
        now = self._monotonic()
        due = self._due.get(stat, -math.inf)
        if -math.inf < due <= now:
            self._due[stat] = now + slowest_delay(self._jitter)
        return due
