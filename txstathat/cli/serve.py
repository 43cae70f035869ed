"""
``txstathat serve``: a StatHat of your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString

from txstathat.cli.running import run
from txstathat.collector.front import Front, front_site
from txstathat.collector.keys import Keys, new_key
from txstathat.collector.totals import MemoryTotals, Total

__all__ = ["serve", "totals_table"]


@click.command()
@click.option(
    "--listen",
    default="tcp:8080:interface=127.0.0.1",
    show_default=True,
    metavar="ENDPOINT",
    help="Where to listen: a server endpoint string of Twisted's.",
)
@click.option(
    "--ezkey",
    envvar="TXSTATHAT_EZKEY",
    metavar="KEY",
    help="The EZ key to accept (or TXSTATHAT_EZKEY); by default a new one is made.",
)
@click.option(
    "--ukey",
    envvar="TXSTATHAT_UKEY",
    metavar="KEY",
    help="The user key to accept (or TXSTATHAT_UKEY); by default a new one is made.",
)
def serve(listen: str, ezkey: str | None, ukey: str | None) -> None:
    """
    Listen for points at /ez, /c and /v, as StatHat does.

    Totals are kept in memory, and shown when the server is stopped.
    """
    made = {"EZ key": new_key()} if not ezkey else {}
    made |= {"user key": new_key()} if not ukey else {}
    totals = MemoryTotals()
    keys = Keys([ezkey or made["EZ key"]], [ukey or made["user key"]])

    async def command(reactor: Any) -> int:
        try:
            endpoint = serverFromString(reactor, listen)
            port: Any = await endpoint.listen(
                front_site(Front(totals, keys.allow), reactor)
            )
        except Exception as error:
            click.echo(f"txstathat: cannot listen on {listen!r}: {error}", err=True)
            return 1
        click.echo(f"Listening on {_address(port)}")
        for name, key in made.items():
            click.echo(f"{name}: {key}")
        with suppress(CancelledError):
            await Deferred()
        await port.stopListening()
        Console().print(totals_table(totals.totals))
        return 0

    run(command)


def _address(port: Any) -> str:
    address = port.getHost()
    host = getattr(address, "host", None)
    return repr(address) if host is None else f"http://{host}:{address.port}"


def totals_table(totals: Mapping[str, Total]) -> Table:
    """
    What has arrived, by stat.
    """
    table = Table(title="Received")
    table.add_column("stat")
    for heading in ("points", "total", "average"):
        table.add_column(heading, justify="right")
    for stat, total in sorted(totals.items()):
        counts = total.kind == "count"
        table.add_row(
            Text(stat),
            f"{total.points:,}",
            f"{total.sum:,}" if counts else "",
            "" if counts else f"{total.average:.4g}",
        )
    return table
