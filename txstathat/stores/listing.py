"""
The listing of a store: a summary row for each name, from which a store makes sorted
pages without reading all of it.

The store does not compute the rows. They are derived from cells, so that a lost listing
can be made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "NAME",
    "ORDERS",
    "SEPARATORS",
    "Group",
    "ListPage",
    "ListQuery",
    "ListedRow",
    "end_of_prefix",
    "first_part",
    "group_key",
    "merge_pages",
    "sort_key",
]

#: The order by name.
NAME = "name"
#: The orders of a listing: by name, or by a number of the rows, then by name.
ORDERS = (NAME, "total", "newest", "activity")
#: The characters that end a group's part of a name.
SEPARATORS = " ./:"


class ListedRow(NamedTuple):
    """
    The summary of a name.

    :ivar name: the name, without control characters.
    :ivar kind: any text; a query can select kinds.
    :ivar total: the number for the order ``total``.
    :ivar newest: the number for the order ``newest``.
    :ivar activity: the number for the order ``activity``.
    :ivar receipts: any whole number; tells whether the row is up to date.
    :ivar refreshed: when the numbers were computed, in Unix seconds.
    :ivar id: a text by which the name is found. No other row has it. It may be empty:
        then the name cannot be found by it.
    """

    name: str
    kind: str
    total: float
    newest: float
    activity: float
    receipts: int
    refreshed: float
    id: str = ""


@dataclass(frozen=True, slots=True)
class ListQuery:
    """
    Which rows to list.

    :ivar kinds: the kinds to list.
    :ivar order: one of :data:`ORDERS`.
    :ivar descending: whether the largest comes first.
    :ivar words: texts that a name must contain, in upper or lower case.
    :ivar prefix: what a name must begin with.
    :ivar after: the sort key of the row after which to list; ``None`` to begin with the
        first row. For groups it is ``group_key``.
    :ivar limit: how many rows to return at most.
    :ivar counted: whether to count what else there is; otherwise the counts are 0.
    """

    kinds: tuple[str, ...]
    order: str = NAME
    descending: bool = False
    words: tuple[str, ...] = ()
    prefix: str = ""
    after: tuple[float, str] | None = None
    limit: int = 50
    counted: bool = True

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"{self.order!r} is no order; use {', '.join(ORDERS)}")

    @property
    def folded(self) -> list[str]:
        """
        The words without differences of upper and lower case.
        """
        return [word.casefold() for word in self.words if word]


class ListPage(NamedTuple):
    """
    A page of a listing.

    :ivar rows: the rows, in the order of the query.
    :ivar more: whether further rows follow.
    :ivar found: the number of rows that match the query, on all pages.
    :ivar total: the number of all rows of the listing, of any kind.
    """

    rows: list[ListedRow]
    more: bool
    found: int = 0
    total: int = 0


class Group(NamedTuple):
    """
    The names that begin with the same part.

    :ivar part: the part, up to a separator; the whole name of one that has none.
    :ivar size: how many names begin with it.
    :ivar first: the first of them.
    """

    part: str
    size: int
    first: str


def sort_key(row: ListedRow, order: str) -> tuple[float, str]:
    """
    Return by what a row is sorted: a number, and the name.

    :param row: the row.
    :param order: one of :data:`ORDERS`. The number is 0 for the order by name.
    """
    return (0.0 if order == NAME else float(getattr(row, order)), row.name)


def group_key(group: Group, prefix: str) -> tuple[float, str]:
    """
    Return the place of a group among the others below a prefix: 1 and its part, or 0
    and the name if it is a name without a group.

    :param group: the group.
    :param prefix: the prefix.
    """
    return (float(first_part(group.first, prefix) is not None), group.part)


def first_part(name: str, prefix: str = "") -> str | None:
    """
    Return the part of a name up to the first separator after a prefix, with the
    separator; ``None`` if there is none.

    :param name: the name.
    :param prefix: what it begins with.
    """
    for at in range(len(prefix), len(name)):
        if name[at] in SEPARATORS:
            return name[: at + 1]
    return None


def end_of_prefix(prefix: str) -> str | None:
    """
    Return the smallest text that is greater than all texts with a prefix; ``None`` if
    there is none.
    """
    while prefix:
        code = ord(prefix[-1]) + 1
        if code == 0xD800:  # the surrogates are not characters
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:-1] + chr(code)
        prefix = prefix[:-1]
    return None


def merge_pages(pages: Iterable[ListPage], query: ListQuery) -> ListPage:
    """
    Merge the pages of several parts of a listing into one.

    :param pages: the pages, which answer the same query; each has all rows of its part
        up to the limit.
    :param query: the query.
    """
    pages = list(pages)
    rows = sorted(
        (row for page in pages for row in page.rows),
        key=lambda row: sort_key(row, query.order),
        reverse=query.descending,
    )
    return ListPage(
        rows[: query.limit],
        len(rows) > query.limit or any(page.more for page in pages),
        sum(page.found for page in pages),
        max((page.total for page in pages), default=0),
    )
