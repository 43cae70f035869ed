"""
The calls of an API: functions for a path and a method, whose answers are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from txstathat.collector.errors import Refusal
from txstathat.collector.web.async_resource import AsyncResource

__all__ = ["Answer", "Call", "encode_json", "encode_pieces", "is_change"]

#: An answer: JSON text, or what to encode as JSON.
Answer: TypeAlias = Awaitable[Any]

# How many points are encoded at once. More would block the reactor for long.
_POINTS_AT_ONCE = 10_000


def is_change(request: Request) -> bool:
    """
    Return whether a request may change something.
    """
    return request.method not in (b"GET", b"HEAD")


class Call(AsyncResource):
    """
    A call: a path, with a function for each HTTP method.

    :param enter: called first; raises the refusal if the client has no access.
    """

    def __init__(
        self,
        enter: Callable[[Request], Awaitable[None]],
        **methods: Callable[[Request], Answer],
    ) -> None:
        super().__init__()
        self._enter = enter
        self._methods = methods

    async def respond(self, request: Request) -> bytes:
        # Caches must not store what only the holder of a secret can read.
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("Referrer-Policy", "no-referrer")
        await self._enter(request)
        method = self._methods.get(request.method.decode("ascii", "replace"))
        if method is None:
            raise Refusal(405, f"use {' or '.join(self._methods)}")
        content = await method(request)
        request.setHeader("Content-Type", "application/json")
        text = content if isinstance(content, str) else encode_json(content)
        return text.encode("ascii")


def encode_json(content: Any) -> str:
    """
    Encode a part of an answer.
    """
    return json.dumps(content, allow_nan=False)


async def encode_pieces(timers: IReactorTime, pieces: Iterable[tuple[Any, int]]) -> str:
    """
    Encode a list with many points. Other requests have a turn meanwhile.

    :param timers: the timers.
    :param pieces: the things in the list, each with the number of its points.
    """
    texts = []
    waiting = 0
    for content, points in pieces:
        if waiting > _POINTS_AT_ONCE:
            waiting = 0
            await deferLater(timers, 0)
        waiting += points
        texts.append(encode_json(content))
    return f"[{', '.join(texts)}]"
