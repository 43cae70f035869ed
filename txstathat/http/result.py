"""
The Deferreds of calls.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["CallDeferred", "fired"]

_T = TypeVar("_T")


class CallDeferred(Deferred[_T]):
    """
    A Deferred that behaves alike whether it has fired or not, in each kind of
    coroutine.

    A coroutine that Twisted runs can await it. A task of asyncio cannot await any
    Deferred that has not fired; this one it cannot await in any case, so that a test
    with a fake, in which all have fired, fails as the program would. The representation
    is in asyncio's message, and says what to do.
    """

    def __await__(self) -> Generator[Deferred[_T], Any, _T]:
        result: _T = yield self
        return result

    def __repr__(self) -> str:
        return (
            f"{super().__repr__()[:-1]}; in a task of asyncio, await "
            ".asFuture(asyncio.get_running_loop())>"
        )


def fired(result: _T | Failure) -> CallDeferred[_T]:
    """
    A Deferred that has fired.

    :param result: its result, or its failure.
    """
    done: CallDeferred[_T] = CallDeferred()
    done.callback(result)
    return done
