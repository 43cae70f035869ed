"""
Boards, their tiles, and saved comparisons.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from txstathat.collector.errors import Refusal
from txstathat.collector.records import BadRecord, check_fields, load_fields
from txstathat.errors import InvalidTimeframe
from txstathat.points.names import check_name
from txstathat.points.timeframe import Timeframe

__all__ = [
    "KINDS",
    "MAX_COMPARED",
    "MAX_SERIES",
    "MAX_TILES",
    "MAX_TITLE",
    "SCALES",
    "SIZES",
    "TIMEFRAMES",
    "Board",
    "Comparison",
    "Tile",
    "check_comparison",
    "check_tile",
    "is_id",
    "new_id",
    "parse_board",
    "parse_comparison",
    "to_json",
]

#: The most stats that are compared.
MAX_COMPARED = 6
#: The most tiles on a board.
MAX_TILES = 40
#: The most lines on a board, over all tiles.
MAX_SERIES = 60
#: The most characters of the title of a board, a tile or a comparison.
MAX_TITLE = 100

#: What a tile can show.
KINDS = {
    "number": "Number",
    "sparkline": "Number with a sparkline",
    "chart": "Chart",
    "comparison": "Comparison",
}
#: The sizes of a tile.
SIZES = {"small": "Small", "medium": "Medium", "large": "Large"}
#: The timeframes of a tile. Their steps are long enough for its size.
TIMEFRAMES = {
    "1h1m": "Hour",
    "1d1h": "Day",
    "1w3h": "Week",
    "1M1d": "Month",
    "90d1d": "90 days",
    "1y1w": "Year",
}
#: The axes of a comparison.
SCALES = {"own": "An axis for each", "indexed": "Indexed: the start is 100"}

_ID = re.compile(r"[a-z2-7]{16}")


@dataclass(frozen=True, slots=True)
class Tile:
    """
    A tile of a board.

    :ivar id: identifies it on its board.
    :ivar kind: one of :data:`KINDS`.
    :ivar stats: the names of its stats: one, or up to :data:`MAX_COMPARED` that are
        compared. They need not exist.
    :ivar timeframe: one of :data:`TIMEFRAMES`.
    :ivar size: one of :data:`SIZES`.
    :ivar title: its title; empty for the names of its stats.
    :ivar scale: one of :data:`SCALES`, for a comparison.
    """

    id: str
    kind: str
    stats: tuple[str, ...]
    timeframe: str = "1d1h"
    size: str = "small"
    title: str = ""
    scale: str = "own"


@dataclass(frozen=True, slots=True)
class Board:
    """
    A board.

    :ivar title: its title.
    :ivar tiles: its tiles, in their order.
    """

    title: str
    tiles: tuple[Tile, ...] = ()

    def tile(self, id: str) -> Tile:
        """
        Return a tile by its id.

        :raises Refusal: 404 if there is none.
        """
        for tile in self.tiles:
            if tile.id == id:
                return tile
        raise Refusal(404, "there is no such tile: it may have been removed")

    def with_tile(self, tile: Tile) -> Board:
        """
        Return the board with a tile, which replaces the one with the same id, or is the
        last one.

        :raises Refusal: 400 if there are too many tiles or lines.
        """
        if any(each.id == tile.id for each in self.tiles):
            tiles = [tile if each.id == tile.id else each for each in self.tiles]
        else:
            tiles = [*self.tiles, tile]
        if len(tiles) > MAX_TILES:
            raise Refusal(
                400,
                f"a board has at most {MAX_TILES} tiles: remove one, or make another",
            )
        if sum(len(each.stats) for each in tiles) > MAX_SERIES:
            raise Refusal(
                400,
                f"a board shows at most {MAX_SERIES} lines, over all tiles: remove a "
                "tile, or make another board",
            )
        return replace(self, tiles=tuple(tiles))

    def without_tile(self, id: str) -> Board:
        """
        Return the board without a tile.

        :raises Refusal: 404 if it is not there.
        """
        gone = self.tile(id)
        return replace(self, tiles=tuple(each for each in self.tiles if each != gone))

    def moved(self, id: str, by: int) -> Board:
        """
        Return the board with a tile in another place.

        :param id: the id of the tile.
        :param by: by how many places it moves towards the end; negative towards the
            beginning. It stops at the ends.
        :raises Refusal: 404 if it is not there.
        """
        tile, tiles = self.tile(id), list(self.tiles)
        at = tiles.index(tile)
        del tiles[at]
        tiles.insert(max(0, at + by), tile)
        return replace(self, tiles=tuple(tiles))

    def in_order(self, ids: Sequence[str]) -> Board:
        """
        Return the board with its tiles in another order.

        :param ids: the ids of the tiles. Unknown ones are left out; tiles that are not
            named follow in their present order.
        """
        places = {id: place for place, id in reversed([*enumerate(ids)])}
        tiles = sorted(self.tiles, key=lambda tile: places.get(tile.id, len(places)))
        return replace(self, tiles=tuple(tiles))

    @property
    def stats(self) -> list[str]:
        """
        The names of all stats on it, each once.
        """
        return list(dict.fromkeys(name for tile in self.tiles for name in tile.stats))


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    A saved comparison.

    :ivar title: its title.
    :ivar stats: the names of the stats.
    :ivar timeframe: the timeframe, such as ``'1w3h'``.
    :ivar scale: one of :data:`SCALES`.
    """

    title: str
    stats: tuple[str, ...]
    timeframe: str
    scale: str = "own"


def new_id() -> str:
    """
    Return a new random id of a board or a comparison: 16 letters and digits.
    """
    return b32encode(secrets.token_bytes(10)).decode("ascii").lower()


def is_id(text: str) -> bool:
    """
    Return whether a text can be an id that :func:`new_id` returns.
    """
    return _ID.fullmatch(text) is not None


def check_tile(tile: Tile) -> Tile:
    """
    Check a tile.

    :raises BadRecord: if it is not valid.
    :raises InvalidPoint: if a text is too long or has control characters.
    """
    for value, known, what in (
        (tile.kind, KINDS, "kind"),
        (tile.timeframe, TIMEFRAMES, "timeframe"),
        (tile.size, SIZES, "size"),
        (tile.scale, SCALES, "scale"),
    ):
        if not isinstance(value, str) or value not in known:
            raise BadRecord(f"is not valid: unknown {what}")
    if not isinstance(tile.id, str) or not 0 < len(tile.id) <= MAX_TITLE:
        raise BadRecord("is not valid: a tile has no id")
    if tile.title != "":
        check_name(tile.title, "title", MAX_TITLE)
    check_stats(tile.stats, MAX_COMPARED if tile.kind == "comparison" else 1)
    return tile


def check_comparison(comparison: Comparison) -> Comparison:
    """
    Check a comparison.

    :raises BadRecord: if it is not valid.
    :raises InvalidPoint: if a text is too long or has control characters.
    """
    check_name(comparison.title, "title", MAX_TITLE)
    if comparison.scale not in SCALES:
        raise BadRecord("is not valid: unknown scale")
    check_stats(comparison.stats, MAX_COMPARED)
    try:
        Timeframe.parse(comparison.timeframe)
    except InvalidTimeframe:
        raise BadRecord("is not valid: it has no timeframe") from None
    return comparison


def check_stats(names: Any, most: int) -> None:
    """
    Check the names of the stats of a tile or a comparison.

    :param names: the names.
    :param most: the largest number of them.
    :raises BadRecord: if there are too few or too many, or one is twice.
    :raises InvalidPoint: if a name is not valid.
    """
    if not isinstance(names, tuple) or not 1 <= len(names) <= most:
        raise BadRecord(f"is not valid: it must have 1 to {most} stats")
    for name in names:
        check_name(name)
    if len(set(names)) != len(names):
        raise BadRecord("is not valid: a stat is there twice")


def parse_board(id: str, text: str) -> Board:
    """
    Parse the record of a board.

    :param id: its id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("title", "tiles"))
    if not is_id(id):
        raise BadRecord("is not valid: its id is not that of a board")
    if not isinstance(fields["tiles"], list) or len(fields["tiles"]) > MAX_TILES:
        raise BadRecord("is not valid: it has no list of tiles")
    board = Board(check_name(fields["title"], "title", MAX_TITLE))
    for thing in fields["tiles"]:
        names = ("id", "kind", "stats", "timeframe", "size", "title", "scale")
        values = check_fields(thing, names)
        stats = values["stats"]
        tile = Tile(**{**values, "stats": tuple(stats) if _is_list(stats) else ()})
        if any(each.id == tile.id for each in board.tiles):
            raise BadRecord("is not valid: two tiles have the same id")
        board = board.with_tile(check_tile(tile))
    return board


def parse_comparison(id: str, text: str) -> Comparison:
    """
    Parse the record of a comparison.

    :param id: its id.
    :param text: its text.
    :raises BadRecord: if it is not valid, or a newer version wrote it.
    """
    fields = load_fields(text, ("title", "stats", "timeframe", "scale"))
    stats = fields["stats"]
    if not is_id(id) or not isinstance(fields["scale"], str):
        raise BadRecord("is not valid: it has no id or no scale")
    stats = tuple(stats) if _is_list(stats) else ()
    return check_comparison(Comparison(**{**fields, "stats": stats}))


def _is_list(thing: object) -> bool:
    return isinstance(thing, list) and all(isinstance(one, str) for one in thing)


def to_json(thing: Board | Comparison) -> str:
    """
    Write a record.
    """
    return json.dumps(asdict(thing))
