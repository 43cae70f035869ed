"""
The tiles of a board.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.template import Tag, tags

from txstathat.collector.archive.series import Series
from txstathat.collector.archive.stats import stat_id
from txstathat.collector.boards.indexing import START, indexed
from txstathat.collector.boards.model import TIMEFRAMES, Board, Tile
from txstathat.collector.boards.reading import BoardData
from txstathat.collector.errors import Refusal
from txstathat.collector.number_text import number
from txstathat.collector.pages.boards.plot import Line, plot
from txstathat.collector.pages.frame.formatting import isolated, percent, sentence
from txstathat.collector.pages.sparkline import sparkline
from txstathat.collector.pages.stat.earlier import compare_with
from txstathat.printable import printable

__all__ = ["board_of", "tile_title"]

# A number with more characters is written smaller, so that it fits into a small tile.
_LONG = 8


def tile_title(tile: Tile) -> str:
    """
    Return the title of a tile.

    :param tile: the tile.
    """
    return tile.title or " · ".join(tile.stats)


def board_of(board: Board, data: BoardData, *, linked: bool) -> Tag:
    """
    Make the tiles of a board.

    :param board: the board.
    :param data: what they show.
    :param linked: whether the titles are links to the pages of the stats.
    """
    tiles = [_tile(tile, data, linked=linked) for tile in board.tiles]
    whole = tags.div(*tiles, id="board", class_="live board")
    if not tiles:
        whole(tags.p("This board has no tiles yet.", class_="hint"))
    return whole


def _tile(tile: Tile, data: BoardData, *, linked: bool) -> Tag:
    title = isolated(tile_title(tile))
    if linked:
        ids = [stat_id(name) for name in tile.stats]
        query = "&".join(f"s={id}" for id in ids)
        href = f"/stats/{ids[0]}" if len(ids) == 1 else f"/compare?{query}"
        title = tags.a(title, href=href)
    try:
        content = _content(tile, data)
    except Refusal as refusal:
        content = [tags.p(tags.bdi(sentence(printable(refusal.msg))), class_="hint")]
    return tags.article(
        tags.h2(title), *content, class_=f"tile size-{tile.size} kind-{tile.kind}"
    )


def _content(tile: Tile, data: BoardData) -> list[Tag]:
    """
    Make what is below the title.

    :raises Refusal: if a series cannot be shown.
    """
    found: list[Series] = []
    for name in tile.stats:
        series = data.series.get((name, tile.timeframe))
        if isinstance(series, Refusal):
            raise series
        if series is not None:
            found.append(series)
    if not found:
        return [
            tags.p("No such stat: it is deleted, or has no points yet.", class_="hint")
        ]
    if tile.kind == "comparison":
        return [*_missing(tile, found), *_comparison(tile, found, data)]
    (series,) = found
    content = [_figure(series, tile, data)]
    if tile.kind == "number":
        content.append(_change(series, tile, data))
    if tile.kind == "sparkline":
        content.append(sparkline(series.values))
    if tile.kind == "chart":
        line = Line(series.values, bars=series.stat.counter)
        marks = data.marks_of(tile.stats, series.buckets[0].time)
        content.append(plot([line], series, marks, _described(series)))
    return content


def _figure(series: Series, tile: Tile, data: BoardData) -> Tag:
    unit, figure = data.units.get(series.stat.name, ""), number(series.whole)
    long = " long" if len(figure) > _LONG else ""
    return tags.p(
        tags.strong(figure, class_=f"big{long}"),
        " ",
        tags.bdi(printable(unit), " ") if unit else "",
        tags.small(f"{_kind(series)}, {_range(tile)}"),
        class_="figure",
    )


def _change(series: Series, tile: Tile, data: BoardData) -> Tag:
    """
    By how much the number differs from that of the time before, if that is known.
    """
    before = data.before.get((series.stat.name, tile.timeframe))
    if before is None or not before.received:
        return tags.transparent()
    earlier = compare_with(before, series, series, data.now)
    if earlier.change is None:
        return tags.transparent()
    words = f"{number(earlier.whole)} then, {number(earlier.now)} now"
    return tags.p(
        percent(earlier.change),
        f" against {earlier.title}",
        class_="change",
        title=f"{words}, without the current step",
    )


def _range(tile: Tile) -> str:
    return f"last {TIMEFRAMES[tile.timeframe].lower()}"


def _kind(series: Series) -> str:
    return "total" if series.stat.counter else "average"


def _described(series: Series) -> str:
    known = [value for value in series.values if value is not None]
    if not known:
        return f"{series.stat.name}: no data"
    return (
        f"{series.stat.name}: {number(min(known))} to {number(max(known))}, "
        f"latest {number(known[-1])}"
    )


def _missing(tile: Tile, found: Sequence[Series]) -> list[Tag]:
    known = {series.stat.name for series in found}
    gone = [name for name in tile.stats if name not in known]
    if not gone:
        return []
    line = tags.p("Not there: ", class_="hint")
    for n, name in enumerate(gone):
        line(", " if n else "", isolated(name))
    return [line]


def _comparison(tile: Tile, found: Sequence[Series], data: BoardData) -> list[Tag]:
    is_indexed = tile.scale == "indexed"
    lines, legend = [], tags.ul(class_="legend")
    for n, series in enumerate(found):
        values: Sequence[int | float | None] = series.values
        figure = number(series.whole)
        if is_indexed:
            values = indexed(values)
            known = [value for value in values if value is not None]
            figure = number(round(known[-1], 1)) if known else number(None)
        lines.append(Line(values, base=START if is_indexed else 0.0))
        swatch = tags.span(class_=f"swatch c{n}")
        small = tags.small("index" if is_indexed else _kind(series))
        name = isolated(series.stat.name)
        legend(tags.li(swatch, " ", name, " ", tags.strong(figure), " ", small))
    marks = data.marks_of(tile.stats, found[0].buckets[0].time)
    text = "; ".join(map(_described, found))
    chart = plot(lines, found[0], marks, text, shared_axis=is_indexed)
    hint = tags.p(_range(tile).capitalize(), class_="hint range-hint")
    return [legend, chart, hint]
