"""
The search for stats by Graphite's paths.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from txstathat.collector.api.graphite.paths import (
    Node,
    Pattern,
    name_of,
    path_of_name,
)
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.listing import KINDS
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.stores.listing import ListQuery

__all__ = ["MAX_NAMES", "MAX_NODES", "StatFinder"]

#: The largest number of nodes that a search can return.
MAX_NODES = 10_000
#: The largest number of names that a request can compare with its patterns.
MAX_NAMES = 2_000_000
# How many names are read at once, at most. More would block the reactor for long.
_MANY = 2_000


class StatFinder:
    """
    Finds stats for one request.

    :param archive: the stats.
    :param few: how many names are read at once, when others may be left out afterwards.
    :param max_names: the largest number of names to compare.
    """

    def __init__(
        self, archive: Archive, few: int = 50, max_names: int = MAX_NAMES
    ) -> None:
        self._archive = archive
        self._few = few
        self._max_names = max_names
        self._compared = 0

    async def find(self, pattern: Pattern, limit: int) -> list[Stat]:
        """
        Return the stats with paths that match, sorted by name.

        :param pattern: the pattern.
        :param limit: the largest number of stats.
        :raises Refusal: 400 if there are more.
        """
        if pattern.exact:
            name = name_of(pattern.text)
            return [] if name is None else await self._archive.stats([name])
        found: set[str] = set()
        async for some in self._some_paths(pattern):
            found.update(name for path, name in some.items() if pattern.matches(path))
            if len(found) > limit:
                raise Refusal(
                    400,
                    f"{pattern.text[:80]!r} matches more than {limit} stats; a request "
                    "can have no more: narrow the pattern",
                )
        return await self._archive.stats(sorted(found))

    async def nodes(self, pattern: Pattern) -> list[Node]:
        """
        Return the nodes that match: branches first, then leaves.

        :raises Refusal: 400 if there are more than :data:`MAX_NODES`.
        """
        found: dict[str, Node] = {}
        async for some in self._some_paths(pattern):
            for node in pattern.nodes(some):
                other = found.get(node.text, node)
                found[node.text] = Node(
                    node.text, node.leaf or other.leaf, node.branch or other.branch
                )
            if len(found) > MAX_NODES:
                raise Refusal(400, f"more than {MAX_NODES} nodes match: narrow it")
        return sorted(found.values(), key=lambda node: (not node.branch, node.text))

    async def _some_paths(self, pattern: Pattern) -> AsyncIterator[dict[str, str]]:
        """
        Return the paths that may match or be below those that do, with the names of
        their stats, in pieces. Other requests are answered between them.

        :raises Refusal: 400 if they are too many.
        """
        restored = await self._archive.stats(await self._archive.restored_names())
        yield {path_of_name(stat.name): stat.name for stat in restored}
        for prefix in pattern.prefixes:
            query: ListQuery | None = ListQuery(
                KINDS, prefix=prefix, limit=self._few, counted=False
            )
            while query is not None:
                page = await self._archive.listing.names(query)
                names = [row.name for row in page.rows]
                self._count(len(names))
                yield {path_of_name(name): name for name in names}
                query = self._next(query, pattern, names[-1]) if page.more else None

    def _count(self, names: int) -> None:
        self._compared += names
        if self._compared > self._max_names:
            raise Refusal(
                400,
                f"a request can compare at most {self._max_names} names with patterns: "
                "begin them with fixed text",
            )

    def _next(self, query: ListQuery, pattern: Pattern, last: str) -> ListQuery:
        """
        Return the query for the names after a page.

        :param last: the last name on the page.
        """
        prefix = pattern.end_of_search(path_of_name(last))
        if prefix is None:
            limit = min(2 * query.limit, _MANY)
            return replace(query, after=(0.0, last), limit=limit)
        # A dot beside another dot is no separator, so such names may match.
        end = prefix + ("-" if last < f"{prefix}." else "")
        after = max(last, f"{end}\U0010ffff")
        return replace(query, after=(0.0, after), limit=self._few)
