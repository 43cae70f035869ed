"""
What to do about the outcome of a batch, and when to try again. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from txstathat.outcome import Outcome, Verdict

__all__ = [
    "MAX_DELAY",
    "MAX_RETRY_AFTER",
    "MIN_DELAY",
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

#: Statuses that say that the key is wrong, which somebody may put right.
_KEY_REFUSED = frozenset({401, 403})
#: Statuses after which a part of the batch may be taken.
_PART_REFUSED = frozenset({400, 413, 422})


class Action(Enum):
    """
    What becomes of a batch.
    """

    #: It has arrived.
    DELIVERED = "delivered"
    #: It is sent again, after a delay that grows.
    RETRY = "retry"
    #: It is kept, and sent again at the slowest pace.
    RETRY_SLOWLY = "retry slowly"
    #: It is sent again as two halves, to find what the server does not take.
    SPLIT = "split"
    #: The server will never take it.
    REJECT = "reject"
    #: It may have arrived; sending it again could count twice.
    DROP = "drop"


def decide(outcome: Outcome, points: int, resend: bool) -> Action:
    """
    What becomes of a batch after an attempt.

    :param outcome: what the client says of the attempt.
    :param points: how many points the batch has.
    :param resend: whether to send again what may have arrived.
    """
    if outcome.verdict is Verdict.ACCEPTED:
        return Action.DELIVERED
    if outcome.verdict is Verdict.AMBIGUOUS:
        return Action.RETRY if resend else Action.DROP
    if outcome.verdict is Verdict.RETRY:
        return Action.RETRY
    if outcome.status in _KEY_REFUSED:
        return Action.RETRY_SLOWLY
    if outcome.status in _PART_REFUSED and points > 1:
        return Action.SPLIT
    return Action.REJECT


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
