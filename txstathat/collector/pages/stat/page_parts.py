"""
The parts of the page of a stat: the choice of a range, and the summary.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.stats import Stat
from txstathat.collector.number_text import number
from txstathat.collector.pages.forms.forms import Form, WrongField, labelled
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.formatting import day, minute, percent, plural
from txstathat.collector.pages.listing.address import LIST, back_to_list
from txstathat.collector.pages.stat.chart import StatView
from txstathat.collector.pages.stat.earlier import Earlier
from txstathat.collector.pages.stat.newest import Newest, nearest_range
from txstathat.collector.pages.stat.ranges import PRESETS, Range, StoredSince
from txstathat.collector.pages.stat.summary import StatSummary

__all__ = ["StatAddress", "facts_of", "figure_of", "ranges_of"]


@dataclass(frozen=True)
class StatAddress:
    """
    The address of a stat's page, which remembers the list that led to it.

    :ivar path: its path.
    :ivar origin: the query of the list; empty for the whole list.
    :ivar back: the address of the list.
    """

    path: str
    origin: str
    back: str

    @classmethod
    def of(cls, request: Request, stat: Stat) -> StatAddress:
        """
        Read it from a request.
        """
        origin = argument(request, LIST)
        return cls(f"/stats/{stat.id}", origin, back_to_list(request))

    def to(self, query: str) -> str:
        """
        The address of the page with another range.

        :param query: the query of the range.
        """
        rest = f"&{urlencode({LIST: self.origin})}" if self.origin else ""
        return f"{self.path}?{query}{rest}"

    def form(self, *content: Tag, class_: str) -> Tag:
        """
        Make a form that leads to the page with another range.

        :param content: its fields and its button.
        :param class_: its class.
        """
        if self.origin:
            content = (
                *content,
                tags.input(type="hidden", name=LIST, value=self.origin),
            )
        return tags.form(*content, action=self.path, method="get", class_=class_)


def figure_of(value: float | None, unit: str) -> str:
    """
    Write a number with its unit; nothing for ``None``.

    :param value: the number.
    :param unit: the unit; empty for none.
    """
    if value is None:
        return ""
    return f"{number(value)} {unit}" if unit else number(value)


# -- the range


def ranges_of(
    view: StatView, since: StoredSince, form: Form, address: StatAddress
) -> Tag:
    """
    Make the links and forms that choose a range.

    :param view: what is shown.
    :param since: returns since when a scale is stored, in Unix seconds.
    :param form: what was typed, and what is wrong with it.
    :param address: the address of the page.
    """
    return tags.div(
        tags.div(_presets(view.range, address), _steps(view, address, since)),
        tags.div(_length(view.range, address, form), _dates(view, address, form)),
        class_="range",
    )


def _presets(shown: Range, address: StatAddress) -> Tag:
    nav = tags.nav(class_="segments timeframes", **{"aria-label": "Range"})
    current = str(shown.timeframe) if shown.start is None else ""
    order = list(PRESETS)
    at = order.index(current) if current in order else None
    for n, (t, title) in enumerate(PRESETS.items()):
        link = tags.a(title, href=address.to(f"t={t}"))
        if n == at:
            link.attributes["aria-current"] = "true"
        if n == (len(order) if at is None else at) - 1:
            _key(link, "ArrowLeft", "The range to the left")
        if n == (-1 if at is None else at) + 1:
            _key(link, "ArrowRight", "The range to the right")
        nav(link)
    return nav


def _key(link: Tag, key: str, help: str) -> None:
    keys = [*str(link.attributes.get("aria-keyshortcuts", "")).split(), key]
    link.attributes |= {"aria-keyshortcuts": " ".join(keys), "data-help": help}


def _steps(view: StatView, address: StatAddress, since: StoredSince) -> Tag:
    nav = tags.nav(class_="steps", **{"aria-label": "Time"})
    for direction, title, key in (
        (-1, "← Earlier", "Shift+ArrowLeft"),
        (1, "Later →", "Shift+ArrowRight"),
    ):
        other = view.range.stepped(direction, view.now, since)
        if other is None:
            # A link without an address: it cannot be used, and keeps its place.
            nav(tags.a(title, role="link", **{"aria-disabled": "true"}))
            continue
        link = tags.a(title, href=address.to(other.query))
        words = "one range earlier" if direction < 0 else "one range later"
        _key(link, key, f"Step {words}")
        nav(link)
    return nav


def _length(shown: Range, address: StatAddress, form: Form) -> Tag:
    given = form if _is_wrong(form, "t") else Form(dict(shown.pairs))
    field = labelled(
        given,
        "t",
        "Length and step",
        longest=24,
        size="7",
        required=True,
        title="A length such as 5d, or with a step such as 2w6h. Units: m h d w M y",
        placeholder="2w6h",
    )
    button = tags.button("Apply", type="submit")
    return address.form(field, button, class_="length")


def _dates(view: StatView, address: StatAddress, form: Form) -> Tag:
    given = form
    if not (_is_wrong(form, "from") or _is_wrong(form, "to")):
        first, last = _days(view)
        given = Form({"from": first, "to": last})
    limits: dict[str, Any] = {"min": "1970-01-01", "max": _date(view.now)}
    return address.form(
        labelled(given, "from", "From", required=True, type="date", **limits),
        labelled(given, "to", "To (UTC)", required=True, type="date", **limits),
        tags.button("Show", type="submit", class_="quiet"),
        class_="dates",
    )


def _is_wrong(form: Form, name: str) -> bool:
    return isinstance(form.error, WrongField) and form.error.field == name


def _days(view: StatView) -> tuple[str, str]:
    begin, duration = view.range.begin(view.now), view.range.timeframe.duration
    return _date(begin), _date(min(view.now, duration.after(begin) - 1))


def _date(t: int) -> str:
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d}"


# -- the summary


def facts_of(
    view: StatView,
    summary: StatSummary,
    newest: Newest,
    since: StoredSince,
    address: StatAddress,
) -> Tag:
    """
    Make the summary.

    :param view: what is shown.
    :param summary: its numbers.
    :param newest: the newest point.
    :param since: returns since when a scale is stored, in Unix seconds.
    :param address: the address of the page.
    """
    counter, unit = view.series.stat.counter, view.details.unit
    facts = [
        ("Latest", summary.latest),
        ("Min", summary.min),
        ("Max", summary.max),
        ("Mean", summary.mean),
        *([("Total", summary.total)] if counter else []),
        ("Std. deviation", summary.deviation),
    ]
    change = [] if view.earlier is None else _change(view.earlier)
    return tags.section(
        _nothing(view, newest, since, address),
        tags.dl(
            *(_fact(name, value, unit) for name, value in facts),
            *change,
            class_="facts",
        ),
        tags.p(_basis(view), " ", _dates_of(view, newest), class_="hint"),
        id="summary",
        class_="live",
        **{"aria-label": "Summary"},
    )


def _fact(name: str, value: float | None, unit: str) -> Tag:
    figure = tags.dd(number(value))
    if unit and value is not None:
        figure(" ", tags.small(tags.bdi(unit)))
    return tags.div(tags.dt(name), figure)


def _change(earlier: Earlier) -> list[Tag]:
    if earlier.change is None:
        return []
    words = f"{number(earlier.whole)} then, {number(earlier.now)} now"
    name, value = tags.dt(f"Against {earlier.title}"), tags.dd(percent(earlier.change))
    return [tags.div(name, value, title=f"{words}, without the current step")]


def _nothing(
    view: StatView, newest: Newest, since: StoredSince, address: StatAddress
) -> Tag:
    """
    Where the points are, if there are none in the range.
    """
    if view.series.received:
        return tags.transparent()
    line = tags.p(_where(view), class_="nothing", role="status")
    nearest = nearest_range(newest, since)
    if nearest is None:
        return line(" No points yet.")
    other, words = nearest
    return line(
        f" Newest point: {newest.date}. ",
        tags.a(f"Show {words}", href=address.to(other.query)),
        ".",
    )


def _where(view: StatView) -> str:
    if view.range.start is not None:
        return "Nothing in this range."
    return f"Nothing in the last {view.range.timeframe.duration.title}.".replace(
        " 1 ", " ", 1
    )


def _basis(view: StatView) -> str:
    """
    What the numbers are made of.
    """
    buckets, step = view.series.buckets, view.range.timeframe.interval.title
    active = sum(bucket.count > 0 for bucket in buckets)
    line = f"{active:,} of {plural(len(buckets), 'step')} of {step} have points."
    if not view.series.stat.counter:
        points = sum(bucket.count for bucket in buckets)
        return (
            f"{line} The mean is that of {plural(points, 'point')}. Min and max are "
            "those of points too; the deviation is that of the averages of the steps."
        )
    rest = "Min, mean and deviation count the others as 0"
    if view.unfinished and len(buckets) > 1:
        return f"{line} {rest}, and leave out the current step."
    return f"{line} {rest}."


def _dates_of(view: StatView, newest: Newest) -> Tag:
    stat = view.series.stat
    last: Tag | str = "No points"
    if newest.time is not None:
        received = f"received {minute(stat.received_at)}"
        last = tags.span(
            f"Last point {newest.ago}", title=f"{newest.moment}; {received}"
        )
    return tags.transparent(last, f". Created {day(stat.created_at)}.")
