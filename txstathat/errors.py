"""
The errors of the package: one base, a subclass for each thing that can be told apart.

Network trouble is not in here: Twisted's own exceptions are let through as they are.
"""

from __future__ import annotations

__all__ = [
    "InvalidPoint",
    "InvalidTelemetry",
    "MigasError",
    "StatHatAPIError",
    "StatHatBusy",
    "StatHatClosed",
    "StatHatError",
    "txStatHatApiException",
]


class StatHatError(Exception):
    """The base of every error that this package defines."""


class _InvalidField(StatHatError, ValueError):
    """
    A part of something to be sent that cannot be sent.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class InvalidPoint(_InvalidField):
    """
    A stat name, an amount or a time that cannot be a point of a stat.

    :ivar field: which part is wrong: ``'stat'``, ``'count'``, ``'value'``, ``'t'``
        or ``'point'``.
    :ivar problem: what is wrong with it, with the value and the rule.
    """


class InvalidTelemetry(_InvalidField):
    """
    A field of a breadcrumb, or an argument of a question to a migas server, that cannot
    be sent.

    :ivar field: which one is wrong.
    :ivar problem: what is wrong with it, with the rule.
    """


class MigasError(StatHatError):
    """
    A migas server refused, or what answered is not a migas server.

    :ivar status: the HTTP status.
    :ivar msg: the server's message, or what was wrong with its answer.
    """

    def __init__(self, status: int, msg: str) -> None:
        super().__init__(status, msg)
        self.status = status
        self.msg = msg

    def __str__(self) -> str:
        return self.msg


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
