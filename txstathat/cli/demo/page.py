"""
A page that takes a while to make.
"""

from __future__ import annotations

from twisted.web.server import Request

from txstathat.web import CoroutineResource

__all__ = ["AsyncPage"]


class AsyncPage(CoroutineResource):
    """
    A page that a coroutine makes.
    """

    async def made(self, request: Request) -> bytes:
        """
        Set headers, and return the body.
        """
        raise NotImplementedError

    async def respond(self, request: Request) -> bytes:
        """
        Make the page.
        """
        return await self.made(request)
