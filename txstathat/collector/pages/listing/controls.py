"""
What stands around the table of the list: the search, the choices, and the pager.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from twisted.web.template import Tag, tags

from txstathat.collector.pages.frame.formatting import plural
from txstathat.collector.pages.listing.address import (
    DESCENDING,
    MAX_SEARCH,
    ListAddress,
)
from txstathat.stores.listing import SEPARATORS, ListPage

__all__ = [
    "TITLES",
    "by_order",
    "choices",
    "count_line",
    "pager",
    "path_of_group",
    "search_form",
]

#: The titles of the columns for the orders.
TITLES = {
    "name": "Name",
    "total": "Total",
    "newest": "Newest point",
    "activity": "Points in 24 h",
}
_SHORT = {**TITLES, "newest": "Newest", "activity": "Activity"}


def search_form(address: ListAddress) -> Tag:
    """
    Make the search. It preserves the order, the kind and the group.

    :param address: the page's address.
    """
    hidden = [
        tags.input(type="hidden", name=name, value=value)
        for name, value in address.fields.items()
        if name != "q"
    ]
    return tags.form(
        tags.label("Search", class_="unseen", **{"for": "q"}),
        tags.input(
            type="search",
            name="q",
            id="q",
            value=address.search,
            placeholder="Search stats",
            **{"aria-keyshortcuts": "/"},
            maxlength=str(MAX_SEARCH),
        ),
        *hidden,
        tags.button("Search", type="submit"),
        action="/",
        method="get",
        class_="search",
        role="search",
    )


def choices(address: ListAddress) -> Tag:
    """
    Make the links that choose the kind, the view, and, where the table's heads have no
    room, the order.

    :param address: the page's address.
    """
    first = address.at_first()
    kinds = (("All", ""), ("Counters", "counters"), ("Values", "values"))
    bar = tags.div(
        _choice(
            "Kind",
            [
                (title, replace(first, kind=kind), kind == address.kind)
                for title, kind in kinds
            ],
        ),
        _choice(
            "View",
            [
                ("List", replace(first, grouped=False), not address.shows_groups),
                ("Groups", first.as_groups(), address.shows_groups),
            ],
        ),
        class_="choices",
    )
    if not address.shows_groups:
        orders = [
            (title, by_order(address, order), order == address.order)
            for order, title in _SHORT.items()
        ]
        bar(_choice("Order", orders)(class_="segments narrow"))
    return bar


def by_order(address: ListAddress, order: str) -> ListAddress:
    """
    Return the address of the same list in another order; in the opposite direction, if
    the list has this order.

    :param address: the address of the list.
    :param order: the order.
    """
    descending = order in DESCENDING
    if order == address.order:
        descending = not address.descending
    return replace(address.at_first(), order=order, descending=descending)


def _choice(label: str, links: list[tuple[str, ListAddress, bool]]) -> Tag:
    nav = tags.nav(class_="segments", **{"aria-label": label})
    for title, address, is_current in links:
        link = tags.a(title, href=address.path)
        if is_current:
            link.attributes["aria-current"] = "true"
        nav(link)
    return nav


def count_line(address: ListAddress, page: ListPage, shown: int, *, more: bool) -> Tag:
    """
    Make the line that says how many stats there are, and which of them are shown.

    :param address: the page's address.
    :param page: the page, or an empty one with its counts.
    :param shown: how many rows are shown.
    :param more: whether there are more on the next page.
    """
    line = tags.p(class_="hint", role="status")
    words, where = tags.transparent(), tags.transparent()
    if address.search:
        words(" match “", tags.bdi(address.search), "”")
    if address.group:
        where(" in the group ", tags.bdi(address.group.rstrip()))
    # The name of a group can end the sentence.
    end = " " if address.group.endswith(".") else ". "
    filtered = bool(address.search or address.kind or address.group)
    if not page.found:
        kind = address.kind or "stats"
        line(f"No {kind}", words, where, end)
    elif filtered:
        line(f"{page.found:,} of {plural(page.total, 'stat')}", words, where, end)
    else:
        line(f"{plural(page.total, 'stat')}. ")
    if shown and (more or not address.is_first):
        line(f"Showing {address.first:,} to {address.first + shown - 1:,}. ")
    if filtered:
        line(tags.a("Show all", href=ListAddress(grouped=address.grouped).path))
    return line


def pager(
    address: ListAddress, previous: ListAddress | None, following: ListAddress | None
) -> Tag:
    """
    Make the links to the pages before and after this one.

    :param address: the page's address.
    :param previous: the address of the page before; ``None`` if there is none.
    :param following: the address of the page after it.
    """
    if address.is_first and following is None:
        return tags.transparent()
    nav = tags.nav(class_="pages", **{"aria-label": "Pages"})
    if not address.is_first:
        nav(tags.a("First", href=address.at_first().path))
    if previous is not None:
        nav(tags.a("← Previous", href=previous.path, rel="prev"))
    if following is not None:
        nav(tags.a("Next →", href=following.path, rel="next"))
    return nav


def path_of_group(address: ListAddress) -> Tag:
    """
    Make the links to the groups above an opened group.

    :param address: the page's address.
    """
    if not address.group:
        return tags.transparent()
    top = replace(address.at_first(), group="", search="")
    nav = tags.nav(class_="groups", **{"aria-label": "Group"})
    nav(tags.a("All groups" if address.grouped else "All stats", href=top.path))
    for group in _parents(address.group):
        nav(" › ")  # noqa: RUF001
        name = tags.bdi(group.rstrip())
        if group == address.group:
            nav(tags.span(name, **{"aria-current": "true"}))
        else:
            nav(tags.a(name, href=replace(top, group=group).path))
    return nav


def _parents(group: str) -> Iterator[str]:
    for at, character in enumerate(group):
        if character in SEPARATORS:
            yield group[: at + 1]
