"""
The results of a client's calls: numbers, and warnings in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted.logger import Logger

from txstathat.errors import InvalidPoint
from txstathat.printable import printable

__all__ = ["BadStats", "CallRecord", "ClientHealth", "MAX_BAD_STATS"]

#: How many stats with bad points are remembered, so that each is logged once.
MAX_BAD_STATS = 1_000


@dataclass(frozen=True, slots=True)
class ClientHealth:
    """
    The results of a client's calls so far.

    :ivar accepted: how many calls StatHat accepted.
    :ivar swallowed: how many failures were swallowed, by the name of the exception.
    :ivar last_success: when a call was last accepted, in Unix seconds.
    :ivar last_error: the last failure that was swallowed, as text without secrets.
    """

    accepted: int = 0
    swallowed: Mapping[str, int] = field(default_factory=dict)
    last_success: float | None = None
    last_error: str | None = None


class BadStats:
    """
    The stats that had a bad point, up to :data:`MAX_BAD_STATS`.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_new(self, stat: object) -> bool:
        """
        Whether this is the stat's first bad point, and the stat can be remembered.
        """
        # Only a hash is stored: a name may be long, and with the Classic API it is a
        # secret. An object that is not text may do anything when it is hashed.
        known = str.__hash__(stat) if isinstance(stat, str) else hash(type(stat))
        if known in self._seen or len(self._seen) >= MAX_BAD_STATS:
            return False
        self._seen.add(known)
        return True


class CallRecord:
    """
    Counts the results of one client. Logs a warning when failures begin and when they
    end, and nothing in between, since some observers print events of every level. A bad
    point is a mistake in the program and not an outage: the first one of each stat is a
    warning.

    :param client: the client's name in the log, without a secret.
    """

    _log = Logger()

    def __init__(self, client: str) -> None:
        self._client = client
        self._accepted = 0
        self._swallowed: dict[str, int] = {}
        self._last_success: float | None = None
        self._last_error: str | None = None
        # How many calls failed since one was accepted.
        self._failing = 0
        self._bad_stats = BadStats()

    def snapshot(self) -> ClientHealth:
        """
        The numbers now.
        """
        return ClientHealth(
            self._accepted,
            dict(self._swallowed),
            self._last_success,
            self._last_error,
        )

    def accepted(self, now: float) -> None:
        """
        Record a call that was accepted.

        :param now: the time in Unix seconds.
        """
        self._accepted += 1
        self._last_success = now
        if self._failing:
            self._log.warn(
                "{client}: points are accepted again; calls that failed: {calls}",
                client=self._client,
                calls=self._failing,
            )
            self._failing = 0

    def swallowed(self, error: Exception) -> None:
        """
        Record a failure that was swallowed.

        :param error: the failure; its text contains no secret.
        """
        self._add(error)
        self._failing += 1
        if self._failing == 1:
            self._log.warn(
                "{client}: points were not accepted: {error} (swallowed; see its "
                "health)",
                client=self._client,
                error=self._last_error,
            )

    def bad_point(self, error: InvalidPoint, stat: str) -> None:
        """
        Record a bad point that was swallowed.

        :param error: what is wrong with it.
        :param stat: its stat, as the log may show it.
        """
        self._add(error)
        if self._bad_stats.is_new(error.stat):
            self._log.warn(
                "{client}: a point of {stat} is not valid: {error} (swallowed; "
                "logged once for each stat)",
                client=self._client,
                stat=stat,
                error=self._last_error,
            )

    def _add(self, error: Exception) -> None:
        cause = type(error).__name__
        self._swallowed[cause] = self._swallowed.get(cause, 0) + 1
        # Twisted's exceptions, and those of an agent, may quote a server.
        self._last_error = printable(f"{cause}: {error}", " ")
