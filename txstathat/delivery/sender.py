"""
The sender: takes batches from the backlog, a few at a time, and acts on what becomes
of them.

While the server fails, one attempt at a time is made, and fewer and fewer of them. A
batch that fails alone (because the server chokes on what is in it) is sent again more
and more seldom, but does not hold up the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.client.outcome import Outcome, Verdict
from txstathat.delivery.backlog import Backlog
from txstathat.delivery.batch import Batch, Client, divide
from txstathat.delivery.ledger import Ledger
from txstathat.delivery.policy import (
    Action,
    Jitter,
    decide,
    retry_delay,
    slowest_delay,
)
from txstathat.delivery.search import (
    Probe,
    Trace,
    halves,
    may_be_all,
    named_point,
)
from txstathat.points.model import Point

__all__ = ["MAX_IN_FLIGHT", "MAX_NOTES", "OnRejected", "Sender"]

#: How many batches are on their way at a time.
MAX_IN_FLIGHT = 8
#: How many parts of batches, and how many stats, something is known about at a time.
MAX_NOTES = 10_000

_T = TypeVar("_T")

#: Told of points that the server refused for good, and why.
OnRejected = Callable[[list[Point], Exception], object]


class Sender:
    """
    Sends batches.

    :param resend: whether to send again what may have arrived.
    :param monotonic: tells the time in seconds that never step.
    :param wake: called when there may be something to send.
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
        self._pause = -math.inf
        self._asked_to_wait = False
        self._stopped = False
        self._blocked = False
        # What is known of batches by id, and until when the points of stats wait whose
        # keys the server refuses.
        self._traces: dict[str, Trace] = {}
        self._held: dict[str, float] = {}

    @property
    def due(self) -> float:
        """
        When to call :meth:`send`, on the monotonic clock.
        """
        if self._stopped or len(self._flights) >= self._limit:
            return math.inf
        return max(self._pause, self._backlog.due)

    @property
    def blocked(self) -> bool:
        """
        Whether nothing will be sent soon: only a person can mend what is wrong.
        """
        return self._blocked and not self._flights and self._monotonic() < self._pause

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
            batch = self._take()
            if batch is None:
                return
            self._attempt(batch)

    def hurry(self) -> None:
        """
        Make the next attempt at once, unless the server asked to wait.
        """
        if not self._asked_to_wait:
            self._blocked = False
            self._held.clear()
            self._pause = -math.inf
            self._backlog.hurry()

    def stop(self) -> None:
        """
        Break off what is under way, and send nothing more.
        """
        self._stopped = True
        for flight in list(self._flights.values()):
            flight.cancel()

    def _take(self) -> Batch | None:
        """
        The next batch that may be sent now.
        """
        while (batch := self._backlog.next()) is not None:
            now = self._monotonic()
            trace = self._traces.get(batch.id)
            due = -math.inf if trace is None else trace.due
            if self._held and batch.payload.is_classic:
                due = max(due, self._hold_until(batch, now))
            if due <= now:
                return batch
            self._backlog.retry(batch, due, waiting=True)
        return None

    def _hold_until(self, batch: Batch, now: float) -> float:
        """
        Until when to wait because the key of the batch's stat was refused.
        """
        stat = self._stat(batch)
        until = self._held.get(stat, -math.inf)
        if -math.inf < until <= now:
            # Only this one is sent; the others wait for what becomes of it.
            self._held[stat] = now + slowest_delay(self._jitter)
        return until

    def _attempt(self, batch: Batch) -> None:
        flight = maybeDeferred(self._client.send_payload, batch.payload, batch.id)
        self._fly(flight, batch, self._judge, batch, self._streak)

    def _fly(
        self,
        flight: Deferred[Any],
        batch: Batch,
        judge: Callable[..., None],
        *arguments: Any,
    ) -> None:
        # Before the callbacks, which may run at once.
        self._flights[batch] = flight
        flight.addErrback(_as_outcome)
        flight.addCallback(judge, *arguments)
        flight.addErrback(self._log_bug)

    def _log_bug(self, failure: Failure) -> None:
        self._log.failure("a batch could not be dealt with", failure)

    def _judge(self, outcome: Outcome, batch: Batch, streak: int) -> None:
        del self._flights[batch]
        trace = self._traces.get(batch.id)
        batch.resent = max(batch.resent, trace.resent if trace else 0)
        action = decide(outcome, batch.payload.points, self._resend, batch.resent)
        if action in (Action.RETRY, Action.WAIT, Action.RESEND, Action.DROP):
            self._failed(outcome, batch, action, streak)
        else:
            self._well(batch)
        if action is Action.DELIVERED:
            self._ledger.deliver(batch.total)
            self._settle(batch, "delivered")
        elif action in (Action.SPLIT, Action.SEARCH):
            self._search(batch, outcome, split=action is Action.SPLIT)
        elif action is Action.REJECT:
            self._reject(batch, outcome)
        self._wake()

    def _well(self, batch: Batch) -> None:
        """
        The server answers, and knows the keys.
        """
        self._streak = 0
        self._last_failed = None
        self._pause = -math.inf
        self._asked_to_wait = self._blocked = False
        self._ledger.unblock()
        if self._held and batch.payload.is_classic:
            self._held.pop(self._stat(batch), None)
            self._ledger.refused_keys = len(self._held)

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
        if self._concerns_stat(outcome, batch):
            self._hold(outcome, batch)
            return
        now, after = self._monotonic(), outcome.retry_after
        slow = now + slowest_delay(self._jitter, after)
        self._slow_down(outcome, batch, action, streak)
        if action is Action.WAIT:
            self._ledger.block(outcome.error)
            self._backlog.retry(batch, slow, waiting=True)
            return
        self._ledger.fail(outcome.error, again=action is not Action.DROP)
        if action is Action.DROP:
            self._traces.pop(batch.id, None)
            self._backlog.give_up(batch, "ambiguous")
        elif action is Action.RESEND:
            batch.resent += 1
            self._backlog.retry(batch, slow, waiting=True)
        else:
            delay = retry_delay(batch.tries, self._jitter, after)
            self._backlog.retry(batch, now + delay)

    def _slow_down(
        self, outcome: Outcome, batch: Batch, action: Action, streak: int
    ) -> None:
        """
        Let all batches wait, longer with each failure in a row.
        """
        after = outcome.retry_after
        news = streak == self._streak
        if news and batch is not self._last_failed:
            self._streak += 1
        self._last_failed = batch
        self._blocked = action is Action.WAIT
        if self._blocked:
            pause = slowest_delay(self._jitter, after)
        else:
            pause = retry_delay(max(1, self._streak), self._jitter, after)
        if news or after:
            self._pause = max(self._pause, self._monotonic() + pause)
            self._asked_to_wait = bool(after)

    def _concerns_stat(self, outcome: Outcome, batch: Batch) -> bool:
        """
        Whether a failure says something about one stat only, or one batch: with the
        Classic API each stat has a key; and a spool may hold what another client left.
        """
        if outcome.verdict is not Verdict.KEY_REFUSED:
            return False
        if batch.payload.is_classic and outcome.from_stathat:
            return True
        return self._points(batch) is None

    def _hold(self, outcome: Outcome, batch: Batch) -> None:
        """
        Let the points of one stat wait at the slowest pace.
        """
        stat = self._stat(batch)
        new = stat not in self._held
        due = self._monotonic() + slowest_delay(self._jitter, outcome.retry_after)
        if stat:
            _put(self._held, stat, due)
        self._ledger.refused_keys = len(self._held)
        self._ledger.wait(outcome.error, new)
        self._backlog.retry(batch, due, waiting=True)

    def _points(self, batch: Batch) -> list[Point] | None:
        """
        The points of a batch, unless it was left in the spool by another client.
        """
        try:
            return self._client.decode(batch.payload)
        except ValueError:
            return None

    def _stat(self, batch: Batch) -> str:
        points = self._points(batch)
        return points[0].stat if points else ""

    def _search(self, batch: Batch, outcome: Outcome, split: bool) -> None:
        """
        Look for the points that the server does not take.

        :param split: whether the batch as a whole was too large.
        """
        points = self._points(batch)
        if points is None:
            self._hold(outcome, batch)
            return
        every = range(len(points))
        trace = self._traces.get(batch.id)
        named = named_point(outcome, len(points), trace)
        if split:
            self._split(batch, halves(every), trace)
        elif named is not None:
            before = trace or Trace()
            rest = [index for index in every if index != named]
            after = Trace(before.mixed, before.named + 1)
            self._split(batch, [[named], rest], after)
        elif may_be_all(len(points), trace):
            self._send_probe(Probe(batch, points))
        else:
            self._split(batch, halves(every), Trace(mixed=True))

    def _split(
        self,
        batch: Batch,
        groups: Sequence[Sequence[int]],
        trace: Trace | None,
        fates: Mapping[str, int] | None = None,
        more: Sequence[Batch] = (),
    ) -> None:
        parts = [each for part in divide(self._client, batch, groups) for each in part]
        self._traces.pop(batch.id, None)
        if trace is not None:
            for part in parts:
                _put(self._traces, part.id, trace)
        self._backlog.split(batch, [*more, *parts], fates or {})

    def _send_probe(self, probe: Probe) -> None:
        if self._stopped:
            self._backlog.retry(probe.batch, 0.0)
            return
        (payload,) = self._client.encode([probe.points[probe.index]])
        flight = maybeDeferred(self._client.send_payload, payload, probe.id)
        self._fly(flight, probe.batch, self._judge_probe, probe, self._streak)

    def _judge_probe(self, outcome: Outcome, probe: Probe, streak: int) -> None:
        batch = probe.batch
        del self._flights[batch]
        action = decide(outcome, 1, self._resend)
        if action in (Action.RETRY, Action.WAIT):
            # It begins anew when the batch is refused again; ids are the same then.
            self._failed(outcome, batch, action, streak)
        elif action in (Action.RESEND, Action.DROP):
            self._slow_down(outcome, batch, action, streak)
            self._end_probe(probe, outcome, action)
        else:
            self._well(batch)
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
        The server does not refuse all points alike: look into the halves.
        """
        batch, index, id = probe.batch, probe.index, probe.id
        calls = batch.calls[index]
        fates: Counter[str] = Counter()
        alone: list[Batch] = []
        if action is Action.DELIVERED:
            self._ledger.deliver(calls)
            fates["delivered"] = calls
        elif action is Action.DROP:
            self._ledger.fail(outcome.error, again=False)
            self._ledger.drop(calls, "ambiguous")
            fates["dropped"] = calls
        elif action is Action.RESEND:
            self._ledger.fail(outcome.error, again=True)
            ((single,),) = divide(self._client, batch, [[index]])
            single.id = id
            due = self._monotonic() + slowest_delay(self._jitter)
            _put(self._traces, id, Trace(resent=1, due=due))
            alone = [single]
        rest = probe.rest() if action is Action.REJECT else probe.rest(index)
        for refused, error in probe.refused.items():
            fates["rejected"] += batch.calls[refused]
            self._ledger.reject(batch.calls[refused], error)
        self._split(batch, halves(rest), Trace(mixed=True), fates, alone)
        for refused, error in probe.refused.items():
            self._report([probe.points[refused]], error)

    def _settle(self, batch: Batch, fate: str) -> None:
        self._traces.pop(batch.id, None)
        self._backlog.settle(batch, fate)

    def _reject(self, batch: Batch, outcome: Outcome) -> None:
        points = self._points(batch)
        if points is None:
            # The other client's server may take it.
            self._hold(outcome, batch)
            return
        self._ledger.reject(batch.total, outcome.error)
        self._settle(batch, "rejected")
        if outcome.error is not None:
            self._report(points, outcome.error)

    def _report(self, points: list[Point], error: Exception) -> None:
        """
        Tell the program what was rejected.
        """
        if self._on_rejected is None:
            return
        try:
            self._on_rejected(points, error)
        except Exception as raised:
            self._ledger.complain(
                "on_rejected", "on_rejected raised {error}", error=repr(raised)
            )


def _put(notes: dict[str, _T], name: str, note: _T) -> None:
    """
    Make a note, and forget the oldest if there are too many.
    """
    notes.pop(name, None)
    notes[name] = note
    if len(notes) > MAX_NOTES:
        del notes[next(iter(notes))]


def _as_outcome(failure: Failure) -> Outcome:
    """
    Whatever a client fails with: nothing is known of the batch then.
    """
    if isinstance(failure.value, Exception):
        return Outcome(Verdict.AMBIGUOUS, failure.value)
    failure.raiseException()
