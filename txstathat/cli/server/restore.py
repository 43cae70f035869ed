"""
``txstathat restore``: a backup becomes the contents of a collector's store.
"""

from __future__ import annotations

import os
import secrets
import sys

import click

from txstathat.cli.output import confirm, size_text, time_text
from txstathat.cli.reactor import exit_on_interrupt
from txstathat.cli.server.store import store_option
from txstathat.errors import StoreError
from txstathat.stores.schemes import sqlite_path
from txstathat.stores.sqlite import restore_store

__all__ = ["restore"]


@click.command()
@click.argument("file")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@store_option
def restore(file: str, yes: bool, store: str) -> None:
    """
    Replace all in a SQLite store by what is in FILE, a backup.

    Stop the collector first. The store then has exactly the contents of the backup, its
    keys too; what was counted later is not in it. Its contents from before are copied
    to a new file beside it, which only you can read. If this fails or is interrupted,
    the store is as it was before.
    """
    try:
        path = sqlite_path(store)
        before = f"{path}.replaced-{secrets.token_hex(4)}"
        # Now, because checking a store writes to its file.
        question = _question(str(path), file)

        def ask() -> None:
            if not yes:
                confirm(question, "replaced")

        with exit_on_interrupt():
            aside = restore_store(store, file, copy=before, confirm=ask)
        assert path is not None  # else restore_store has refused it
        size = size_text(os.path.getsize(path))
    except (OSError, StoreError, ValueError) as error:
        click.echo(f"txstathat: {error}", err=True)
        sys.exit(1)
    click.echo(f"Restored {path} from {file} ({size}).")
    if aside is not None:
        click.echo(f"The store was damaged; its files are now at {aside}*.")
    elif os.path.exists(before):
        click.echo(f"What it had before is now in {before}.")


def _question(path: str, file: str) -> str:
    stored, saved = _written_at(path, f"{path}-wal"), _written_at(file)
    return (
        f"{path} was last written to at {stored}, {file} at {saved}.\n"
        f"Replace all in {path} by what is in {file}?"
    )


def _written_at(*files: str) -> str:
    times = [os.path.getmtime(file) for file in files if os.path.exists(file)]
    return time_text(max(times, default=0))
