"""
The address of a page of the list: its search, order, kind, group and place.

The place is that of a row, not the number of a page. So it does not change if rows
before it are added or removed, and the store finds it without counting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from twisted.web.server import Request

from txstathat.collector.archive.listing import KINDS
from txstathat.collector.pages.frame.arguments import argument
from txstathat.stores.listing import NAME, ORDERS, SEPARATORS

__all__ = ["DESCENDING", "LIST", "MAX_SEARCH", "ListAddress", "back_to_list"]

#: The most characters of a search; the rest is cut.
MAX_SEARCH = 255
#: The orders that begin with the largest, unless the address says otherwise.
DESCENDING = frozenset(ORDERS) - {NAME}
#: The argument in which a stat's page has the query of the list that led to it.
LIST = "list"

# The most characters of a place: a number and a name.
_MAX_PLACE = 300
_KINDS = {"counters": KINDS[0], "values": KINDS[1]}


@dataclass(frozen=True, slots=True)
class ListAddress:
    """
    What the address of a page of the list says.

    :ivar search: the words to search for.
    :ivar order: one of :data:`~txstathat.stores.listing.ORDERS`.
    :ivar descending: whether the largest comes first.
    :ivar kind: ``'counters'``, ``'values'``, or ``''`` for both.
    :ivar grouped: whether names with the same first part are shown as a group.
    :ivar group: the part of the names of an opened group; ``''`` for all names.
    :ivar after: the place after which the page begins; ``None`` for the first page.
    :ivar before: the place before which the page ends.
    :ivar first: the number of the first row, which is only shown.
    """

    search: str = ""
    order: str = NAME
    descending: bool = False
    kind: str = ""
    grouped: bool = False
    group: str = ""
    after: tuple[float, str] | None = None
    before: tuple[float, str] | None = None
    first: int = 1

    @classmethod
    def of(cls, request: Request) -> ListAddress:
        """
        Read the address of a request. What is not valid counts as absent.
        """
        names = ("q", "sort", "dir", "kind", "view", "group", "after", "before", "n")
        return cls._read({name: argument(request, name) for name in names})

    @classmethod
    def parse(cls, query: str) -> ListAddress:
        """
        Read a query, as :attr:`query` returns it.
        """
        return cls._read(dict(parse_qsl(query[:10_000], max_num_fields=20)))

    @classmethod
    def _read(cls, fields: Mapping[str, str]) -> ListAddress:
        def field(name: str) -> str:
            return fields.get(name, "")

        order = field("sort") if field("sort") in ORDERS else NAME
        group, n = field("group")[:MAX_SEARCH], field("n")
        number = n.isascii() and n.isdigit() and len(n) <= 9
        return cls(
            search=field("q")[:MAX_SEARCH].strip(),
            order=order,
            descending=field("dir") == "desc"
            or (order in DESCENDING and field("dir") != "asc"),
            kind=field("kind") if field("kind") in _KINDS else "",
            grouped=field("view") == "groups",
            group=group if group and group[-1] in SEPARATORS else "",
            after=_place(field("after")),
            before=_place(field("before")),
            first=max(1, int(n)) if number else 1,
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """
        The kinds of stats to list.
        """
        return (_KINDS[self.kind],) if self.kind else KINDS

    @property
    def words(self) -> tuple[str, ...]:
        """
        The words of the search.
        """
        return tuple(self.search.split())

    @property
    def is_first(self) -> bool:
        """
        Whether this is the first page.
        """
        return self.after is None and self.before is None

    @property
    def shows_groups(self) -> bool:
        """
        Whether the page shows groups. The results of a search are not grouped.
        """
        return self.grouped and not self.search

    @property
    def fields(self) -> dict[str, str]:
        """
        The fields of the address that are not those of the bare list, without a place.
        """
        direction = "desc" if self.descending else "asc"
        is_usual = self.descending == (self.order in DESCENDING)
        fields = {
            "q": self.search,
            "sort": "" if self.order == NAME else self.order,
            "dir": "" if is_usual else direction,
            "kind": self.kind,
            "view": "groups" if self.grouped else "",
            "group": self.group,
        }
        return {name: value for name, value in fields.items() if value}

    @property
    def query(self) -> str:
        """
        The query of the address, without the question mark.
        """
        fields = self.fields
        for name, place in (("after", self.after), ("before", self.before)):
            if place is not None:
                fields[name] = f"{place[0]!r}:{place[1]}"
        if self.first > 1 and not self.is_first:
            fields["n"] = str(self.first)
        return urlencode(fields)

    @property
    def path(self) -> str:
        """
        The address.
        """
        query = self.query
        return f"/?{query}" if query else "/"

    def at_first(self) -> ListAddress:
        """
        Return the address of the first page.
        """
        return replace(self, after=None, before=None, first=1)

    def as_groups(self) -> ListAddress:
        """
        Return the address of the first page of the groups, which have no search and
        only one order.
        """
        return replace(
            self.at_first(), grouped=True, search="", order=NAME, descending=False
        )

    def stat_path(self, id: str) -> str:
        """
        Return the address of a stat's page, which leads back here.

        :param id: the stat's id.
        """
        query = self.query
        return f"/stats/{id}?{urlencode({LIST: query})}" if query else f"/stats/{id}"


def back_to_list(request: Request) -> str:
    """
    Return the address of the list that led to a stat's page.

    :param request: the request of that page.
    """
    return ListAddress.parse(argument(request, LIST)).path


def _place(text: str) -> tuple[float, str] | None:
    number, _, name = text[:_MAX_PLACE].partition(":")
    try:
        value = float(number)
    except ValueError:
        return None
    return None if math.isnan(value) else (value, name)
