"""
``txstathat post``: send the points on standard input.
"""

from __future__ import annotations

import signal
import sys
from typing import TextIO

import click
from twisted.internet.task import deferLater

from txstathat.cli.diagnosis import find_reason
from txstathat.cli.output import lines_text, points_text
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.send.point_formats import (
    BadLine,
    read_lines,
    read_points,
    split_points,
)
from txstathat.cli.settings import find_sender, make_client, server_options
from txstathat.printable import printable

__all__ = ["post"]


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="The lines' format. [default: JSON if the first begins with {, else CSV]",
)
@server_options
def post(form: str | None, url: str | None, ezkey: str | None, timeout: float) -> None:
    """
    Send the points on standard input, one on each line.

    \b
    CSV:           stat,count,value,t
                   signups,1,,
                   load,,0.7,2026-11-21T10:00:00Z
    or JSON lines: {"stat": "signups", "count": 1}
                   {"stat": "load", "value": 0.7, "t": 1795255200}

    A point has a count or a value. Without t it counts when the server receives it.
    Points are sent a thousand at a time. The first wrong line stops the command; the
    lines before it are sent.
    """
    server = find_sender(url, ezkey)
    client = make_client(server, timeout)
    points = read_points(read_lines(_text(sys.stdin)), form)

    async def command(reactor: ICommandReactor) -> int:
        # Reading blocks the reactor, so Ctrl-C must end the process directly.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sent = 0
        problem = ""
        try:
            for part in split_points(points):
                # Let the reactor close connections that became too old while reading.
                await deferLater(reactor, 0)
                where = lines_text(part[0][0], part[-1][0])
                await client.post([point for _, point in part])
                sent += len(part)
        except BadLine as bad:
            problem = printable(bad)
        except Exception as error:
            found = await find_reason(error, server.url)
            problem = (
                f"{where}: {found.step}: {printable(found.problem)}\n{found.advice}"
            ).rstrip()
        finally:
            await client.close()
        if problem:
            click.echo(f"txstathat: {problem}", err=True)
        click.echo(f"{points_text(sent)} accepted.", err=bool(problem))
        return int(bool(problem))

    run(command)


def _text(stream: TextIO) -> TextIO:
    # Points are UTF-8 in every locale. The csv module handles the newlines.
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8-sig", errors="strict", newline="")
    return stream
