"""
The commands below ``txstathat alerts`` that a collector has and StatHat has not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import click

from txstathat.cli.options import AMOUNT, add_options
from txstathat.cli.output import number_text
from txstathat.cli.read.alert_output import OPERATORS, WINDOWS, moment, show_alert
from txstathat.cli.read.stats import CommandFailed, with_client
from txstathat.cli.settings import reader_options
from txstathat.cli.tables import format_options, show_rows
from txstathat.errors import InvalidTimeframe
from txstathat.export.client import StatHatExport
from txstathat.export.models import AlertEpisode, DeliveryResult
from txstathat.points.timeframe import Span
from txstathat.printable import printable

__all__ = [
    "acknowledge",
    "limit_options",
    "edit",
    "history",
    "show_results",
    "silence",
    "test",
]


def limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Add the options for the limit of an alert, and for its channels.
    """
    return add_options(
        command,
        [
            click.option(
                "--threshold",
                type=AMOUNT,
                help="For kind value: the number's limit.",
            ),
            click.option(
                "--percentage",
                type=AMOUNT,
                help="For kind delta: by how much it must change.",
            ),
            click.option(
                "--time-delta",
                type=WINDOWS,
                help="For kind delta: how long ago to compare with.",
            ),
            click.option(
                "--channel",
                "channels",
                multiple=True,
                metavar="NAME",
                help="Notify only through this channel. May be repeated.",
            ),
        ],
    )


class _Seconds(click.ParamType):  # type: ignore[type-arg]
    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            return int(Span.parse(value).longest)
        except InvalidTimeframe:
            self.fail(f"{value!r} is not a time such as 30m, 2h or 7d", param, ctx)


@click.command()
@click.argument("id")
@click.option(
    "--for",
    "seconds",
    type=_Seconds(),
    metavar="TIME",
    help="For how long, such as 30m, 2h or 7d; at most 30 days.",
)
@click.option("--off", is_flag=True, help="End the silence.")
@format_options
@reader_options
def silence(
    id: str, seconds: int | None, off: bool, output: str | None, **server: Any
) -> None:
    """
    Silence the alert that has this ID for some time.

    Meanwhile no notice that it fires is sent. If it still fires when the silence ends,
    the notice is sent.
    """
    if off == (seconds is not None):
        raise click.UsageError("pass --for TIME, or --off")

    async def work(client: StatHatExport) -> None:
        show_alert(output, await client.silence_alert(id, seconds or 0))

    with_client(server, work)


@click.command()
@click.argument("id")
@format_options
@reader_options
def acknowledge(id: str, output: str | None, **server: Any) -> None:
    """
    Acknowledge the alert that has this ID, while it fires.

    Others then see that somebody knows of it.
    """

    async def work(client: StatHatExport) -> None:
        show_alert(output, await client.acknowledge_alert(id))

    with_client(server, work)


@click.command()
@click.argument("id")
@click.option("--time-window", type=WINDOWS, help="The time that it evaluates.")
@click.option("--operator", type=click.Choice(list(OPERATORS)), help="The comparison.")
@limit_options
@click.option("--all-channels", is_flag=True, help="Notify through all channels.")
@format_options
@reader_options
def edit(
    id: str,
    time_window: str | None,
    operator: str | None,
    threshold: Any,
    percentage: Any,
    time_delta: str | None,
    channels: tuple[str, ...],
    all_channels: bool,
    output: str | None,
    **server: Any,
) -> None:
    """
    Change the alert that has this ID. What is not given stays as it is.
    """
    if channels and all_channels:
        raise click.UsageError("pass --channel or --all-channels, not both")
    changes = {
        "time_window": time_window,
        "operator": OPERATORS[operator] if operator else None,
        "threshold": threshold,
        "percentage": percentage,
        "time_delta": time_delta,
        "channels": channels if channels or all_channels else None,
    }
    if all(value is None for value in changes.values()):
        raise click.UsageError("pass what to change, such as --threshold 500")

    async def work(client: StatHatExport) -> None:
        show_alert(output, await client.edit_alert(id, **changes))

    with_client(server, work)


@click.command()
@click.argument("id")
@format_options
@reader_options
def history(id: str, output: str | None, **server: Any) -> None:
    """
    List when the alert that has this ID fired.
    """

    async def work(client: StatHatExport) -> None:
        found = await client.alert_history(id)
        columns = tuple(field.name for field in fields(AlertEpisode))
        show_rows(
            output,
            columns
            if output
            else ("episode", "began", "ended", "number", "acknowledged"),
            [tuple(asdict(each).values()) for each in found],
            as_table=[
                (
                    str(each.episode),
                    moment(each.began),
                    moment(each.ended) or "goes on",
                    number_text(each.number),
                    moment(each.acknowledged_at),
                )
                for each in found
            ],
            none="The alert has not fired yet.",
        )

    with_client(server, work)


@click.command()
@click.argument("id")
@reader_options
def test(id: str, **server: Any) -> None:
    """
    Send a test message where the alert's notices go.
    """

    async def work(client: StatHatExport) -> None:
        results = await client.test_alert(id)
        if not results:
            raise CommandFailed(
                "nobody would be notified: add a channel with txstathat channels add"
            )
        show_results(results)

    with_client(server, work)


def show_results(results: list[DeliveryResult]) -> None:
    """
    Print where test messages went, and exit with status 1 if one could not be sent.
    """
    for result in results:
        name = printable(result.channel)
        if result.error is None:
            click.echo(f"{name}: sent")
        else:
            click.echo(f"{name}: not sent: {printable(result.error)}", err=True)
    if any(result.error is not None for result in results):
        sys.exit(1)
