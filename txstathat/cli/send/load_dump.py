"""
Load an export that ``txstathat export`` wrote into a store.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

from txstathat.cli.reactor import exit_on_interrupt
from txstathat.cli.send.point_formats import BadLine, open_text, read_lines
from txstathat.cli.server.store import with_store
from txstathat.cli.tables import progress_bar
from txstathat.collector.transfer.dump_format import is_dump
from txstathat.collector.transfer.load_dump import (
    CannotLoad,
    check_dump,
    load_dump,
)
from txstathat.printable import printable
from txstathat.stores import IStore

__all__ = ["MAX_EXPORTED_LINE", "is_export", "load_dump_file"]

#: The most characters that a line of an export may have.
MAX_EXPORTED_LINE = 1_048_576


def is_export(path: Path) -> bool:
    """
    Whether ``txstathat export`` wrote a file.

    :raises OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return is_dump(file.readline(1_000))


def load_dump_file(path: Path, store: str) -> NoReturn:
    """
    Load a file into a store, and exit.

    :param path: the file.
    :param store: the store's URL.
    """
    try:
        with exit_on_interrupt():
            total = check_dump(_lines(path))
    except CannotLoad as error:
        click.echo(
            f"txstathat: {path}: {printable(error)}\nNothing was imported.", err=True
        )
        sys.exit(1)

    async def work(opened: IStore) -> None:
        with progress_bar("lines", total) as on_progress:
            loaded = await load_dump(opened, _lines(path), on_progress)
        if loaded:
            click.echo(f"Imported {path} into the store.")
        else:
            click.echo(f"{path} is already in the store.")

    with_store(store, work, new=True)


def _lines(path: Path) -> Iterator[str]:
    try:
        with open_text(str(path)) as stream:
            yield from read_lines(stream, MAX_EXPORTED_LINE)
    except BadLine as bad:
        raise CannotLoad(str(bad)) from None
    except OSError as error:
        raise CannotLoad(str(error.strerror)) from None
