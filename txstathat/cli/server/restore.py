"""
``txstathat restore``: a backup becomes the contents of a collector's store.
"""

from __future__ import annotations

import os
import sys

import click

from txstathat.cli.output import size_text
from txstathat.cli.reactor import exit_on_interrupt
from txstathat.cli.server.store import store_option
from txstathat.errors import StoreError
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite import restore_store

__all__ = ["restore"]


@click.command()
@click.argument("file")
@store_option
def restore(file: str, store: str) -> None:
    """
    Replace all in a SQLite store by what is in FILE, a backup.

    Stop the collector first. The store then has exactly the contents of the backup, its
    keys too; what was counted later is gone. If this fails or is interrupted, the store
    is as it was before.
    """
    try:
        with exit_on_interrupt():
            aside = restore_store(store, file)
        path = sqlite_path(store)
        assert path is not None  # else restore_store has refused it
        size = size_text(os.path.getsize(path))
    except (OSError, StoreError, ValueError) as error:
        click.echo(f"txstathat: {error}", err=True)
        sys.exit(1)
    click.echo(f"Restored {path} from {file} ({size}).")
    if aside is not None:
        click.echo(f"The store was damaged; its files are now at {aside}*.")
