"""
What each key may add to the store in a day: new stats, and time buckets of the past.

The amounts used are stored, so that neither a restart nor a second collector renews
them.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from txstathat.collector.errors import Refusal
from txstathat.errors import StoreError
from txstathat.stores.interface import IStore

__all__ = ["MAX_PAST", "Allowances", "Usage"]

#: How many time buckets of the past a key can add in a day: a bucket is an hour, a day,
#: a month or a year of one stat.
MAX_PAST = 2_000_000

_RECORDS = "allowance"
_DAY = 86_400
# A sender waits this long before it tries again, in seconds.
_RETRY_AFTER = 3600
# The keys with the most recent points of the past have a filter, of this many bits.
_MAX_FILTERS = 16
_FILTER_BITS = 2**24


@dataclass(slots=True)
class Usage:
    """
    What a key has added in a day.

    :ivar day: the number of the day since the epoch, in UTC.
    :ivar stats: the number of new stats.
    :ivar past: the number of time buckets of the past.
    """

    day: int
    stats: int = 0
    past: int = 0


class _Filter:
    """
    Remembers numbers in little memory. A few new numbers count as known.
    """

    def __init__(self) -> None:
        self._bits = bytearray(_FILTER_BITS // 8)

    def add(self, numbers: Iterable[int]) -> int:
        """
        Remember numbers.

        :returns: how many of them are new.
        """
        new, bits = 0, self._bits
        for number in numbers:
            is_new = False
            for _ in range(2):
                number, bit = divmod(number % 2**48, _FILTER_BITS)
                if not bits[bit >> 3] & 1 << (bit & 7):
                    bits[bit >> 3] |= 1 << (bit & 7)
                    is_new = True
            new += is_new
        return new


class Allowances:
    """
    Counts what each key adds in a day.

    :param store: where the counts are stored.
    :param max_past: how many time buckets of the past a key can add in a day.
    """

    _log = Logger()

    def __init__(self, store: IStore, max_past: int = MAX_PAST) -> None:
        self._store = store
        self._max_past = max_past
        # What the store has, as far as it is known, and what is still to be added.
        self._stored: dict[str, Usage] = {}
        self._pending: dict[str, Usage] = {}
        self._filters: OrderedDict[str, _Filter] = OrderedDict()
        self._day = 0
        self._saving: Deferred[None] | None = None
        # Who waits until the counts of a key are saved.
        self._waiters: dict[str, list[Deferred[None]]] = {}

    async def load(self, sender: str) -> None:
        """
        Read from the store what a key has added today, if that is not known yet.

        :param sender: identifies the key.
        :raises StoreError: if the store fails.
        """
        today = self._today()
        if sender not in self._stored:
            text = await self._store.record(_RECORDS, sender)
            self._stored.setdefault(sender, _read(text, today))

    def usage(self, sender: str) -> Usage:
        """
        Return what a key has added today. Call :meth:`load` before.

        :param sender: identifies the key.
        """
        today = self._today()
        stored = self._stored.get(sender, Usage(today))
        pending = self._pending.get(sender, Usage(today))
        return Usage(today, stored.stats + pending.stats, stored.past + pending.past)

    def add(self, sender: str, *, stats: int = 0, past: int = 0) -> None:
        """
        Count what a key has added, and begin to save it.
        """
        pending = self._pending.setdefault(sender, Usage(self._today()))
        pending.stats += stats
        pending.past += past
        if self._saving is None:
            self._saving = Deferred()
            Deferred.fromCoroutine(self._save()).addErrback(
                lambda failure: self._log.failure("cannot save allowances", failure)
            )

    async def take_past(self, sender: str, buckets: Iterable[int]) -> None:
        """
        Count time buckets of the past, each once.

        :param sender: identifies the key.
        :param buckets: numbers that identify the buckets.
        :raises Refusal: 429 if they are too many.
        :raises StoreError: if the store fails.
        """
        await self.load(sender)
        used = self.usage(sender).past
        if used >= self._max_past:
            raise Refusal(
                429,
                f"this key has added points to {used:,} hours, days and months of the "
                f"past today, and {self._max_past:,} is the limit: go on tomorrow",
                retry_after=_RETRY_AFTER,
            )
        seen = self._filters.pop(sender, None) or _Filter()
        self._filters[sender] = seen
        if len(self._filters) > _MAX_FILTERS:
            self._filters.popitem(last=False)
        new = seen.add(buckets)
        if new:
            self.add(sender, past=new)

    def saved(self) -> Deferred[None]:
        """
        Wait until all counts are saved.

        :returns: a new Deferred, which fires with ``None``; it does not fail.
        """
        if self._saving is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._saving.chainDeferred(waiting)
        return waiting

    def saved_for(self, sender: str) -> Deferred[None]:
        """
        Wait until the counts of a key are saved, or could not be saved.

        :param sender: identifies the key.
        :returns: a new Deferred, which fires with ``None``; it does not fail.
        """
        if self._saving is None or sender not in self._pending:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiters.setdefault(sender, []).append(waiting)
        return waiting

    def _fire(self, waiters: list[Deferred[None]]) -> None:
        for one in waiters:
            one.callback(None)

    def _today(self) -> int:
        today = int(self._store.clock.seconds()) // _DAY
        if today != self._day:
            self._day = today
            self._stored.clear()
            self._pending.clear()
            self._filters.clear()
        return today

    async def _save(self) -> None:
        try:
            while self._pending:
                await self._save_one(next(iter(self._pending)))
        except StoreError as error:
            # The next call of add tries again.
            self._log.debug("cannot save allowances: {error}", error=str(error))
        finally:
            saving, self._saving = self._saving, None
            left, self._waiters = self._waiters, {}
            for waiters in left.values():
                self._fire(waiters)
            if saving is not None:
                saving.callback(None)

    async def _save_one(self, sender: str) -> None:
        while sender in self._pending:
            waiters = self._waiters.pop(sender, [])
            try:
                await self._save_pending(sender)
            finally:
                self._fire(waiters)

    async def _save_pending(self, sender: str) -> None:
        while True:
            was = await self._store.record(_RECORDS, sender)
            pending = self._pending.get(sender)
            if pending is None:
                return  # a new day has begun
            # Another collector may have counted too.
            stored = _read(was, pending.day)
            stats, past = pending.stats, pending.past
            total = Usage(pending.day, stored.stats + stats, stored.past + past)
            text = json.dumps([total.day, total.stats, total.past])
            if not await self._store.put_record(_RECORDS, sender, text, was=was):
                continue
            if self._pending.get(sender) is pending:
                self._stored[sender] = total
                pending.stats -= stats
                pending.past -= past
                if not (pending.stats or pending.past):
                    del self._pending[sender]
            return


def _read(text: str | None, today: int) -> Usage:
    try:
        day, stats, past = (int(number) for number in json.loads(text or ""))
    except (ValueError, TypeError):
        return Usage(today)
    return Usage(today, stats, past) if day == today else Usage(today)
