"""
All boards, and the form that makes one.
"""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.model import MAX_TITLE, Board, is_id
from txstathat.collector.pages.boards.board_edit import EditBoard
from txstathat.collector.pages.boards.board_page import BoardPage
from txstathat.collector.pages.boards.tile_page import AddTile, TilePage
from txstathat.collector.pages.boards.titles import read_title
from txstathat.collector.pages.boards.wall import Wall
from txstathat.collector.pages.forms.forms import Form, FormPage, labelled, message_of
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated, plural
from txstathat.collector.pages.frame.layout import frame
from txstathat.collector.pages.parts import PageParts

__all__ = ["BoardPages"]


class BoardPages(FormPage):
    """
    All boards, at ``/boards``, and below it the pages of each.

    :param parts: what the pages work with.
    """

    error_title = "Can't show the boards"

    def __init__(self, parts: PageParts) -> None:
        super().__init__(parts)
        self.putChild(b"add", AddTile(parts))

    def getChild(self, path: bytes, request: Request) -> Resource:
        id = path.decode("ascii", "replace")
        if not is_id(id):
            return super().getChild(path, request)
        page = BoardPage(self._parts, id)
        page.putChild(b"edit", EditBoard(self._parts, id))
        page.putChild(b"tile", TilePage(self._parts, id))
        page.putChild(b"wall", Wall(self._parts, id))
        return page

    async def show(self, request: Request, form: Form) -> Tag:
        boards = await self._parts.boards.all()
        content = [tags.h1("Boards")]
        if boards:
            rows = [_row(id, board) for id, board in boards.items()]
            content.append(tags.ul(*rows, class_="cards"))
        else:
            content.append(
                tags.p("A board shows stats side by side, as tiles. There is none yet.")
            )
        new = tags.form(
            message_of(form),
            labelled(
                form, "title", "Name of a new board", longest=MAX_TITLE, required=True
            ),
            tags.button("Make the board", type="submit"),
            method="post",
            action="/boards",
            class_="panel",
        )
        links = tags.p(tags.a("Shared links", href="/links"), class_="hint")
        return frame("Boards", *content, new, links, section="/boards")

    async def take(self, request: Request, form: Form) -> Done:
        title = read_title(form)
        id = await self._parts.boards.create(Board(title))
        return Done(f"/boards/{id}/edit", "Made the board", title)


def _row(id: str, board: Board) -> Tag:
    return tags.li(
        tags.a(isolated(board.title), href=f"/boards/{id}"),
        " ",
        tags.small(plural(len(board.tiles), "tile")),
    )
