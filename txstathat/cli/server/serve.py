"""
``txstathat serve``: a StatHat server of your own; its keys and stats.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from shlex import quote
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver

from txstathat.cli.reactor import run
from txstathat.cli.server.write_settings import offer_settings, own_url
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.keys import KINDS, KeyRefused, Keys
from txstathat.collector.options import (
    STORE,
    default_retention,
    parse_retention,
    read_webhooks,
)
from txstathat.collector.service import LISTEN, CollectorService
from txstathat.errors import StatHatError
from txstathat.points.model import MAX_NAME
from txstathat.printable import printable
from txstathat.stores import IStore, open_store
from txstathat.stores.schemes import sqlite_path

__all__ = ["check_store", "keys", "on_store", "serve", "stats", "store_option"]

store_option = click.option(
    "--store",
    envvar="TXSTATHAT_STORE",
    default=STORE,
    show_default=True,
    metavar="URL",
    help="Where the collector stores everything (or TXSTATHAT_STORE): "
    "sqlite:///path, redis://…, redis+cluster://…; for serve also memory:, which is "
    "gone when it stops.",
)


@click.command()
@click.option(
    "--listen",
    multiple=True,
    default=[LISTEN],
    show_default=True,
    metavar="ENDPOINT",
    help="Where to listen, as a Twisted server endpoint. May be repeated.",
)
@store_option
@click.option(
    "--keep",
    multiple=True,
    metavar="SCALE=TIME",
    help="How long detail is kept, such as minute=7d or day=forever. May be repeated. "
    f"[default: {default_retention()}]",
)
@click.option("--access-log", is_flag=True, help="Log requests, without secrets.")
@click.option(
    "--proxies",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many proxies in front are trusted to name the client (X-Forwarded-For).",
)
@click.option(
    "--webhooks",
    default="",
    metavar="FILE",
    help="A file of URLs to which alerts are posted, one a line; the first is the "
    "default.",
)
@click.option(
    "--write-settings",
    is_flag=True,
    help="Write the settings file for the other commands on the first start, also "
    "without a terminal.",
)
def serve(
    listen: tuple[str, ...],
    store: str,
    keep: tuple[str, ...],
    access_log: bool,
    proxies: int,
    webhooks: str,
    write_settings: bool,
) -> None:
    """
    Run a StatHat server of your own.

    It takes points as StatHat does, stores them, and serves them on pages and through
    StatHat's export API. The first start makes an EZ key, a user key and an access
    token, and prints them. In a terminal it also writes them to a settings file, if
    there is none: then the other commands work without any further setting.
    """
    try:
        retention = parse_retention(keep)
    except ValueError as error:
        raise click.UsageError(f"--keep: {error}") from None
    try:
        urls = read_webhooks(webhooks)
    except ValueError as error:
        raise click.UsageError(f"--webhooks: {error}") from None

    new_keys: dict[str, str] = {}

    def first_keys(keys: dict[str, str]) -> None:
        _show_keys(keys)
        new_keys.update(keys)

    async def command(reactor: Any) -> int:
        service = CollectorService(
            store,
            listen,
            retention=retention,
            access_log=access_log,
            proxies=proxies,
            webhooks=urls,
            first_keys=first_keys,
            reactor=reactor,
        )
        ready = service.ready()
        service.startService()
        try:
            parts = await ready
            link = await parts.sessions.link()
        except Exception as error:
            click.echo(f"txstathat: cannot start: {printable(error)}", err=True)
            return 1
        for url in service.urls:
            _show(f"Listening on {url}")
        if write_settings or sys.stdout.isatty():
            said = offer_settings(
                own_url(service.addresses, service.urls),
                new_keys,
                lambda key: parts.keys.allow("ez", key),
                os.environ,
                write_settings,
            )
            if said:
                _show(said)
        _show(
            "Open this to sign in (works once, for one hour): "
            f"{service.urls[0]}/sign-in/{link}"
        )
        with suppress(CancelledError):
            await Deferred()
        await service.stopService()
        return 0

    if access_log:
        _log_to_stderr()
    run(command)


def _show(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


def _show_keys(keys: dict[str, str]) -> None:
    _show("New keys, which are shown only now:")
    for what, key in keys.items():
        _show(f"{what}: {key}")


def _log_to_stderr() -> None:
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr)], redirectStandardIO=False
    )


def check_store(url: str) -> None:
    """
    Make sure that a store is there, for what would only make an empty one.

    :param url: the store.
    :raises click.ClickException: if it is not.
    """
    try:
        path = sqlite_path(url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if url == "memory:":
        raise click.ClickException(
            "this needs a store that lasts; one in memory is gone with its process"
        )
    if path is not None and not os.path.exists(path):
        raise click.ClickException(
            f"there is no store at {path}: start txstathat serve first, or name the "
            "store with --store"
        )


def on_store(
    store: str, work: Callable[[IStore], Awaitable[None]], *, new: bool = False
) -> NoReturn:
    """
    Do something with a store, and leave.

    :param store: the store.
    :param work: what to do.
    :param new: whether it is made if it is not there.
    """
    if not new:
        check_store(store)

    async def command(reactor: Any) -> int:
        try:
            opened = await open_store(store, reactor=reactor)
            try:
                await work(opened)
            finally:
                await opened.close()
        except (StatHatError, ValueError) as error:
            click.echo(f"txstathat: {printable(error)}", err=True)
            return 1
        return 0

    run(command)


@click.group()
def keys() -> None:
    """
    Make, list and revoke the keys of your own server.

    Only their hashes are stored: a key is shown once, when it is made.
    """


@keys.command("add")
@click.argument("kind", type=click.Choice(["ez", "user", "access"]))
@click.argument("name")
@store_option
def add_key(kind: str, name: str, store: str) -> None:
    """
    Make a key, and call it NAME.

    An EZ key (ez) or a user key (user) is for sending, an access token (access) for
    reading. "txstathat keys revoke" takes the NAME.
    """

    async def work(opened: IStore) -> None:
        _show(f"{KINDS[kind]}: {await Keys(opened).add(kind, name)}")

    on_store(store, work)


@keys.command("list")
@store_option
def list_keys(store: str) -> None:
    """
    List the keys, by their names.
    """

    async def work(opened: IStore) -> None:
        table = Table("name", "kind", "made", "stat")
        for key in await Keys(opened).all():
            made = datetime.fromtimestamp(key.created_at, UTC)
            table.add_row(
                printable(key.name),
                KINDS[key.kind],
                f"{made:%Y-%m-%d %H:%M} UTC",
                printable(key.stat),
            )
        if table.rows:
            Console(markup=False, highlight=False).print(table)
        else:
            _show("There are no keys.")

    on_store(store, work)


@keys.command("revoke")
@click.argument("name")
@store_option
def revoke_key(name: str, store: str) -> None:
    """
    Delete the key called NAME.

    A running server refuses it within 5 seconds.
    """

    async def work(opened: IStore) -> None:
        key = await Keys(opened).revoke(name)
        _show(f"The {KINDS.get(key.kind, 'key')} {key.name!r} is revoked.")

    on_store(store, work)


@click.group()
def stats() -> None:
    """
    Make stats on your own server, or restore deleted ones.
    """


@stats.command("add")
@click.argument("name")
@click.option(
    "--value",
    "kind",
    flag_value="value",
    help="Make a value, which averages its points.",
)
@click.option(
    "--counter",
    "kind",
    flag_value="count",
    default="count",
    help="Make a counter, which sums its points (the default).",
)
@store_option
def add_stat(name: str, kind: str, store: str) -> None:
    """
    Make the stat NAME, for the Classic API.

    Prints the stat key, which sends to it. (With the EZ API a stat is made by its first
    point.)
    """

    async def work(opened: IStore) -> None:
        stat, keys = await Archive(opened).create(name, kind), Keys(opened)
        for known in await keys.all():
            if known.stat == stat.name:
                raise KeyRefused(
                    f"the stat {stat.name!r} has a key already; for another one, first "
                    f"revoke that: txstathat keys revoke {quote(known.name)}"
                )
        called = f"stat {name}"
        if len(called) > MAX_NAME:
            called = f"stat {stat.id}"
        key = await keys.add("stat", called, stat.name)
        _show(f"stat key: {key}")
        _show("Post with it and a user key, to " + ("/c" if stat.counter else "/v"))

    on_store(store, work)


@stats.command("restore")
@click.argument("name")
@store_option
def restore_stat(name: str, store: str) -> None:
    """
    Restore the stat NAME from the trash.

    It stays there for 48 hours after "txstathat delete".
    """

    async def work(opened: IStore) -> None:
        await Archive(opened).restore(name)
        _show(f"{printable(name)} is restored.")

    on_store(store, work)
