"""
``txstathat alerts``: manage alerts.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import click

from txstathat.cli.options import AMOUNT
from txstathat.cli.output import confirm, format_options, number_text, show_rows
from txstathat.cli.read.stats import find_stat, with_client
from txstathat.cli.settings import reader_options
from txstathat.cli.suggestions import SuggestingGroup
from txstathat.export.client import StatHatExport
from txstathat.export.models import Alert
from txstathat.printable import printable

__all__ = ["alerts"]

_WINDOWS = click.Choice(["5m", "1h", "3h", "1d", "1w", "1M", "1y"])
_OPERATORS = {"gt": "greater than", "lt": "less than", "dt": "different than"}
_COLUMNS = tuple(field.name for field in fields(Alert))


@click.group(cls=SuggestingGroup)
def alerts() -> None:
    """
    List, show, create and delete alerts on stats.
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
        columns = ("id", "stat", "fires when", "firing")
        show_rows(
            output,
            columns if output is None else _COLUMNS,
            [tuple(asdict(alert).values()) for alert in found],
            as_table=[
                (alert.id, alert.stat_name, _condition(alert), _yes_no(alert.firing))
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
        _show_alert(output, await client.alert(id))

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
    type=_WINDOWS,
    required=True,
    help="The time over which a counter is summed, or a value averaged.",
)
@click.option(
    "--operator",
    type=click.Choice(list(_OPERATORS)),
    help="For kinds value and delta: greater than, less than; for delta also "
    "different than.",
)
@click.option("--threshold", type=AMOUNT, help="For kind value: the number's limit.")
@click.option(
    "--percentage", type=AMOUNT, help="For kind delta: by how much it must change."
)
@click.option(
    "--time-delta", type=_WINDOWS, help="For kind delta: how long ago to compare with."
)
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
    output: str | None,
    **server: Any,
) -> None:
    """
    Watch STAT, a name or an id.

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
            operator=_OPERATORS[operator] if operator else None,
            threshold=threshold,
            percentage=percentage,
            time_delta=time_delta,
        )
        _show_alert(output, made)

    with_client(server, work)


@alerts.command("delete")
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@reader_options
def delete_alert(id: str, yes: bool, **server: Any) -> None:
    """
    Delete the alert that has this ID.
    """
    if not yes:
        confirm(f"Delete the alert {printable(id)}?")

    async def work(client: StatHatExport) -> None:
        await client.delete_alert(id)
        click.echo(f"The alert {printable(id)} is deleted.")

    with_client(server, work)


def _show_alert(output: str | None, alert: Alert) -> None:
    values = asdict(alert)
    show_rows(
        output,
        ("field", "value") if output is None else _COLUMNS,
        [tuple(values.values())],
        as_json=values,
        as_table=[
            (name.replace("_", " "), _cell_text(value))
            for name, value in values.items()
            if value is not None
        ],
    )


def _cell_text(value: Any) -> str:
    if isinstance(value, bool):
        return _yes_no(value)
    return value if isinstance(value, str) else number_text(value)


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _condition(alert: Alert) -> str:
    """
    The condition of an alert, in words.
    """
    over = f"over {alert.time_window}"
    if alert.kind == "data":
        return f"no data {over}"
    if alert.kind == "value":
        return f"{over}, {alert.operator} {number_text(alert.threshold)}"
    return (
        f"{over}, {number_text(alert.percentage)} % {alert.operator} "
        f"{alert.time_delta} before"
    )
