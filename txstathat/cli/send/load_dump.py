"""
What ``txstathat export`` wrote, on its way into a store.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

from txstathat.cli.output import progress_bar
from txstathat.cli.reactor import interruptible
from txstathat.cli.send.point_formats import BadLine, open_text, read_lines
from txstathat.cli.server.serve import on_store
from txstathat.collector.transfer.dump_format import is_dump
from txstathat.collector.transfer.load_dump import (
    CannotLoad,
    check_dump,
    load_dump,
)
from txstathat.printable import printable
from txstathat.stores import IStore

__all__ = ["MAX_EXPORTED_LINE", "is_export", "restore_file"]

#: The most characters that a line of an export may have.
MAX_EXPORTED_LINE = 1_048_576


def is_export(path: Path) -> bool:
    """
    Whether a file is what ``txstathat export`` wrote.

    :raises OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return is_dump(file.readline(1_000))


def restore_file(path: Path, store: str) -> NoReturn:
    """
    Bring back what is in a file, and leave.

    :param path: the file.
    :param store: the URL of the store.
    """
    try:
        with interruptible():
            total = check_dump(_lines(path))
    except CannotLoad as error:
        click.echo(
            f"txstathat: {path}: {printable(error)}\nNothing was imported.", err=True
        )
        sys.exit(1)

    async def work(opened: IStore) -> None:
        with progress_bar("lines", total) as told:
            there = await load_dump(opened, _lines(path), told)
        if there:
            click.echo(f"Imported {path} into the store.")
        else:
            click.echo(f"{path} is in the store already: there is nothing to do.")

    on_store(store, work, new=True)


def _lines(path: Path) -> Iterator[str]:
    try:
        with open_text(str(path)) as stream:
            yield from read_lines(stream, MAX_EXPORTED_LINE)
    except BadLine as bad:
        raise CannotLoad(str(bad)) from None
    except OSError as error:
        raise CannotLoad(str(error.strerror)) from None
