"""
Who comes into being: stats by their first point, within limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from txstathat.collector.archive.stats import stat_id
from txstathat.collector.errors import Refusal
from txstathat.stores.interface import IStore

__all__ = ["MAX_NEW_STATS", "MAX_STATS", "RECOUNT", "Reservation", "CardinalityLimiter"]

#: How many stats there may be, by default.
MAX_STATS = 100_000
#: How many new stats a key may make in a day.
MAX_NEW_STATS = 10_000
#: For how many seconds no other stats are refused without counting them again, since
#: another collector may have emptied the trash.
RECOUNT = 10.0

_DAY = 86_400
# How many names are learned at once, so that making their ids holds up nobody.
_NAMES_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """
    Stats that may come into being.

    :ivar sender: whose points they come with.
    :ivar names: which.
    :ivar held: those of them whose places are held for this reservation.
    """

    sender: str
    names: Sequence[str]
    held: Sequence[str]


class CardinalityLimiter:
    """
    Tells new stats from those that are known, and counts the new ones.

    What is known is only remembered: the store is asked about all else, so that several
    of these can serve one store.

    :param store: where the stats are.
    :param max_stats: how many there may be.
    """

    def __init__(self, store: IStore, max_stats: int) -> None:
        self._store = store
        self._max_stats = max_stats
        self._names: dict[str, str] = {}  # by id
        self._known: set[str] = set()
        self._knows_all = False
        self._counted_at = 0.0
        self._waiting: list[Deferred[None]] = []
        self._day = 0
        self._made: Counter[str] = Counter()  # today, by sender
        # Those whose points are being written, and how many they are by sender.
        self._coming: set[str] = set()
        self._held: Counter[str] = Counter()

    def all_known(self, names: Iterable[str]) -> bool:
        """
        Whether all of these are known.
        """
        return self._known.issuperset(names)

    async def admit(self, sender: str, names: Iterable[str]) -> Reservation:
        """
        Let stats come into being.

        :param sender: whose points they come with.
        :param names: some of which may be new.
        :returns: what is to be told :meth:`settled`; until then their places are held.
        :raises Refusal: if they are too many.
        """
        wanted = [name for name in names if name not in self._known]
        self.learn(await self._store.definitions(wanted))
        if not self._knows_all and not self._known.issuperset(wanted):
            # Only who is new has to wait until all are counted.
            await self._counted()
        if self._lacking(wanted) > 0 and self._is_long_ago():
            await self._counted()
        if self._lacking(wanted) > 0:
            raise Refusal(
                429,
                f"there are {len(self._known)} stats and {self._max_stats} may be: "
                "delete some, or use fewer names",
            )
        today = int(self._store.clock.seconds()) // _DAY
        if today != self._day:
            self._day, self._made = today, Counter()
        held = self._new(wanted)
        if self._made[sender] + self._held[sender] + len(held) > MAX_NEW_STATS:
            raise Refusal(
                429, f"this key has made {MAX_NEW_STATS} new stats today: that is all"
            )
        self._coming.update(held)
        self._held[sender] += len(held)
        return Reservation(sender, wanted, held)

    def settled(self, reservation: Reservation, arrived: bool) -> None:
        """
        Points have been written, or not.

        :param reservation: the stats they came with.
        :param arrived: whether these have come into being.
        """
        sender = reservation.sender
        self._coming.difference_update(reservation.held)
        self._held[sender] -= len(reservation.held)
        if not self._held[sender]:
            del self._held[sender]
        if arrived:
            # Another request may have brought them too, and been first.
            made = [name for name in reservation.names if name not in self._known]
            self._made[sender] += len(made)
            self.learn(made)

    def _new(self, names: Iterable[str]) -> list[str]:
        return [
            name
            for name in names
            if name not in self._known and name not in self._coming
        ]

    def _lacking(self, names: Iterable[str]) -> int:
        """
        For how many of some stats there is no room.
        """
        new = len(self._new(names))
        return new and len(self._known) + len(self._coming) + new - self._max_stats

    def _is_long_ago(self) -> bool:
        return self._store.clock.seconds() - self._counted_at >= RECOUNT

    def _counted(self) -> Deferred[None]:
        # Of all that wait at once one reads, for all of them.
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._learn_all()).addBoth(self._count)
        return waiting

    def _count(self, outcome: Failure | None) -> None:
        if outcome is None:
            self._knows_all, self._counted_at = True, self._store.clock.seconds()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)

    async def _learn_all(self) -> None:
        before = self._known.copy()
        names = list(await self._store.definitions())
        for start in range(0, len(names), _NAMES_AT_ONCE):
            if start:
                await deferLater(self._store.clock, 0)
            self.learn(names[start : start + _NAMES_AT_ONCE])
        self.forget(before.difference(names))

    def learn(self, names: Iterable[str]) -> None:
        """
        Take these as known.
        """
        for name in names:
            if name not in self._known:
                self._known.add(name)
                self._names[stat_id(name)] = name

    def forget(self, names: Iterable[str]) -> None:
        """
        These are gone.
        """
        for name in names:
            self._known.discard(name)
            self._names.pop(stat_id(name), None)

    async def names(self, ids: Sequence[str]) -> list[str]:
        """
        The names that have these ids, where there are any.
        """
        if any(id not in self._names for id in ids):
            await self._learn_all()
        return [self._names[id] for id in ids if id in self._names]
