"""
The clock for ages and delays.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

__all__ = ["monotonic_clock"]


def monotonic_clock(reactor: IReactorTime) -> Callable[[], float]:
    """
    A function that returns seconds on a clock that nobody sets.

    :param reactor: a real reactor, whose own clock is the wall clock; or a
        :class:`~twisted.internet.task.Clock`, which is used as it is.
    """
    if IReactorFromThreads.providedBy(reactor):
        return time.monotonic
    return reactor.seconds
