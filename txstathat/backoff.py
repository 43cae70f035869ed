"""
How long to wait before another attempt. A pure function: the caller injects the jitter.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Jitter", "backoff_delay"]

#: Draws a number between two, as :meth:`random.Random.uniform` does.
Jitter = Callable[[float, float], float]

# 2.0 ** 1024 overflows; every longest delay is reached long before 2 ** 64.
_MAX_DOUBLINGS = 64


def backoff_delay(
    attempts: int,
    jitter: Jitter,
    *,
    first: float,
    longest: float,
    shortest: float = 0.0,
    spread: tuple[float, float] = (0.5, 1.0),
) -> float:
    """
    Return the delay before the next attempt: exponential backoff with jitter.

    The nominal delay is ``first`` after one failed attempt and doubles with each
    further one, up to ``longest``. The jitter draws the result from a range around it,
    which spreads clients that failed together.

    :param attempts: how many attempts have failed, at least 1.
    :param jitter: draws a number between two.
    :param first: the nominal delay after the first attempt, in seconds.
    :param longest: the largest nominal delay, in seconds.
    :param shortest: the smallest lower end of the range, in seconds.
    :param spread: the ends of the range, as multiples of the nominal delay.
    :returns: seconds.
    """
    nominal = min(longest, first * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS))
    low, high = spread
    return jitter(max(shortest, low * nominal), high * nominal)
