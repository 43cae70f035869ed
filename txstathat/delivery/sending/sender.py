"""
Send batches from the backlog, a few at a time, and act on the results.

While the server fails, one attempt at a time is made, with growing delays. If only one
batch fails, because the server cannot handle its content, it is sent again less and
less often. It does not delay the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.backoff import Jitter
from txstathat.client.outcome import Outcome, Verdict
from txstathat.delivery.backlog import Backlog
from txstathat.delivery.batch import DeliveryClient, SealedBatch, divide
from txstathat.delivery.bounded import put_bounded
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.sending.pace import HeldStats, Pace
from txstathat.delivery.sending.retry_policy import (
    Action,
    batch_retry_delay,
    decide,
    slowest_delay,
)
from txstathat.delivery.sending.search import (
    Probe,
    SearchState,
    halves,
    may_be_all,
    named_point,
)
from txstathat.points.model import Point

__all__ = ["MAX_IN_FLIGHT", "OnRejected", "Sender"]

#: How many batches are in flight at a time.
MAX_IN_FLIGHT = 8

#: Called with points that the server rejected for good, and the error.
OnRejected = Callable[[list[Point], Exception], object]


class Sender:
    """
    Sends batches.

    :param resend: whether to send again what may have arrived.
    :param monotonic: the clock that never steps, in seconds.
    :param wake: called when there may be something to send.
    """

    _log = Logger()

    def __init__(
        self,
        client: DeliveryClient,
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
        self._in_flight: dict[SealedBatch, Deferred[Any]] = {}
        self._pace = Pace(jitter, monotonic)
        self._held = HeldStats(jitter, monotonic)
        # By the id of the batch.
        self._searches: dict[str, SearchState] = {}
        self._stopped = False

    @property
    def in_flight(self) -> list[SealedBatch]:
        """
        The batches that are being sent.
        """
        return list(self._in_flight)

    @property
    def due(self) -> float:
        """
        When to call :meth:`send`, on the monotonic clock.
        """
        if self._stopped or len(self._in_flight) >= self._limit:
            return math.inf
        return max(self._pace.resume_at, self._backlog.due)

    @property
    def blocked(self) -> bool:
        """
        Whether nothing will be sent soon, because a person has to correct something.
        """
        return self._pace.needs_person and not self._in_flight

    @property
    def _limit(self) -> int:
        return 1 if self._pace.failures else MAX_IN_FLIGHT

    def send(self) -> None:
        """
        Send what is due.
        """
        while (
            not self._stopped
            and len(self._in_flight) < self._limit
            and self._pace.allows_attempt
        ):
            batch = self._take()
            if batch is None:
                return
            payload = batch.payload
            attempt = maybeDeferred(self._client.send_payload, payload, batch.id)
            self._track(attempt, batch, self._judge, batch, self._pace.failures)

    def retry_now(self) -> None:
        """
        Make the next attempt at once, unless the server asked to wait.
        """
        if self._pace.resume_now():
            self._held.release_all()
            self._backlog.retry_now()

    def stop(self) -> None:
        """
        Cancel what is in flight, and send nothing more.
        """
        self._stopped = True
        for attempt in list(self._in_flight.values()):
            attempt.cancel()

    def _take(self) -> SealedBatch | None:
        """
        Take the next batch that may be sent now from the backlog.
        """
        while (batch := self._backlog.next()) is not None:
            state = self._searches.get(batch.id)
            due = -math.inf if state is None else state.due
            if self._held and batch.payload.is_classic:
                due = max(due, self._held.next_attempt(self._stat(batch)))
            if due <= self._monotonic():
                return batch
            self._backlog.retry(batch, due, waiting=True)
        return None

    def _track(
        self,
        attempt: Deferred[Any],
        batch: SealedBatch,
        judge: Callable[..., None],
        *arguments: Any,
    ) -> None:
        # Before the callbacks, which may run at once.
        self._in_flight[batch] = attempt
        attempt.addErrback(_as_outcome)
        attempt.addCallback(judge, *arguments)
        attempt.addErrback(self._log_bug)

    def _log_bug(self, failure: Failure) -> None:
        self._log.failure("the result of a batch could not be processed", failure)

    def _judge(self, outcome: Outcome, batch: SealedBatch, failures: int) -> None:
        """
        Act on the result of an attempt.

        :param failures: how many attempts had failed in a row when it began.
        """
        del self._in_flight[batch]
        state = self._searches.get(batch.id)
        batch.resent = max(batch.resent, state.resent if state else 0)
        action = decide(outcome, batch.payload.points, self._resend, batch.resent)
        if action in (Action.RETRY, Action.WAIT, Action.RESEND, Action.DROP):
            self._handle_failure(outcome, batch, action, failures)
        else:
            self._note_acceptance(batch)
        if action is Action.DELIVERED:
            self._ledger.deliver(batch.total)
            self._settle(batch, "delivered")
        elif action in (Action.SPLIT, Action.SEARCH):
            self._search(batch, outcome, too_large=action is Action.SPLIT)
        elif action is Action.REJECT:
            self._reject(batch, outcome)
        self._wake()

    def _note_acceptance(self, batch: SealedBatch) -> None:
        """
        Note that the server answers, and accepts the key.
        """
        self._pace.accept()
        self._ledger.unblock()
        if self._held and batch.payload.is_classic:
            self._held.release(self._stat(batch))
            self._ledger.refused_keys = len(self._held)

    def _handle_failure(
        self, outcome: Outcome, batch: SealedBatch, action: Action, failures: int
    ) -> None:
        """
        Send the batch again later, and slow down: the server may be in trouble.
        """
        if self._stopped and action is not Action.DROP:
            self._backlog.retry(batch, 0.0)
            return
        batch.tries += 1
        if self._concerns_one_stat(outcome, batch):
            self._hold(outcome, batch)
            return
        now, after = self._monotonic(), outcome.retry_after
        slow = now + slowest_delay(self._jitter, after)
        self._pace.fail(batch, failures, after, action is Action.WAIT)
        if action is Action.WAIT:
            self._ledger.block(outcome.error)
            self._backlog.retry(batch, slow, waiting=True)
            return
        self._ledger.fail(outcome.error, again=action is not Action.DROP)
        if action is Action.DROP:
            self._searches.pop(batch.id, None)
            self._backlog.drop(batch, "ambiguous")
        elif action is Action.RESEND:
            batch.resent += 1
            self._backlog.retry(batch, slow, waiting=True)
        else:
            delay = batch_retry_delay(batch.tries, self._jitter, after)
            self._backlog.retry(batch, now + delay)

    def _concerns_one_stat(self, outcome: Outcome, batch: SealedBatch) -> bool:
        """
        Whether a refused key concerns one stat or batch only: with the Classic API
        each stat has a key, and a client of the other API may have sealed the batch.
        """
        if outcome.verdict is not Verdict.KEY_REFUSED:
            return False
        if batch.payload.is_classic and outcome.from_stathat:
            return True
        return self._points(batch) is None

    def _hold(self, outcome: Outcome, batch: SealedBatch) -> None:
        """
        Let the points of one stat wait at the slowest pace.
        """
        is_new, due = self._held.hold(self._stat(batch), outcome.retry_after)
        self._ledger.refused_keys = len(self._held)
        self._ledger.wait(outcome.error, is_new)
        self._backlog.retry(batch, due, waiting=True)

    def _points(self, batch: SealedBatch) -> list[Point] | None:
        """
        Return the points of a batch, or ``None`` if the client cannot read them.
        """
        try:
            return self._client.decode(batch.payload)
        except ValueError:
            return None

    def _stat(self, batch: SealedBatch) -> str:
        points = self._points(batch)
        return points[0].stat if points else ""

    def _search(self, batch: SealedBatch, outcome: Outcome, too_large: bool) -> None:
        """
        Look for the points that the server does not accept.

        :param too_large: whether the batch as a whole was too large.
        """
        points = self._points(batch)
        if points is None:
            self._hold(outcome, batch)
            return
        every = range(len(points))
        state = self._searches.get(batch.id)
        named = named_point(outcome, len(points), state)
        if too_large:
            self._divide(batch, halves(every), state)
        elif named is not None:
            before = state or SearchState()
            others = [index for index in every if index != named]
            after = SearchState(before.mixed, before.named + 1)
            self._divide(batch, [[named], others], after)
        elif may_be_all(len(points), state):
            self._send_probe(Probe(batch, points))
        else:
            self._divide(batch, halves(every), SearchState(mixed=True))

    def _divide(
        self,
        batch: SealedBatch,
        groups: Sequence[Sequence[int]],
        state: SearchState | None,
        results: Mapping[str, int] | None = None,
        more: Sequence[SealedBatch] = (),
    ) -> None:
        parts = [each for part in divide(self._client, batch, groups) for each in part]
        self._searches.pop(batch.id, None)
        if state is not None:
            for part in parts:
                put_bounded(self._searches, part.id, state)
        self._backlog.split(batch, [*more, *parts], results or {})

    def _send_probe(self, probe: Probe) -> None:
        (payload,) = self._client.encode([probe.points[probe.index]])
        attempt = maybeDeferred(self._client.send_payload, payload, probe.id)
        failures = self._pace.failures
        self._track(attempt, probe.batch, self._judge_probe, probe, failures)

    def _judge_probe(self, outcome: Outcome, probe: Probe, failures: int) -> None:
        batch = probe.batch
        del self._in_flight[batch]
        action = decide(outcome, 1, self._resend)
        if action in (Action.RETRY, Action.WAIT):
            # When the batch is refused again, the probes start anew with the same ids.
            self._handle_failure(outcome, batch, action, failures)
        elif action in (Action.RESEND, Action.DROP):
            self._pace.fail(batch, failures, outcome.retry_after, False)
            self._end_probe(probe, outcome, action)
        else:
            self._note_acceptance(batch)
            alike = action is Action.REJECT and probe.refuse(outcome)
            if not alike:
                self._end_probe(probe, outcome, action)
            elif probe.is_over:
                self._reject(batch, outcome)
            else:
                self._send_probe(probe)
        self._wake()

    def _end_probe(self, probe: Probe, outcome: Outcome, action: Action) -> None:
        """
        Search the halves: the server does not refuse all points alike.
        """
        batch, index, id = probe.batch, probe.index, probe.id
        calls = batch.calls[index]
        results: Counter[str] = Counter()
        alone: list[SealedBatch] = []
        if action is Action.DELIVERED:
            self._ledger.deliver(calls)
            results["delivered"] = calls
        elif action is Action.DROP:
            self._ledger.fail(outcome.error, again=False)
            self._ledger.drop(calls, "ambiguous")
            results["dropped"] = calls
        elif action is Action.RESEND:
            self._ledger.fail(outcome.error, again=True)
            ((single,),) = divide(self._client, batch, [[index]])
            single.id = id
            due = self._monotonic() + slowest_delay(self._jitter)
            put_bounded(self._searches, id, SearchState(resent=1, due=due))
            alone = [single]
        without = () if action is Action.REJECT else (index,)
        groups = halves(probe.remaining(*without))
        for refused, error in probe.refused.items():
            results["rejected"] += batch.calls[refused]
            self._ledger.reject(batch.calls[refused], error)
        self._divide(batch, groups, SearchState(mixed=True), results, alone)
        for refused, error in probe.refused.items():
            self._report([probe.points[refused]], error)

    def _settle(self, batch: SealedBatch, result: str) -> None:
        self._searches.pop(batch.id, None)
        self._backlog.settle(batch, result)

    def _reject(self, batch: SealedBatch, outcome: Outcome) -> None:
        points = self._points(batch)
        if points is None:
            # A client of the other API sealed it; its server may accept it.
            self._hold(outcome, batch)
            return
        self._ledger.reject(batch.total, outcome.error)
        self._settle(batch, "rejected")
        if outcome.error is not None:
            self._report(points, outcome.error)

    def _report(self, points: list[Point], error: Exception) -> None:
        """
        Report rejected points to the program.
        """
        if self._on_rejected is None:
            return
        try:
            self._on_rejected(points, error)
        except Exception as raised:
            self._ledger.complain(
                "on_rejected", "on_rejected raised {error}", error=repr(raised)
            )


def _as_outcome(failure: Failure) -> Outcome:
    """
    Return the outcome of an attempt that failed in an unknown way.
    """
    if isinstance(failure.value, Exception):
        return Outcome(Verdict.AMBIGUOUS, failure.value)
    failure.raiseException()
