"""
Work of which calls at the same time share one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["share_work"]


def share_work(
    waiting: list[Deferred[None]], work: Callable[[], Awaitable[None]]
) -> Deferred[None]:
    """
    Do work, unless an earlier call is doing it: then wait for that.

    :param waiting: those who wait for this work; empty while nobody does it.
    :param work: does it.
    :returns: a new Deferred, which fires with ``None`` when the work is done, or fails
        as it does.
    """

    async def do() -> None:
        await work()

    def end(result: Failure | None) -> None:
        waiters = waiting.copy()
        waiting.clear()
        for one in waiters:
            one.callback(result)

    mine: Deferred[None] = Deferred()
    waiting.append(mine)
    if len(waiting) == 1:
        Deferred.fromCoroutine(do()).addBoth(end)
    return mine
