"""
The ledger: every recorded call is delivered, pending, dropped or rejected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from twisted.logger import Logger

from txstathat.client.health import BadStats
from txstathat.errors import InvalidPoint

__all__ = ["COMPLAINT_INTERVAL", "DeliveryHealth", "Ledger"]

#: Seconds between two lines in the log about the same kind of trouble.
COMPLAINT_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class DeliveryHealth:
    """
    What became of what a service recorded. Except where it says otherwise, numbers are
    of calls: ``recorded + recovered`` is always
    ``delivered + pending + rejected + sum(dropped.values())``.

    :ivar recorded: calls that were recorded.
    :ivar refused: calls that were not recorded: bad points, or after the service ended.
    :ivar recovered: found in the spool, recorded by processes that have ended.
    :ivar delivered: accepted by the server.
    :ivar pending: in the open window, in memory or in the spool.
    :ivar rejected: refused by the server for good.
    :ivar dropped: given up, by reason: ``'full'`` (no room in memory or in the spool),
        ``'old'`` (beyond ``max_age``), ``'ambiguous'`` (may have arrived: with
        ``on_ambiguous='drop'``, or after the last of a few attempts), ``'shutdown'``
        (the service ended and there was no spool to keep it), ``'damaged'``
        (unreadable in the spool).
    :ivar spooled: bytes in the spool.
    :ivar damaged: batches found damaged in spools of processes that have ended; how
        many calls they held is not known.
    :ivar retries: attempts that were followed by another.
    :ivar last_success: when a batch was last accepted, in Unix seconds.
    :ivar last_error: the last failure, as text without secrets.
    :ivar blocked: why everything waits at the slowest pace until somebody puts it
        right: the server refuses the key, or what answers is no StatHat server.
        ``None`` if nothing does.
    :ivar refused_keys: how many stats wait because the server refuses their keys
        (Classic API).
    :ivar spool_error: what keeps the spool from being written now.
    """

    recorded: int = 0
    refused: int = 0
    recovered: int = 0
    delivered: int = 0
    pending: int = 0
    rejected: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    spooled: int = 0
    damaged: int = 0
    retries: int = 0
    last_success: float | None = None
    last_error: str | None = None
    blocked: str | None = None
    refused_keys: int = 0
    spool_error: str | None = None

    @property
    def lost(self) -> int:
        """
        Calls that were dropped or rejected, and batches that were damaged.
        """
        return self.rejected + sum(self.dropped.values()) + self.damaged

    def __str__(self) -> str:
        dropped = ", ".join(f"{n} {why}" for why, n in sorted(self.dropped.items()))
        return (
            f"{self.recorded} recorded, {self.recovered} recovered, "
            f"{self.delivered} delivered, {self.pending} pending, "
            f"{self.rejected} rejected, dropped: {dropped or 'none'}"
        )


class Ledger:
    """
    Keeps the numbers, and tells the log about trouble: when it begins and ends, and at
    most once a minute of each kind while it lasts.

    :param seconds: tells the time in Unix seconds.
    :param held: tells how many calls are in the open window and how many in sealed
        batches, and the bytes in the spool.
    """

    _log = Logger()

    def __init__(
        self, seconds: Callable[[], float], held: Callable[[], tuple[int, int, int]]
    ) -> None:
        self._seconds = seconds
        self._held = held
        self.sealed = 0
        self.refused = 0
        self.recovered = 0
        self.delivered = 0
        self.rejected = 0
        self.dropped: dict[str, int] = {}
        self.damaged = 0
        self.retries = 0
        self.last_success: float | None = None
        self.last_error: str | None = None
        self.blocked: str | None = None
        self.refused_keys = 0
        self.spool_error: str | None = None
        self._failing = False
        self._complaints: dict[str, float] = {}
        self._bad_stats = BadStats()

    def snapshot(self) -> DeliveryHealth:
        """
        The numbers as they are now.
        """
        window, pending, spooled = self._held()
        return DeliveryHealth(
            recorded=self.sealed + window,
            refused=self.refused,
            recovered=self.recovered,
            delivered=self.delivered,
            pending=window + pending,
            rejected=self.rejected,
            dropped=MappingProxyType(dict(self.dropped)),
            spooled=spooled,
            damaged=self.damaged,
            retries=self.retries,
            last_success=self.last_success,
            last_error=self.last_error,
            blocked=self.blocked,
            refused_keys=self.refused_keys,
            spool_error=self.spool_error,
        )

    @property
    def fates(self) -> Counter[str]:
        """
        How many calls were ``'delivered'``, ``'rejected'`` and ``'dropped'``.
        """
        return Counter(
            delivered=self.delivered,
            rejected=self.rejected,
            dropped=sum(self.dropped.values()),
        )

    def refuse(self, error: Exception, stat: str) -> None:
        """
        A call was not recorded. A bad point is logged once for each stat.

        :param stat: the call's stat, as the log may show it.
        """
        self.refused += 1
        if not isinstance(error, InvalidPoint):
            text = "a point was not recorded: {error}"
            self.complain("refused", text, error=str(error))
        elif self._bad_stats.is_new(error.stat):
            self._log.warn(
                "a point of {stat} was not recorded: {error}",
                stat=stat,
                error=str(error),
            )

    def deliver(self, calls: int) -> None:
        """
        A batch was accepted.
        """
        self.delivered += calls
        self.last_success = self._seconds()
        self.unblock()
        if self._failing:
            self._failing = False
            self._log.warn("batches are accepted again")

    def fail(self, error: Exception | None, again: bool) -> None:
        """
        An attempt failed.

        :param again: whether it will be followed by another.
        """
        self.retries += again
        self._note(error)
        self.unblock()
        if not self._failing:
            self._failing = True
            self._log.warn(
                "batches are not accepted: {error}",
                error=self.last_error,
            )

    def block(self, error: Exception | None) -> None:
        """
        An attempt failed, and so will all others until somebody puts it right.
        """
        self.retries += 1
        self._note(error)
        if self.blocked != self.last_error:
            self.blocked = self.last_error
            self._log.warn(
                "nothing is accepted, batches wait and are tried every few minutes; "
                "check the URL and the key: {error}",
                error=self.last_error,
            )
        self._failing = True

    def unblock(self) -> None:
        """
        What :meth:`block` said is over.
        """
        self.blocked = None

    def wait(self, error: Exception | None, new: bool) -> None:
        """
        An attempt failed, and so will others with points of the same stat.

        :param new: whether it is the first of them.
        """
        self.retries += 1
        self._note(error)
        if new:
            self.complain(
                "waiting",
                "points of one stat wait and are tried every few minutes; check the "
                "stat's key: {error}",
                error=self.last_error,
            )

    def reject(self, calls: int, error: Exception | None) -> None:
        """
        A batch was refused for good.
        """
        self.rejected += calls
        self._note(error)
        self.complain(
            "rejected",
            "points were rejected for good: {error}; {summary}",
            error=self.last_error,
            summary=str(self.snapshot()),
        )

    def drop(self, calls: int, reason: str) -> None:
        """
        A batch was given up.
        """
        self.dropped[reason] = self.dropped.get(reason, 0) + calls
        self.complain(
            reason,
            "calls dropped ({reason}): {calls}; {summary}",
            calls=calls,
            reason=reason,
            summary=str(self.snapshot()),
        )

    def recover(self, calls: int, damaged: int) -> None:
        """
        Batches of processes that have ended were found.
        """
        self.recovered += calls
        self.damaged += damaged
        if damaged:
            self._log.warn(
                "the spool was damaged, and the file was set aside; batches that "
                "could not be read: {damaged}",
                damaged=damaged,
            )

    def spool(self, error: Exception | None) -> None:
        """
        The spool could be written, or not.
        """
        before = self.spool_error
        self.spool_error = None if error is None else f"{type(error).__name__}: {error}"
        if error is not None:
            self.complain(
                "spool",
                "the spool cannot be written, batches stay in memory: {error}",
                error=self.spool_error,
            )
        elif before is not None:
            self._log.warn("the spool can be written again")

    def complain(self, kind: str, text: str, **details: object) -> None:
        """
        Warn, unless there was a warning of this kind a short while ago.
        """
        now = self._seconds()
        if abs(now - self._complaints.get(kind, -math.inf)) >= COMPLAINT_INTERVAL:
            self._complaints[kind] = now
            self._log.warn(text, **details)

    def conclude(self) -> None:
        """
        Log what it comes to.
        """
        health = self.snapshot()
        log = self._log.warn if health.lost else self._log.info
        log("ended: {summary}", summary=str(health))

    def _note(self, error: Exception | None) -> None:
        if error is not None:
            self.last_error = f"{type(error).__name__}: {error}"
