"""
The errors of the package: one base, a subclass for each thing that can be told apart.

Network trouble is not in here: Twisted's own exceptions are let through as they are.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "InvalidPoint",
    "InvalidTimeframe",
    "StatHatAPIError",
    "StatHatBusy",
    "StatHatClosed",
    "StatHatError",
    "txStatHatApiException",
]


class StatHatError(Exception):
    """The base of every error that this package defines."""


class InvalidPoint(StatHatError, ValueError):
    """
    A stat name, an amount or a time that cannot be a point of a stat.

    :ivar field: which part is wrong: ``'stat'``, ``'count'``, ``'value'``, ``'t'``
        or ``'point'``.
    :ivar problem: what is wrong with it, with the value and the rule.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class InvalidTimeframe(StatHatError, ValueError):
    """
    Something that is no timeframe of StatHat's, or one that is too large.

    :ivar timeframe: what was given, shortened.
    :ivar problem: what is wrong with it, and what to do.
    """

    def __init__(self, timeframe: Any, problem: str) -> None:
        is_text = isinstance(timeframe, str)
        shown = repr(timeframe[:40]) if is_text else f"<{type(timeframe).__name__}>"
        super().__init__(shown, problem)
        self.timeframe = shown
        self.problem = problem

    def __str__(self) -> str:
        return f"timeframe {self.timeframe}: {self.problem}"


class StatHatAPIError(StatHatError):
    """
    StatHat refused, or answered something that is not an answer of StatHat's.

    :ivar status: the status inside the answer where there is one, else the HTTP status.
    :ivar msg: the server's message, or what was wrong with its answer.
    """

    def __init__(self, status: int, msg: str) -> None:
        super().__init__(status, msg)
        self.status = status
        self.msg = msg

    def __str__(self) -> str:
        return f"status={self.status}, msg={self.msg!r}"


#: The name of :class:`StatHatAPIError` in txStatHat 0.2.
txStatHatApiException = StatHatAPIError


class StatHatBusy(StatHatError):
    """
    More calls wait than the client allows; this one was not sent.

    :ivar waiting: how many calls were waiting, which is the limit.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return (
            f"{self.waiting} calls already wait for a connection; "
            "wait for some of them, raise max_waiting, or use StatHatService"
        )


class StatHatClosed(StatHatError):
    """The client was closed before the call was made or had ended."""

    def __init__(self) -> None:
        super().__init__("the client is closed")
