"""
The demo, from the opening of the shop to the settling of accounts.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.util import Redirect

from txstathat.cli.demo.bookshop import PAYMENTS, Bookshop
from txstathat.cli.demo.overview import Overview
from txstathat.cli.demo.tally import KickTally, Line, Tally, compare, table_of
from txstathat.cli.demo.visitors import Visitors, day_before
from txstathat.cli.reactor import run
from txstathat.client.stathat import txStatHat
from txstathat.collector.options import listen_url
from txstathat.collector.service import CollectorService
from txstathat.delivery import StatHatService
from txstathat.export.client import StatHatExport
from txstathat.instruments import LogCounter, MeasuredResource, ReactorMeter, poll
from txstathat.instruments.logs import IGNORED
from txstathat.metrica import AveragedMetrica, Axis, StoredChoiceAxis, request_metrica
from txstathat.stores import open_store

__all__ = ["demo"]

#: Seconds between two looks at how far it is.
LOOK = 0.2


@click.command()
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.1, 86_400),
    help="How long the shop is open.",
)
def demo(seconds: float) -> None:
    """
    Run a sample bookshop that sends stats to its own server.

    Watch the pages; at the end it checks that everything arrived. All of it runs in
    this process, reachable from this machine only, in a temporary directory, and ends
    after --seconds or with Ctrl-C.
    """
    for library in ("plotly", "prometheus_client", "psutil"):
        if find_spec(library) is None:
            raise click.ClickException(
                f"the demo needs {library}: pip install 'txStatHat[all]'"
            )
    console = Console(highlight=False)

    async def command(reactor: Any) -> int:
        try:
            lines = await _run(reactor, seconds, console)
        except CancelledError:
            raise
        except Exception:
            # The log only counts here.
            click.echo(Failure().getTraceback(), err=True)
            return 1
        console.print(table_of(lines))
        if not all(line.equal for line in lines):
            console.print("[red]What arrived differs from what was sent.[/]")
            return 1
        console.print(
            "Everything arrived, to the unit. Run your own server: txstathat serve"
        )
        return 0

    run(command)


async def _run(reactor: Any, seconds: float, console: Console) -> list[Line]:
    async with AsyncExitStack() as opened:
        folder = Path(
            opened.enter_context(TemporaryDirectory(prefix="txstathat-demo-"))
        )

        # A StatHat of its own.
        keys: dict[str, str] = {}
        collector = CollectorService(
            f"sqlite:{folder / 'stathat.sqlite'}",
            "tcp:0:interface=127.0.0.1",
            first_keys=keys.update,
            reactor=reactor,
        )
        ready = collector.ready()
        collector.startService()
        opened.push_async_callback(collector.stopService)
        parts = await ready
        url = collector.urls[0]

        # What a program counts with.
        program = MultiService()
        delivery = StatHatService(
            txStatHat(keys["EZ key"], url=url), interval=1, spool=folder / "spool"
        )
        delivery.setServiceParent(program)
        stats = Tally(delivery)
        store = await open_store(f"sqlite:{folder / 'shop.sqlite'}", reactor=reactor)
        opened.push_async_callback(store.close)
        requests = request_metrica(store)
        axes = [("genre", StoredChoiceAxis()), ("payment", Axis(PAYMENTS))]
        orders = AveragedMetrica("orders", axes, store)
        request_kicks, order_kicks = KickTally(requests), KickTally(orders)

        # The program.
        chance = Random()
        shop = MeasuredResource(
            Bookshop(stats, order_kicks, reactor, chance),
            metrica=request_kicks,
            stats=stats,
            value_name="response ms",
            count_name="requests {status}",
        )
        root = Resource()
        root.putChild(b"shop", shop)
        root.putChild(b"charts", Overview("/charts", f"{url}/", requests, orders))
        root.putChild(b"", Redirect(b"charts/"))
        port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
        opened.push_async_callback(port.stopListening)
        address = listen_url(port.getHost())
        visitors = Visitors(f"{address}/shop", reactor, chance)
        for meter in (
            ReactorMeter(stats, 2, reactor=reactor),
            poll(stats, "visitors inside", lambda: visitors.inside, 1, reactor=reactor),
        ):
            meter.setServiceParent(program)
        # Without the access log, which the requests are counted from better.
        logs = LogCounter(stats, ignore=(*IGNORED, "twisted.python.log"))
        globalLogBeginner.beginLoggingTo(
            [logs], redirectStandardIO=False, discardBuffer=True
        )

        program.startService()
        try:
            await day_before(stats, order_kicks, datetime.now(UTC), chance)
            visitors.start()
            _tell("A sample bookshop is open, and sends stats to its own server.")
            _tell(f"Its stats:  {url}/sign-in/{await parts.sessions.link()}")
            _tell(f"Its charts: {address}/charts/")
            _tell(f"It closes in {seconds:g} seconds (--seconds), or with Ctrl-C.")
            with suppress(CancelledError):
                await _look(reactor, stats, seconds, console)
            await visitors.stop()
        finally:
            await program.stopService()

        export = StatHatExport(keys["access token"], url=url)
        opened.push_async_callback(export.close)
        return [
            *await compare(stats.sent, export),
            Line(
                "requests, in a Metrica", request_kicks.number, await requests.count()
            ),
            Line("orders, in a Metrica", order_kicks.number, await orders.count()),
        ]


async def _look(reactor: Any, stats: Tally, seconds: float, console: Console) -> None:
    """
    Show how far it is, until it is over.
    """
    columns = (
        TextColumn("counting"),
        BarColumn(),
        TextColumn("{task.fields[points]:,} points"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds, points=0)
        began = reactor.seconds()
        while (gone := reactor.seconds() - began) < seconds:
            progress.update(task, completed=gone, points=len(stats.sent.points))
            await deferLater(reactor, min(LOOK, seconds - gone))


def _tell(line: str) -> None:
    # Not through rich, which would break an address in two.
    click.echo(line)
    sys.stdout.flush()
