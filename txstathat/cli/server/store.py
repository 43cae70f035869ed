"""
The option ``--store``, and the use of a store by a command.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import click

from txstathat.cli.reactor import ICommandReactor, run
from txstathat.collector.options import STORE
from txstathat.errors import StatHatError
from txstathat.stores import IStore, open_store
from txstathat.stores.schemes import sqlite_path

__all__ = ["any_store_option", "check_store", "store_option", "with_store"]


def _store_option(more: str = "") -> Callable[[Callable[..., None]], Any]:
    return click.option(
        "--store",
        envvar="TXSTATHAT_STORE",
        default=STORE,
        show_default=True,
        metavar="URL",
        help="Where the collector stores everything (or TXSTATHAT_STORE): "
        f"sqlite:///path, redis://…, redis+sentinel://…, redis+cluster://…{more}.",
    )


store_option = _store_option()
#: For a server, which may also have a store in memory.
any_store_option = _store_option("; or memory:, which is lost when it stops")


def check_store(url: str) -> None:
    """
    Check that a store exists, for commands that must not create an empty one.

    :param url: the store's URL.
    :raises click.ClickException: if it does not exist.
    """
    try:
        path = sqlite_path(url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if url == "memory:":
        raise click.ClickException("this command needs a persistent store, not memory:")
    if path is not None and not os.path.exists(path):
        raise click.ClickException(
            f"no store at {path}. Start txstathat serve first, or name the store with "
            "--store"
        )


def with_store(
    store: str, work: Callable[[IStore], Awaitable[None]], *, new: bool = False
) -> NoReturn:
    """
    Do something with a store, and exit.

    :param store: the store's URL.
    :param work: called with the open store.
    :param new: whether to create the store if it does not exist.
    """
    if not new:
        check_store(store)

    async def command(reactor: ICommandReactor) -> int:
        try:
            opened = await open_store(store, reactor=reactor)
            try:
                await work(opened)
            finally:
                await opened.close()
        except (StatHatError, ValueError) as error:
            click.echo(f"txstathat: {error}", err=True)
            return 1
        return 0

    run(command)
