"""
``txstathat count``, ``value`` and ``check``: points from the shell.
"""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import urlsplit

import click
from rich.console import Console
from twisted.internet.defer import CancelledError

from txstathat.cli.diagnosis import STEPS, diagnose, run_client
from txstathat.cli.options import (
    AMOUNT,
    TIME,
    NumberCommand,
    make_client,
    server_options,
)
from txstathat.cli.running import run
from txstathat.client import API_URL, txStatHat
from txstathat.points import Count, Point, Value

__all__ = ["check", "count", "value"]

time_option = click.option(
    "--t",
    "t",
    type=TIME,
    help="When it happened: Unix seconds, or ISO 8601 with an offset from UTC. "
    "By default the time at which the server receives it.",
)


@click.command(cls=NumberCommand)
@click.argument("name")
@click.argument("n", type=AMOUNT, default=1)
@time_option
@server_options
def count(name: str, n: Any, t: int | None, **server: Any) -> None:
    """
    Add N (1 by default) to the counter NAME.
    """
    _send(make_client(**server), Count(name, n, t))


@click.command(cls=NumberCommand)
@click.argument("name")
@click.argument("v", type=AMOUNT)
@time_option
@server_options
def value(name: str, v: Any, t: int | None, **server: Any) -> None:
    """
    Send the measurement V of the value stat NAME.
    """
    _send(make_client(**server), Value(name, v, t))


def _send(client: txStatHat, point: Point) -> NoReturn:
    run_client(client, lambda: client.post([point]))


@click.command()
@click.option(
    "--stat",
    default="txstathat check",
    show_default=True,
    metavar="NAME",
    help="The counter to which the test point goes.",
)
@server_options
def check(stat: str, url: str, **server: Any) -> None:
    """
    Send one test point, and tell which step fails and what to do.
    """
    client = make_client(url=url, **server)
    console = Console(highlight=False)

    async def command(reactor: Any) -> int:
        failed = None
        try:
            await client.count(stat)
        except CancelledError:
            raise
        except Exception as error:
            failed = diagnose(error)
        finally:
            await client.close()
        for step in STEPS:
            if step == "TLS" and urlsplit(url).scheme == "http":
                console.print("[yellow]-[/] TLS: not used, the URL begins with http://")
            elif failed is None or step != failed.step:
                console.print(f"[green]✓[/] {step}")
            else:
                console.print(f"[red]✗ {step}[/]: ", end="")
                console.print(failed.problem, markup=False)
                console.print(failed.advice, markup=False)
                return 1
        console.print(f"One point was accepted for {stat!r}.", markup=False)
        if url == API_URL:
            console.print(
                "StatHat answers OK to a wrong EZ key too: look whether the stat has "
                "appeared at https://www.stathat.com"
            )
        return 0

    run(command)
