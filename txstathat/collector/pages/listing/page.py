"""
The page at ``/``: a list of stats, sorted, searched or in groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.frame.layout import ASSETS, TENDING_FILES, frame
from txstathat.collector.pages.frame.paths import public_url
from txstathat.collector.pages.listing.address import ListAddress
from txstathat.collector.pages.listing.controls import (
    choices,
    count_line,
    pager,
    path_of_group,
    search_form,
)
from txstathat.collector.pages.listing.empty import empty_page
from txstathat.collector.pages.listing.rows import StatRow, pinned_stats, read_rows
from txstathat.collector.pages.listing.table import stat_table
from txstathat.collector.pages.parts import PageParts
from txstathat.stores.listing import (
    NAME,
    Group,
    ListPage,
    ListQuery,
    group_key,
    sort_key,
)

__all__ = ["PAGE", "StatList"]

#: How many stats a page shows by default, besides pinned ones.
PAGE = 50

_FILES = (
    tags.link(rel="stylesheet", href=f"{ASSETS}/list.css"),
    # The badge of an alert.
    *TENDING_FILES,
)


@dataclass(frozen=True, slots=True)
class _Content:
    """
    What a page shows.

    :ivar address: its address. It differs from the request's if that page no longer
        exists.
    :ivar counts: how many stats there are.
    :ivar entries: the names of its stats, and its groups.
    :ivar previous: the address of the page before.
    :ivar following: the address of the page after.
    """

    address: ListAddress
    counts: ListPage
    entries: Sequence[str | Group]
    previous: ListAddress | None
    following: ListAddress | None


class StatList(GuardedPage):
    """
    The list of stats.

    :param parts: what the pages work with.
    :param page_size: how many stats one page shows.
    """

    isLeaf = True
    takes_body = False
    wrong_method = (404, "post to /ez, /c or /v")
    error_title = "Can't show the stats"

    def __init__(self, parts: PageParts, page_size: int = PAGE) -> None:
        super().__init__(parts)
        self._page_size = page_size

    async def guarded(self, request: Request) -> Tag:
        if request.postpath:
            raise Refusal(404, "no such page")
        address = ListAddress.of(request)
        if address.shows_groups:
            address = replace(address, order=NAME, descending=False)
            content = await self._groups(address)
        else:
            content = await self._stats(address)
        if not content.counts.total:
            return empty_page(public_url(request))
        address = content.address
        pinned, entries = await self._rows(content)
        now = self._archive.store.clock.seconds()
        return frame(
            "Stats",
            tags.h1("Stats"),
            search_form(address),
            choices(address),
            path_of_group(address),
            tags.div(
                count_line(
                    address,
                    content.counts,
                    len(content.entries),
                    more=content.following is not None,
                ),
                stat_table(address, pinned, entries, now),
                pager(address, content.previous, content.following),
                id="stats",
                class_="live",
            ),
            section="/",
            files=_FILES,
        )

    async def _stats(self, address: ListAddress) -> _Content:
        backwards = address.before is not None
        query = ListQuery(
            kinds=address.kinds,
            order=address.order,
            descending=address.descending != backwards,
            words=address.words,
            prefix=address.group,
            after=address.before if backwards else address.after,
            limit=self._page_size,
        )
        page = await self._archive.listing.page(query)
        if (backwards and not page.more) or (address.after and not page.rows):
            # The first page; or the rows after this place are gone.
            return await self._stats(address.at_first())
        rows = page.rows[::-1] if backwards else page.rows
        places = [sort_key(row, address.order) for row in rows]
        names = [row.name for row in rows]
        around = self._around(address, places, more=page.more)
        return _Content(address, page, names, *around)

    async def _groups(self, address: ListAddress) -> _Content:
        backwards = address.before is not None
        query = ListQuery(address.kinds, prefix=address.group, limit=1)
        counts = await self._archive.listing.page(query)
        groups = await self._archive.store.list_groups(
            replace(
                query,
                descending=backwards,
                after=address.before if backwards else address.after,
                limit=self._page_size + 1,
            )
        )
        more = len(groups) > self._page_size
        if (backwards and not more) or (address.after and not groups):
            # As for stats.
            return await self._groups(address.at_first())
        groups = groups[: self._page_size]
        if backwards:
            groups.reverse()
        places = [group_key(group, address.group) for group in groups]
        entries = [one if one.size > 1 else one.first for one in groups]
        around = self._around(address, places, more=more)
        return _Content(address, counts, entries, *around)

    def _around(
        self, address: ListAddress, places: Sequence[tuple[float, str]], *, more: bool
    ) -> tuple[ListAddress | None, ListAddress | None]:
        """
        Return the addresses of the pages before and after one.

        :param address: the page's address.
        :param places: the places of its entries.
        :param more: whether there are more in the direction in which it was read.
        """
        previous = following = None
        if places and not address.is_first:
            previous = replace(
                address.at_first(),
                before=places[0],
                first=max(1, address.first - self._page_size),
            )
        if places and (address.before is not None or more):
            following = replace(
                address.at_first(),
                after=places[-1],
                first=address.first + len(places),
            )
        return previous, following

    async def _rows(
        self, content: _Content
    ) -> tuple[list[StatRow], list[StatRow | Group]]:
        """
        Read the pinned stats, and the others; a pinned one is not repeated.
        """
        address, archive = content.address, self._archive
        details = await archive.details.all()
        pinned = []
        if not address.search and not address.group:
            pinned = await pinned_stats(archive, details)
        pinned = [stat for stat in pinned if stat.kind in address.kinds]
        on_top = {stat.name for stat in pinned}
        if not address.is_first:
            pinned = []
        names = [one for one in content.entries if isinstance(one, str)]
        others = await archive.stats([name for name in names if name not in on_top])
        listed = content.counts.rows
        found = await read_rows(archive, [*pinned, *others], details, listed)
        firing = await self._parts.alerting.records.firing_stats()
        rows = [replace(row, firing=row.stat.name in firing) for row in found]
        by_name = {row.stat.name: row for row in rows[len(pinned) :]}
        entries = [
            one if isinstance(one, Group) else by_name[one]
            for one in content.entries
            # Others were deleted a moment ago.
            if isinstance(one, Group) or one in by_name
        ]
        return rows[: len(pinned)], entries
