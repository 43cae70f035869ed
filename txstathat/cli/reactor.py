"""
Run Twisted's reactor for a command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.task import react

from txstathat.stores.store import IStoreReactor

__all__ = ["INTERRUPTED", "ICommandReactor", "exit_on_interrupt", "run"]

#: The exit status of an interrupted command, like a shell's.
INTERRUPTED = 130


class ICommandReactor(IStoreReactor, IReactorTCP):
    """The parts of a reactor that commands use: a store's, and TCP."""


def run(
    command: Callable[[ICommandReactor], Coroutine[Deferred[Any], Any, int]],
) -> NoReturn:
    """
    Run a coroutine function with the reactor, and exit with the status that it returns.

    SIGINT and SIGTERM cancel the coroutine, and the process waits for its end.

    :param command: takes the reactor and returns the exit status.
    """
    status: list[int] = []

    async def main(reactor: ICommandReactor) -> None:
        # Only a running reactor handles SIGINT. Before, it raises KeyboardInterrupt,
        # which a callback of some Deferred would swallow.
        running: Deferred[None] = Deferred()
        reactor.callWhenRunning(running.callback, None)
        try:
            await running
            status.append(await command(reactor))
        except CancelledError:
            status.append(INTERRUPTED)

    def start(reactor: ICommandReactor) -> Deferred[None]:
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
        # react's own status, for an unexpected error, comes first.
        sys.exit(leaving.code or (status[0] if status else INTERRUPTED))
    raise AssertionError("unreachable")


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """
    A context in which Ctrl-C exits like :func:`run`, for work before the reactor runs.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
