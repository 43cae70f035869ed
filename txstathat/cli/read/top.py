"""
``txstathat top``: watch the busiest stats.
"""

from __future__ import annotations

from typing import Any, cast

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from txstathat.cli.output import name_text, number_text, sparkline
from txstathat.cli.read.stats import (
    no_match_text,
    with_client,
    with_name_containing,
)
from txstathat.cli.read.timeframes import fill_gaps, timeframe_option
from txstathat.cli.settings import reader_options
from txstathat.cli.tables import cut_middle
from txstathat.export.client import StatHatExport
from txstathat.export.models import Dataset, StatInfo
from txstathat.points.summary import summarize

__all__ = ["MAX_BARS", "MAX_TOP", "MIN_NAME", "top"]

#: The most stats that are read.
MAX_TOP = 500
#: The most points in a line: the newest ones.
MAX_BARS = 30
#: The fewest characters of a name, if it is longer.
MIN_NAME = 24
# What the other columns take, usually.
_OTHERS = 46


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

    With TEXT, it shows only stats with TEXT in their names. Counters come first, the
    largest total on top; then values, by name, with their means. The right end of a
    line is now. If there are more than 500 stats, only the first 500 in the server's
    list are read, and a note says so.
    """
    console = Console(markup=False, highlight=False, emoji=False)

    async def read(client: StatHatExport, clock: IReactorTime) -> Table | str:
        found = with_name_containing(text, await client.stats())
        if not found:
            return no_match_text(text)
        some = found[:MAX_TOP]
        datasets = await client.data([stat.id for stat in some], timeframe)
        now = int(clock.seconds())
        table = _table(some, datasets, rows, timeframe, now, console.width)
        if len(found) > len(some):
            table.caption = f"not read: {len(found) - len(some):,} more"
        return table

    async def work(client: StatHatExport) -> None:
        from twisted.internet import reactor

        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                shown = await read(client, cast(IReactorTime, reactor))
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
    width: int,
) -> Table:
    """
    The table of the busiest stats.
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
    names = [name_text(stat.name) for stat, _ in ranked[:rows]]
    # The lines get what is left.
    room = max(MIN_NAME, width - _OTHERS)
    longest = max(len("stat"), *(cell_len(name) for name in names))
    table = Table(Column("stat", no_wrap=True, width=min(longest, room)))
    for title in ("latest", "total", "mean"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(timeframe)
    for stat, points in ranked[:rows]:
        numbers = summarize([*points.values()], stat.counter)
        table.add_row(
            cut_middle(name_text(stat.name), min(longest, room)),
            number_text(numbers.latest),
            number_text(numbers.total) if stat.counter else "",
            # The dataset of a counter does not say which points have data.
            "" if stat.counter else number_text(numbers.mean),
            _Sparkline(fill_gaps(points, timeframe, until)),
        )
    return table


class _Sparkline:
    """
    A sparkline that leaves out its oldest points when the terminal is narrow.
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
