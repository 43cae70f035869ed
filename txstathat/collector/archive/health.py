"""
Whether the store can be written.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.errors import StoreBusy, StoreError
from txstathat.stores.interface import IStore

__all__ = ["FAILURE_SECONDS", "PROBE_SECONDS", "StoreHealth"]

#: The shortest interval, in seconds, at which the store is probed.
PROBE_SECONDS = 2.0
#: For how many seconds a failed write counts, though a probe succeeds: a probe is
#: small, and may find room where points do not.
FAILURE_SECONDS = 4.0

_RECORDS, _ID = "health", "probe"


class StoreHealth:
    """
    Knows whether the store can be written. It is asked by ``/healthz``, and told of
    each write. When the answer changes, that is logged.

    :param store: the store.
    :param timers: provides the time between probes.
    """

    _log = Logger()

    def __init__(self, store: IStore, timers: IReactorTime) -> None:
        self._store = store
        self._timers = timers
        self._error: StoreError | None = None
        # When a write, and when a probe, failed or succeeded last.
        self._failed_at = self._probed_at = float("-inf")
        self._waiting: list[Deferred[None]] = []

    def note(self, result: object) -> None:
        """
        Note the result of a write.

        :param result: a failure, or anything else for a success.
        """
        error = result.value if isinstance(result, Failure) else None
        if isinstance(error, StoreError) and not isinstance(error, StoreBusy):
            self._failed_at = self._timers.seconds()
            self._set(error)
        elif error is None:
            self._failed_at = float("-inf")
            self._set(None)

    async def check(self) -> None:
        """
        Probe the store by writing a record, unless it was probed a moment ago.

        :raises StoreError: if the store cannot be written, or a write of points failed
            within :data:`FAILURE_SECONDS`.
        """
        if self._timers.seconds() - self._probed_at >= PROBE_SECONDS:
            await self._probe()
        if self._error is not None:
            raise self._error

    def _probe(self) -> Deferred[None]:
        # Callers that wait at the same time share a probe.
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._write()).addBoth(self._end_probe)
        return waiting

    async def _write(self) -> None:
        now = int(self._store.clock.seconds())
        await self._store.put_record(_RECORDS, _ID, str(now))
        await self._store.definitions([_ID])

    def _end_probe(self, result: Failure | None) -> None:
        self._probed_at = now = self._timers.seconds()
        if isinstance(result, Failure):
            self.note(result)
        elif now - self._failed_at >= FAILURE_SECONDS:
            self._set(None)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            # An error that is no StoreError is a bug: the caller sees it.
            known = result is None or isinstance(result.value, StoreError)
            one.callback(None if known else result)

    def _set(self, error: StoreError | None) -> None:
        was, self._error = self._error, error
        if was is None and error is not None:
            self._log.warn("the store cannot be written: {error}", error=str(error))
        elif was is not None and error is None:
            self._log.warn("the store can be written again")
