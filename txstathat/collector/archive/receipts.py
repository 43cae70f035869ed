"""
The time of the newest receipt in a store, with which an archive checks its clock.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txstathat.collector.archive.shared_work import share_work
from txstathat.collector.archive.stats import CLOCK_SLACK, DEFINITIONS, received_key
from txstathat.stores.interface import IStore

__all__ = ["READ_SECONDS", "NewestReceipt"]

#: The shortest interval, in seconds, at which the receipts of all stats are read.
READ_SECONDS = 60.0

# How many receipts are read at once.
_AT_ONCE = 5_000


class NewestReceipt:
    """
    Knows the newest receipt of a store.

    :param store: the store.
    :param timers: provides the time between reads.
    """

    def __init__(self, store: IStore, timers: IReactorTime) -> None:
        self._store = store
        self._timers = timers
        self._newest = 0.0
        self._read_at: float | None = None
        self._waiting: list[Deferred[None]] = []

    def note(self, now: float) -> None:
        """
        Note a receipt.

        :param now: Unix seconds.
        """
        self._newest = max(self._newest, now)

    async def is_behind(self, now: float) -> float | None:
        """
        Compare the clock with the newest receipt. The receipts of all stats are read if
        necessary.

        :param now: the time of the clock, in Unix seconds.
        :returns: the time of the newest receipt, if the clock is more than
            :data:`CLOCK_SLACK` behind it; otherwise ``None``.
        :raises StoreError: if the store fails.
        """
        if self._newest <= now + CLOCK_SLACK and (
            self._read_at is None
            or self._timers.seconds() - self._read_at >= READ_SECONDS
        ):
            await share_work(self._waiting, self._read_all)
        return self._newest if self._newest > now + CLOCK_SLACK else None

    async def _read_all(self) -> None:
        definitions = await self._store.definitions()
        keys = [
            received_key(name)
            for name, definition in definitions.items()
            if definition in DEFINITIONS.values()
        ]
        for start in range(0, len(keys), _AT_ONCE):
            for cell in await self._store.read(keys[start : start + _AT_ONCE]):
                if cell is not None:
                    self.note(cell.max / 1000)
        self._read_at = self._timers.seconds()
