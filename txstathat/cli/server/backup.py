"""
``txstathat backup``: copy the store of a collector.
"""

from __future__ import annotations

import click

from txstathat.cli.output import size_text
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.server.store import check_store, store_option
from txstathat.errors import StoreError
from txstathat.stores import backup_store

__all__ = ["backup"]


@click.command()
@click.argument("file")
@store_option
def backup(file: str, store: str) -> None:
    """
    Copy the SQLite store of a collector to FILE, while it runs.

    FILE must not exist. It appears when it is complete, and is a store itself.
    """
    check_store(store)

    async def command(reactor: ICommandReactor) -> int:
        try:
            size = await backup_store(store, file, reactor=reactor)
        except (OSError, StoreError, ValueError) as error:
            click.echo(f"txstathat: {error}", err=True)
            return 1
        click.echo(f"Backed up to {file} ({size_text(size)}).")
        return 0

    run(command)
