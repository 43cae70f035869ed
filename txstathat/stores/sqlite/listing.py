"""
The listing of a SQLite store (:mod:`txstathat.stores.listing`): a table with an index
for each order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from txstathat.stores.listing import (
    NAME,
    Group,
    ListedRow,
    ListPage,
    ListQuery,
    end_of_prefix,
    first_part,
    merge_pages,
    sort_key,
)

__all__ = [
    "ADD_IDS",
    "CREATE_LISTING",
    "list_groups",
    "list_page",
    "listed_names",
    "put_listed",
]

#: The statements that create the table.
CREATE_LISTING = (
    """CREATE TABLE listing (
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        folded TEXT NOT NULL,
        total REAL NOT NULL,
        newest REAL NOT NULL,
        activity REAL NOT NULL,
        receipts INTEGER NOT NULL,
        refreshed REAL NOT NULL) WITHOUT ROWID""",
    # A search reads only this index.
    "CREATE INDEX listing_name ON listing (kind, name, folded)",
    "CREATE INDEX listing_total ON listing (kind, total, name)",
    "CREATE INDEX listing_newest ON listing (kind, newest, name)",
    "CREATE INDEX listing_activity ON listing (kind, activity, name)",
)
#: The statements that add the ids to the table.
ADD_IDS = (
    "ALTER TABLE listing ADD COLUMN id TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX listing_id ON listing (id)",
)

_COLUMNS = "name, kind, total, newest, activity, receipts, refreshed, id"
# If no more rows match, they are read and sorted; otherwise the index of the order
# finds a page sooner.
_FEW = 2_000
# How many names one statement has.
_NAMES_AT_ONCE = 500


def put_listed(
    db: sqlite3.Connection, rows: Sequence[ListedRow], gone: Sequence[str]
) -> None:
    """
    Write rows, and delete others, within a transaction of the caller.

    :param db: the connection that writes.
    :param rows: the rows.
    :param gone: the names of the rows to delete.
    """
    db.executemany("DELETE FROM listing WHERE name = ?", ((name,) for name in gone))
    db.executemany(
        f"INSERT OR REPLACE INTO listing ({_COLUMNS}, folded) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((*row, row.name.casefold()) for row in rows),
    )


def listed_names(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, str]:
    """
    Read the names of rows by their ids, within a transaction of the caller.

    :param db: a connection.
    :param ids: the ids; those that no row has are left out.
    """
    found: dict[str, str] = {}
    for start in range(0, len(ids), _NAMES_AT_ONCE):
        some = ids[start : start + _NAMES_AT_ONCE]
        marks = ", ".join("?" * len(some))
        found.update(
            db.execute(f"SELECT id, name FROM listing WHERE id IN ({marks})", some)
        )
    found.pop("", None)
    return found


def list_page(db: sqlite3.Connection, query: ListQuery) -> ListPage:
    """
    Read a page of the listing, within a transaction of the caller.

    :param db: a connection.
    :param query: which rows to list.
    """
    total = _number(db, "SELECT count(*) FROM listing", ()) if query.counted else 0
    pages = [_page_of_kind(db, kind, query) for kind in query.kinds]
    return merge_pages(pages, query)._replace(total=total)


def _page_of_kind(db: sqlite3.Connection, kind: str, query: ListQuery) -> ListPage:
    low, high = query.prefix, end_of_prefix(query.prefix)
    where, values = _conditions(kind, query, low, high)
    if query.words or (query.prefix and query.order != NAME):
        select = f"SELECT name FROM listing WHERE {where} LIMIT ?"
        names = [name for (name,) in db.execute(select, [*values, _FEW + 1])]
        if len(names) <= _FEW:
            return _sorted_page(_rows_of_names(db, names), query)
    found = 0
    if query.counted:
        found = _number(db, f"SELECT count(*) FROM listing WHERE {where}", values)
    if query.order == NAME and query.after is not None:
        # Otherwise SQLite would read all names from the beginning of the prefix.
        name = query.after[1]
        if query.descending:
            high = name if high is None else min(high, name)
        else:
            low = max(low, name)
        where, values = _conditions(kind, query, low, high)
    rows = _rows(db, query, where, values)
    return ListPage(rows[: query.limit], len(rows) > query.limit, found)


def _rows_of_names(db: sqlite3.Connection, names: Sequence[str]) -> list[ListedRow]:
    rows: list[ListedRow] = []
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = names[start : start + _NAMES_AT_ONCE]
        marks = ", ".join("?" * len(some))
        found = db.execute(
            f"SELECT {_COLUMNS} FROM listing WHERE name IN ({marks})", some
        )
        rows += [ListedRow(*row) for row in found]
    return rows


def _sorted_page(rows: list[ListedRow], query: ListQuery) -> ListPage:
    found = len(rows) if query.counted else 0
    after = query.after
    if after is not None:
        rows = [
            row
            for row in rows
            if (key := sort_key(row, query.order)) != after
            and (key < after) == query.descending
        ]
    page = merge_pages([ListPage(rows, False)], query)
    return page._replace(found=found)


def _conditions(
    kind: str, query: ListQuery, low: str, high: str | None
) -> tuple[str, list[Any]]:
    where, values = ["kind = ?"], [kind]
    if low:
        where.append("name >= ?")
        values.append(low)
    if high is not None:
        where.append("name < ?")
        values.append(high)
    for word in query.folded:
        where.append("instr(folded, ?)")
        values.append(word)
    return " AND ".join(where), values


def _rows(
    db: sqlite3.Connection, query: ListQuery, where: str, values: Sequence[Any]
) -> list[ListedRow]:
    """Read the rows of a page, and one more, by the index of the order."""
    order = query.order
    columns, marks = (order, "?") if order == NAME else (f"{order}, name", "?, ?")
    if query.after is not None:
        compare = "<" if query.descending else ">"
        where = f"{where} AND ({columns}) {compare} ({marks})"
        values = [*values, *(query.after[1:] if order == NAME else query.after)]
    direction = "DESC" if query.descending else "ASC"
    sort = ", ".join(f"{column} {direction}" for column in columns.split(", "))
    found = db.execute(
        f"SELECT {_COLUMNS} FROM listing WHERE {where} ORDER BY {sort} LIMIT ?",
        [*values, query.limit + 1],
    )
    return [ListedRow(*row) for row in found]


def list_groups(db: sqlite3.Connection, query: ListQuery) -> list[Group]:
    """
    Read the groups of names below a prefix, within a transaction of the caller. It
    reads one or two names of each group.

    :param db: a connection.
    :param query: its kinds, prefix, limit, ``after`` and ``descending``.
    """
    groups: list[Group] = []
    names = _Names(query.prefix, end_of_prefix(query.prefix))
    if query.after is not None:
        is_group, text = query.after
        names = names.without(text, query.descending, is_group=bool(is_group))
    while names.low is not None and len(groups) < query.limit:
        name = names.outermost(db, query.kinds, last=query.descending)
        if name is None:
            break
        part = first_part(name, query.prefix)
        if part is None:
            groups.append(Group(name, 1, name))
        else:
            group = _Names(part, end_of_prefix(part))
            first = group.outermost(db, query.kinds) if query.descending else name
            groups.append(Group(part, _count(db, query.kinds, group), first or name))
        names = names.without(part or name, query.descending, is_group=part is not None)
    return groups


@dataclass(frozen=True, slots=True)
class _Names:
    """
    A range of names.

    :ivar low: its lower bound; ``None`` if nothing is in it.
    :ivar high: what is greater than all of it; ``None`` without a bound.
    :ivar inclusive: whether the lower bound is in it.
    """

    low: str | None
    high: str | None
    inclusive: bool = True

    def without(self, text: str, descending: bool, *, is_group: bool) -> _Names:
        """
        Return what is before or after a group or a name.
        """
        if descending:
            return replace(self, high=text)
        if is_group:
            return _Names(end_of_prefix(text), self.high)
        return _Names(text, self.high, inclusive=False)

    def outermost(
        self, db: sqlite3.Connection, kinds: Sequence[str], *, last: bool = False
    ) -> str | None:
        """
        Return the first or the last name of some kinds; ``None`` if there is none.
        """
        which = max if last else min
        where, values = self.condition
        select = (
            f"SELECT {which.__name__}(name) FROM listing WHERE kind = ? AND {where}"
        )
        found = [db.execute(select, (kind, *values)).fetchone()[0] for kind in kinds]
        return which((name for name in found if name is not None), default=None)

    @property
    def condition(self) -> tuple[str, list[str | None]]:
        """
        The condition of a statement, and its values.
        """
        low = f"name {'>=' if self.inclusive else '>'} ?"
        if self.high is None:
            return low, [self.low]
        return f"{low} AND name < ?", [self.low, self.high]


def _count(db: sqlite3.Connection, kinds: Sequence[str], names: _Names) -> int:
    where, values = names.condition
    return sum(
        _number(
            db,
            f"SELECT count(*) FROM listing WHERE kind = ? AND {where}",
            (kind, *values),
        )
        for kind in kinds
    )


def _number(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> int:
    (number,) = db.execute(sql, values).fetchone()
    return int(number)
