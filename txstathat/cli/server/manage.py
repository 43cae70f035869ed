"""
``txstathat keys`` and ``txstathat stats``: manage the keys and stats of your server.
"""

from __future__ import annotations

from shlex import quote

import click

from txstathat.cli.output import time_text
from txstathat.cli.server.store import store_option, with_store
from txstathat.cli.suggestions import SuggestingGroup
from txstathat.cli.tables import show_rows
from txstathat.collector.archive.archive import Archive
from txstathat.collector.auth.key_record import KINDS, KeyRefused
from txstathat.collector.auth.keys import Keys
from txstathat.points.names import MAX_NAME
from txstathat.stores import IStore

__all__ = ["keys", "stats"]


@click.group(cls=SuggestingGroup)
def keys() -> None:
    """
    Create, list and revoke the keys of your own server.

    Only hashes of keys are stored: a key is shown once, when it is created.
    """


@keys.command("add")
@click.argument("kind", type=click.Choice(["ez", "user", "access", "read"]))
@click.argument("name")
@store_option
def add_key(kind: str, name: str, store: str) -> None:
    """
    Create a key with the name NAME.

    An EZ key (ez) or a user key (user) is for sending, an access token (access) for
    reading and for changing stats and alerts, a read-only token (read) for reading.
    "txstathat keys revoke" takes the NAME.
    """

    async def work(opened: IStore) -> None:
        click.echo(f"{KINDS[kind]}: {await Keys(opened).add(kind, name)}")

    with_store(store, work)


@keys.command("list")
@store_option
def list_keys(store: str) -> None:
    """
    List the keys, by their names.
    """

    async def work(opened: IStore) -> None:
        show_rows(
            None,
            ("name", "kind", "created", "stat"),
            [
                (key.name, KINDS[key.kind], time_text(key.created_at), key.stat)
                for key in await Keys(opened).all()
            ],
            none="There are no keys.",
        )

    with_store(store, work)


@keys.command("revoke")
@click.argument("name")
@store_option
def revoke_key(name: str, store: str) -> None:
    """
    Revoke the key with the name NAME.

    A running server refuses it within 5 seconds.
    """

    async def work(opened: IStore) -> None:
        key = await Keys(opened).revoke(name)
        click.echo(f"The {KINDS.get(key.kind, 'key')} {key.name!r} is revoked.")

    with_store(store, work)


@click.group(cls=SuggestingGroup)
def stats() -> None:
    """
    Create stats on your own server, for the Classic API.
    """


@stats.command("add")
@click.argument("name")
@click.option(
    "--value",
    "kind",
    flag_value="value",
    help="Create a value, which averages its points.",
)
@click.option(
    "--counter",
    "kind",
    flag_value="count",
    default="count",
    help="Create a counter, which sums its points (the default).",
)
@store_option
def add_stat(name: str, kind: str, store: str) -> None:
    """
    Create the stat NAME, for the Classic API.

    Prints its stat key, which programs send with. (With the EZ API the first point
    creates a stat.)
    """

    async def work(opened: IStore) -> None:
        stat, keys = await Archive(opened).create(name, kind), Keys(opened)
        for known in await keys.all():
            if known.stat == stat.name:
                raise KeyRefused(
                    f"the stat {stat.name!r} already has a key. To create another, "
                    f"first revoke it: txstathat keys revoke {quote(known.name)}"
                )
        key_name = f"stat {name}"
        if len(key_name) > MAX_NAME:
            key_name = f"stat {stat.id}"
        key = await keys.add("stat", key_name, stat.name)
        click.echo(f"stat key: {key}")
        click.echo(
            f"Send points to {'/c' if stat.counter else '/v'} with this key and a user "
            "key."
        )

    with_store(store, work)
