"""
What became of a client's calls: numbers to ask for, and a word in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted.logger import Logger

from txstathat.errors import InvalidPoint

__all__ = ["CallRecord", "ClientHealth"]


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """
    What became of a client's calls so far.

    :ivar accepted: how many calls StatHat accepted.
    :ivar swallowed: how many failures were swallowed, by the name of the exception.
    :ivar last_success: when a call was last accepted, in Unix seconds.
    :ivar last_error: the last failure that was swallowed, as text without secrets.
    """

    accepted: int = 0
    swallowed: Mapping[str, int] = field(default_factory=dict)
    last_success: float | None = None
    last_error: str | None = None


class CallRecord:
    """
    Keeps the numbers of one client, and logs a warning when failures begin and one
    when they end; what lies between is logged at debug level.

    :param client: what to call the client in the log: without a secret.
    """

    _log = Logger()

    def __init__(self, client: str) -> None:
        self._client = client
        self._accepted = 0
        self._swallowed: dict[str, int] = {}
        self._last_success: float | None = None
        self._last_error: str | None = None
        self._failing = False
        self._warned_of_point = False

    def snapshot(self) -> ClientHealth:
        """
        The numbers as they are now.
        """
        return ClientHealth(
            self._accepted,
            dict(self._swallowed),
            self._last_success,
            self._last_error,
        )

    def accepted(self, now: float) -> None:
        """
        A call was accepted.

        :param now: the time in Unix seconds.
        """
        self._accepted += 1
        self._last_success = now
        if self._failing:
            self._failing = False
            self._log.warn("{client}: points are accepted again", client=self._client)

    def swallowed(self, error: Exception) -> None:
        """
        A failure was swallowed.

        :param error: the failure; its text holds no secret.
        """
        cause = type(error).__name__
        self._swallowed[cause] = self._swallowed.get(cause, 0) + 1
        self._last_error = f"{cause}: {error}"
        # A bad point is a mistake in the program, not an outage that begins and ends.
        if isinstance(error, InvalidPoint):
            first, self._warned_of_point = not self._warned_of_point, True
        else:
            first, self._failing = not self._failing, True
        log = self._log.warn if first else self._log.debug
        log(
            "{client}: points were not accepted: {error} (swallowed; see its health)",
            client=self._client,
            error=self._last_error,
        )
