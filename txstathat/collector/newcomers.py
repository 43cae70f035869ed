"""
Who comes into being: stats by their first point, within limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from txstathat.collector.ingest import Refusal
from txstathat.collector.stats import stat_id
from txstathat.stores.interface import IStore

__all__ = ["MAX_NEW_STATS", "MAX_STATS", "Newcomers"]

#: How many stats there may be, by default.
MAX_STATS = 100_000
#: How many new stats a key may make in a day.
MAX_NEW_STATS = 10_000

_DAY = 86_400
# How many names are learned at once, so that making their ids holds up nobody.
_NAMES_AT_ONCE = 2_000


class Newcomers:
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
        self._waiting: list[Deferred[None]] = []
        self._day = 0
        self._made: dict[str, int] = {}

    def none_among(self, names: Iterable[str]) -> bool:
        """
        Whether all of these are known.
        """
        return self._known.issuperset(names)

    def admit(self, sender: str, names: Iterable[str]) -> Deferred[None]:
        """
        Let stats come into being.

        :param sender: whose points they come with.
        :param names: some of which may be new.
        :returns: fires with ``None``. It fails with
            :class:`~txstathat.collector.ingest.Refusal` if they are too many.
        """
        wanted = [name for name in names if name not in self._known]
        return Deferred.fromCoroutine(self._admit(sender, wanted))

    async def _admit(self, sender: str, wanted: list[str]) -> None:
        self.learn(await self._store.definitions(wanted))
        if self._known.issuperset(wanted):
            return
        if not self._knows_all:
            # Only who is new has to wait until all are counted.
            await self._counted()
        new = [name for name in wanted if name not in self._known]
        if len(self._known) + len(new) > self._max_stats:
            raise Refusal(
                429,
                f"there are {len(self._known)} stats and {self._max_stats} may be: "
                "delete some, or use fewer names",
            )
        today = int(self._store.clock.seconds()) // _DAY
        if today != self._day:
            self._day, self._made = today, {}
        made = self._made.get(sender, 0) + len(new)
        if made > MAX_NEW_STATS:
            raise Refusal(
                429, f"this key has made {MAX_NEW_STATS} new stats today: that is all"
            )
        self._made[sender] = made
        self.learn(new)

    def _counted(self) -> Deferred[None]:
        # Of all that wait at once one reads, for all of them.
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._learn_all()).addBoth(self._count)
        return waiting

    def _count(self, outcome: Failure | None) -> None:
        self._knows_all = outcome is None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(outcome)

    async def _learn_all(self) -> None:
        names = list(await self._store.definitions())
        for start in range(0, len(names), _NAMES_AT_ONCE):
            if start:
                await deferLater(self._store.clock, 0)
            self.learn(names[start : start + _NAMES_AT_ONCE])

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
