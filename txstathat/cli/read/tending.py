"""
``txstathat rename``, ``describe`` and ``trash``: tend the stats of your own server.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from txstathat.cli.output import confirm, name_text, quoted, time_text
from txstathat.cli.read.stats import CommandFailed, find_stat, named, with_client
from txstathat.cli.settings import reader_options
from txstathat.cli.tables import format_options, show_rows
from txstathat.export.client import StatHatExport
from txstathat.export.models import TrashedStat

__all__ = ["describe", "rename", "trash"]


@click.command()
@click.argument("stat")
@click.argument("new")
@reader_options
def rename(stat: str, new: str, **server: Any) -> None:
    """
    Rename STAT, a name or an id, to NEW, with its history.

    Also change the programs that send it: a point under the old name makes a new stat.
    """

    async def work(client: StatHatExport) -> None:
        found = await find_stat(client, stat)
        renamed = await client.change_stat(found.id, name=new)
        click.echo(
            f"{quoted(found.name)} is renamed to {quoted(renamed.name)}. Points under "
            "the old name make a new stat."
        )

    with_client(server, work)


@click.command()
@click.argument("stat")
@click.option("--unit", help="The unit of its amounts, such as ms; '' for none.")
@click.option("--description", help="What it counts or measures; '' for nothing.")
@reader_options
def describe(
    stat: str, unit: str | None, description: str | None, **server: Any
) -> None:
    """
    Set the unit or the description of STAT, a name or an id.
    """
    if unit is None and description is None:
        raise click.UsageError("pass --unit, --description or both")

    async def work(client: StatHatExport) -> None:
        found = await find_stat(client, stat)
        await client.change_stat(found.id, unit=unit, description=description)
        click.echo(f"{name_text(found.name)} is changed.")

    with_client(server, work)


@click.group()
def trash() -> None:
    """
    List or restore deleted stats, or delete them for good.
    """


@trash.command("list")
@format_options
@reader_options
def list_trash(output: str | None, **server: Any) -> None:
    """
    List the stats in the trash.

    A stat stays there for 48 hours, or until it receives a point.
    """

    async def work(client: StatHatExport) -> None:
        found = await client.trash()
        show_rows(
            output,
            ("id", "name", "deleted_at", "until"),
            [tuple(asdict(each).values()) for each in found],
            as_table=[
                (
                    each.id,
                    name_text(each.name),
                    time_text(each.deleted_at),
                    time_text(each.until),
                )
                for each in found
            ],
            none="The trash is empty.",
        )

    with_client(server, work)


@trash.command()
@click.argument("stat")
@reader_options
def restore(stat: str, **server: Any) -> None:
    """
    Restore STAT, a name or an id.
    """

    async def work(client: StatHatExport) -> None:
        found = await _find(client, stat)
        await client.restore(found.id)
        click.echo(f"{name_text(found.name)} is restored.")

    with_client(server, work)


@trash.command("delete")
@click.argument("stat")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@reader_options
def purge(stat: str, yes: bool, **server: Any) -> None:
    """
    Delete STAT, a name or an id, for good.

    Nothing of it stays in the store. A new stat with its name may be of another kind.
    """

    async def work(client: StatHatExport) -> None:
        found = await _find(client, stat)
        if not yes:
            confirm(f"Delete {name_text(found.name)} for good?")
        await client.purge(found.id)
        click.echo(f"{name_text(found.name)} is deleted for good.")

    with_client(server, work)


async def _find(client: StatHatExport, wanted: str) -> TrashedStat:
    found = named(wanted, await client.trash())
    if found is None:
        raise CommandFailed(
            f"no stat in the trash has the name or id {wanted!r}; see txstathat trash "
            "list"
        )
    return found
