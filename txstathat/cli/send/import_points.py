"""
``txstathat import``: points of the past, what StatHat's users saved, and what
``txstathat export`` wrote.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from twisted.internet.defer import CancelledError

from txstathat.cli.diagnosis import show_failure
from txstathat.cli.output import points_were, progress_bar
from txstathat.cli.reactor import interruptible, run
from txstathat.cli.send.journal import Journal, JournalUnreadable
from txstathat.cli.send.load_dump import is_export, restore_file
from txstathat.cli.send.point_formats import BadLine
from txstathat.cli.send.points_file import (
    CERTAIN,
    Checked,
    RequestFailed,
    Sender,
    check_points,
    knows_ids,
)
from txstathat.cli.send.saved_stats import is_folder
from txstathat.cli.send.sources import SavedSource, Source, open_source
from txstathat.cli.server.serve import store_option
from txstathat.cli.settings import Server, find_sender, make_client, server_options
from txstathat.client.stathat import txStatHat
from txstathat.delivery.locks import FileLock
from txstathat.printable import printable

__all__ = ["import_file"]


@click.command("import")
@click.argument("file")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="What the lines are. [default: JSON if the first begins with {, else CSV]",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["counter", "value"]),
    default="value",
    show_default=True,
    help="What the stats in a file saved from /x/…/data are; the file does not say.",
)
@click.option(
    "--doubtful",
    type=click.Choice(["send", "skip"]),
    help="What to do with points that may or may not have arrived. The command says "
    "when there are some.",
)
@server_options
@store_option
def import_file(
    file: str,
    form: str | None,
    kind: str,
    doubtful: str | None,
    store: str,
    url: str | None,
    ezkey: str | None,
    timeout: float,
) -> None:
    """
    Send the points in FILE, each at its time, and none twice.

    FILE has the lines of "txstathat post", each with a t. Or it is what was saved from
    StatHat: a folder with stats.csv and data/*.csv, or JSON from /x/…/data. A saved
    value is an average over its step (of a counter, the sum): it comes back as one
    point.

    All points are checked first; if one is wrong, nothing is sent. Progress is in
    FILE.imported: run the command again to go on, whatever stopped it. Lines that were
    added meanwhile are sent too.

    A FILE that "txstathat export" wrote is loaded into the --store, which must have no
    stats yet. That needs no key. Run it again if it was stopped.
    """
    path = Path(os.path.abspath(file))
    folder = is_folder(path)
    if not folder and not path.is_file():
        raise click.UsageError(_not_importable(file, path))
    progress = path.with_name(f"{path.name}.imported")
    try:
        if not folder and is_export(path):
            restore_file(Path(file), store)
        server = find_sender(url, ezkey)
        client = make_client(server, timeout)
        source = open_source(Path(file), form, kind)
        lock = FileLock.acquire(f"{progress}.lock")
        if lock is None:
            raise _Stop(f"{file}: another import of it is running")
        try:
            journal = _open_journal(progress, doubtful, server, source)
            with interruptible():
                checked = check_points(source, journal)
            _stop_at_problems(file, source, checked, progress)
            _send(
                client, server.url, source, Sender(source, journal, progress), checked
            )
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


def _not_importable(file: str, path: Path) -> str:
    if path.is_dir():
        return f"{file}: a folder of saved stats must have a stats.csv"
    return f"{file}: no such file. To read standard input, use txstathat post."


def _open_journal(
    path: Path, doubtful: str | None, server: Server, source: Source
) -> Journal:
    """
    How far the import has come, with all doubt settled.
    """
    url = server.url
    sender = hashlib.sha256(f"{url}\0{server.secret}".encode()).hexdigest()[:8]
    journal = Journal.read(path)
    if journal is None:
        return Journal(url, sender)
    if journal.url != url:
        raise _Stop(
            f"the import went to {printable(journal.url)} so far; to begin anew with "
            f"{url}, remove {path}"
        )
    if journal.sending is None:
        journal.sender = sender
        return journal
    old = time.time() - journal.since > CERTAIN
    if old or journal.sender != sender or not knows_ids(url):
        if doubtful is None:
            where = source.where(journal.done.line + 1, journal.sending.line)
            raise _Stop(
                f"{where} may or may not have arrived, and the server would not "
                "recognize the request. Look whether the points are there; then run it "
                "with --doubtful skip if they are, or --doubtful send if they are not"
            )
        if doubtful == "skip":
            journal.done, journal.sending = journal.sending, None
        journal.sender, journal.since = sender, time.time()
    return journal


def _stop_at_problems(
    file: str, source: Source, checked: Checked, progress: Path
) -> None:
    if checked.changed:
        raise _Stop(
            f"{file}: points that were sent have changed since, so it is not known "
            f"what is left. Restore them; or remove {progress} to send everything"
        )
    if checked.bad:
        lines = [source.problem(bad) for bad in checked.bad]
        if checked.more_bad:
            lines.append(f"and {checked.more_bad:,} more")
        raise _Stop("\n".join([*lines, "Nothing was sent."]))


def _send(
    client: txStatHat, url: str, source: Source, sender: Sender, checked: Checked
) -> NoReturn:
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
                where = source.where(failed.first, failed.last)
                click.echo(f"txstathat: not accepted: {printable(where)}", err=True)
                show_failure(failed.error, url)
            except BadLine as bad:
                click.echo(
                    f"txstathat: {printable(source.problem(bad))}; it has changed",
                    err=True,
                )
            except OSError as error:
                click.echo(f"txstathat: {error}", err=True)
            finally:
                await client.close()
        before = f"; {checked.before:,} before" if checked.before else ""
        click.echo(f"{points_were(sent)} accepted{before}.", err=bool(status))
        if isinstance(source, SavedSource) and not status:
            click.echo(
                "Each was saved as an average over a step of time (of a counter, the "
                "sum), and came back as one point."
            )
        if status:
            click.echo("Run it again to go on: nothing counts twice.", err=True)
        return status

    run(command)
