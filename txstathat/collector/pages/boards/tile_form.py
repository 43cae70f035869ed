"""
The form of a tile.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.template import Tag, tags

from txstathat.collector.archive.archive import Archive
from txstathat.collector.boards.model import (
    KINDS,
    MAX_COMPARED,
    MAX_TITLE,
    SCALES,
    SIZES,
    TIMEFRAMES,
    Tile,
    check_tile,
)
from txstathat.collector.pages.forms.forms import Form, WrongField, choice, labelled
from txstathat.collector.pages.forms.suggestions import SUGGESTIONS
from txstathat.collector.records import BadRecord
from txstathat.errors import InvalidPoint
from txstathat.points.names import MAX_NAME, check_name

__all__ = ["STAT_FIELDS", "fields_of", "read_stats", "read_tile", "tile_fields"]

#: The names of the fields for the names of stats.
STAT_FIELDS = tuple(f"stat{n}" for n in range(1, MAX_COMPARED + 1))


def tile_fields(form: Form) -> list[Tag]:
    """
    Make the fields of a tile.

    :param form: what they hold.
    """
    more = any(form[name] for name in STAT_FIELDS[1:])
    others = tags.details(
        tags.summary("Compare with other stats"),
        *stat_fields(form)[1:],
        choice(form, "scale", "Axes", SCALES),
        **({"open": "open"} if more or form["kind"] == "comparison" else {}),
    )
    return [
        stat_fields(form)[0],
        others,
        choice(form, "kind", "Show", KINDS),
        choice(form, "timeframe", "Range", TIMEFRAMES),
        choice(form, "size", "Size", SIZES),
        labelled(
            form,
            "title",
            "Title",
            hint="Optional; otherwise the name of the stat.",
            longest=MAX_TITLE,
        ),
    ]


def stat_fields(form: Form) -> list[Tag]:
    """
    Make a field for each stat that can be compared.

    :param form: what they hold.
    """
    return [
        labelled(
            form,
            name,
            "Stat" if n == 0 else f"Stat {n + 1}",
            longest=MAX_NAME,
            spellcheck="false",
            list=SUGGESTIONS,
            required=n == 0,
        )
        for n, name in enumerate(STAT_FIELDS)
    ]


async def read_stats(archive: Archive, form: Form) -> tuple[str, ...]:
    """
    Read the names of stats in a form.

    :param archive: the stats.
    :param form: what was typed.
    :returns: the names, each once.
    :raises WrongField: if there is none, or a stat does not exist.
    """
    typed = {name: form[name] for name in STAT_FIELDS if form[name]}
    if not typed:
        raise WrongField(STAT_FIELDS[0], "type the name of a stat")
    for field, text in typed.items():
        try:
            check_name(text)
        except InvalidPoint as error:
            raise WrongField(field, str(error)) from None
    known = {stat.name for stat in await archive.stats(sorted(set(typed.values())))}
    for field, text in typed.items():
        if text not in known:
            raise WrongField(
                field,
                f"there is no stat named {text!r}: type its whole name, as in the list",
            )
    return tuple(dict.fromkeys(typed.values()))


async def read_tile(archive: Archive, form: Form, id: str) -> Tile:
    """
    Read a tile in a form.

    :param archive: the stats.
    :param form: what was typed.
    :param id: the id of the tile.
    :raises WrongField: if a field is wrong.
    """
    stats = await read_stats(archive, form)
    kind = form["kind"] or "number"
    if len(stats) > 1:
        kind = "comparison"
    tile = Tile(
        id,
        kind,
        stats,
        form["timeframe"] or "1d1h",
        form["size"] or "small",
        form["title"].strip(),
        form["scale"] or "own",
    )
    if tile.title:
        try:
            check_name(tile.title, "title", MAX_TITLE)
        except InvalidPoint as error:
            raise WrongField("title", str(error)) from None
    try:
        return check_tile(tile)
    except BadRecord:
        raise WrongField(
            "kind", "choose what to show, its range and its size from the lists"
        ) from None


def fields_of(tile: Tile) -> Mapping[str, str]:
    """
    Return what the form of a tile holds.

    :param tile: the tile.
    """
    return {
        **dict(zip(STAT_FIELDS, tile.stats, strict=False)),
        "kind": tile.kind,
        "timeframe": tile.timeframe,
        "size": tile.size,
        "title": tile.title,
        "scale": tile.scale,
    }
