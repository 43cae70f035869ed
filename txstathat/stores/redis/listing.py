"""
The listing of a Redis store (:mod:`txstathat.stores.listing`).

A hash has the rows, and another one their names by id. For each kind there is a sorted
set for each order: of the names with equal scores, which Redis sorts by their bytes;
and of the names with the numbers of the order. All these keys are in one slot of a
cluster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from txstathat.stores.listing import (
    NAME,
    ORDERS,
    SEPARATORS,
    Group,
    ListedRow,
    ListPage,
    ListQuery,
    end_of_prefix,
    merge_pages,
)
from txstathat.stores.redis.keys import KeyNames, as_json
from txstathat.stores.redis.listing_scripts import GROUPS, PAGE, PUT, SEARCH

__all__ = ["NAMES_AT_ONCE", "ROWS_AT_ONCE", "RedisListing"]

#: How many rows one command writes or reads.
ROWS_AT_ONCE = 500
#: How many names one command searches: Redis serves nobody else meanwhile.
NAMES_AT_ONCE = 5_000


class RedisListing:
    """
    Reads and writes the listing.

    :param client: a client of redis-py.
    :param keys: the names of the store's keys.
    """

    def __init__(self, client: Any, keys: KeyNames) -> None:
        self._client = client
        self._rows = keys.key("names", "listing")
        self._ids = f"{self._rows}:ids"
        self._put = client.register_script(PUT)
        self._page = client.register_script(PAGE)
        self._search = client.register_script(SEARCH)
        self._groups = client.register_script(GROUPS)

    def _set(self, kind: str, order: str) -> str:
        return f"{self._rows}:{order}:{as_json(kind)}"

    def put(self, rows: Sequence[ListedRow], gone: Sequence[str]) -> None:
        """
        Write rows, and delete others.

        :param rows: the rows.
        :param gone: the names of the rows to delete.
        """
        changes: list[ListedRow | str] = [*gone, *rows]
        for start in range(0, len(changes), ROWS_AT_ONCE):
            self._put_some(changes[start : start + ROWS_AT_ONCE])

    def _put_some(self, changes: Sequence[ListedRow | str]) -> None:
        names = [one if isinstance(one, str) else one.name for one in changes]
        kinds = {one.kind for one in changes if not isinstance(one, str)}
        # A name may have had another kind.
        old = self._read(names)
        kinds |= {row.kind for row in old}
        ids = {row.name: row.id for row in old}
        first: dict[str, int] = {}
        keys = [self._rows, self._ids]
        for kind in sorted(kinds):
            first[kind] = len(keys) + 1
            keys += [self._set(kind, order) for order in ORDERS]
        plan = [
            [one, _member(one), ids.get(one, "")]
            if isinstance(one, str)
            else [
                one.name,
                _member(one.name),
                one.id,
                first[one.kind],
                *(repr(float(number)) for number in one[2:5]),
                as_json(one[1:]),
            ]
            for one in changes
        ]
        self._put(keys=keys, args=[as_json(plan)])

    def _read(self, names: Sequence[str]) -> list[ListedRow]:
        rows = []
        for start in range(0, len(names), ROWS_AT_ONCE):
            some = names[start : start + ROWS_AT_ONCE]
            for name, text in zip(
                some, self._client.hmget(self._rows, some), strict=True
            ):
                if text is not None:
                    rows.append(ListedRow(name, *json.loads(text)))
        return rows

    def names(self, ids: Sequence[str]) -> dict[str, str]:
        """
        Read the names of rows by their ids.

        :param ids: the ids; those that no row has are left out.
        """
        found = self._client.hmget(self._ids, ids) if ids else []
        return {
            id: name.decode("utf-8")
            for id, name in zip(ids, found, strict=True)
            if name is not None
        }

    def page(self, query: ListQuery) -> ListPage:
        """
        Read a page of the listing.

        :param query: which rows to list.
        """
        total = int(self._client.hlen(self._rows)) if query.counted else 0
        pages = []
        for kind in query.kinds:
            if query.words or (query.prefix and query.order != NAME):
                found, names = self._find(kind, query)
            else:
                found, names = self._count(kind, query), self._names(kind, query)
            rows = [row for row in self._read(names) if row.kind == kind]
            more = len(names) > query.limit
            pages.append(merge_pages([ListPage(rows, more, found, total)], query))
        return merge_pages(pages, query)._replace(total=total)

    def _count(self, kind: str, query: ListQuery) -> int:
        if not query.counted:
            return 0
        low, high = _bounds(query.prefix)
        return int(self._client.zlexcount(self._set(kind, NAME), low, high))

    def _names(self, kind: str, query: ListQuery) -> list[str]:
        limit = query.limit + 1
        if query.order != NAME:
            after = [] if query.after is None else [_score(query.after), query.after[1]]
            return _texts(
                self._page(
                    keys=[self._set(kind, query.order)],
                    args=[int(query.descending), limit, *after],
                )
            )
        low, high = _bounds(query.prefix)
        key, client = self._set(kind, NAME), self._client
        if query.descending:
            if query.after is not None:
                high = f"({query.after[1]}".encode()
            return _texts(client.zrevrangebylex(key, high, low, 0, limit))
        if query.after is not None:
            low = _beyond(query.after[1])
        return _texts(client.zrangebylex(key, low, high, 0, limit))

    def _find(self, kind: str, query: ListQuery) -> tuple[int, list[str]]:
        """
        Search the names of a kind.

        :returns: how many match, and the names of those that may be on the page.
        """
        names_key = self._set(kind, NAME)
        low, high = _bounds(query.prefix)
        after = [] if query.after is None else [_score(query.after), query.after[1]]
        words = json.dumps(query.folded, ensure_ascii=False)
        found, names = 0, []
        last = None
        # (To pass over names by their number, Redis would walk along all of them.)
        while last != b"":
            number, last, *some = self._search(
                keys=[names_key, self._set(kind, query.order)],
                args=[
                    *(low, high, NAMES_AT_ONCE, words),
                    *(int(query.descending), query.limit + 1, *after),
                ],
            )
            found += number
            names += _texts(some)
            low = b"(" + last
        return found, names

    def groups(self, query: ListQuery) -> list[Group]:
        """
        Read the groups of names below a prefix.

        :param query: its kinds, prefix, limit, ``after`` and ``descending``.
        """
        low, high = _bounds(query.prefix)
        if query.after is not None:
            is_group, text = query.after
            if query.descending:
                high = f"({text}".encode()
            else:
                low = _bounds(text)[1] if is_group else _beyond(text)
                low = b"[" + low[1:]
        length = len(query.prefix.encode("utf-8"))
        reply = self._groups(
            keys=[self._set(kind, NAME) for kind in query.kinds],
            args=[
                *(low, high, length, query.limit, f"[{SEPARATORS}]"),
                int(query.descending),
            ],
        )
        return [
            Group(str(part, "utf-8"), int(count), str(first, "utf-8"))
            for part, count, first in zip(
                reply[::3], reply[1::3], reply[2::3], strict=True
            )
        ]


def _member(name: str) -> str:
    """
    Return the member of a name in the set of names. Redis can change the case of ASCII
    letters only, so other names have their folded form after them.
    """
    return name if name.isascii() else f"{name}\0{name.casefold()}"


def _beyond(name: str) -> bytes:
    """Return the lower bound of the members after the one of a name."""
    return f"[{name}\1".encode()


def _bounds(prefix: str) -> tuple[bytes, bytes]:
    if not prefix:
        return b"-", b"+"
    end = end_of_prefix(prefix)
    return f"[{prefix}".encode(), b"+" if end is None else f"({end}".encode()


def _score(key: tuple[float, str]) -> str:
    return repr(float(key[0]))


def _texts(members: Iterable[bytes]) -> list[str]:
    return [member.decode("utf-8").partition("\0")[0] for member in members]
