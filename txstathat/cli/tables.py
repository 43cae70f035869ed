"""
Tables and progress bars: what needs the library rich, which takes long to import.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from txstathat.cli.output import json_text
from txstathat.points.spreadsheet import safe_cell
from txstathat.printable import printable

__all__ = ["cut_middle", "format_options", "progress_bar", "show_rows"]


def cut_middle(text: str, width: int) -> str:
    """
    Cut a text in its middle, with ``…`` there, so that it fits a width: names of stats
    differ at their beginnings and ends.

    :param text: the text.
    :param width: how many cells of a terminal it can take.
    """
    if cell_len(text) <= width:
        return text
    head, tail = "", ""
    left = text
    while left and cell_len(head) + cell_len(tail) < width - 1:
        if cell_len(tail) < cell_len(head):
            tail, left = left[-1] + tail, left[:-1]
        else:
            head, left = head + left[0], left[1:]
    while head and cell_len(head) + cell_len(tail) > width - 1:
        head = head[:-1]
    return f"{head}…{tail}"


def format_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Add the options ``--csv`` and ``--json``. The command gets the argument ``output``:
    ``'csv'``, ``'json'``, or ``None`` for a table.
    """
    names = ("csv", "json")

    @wraps(command)
    def with_output(**options: Any) -> None:
        formats = [name for name in names if options.pop(name)]
        if len(formats) > 1:
            raise click.UsageError("--csv or --json, not both")
        command(output=formats[0] if formats else None, **options)

    for name in names:
        option = click.option(f"--{name}", is_flag=True, help=f"Print {name.upper()}.")
        with_output = option(with_output)
    return with_output


def show_rows(
    output: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    as_json: Any = None,
    as_table: Iterable[Sequence[Any]] | None = None,
    none: str = "",
) -> None:
    """
    Print rows.

    :param output: ``'json'``, ``'csv'``, or ``None`` for a table.
    :param columns: the names of the columns.
    :param rows: one value for each column; ``None`` is an empty cell.
    :param as_json: printed as JSON instead of a list of objects.
    :param as_table: the table's rows, if they differ from the others.
    :param none: printed instead of an empty table.
    """
    if output == "json":
        if as_json is None:
            as_json = [dict(zip(columns, row, strict=True)) for row in rows]
        click.echo(json_text(as_json))
    elif output == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(safe_cell, row) for row in rows)
        click.echo(text.getvalue(), nl=False)
    else:
        cells = [*(rows if as_table is None else as_table)]
        if none and not cells:
            click.echo(none)
            return
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in cells:
            table.add_row(*("" if cell is None else printable(cell) for cell in row))
        Console(markup=False, highlight=False, emoji=False).print(table)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """
    Show a progress bar on standard error, if that is a terminal.

    :param what: the name of what is counted.
    :param total: how many there are.
    :returns: a context manager. It gives a function to call with the number of those
        that are newly done.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda more: None
        return
    with Progress(console=console) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)
