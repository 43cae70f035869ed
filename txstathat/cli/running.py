"""
Running Twisted beneath a command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.task import react

__all__ = ["run"]


def run(command: Callable[[Any], Coroutine[Deferred[Any], Any, int]]) -> NoReturn:
    """
    Run a coroutine function with the reactor, and leave with the status it returns.

    :param command: takes the reactor and returns the exit status.
    """
    status: list[int] = []

    async def main(reactor: Any) -> None:
        status.append(await command(reactor))

    try:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
    except SystemExit as leaving:
        # A status of react's own (an unexpected error, a signal) comes first.
        sys.exit(leaving.code or (status[0] if status else 0))
    raise AssertionError("unreachable")
