"""
``txstathat time``: measure how long a command takes, and whether it fails.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from time import monotonic
from typing import Any

import click

from txstathat.cli.diagnosis import show_failure
from txstathat.cli.reactor import ICommandReactor, run
from txstathat.cli.settings import find_sender, make_client, server_options
from txstathat.errors import InvalidPoint
from txstathat.points.model import Count, Value
from txstathat.points.names import check_name

__all__ = ["time_command"]

#: Signals that are passed on to the command. Ctrl-C and Ctrl-\\ reach it from the
#: terminal.
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_IGNORED = (signal.SIGINT, signal.SIGQUIT)
#: A shell's exit statuses for a command that is not found, or cannot be run.
_NOT_FOUND, _NOT_RUN = 127, 126


@click.command("time", context_settings={"allow_interspersed_args": False})
@click.option("--name", required=True, metavar="NAME", help="The name of the stat.")
@server_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def time_command(
    name: str,
    command: tuple[str, ...],
    url: str | None,
    ezkey: str | None,
    timeout: float,
) -> None:
    """
    Run a COMMAND; send how long it took, and whether it failed.

    \b
    txstathat time --name 'nightly copy' rsync -a /home /backup

    The milliseconds go to the value stat NAME. A failure (an exit status other than 0)
    adds 1 to the counter "NAME - errors", a success adds 0. StatHat's own command line
    does the same. The exit status is that of COMMAND, even if nothing could be sent.
    """
    server = find_sender(url, ezkey)
    client = make_client(server, timeout)
    errors = f"{name} - errors"
    try:
        check_name(name)
        check_name(errors)
    except InvalidPoint as error:
        raise click.UsageError(f"--name: {error.problem}") from None
    if "~" in name:
        raise click.UsageError(
            "--name: a name with ~ means several stats. Leave the ~ out."
        )
    begun = monotonic()
    status = _run(command)
    # Microseconds: more would be noise.
    milliseconds = round((monotonic() - begun) * 1_000, 3)

    async def send(reactor: ICommandReactor) -> int:
        try:
            await client.post(
                [Value(name, milliseconds), Count(errors, int(status != 0))]
            )
        except Exception as error:
            await show_failure(error, server.url)
        finally:
            await client.close()
        return status

    run(send)


def _run(command: tuple[str, ...]) -> int:
    """
    Run a command, and wait for its end.

    :returns: its exit status like a shell's: 128 plus the number of the signal that
        ended it.
    """
    process: subprocess.Popen[bytes] | None = None
    # Signals that arrive when the command has started, and Popen has not yet returned.
    pending: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        if process is None:
            pending.append(number)
        else:
            process.send_signal(number)

    # Handlers, unlike "ignore", are not inherited by the command.
    before = {
        **{number: signal.signal(number, pass_on) for number in _PASSED_ON},
        **{number: signal.signal(number, lambda *_: None) for number in _IGNORED},
    }
    try:
        process = subprocess.Popen(command)
        for number in pending:
            process.send_signal(number)
        status = process.wait()
    except FileNotFoundError:
        click.echo(f"txstathat: {command[0]}: command not found", err=True)
        return _NOT_FOUND
    except OSError as error:
        click.echo(f"txstathat: {command[0]}: {error.strerror}", err=True)
        return _NOT_RUN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stdout.flush()
    return 128 - status if status < 0 else status
