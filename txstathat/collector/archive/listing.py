"""
The summary rows from which the list of stats is sorted, and stats are found by id.

Each collector notes which stats it has written, without any work of its own for it.
While somebody looks at the list, it makes new rows for these once a minute, otherwise
once an hour. The rows are in the store
(:mod:`txstathat.stores.listing`): all collectors on it share them. After a crash, an
import or an update of an older store rows are missing or out of date; comparing all
rows with the stats' receipts, at the start and once an hour, finds these.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from txstathat.collector.archive.shared_work import share_work
from txstathat.collector.archive.stats import DEFINITIONS, Stat, stat_id
from txstathat.collector.archive.summary_rows import no_total, summary_rows
from txstathat.errors import StoreError
from txstathat.stores.interface import IStore
from txstathat.stores.listing import ListedRow, ListPage, ListQuery

__all__ = [
    "CHECK_SECONDS",
    "KINDS",
    "LOOKUP_SECONDS",
    "MAX_SHARE",
    "REFRESH_SECONDS",
    "VIEWED_SECONDS",
    "StatListing",
]

#: The shortest interval, in seconds, at which rows of changed stats are made anew.
REFRESH_SECONDS = 60.0
#: The interval, in seconds, at which all rows are compared with the stats.
CHECK_SECONDS = 3600.0
#: For how many seconds after somebody looked at the list its rows are made every
#: :data:`REFRESH_SECONDS`.
VIEWED_SECONDS = 600.0
#: The largest part of the time that is spent on making rows, when there are many.
MAX_SHARE = 0.2
#: The shortest interval, in seconds, at which all stats are compared with the rows
#: because an id is unknown. Another collector may have died before it wrote a row.
LOOKUP_SECONDS = 60.0
#: The kinds of stats.
KINDS = ("count", "value")

# How many stats are read, and how many rows are written, at once.
_STATS_AT_ONCE = 100
# How many names are read at once.
_NAMES_AT_ONCE = 2_000

# The record that says when somebody looked at the list, for all collectors on a store.
_RECORDS, _VIEWED = "listing", "viewed"

_HOUR = 3600


class StatListing:
    """
    The rows of the stats in a store.

    :param store: the store.
    :param timers: schedules what waits.
    :param find: returns the stats with some names, without those in the trash.
    """

    _log = Logger()

    def __init__(
        self,
        store: IStore,
        timers: IReactorTime,
        find: Callable[[Sequence[str]], Awaitable[list[Stat]]],
    ) -> None:
        self._store = store
        self._timers = timers
        self._find = find
        # What was written since its row was made.
        self._changed: dict[str, None] = {}
        # The stats that have no row yet.
        self._new: dict[str, str] = {}
        self._adding: Deferred[None] | None = None
        self._refreshed_at: float | None = None
        self._view_noted_at: float | None = None
        self._refreshing: list[Deferred[None]] = []
        # Whether every stat of the store has a row; how many there were, and when.
        self._complete = False
        self._stats = 0
        self._completed_at = 0.0
        self._completing: list[Deferred[None]] = []
        self._comparing: list[Deferred[None]] = []

    # -- noting changes

    def note(self, names: Mapping[str, str]) -> None:
        """
        Note that points of stats were written.

        :param names: the stats, as the keys.
        """
        self._changed.update(dict.fromkeys(names))

    def add(self, kinds: Mapping[str, str]) -> None:
        """
        Begin to add rows of new stats. Their numbers follow with the next refresh.

        :param kinds: ``'count'`` or ``'value'``, by the stat's name.
        """
        self._new.update(kinds)
        if self._new and self._adding is None:
            self._adding = Deferred()
            self._in_background(self._add_new())

    async def remove(self, names: Sequence[str]) -> None:
        """
        Delete the rows of deleted stats.

        :raises StoreError: if the store fails.
        """
        if names:
            await self._store.put_listed([], names)

    def settled(self) -> Deferred[None]:
        """
        Wait until new stats have their rows, or these could not be written.

        :returns: a new Deferred, which fires with ``None``; it does not fail.
        """
        if self._adding is None:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._adding.chainDeferred(waiting)
        return waiting

    async def _add_new(self) -> None:
        try:
            while self._new:
                some = dict(list(self._new.items())[:_NAMES_AT_ONCE])
                await self._put_names(some)
                for name in some:
                    del self._new[name]
        except StoreError as error:
            # The next check adds them.
            self._complete = False
            self._new.clear()
            self._log.debug("cannot list new stats: {error}", error=str(error))
        finally:
            adding, self._adding = self._adding, None
            if adding is not None:
                adding.callback(None)

    async def _put_names(self, kinds: Mapping[str, str]) -> None:
        """
        Write rows without numbers.
        """
        await self._store.put_listed(
            [
                ListedRow(name, kind, no_total(kind), 0.0, 0.0, -1, 0.0, stat_id(name))
                for name, kind in kinds.items()
            ]
        )

    # -- reading

    async def find_names(self, ids: Iterable[str]) -> set[str]:
        """
        Return the names of the stats with some ids, as far as they exist and are not in
        the trash. If no row has an id, missing rows are added first, at most once in
        :data:`LOOKUP_SECONDS`.

        :param ids: the ids.
        :raises StoreError: if the store fails.
        """
        left = set(ids)
        found = await self._take_found(left)
        if left:
            new = {stat_id(name): name for name in self._new}
            found.update(new[id] for id in left & new.keys())
            left -= new.keys()
        if left:
            # Their rows may have been written while the others were read.
            found |= await self._take_found(left)
        passed = self._timers.seconds() - self._completed_at
        if left and (not self._complete or passed >= LOOKUP_SECONDS):
            await self._add_missing()
            found |= await self._take_found(left)
        return found

    async def _take_found(self, ids: set[str]) -> set[str]:
        names = await self._store.listed_names(sorted(ids))
        ids.difference_update(names)
        return set(names.values())

    async def page(self, query: ListQuery) -> ListPage:
        """
        Return a page of the list. The order can be :data:`REFRESH_SECONDS` behind the
        points.

        :param query: which rows to list.
        :raises StoreError: if the store fails.
        """
        await self.catch_up()
        self._note_view()
        return await self._store.list_page(query)

    async def names(self, query: ListQuery) -> ListPage:
        """
        Return a page of the list for the names in it: its numbers may be old.

        :param query: which rows to list, in the order of the names.
        :raises StoreError: if the store fails.
        """
        await self._complete_names()
        return await self._store.list_page(query)

    async def catch_up(self) -> None:
        """
        Begin to make what rows are due, and wait for them if they are few.

        :raises StoreError: if the store fails.
        """
        await self._complete_names()
        if self._is_due() and self._changed and not self._refreshing:
            few = len(self._changed) <= _STATS_AT_ONCE
            await self._wait_if(few, self.refresh())

    async def _complete_names(self) -> None:
        if not self._complete:
            page = await self._store.list_page(ListQuery(KINDS, limit=1))
            # If there are many rows, the list lacks a few names of many at most.
            few = page.total <= _NAMES_AT_ONCE
            await self._wait_if(few, self._add_missing())
            if few:
                await self._wait_if(self._stats <= _NAMES_AT_ONCE, self._compare())

    async def _wait_if(self, few: bool, work: Deferred[None]) -> None:
        if few:
            await work
        else:
            work.addErrback(self._log_failure)

    def _is_due(self) -> bool:
        return self._is_over(self._refreshed_at)

    def _is_over(self, last: float | None) -> bool:
        return last is None or self._timers.seconds() - last >= REFRESH_SECONDS

    def _note_view(self) -> None:
        if self._is_over(self._view_noted_at):
            self._view_noted_at = self._timers.seconds()
            now = str(int(self._store.clock.seconds()))
            # A list that can be read is shown, even if nothing can be written.
            self._store.put_record(_RECORDS, _VIEWED, now).addErrback(self._log_failure)

    async def _is_viewed(self) -> bool:
        text = await self._store.record(_RECORDS, _VIEWED)
        if text is None or not text.isdecimal():
            return False
        return self._store.clock.seconds() - int(text) <= VIEWED_SECONDS

    # -- making rows

    def refresh(self) -> Deferred[None]:
        """
        Make new rows for the stats that were written. Several calls at the same time
        share the work.

        :returns: a new Deferred, which fires with ``None`` when that is done. It fails
            with :class:`~txstathat.errors.StoreError` if the store fails; then the rest
            is left for the next call.
        """
        return share_work(self._refreshing, self._refresh)

    async def refresh_if_viewed(self) -> None:
        """
        Do the same, if somebody has looked at the list in the last
        :data:`VIEWED_SECONDS`, through this collector or another one on the store.

        :raises StoreError: if the store fails.
        """
        if self._changed and await self._is_viewed():
            await self.refresh()

    async def _refresh(self) -> None:
        self._refreshed_at = self._timers.seconds()
        names, self._changed = list(self._changed), {}
        done = 0
        try:
            while done < len(names):
                began = self._timers.seconds()
                await self.make(names[done : done + _STATS_AT_ONCE])
                done += _STATS_AT_ONCE
                if done < len(names):
                    took = self._timers.seconds() - began
                    await deferLater(self._timers, took * (1 / MAX_SHARE - 1))
        finally:
            self._changed.update(dict.fromkeys(names[done:]))

    async def make(self, names: Sequence[str]) -> None:
        """
        Make new rows for some stats; the rows of those that do not exist are deleted.

        :param names: the names of the stats.
        :raises StoreError: if the store fails.
        """
        stats = await self._find(names)
        known = {stat.name for stat in stats}
        rows = await summary_rows(stats, self._store, self._store.clock.seconds())
        gone = [name for name in names if name not in known]
        await self._store.put_listed(rows, gone)

    # -- comparing all rows with the stats

    async def check(self) -> None:
        """
        Compare all rows with the stats: add what is missing, delete what is left over,
        and make the rows anew that are out of date.

        :raises StoreError: if the store fails.
        """
        await self._add_missing()
        await self._compare()
        await self.refresh()

    def _add_missing(self) -> Deferred[None]:
        """
        Give every stat a row, so that the list has all names and ids. Several calls at
        the same time share the work.
        """
        return share_work(self._completing, self._add_all_missing)

    async def _add_all_missing(self) -> None:
        left = await self._names()
        number = len(left)
        async for rows in self._rows():
            gone = [row.name for row in rows if row.name not in left]
            if gone:
                # Some may have been created since the names were read.
                await self.make(gone)
            # Older versions wrote rows without ids.
            without_id = [row for row in rows if not row.id and row.name in left]
            if without_id:
                await self._store.put_listed(
                    [row._replace(id=stat_id(row.name)) for row in without_id]
                )
            left.difference_update(row.name for row in rows)
        missing = sorted(left)
        for start in range(0, len(missing), _NAMES_AT_ONCE):
            stats = await self._find(missing[start : start + _NAMES_AT_ONCE])
            kinds = {stat.name: stat.kind for stat in stats}
            await self._put_names(kinds)
            self.note(kinds)
        self._complete, self._stats = True, number
        self._completed_at = self._timers.seconds()

    def _compare(self) -> Deferred[None]:
        """
        Find the rows that are out of date. Several calls at the same time share the
        work.
        """
        return share_work(self._comparing, self._compare_all)

    async def _compare_all(self) -> None:
        now = self._store.clock.seconds()
        this_hour = now - now % _HOUR
        async for rows in self._rows():
            stats = await self._find([row.name for row in rows])
            receipts = {stat.name: stat.receipts for stat in stats}
            for row in rows:
                # Hours of its activity may have passed.
                old = row.activity > 0 and row.refreshed < this_hour
                if old or receipts.get(row.name) != row.receipts:
                    self._changed[row.name] = None

    async def _names(self) -> set[str]:
        definitions = await self._store.definitions()
        return {
            name
            for name, definition in definitions.items()
            if definition in DEFINITIONS.values()
        }

    async def _rows(self) -> AsyncIterator[list[ListedRow]]:
        """
        Return all rows, in pieces: together they may need much memory.
        """
        after = None
        while True:
            page = await self._store.list_page(
                ListQuery(KINDS, after=after, limit=_NAMES_AT_ONCE, counted=False)
            )
            yield page.rows
            if not page.more:
                return
            after = (0.0, page.rows[-1].name)

    # -- in the background

    def _in_background(self, work: Awaitable[None]) -> None:
        async def do() -> None:
            await work

        Deferred.fromCoroutine(do()).addErrback(self._log_failure)

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(StoreError):
            self._log.debug("cannot list stats: {error}", error=str(failure.value))
        else:
            self._log.failure("cannot list stats", failure)
