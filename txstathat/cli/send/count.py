"""
``txstathat count`` and ``txstathat value``: send one point.
"""

from __future__ import annotations

from typing import Any, NoReturn

import click

from txstathat.cli.diagnosis import run_client
from txstathat.cli.options import AMOUNT, TIME, NumberCommand
from txstathat.cli.output import name_text
from txstathat.cli.settings import find_sender, host_of, make_client, server_options
from txstathat.points.model import Count, Point, Value

__all__ = ["count", "value"]

time_option = click.option(
    "--t",
    "t",
    type=TIME,
    help="When it happened: Unix seconds, or ISO 8601 with a time zone. "
    "[default: when the server receives it]",
)


@click.command(cls=NumberCommand)
@click.argument("name")
@click.argument("n", type=AMOUNT, default=1)
@time_option
@server_options
def count(name: str, n: Any, t: int | None, **server: Any) -> None:
    """
    Add N (1 by default) to the counter NAME.

    The NAME 'visits~all,paid' means the two stats 'visits all' and 'visits paid'.
    """
    _send(Count(name, n, t), f"{n:+}", **server)


@click.command(cls=NumberCommand)
@click.argument("name")
@click.argument("v", type=AMOUNT)
@time_option
@server_options
def value(name: str, v: Any, t: int | None, **server: Any) -> None:
    """
    Send the measurement V of the value stat NAME.
    """
    _send(Value(name, v, t), str(v), **server)


def _send(
    point: Point, amount: str, url: str | None, ezkey: str | None, timeout: float
) -> NoReturn:
    server = find_sender(url, ezkey)
    client = make_client(server, timeout)

    async def work() -> None:
        await client.post([point])
        click.echo(f"{name_text(point.stat)} {amount} at {host_of(server.url)}")

    run_client(client, server.url, work)
