"""
``txstathat top``: what is being counted now.
"""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from twisted.internet.task import deferLater

from txstathat.cli.output import number_text, sparkline, visible
from txstathat.cli.read import holding, timeframe_option, with_client
from txstathat.cli.settings import reader_options
from txstathat.export import StatHatExport
from txstathat.exported import Dataset, StatInfo

__all__ = ["MAX_TOP", "top"]

#: The most stats whose points are read at a time.
MAX_TOP = 500


@click.command()
@click.argument("text", default="")
@timeframe_option("1h1m")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1, max=86_400),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait before looking again.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, MAX_TOP),
    default=20,
    show_default=True,
    help="How many stats to show at most.",
)
@click.option("--once", is_flag=True, help="Look once, and leave.")
@reader_options
def top(
    text: str, timeframe: str, every: float, rows: int, once: bool, **server: Any
) -> None:
    """
    Watch the busiest stats, until Ctrl-C.

    Only those whose name holds TEXT, if it is given. Counters come first, that with the
    largest total on top; then values, by name. Of over 500 stats, only the first 500
    that the server lists are read, and it is said.
    """
    console = Console(markup=False, highlight=False, emoji=False)

    async def work(client: StatHatExport) -> None:
        from twisted.internet import reactor

        with Live(console=console, auto_refresh=False, transient=False) as live:
            while True:
                found = holding(text, await client.stats())
                read = found[:MAX_TOP]
                datasets = await client.data([stat.id for stat in read], timeframe)
                table = _table(read, datasets, rows, timeframe)
                if len(found) > len(read):
                    table.caption = f"{len(found) - len(read):,} more were not read"
                if console.is_terminal:
                    live.update(table, refresh=True)
                else:
                    console.print(table)
                if once:
                    return
                await deferLater(reactor, every)

    with_client(server, work)


def _table(
    stats: list[StatInfo], datasets: list[Dataset], rows: int, timeframe: str
) -> Table:
    """
    The busiest stats.
    """
    ranked = sorted(
        (
            (stat, [point.value for point in dataset.points])
            for stat, dataset in zip(stats, datasets, strict=True)
        ),
        key=lambda each: (
            (0, -sum(each[1]), each[0].name)
            if each[0].counter
            else (1, 0, each[0].name)
        ),
    )
    table = Table("stat", "latest", "total", "mean", timeframe)
    for stat, values in ranked[:rows]:
        mean = sum(value / len(values) for value in values) if values else None
        table.add_row(
            visible(stat.name),
            number_text(values[-1] if values else None),
            number_text(sum(values)) if stat.counter else "",
            number_text(mean),
            sparkline(values[-30:]),
        )
    return table
