"""
Limits the number of stats: in the store, and new ones by each key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from txstathat.collector.archive.shared_work import share_work
from txstathat.collector.archive.writing.allowance import Allowances
from txstathat.collector.errors import Refusal
from txstathat.stores.interface import IStore

__all__ = [
    "MAX_NEW_STATS",
    "MAX_STATS",
    "RECOUNT",
    "CardinalityLimiter",
    "Reservation",
]

#: The largest number of stats, by default.
MAX_STATS = 100_000
#: The largest number of stats that a key can create in a day.
MAX_NEW_STATS = 10_000
#: The shortest interval, in seconds, at which all stats are counted because new ones
#: come. Another collector may have created some, or emptied the trash.
RECOUNT = 10.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """
    Permission to create some stats.

    :ivar sender: identifies the key of the request.
    :ivar names: the stats that are not known to exist.
    :ivar reserved: those of them for which this reservation takes up room.
    """

    sender: str
    names: Sequence[str]
    reserved: Sequence[str]


class CardinalityLimiter:
    """
    Knows names of stats, and limits how many new ones are created.

    The names are a cache. A name that is not in it is looked up in the store, so
    several collectors can share a store. The store counts its stats.

    :param store: the store.
    :param max_stats: the largest number of stats.
    :param timers: schedules what waits.
    :param allowances: counts the new stats of each key.
    :param max_new_stats: the largest number of stats that a key can create in a day.
    """

    def __init__(
        self,
        store: IStore,
        max_stats: int,
        timers: IReactorTime,
        allowances: Allowances,
        *,
        max_new_stats: int = MAX_NEW_STATS,
    ) -> None:
        self._store = store
        self._max_stats = max_stats
        self._timers = timers
        self._allowances = allowances
        self._max_new_stats = max_new_stats
        self._known: set[str] = set()
        # When the stats were counted; None before that.
        self._counted_at: float | None = None
        self._counting: list[Deferred[None]] = []
        # How many stats were created through this object; and how many others are in
        # the store, apart from the stats with a reservation.
        self._created = 0
        self._others = 0
        # The stats with a reservation, and their number by sender.
        self._reserved: set[str] = set()
        self._reserved_by: Counter[str] = Counter()

    def all_known(self, names: Iterable[str]) -> bool:
        """
        Return whether all these stats are known.
        """
        return self._known.issuperset(names)

    async def admit(self, sender: str, names: Iterable[str]) -> Reservation:
        """
        Reserve room for new stats.

        :param sender: identifies the key of the request.
        :param names: the names of the stats, of which some may be new.
        :returns: the reservation. Pass it to :meth:`settled` later.
        :raises Refusal: 429 if there would be too many stats.
        """
        wanted = [name for name in names if name not in self._known]
        self.learn(await self._store.definitions(wanted))
        await self._allowances.load(sender)
        if self._new(wanted):
            await self._count_if_due()
        new = self._new(wanted)
        stats = self._others + self._created
        if new and stats + len(self._under_way()) + len(new) > self._max_stats:
            raise Refusal(
                429,
                f"there are {stats} stats and {self._max_stats} is the limit: delete "
                "some, use fewer names, or raise it with --max-stats",
            )
        used = self._allowances.usage(sender).stats + self._reserved_by[sender]
        if new and used + len(new) > self._max_new_stats:
            raise Refusal(
                429,
                f"this key has created {used} new stats today and "
                f"{self._max_new_stats} is the limit: use fewer names, or go on "
                "tomorrow",
            )
        self._reserved.update(new)
        self._reserved_by[sender] += len(new)
        return Reservation(sender, wanted, new)

    def settled(self, reservation: Reservation, written: bool) -> None:
        """
        End a reservation.

        :param reservation: the reservation.
        :param written: whether the points of its stats were written.
        """
        sender = reservation.sender
        self._reserved.difference_update(reservation.reserved)
        self._reserved_by[sender] -= len(reservation.reserved)
        if not self._reserved_by[sender]:
            del self._reserved_by[sender]
        if written:
            # Another request may have created some of them first.
            created = [name for name in reservation.names if name not in self._known]
            if created:
                self._allowances.add(sender, stats=len(created))
                self._created += len(created)
            self.learn(created)

    def _under_way(self) -> set[str]:
        """
        The stats with a reservation that no other request has created meanwhile.
        """
        return self._reserved - self._known

    def _new(self, names: Iterable[str]) -> list[str]:
        return [
            name
            for name in names
            if name not in self._known and name not in self._reserved
        ]

    async def _count_if_due(self) -> None:
        # Whoever comes during a count waits for it, so that it is known which stats
        # have a reservation and are not in the number.
        last = self._counted_at
        due = last is None or self._timers.seconds() - last >= RECOUNT
        if self._counting or due:
            await share_work(self._counting, self._count)

    async def _count(self) -> None:
        created = self._created
        stats = await self._store.count_definitions([*self._under_way()])
        self._others = stats - created
        self._counted_at = self._timers.seconds()

    def learn(self, names: Iterable[str]) -> None:
        """
        Add names of existing stats.
        """
        self._known.update(names)

    def forget(self, names: Sequence[str]) -> None:
        """
        Remove the names of deleted stats.
        """
        if names:
            self._known.difference_update(names)
            self._counted_at = None
