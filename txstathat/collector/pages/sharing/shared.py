"""
What a shared link shows: one stat or one board, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.stats import Stat
from txstathat.collector.auth.shares import Share
from txstathat.collector.boards.model import TIMEFRAMES as TILE_TIMEFRAMES
from txstathat.collector.boards.model import Board, Tile
from txstathat.collector.boards.reading import read_board
from txstathat.collector.errors import Refusal, WrongKey
from txstathat.collector.pages.boards.board_page import BOARD_FILES
from txstathat.collector.pages.boards.tiles import board_of
from txstathat.collector.pages.chart_page import CHART_FILES, respond_with
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.formatting import isolated, sentence
from txstathat.collector.pages.frame.layout import Page, bare
from txstathat.collector.pages.frame.paths import base_path
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.pages.stat.chart import (
    DEFAULT,
    StatChart,
    chart_of,
    view_at,
)
from txstathat.collector.pages.stat.ranges import PRESETS
from txstathat.collector.web.resources import address_of
from txstathat.web import page_policy

__all__ = ["SharedPages"]

_UNKNOWN = "this link does not work: it was revoked, or a part of it is missing"


class SharedPages(Page):
    """
    The parent of all shared links, at ``/shared``.

    :param parts: what the pages work with.
    """

    takes_body = False
    isLeaf = False

    def __init__(self, parts: PageParts) -> None:
        super().__init__()
        self.archive = parts.archive
        self.boards = parts.boards
        self.chart_policy = parts.chart_policy
        self._shares = parts.shares
        self._throttle = parts.throttle

    def getChild(self, path: bytes, request: Request) -> Resource:
        secret = path.decode("ascii", "replace")
        page = _SharedPage(self, secret)
        page.putChild(b"embed", _Embed(self, secret))
        page.putChild(b"chart", _SharedChart(self, secret))
        return page

    async def page(self, request: Request) -> Tag:
        """
        Refuse: nothing is shared without a secret.
        """
        raise Refusal(404, "no such page")

    def error_page(self, request: Request, refusal: Refusal) -> Tag:
        return _message(self.title_of(refusal), refusal.msg)

    async def find(self, request: Request, secret: str) -> Share:
        """
        Find out what a link shows.

        :param request: the request.
        :param secret: the secret in the link.
        :raises Refusal: if there is no such link (any more).
        """
        share = await self._shares.find(secret)
        if share is None:
            raise self._throttle.refuse(address_of(request), "link")
        return share

    async def stat(self, share: Share) -> Stat:
        """
        Find the stat that a link shows.

        :raises Refusal: 404 if it shows a board, or the stat does not exist.
        """
        stat = await self.archive.stat(share.target) if share.kind == "stat" else None
        if stat is None:
            raise Refusal(404, "what this link showed is not there any more")
        return stat


class _SharedPage(Page):
    """
    The page of a link.
    """

    isLeaf = False
    error_title: ClassVar[str] = "This link shows nothing"
    #: The sites that can show it inside a page.
    ancestors: ClassVar[str] = "'none'"

    def __init__(self, pages: SharedPages, secret: str) -> None:
        super().__init__()
        self._pages = pages
        self._secret = secret

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Find a part of the page. Only those who have the link learn whether it exists.
        """
        return self if not path and not request.postpath else _Nothing(*self._parts)

    @property
    def _parts(self) -> tuple[SharedPages, str]:
        return self._pages, self._secret

    @property
    def _path(self) -> str:
        return f"/shared/{self._secret}"

    def error_page(self, request: Request, refusal: Refusal) -> Tag:
        # The same words whatever is wrong with the link.
        words = _UNKNOWN if isinstance(refusal, WrongKey) else refusal.msg
        return _message(self.title_of(refusal), words)

    async def page(self, request: Request) -> Tag | bytes:
        # The address has the secret: no other site learns it, and no search engine.
        request.setHeader("Referrer-Policy", "no-referrer")
        request.setHeader("X-Robots-Tag", "noindex")
        share = await self._pages.find(request, self._secret)
        policy = page_policy(ancestors=self.ancestors)
        request.setHeader("Content-Security-Policy", policy)
        return await self.shared(request, share)

    async def shared(self, request: Request, share: Share) -> Tag | bytes:
        """
        Make the page, as :meth:`.Page.page`.

        :param share: what the link shows.
        """
        if share.kind == "board":
            return await self._board(share)
        stat = await self._pages.stat(share)
        if self._pages.chart_policy is None:
            return await self._light(request, stat)
        request.setHeader("Content-Security-Policy", self._pages.chart_policy)
        t = argument(request, "t") or DEFAULT
        view = await view_at(self._pages.archive, stat, t)
        return bare(
            stat.name,
            tags.h1(isolated(stat.name)),
            self._ranges(t, PRESETS),
            chart_of(view, f"{self._path}/chart"),
            files=CHART_FILES,
        )

    async def _board(self, share: Share) -> Tag:
        board = await self._pages.boards.get(share.target)
        data = await read_board(self._pages.archive, board, notes=False)
        return bare(
            board.title,
            tags.h1(isolated(board.title)),
            board_of(board, data, linked=False),
            files=BOARD_FILES,
        )

    async def _light(self, request: Request, stat: Stat) -> Tag:
        """
        Show a stat as a tile, which needs no script.
        """
        t = argument(request, "t")
        if t not in TILE_TIMEFRAMES:
            t = "1d1h"
        tile = Tile("stat", "chart", (stat.name,), t, "large")
        board = Board(stat.name, (tile,))
        data = await read_board(self._pages.archive, board, notes=False)
        return bare(
            stat.name,
            tags.h1(isolated(stat.name), class_="unseen"),
            board_of(board, data, linked=False),
            self._ranges(t, TILE_TIMEFRAMES),
            files=BOARD_FILES,
        )

    def _ranges(self, t: str, timeframes: Mapping[str, str]) -> Tag:
        nav = tags.nav(class_="segments timeframes", **{"aria-label": "Range"})
        for each, title in timeframes.items():
            # Relative to the page, which can be the embedded one.
            link = tags.a(title, href=f"?t={each}")
            nav(link(**{"aria-current": "true"}) if each == t else link)
        return nav


class _Embed(_SharedPage):
    """
    The page that other sites can show inside their own.
    """

    ancestors = "*"

    async def shared(self, request: Request, share: Share) -> Tag | bytes:
        if share.kind == "board":
            return await self._board(share)
        return await self._light(request, await self._pages.stat(share))


class _SharedChart(_SharedPage):
    """
    The chart of a shared stat by itself, as a page, fragment, JSON or CSV.
    """

    async def shared(self, request: Request, share: Share) -> bytes:
        chart_policy = self._pages.chart_policy
        stat = await self._pages.stat(share)
        if chart_policy is None:
            raise Refusal(404, "no such page")
        base = base_path(request)
        chart = StatChart(self._pages.archive, stat, base, f"{self._path}/chart")
        body = await respond_with(chart, request, chart_policy)
        request.setHeader("Referrer-Policy", "no-referrer")
        return body


class _Nothing(_SharedPage):
    """
    What is below a link without a page.
    """

    isLeaf = True

    async def shared(self, request: Request, share: Share) -> Tag:
        raise Refusal(404, "no such page")


def _message(title: str, words: str) -> Tag:
    message = tags.p(tags.bdi(sentence(words)), role="alert", class_="message")
    return bare(title, tags.h1(title), message)
