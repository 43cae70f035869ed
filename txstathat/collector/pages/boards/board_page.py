"""
The page of one board.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.reading import read_board
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.boards.tiles import board_of
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import ASSETS, frame

__all__ = ["BOARD_FILES", "BoardPage"]

#: The style sheet and the script of pages with boards.
BOARD_FILES = (
    tags.link(rel="stylesheet", href=f"{ASSETS}/boards.css"),
    tags.script(src=f"{ASSETS}/boards.js", defer="defer"),
)


class BoardPage(GuardedPage):
    """
    A board.
    """

    error_title = "Can't show this board"

    async def guarded(self, request: Request) -> Tag:
        board = await self._parts.boards.get(self._id)
        data = await read_board(self._archive, board)
        path = f"/boards/{self._id}"
        actions = tags.nav(
            tags.a("Edit", href=f"{path}/edit"),
            tags.a("Wall", href=f"{path}/wall"),
            tags.a("Share", href=f"/links?board={self._id}"),
            class_="actions",
            **{"aria-label": "This board"},
        )
        return frame(
            board.title,
            tags.div(tags.h1(isolated(board.title)), actions, class_="headline"),
            board_of(board, data, linked=True),
            section="/boards",
            files=BOARD_FILES,
        )
