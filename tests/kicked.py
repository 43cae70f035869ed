"""
An IKick in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from txstathat.interfaces import IKickProvider


@implementer(IKickProvider)
class Kicked:
    """
    Records kicks.

    :param broken: whether each kick fails.
    :ivar kicks: the kicks, in order.
    """

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.kicks: list[tuple[Any, Any, dict[str, Any]]] = []

    def kick(self, value: Any = 1, date: Any = None, **axes: Any) -> Deferred[Any]:
        if self.broken:
            return fail(RuntimeError("no store"))
        self.kicks.append((value, date, axes))
        return succeed(None)
