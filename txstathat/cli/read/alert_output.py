"""
How alerts are printed.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import click

from txstathat.cli.output import number_text
from txstathat.cli.tables import show_rows
from txstathat.export.models import Alert
from txstathat.printable import printable

__all__ = [
    "COLUMNS",
    "OPERATORS",
    "WINDOWS",
    "moment",
    "row",
    "show_alert",
    "state",
]

#: The lengths of time that an alert can look at.
WINDOWS = click.Choice(["5m", "1h", "3h", "1d", "1w", "1M", "1y"])
#: The operators, by their short forms.
OPERATORS = {"gt": "greater than", "lt": "less than", "dt": "different than"}
#: The columns of alerts for programs.
COLUMNS = tuple(field.name for field in fields(Alert) if field.name != "warning")


def show_alert(output: str | None, alert: Alert) -> None:
    """
    Print an alert, and the warning about it.
    """
    values = row(alert)
    show_rows(
        output,
        ("field", "value") if output is None else COLUMNS,
        [tuple(values.values())],
        as_json={**values, "channels": list(alert.channels)},
        as_table=[
            (name.replace("_", " "), _cell_text(name, value))
            for name, value in values.items()
            if value not in (None, "")
        ],
    )
    if alert.warning is not None:
        click.echo(f"Warning: {printable(alert.warning)}", err=True)


def row(alert: Alert) -> dict[str, Any]:
    """
    The values of an alert for programs, by the names of :data:`COLUMNS`.
    """
    values = asdict(alert)
    return {name: values[name] for name in COLUMNS} | {
        "channels": ",".join(alert.channels)
    }


def state(alert: Alert) -> str:
    """
    The state of an alert, in a word or two.
    """
    if alert.firing is None:
        return ""
    words = ["firing"] if alert.firing else []
    if alert.acknowledged:
        words.append("acknowledged")
    if alert.silenced_until is not None:
        words.append("silenced")
    if alert.last_error is not None:
        words.append("not delivered")
    return ", ".join(words) or "clear"


def _cell_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "silenced_until":
        return moment(value)
    return value if isinstance(value, str) else number_text(value)


def moment(time: int | None) -> str:
    """
    A time for people; empty for ``None``.

    :param time: Unix seconds.
    """
    if time is None:
        return ""
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
