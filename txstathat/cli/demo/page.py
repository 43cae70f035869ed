"""
A page that takes a while to make.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

__all__ = ["AsyncPage"]


class AsyncPage(Resource):
    """
    A resource whose answer is awaited.
    """

    async def made(self, request: Request) -> bytes:
        """
        Set headers, and return the body.
        """
        raise NotImplementedError

    def render(self, request: Request) -> int:
        """
        Answer when the page is made; a failure is Twisted's to tell.
        """
        making: Deferred[bytes] = Deferred.fromCoroutine(self.made(request))

        def answer(body: bytes) -> None:
            request.write(body)
            request.finish()

        def broken(failure: Failure) -> None:
            if not failure.check(CancelledError):
                request.processingFailed(failure)

        making.addCallback(answer).addErrback(broken)
        # Who went away needs no page any more.
        request.notifyFinish().addErrback(lambda _: making.cancel())
        return NOT_DONE_YET
