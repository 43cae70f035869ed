"""
``async with`` for objects that are closed at its end.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from twisted.internet.defer import Deferred

__all__ = ["AsyncClosing"]


class AsyncClosing:
    """
    Is closed at the end of an ``async with``, in a coroutine that Twisted runs.
    """

    def close(self) -> Deferred[None]:
        """
        Close it: see the subclass.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
