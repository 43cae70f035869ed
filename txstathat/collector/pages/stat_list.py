"""
The page at ``/``: a list of all stats with their last day, and a search.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlencode

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.archive import Archive
from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import Stat
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.formatting import ago, minute, number, plural
from txstathat.collector.pages.guard import GuardedPage, SessionGuard
from txstathat.collector.pages.layout import frame
from txstathat.collector.pages.sparkline import sparkline

__all__ = ["MAX_SEARCH", "PAGE", "StatList"]

#: How many stats a page shows by default.
PAGE = 50
#: The length of a search, in characters; the rest is cut.
MAX_SEARCH = 255

_DAY = "1d1h"
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")


class StatList(GuardedPage):
    """
    The list of stats.

    :param guard: checks the session.
    :param archive: the stats.
    :param page_size: how many stats one page shows.
    """

    takes_body = False

    wrong_method = (404, "post to /ez, /c or /v")
    error_title = "Can't show the stats"

    def __init__(
        self, guard: SessionGuard, archive: Archive, page_size: int = PAGE
    ) -> None:
        super().__init__(guard)
        self._archive = archive
        self._page_size = page_size

    async def guarded(self, request: Request) -> Tag:
        """
        Show a page of the list.
        """
        if request.postpath:
            raise Refusal(404, "no such page")
        search, page = _query(request)
        stats = await self._archive.stats()
        if not stats:
            return _empty(_url(request))
        words = search.lower().split()
        found = [
            stat for stat in stats if all(word in stat.name.lower() for word in words)
        ]
        pages = max(1, -(-len(found) // self._page_size))
        page = min(page, pages)
        start = (page - 1) * self._page_size
        shown = found[start : start + self._page_size]
        return frame(
            "Stats",
            tags.h1("Stats"),
            _search(search),
            tags.div(
                _count(len(found), len(stats), search),
                _table(shown, await self._days(shown), self._now()),
                _pages(search, page, pages),
                id="stats",
                class_="live",
            ),
            section="/",
        )

    async def _days(self, stats: Sequence[Stat]) -> Mapping[str, Series]:
        try:
            series = await self._archive.data(stats, _DAY)
        except Refusal:
            # The retention of hours may be less than a day.
            return {}
        return {one.stat.name: one for one in series}

    def _now(self) -> float:
        return self._archive.store.clock.seconds()


def _query(request: Request) -> tuple[str, int]:
    args = request.args or {}
    search = str(args.get(b"q", [b""])[-1], "utf-8", "replace")[:MAX_SEARCH]
    page = args.get(b"page", [b"1"])[-1]
    return search.strip(), int(page) if re.fullmatch(rb"[1-9][0-9]{0,5}", page) else 1


def _search(search: str) -> Tag:
    return tags.form(
        tags.label("Search", class_="unseen", **{"for": "q"}),
        tags.input(
            type="search",
            name="q",
            id="q",
            value=search,
            placeholder="Search stats",
            maxlength=str(MAX_SEARCH),
        ),
        tags.button("Search", type="submit"),
        action="/",
        method="get",
        class_="search",
        role="search",
    )


def _count(found: int, all: int, search: str) -> Tag:
    line = tags.p(class_="hint", role="status")
    if not search:
        return line(plural(all, "stat"))
    if not found:
        return line(f"No stats match “{search}”. ", _everything())
    return line(f"{found:,} of {all:,} stats. ", _everything())


def _everything() -> Tag:
    return tags.a("Show all", href="/")


def _table(stats: Sequence[Stat], days: Mapping[str, Series], now: float) -> Tag:
    if not stats:
        return tags.transparent()
    heads = [
        tags.th("Name", scope="col"),
        tags.th(
            "Last 24 hours",
            scope="col",
            colspan="2",
            title="One point per hour; the dotted part is the current hour",
        ),
        tags.th("Last point", scope="col", class_="wide"),
    ]
    rows = [_row(stat, days.get(stat.name), now) for stat in stats]
    return tags.table(
        tags.caption("Stats by name", class_="unseen"),
        tags.thead(tags.tr(*heads)),
        tags.tbody(*rows),
        class_="stats",
    )


def _row(stat: Stat, day: Series | None, now: float) -> Tag:
    kind = "total" if stat.counter else "average"
    line, figure = tags.transparent(), "–"  # noqa: RUF001
    if day is not None:
        with suppress(Refusal):  # a sum beyond the largest float
            line = sparkline(day.values)
        figure = number(day.whole)
    when = "never" if not stat.receipts else ago(stat.received_at, now)
    return tags.tr(
        tags.th(tags.a(tags.bdi(stat.name), href=f"/stats/{stat.id}"), scope="row"),
        tags.td(line, class_="line"),
        tags.td(figure, " ", tags.small(kind), class_="figure"),
        tags.td(tags.span(when, title=minute(stat.received_at)), class_="wide"),
    )


def _pages(search: str, page: int, pages: int) -> Tag:
    if pages == 1:
        return tags.transparent()
    nav = tags.nav(class_="pages", **{"aria-label": "Pages"})
    if page > 1:
        nav(tags.a("← Previous", href=_link(search, page - 1), rel="prev"))
    nav(tags.span(f"Page {page} of {pages}"))
    if page < pages:
        nav(tags.a("Next →", href=_link(search, page + 1), rel="next"))
    return nav


def _link(search: str, page: int) -> str:
    query = {"q": search} if search else {}
    return "/?" + urlencode({**query, "page": page})


def _url(request: Request) -> str:
    """
    The URL of this server, as the browser uses it.
    """
    host = request.getHeader("host") or ""
    if _HOST.fullmatch(host) is None:
        # The URL is shown in a shell command.
        host = "localhost"
    forwarded = (request.getHeader("x-forwarded-proto") or "").lower() == "https"
    return f"http{'s' if request.isSecure() or forwarded else ''}://{host}"


def _empty(url: str) -> Tag:
    shell = f"curl {url}/ez -d ezkey=YOUR-EZ-KEY -d stat='first light' -d count=1"
    python = (
        "from txstathat import txStatHat\n\n"
        f'stats = txStatHat("YOUR-EZ-KEY", url="{url}")\n'
        'stats.count("first light")'
    )
    return frame(
        "No stats yet",
        tags.section(
            tags.h1("No stats yet"),
            tags.p(
                "Stats appear when their first point arrives. Send one, and this page "
                "updates by itself."
            ),
            tags.h2("From a shell"),
            tags.pre(tags.code(shell), tabindex="0"),
            tags.h2("From a Twisted program"),
            tags.pre(tags.code(python), tabindex="0"),
            tags.p(
                "The collector printed an EZ key, or wrote it to a file, when it first "
                "started. To make another: ",
                tags.code("txstathat keys add ez NAME"),
                class_="hint",
            ),
            id="stats",
            class_="card wide-card live",
        ),
        section="/",
    )
