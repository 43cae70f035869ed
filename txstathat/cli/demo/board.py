"""
The shop's board on its server, with a note about its deployment.
"""

from __future__ import annotations

from txstathat.collector.boards.model import Board, Tile
from txstathat.collector.service import CollectorParts

__all__ = ["make_board"]

_TILES = (
    Tile("views", "sparkline", ("page views",)),
    Tile("sales", "sparkline", ("sales",)),
    Tile("basket", "sparkline", ("basket EUR",), title="Average basket"),
    Tile("inside", "sparkline", ("visitors inside",), "1h1m"),
    Tile("day", "chart", ("sales",), size="medium", title="Sales of the day"),
    Tile("times", "chart", ("response ms",), size="medium", title="Response time, ms"),
    Tile(
        "all",
        "comparison",
        ("page views", "sales", "basket EUR"),
        size="large",
        title="Page views, sales and baskets",
    ),
)


async def make_board(parts: CollectorParts) -> str:
    """
    Make the board.

    :param parts: the server.
    :returns: the path of its page.
    """
    await parts.archive.comment(None, "the shop opened")
    return f"/boards/{await parts.boards.boards.create(Board('The bookshop', _TILES))}"
