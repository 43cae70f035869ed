"""
``txstathat sessions``: the browsers that are signed in to your server.
"""

from __future__ import annotations

import click

from txstathat.cli.output import time_text
from txstathat.cli.server.store import store_option, with_store
from txstathat.cli.tables import show_rows
from txstathat.collector.auth.keys import Keys
from txstathat.collector.auth.sessions import SESSION_SECONDS, Sessions
from txstathat.stores import IStore

__all__ = ["sessions"]

# So many characters of an id are shown; an id can be shortened to any length.
_SHOWN = 12


@click.group()
def sessions() -> None:
    """
    List and end the sessions of the pages of your own server.
    """


@sessions.command("list")
@store_option
def list_sessions(store: str) -> None:
    """
    List the sessions, the newest first.
    """

    async def work(opened: IStore) -> None:
        keys = Keys(opened)
        names = await keys.names()
        rows = [
            (
                id[:_SHOWN],
                time_text(session.until - SESSION_SECONDS),
                time_text(session.until),
                ", ".join(names[each] for each in session.tokens if each in names),
            )
            for id, session in (await Sessions(opened, keys).all()).items()
        ]
        columns = ("id", "signed in", "ends", "token")
        show_rows(None, columns, rows, none="There are no sessions.")

    with_store(store, work)


@sessions.command("end")
@click.argument("id", required=False)
@click.option("--all", "every", is_flag=True, help="End all sessions.")
@store_option
def end_session(id: str | None, every: bool, store: str) -> None:
    """
    End the session with this ID, or all sessions.

    The beginning of an ID is enough. --all also ends one-time links that were not used
    yet.
    """
    if (id is None) is not every:
        raise click.UsageError("name a session, or pass --all")

    async def work(opened: IStore) -> None:
        known = Sessions(opened, Keys(opened))
        if id is None:
            click.echo(f"{await known.end_all()} sessions are ended.")
            return
        found = [each for each in await known.all() if id and each.startswith(id)]
        if len(found) != 1:
            number = len(found) or "no"
            raise ValueError(
                f"{number} sessions have ids that begin with {id!r}; see txstathat "
                "sessions list"
            )
        await known.end(found[0])
        click.echo("The session is ended.")

    with_store(store, work)
