"""
Reactors: what connections need of one, which one is installed, and its clocks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)

__all__ = ["IHTTPReactor", "installed_reactor", "monotonic_clock"]


class IHTTPReactor(
    IReactorCore, IReactorTime, IReactorTCP, IReactorPluggableNameResolver
):
    """The parts of a reactor that connections use: TCP, time and name resolution."""


def installed_reactor() -> Any:
    """
    The program's reactor, or ``None`` where none is installed. To import
    ``twisted.internet.reactor`` would install one.
    """
    return sys.modules.get("twisted.internet.reactor")


def monotonic_clock(reactor: IReactorTime) -> Callable[[], float]:
    """
    A function that returns seconds on a clock that nobody sets.

    :param reactor: a real reactor, whose own clock is the wall clock; or a
        :class:`~twisted.internet.task.Clock`, which is used as it is.
    """
    if IReactorFromThreads.providedBy(reactor):
        return time.monotonic
    return reactor.seconds
