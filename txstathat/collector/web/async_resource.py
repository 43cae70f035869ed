"""
The base of the resources that answer asynchronously, with their refusals.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from twisted.python.failure import Failure
from twisted.web.server import Request

from txstathat.collector.errors import Hold, Refusal, WrongKey
from txstathat.collector.web.request import CappedRequest
from txstathat.collector.web.resources import refusal_of, refuse
from txstathat.web import CoroutineResource, send_body

__all__ = ["AsyncResource"]


class AsyncResource(CoroutineResource):
    """
    A resource that answers a failure with a refusal in JSON.
    """

    isLeaf = True
    #: Nothing is cancelled: the points of a client that disconnects are stored, and its
    #: wrong keys count.
    cancelled_methods: ClassVar[tuple[bytes, ...]] = ()

    async def refuse(self, request: Request, refusal: Refusal) -> bytes:
        """
        Set the status and headers of a refusal.

        :param request: the request.
        :param refusal: the refusal.
        :returns: the body.
        """
        return refuse(request, refusal)

    async def failed(self, request: Request, failure: Failure) -> bytes | None:
        """
        Refuse the request, at once or later.
        """
        refusal = refusal_of(failure)
        body = await self.refuse(request, refusal)
        if not isinstance(refusal, WrongKey) or refusal.hold is None:
            return body
        _delay(request, body, refusal.hold)
        return None


def _delay(request: Request, body: bytes, hold: Hold) -> None:
    """
    Delay the answer to a request, unless the client has disconnected.
    """
    if request.channel is None:
        return
    if isinstance(request, CappedRequest):
        request.delay(body, hold)
        return
    left = request.notifyFinish()
    cancel = hold(partial(send_body, request, body))
    left.addErrback(lambda _: cancel())
