"""
The page that changes a board: its name, and which tiles it has in which order.

It works without JavaScript. The script lets tiles be dragged, and moved with the arrow
keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.boards.model import (
    KINDS,
    MAX_TITLE,
    SIZES,
    TIMEFRAMES,
    Board,
    Tile,
)
from txstathat.collector.pages.boards.board_page import BOARD_FILES
from txstathat.collector.pages.boards.tiles import tile_title
from txstathat.collector.pages.boards.titles import read_title
from txstathat.collector.pages.forms.forms import (
    Form,
    FormPage,
    delete_form,
    labelled,
    message_of,
    unknown_form,
)
from txstathat.collector.pages.frame.flash import Done
from txstathat.collector.pages.frame.formatting import isolated
from txstathat.collector.pages.frame.layout import frame
from txstathat.printable import printable

__all__ = ["EditBoard"]


class EditBoard(FormPage):
    """
    The page that changes a board.
    """

    error_title = "Can't change this board"

    async def show(self, request: Request, form: Form) -> Tag:
        """
        Show the tiles, each with its buttons.
        """
        board = await self._parts.boards.get(self._id)
        path = f"/boards/{self._id}"
        if "title" not in form.values:
            form = Form({"title": board.title}, form.error)
        return frame(
            f"Edit {board.title}",
            tags.p(tags.a("← ", isolated(board.title), href=path), class_="back"),
            tags.h1("Edit this board"),
            message_of(form),
            _rows(board, f"{path}/edit"),
            tags.p(tags.a("Add a tile", href=f"{path}/tile", class_="button")),
            _name_form(form, f"{path}/edit"),
            delete_form(
                "Delete this board",
                "Delete the board and its shared links",
                f"{path}/edit",
            ),
            section="/boards",
            files=BOARD_FILES,
        )

    async def take(self, request: Request, form: Form) -> Done:
        """
        Make one change.
        """
        action, tile = form["action"], form["tile"]
        board = await self._parts.boards.get(self._id)
        if action == "delete":
            await self._parts.boards.delete(self._id)
            await self._parts.shares.revoke_all("board", self._id)
            return Done("/boards", "Deleted the board", board.title)
        changes: dict[str, Callable[[Board], Board]] = {
            "up": lambda board: board.moved(tile, -1),
            "down": lambda board: board.moved(tile, 1),
            "remove": lambda board: board.without_tile(tile),
            "order": lambda board: board.in_order(form["order"].split(",")),
        }
        if action == "rename":
            title = read_title(form)
            await self._parts.boards.change(
                self._id, lambda board: replace(board, title=title)
            )
            return Done(f"/boards/{self._id}", "Renamed the board to", title)
        if action not in changes:
            raise unknown_form()
        await self._parts.boards.change(self._id, changes[action])
        path = f"/boards/{self._id}/edit"
        if action == "order":
            return Done(path, "Saved the order of the tiles")
        name = tile_title(board.tile(tile))
        if action == "remove":
            return Done(path, "Removed the tile", name)
        return Done(f"{path}#tile-{tile}", "Moved the tile", name, f" {action}.")


def _rows(board: Board, path: str) -> Tag:
    if not board.tiles:
        return tags.p("This board has no tiles yet.", class_="hint")
    last = len(board.tiles) - 1
    rows = [
        _row(tile, path, is_first=n == 0, is_last=n == last)
        for n, tile in enumerate(board.tiles)
    ]
    hint = tags.p(
        "Drag a tile by its handle, or move it with the arrow keys.",
        class_="hint",
        id="order-hint",
        hidden="hidden",
    )
    status = tags.p(class_="unseen", id="order-status", role="status")
    return tags.div(
        hint, tags.ol(*rows, class_="tile-rows", **{"data-path": path}), status
    )


def _row(tile: Tile, path: str, *, is_first: bool, is_last: bool) -> Tag:
    title = tile_title(tile)
    handle = tags.button(
        "⠿",
        type="button",
        class_="handle quiet",
        hidden="hidden",
        **{
            "aria-label": f"Move {printable(title)}",
            "aria-describedby": "order-hint",
        },
    )
    about = f"{KINDS[tile.kind]}, {TIMEFRAMES[tile.timeframe].lower()}, "
    about += f"{SIZES[tile.size].lower()}"
    change = path.removesuffix("edit") + f"tile?tile={tile.id}"
    return tags.li(
        handle,
        tags.div(isolated(title), " ", tags.small(about), class_="row-title"),
        tags.a("Change", href=change, **_label("Change", title)),
        tags.form(
            tags.input(type="hidden", name="tile", value=tile.id),
            _action("up", "↑", "Move up", title, disabled=is_first),
            _action("down", "↓", "Move down", title, disabled=is_last),
            _action("remove", "Remove", "Remove", title),
            method="post",
            action=path,
        ),
        id=f"tile-{tile.id}",
        **{"data-tile": tile.id},
    )


def _action(
    action: str, text: str, label: str, title: str, *, disabled: bool = False
) -> Tag:
    button = tags.button(
        text,
        type="submit",
        name="action",
        value=action,
        class_="quiet",
        **_label(label, title),
    )
    return button(disabled="disabled") if disabled else button


def _label(what: str, title: str) -> dict[str, str]:
    return {"aria-label": f"{what}: {printable(title)}"}


def _name_form(form: Form, path: str) -> Tag:
    return tags.form(
        labelled(form, "title", "Name of the board", longest=MAX_TITLE, required=True),
        tags.button("Rename", type="submit", name="action", value="rename"),
        method="post",
        action=path,
        class_="panel",
    )
