"""
``txstathat list``, ``search``, ``summary``, ``dataset`` and ``delete``: read stats.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from shlex import quote
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table

from txstathat.cli.diagnosis import run_client
from txstathat.cli.output import (
    age_text,
    confirm,
    name_text,
    number_text,
    sparkline,
)
from txstathat.cli.read.timeframes import fill_gaps, timeframe_option
from txstathat.cli.settings import find_reader, make_export, reader_options
from txstathat.cli.tables import format_options, show_rows
from txstathat.errors import InvalidPoint, StatHatAPIError
from txstathat.export.client import StatHatExport
from txstathat.export.models import FullDataset, StatInfo, TrashedStat
from txstathat.points.summary import Summary, summarize
from txstathat.points.timeframe import Timeframe
from txstathat.printable import printable

__all__ = [
    "CommandFailed",
    "WIDE",
    "dataset",
    "delete",
    "find_stat",
    "named",
    "with_name_containing",
    "list_stats",
    "no_match_text",
    "read_latest",
    "search",
    "summary",
    "with_client",
]

_Named = TypeVar("_Named", StatInfo, TrashedStat)

#: The narrowest terminal, in characters, in which a list has the ids of stats.
WIDE = 100


class CommandFailed(Exception):
    """
    A command cannot do its work, such as for want of a stat. The text says why.
    """


@click.command("list")
@format_options
@reader_options
def list_stats(output: str | None, **server: Any) -> None:
    """
    List all stats.

    It shows the sum of a counter, or the mean of a value, in the newest minute (or
    longer interval) that has points, when that was, and the number of all points. A
    program may send the sum of many events as one point. In a narrow terminal the ids
    are left out.
    """

    async def work(client: StatHatExport) -> None:
        _show_stats(output, await read_latest(client), "There are no stats.")

    with_client(server, work)


@click.command()
@click.argument("text")
@format_options
@reader_options
def search(text: str, output: str | None, **server: Any) -> None:
    """
    List the stats with TEXT in their names, in upper or lower case.
    """

    async def work(client: StatHatExport) -> None:
        found = with_name_containing(text, await read_latest(client))
        _show_stats(output, found, no_match_text(text))

    with_client(server, work)


@click.command()
@click.argument("stat")
@timeframe_option("1w3h")
@format_options
@reader_options
def summary(stat: str, timeframe: str, output: str | None, **server: Any) -> None:
    """
    Summarize STAT, a name or an id.

    Shows the latest, smallest and largest number, mean, total (of a counter), standard
    deviation, and the 95 and 99 % confidence ranges of the mean. All are of the sums
    (of a counter) or averages (of a value) of the steps that have points. The page of a
    value shows the smallest and largest of the points themselves, and their mean.
    """

    async def work(client: StatHatExport) -> None:
        found, full = await _read(client, stat, timeframe)
        _show_summary(output, found, full, summarize(full.values, full.counter))
        if output is None:
            click.echo(_basis(full, timeframe))
            values = {
                point.time: point.value if full.counter or point.receipts else None
                for point in full.points
            }
            click.echo(sparkline(fill_gaps(values, full.timeframe)))

    with_client(server, work)


@click.command()
@click.argument("stat")
@timeframe_option("1w3h")
@format_options
@reader_options
def dataset(stat: str, timeframe: str, output: str | None, **server: Any) -> None:
    """
    Show the steps of STAT, a name or an id.

    Each row is a step: when it begins, the sum of a counter or the average of a value,
    and how many points it received. Times are in UTC; in JSON and CSV they are Unix
    seconds. The steps of a value without points are left out.
    """

    async def work(client: StatHatExport) -> None:
        found, full = await _read(client, stat, timeframe)
        columns = ("time", "value", "points")
        # The value of a step without points is absent, not 0.
        steps = [
            (step.time, step.value, step.receipts)
            for step in full.points
            if full.counter or step.receipts
        ]
        show_rows(
            output,
            ("time (UTC)", name_text(found.name), "points")
            if output is None
            else columns,
            steps,
            as_json={
                **_to_json(found),
                "timeframe": full.timeframe,
                "steps": [dict(zip(columns, step, strict=True)) for step in steps],
            },
            as_table=[
                (_time(time), number_text(value), f"{points:,}")
                for time, value, points in steps
            ],
            none=f"{name_text(found.name)} has no points in this time.",
        )

    with_client(server, work)


@click.command()
@click.argument("stat")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@reader_options
def delete(stat: str, yes: bool, **server: Any) -> None:
    """
    Delete STAT, a name or an id.

    On your own server it stays in the trash for 48 hours; "txstathat trash restore"
    brings it back.
    """

    async def work(client: StatHatExport) -> None:
        found = await find_stat(client, stat)
        if not yes:
            confirm(f"Delete {name_text(found.name)}?")
        await client.delete(found.id)
        click.echo(f"{name_text(found.name)} is deleted.")
        click.echo(
            "Your own server can bring it back within 48 hours: "
            f"txstathat trash restore {quote(found.name)}",
            err=True,
        )

    with_client(server, work)


def with_client(
    options: dict[str, Any], work: Callable[[StatHatExport], Awaitable[None]]
) -> NoReturn:
    """
    Do something with a client, and exit.

    :param options: the values of :func:`~txstathat.cli.settings.reader_options`.
    :param work: called with the client.
    """
    server = find_reader(options["url"], options["token"])
    client = make_export(server, options["timeout"])
    run_client(client, server.url, lambda: work(client), (InvalidPoint, CommandFailed))


def with_name_containing(text: str, stats: list[StatInfo]) -> list[StatInfo]:
    """
    The stats with a name that contains a text, in upper or lower case.
    """
    wanted = text.casefold()
    return [stat for stat in stats if wanted in stat.name.casefold()]


def no_match_text(text: str) -> str:
    """
    The message for a list without stats.

    :param text: the text that the names had to contain.
    """
    if not text:
        return "There are no stats."
    return f"No stat's name contains {printable(text)!r}."


async def find_stat(client: StatHatExport, wanted: str) -> StatInfo:
    """
    Find a stat by its name, or else by its id.

    :raises CommandFailed: if there is none. :func:`with_client` shows the message.
    """
    found = named(wanted, await client.stats())
    if found is None:
        raise CommandFailed(
            f"there is no stat with the name or id {wanted!r}; see txstathat list"
        )
    return found


def named(wanted: str, stats: Sequence[_Named]) -> _Named | None:
    """
    Return the stat with a name, or else the one with that id.
    """
    for stat in stats:
        if stat.name == wanted:
            return stat
    return next((stat for stat in stats if stat.id == wanted), None)


async def _read(
    client: StatHatExport, wanted: str, timeframe: str
) -> tuple[StatInfo, FullDataset]:
    stat = await find_stat(client, wanted)
    return stat, await client.full_data(stat.id, timeframe)


async def read_latest(client: StatHatExport) -> list[StatInfo]:
    """
    List all stats with their newest points, or without these if the server cannot tell
    them.
    """
    try:
        return await client.stats(latest=True)
    except StatHatAPIError as error:
        if error.status != 400:
            raise
        return await client.stats()


def _show_stats(output: str | None, stats: list[StatInfo], none: str) -> None:
    rows = []
    for stat in stats:
        fields = _to_json(stat)
        newest = stat.newest
        fields["value"], fields["time"] = (
            (None, None) if newest is None else (newest.value, newest.time)
        )
        fields["points"] = stat.points
        rows.append(fields)
    columns = ("id", "name", "kind", "value", "time", "points")
    if output is not None:
        show_rows(output, columns, [tuple(row.values()) for row in rows])
        return
    if not rows:
        click.echo(none)
        return
    _print_stats(rows)
    click.echo(f"{len(rows):,} stat{'' if len(rows) == 1 else 's'}")


def _print_stats(rows: list[dict[str, Any]]) -> None:
    console = Console(markup=False, highlight=False, emoji=False)
    has_ids = console.width >= WIDE
    table = Table(Column("name", overflow="fold", ratio=1), expand=False)
    table.add_column("kind")
    for title in ("last value", "last point", "points"):
        table.add_column(title, justify="right", no_wrap=True)
    if has_ids:
        table.add_column("id")
    now = time.time()
    for row in rows:
        table.add_row(
            name_text(row["name"]),
            row["kind"],
            number_text(row["value"]),
            "" if row["time"] is None else age_text(now - row["time"]),
            number_text(row["points"]),
            *([row["id"]] if has_ids else []),
        )
    console.print(table)


def _to_json(stat: StatInfo) -> dict[str, Any]:
    kind = "counter" if stat.counter else "value"
    return {"id": stat.id, "name": stat.name, "kind": kind}


def _show_summary(
    output: str | None, stat: StatInfo, full: FullDataset, numbers: Summary
) -> None:
    fields = asdict(numbers)
    flat = dict(fields)
    for name in ("confidence_95", "confidence_99"):
        flat[f"{name}_low"], flat[f"{name}_high"] = flat.pop(name) or (None, None)
    rows = [(name.replace("_", " "), number_text(flat[name])) for name in flat]
    show_rows(
        output,
        (name_text(stat.name), printable(full.timeframe))
        if output is None
        else tuple(flat),
        [tuple(flat.values())],
        as_json={**_to_json(stat), "timeframe": full.timeframe, **fields},
        as_table=[row for row in rows if row[1]],
    )


def _basis(full: FullDataset, timeframe: str) -> str:
    """
    Say what the numbers of a summary are of.
    """
    points = sum(point.receipts for point in full.points)
    steps, step = len(full.values), Timeframe.parse(timeframe).interval.title
    return (
        f"These are of the {'sums' if full.counter else 'averages'} of {steps:,} "
        f"step{'' if steps == 1 else 's'} of {step} with points ({points:,} "
        f"point{'' if points == 1 else 's'})."
    )


def _time(t: int) -> str:
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M}"
