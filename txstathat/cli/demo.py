"""
``txstathat demo``: a server and a client at work, and proof that all arrived.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from math import isclose
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from twisted.internet.task import deferLater

from txstathat.cli.running import run
from txstathat.client import txStatHat
from txstathat.collector.options import address_text
from txstathat.collector.service import CollectorService
from txstathat.collector.stats import Total
from txstathat.points import Count, Point, Value
from txstathat.testing import MemoryStatHat

__all__ = ["demo"]

#: Seconds between two rounds of the sample program.
TICK = 0.05


@click.command()
@click.option(
    "--seconds",
    default=4.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    help="How long to count.",
)
def demo(seconds: float) -> None:
    """
    Start a server and count on it for a few seconds; then compare.
    """
    console = Console()

    async def command(reactor: Any) -> int:
        keys: dict[str, str] = {}
        with TemporaryDirectory(prefix="txstathat-demo-") as folder:
            service = CollectorService(
                f"sqlite:{folder}/stats.sqlite",
                "tcp:0:interface=127.0.0.1",
                first_keys=keys.update,
                reactor=reactor,
            )
            ready = service.ready()
            service.startService()
            try:
                rooms = await ready
                url = address_text(service.addresses[0])
                client = txStatHat(keys["EZ key"], ignore_errors=False, url=url)
                console.print(f"A server listens on {url}, and a client counts on it.")
                try:
                    sent = await _count(reactor, client, seconds, console)
                finally:
                    await client.close()
                arrived = await rooms.archive.totals()
            finally:
                await service.stopService()
        table, equal = _compare(sent, arrived)
        console.print(table)
        if not equal:
            console.print("[red]What arrived differs from what was sent.[/]")
            return 1
        console.print(f"All {len(sent.points):,} points arrived, equal to the unit.")
        return 0

    run(command)


async def _count(
    reactor: Any, client: txStatHat, seconds: float, console: Console
) -> MemoryStatHat:
    """
    Be a small web site with visitors, and remember all that was sent.
    """
    sent = MemoryStatHat()
    rounds = max(1, round(seconds / TICK))
    columns = (
        TextColumn("counting"),
        BarColumn(),
        TextColumn("{task.fields[points]:,} points"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, refresh_per_second=10) as progress:
        task = progress.add_task("", total=rounds, points=0)
        for _ in range(rounds):
            points = _visits()
            await client.post(points)
            for point in points:
                _remember(sent, point)
            await client.tick("rounds")
            sent.tick("rounds")
            progress.update(task, advance=1, points=len(sent.points))
            await deferLater(reactor, TICK)
    return sent


def _visits() -> list[Point]:
    visitors = random.randrange(12)
    points: list[Point] = [Count("page views", visitors)]
    points += [Value("response time", random.expovariate(8)) for _ in range(visitors)]
    if random.random() < 0.3:
        points.append(Count("signups"))
    points.append(Value("load", random.betavariate(2, 5)))
    return points


def _remember(sent: MemoryStatHat, point: Point) -> None:
    if isinstance(point, Count):
        sent.count(point.stat, point.count)
    else:
        sent.value(point.stat, point.value)


def _compare(sent: MemoryStatHat, arrived: Mapping[str, Total]) -> tuple[Table, bool]:
    table = Table(title="What was sent, and what arrived")
    table.add_column("stat")
    for heading in ("sent", "arrived", "sum sent", "sum arrived", ""):
        table.add_column(heading, justify="right")
    equal = True
    for stat, (points, total) in sorted(_summed(sent).items()):
        there = arrived.get(stat, Total("count"))
        # The archive's float sums are exact to the last digit, which += here is not.
        same = points == there.points and isclose(total, there.sum, rel_tol=1e-12)
        equal = equal and same
        table.add_row(
            stat,
            f"{points:,}",
            f"{there.points:,}",
            f"{total:,.6g}",
            f"{there.sum:,.6g}",
            "[green]✓[/]" if same else "[red]✗[/]",
        )
    return table, equal


def _summed(sent: MemoryStatHat) -> dict[str, tuple[int, Any]]:
    summed: dict[str, tuple[int, Any]] = {}
    for point in sent.points:
        amount = point.count if isinstance(point, Count) else point.value
        points, total = summed.get(point.stat, (0, 0))
        summed[point.stat] = points + 1, total + amount
    return summed
