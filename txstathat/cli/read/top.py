"""
``txstathat top``: what is being counted now.
"""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text
from twisted.internet.task import deferLater

from txstathat.cli.output import number_text, sparkline
from txstathat.cli.read.stats import (
    holding,
    none_holding,
    on_grid,
    timeframe_option,
    with_client,
)
from txstathat.cli.settings import reader_options
from txstathat.export.client import StatHatExport
from txstathat.export.models import Dataset, StatInfo
from txstathat.points.summary import summarize
from txstathat.printable import printable

__all__ = ["MAX_BARS", "MAX_TOP", "top"]

#: The most stats whose points are read at a time.
MAX_TOP = 500
#: How many of the newest points a line has at most.
MAX_BARS = 30


@click.command()
@click.argument("text", default="")
@timeframe_option("1h1m")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1, max=86_400),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds between two refreshes.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, MAX_TOP),
    default=20,
    show_default=True,
    help="The most stats to show.",
)
@click.option("--once", is_flag=True, help="Show once, and exit.")
@reader_options
def top(
    text: str, timeframe: str, every: float, rows: int, once: bool, **server: Any
) -> None:
    """
    Watch the busiest stats, until Ctrl-C.

    With TEXT, only those whose name contains it. Counters come first, the largest total
    on top; then values, by name, with their means. A line's right end is now. Of more
    than 500 stats only the first 500 that the server lists are read; a note says so.
    """
    console = Console(markup=False, highlight=False, emoji=False)

    async def work(client: StatHatExport) -> None:
        from twisted.internet import reactor

        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                found = holding(text, await client.stats())
                read = found[:MAX_TOP]
                datasets = await client.data([stat.id for stat in read], timeframe)
                shown: Table | str = none_holding(text)
                if found:
                    now = int(reactor.seconds())
                    shown = _table(read, datasets, rows, timeframe, now)
                    if len(found) > len(read):
                        shown.caption = f"not read: {len(found) - len(read):,} more"
                if console.is_terminal:
                    live.update(shown, refresh=True)
                else:
                    console.print(shown)
                if once:
                    return
                await deferLater(reactor, every)

    with_client(server, work)


def _table(
    stats: list[StatInfo],
    datasets: list[Dataset],
    rows: int,
    timeframe: str,
    now: int,
) -> Table:
    """
    The busiest stats.
    """
    ranked = sorted(
        (
            (stat, {point.time: point.value for point in dataset.points})
            for stat, dataset in zip(stats, datasets, strict=True)
        ),
        key=lambda each: (
            (0, -sum(each[1].values()), each[0].name)
            if each[0].counter
            else (1, 0, each[0].name)
        ),
    )
    # All lines end at the same time, even if the server's clock is ahead.
    until = max([now, *(time for _, points in ranked for time in points)])
    table = Table(Column("stat", overflow="fold"))
    for title in ("latest", "total", "mean"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(timeframe)
    for stat, points in ranked[:rows]:
        told = summarize([*points.values()], stat.counter)
        table.add_row(
            printable(stat.name),
            number_text(told.latest),
            number_text(told.total) if stat.counter else "",
            # Which points of a counter have data is not told here.
            "" if stat.counter else number_text(told.mean),
            _Line(on_grid(points, timeframe, until)),
        )
    return table


class _Line:
    """
    A sparkline that leaves out its oldest points where there is no room for them.
    """

    def __init__(self, values: list[float | None]) -> None:
        missing = MAX_BARS - len(values)
        self._values = [*[None] * missing, *values[-MAX_BARS:]]

    def __rich_measure__(
        self, console: Console, options: ConsoleOptions
    ) -> Measurement:
        return Measurement(8, MAX_BARS)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield Text(sparkline(self._values[-options.max_width :]))
