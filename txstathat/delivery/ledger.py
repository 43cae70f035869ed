"""
Account for every recorded call: it is delivered, pending, dropped or rejected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from twisted.logger import Logger

from txstathat.client.health import BadStats
from txstathat.errors import InvalidPoint, StatHatClosed

__all__ = ["COMPLAINT_INTERVAL", "DeliveryHealth", "Ledger"]

#: Seconds between two log lines about the same kind of problem.
COMPLAINT_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class DeliveryHealth:
    """
    The state of the calls that a service recorded. The numbers are numbers of calls,
    unless stated otherwise: ``recorded + recovered`` is always
    ``delivered + pending + rejected + sum(dropped.values())``.

    :ivar recorded: calls that were recorded.
    :ivar refused: calls that were not recorded: bad points, calls after the service
        stopped, calls in a forked child.
    :ivar recovered: calls that processes that have ended left in the spool.
    :ivar delivered: calls that the server accepted.
    :ivar pending: calls in the open batch, in memory or in the spool.
    :ivar rejected: calls that the server rejected for good.
    :ivar dropped: calls that were dropped, by reason: ``'full'`` (no room in memory or
        in the spool), ``'old'`` (older than ``max_age``), ``'ambiguous'`` (may have
        arrived: with ``on_ambiguous='drop'``, or after the last of a few attempts),
        ``'shutdown'`` (the service stopped without a spool), ``'damaged'`` (unreadable
        in the spool).
    :ivar spooled: bytes in the spool.
    :ivar damaged: batches that are damaged in the files of processes that have ended;
        how many calls they held is not known.
    :ivar foreign_files: spool files in the folder that processes of other accounts
        left. They are not touched.
    :ivar retries: attempts that were followed by another.
    :ivar last_success: when a batch was last accepted, in Unix seconds.
    :ivar last_error: the last failure, as text without secrets.
    :ivar blocked: why everything waits at the slowest pace until a person corrects it:
        the server refuses the key, or the answers do not come from a StatHat server.
        ``None`` if nothing is wrong.
    :ivar refused_keys: how many stats wait because the server refuses their keys
        (Classic API).
    :ivar spool_error: why the spool cannot be written now.
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
    foreign_files: int = 0
    retries: int = 0
    last_success: float | None = None
    last_error: str | None = None
    blocked: str | None = None
    refused_keys: int = 0
    spool_error: str | None = None

    @property
    def lost(self) -> int:
        """
        Calls that were dropped or rejected, plus batches that were damaged.
        """
        return self.rejected + sum(self.dropped.values()) + self.damaged

    def __str__(self) -> str:
        dropped = ", ".join(f"{n} {why}" for why, n in sorted(self.dropped.items()))
        text = (
            f"{self.recorded} recorded, {self.recovered} recovered, "
            f"{self.delivered} delivered, {self.pending} pending, "
            f"{self.rejected} rejected, dropped: {dropped or 'none'}"
        )
        if self.refused:
            text += f", {self.refused} refused"
        if self.refused_keys:
            text += (
                f"; stats that wait, since their keys are refused: {self.refused_keys}"
            )
        if self.blocked is not None:
            text += "; blocked: check the URL and the key"
        if self.spool_error is not None:
            text += f"; the spool cannot be written: {self.spool_error}"
        if self.last_error is not None:
            text += f"; last error: {self.last_error}"
        return text


class Ledger:
    """
    Counts calls, and logs problems: when they begin and end, and at most one line a
    minute of each kind while they last.

    :param seconds: the wall clock, in Unix seconds.
    :param monotonic: the clock that never steps, in seconds.
    :param held: returns how many calls are in the open batch, how many are in sealed
        batches, and how many bytes are in the spool.
    """

    _log = Logger()

    def __init__(
        self,
        seconds: Callable[[], float],
        monotonic: Callable[[], float],
        held: Callable[[], tuple[int, int, int]],
    ) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._held = held
        self.sealed = 0
        self.refused = 0
        self.recovered = 0
        self.delivered = 0
        self.rejected = 0
        self.dropped: dict[str, int] = {}
        self.damaged = 0
        self.foreign_files = 0
        self.retries = 0
        self.last_success: float | None = None
        self.last_error: str | None = None
        self.blocked: str | None = None
        self.refused_keys = 0
        self.spool_error: str | None = None
        self._failing = False
        self._closed_logged = False
        self._complaints: dict[str, float] = {}
        self._bad_stats = BadStats()

    def snapshot(self) -> DeliveryHealth:
        """
        Return the current numbers.
        """
        open_calls, pending, spooled = self._held()
        return DeliveryHealth(
            recorded=self.sealed + open_calls,
            refused=self.refused,
            recovered=self.recovered,
            delivered=self.delivered,
            pending=open_calls + pending,
            rejected=self.rejected,
            dropped=MappingProxyType(dict(self.dropped)),
            spooled=spooled,
            damaged=self.damaged,
            foreign_files=self.foreign_files,
            retries=self.retries,
            last_success=self.last_success,
            last_error=self.last_error,
            blocked=self.blocked,
            refused_keys=self.refused_keys,
            spool_error=self.spool_error,
        )

    @property
    def results(self) -> Counter[str]:
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
        Count a call that was not recorded. A bad point is logged once for each stat,
        and a closed service once.

        :param stat: the call's stat, as the log may show it.
        """
        self.refused += 1
        if isinstance(error, InvalidPoint):
            if self._bad_stats.is_new(error.stat):
                self._log.warn(
                    "a point of {stat} was not recorded: {error}",
                    stat=stat,
                    error=str(error),
                )
        elif not isinstance(error, StatHatClosed):
            text = "a point was not recorded: {error}"
            self.complain("refused", text, error=str(error))
        elif not self._closed_logged:
            self._closed_logged = True
            self._log.warn("points are not recorded: {error}", error=str(error))

    def deliver(self, calls: int) -> None:
        """
        Count a batch that was accepted.
        """
        self.delivered += calls
        self.last_success = self._seconds()
        self.unblock()
        if self._failing:
            self._failing = False
            self._log.warn("batches are accepted again")

    def fail(self, error: Exception | None, again: bool) -> None:
        """
        Note a failed attempt.

        :param again: whether another will follow.
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
        Note a failed attempt, after which all others will fail too until a person
        corrects something.
        """
        self.retries += 1
        self._note(error)
        if self.blocked != self.last_error:
            self.blocked = self.last_error
            self._log.warn(
                "the server accepts nothing; batches wait and are sent again every few "
                "minutes; check the URL and the key: {error}",
                error=self.last_error,
            )
        self._failing = True

    def unblock(self) -> None:
        """
        Note that the reason of :meth:`block` is gone.
        """
        self.blocked = None

    def wait(self, error: Exception | None, is_new: bool) -> None:
        """
        Note a failed attempt, after which others with points of the same stat will fail
        too.

        :param is_new: whether it is the first of them.
        """
        self.retries += 1
        self._note(error)
        if is_new:
            self.complain(
                "waiting",
                "the points of one stat wait and are sent again every few minutes; "
                "check the stat's key: {error}",
                error=self.last_error,
            )

    def reject(self, calls: int, error: Exception | None) -> None:
        """
        Count a batch that was rejected for good.
        """
        self.rejected += calls
        self._note(error)
        self.complain(
            "rejected",
            "the server rejected points for good: {error}; {summary}",
            error=self.last_error,
            summary=str(self.snapshot()),
        )

    def drop(self, calls: int, reason: str) -> None:
        """
        Count calls that were dropped, and log that.
        """
        self.count_dropped(calls, reason)
        self.report_dropped(calls, reason)

    def count_dropped(self, calls: int, reason: str) -> None:
        """
        Count calls that are about to be dropped. Call it before they are settled: a
        flush that fires then must find them counted.
        """
        self.dropped[reason] = self.dropped.get(reason, 0) + calls

    def report_dropped(self, calls: int, reason: str) -> None:
        """
        Log that calls were dropped. Call it when they are no longer pending.
        """
        self.complain(
            reason,
            "calls dropped ({reason}): {calls}; {summary}",
            calls=calls,
            reason=reason,
            summary=str(self.snapshot()),
        )

    def recover(self, calls: int, damaged: int, foreign_files: int = 0) -> None:
        """
        Count what processes that have ended left in the spool folder.

        :param calls: calls in batches that were found.
        :param damaged: batches that cannot be read.
        :param foreign_files: files of other accounts.
        """
        self.recovered += calls
        self.damaged += damaged
        if damaged:
            self._log.warn(
                "a spool file was damaged and was set aside; batches that could not be "
                "read: {damaged}",
                damaged=damaged,
            )
        if foreign_files > self.foreign_files:
            self._log.warn(
                "the spool folder has {files} files that belong to another account "
                "(another URL, key or API); a service for that account will send them",
                files=foreign_files,
            )
        self.foreign_files = foreign_files

    def note_spool(self, error: Exception | None) -> None:
        """
        Note whether the spool can be written.

        :param error: why it cannot, or ``None``.
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
        Log a warning, unless there was one of this kind in the last minute.
        """
        now = self._monotonic()
        if now - self._complaints.get(kind, -math.inf) >= COMPLAINT_INTERVAL:
            self._complaints[kind] = now
            self._log.warn(text, **details)

    def conclude(self) -> None:
        """
        Log the final numbers.
        """
        health = self.snapshot()
        log = self._log.warn if health.lost else self._log.info
        log("ended: {summary}", summary=str(health))

    def warn_of_end(self, reason: str) -> None:
        """
        Log that the process ends while calls are pending. Without a log the line goes
        to standard error.

        :param reason: why they were not delivered.
        """
        health = self.snapshot()
        if health.pending:
            self._log.critical(
                "{reason}: calls that were not delivered: {pending}, bytes left in the "
                "spool: {spooled}; {summary}",
                reason=reason,
                pending=health.pending,
                spooled=health.spooled,
                summary=str(health),
            )

    def _note(self, error: Exception | None) -> None:
        if error is not None:
            self.last_error = f"{type(error).__name__}: {error}"
