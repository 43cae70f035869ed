"""
The list of all stats, by pages, without reading all of it at once.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal

__all__ = ["MAX_LISTED", "NAMES_SECONDS", "PAGE", "StatPages"]

#: The largest number of stats on a page of a list.
PAGE = 10_000
#: The largest number of stats in a list without pages.
MAX_LISTED = 100_000
#: For how many seconds the pages after the first one are made of the names that were
#: read for it.
NAMES_SECONDS = 60.0


class StatPages:
    """
    Reads the list of stats by pages.

    The names are read once for all pages that follow each other. Of a store with a
    million stats, reading the names takes ten times as long as reading a page.

    :param archive: the stats.

    :ivar page_size: the largest number of stats on a page.
    :ivar max_listed: the largest number of stats in a list without pages.
    """

    def __init__(self, archive: Archive) -> None:
        self.page_size = PAGE
        self.max_listed = MAX_LISTED
        self._archive = archive
        # The names, until they are too old.
        self._names: list[str] = []
        self._timer: IDelayedCall | None = None

    async def page(self, offset: int) -> list[Stat]:
        """
        Return a page of the stats, sorted by name. It is full unless it is the last
        one: a client takes a shorter one for the last.

        :param offset: how many stats to pass over.
        """
        if not offset or not self._names:
            names = await self._archive.names()
            self._forget()
            self._names = names
            self._timer = self._archive.timers.callLater(NAMES_SECONDS, self._forget)
        names, at = self._names, offset
        stats: list[Stat] = []
        # Some may have been deleted meanwhile.
        while at < len(names) and len(stats) < self.page_size:
            more = names[at : at + self.page_size - len(stats)]
            stats += await self._archive.stats(more)
            at += len(more)
        if at >= len(names) and names is self._names:
            self._forget()
        return stats

    def _forget(self) -> None:
        self._names, timer, self._timer = [], self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    async def all(self) -> list[Stat]:
        """
        Return all stats, sorted by name.

        :raises Refusal: 400 if there are more than :attr:`max_listed`.
        """
        names = await self._archive.names()
        if len(names) > self.max_listed:
            raise Refusal(
                400,
                f"there are {len(names):,} stats, and this lists {self.max_listed:,} "
                "at most: read /x/TOKEN/statlist, by pages",
            )
        stats: list[Stat] = []
        for start in range(0, len(names), PAGE):
            stats += await self._archive.stats(names[start : start + PAGE])
        return stats
