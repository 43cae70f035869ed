"""
The table of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from twisted.web.template import Tag, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.number_text import number
from txstathat.collector.pages.alerting.states import badge
from txstathat.collector.pages.frame.formatting import ago, minute, plural, visible_name
from txstathat.collector.pages.listing.address import LIST, ListAddress
from txstathat.collector.pages.listing.controls import TITLES, by_order
from txstathat.collector.pages.listing.rows import StatRow
from txstathat.collector.pages.sparkline import sparkline
from txstathat.printable import printable
from txstathat.stores.listing import Group

__all__ = ["stat_table"]

_DAY = "One point per hour; the dotted part is the current hour"
_LAST = "In the newest minute with points: the sum of a counter, the mean of a value"
_ORDER = "New points change the order within a minute"


def stat_table(
    address: ListAddress,
    pinned: Sequence[StatRow],
    entries: Sequence[StatRow | Group],
    now: float,
) -> Tag:
    """
    Make the table.

    :param address: the page's address.
    :param pinned: the pinned stats at its top.
    :param entries: the stats and groups below these.
    :param now: Unix seconds.
    """
    if not pinned and not entries:
        return tags.transparent()
    widths = ("pin", "name", "kind", "last", "day", "total", "points", "new")
    table = tags.table(
        tags.caption("Stats", class_="unseen"),
        tags.colgroup(*(tags.col(class_=f"c-{width}") for width in widths)),
        tags.thead(_heads(address)),
        class_="list",
    )
    if pinned:
        table(tags.tbody(*(_row(address, row, now) for row in pinned), class_="pinned"))
    body = tags.tbody()
    for entry in entries:
        if isinstance(entry, Group):
            body(_group(address, entry))
        else:
            body(_row(address, entry, now))
    # One form has the buttons of all rows.
    return tags.form(
        tags.input(type="hidden", name=LIST, value=address.query),
        table(body),
        method="post",
        action="/pin",
    )


def _heads(address: ListAddress) -> Tag:
    return tags.tr(
        tags.th(tags.span("Pin", class_="unseen"), scope="col"),
        _head(address, "name"),
        tags.th("Kind", scope="col"),
        tags.th("Last value", scope="col", title=_LAST),
        tags.th("Last 24 hours", scope="col", title=_DAY),
        _head(address, "total"),
        _head(address, "activity"),
        _head(address, "newest"),
    )


def _head(address: ListAddress, order: str) -> Tag:
    head = tags.th(scope="col")
    title = TITLES[order]
    if address.shows_groups:
        return head(title)
    link = tags.a(title, href=by_order(address, order).path)
    if order != "name":
        link.attributes["title"] = _ORDER
    if order == address.order:
        direction = "descending" if address.descending else "ascending"
        head.attributes["aria-sort"] = direction
    return head(link)


# The style sheet finds the cells of a column by their number: each class of each cell
# would take its time for every page.


def _row(address: ListAddress, row: StatRow, now: float) -> Tag:
    stat = row.stat
    name = visible_name(stat.name)
    return tags.tr(
        tags.td(_pin(row, name)),
        tags.th(
            tags.a(tags.bdi(name), href=address.stat_path(stat.id), id=f"s-{stat.id}"),
            *((" ", badge("firing")) if row.firing else ()),
            scope="row",
        ),
        tags.td("counter" if stat.counter else "value"),
        _last_value(row),
        _last_day(row),
        tags.td(_total(row)),
        tags.td(number(row.activity)),
        _newest(row, now),
    )


def _pin(row: StatRow, name: str) -> Tag:
    is_pinned = row.details.pinned
    verb = "Unpin" if is_pinned else "Pin"
    return tags.button(
        "★" if is_pinned else "☆",
        name=verb.lower(),
        value=row.stat.id,
        **{"aria-label": f"{verb} {printable(name)}"},
    )


def _last_value(row: StatRow) -> Tag:
    if row.latest is None:
        return tags.td(number(None))
    cell = tags.td(number(row.latest.value))
    if row.details.unit:
        cell(" ", tags.small(tags.bdi(row.details.unit)))
    return cell(title=f"{row.latest.scale.title()} of {minute(row.latest.time)}")


def _last_day(row: StatRow) -> Tag:
    if row.day is None:
        return tags.td(number(None))
    cell = tags.td()
    with suppress(Refusal):  # a sum beyond the largest float
        cell(sparkline(row.day.values))
    kind = "total" if row.stat.counter else "average"
    return cell(tags.span(number(row.day.whole), " ", tags.small(kind)))


def _total(row: StatRow) -> str:
    if not row.stat.counter:
        return number(None)
    return number(0 if row.total is None else row.total.sum)


def _newest(row: StatRow, now: float) -> Tag:
    if row.latest is None:
        return tags.td("never")
    received = minute(row.stat.received_at)
    return tags.td(
        ago(row.latest.time, now),
        title=f"{minute(row.latest.time)}; received {received}",
    )


def _group(address: ListAddress, group: Group) -> Tag:
    opened = replace(address.at_first(), group=group.part)
    name = visible_name(group.part)
    rest = tags.span("…", class_="more")
    return tags.tr(
        tags.td(),
        tags.th(tags.a(tags.bdi(name), rest, href=opened.path), scope="row"),
        tags.td(),
        tags.td(),
        tags.td(plural(group.size, "stat")),
        *(tags.td() for _ in range(3)),
    )
