"""
What to do with a batch after an attempt, and how long to wait before the next one. Pure
functions.
"""

from __future__ import annotations

from enum import Enum

from txstathat.backoff import Jitter, backoff_delay
from txstathat.client.outcome import Outcome, Verdict

__all__ = [
    "MAX_DELAY",
    "MAX_NAMED",
    "MAX_RESENDS",
    "MAX_RETRY_AFTER",
    "MIN_DELAY",
    "PROBES",
    "Action",
    "decide",
    "batch_retry_delay",
    "slowest_delay",
]

#: The shortest delay before another attempt, in seconds.
MIN_DELAY = 1.0
#: The longest delay that the backoff reaches, in seconds.
MAX_DELAY = 300.0
#: The longest ``Retry-After`` that is honoured, in seconds: a server that asks for a
#: day is asked again after an hour.
MAX_RETRY_AFTER = 3600.0

#: How often a batch is sent again after an answer that the client does not understand.
MAX_RESENDS = 3
#: How many single points, spread over a batch, are sent before the whole batch is
#: rejected.
PROBES = 16
#: How many points in a row are taken out of a batch because the server names them.
MAX_NAMED = 8


class Action(Enum):
    """
    What to do with a batch after an attempt.
    """

    #: It arrived: remove it.
    DELIVERED = "delivered"
    #: Send it again after a delay that grows.
    RETRY = "retry"
    #: Send it again at the slowest pace: a person has to correct something.
    WAIT = "wait"
    #: Send it again at the slowest pace, a few times: it may have arrived.
    RESEND = "resend"
    #: Send it again as two halves.
    SPLIT = "split"
    #: Find the bad points in it.
    SEARCH = "search"
    #: Remove it: the server will never accept it.
    REJECT = "reject"
    #: Remove it: it may have arrived, and sending it again could count it twice.
    DROP = "drop"


def decide(outcome: Outcome, points: int, resend: bool, resent: int = 0) -> Action:
    """
    Choose what to do with a batch after an attempt.

    :param outcome: the result of the attempt.
    :param points: how many points the batch has.
    :param resend: whether to send again what may have arrived.
    :param resent: how often it was sent again after an answer that the client does not
        understand.
    """
    match outcome.verdict:
        case Verdict.ACCEPTED:
            return Action.DELIVERED
        case Verdict.RETRY:
            return Action.RETRY
        case Verdict.KEY_REFUSED | Verdict.NOT_STATHAT:
            return Action.WAIT
        case Verdict.REFUSED:
            return Action.SEARCH if points > 1 else Action.REJECT
        case Verdict.TOO_LARGE:
            if points > 1:
                return Action.SPLIT
            return Action.REJECT if outcome.from_stathat else Action.WAIT
        case Verdict.AMBIGUOUS:
            return _decide_ambiguous(outcome, resend, resent)


def _decide_ambiguous(outcome: Outcome, resend: bool, resent: int) -> Action:
    if not resend:
        return Action.DROP
    if outcome.status is None:
        # The answer was lost; the next one may be clear.
        return Action.RETRY
    return Action.RESEND if resent < MAX_RESENDS else Action.DROP


def batch_retry_delay(
    tries: int, jitter: Jitter, retry_after: float | None = None
) -> float:
    """
    Return the delay before the next attempt: exponential backoff with full jitter.

    After *n* attempts it is drawn from between :data:`MIN_DELAY` and 2\\ :sup:`n`
    seconds, at most :data:`MAX_DELAY`. Drawing from the whole range spreads senders
    that failed together (M. Brooker, "Exponential Backoff And Jitter", 2015).

    :param tries: how many attempts have failed, at least 1.
    :param jitter: draws a number between two.
    :param retry_after: how many seconds the server asked to wait. The backoff is added
        to it, since the server asked all senders to come back at the same moment.
    :returns: seconds.
    """
    return _asked_for(retry_after) + backoff_delay(
        tries, jitter, first=2.0, longest=MAX_DELAY, shortest=MIN_DELAY, spread=(0, 1)
    )


def slowest_delay(jitter: Jitter, retry_after: float | None = None) -> float:
    """
    Return the delay where a person has to correct something; as
    :func:`batch_retry_delay`, but always between 80 % of :data:`MAX_DELAY` and all of
    it.
    """
    return _asked_for(retry_after) + backoff_delay(
        1, jitter, first=MAX_DELAY, longest=MAX_DELAY, spread=(0.8, 1.0)
    )


def _asked_for(retry_after: float | None) -> float:
    return min(max(retry_after or 0.0, 0.0), MAX_RETRY_AFTER)
