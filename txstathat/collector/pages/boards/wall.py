"""
A board for a screen on a wall: nothing but its tiles, dark, over the full screen.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.reading import read_board
from txstathat.collector.pages.boards.board_page import BOARD_FILES, BoardPage
from txstathat.collector.pages.boards.tiles import board_of
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import bare

__all__ = ["Wall"]


class Wall(BoardPage):
    """
    A board on a wall.
    """

    async def guarded(self, request: Request) -> Tag:
        board = await self._parts.boards.get(self._id)
        data = await read_board(self._archive, board)
        controls = tags.nav(
            # The script shows it where the browser has a full screen.
            tags.button(
                "Full screen", type="button", id="full-screen", hidden="hidden"
            ),
            tags.a("Leave", href=f"/boards/{self._id}"),
            class_="wall-controls",
            **{"aria-label": "This wall"},
        )
        return bare(
            board.title,
            tags.h1(isolated(board.title)),
            board_of(board, data, linked=False),
            controls,
            class_="bare wall",
            files=BOARD_FILES,
        )
