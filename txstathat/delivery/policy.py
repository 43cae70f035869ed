"""
What to do about the outcome of a batch, and when to try again. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from txstathat.client.outcome import Outcome, Verdict

__all__ = [
    "MAX_DELAY",
    "MAX_NAMED",
    "MAX_RESENDS",
    "MAX_RETRY_AFTER",
    "MIN_DELAY",
    "PROBES",
    "Action",
    "Jitter",
    "decide",
    "retry_delay",
    "slowest_delay",
]

#: Draws a number from between two, as :meth:`random.Random.uniform` does.
Jitter = Callable[[float, float], float]

#: The shortest delay before another try, in seconds.
MIN_DELAY = 1.0
#: The longest delay that is chosen here, in seconds.
MAX_DELAY = 300.0
#: The longest ``Retry-After`` that is honoured, in seconds: a server that asks for a
#: day is asked again after an hour.
MAX_RETRY_AFTER = 3600.0

#: How often a batch is sent again after an answer that nobody understands.
MAX_RESENDS = 3
#: How many single points, spread over a batch, are sent before all of it is rejected.
PROBES = 16
#: How many points in a row are taken out of a batch because the server names them.
MAX_NAMED = 8


class Action(Enum):
    """
    What becomes of a batch.
    """

    #: It has arrived.
    DELIVERED = "delivered"
    #: It is sent again, after a delay that grows.
    RETRY = "retry"
    #: It is sent again at the slowest pace: somebody has to put something right.
    WAIT = "wait"
    #: It is sent again at the slowest pace, a few times: it may have arrived.
    RESEND = "resend"
    #: It is sent again as two halves.
    SPLIT = "split"
    #: The bad points in it are to be found.
    SEARCH = "search"
    #: The server will never take it.
    REJECT = "reject"
    #: It may have arrived; sending it again could count twice.
    DROP = "drop"


def decide(outcome: Outcome, points: int, resend: bool, resent: int = 0) -> Action:
    """
    What becomes of a batch after an attempt.

    :param outcome: what the client says of the attempt.
    :param points: how many points the batch has.
    :param resend: whether to send again what may have arrived.
    :param resent: how often it was sent again after an answer that nobody understands.
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
        # The answer was lost; the server may say something clear the next time.
        return Action.RETRY
    return Action.RESEND if resent < MAX_RESENDS else Action.DROP


def retry_delay(tries: int, jitter: Jitter, retry_after: float | None = None) -> float:
    """
    How long to wait before the next attempt: exponential backoff with full jitter.

    After *n* attempts it is drawn from between :data:`MIN_DELAY` and 2\\ :sup:`n`
    seconds, at most :data:`MAX_DELAY`. Drawing from the whole range spreads senders
    that failed together (M. Brooker, "Exponential Backoff And Jitter", 2015).

    :param tries: how many attempts have failed, at least 1.
    :param jitter: draws a number from between two.
    :param retry_after: how many seconds the server asked to wait. The backoff comes on
        top, since everybody was asked to come back at the same moment.
    :returns: seconds.
    """
    # 2.0 ** 1024 would overflow; the longest delay is reached long before.
    delay = jitter(MIN_DELAY, min(MAX_DELAY, 2.0 ** min(tries, 30)))
    if retry_after is not None:
        delay += min(max(retry_after, 0.0), MAX_RETRY_AFTER)
    return delay


def slowest_delay(jitter: Jitter, retry_after: float | None = None) -> float:
    """
    How long to wait when only a person can mend what is wrong; as
    :func:`retry_delay`, but always about :data:`MAX_DELAY`.
    """
    asked = min(max(retry_after or 0.0, 0.0), MAX_RETRY_AFTER)
    return jitter(0.8 * MAX_DELAY, MAX_DELAY) + asked
