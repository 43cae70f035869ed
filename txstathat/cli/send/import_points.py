"""
``txstathat import``: send past points, data saved from StatHat, or an export.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import click
from twisted.internet.defer import CancelledError

from txstathat.cli.diagnosis import show_failure
from txstathat.cli.output import points_text
from txstathat.cli.reactor import ICommandReactor, exit_on_interrupt, run
from txstathat.cli.send.import_progress import ImportProgress, ProgressUnreadable
from txstathat.cli.send.import_sender import (
    DEDUPLICATION_SECONDS,
    CheckResult,
    ImportSender,
    RequestFailed,
    check_points,
    deduplicates,
)
from txstathat.cli.send.import_sources import SavedSource, Source, open_source
from txstathat.cli.send.load_dump import is_export, load_dump_file
from txstathat.cli.send.point_formats import BadLine
from txstathat.cli.send.saved_stats import is_folder
from txstathat.cli.server.store import store_option
from txstathat.cli.settings import Server, find_sender, make_client, server_options
from txstathat.cli.tables import progress_bar
from txstathat.client.stathat import txStatHat
from txstathat.delivery.spool.locks import FileLock
from txstathat.printable import printable

__all__ = ["import_file"]


@click.command("import")
@click.argument("file")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="The lines' format. [default: JSON if the first begins with {, else CSV]",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["counter", "value"]),
    default="value",
    show_default=True,
    help="The kind of the stats in a file saved from /x/…/data, which does not say it.",
)
@click.option(
    "--doubtful",
    type=click.Choice(["send", "skip"]),
    help="What to do with points that may or may not have arrived. The command says "
    "when this option is needed.",
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
    Send the points in FILE, each with its time, and each only once.

    FILE has the format of "txstathat post", and each point has a t. Or it is data saved
    from StatHat: a folder with stats.csv and data/*.csv, or JSON from /x/…/data. Each
    saved average (for a counter, each sum) becomes one point.

    All points are checked first; if one is wrong, nothing is sent. Progress is stored
    in FILE.imported: run the command again to continue after any interruption. Lines
    added since then are sent too.

    A FILE written by "txstathat export" is loaded into --store, which must have no
    stats yet. This needs no key. Run the command again if it was interrupted.
    """
    path = Path(os.path.abspath(file))
    folder = is_folder(path)
    if not folder and not path.is_file():
        raise click.UsageError(_not_importable(file, path))
    progress_path = path.with_name(f"{path.name}.imported")
    try:
        if not folder and is_export(path):
            load_dump_file(Path(file), store)
        server = find_sender(url, ezkey)
        client = make_client(server, timeout)
        source = open_source(Path(file), form, kind)
        lock = FileLock.acquire(f"{progress_path}.lock")
        if lock is None:
            raise _ImportStopped(f"{file}: another import of this file is running")
        try:
            progress = _open_progress(progress_path, doubtful, server, source)
            with exit_on_interrupt():
                checked = check_points(source, progress)
            _stop_at_problems(file, source, checked, progress_path)
            sender = ImportSender(source, progress, progress_path)
            _send(client, server.url, source, sender, checked)
        finally:
            lock.release(remove=True)
    except (_ImportStopped, ProgressUnreadable) as stop:
        click.echo(f"txstathat: {stop}", err=True)
    except OSError as error:
        click.echo(f"txstathat: {error.filename or file}: {error.strerror}", err=True)
    sys.exit(1)


class _ImportStopped(Exception):
    """
    The import cannot go on. The text says why.
    """


def _not_importable(file: str, path: Path) -> str:
    if path.is_dir():
        return f"{file}: a folder of saved stats must have a stats.csv"
    return f"{file}: no such file. To read standard input, use txstathat post."


def _open_progress(
    path: Path, doubtful: str | None, server: Server, source: Source
) -> ImportProgress:
    """
    Read the progress of an earlier import, and decide about points in doubt.

    :param path: the progress file.
    :param doubtful: the user's decision: ``'send'``, ``'skip'``, or ``None``.
    :raises _ImportStopped: if the import went to another server, or the user has to
        decide.
    :raises ProgressUnreadable: if the file is something else.
    """
    url = server.url
    sender = hashlib.sha256(f"{url}\0{server.secret}".encode()).hexdigest()[:8]
    progress = ImportProgress.read(path)
    if progress is None:
        return ImportProgress(url, sender)
    if progress.url != url:
        raise _ImportStopped(
            f"earlier runs sent to {printable(progress.url)}. To start again with "
            f"{url}, remove {path}"
        )
    if progress.sending is None:
        progress.sender = sender
        return progress
    old = time.time() - progress.since > DEDUPLICATION_SECONDS
    if old or progress.sender != sender or not deduplicates(url):
        if doubtful is None:
            where = source.where(progress.done.line + 1, progress.sending.line)
            raise _ImportStopped(
                f"{where} may or may not have arrived, and the server would not "
                "recognize the request. Check whether the points are there. Then run "
                "it with --doubtful skip if they are, or --doubtful send if they are "
                "not"
            )
        if doubtful == "skip":
            progress.done, progress.sending = progress.sending, None
        progress.sender, progress.since = sender, time.time()
    return progress


def _stop_at_problems(
    file: str, source: Source, checked: CheckResult, progress_path: Path
) -> None:
    if checked.changed:
        raise _ImportStopped(
            f"{file}: points that were already sent have changed, so it is unknown "
            f"which are left. Restore them, or remove {progress_path} to send all"
        )
    if checked.problems:
        lines = [source.problem(bad) for bad in checked.problems]
        if checked.more_problems:
            lines.append(f"and {checked.more_problems:,} more")
        raise _ImportStopped("\n".join([*lines, "Nothing was sent."]))


def _send(
    client: txStatHat,
    url: str,
    source: Source,
    sender: ImportSender,
    checked: CheckResult,
) -> NoReturn:
    async def command(reactor: ICommandReactor) -> int:
        sent, complete = await _send_showing(
            reactor, client, url, source, sender, checked
        )
        _report(source, checked, sent, complete)
        return 0 if complete else 1

    run(command)


async def _send_showing(
    reactor: ICommandReactor,
    client: txStatHat,
    url: str,
    source: Source,
    sender: ImportSender,
    checked: CheckResult,
) -> tuple[int, bool]:
    """
    Send the points, and show the progress and what went wrong.

    :returns: how many points were accepted, and whether these were all.
    """
    sent = 0

    def on_accepted(number: int) -> None:
        nonlocal sent
        sent += number
        show(number)

    with progress_bar("points", checked.remaining) as show:
        try:
            await sender.send(client, reactor, on_accepted)
            return sent, True
        except CancelledError:
            raise
        except RequestFailed as failed:
            where = source.where(failed.first, failed.last)
            click.echo(f"txstathat: not accepted: {where}", err=True)
            await show_failure(failed.error, url)
        except BadLine as bad:
            click.echo(
                f"txstathat: {source.problem(bad)}; the file has changed", err=True
            )
        except OSError as error:
            click.echo(f"txstathat: {error}", err=True)
        finally:
            await client.close()
    return sent, False


def _report(source: Source, checked: CheckResult, sent: int, complete: bool) -> None:
    earlier = checked.accepted_before
    if earlier and not sent and complete:
        were = "the point was" if earlier == 1 else f"all {earlier:,} points were"
        click.echo(f"Nothing new: {were} sent earlier.")
        return
    before = f"; {earlier:,} earlier" if earlier else ""
    click.echo(f"{points_text(sent)} accepted{before}.", err=not complete)
    if not complete:
        click.echo("Run it again to continue: no point counts twice.", err=True)
    elif isinstance(source, SavedSource):
        click.echo(
            "Each saved average over a step of time (for a counter, each sum) is "
            "now one point."
        )
