"""
``txstathat demo``: start the server and the shop, wait, and compare.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
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
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site
from twisted.web.util import Redirect

from txstathat.cli.demo.board import make_board
from txstathat.cli.demo.bookshop import PAYMENTS, Bookshop
from txstathat.cli.demo.charts_page import ChartsPage
from txstathat.cli.demo.comparison import (
    Comparison,
    KickCounter,
    RecordingStatHat,
    compare,
    comparison_table,
)
from txstathat.cli.demo.visitors import Visitors, send_past_day
from txstathat.cli.reactor import ICommandReactor, run
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

#: The seconds between two updates of the progress bar.
PROGRESS_INTERVAL = 0.2


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

    async def command(reactor: ICommandReactor) -> int:
        try:
            comparisons = await _run(reactor, seconds, console)
        except CancelledError:
            raise
        except Exception:
            # The log goes to a LogCounter, which prints nothing.
            click.echo(Failure().getTraceback(), err=True)
            return 1
        console.print(comparison_table(comparisons))
        if not all(each.equal for each in comparisons):
            console.print("[red]What arrived differs from what was sent.[/]")
            return 1
        console.print("Everything arrived. Run your own server: txstathat serve")
        return 0

    run(command)


async def _run(
    reactor: ICommandReactor, seconds: float, console: Console
) -> list[Comparison]:
    async with AsyncExitStack() as cleanup:
        folder = Path(
            cleanup.enter_context(TemporaryDirectory(prefix="txstathat-demo-"))
        )
        server = await _start_server(reactor, folder, cleanup)
        shop = await _build_shop(reactor, folder, server, cleanup)
        address = _listen(reactor, shop, server, cleanup)
        _count_log(shop.stats)
        shop.program.startService()
        try:
            await send_past_day(
                shop.stats, shop.order_kicks, datetime.now(UTC), shop.rng
            )
            visitors = Visitors(f"{address}/shop", reactor, shop.rng)
            poll(
                shop.stats,
                "visitors inside",
                lambda: visitors.inside,
                1,
                reactor=reactor,
            ).setServiceParent(shop.program)
            visitors.start()
            _print_urls(server, address, seconds)
            with suppress(CancelledError):
                await _show_progress(reactor, shop.stats, seconds, console)
            await visitors.stop()
        finally:
            await shop.program.stopService()

        export = StatHatExport(server.token, url=server.url)
        cleanup.push_async_callback(export.close)
        return [*await compare(shop.stats.sent, export), *await _compare_metricas(shop)]


def _print_urls(server: _Server, address: str, seconds: float) -> None:
    # Not through rich, which would break a URL into two lines.
    click.echo("A sample bookshop is open, and sends stats to its own server.")
    click.echo("Open this and press the button, to sign in and see its board:")
    click.echo(server.sign_in_url)
    click.echo(f"Then see its stats: {server.url}/")
    click.echo(f"Its charts: {address}/charts/")
    click.echo(f"It closes in {seconds:g} seconds (--seconds), or with Ctrl-C.")


async def _compare_metricas(shop: _Shop) -> list[Comparison]:
    requests, orders = await shop.requests.count(), await shop.orders.count()
    return [
        Comparison("requests, in a Metrica", shop.request_kicks.number, requests),
        Comparison("orders, in a Metrica", shop.order_kicks.number, orders),
    ]


@dataclass(frozen=True, slots=True)
class _Server:
    """
    The demo's own server: its URL, its keys, and a link that signs a browser in and
    leads to the shop's board.
    """

    url: str
    ezkey: str
    token: str
    sign_in_url: str


async def _start_server(
    reactor: ICommandReactor, folder: Path, cleanup: AsyncExitStack
) -> _Server:
    keys: dict[str, str] = {}
    collector = CollectorService(
        f"sqlite:{folder / 'stathat.sqlite'}",
        "tcp:0:interface=127.0.0.1",
        first_keys=keys.update,
        reactor=reactor,
    )
    ready = collector.ready()
    collector.startService()
    cleanup.push_async_callback(collector.stopService)
    parts = await ready
    url = collector.urls[0]
    link = await parts.sessions.link()
    return _Server(
        url,
        keys["EZ key"],
        keys["access token"],
        f"{url}/sign-in/{link}?next={await make_board(parts)}",
    )


@dataclass(frozen=True, slots=True)
class _Shop:
    """
    The sample program: its services, its website, and everything that it counts with.
    """

    program: MultiService
    site: IResource
    stats: RecordingStatHat
    requests: AveragedMetrica
    orders: AveragedMetrica
    request_kicks: KickCounter
    order_kicks: KickCounter
    rng: Random


async def _build_shop(
    reactor: ICommandReactor, folder: Path, server: _Server, cleanup: AsyncExitStack
) -> _Shop:
    program = MultiService()
    delivery = StatHatService(
        txStatHat(server.ezkey, url=server.url), interval=1, spool=folder / "spool"
    )
    delivery.setServiceParent(program)
    stats = RecordingStatHat(delivery)
    ReactorMeter(stats, 2, reactor=reactor).setServiceParent(program)

    store = await open_store(f"sqlite:{folder / 'shop.sqlite'}", reactor=reactor)
    cleanup.push_async_callback(store.close)
    requests = request_metrica(store)
    axes = [("genre", StoredChoiceAxis()), ("payment", Axis(PAYMENTS))]
    orders = AveragedMetrica("orders", axes, store)
    request_kicks, order_kicks = KickCounter(requests), KickCounter(orders)

    rng = Random()
    site = MeasuredResource(
        Bookshop(stats, order_kicks, reactor, rng),
        metrica=request_kicks,
        stats=stats,
        value_name="response ms",
        count_name="requests {status}",
    )
    return _Shop(
        program, site, stats, requests, orders, request_kicks, order_kicks, rng
    )


def _listen(
    reactor: ICommandReactor, shop: _Shop, server: _Server, cleanup: AsyncExitStack
) -> str:
    """
    Serve the shop and its charts.

    :returns: the URL, without a slash at the end.
    """
    root = Resource()
    root.putChild(b"shop", shop.site)
    charts = ChartsPage("/charts", f"{server.url}/", shop.requests, shop.orders)
    root.putChild(b"charts", charts)
    root.putChild(b"", Redirect(b"charts/"))
    # A Site is a factory for servers, though its type does not say so.
    site: Any = Site(root)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    cleanup.push_async_callback(lambda: maybeDeferred(port.stopListening))
    return listen_url(port.getHost())


def _count_log(stats: RecordingStatHat) -> None:
    """
    Count what is logged from now on, and print none of it.
    """
    # The access log is left out: MeasuredResource counts the requests.
    logs = LogCounter(stats, ignore=(*IGNORED, "twisted.python.log"))
    globalLogBeginner.beginLoggingTo(
        [logs], redirectStandardIO=False, discardBuffer=True
    )


async def _show_progress(
    reactor: ICommandReactor, stats: RecordingStatHat, seconds: float, console: Console
) -> None:
    """
    Show a progress bar until the time is over.
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
        while (elapsed := reactor.seconds() - began) < seconds:
            progress.update(task, completed=elapsed, points=len(stats.sent.points))
            await deferLater(reactor, min(PROGRESS_INTERVAL, seconds - elapsed))
