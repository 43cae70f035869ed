"""
``txstathat export``: write everything that a collector stores as lines of text.
"""

from __future__ import annotations

import os
import sys

import click

from txstathat.cli.output import size_text
from txstathat.cli.reactor import exit_on_interrupt
from txstathat.cli.server.store import check_store, store_option
from txstathat.collector.records import BadRecord
from txstathat.collector.transfer.dump_format import dump_lines
from txstathat.errors import StoreError
from txstathat.stores.dump import open_dump
from txstathat.stores.sqlite.file.private import new_file

__all__ = ["export"]


@click.command()
@click.argument("file")
@click.option(
    "--keys",
    is_flag=True,
    help="Also write the hashes of the keys, so that they work on the new store.",
)
@store_option
def export(file: str, store: str, keys: bool) -> None:
    """
    Write everything that a collector stores to FILE.

    FILE contains stats with all their detail, the trash, alerts, channels, comments and
    boards; keys only with --keys. "txstathat import" loads it into another store,
    SQLite or Redis, without loss. FILE must not exist. It appears when it is complete,
    readable only by you. The collector may run meanwhile.
    """
    check_store(store)
    try:
        with (
            exit_on_interrupt(),
            open_dump(store) as dump,
            new_file(file) as unfinished,
            open(unfinished, "w", encoding="utf-8") as lines,
        ):
            lines.writelines(dump_lines(dump, skipped=_warn, keys=keys))
    except (OSError, StoreError, ValueError) as error:
        click.echo(f"txstathat: {error}", err=True)
        sys.exit(1)
    click.echo(f"Exported to {file} ({size_text(os.path.getsize(file))}).")


def _warn(kind: str, id: str, error: BadRecord) -> None:
    click.echo(f"txstathat: the {kind} record {id!r} {error}: it is left out", err=True)
