"""
``txstathat note``: mark a moment on the charts of your server.
"""

from __future__ import annotations

from typing import Any

import click

from txstathat.cli.output import name_text
from txstathat.cli.read.stats import find_stat, with_client
from txstathat.cli.settings import reader_options
from txstathat.export.client import StatHatExport
from txstathat.printable import printable

__all__ = ["note"]


@click.command()
@click.argument("text")
@click.option("--stat", help="The stat that it is about: a name or an id.")
@reader_options
def note(text: str, stat: str | None, **server: Any) -> None:
    """
    Add a note: charts show TEXT at the present time.

    Without --stat the note is on all charts, such as for a deployment:

    \b
    txstathat note "version 2.3 deployed"
    txstathat note "half of them were robots" --stat "page views"
    """

    async def work(client: StatHatExport) -> None:
        found = None if stat is None else await find_stat(client, stat)
        await client.add_note(text, None if found is None else found.id)
        where = "all charts" if found is None else name_text(found.name)
        click.echo(f"Noted on {where}: {printable(text)}")

    with_client(server, work)
