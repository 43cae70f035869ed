"""
``txstathat alerts``: manage alerts.
"""

from __future__ import annotations

from typing import Any

import click

from txstathat.cli.output import confirm, name_text
from txstathat.cli.read.alert_changes import (
    acknowledge,
    edit,
    history,
    limit_options,
    silence,
    test,
)
from txstathat.cli.read.alert_output import (
    COLUMNS,
    OPERATORS,
    WINDOWS,
    row,
    show_alert,
    state,
)
from txstathat.cli.read.stats import find_stat, with_client
from txstathat.cli.settings import reader_options
from txstathat.cli.suggestions import SuggestingGroup
from txstathat.cli.tables import format_options, show_rows
from txstathat.collector.alerts.conditions.words import condition
from txstathat.export.client import StatHatExport
from txstathat.printable import printable

__all__ = ["alerts"]


@click.group(cls=SuggestingGroup)
def alerts() -> None:
    """
    Create, edit, silence, acknowledge and test alerts on stats.
    """


@alerts.command("list")
@format_options
@reader_options
def list_alerts(output: str | None, **server: Any) -> None:
    """
    List all alerts.
    """

    async def work(client: StatHatExport) -> None:
        found = await client.alerts()
        columns = ("id", "stat", "fires when", "state")
        show_rows(
            output,
            columns if output is None else COLUMNS,
            [tuple(row(alert).values()) for alert in found],
            as_json=[{**row(alert), "channels": [*alert.channels]} for alert in found],
            as_table=[
                (alert.id, alert.stat_name, condition(alert), state(alert))
                for alert in found
            ],
            none="There are no alerts.",
        )

    with_client(server, work)


@alerts.command()
@click.argument("id")
@format_options
@reader_options
def show(id: str, output: str | None, **server: Any) -> None:
    """
    Show the alert that has this ID.
    """

    async def work(client: StatHatExport) -> None:
        show_alert(output, await client.alert(id))

    with_client(server, work)


@alerts.command()
@click.argument("stat")
@click.option(
    "--kind",
    type=click.Choice(["value", "delta", "data"]),
    required=True,
    help="What fires it: the stat's number (value), its change (delta), or no data "
    "(data).",
)
@click.option(
    "--time-window",
    type=WINDOWS,
    required=True,
    help="The time over which a counter is summed, or a value averaged.",
)
@click.option(
    "--operator",
    type=click.Choice(list(OPERATORS)),
    help="For kinds value and delta: greater than, less than; for delta also "
    "different than.",
)
@limit_options
@format_options
@reader_options
def create(
    stat: str,
    kind: str,
    time_window: str,
    operator: str | None,
    threshold: Any,
    percentage: Any,
    time_delta: str | None,
    channels: tuple[str, ...],
    output: str | None,
    **server: Any,
) -> None:
    """
    Create an alert on STAT, a name or an id.

    When it fires, a notice is sent through the given channels, else through all: see
    "txstathat channels".

    \b
    txstathat alerts create 'page views' --kind value --time-window 1h \\
        --operator gt --threshold 500
    txstathat alerts create load --kind delta --time-window 1h \\
        --operator dt --percentage 50 --time-delta 1d
    txstathat alerts create 'nightly jobs' --kind data --time-window 1d
    """

    required = {
        "value": {"--operator": operator, "--threshold": threshold},
        "delta": {
            "--operator": operator,
            "--percentage": percentage,
            "--time-delta": time_delta,
        },
    }
    missing = [flag for flag, given in required.get(kind, {}).items() if given is None]
    if missing:
        raise click.UsageError(f"--kind {kind} needs {', '.join(missing)} too")

    async def work(client: StatHatExport) -> None:
        found = await find_stat(client, stat)
        made = await client.create_alert(
            found.id,
            kind,
            time_window,
            operator=OPERATORS[operator] if operator else None,
            threshold=threshold,
            percentage=percentage,
            time_delta=time_delta,
            channels=channels,
        )
        show_alert(output, made)

    with_client(server, work)


@alerts.command("delete")
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@reader_options
def delete_alert(id: str, yes: bool, **server: Any) -> None:
    """
    Delete the alert that has this ID.
    """

    async def work(client: StatHatExport) -> None:
        if not yes:
            alert = await client.alert(id)
            confirm(
                f"Delete the alert {printable(id)} on {name_text(alert.stat_name)}?"
            )
        await client.delete_alert(id)
        click.echo(f"The alert {printable(id)} is deleted.")

    with_client(server, work)


for _command in (acknowledge, edit, history, silence, test):
    alerts.add_command(_command)
