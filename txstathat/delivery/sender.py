"""
The sender: takes batches from the backlog, a few at a time, and acts on what becomes
of them.

While the server fails, one attempt at a time is made, and fewer and fewer of them. A
batch that fails alone (because the server chokes on what is in it) is sent again more
and more seldom, but does not hold up the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.delivery.backlog import Backlog
from txstathat.delivery.batch import Batch, Client, split_batch
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.policy import (
    Action,
    Jitter,
    decide,
    retry_delay,
    slowest_delay,
)
from txstathat.outcome import Outcome, Verdict
from txstathat.points import Point

__all__ = ["MAX_IN_FLIGHT", "OnRejected", "Sender"]

#: How many batches are on their way at a time.
MAX_IN_FLIGHT = 8

#: Told of points that the server refused for good, and why.
OnRejected = Callable[[list[Point], Exception], object]


class Sender:
    """
    Sends batches.

    :param resend: whether to send again what may have arrived.
    :param monotonic: tells the time in seconds that never step.
    :param wake: called when there may be something to send.
    :ivar key_refused: whether the last answer said that the key is wrong.
    """

    _log = Logger()

    def __init__(
        self,
        client: Client,
        backlog: Backlog,
        ledger: Ledger,
        *,
        resend: bool,
        on_rejected: OnRejected | None,
        jitter: Jitter,
        monotonic: Callable[[], float],
        wake: Callable[[], object],
    ) -> None:
        self._client = client
        self._backlog = backlog
        self._ledger = ledger
        self._resend = resend
        self._on_rejected = on_rejected
        self._jitter = jitter
        self._monotonic = monotonic
        self._wake = wake
        self._flights: dict[Batch, Deferred[Any]] = {}
        # How many attempts failed in a row since the server last took a batch: those
        # under way together are one, and so is a batch that fails again by itself.
        self._streak = 0
        self._last_failed: Batch | None = None
        self._pause = -float("inf")
        self._asked_to_wait = False
        self._stopped = False
        self.key_refused = False

    @property
    def due(self) -> float:
        """
        When to call :meth:`send`, on the monotonic clock.
        """
        if self._stopped or len(self._flights) >= self._limit:
            return float("inf")
        return max(self._pause, self._backlog.due)

    @property
    def _limit(self) -> int:
        return 1 if self._streak else MAX_IN_FLIGHT

    def send(self) -> None:
        """
        Send what is due.
        """
        while (
            not self._stopped
            and len(self._flights) < self._limit
            and self._monotonic() >= self._pause
        ):
            batch = self._backlog.next()
            if batch is None:
                return
            self._attempt(batch)

    def hurry(self) -> None:
        """
        Make the next attempt at once, unless the server asked to wait.
        """
        if not self._asked_to_wait:
            self.key_refused = False
            self._pause = -float("inf")
            self._backlog.hurry()

    def stop(self) -> None:
        """
        Break off what is under way, and send nothing more.
        """
        self._stopped = True
        for flight in list(self._flights.values()):
            flight.cancel()

    def _attempt(self, batch: Batch) -> None:
        flight = maybeDeferred(self._client.send_payload, batch.payload, batch.id)
        # Before the callbacks, which may run at once.
        self._flights[batch] = flight
        flight.addErrback(_as_outcome)
        flight.addCallback(self._judge, batch, self._streak)
        flight.addErrback(self._log_bug)

    def _log_bug(self, failure: Failure) -> None:
        self._log.failure("a batch could not be dealt with", failure)

    def _judge(self, outcome: Outcome, batch: Batch, streak: int) -> None:
        del self._flights[batch]
        action = decide(outcome, batch.payload.points, self._resend)
        self.key_refused = action is Action.RETRY_SLOWLY
        halves: list[Batch] = []
        if action is Action.SPLIT:
            halves = self._halve(batch)
            action = action if halves else Action.REJECT
        if action in (Action.RETRY, Action.RETRY_SLOWLY, Action.DROP):
            self._failed(outcome, batch, action, streak)
        else:
            self._streak = 0
            self._last_failed = None
            self._pause = -float("inf")
            self._asked_to_wait = False
        if action is Action.DELIVERED:
            self._ledger.deliver(batch.total)
            self._backlog.settle(batch)
        elif action is Action.SPLIT:
            self._backlog.split(batch, halves)
        elif action is Action.REJECT:
            self._reject(batch, outcome.error)
        self._wake()

    def _failed(
        self, outcome: Outcome, batch: Batch, action: Action, streak: int
    ) -> None:
        """
        The server may be in trouble: send the batch again later, the others too.

        :param streak: how many attempts had failed in a row when this one was begun.
        """
        if self._stopped and action is not Action.DROP:
            self._backlog.retry(batch, 0.0)
            return
        batch.tries += 1
        now, after = self._monotonic(), outcome.retry_after
        news = streak == self._streak
        if news and batch is not self._last_failed:
            self._streak += 1
        self._last_failed = batch
        if action is Action.RETRY_SLOWLY:
            delay = pause = slowest_delay(self._jitter, after)
        else:
            delay = retry_delay(batch.tries, self._jitter, after)
            pause = retry_delay(max(1, self._streak), self._jitter, after)
        if news or after:
            self._pause = max(self._pause, now + pause)
            self._asked_to_wait = bool(after)
        self._ledger.fail(outcome.error, again=action is not Action.DROP)
        if action is Action.DROP:
            self._backlog.give_up(batch, "ambiguous")
        else:
            self._backlog.retry(batch, now + delay)

    def _halve(self, batch: Batch) -> list[Batch]:
        try:
            return split_batch(self._client, batch)
        except ValueError:
            # Left in the spool by a service with another client.
            return []

    def _reject(self, batch: Batch, error: Exception | None) -> None:
        self._ledger.reject(batch.total, error)
        self._backlog.settle(batch)
        if self._on_rejected is None or error is None:
            return
        try:
            self._on_rejected(self._client.unseal(batch.payload), error)
        except Exception as raised:
            self._ledger.complain(
                "on_rejected", "on_rejected raised {error}", error=repr(raised)
            )


def _as_outcome(failure: Failure) -> Outcome:
    """
    Whatever a client fails with: nothing is known of the batch then.
    """
    if isinstance(failure.value, Exception):
        return Outcome(Verdict.AMBIGUOUS, failure.value)
    failure.raiseException()
