"""
The page of one board.
"""

from __future__ import annotations

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.archive.archive import Archive
from txstathat.collector.boards.model import Board
from txstathat.collector.boards.reading import read_board
from txstathat.collector.boards.records import Documents
from txstathat.collector.pages.boards.tiles import board_of
from txstathat.collector.pages.formatting import isolated
from txstathat.collector.pages.guard import GuardedPage, SessionGuard
from txstathat.collector.pages.layout import ASSETS, frame

__all__ = ["BOARD_FILES", "BoardPage"]

#: The style sheet and the script of pages with boards.
BOARD_FILES = (
    tags.link(rel="stylesheet", href=f"{ASSETS}/boards.css"),
    tags.script(src=f"{ASSETS}/boards.js", defer="defer"),
)


class BoardPage(GuardedPage):
    """
    A board.

    :param guard: checks the session.
    :param archive: the stats.
    :param boards: the boards.
    :param id: the id of the board.
    """

    error_title = "Can't show this board"

    def __init__(
        self, guard: SessionGuard, archive: Archive, boards: Documents[Board], id: str
    ) -> None:
        super().__init__(guard)
        self._archive = archive
        self._boards = boards
        self._id = id

    async def guarded(self, request: Request) -> Tag:
        """
        Show the board.
        """
        board = await self._boards.get(self._id)
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
