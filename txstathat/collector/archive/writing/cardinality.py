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
    :ivar names: the stats, which are not known to exist.
    """

    sender: str
    names: Sequence[str]


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
        # How many reservations each stat has; and how many of each sender.
        self._reserved: Counter[str] = Counter()
        self._reserved_by: dict[str, Counter[str]] = {}

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
        wanted = self._unknown(names)
        self.learn(await self._store.definitions(wanted))
        await self._allowances.load(sender)
        if self._unknown(wanted):
            await self._count_if_due()
        new = self._unknown(wanted)
        own = self._reserved_by.get(sender, Counter())
        self._check_room(new)
        self._check_allowance(sender, new, own)
        # A stat that another request has reserved is reserved once more: the other one
        # may fail.
        self._reserved.update(new)
        own.update(new)
        if own:
            self._reserved_by[sender] = own
        return Reservation(sender, new)

    def _check_room(self, new: Iterable[str]) -> None:
        stats = self._others + self._created
        under_way = self._unknown(self._reserved)
        more = set(new).difference(under_way)
        if more and stats + len(under_way) + len(more) > self._max_stats:
            raise Refusal(
                429,
                f"there are {stats} stats and {self._max_stats} is the limit: delete "
                "some, use fewer names, or raise it with --max-stats",
            )

    def _check_allowance(
        self, sender: str, new: Iterable[str], own: Counter[str]
    ) -> None:
        used = self._allowances.usage(sender).stats + len(self._unknown(own))
        more = set(new).difference(own)
        if more and used + len(more) > self._max_new_stats:
            raise Refusal(
                429,
                f"this key has created {used} new stats today and "
                f"{self._max_new_stats} is the limit: use fewer names, or go on "
                "tomorrow",
            )

    def settled(self, reservation: Reservation, written: bool) -> list[str]:
        """
        End a reservation.

        :param reservation: the reservation.
        :param written: whether the points of its stats were written.
        :returns: the stats that were created.
        """
        sender, names = reservation.sender, reservation.names
        _take(self._reserved, names)
        own = self._reserved_by.pop(sender, Counter())
        _take(own, names)
        if own:
            self._reserved_by[sender] = own
        # Another request may have created some of them first.
        created = self._unknown(names) if written else []
        if created:
            self._allowances.add(sender, stats=len(created))
            self._created += len(created)
            self.learn(created)
        return created

    def _unknown(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in self._known]

    async def _count_if_due(self) -> None:
        # Whoever comes during a count waits for it, so that it is known which stats
        # have a reservation and are not in the number.
        last = self._counted_at
        due = last is None or self._timers.seconds() - last >= RECOUNT
        if self._counting or due:
            await share_work(self._counting, self._count)

    async def _count(self) -> None:
        created = self._created
        stats = await self._store.count_definitions(self._unknown(self._reserved))
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


def _take(numbers: Counter[str], names: Iterable[str]) -> None:
    numbers.subtract(names)
    for name in names:
        if not numbers[name]:
            del numbers[name]
