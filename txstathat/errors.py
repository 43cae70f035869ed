"""
The errors of the package: one base class, and a subclass for each kind of error.

Network errors are Twisted's own exceptions.
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
    "StatHatForked",
    "StatHatNetworkError",
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
    A field that cannot be sent.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class InvalidPoint(_InvalidField):
    """
    A stat name, an amount or a time that is not valid.

    :ivar field: the part that is wrong: ``'stat'``, ``'count'``, ``'value'``, ``'t'``
        or ``'point'``.
    :ivar problem: what is wrong with it, with the value and the rule.
    :ivar stat: the stat of the point, if it is known; with the Classic API it is the
        stat's private key.
    """

    stat: object = None


class InvalidTelemetry(_InvalidField):
    """
    A field of a breadcrumb, or an argument of a query to a migas server, that is not
    valid.

    :ivar field: the field that is wrong.
    :ivar problem: what is wrong with it, with the rule.
    """


class MigasError(StatHatError):
    """
    A migas server refused, or the answer is not of a migas server.

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
    A timeframe that is not valid, or is too large.

    :ivar timeframe: the value, shortened.
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
    StatHat refused, or the answer is not one of StatHat's.

    :ivar status: the status inside the answer if it has one, else the HTTP status.
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
    Too many calls wait; this one was not sent.

    :ivar waiting: how many calls waited, which is the limit.
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


class StatHatForked(StatHatError):
    """
    A client of :mod:`txstathat.blocking` was used before a fork, and then in the child,
    where its thread does not run.
    """

    def __init__(self) -> None:
        super().__init__(
            "the client was used before the process forked, and its thread does not "
            "run in the child: make a client in each process, after the fork"
        )


class StatHatNetworkError(StatHatError):
    """
    A client of :mod:`txstathat.blocking` raises this for network errors, and after the
    time limit. Its ``__cause__`` is Twisted's own exception.
    """


class StoreError(StatHatError):
    """The base class of all errors of stores."""


class StoreUnavailable(StoreError):
    """
    The store could not be reached, or could not write: it is down, locked, out of
    memory, or its disk is full. The same call may succeed later.
    """


class StoreInterrupted(StoreUnavailable):
    """
    A cluster could not be reached while it added a batch, and may have added a part of
    it. Repeating the batch under its id completes it.
    """


class StoreBusy(StoreError):
    """
    Too many writes wait; this one was refused.

    :ivar waiting: how many writes waited, which is the limit.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting

    def __str__(self) -> str:
        return (
            f"{self.waiting} writes already wait, which is the limit; "
            "the store is down, or too slow"
        )


class StoreClosed(StoreError):
    """The store was closed before the call was made or before it ended."""

    def __init__(self) -> None:
        super().__init__("the store is closed")


class StoreTooNew(StoreError):
    """The store was written by a newer version of this package."""


class AmountOverflow(StoreError):
    """A sum would exceed the largest amount: 2**63 - 1, or the largest float."""


class DefinitionMismatch(StoreError):
    """A stored Metrica has the same name but another definition."""
