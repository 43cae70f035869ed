"""
The table of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from twisted.web.template import Tag, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.alerting.words import badge
from txstathat.collector.pages.formatting import (
    ago,
    minute,
    number,
    plural,
    visible_name,
)
from txstathat.collector.pages.listing.address import LIST, ListAddress
from txstathat.collector.pages.listing.controls import TITLES, by_order
from txstathat.collector.pages.listing.rows import StatRow
from txstathat.collector.pages.sparkline import sparkline
from txstathat.printable import printable
from txstathat.stores.listing import Group

__all__ = ["stat_table"]

_DAY = "One point per hour; the dotted part is the current hour"
_ORDER = "The order follows new points within a minute"


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
        _head(address, "name", ""),
        tags.th("Kind", scope="col", class_="wide"),
        tags.th(
            "Last value",
            scope="col",
            class_="wide figure",
            title="Of the newest minute with points: a counter's sum, a value's mean",
        ),
        tags.th("Last 24 hours", scope="col", title=_DAY),
        _head(address, "total", "wide figure"),
        _head(address, "activity", "wide figure"),
        _head(address, "newest", "wide"),
    )


def _head(address: ListAddress, order: str, classes: str) -> Tag:
    head = tags.th(scope="col", class_=classes)
    title = TITLES[order]
    if address.shows_groups:
        return head(title)
    link = tags.a(title, href=by_order(address, order).path, class_="order")
    if order != "name":
        link.attributes["title"] = _ORDER
    if order == address.order:
        direction = "descending" if address.descending else "ascending"
        head.attributes["aria-sort"] = direction
        link.attributes["class"] = f"order {direction}"
    return head(link)


def _row(address: ListAddress, row: StatRow, now: float) -> Tag:
    stat = row.stat
    return tags.tr(
        tags.td(_pin(row), class_="pin"),
        tags.th(
            tags.a(
                tags.bdi(visible_name(stat.name)),
                href=address.stat_path(stat.id),
                id=f"s-{stat.id}",
            ),
            *((" ", badge("firing")) if row.firing else ()),
            scope="row",
        ),
        tags.td("counter" if stat.counter else "value", class_="wide kind-of"),
        _last_value(row),
        _last_day(row),
        tags.td(_total(row), class_="wide figure"),
        tags.td(number(row.activity), class_="wide figure"),
        _newest(row, now),
    )


def _pin(row: StatRow) -> Tag:
    stat, is_pinned = row.stat, row.details.pinned
    verb = "Unpin" if is_pinned else "Pin"
    return tags.button(
        "★" if is_pinned else "☆",
        type="submit",
        name=verb.lower(),
        value=stat.id,
        id=f"p-{stat.id}",
        class_="quiet",
        title=verb,
        **{"aria-label": f"{verb} {printable(visible_name(stat.name))}"},
    )


def _last_value(row: StatRow) -> Tag:
    cell = tags.td(class_="wide figure")
    if row.latest is None:
        return cell(number(None))
    cell(number(row.latest.value))
    if row.details.unit:
        cell(" ", tags.small(tags.bdi(row.details.unit)))
    return cell(title=f"{row.latest.scale.title()} of {minute(row.latest.time)}")


def _last_day(row: StatRow) -> Tag:
    line: Tag = tags.transparent()
    figure = number(None)
    if row.day is not None:
        with suppress(Refusal):  # a sum beyond the largest float
            line = sparkline(row.day.values)
        figure = number(row.day.whole)
    kind = "total" if row.stat.counter else "average"
    return tags.td(line, tags.span(figure, " ", tags.small(kind)), class_="day")


def _total(row: StatRow) -> str:
    if not row.stat.counter:
        return number(None)
    return number(0 if row.total is None else row.total.sum)


def _newest(row: StatRow, now: float) -> Tag:
    stat = row.stat
    if row.latest is None:
        return tags.td("never", class_="wide")
    title = f"{minute(row.latest.time)}; received {minute(stat.received_at)}"
    return tags.td(ago(row.latest.time, now), title=title, class_="wide")


def _group(address: ListAddress, group: Group) -> Tag:
    opened = replace(address.at_first(), group=group.part)
    name = visible_name(group.part)
    return tags.tr(
        tags.td(class_="pin"),
        tags.th(tags.a(tags.bdi(name), "…", href=opened.path), scope="row"),
        tags.td(class_="wide"),
        tags.td(class_="wide"),
        tags.td(plural(group.size, "stat"), class_="day"),
        *(tags.td(class_="wide") for _ in range(3)),
    )
