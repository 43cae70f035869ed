"""
``txstathat check``: send one test point, and say which step fails.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import click
from rich.console import Console

from txstathat.cli.diagnosis import (
    CLOSED,
    STEPS,
    Diagnosis,
    find_reason,
    is_stathat_com,
)
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.settings import find_sender, make_client, server_options
from txstathat.points.model import Count
from txstathat.points.names import expand_name
from txstathat.printable import printable

__all__ = ["check"]


@click.command()
@click.option(
    "--stat",
    default="txstathat check",
    show_default=True,
    metavar="NAME",
    help="The counter that gets the test point.",
)
@server_options
def check(stat: str, url: str | None, ezkey: str | None, timeout: float) -> None:
    """
    Send one test point; say which step fails, and what to do.
    """
    server = find_sender(url, ezkey)
    client = make_client(server, timeout)
    console = Console(highlight=False)
    if is_stathat_com(server.url):
        console.print(f"[red]✗[/] {CLOSED}")
        console.print(
            "Nothing was sent: the present owner of that name would get the key."
        )
        raise SystemExit(1)

    async def command(reactor: ICommandReactor) -> int:
        failed = None
        try:
            outcome = await client.send([Count(stat)])
            if outcome.error is not None:
                failed = await find_reason(outcome.error, server.url)
        finally:
            await client.close()
        _show_steps(console, server.url, failed, unsure=outcome.status == 204)
        if failed is not None:
            return 1
        if outcome.status == 204:
            said = (
                "The server answered, but it is not certain that it is a StatHat "
                "server."
            )
        else:
            names = " and ".join(map(repr, expand_name(stat)))
            said = f"One point was accepted for {names}."
        console.print(said, markup=False)
        return 0

    run(command)


def _show_steps(
    console: Console, url: str, failed: Diagnosis | None, unsure: bool
) -> None:
    """
    Print the steps up to the one that failed.

    :param unsure: whether StatHat gives the same answer for wrong keys.
    """
    for step in STEPS:
        if failed is not None and step == failed.step:
            console.print(f"[red]✗ {step}[/]: ", end="")
            console.print(printable(failed.problem), markup=False)
            if failed.advice:
                console.print(failed.advice, markup=False)
            return
        if step == "TLS" and urlsplit(url).scheme == "http":
            console.print("[yellow]-[/] TLS: not used, the URL begins with http://")
        elif step == "key" and unsure:
            console.print(
                "[yellow]-[/] key: not known. The server answered 204 without a text, "
                "which it may do for a wrong key too. Check whether the stat appears."
            )
        else:
            console.print(f"[green]✓[/] {step}")
