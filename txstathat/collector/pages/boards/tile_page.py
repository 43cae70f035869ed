"""
The forms that add a tile to a board, and change one.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.model import TIMEFRAMES, Board
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.boards.tile_form import (
    STAT_FIELDS,
    fields_of,
    read_tile,
    tile_fields,
)
from txstathat.collector.pages.boards.tiles import tile_title
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    WrongField,
    choice,
    message_of,
)
from txstathat.collector.pages.forms.suggestions import suggestions
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import frame

__all__ = ["AddTile", "TilePage"]


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
    The form that adds a tile with the stats that the query names to any board.
    """

    error_title = "Can't add this tile"

    async def show(self, request: Request, form: Form) -> Tag:
        boards = await self._parts.boards.all()
        heading = tags.h1("Add to a board")
        if not boards:
            return frame(
                "Add to a board",
                heading,
                tags.p(
                    "There is no board yet. ", tags.a("Make one", href="/boards"), "."
                ),
                section="/boards",
            )
        if not form.values:
            form = Form(_first(request))
        titles = {id: board.title for id, board in boards.items()}
        return frame(
            "Add to a board",
            heading,
            tags.form(
                message_of(form),
                choice(form, "board", "Board", titles),
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
        try:
            await self._parts.boards.change(
                form["board"], lambda board: board.with_tile(tile)
            )
        except Refusal as refusal:
            raise WrongField("board", refusal.msg) from None
        return Done(f"/boards/{form['board']}", "Added the tile", tile_title(tile))


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
