"""
The search for stats by Graphite's paths.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from twisted.internet.task import deferLater

from txstathat.collector.api.graphite.paths import (
    Node,
    Pattern,
    name_of,
    path_of_name,
)
from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal

__all__ = ["MAX_NODES", "StatFinder"]

#: The largest number of nodes that a search can return.
MAX_NODES = 10_000
# How many paths are compared at once. More would block the reactor for long.
_PATHS_AT_ONCE = 2_000


_T = TypeVar("_T")


class StatFinder:
    """
    Finds stats for one request. It reads the names of all stats at most once.

    :param archive: the stats.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._paths: dict[str, str] | None = None

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
        found: list[str] = []
        async for some in self._some_paths():
            found += [name for path, name in some.items() if pattern.matches(path)]
            if len(found) > limit:
                raise Refusal(
                    400,
                    f"{pattern.text[:80]!r} matches more than {limit} stats; a request "
                    "can have no more: narrow the pattern",
                )
        return await self._archive.stats(found)

    async def nodes(self, pattern: Pattern) -> list[Node]:
        """
        Return the nodes that match: branches first, then leaves.

        :raises Refusal: 400 if there are more than :data:`MAX_NODES`.
        """
        found: dict[str, Node] = {}
        async for some in self._some_paths():
            for node in pattern.nodes(some):
                other = found.get(node.text, node)
                found[node.text] = Node(
                    node.text, node.leaf or other.leaf, node.branch or other.branch
                )
            if len(found) > MAX_NODES:
                raise Refusal(400, f"more than {MAX_NODES} nodes match: narrow it")
        return sorted(found.values(), key=lambda node: (not node.branch, node.text))

    async def _some_paths(self) -> AsyncIterator[dict[str, str]]:
        """
        Return all paths with the names of their stats, in pieces. Other requests are
        answered between them.
        """
        if self._paths is None:
            paths: dict[str, str] = {}
            for names in _pieces(await self._archive.names()):
                paths |= {path_of_name(name): name for name in names}
                await self._pause(len(names))
            self._paths = paths
        for piece in _pieces(self._paths.items()):
            yield dict(piece)
            await self._pause(len(piece))

    async def _pause(self, done: int) -> None:
        # The last piece needs none.
        if done == _PATHS_AT_ONCE:
            await deferLater(self._archive.timers, 0)


def _pieces(things: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(things)
    while piece := list(islice(rest, _PATHS_AT_ONCE)):
        yield piece
