"""
The forms that add a tile to a board, and change one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.model import MAX_TITLE, TIMEFRAMES, Board
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.boards.tile_form import (
    STAT_FIELDS,
    fields_of,
    read_tile,
    tile_fields,
)
from txstathat.collector.pages.boards.tiles import tile_title
from txstathat.collector.pages.boards.titles import read_title
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    choice,
    labelled,
    message_of,
)
from txstathat.collector.pages.forms.suggestions import suggestions
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import frame

__all__ = ["AddTile", "TilePage"]

# The field for the name of the first board.
_FIRST_BOARD = "first-board"


def new_tile_id() -> str:
    """
    Return a new random id of a tile.
    """
    return secrets.token_hex(4)


class TilePage(FormPage):
    """
    The form of a tile of one board: a new one, or the one that the query names.
    """

    error_title = "Can't change this tile"

    async def show(self, request: Request, form: Form) -> Tag:
        board = await self._parts.boards.get(self._id)
        tile_id = argument(request, "tile")
        if not form.values:
            form = Form(fields_of(board.tile(tile_id)) if tile_id else _first(request))
        path = f"/boards/{self._id}"
        title = "Change a tile" if tile_id else "Add a tile"
        return frame(
            title,
            tags.p(tags.a("← ", isolated(board.title), href=path), class_="back"),
            tags.h1(title),
            tags.form(
                message_of(form),
                *tile_fields(form),
                tags.input(type="hidden", name="tile", value=tile_id),
                tags.button("Save" if tile_id else "Add", type="submit"),
                method="post",
                action=f"{path}/tile",
                class_="panel",
            ),
            await suggestions(self._archive),
            section="/boards",
        )

    async def take(self, request: Request, form: Form) -> Done:
        """
        Add the tile, or change it.
        """
        tile = await read_tile(self._archive, form, form["tile"] or new_tile_id())

        def change(board: Board) -> Board:
            if form["tile"]:
                board.tile(form["tile"])  # it may be removed
            return board.with_tile(tile)

        await self._parts.boards.change(self._id, change)
        what = "Saved the tile" if form["tile"] else "Added the tile"
        return Done(f"/boards/{self._id}/edit", what, tile_title(tile))


class AddTile(FormPage):
    """
    The form that adds a tile with the stats that the query names to any board, or to
    the first one, which it makes.
    """

    error_title = "Can't add this tile"

    async def show(self, request: Request, form: Form) -> Tag:
        if not form.values:
            form = Form(_first(request))
        return frame(
            "Add to a board",
            tags.h1("Add to a board"),
            tags.form(
                message_of(form),
                await self._board_field(form),
                *tile_fields(form),
                tags.button("Add", type="submit"),
                method="post",
                action="/boards/add",
                class_="panel",
            ),
            await suggestions(self._archive),
            section="/boards",
        )

    async def take(self, request: Request, form: Form) -> Done:
        tile = await read_tile(self._archive, form, new_tile_id())
        boards, id = self._parts.boards, form["board"]
        if _FIRST_BOARD in form.values:
            id = await boards.create(Board(read_title(form, _FIRST_BOARD), (tile,)))
            return Done(
                f"/boards/{id}", "Made the board with the tile", tile_title(tile)
            )
        try:
            await boards.change(id, lambda board: board.with_tile(tile))
        except Refusal as refusal:
            raise WrongField("board", refusal.msg) from None
        return Done(f"/boards/{id}", "Added the tile", tile_title(tile))

    async def _board_field(self, form: Form) -> Tag:
        boards = await self._parts.boards.all()
        if boards:
            titles = {id: board.title for id, board in boards.items()}
            return choice(form, "board", "Board", titles)
        return labelled(
            form,
            _FIRST_BOARD,
            "Name of a new board",
            longest=MAX_TITLE,
            required=True,
            hint="There is no board yet: this makes the first one.",
        )


def _first(request: Request) -> Mapping[str, str]:
    """
    Return what the form of a new tile begins with: what the query says.
    """
    names = (*STAT_FIELDS, "kind", "size", "title", "scale")
    fields = {name: argument(request, name) for name in names}
    several = any(fields[name] for name in STAT_FIELDS[1:])
    # The range of the page that led here, as far as a tile has it.
    duration = argument(request, "t").rstrip("mhdwMy").rstrip("0123456789")
    same = [each for each in TIMEFRAMES if duration and each.startswith(duration)]
    kind = fields["kind"] or ("comparison" if several else "sparkline")
    return {
        **fields,
        "kind": kind,
        "timeframe": same[0] if same else "1d1h",
        "size": fields["size"] or ("medium" if several else "small"),
    }
