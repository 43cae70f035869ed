"""
The stats of a store, as they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.interfaces import IReactorTime

from txstathat.collector.archive.all_time import all_time_of, first_time
from txstathat.collector.archive.latest import Latest, find_latest
from txstathat.collector.archive.listing import StatListing
from txstathat.collector.archive.records.followers import Followers, OwnRecords
from txstathat.collector.archive.records.trash import Trash
from txstathat.collector.archive.retention import Retention
from txstathat.collector.archive.series import Plan, Series
from txstathat.collector.archive.stats import (
    DEFINITIONS,
    RETENTION,
    Stat,
    Total,
    received_key,
    total_key,
)
from txstathat.collector.archive.writing.allowance import Allowances
from txstathat.collector.archive.writing.cardinality import CardinalityLimiter
from txstathat.collector.errors import Refusal
from txstathat.errors import InvalidTimeframe
from txstathat.metrica.calendar import MAX_POINTS, SCALES
from txstathat.points.timeframe import Timeframe
from txstathat.stores.interface import IStore

__all__ = ["CELLS_AT_ONCE", "MAX_CELLS", "STATS_AT_ONCE", "StoredStats"]

#: How many cells one request can read.
MAX_CELLS = 200_000
#: How many stats are read at once. More would block the reactor for long.
STATS_AT_ONCE = 2_000
#: How many cells are read at once for series. More would block the reactor for long.
CELLS_AT_ONCE = 10_000


class StoredStats:
    """
    The stats of a store, for reading. Use
    :class:`~txstathat.collector.archive.archive.Archive`, which has the same parameters
    and also changes them.
    """

    def __init__(
        self,
        store: IStore,
        retention: Mapping[str, float | None],
        max_stats: int,
        timers: IReactorTime | None,
        *,
        max_new_stats: int,
        max_past: int,
        stats_at_once: int,
        cells_at_once: int,
    ) -> None:
        self.store = store
        self.timers: IReactorTime = timers or store.clock
        self.retention = _checked(retention)
        self.max_stats = max_stats
        self.followers = Followers([OwnRecords(store)])
        self._history = Retention(store, self.retention)
        self._stats_at_once = stats_at_once
        self._cells_at_once = cells_at_once
        self._allowances = Allowances(store, max_past)
        self._cardinality = CardinalityLimiter(
            store,
            max_stats,
            self.timers,
            self._allowances,
            max_new_stats=max_new_stats,
        )
        self._trash = Trash(store, self.followers)
        self.listing = StatListing(store, self.timers, self.stats)

    async def names(self) -> list[str]:
        """
        Return the names of all stats, sorted, without those in the trash.
        """
        definitions = await self.store.definitions()
        trashed = {each.name for each in await self._trash.all()}
        kinds = set(DEFINITIONS.values())
        return [
            name
            for name, definition in definitions.items()
            if definition in kinds and name not in trashed
        ]

    async def restored_names(self) -> list[str]:
        """
        Return the names of the stats that points have taken out of the trash lately, so
        that :attr:`listing` may lack them. Some may have been deleted for good.
        """
        return await self._trash.restored()

    async def stats(self, names: Sequence[str] | None = None) -> list[Stat]:
        """
        Return the stats, sorted by name, without those in the trash.

        :param names: the names to look up; unknown ones are left out. By default all.
        """
        definitions = await self.store.definitions(names)
        listed = [
            (name, definition)
            for name, definition in definitions.items()
            if definition in DEFINITIONS.values()
        ]
        stats = []
        now = self.store.clock.seconds()
        for start in range(0, len(listed), self._stats_at_once):
            some = listed[start : start + self._stats_at_once]
            cells = await self.store.read([received_key(name) for name, _ in some])
            # A Metrica that a program has in the same store has no receipts.
            stats += [
                Stat.of(name, definition, cell, now)
                for (name, definition), cell in zip(some, cells, strict=True)
                if cell is not None
            ]
        return await self._trash.without(stats)

    async def stat(self, name: str) -> Stat | None:
        """
        Return the stat with a name; ``None`` if it does not exist.
        """
        stats = await self.stats([name])
        return stats[0] if stats else None

    async def latest(
        self, stats: Sequence[Stat], **known: Mapping[str, int]
    ) -> dict[str, Latest]:
        """
        Return the newest points of stats, by the stat's name. Stats without points are
        left out.

        :param stats: the stats.
        :param known: see :func:`~txstathat.collector.archive.latest.find_latest`.
        """
        return await find_latest(stats, self.store.read, **known)

    async def find(self, ids: Sequence[str]) -> list[Stat]:
        """
        Return the stats with some ids, in the same order.

        :raises Refusal: 404 if one of them does not exist.
        """
        found = {stat.id: stat for stat in await self.known(ids)}
        for id in ids:
            if id not in found:
                raise Refusal(404, f"there is no stat with the id {id[:40]!r}")
        return [found[id] for id in ids]

    async def known(self, ids: Sequence[str]) -> list[Stat]:
        """
        Return those of the stats with some ids that exist, sorted by name.
        """
        # A stat that a point takes out of the trash has no row at first.
        deleted = await self._trash.names(ids)
        listed = await self.listing.find_names(set(ids).difference(deleted))
        return await self.stats(sorted({*deleted.values(), *listed}))

    async def data(
        self,
        stats: Sequence[Stat],
        timeframe: Timeframe | str,
        now: float | None = None,
        start: int | None = None,
    ) -> list[Series]:
        """
        Return the series of stats over a timeframe.

        :param stats: the stats, as the methods above return them.
        :param timeframe: such as ``'1w3h'``.
        :param now: a time in its last step, in Unix seconds; by default now.
        :param start: a time in its first step, in Unix seconds. Then the timeframe ends
            at its full length, or now.
        :raises Refusal: 400 if the timeframe is not valid, needs detail that is not
            stored, or has too many points.
        """
        try:
            frame = (
                Timeframe.parse(timeframe) if isinstance(timeframe, str) else timeframe
            )
        except InvalidTimeframe as error:
            raise Refusal(400, str(error)) from None
        now = self.store.clock.seconds() if now is None else now
        if start is not None and start > now:
            raise Refusal(400, f"start: {start} is in the future; it is {int(now)} now")
        plan = Plan(frame, now, self.retention, self._history.whole_since, start)
        width = len(plan.buckets)
        if width * len(stats) > MAX_CELLS:
            raise Refusal(
                400,
                f"{len(stats)} are too many stats for {frame}: request at most "
                f"{max(1, MAX_CELLS // width)} at once",
            )
        series = []
        at_once = max(1, self._cells_at_once // width)
        for first in range(0, len(stats), at_once):
            some = stats[first : first + at_once]
            keys = [key for stat in some for key in plan.keys(stat.name)]
            cells = await self.store.read(keys)
            series += [
                plan.series(stat, cells[number * width : (number + 1) * width])
                for number, stat in enumerate(some)
            ]
        return series

    def stored_since(self, scale: str) -> float:
        """
        Return since when all detail of a scale is stored.

        :param scale: such as ``'minute'``.
        :returns: Unix seconds.
        """
        seconds = self.retention[scale]
        oldest = 0 if seconds is None else self.store.clock.seconds() - seconds
        return max(self._history.whole_since(scale), oldest)

    async def all_time(self, stat: Stat) -> Timeframe:
        """
        Return the timeframe from a stat's first data to now, in the shortest steps that
        give at most :data:`~txstathat.points.timeframe.MAX_BUCKETS` points and of which
        all detail is stored. For a stat without data it is one minute.
        """
        now = self.store.clock.seconds()
        first = await first_time(stat.name, now, self.store.read)
        return all_time_of(
            int(now) if first is None else min(first, int(now)),
            now,
            self.stored_since,
            MAX_POINTS,
        )

    async def totals(self, stats: Sequence[Stat] | None = None) -> dict[str, Total]:
        """
        Return the sums of all points, by the stat's name.

        :param stats: the stats; by default all.
        """
        if stats is None:
            stats = await self.stats()
        cells = await self.store.read([total_key(stat.name) for stat in stats])
        return {
            stat.name: Total(stat.kind, cell.count, cell.sum)
            for stat, cell in zip(stats, cells, strict=True)
            if cell is not None
        }


def _checked(retention: Mapping[str, float | None]) -> dict[str, float | None]:
    for scale, seconds in retention.items():
        if scale not in SCALES:
            raise ValueError(f"{scale!r} is no scale; these are: {', '.join(SCALES)}")
        if seconds is not None and not seconds > 0:
            raise ValueError(
                f"the retention of {scale} must be positive, not {seconds!r}"
            )
    return RETENTION | dict(retention)
