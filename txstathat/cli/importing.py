"""
``txstathat import``: points of the past, and what ``txstathat export`` wrote.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from twisted.internet.defer import CancelledError

from txstathat.cli.diagnosis import tell_failure
from txstathat.cli.journal import Journal, JournalUnreadable
from txstathat.cli.lines import BadLine
from txstathat.cli.options import make_client, server_options
from txstathat.cli.output import lines_text, points_were, progress_bar, visible
from txstathat.cli.points_file import (
    CERTAIN,
    Checked,
    RequestFailed,
    Sender,
    check_points,
    knows_ids,
)
from txstathat.cli.restoring import is_export, restore_file
from txstathat.cli.running import interruptible, run
from txstathat.cli.serve import store_option
from txstathat.client import txStatHat
from txstathat.delivery.locks import FileLock

__all__ = ["import_file"]


@click.command("import")
@click.argument("file")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="What the lines are. By default JSON if the first begins with {, else CSV.",
)
@click.option(
    "--doubtful",
    type=click.Choice(["send", "skip"]),
    help="What to do with lines of which nobody knows any more whether they arrived. "
    "It says so when there are some.",
)
@server_options
@store_option
def import_file(
    file: str, form: str | None, doubtful: str | None, store: str, **server: Any
) -> None:
    """
    Send the points in FILE, each at its time, and none twice.

    The lines are those of "txstathat post", and each needs a t. All are checked first;
    while one is wrong nothing is sent. How far it has come is in FILE.imported: run it
    again to go on, whatever stopped it. Lines that were added meanwhile are sent, too.

    A FILE that "txstathat export" wrote goes straight into the --store, which must have
    no stats yet. It needs no key. Run it again if it was stopped.
    """
    path = Path(file)
    if not path.is_file():
        raise click.UsageError(
            f"{file}: is no file, and what is imported may have to be read again; "
            "for standard input there is txstathat post"
        )
    progress = path.with_name(f"{path.name}.imported")
    try:
        if is_export(path):
            restore_file(path, store)
        client = make_client(**server)
        lock = FileLock.acquire(f"{progress}.lock")
        if lock is None:
            raise _Stop(f"{file}: another import of it is running")
        try:
            journal = _open_journal(progress, doubtful, **server)
            with interruptible():
                checked = check_points(path, form, journal)
            _tell_problems(file, checked, progress)
            _send(client, Sender(path, form, journal, progress), checked)
        finally:
            lock.release(remove=True)
    except (_Stop, JournalUnreadable) as stop:
        click.echo(f"txstathat: {stop}", err=True)
    except OSError as error:
        click.echo(f"txstathat: {error.filename or file}: {error.strerror}", err=True)
    sys.exit(1)


class _Stop(Exception):
    """
    The import cannot go on; says why.
    """


def _open_journal(
    path: Path, doubtful: str | None, url: str, ezkey: str, **others: Any
) -> Journal:
    """
    How far the import has come, with all doubt settled.
    """
    sender = hashlib.sha256(f"{url}\0{ezkey}".encode()).hexdigest()[:8]
    journal = Journal.read(path)
    if journal is None:
        return Journal(url, sender)
    if journal.url != url:
        raise _Stop(
            f"the import went to {visible(journal.url)} so far; to begin anew with "
            f"{url}, remove {path}"
        )
    if journal.sending is None:
        journal.sender = sender
        return journal
    old = time.time() - journal.since > CERTAIN
    if old or journal.sender != sender or not knows_ids(url):
        if doubtful is None:
            where = lines_text(journal.done.line + 1, journal.sending.line)
            raise _Stop(
                f"{where} may have arrived when sent, or not, and the server would "
                "not know the request again. Look whether the points are there; then "
                "say --doubtful skip if they are, or --doubtful send if they are not"
            )
        if doubtful == "skip":
            journal.done, journal.sending = journal.sending, None
        journal.sender, journal.since = sender, time.time()
    return journal


def _tell_problems(file: str, checked: Checked, progress: Path) -> None:
    if checked.changed:
        raise _Stop(
            f"{file}: lines of it that were sent have changed since, so nobody can "
            f"tell what is left. Put them back; or remove {progress} to send all of it"
        )
    if checked.bad:
        lines = [f"{file}: {bad}" for bad in checked.bad]
        if checked.more_bad:
            lines.append(f"wrong lines that are not shown: {checked.more_bad:,}")
        raise _Stop("\n".join([*lines, "Nothing was sent."]))


def _send(client: txStatHat, sender: Sender, checked: Checked) -> NoReturn:
    async def command(reactor: Any) -> int:
        sent = 0

        def told(number: int) -> None:
            nonlocal sent
            sent += number
            show(number)

        status = 1
        with progress_bar("points", checked.left) as show:
            try:
                await sender.send(client, reactor, told)
                status = 0
            except CancelledError:
                raise
            except RequestFailed as failed:
                where = lines_text(failed.first, failed.last)
                click.echo(f"txstathat: not accepted: {where}", err=True)
                tell_failure(failed.error)
            except BadLine as bad:
                click.echo(f"txstathat: {bad}; the file has changed", err=True)
            except OSError as error:
                click.echo(f"txstathat: {error}", err=True)
            finally:
                await client.close()
        before = f"; {checked.before:,} before" if checked.before else ""
        click.echo(f"{points_were(sent)} accepted{before}.", err=bool(status))
        if status:
            click.echo("Run it again to go on: nothing counts twice.", err=True)
        return status

    run(command)
