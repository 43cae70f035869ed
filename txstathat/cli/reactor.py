"""
Running Twisted beneath a command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

__all__ = ["INTERRUPTED", "interruptible", "run"]

#: The exit status of a command that was interrupted, as of a shell's.
INTERRUPTED = 130


def run(command: Callable[[Any], Coroutine[Deferred[Any], Any, int]]) -> NoReturn:
    """
    Run a coroutine function with the reactor, and leave with the status it returns.

    When the process is told to stop, the coroutine is cancelled, and waited for.

    :param command: takes the reactor and returns the exit status.
    """
    status: list[int] = []

    async def main(reactor: Any) -> None:
        try:
            status.append(await command(reactor))
        except CancelledError:
            status.append(INTERRUPTED)

    def start(reactor: Any) -> Deferred[None]:
        ended = Deferred.fromCoroutine(main(reactor))

        def stop() -> Deferred[None]:
            stopped: Deferred[None] = Deferred()
            ended.addBoth(lambda _: stopped.callback(None))
            ended.cancel()
            return stopped

        reactor.addSystemEventTrigger("before", "shutdown", stop)
        return ended

    try:
        react(start)
    except SystemExit as leaving:
        # A status of react's own (an unexpected error) comes first.
        sys.exit(leaving.code or (status[0] if status else INTERRUPTED))
    raise AssertionError("unreachable")


@contextmanager
def interruptible() -> Iterator[None]:
    """
    What is done within, before the reactor runs, ends with Ctrl-C as :func:`run` does.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
