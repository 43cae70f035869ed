"""
The errors of the package: one base, a subclass for each thing that can be told apart.

Network trouble is not in here: Twisted's own exceptions are let through as they are.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AmountOverflow",
    "DefinitionMismatch",
    "InvalidPoint",
    "InvalidTimeframe",
    "InvalidTelemetry",
    "MigasError",
    "StatHatAPIError",
    "StatHatBusy",
    "StatHatClosed",
    "StatHatError",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoreTooNew",
    "StoreInterrupted",
    "StoreUnavailable",
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
    :ivar stat: the stat that the point is for, where that is known; with the Classic
        API it is the stat's private key.
    """

    stat: object = None


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
    """
    The client was closed, or the service stopped, before the call was made or had
    ended.
    """

    def __init__(self, message: str = "the client is closed") -> None:
        super().__init__(message)


class StoreError(StatHatError):
    """The base of what can go wrong between a program and a store."""


class StoreUnavailable(StoreError):
    """
    The store could not be reached, or could not write: it is down, locked, out of
    memory, or its disk is full. Nothing is wrong with what was asked of it, and the
    same may work later.
    """


class StoreInterrupted(StoreUnavailable):
    """
    The store, a cluster, could not be reached when a part of a batch may have been
    added: the same batch, repeated under its id, is completed.
    """


class StoreBusy(StoreError):
    """
    More waits to be written than is allowed; this was not taken.

    :ivar waiting: how much was waiting, which is the limit.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return (
            f"{self.waiting} already wait to be written, which is the limit; "
            "the store is down, or slower than what is asked of it"
        )


class StoreClosed(StoreError):
    """The store was closed before the call was made or had ended."""

    def __init__(self) -> None:
        super().__init__("the store is closed")


class StoreTooNew(StoreError):
    """The store was written by a newer version of this package."""


class AmountOverflow(StoreError):
    """A sum would go beyond what is kept exactly: 2**63 - 1, or the largest float."""


class DefinitionMismatch(StoreError):
    """A stored Metrica has the same name but another definition."""
