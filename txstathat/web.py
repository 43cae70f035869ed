"""
The base of every resource that answers asynchronously.
"""

from __future__ import annotations

from hashlib import sha256
from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import CACHED, NO_BODY_CODES, OK
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

__all__ = ["CoroutineResource", "is_unchanged"]

_log = Logger()


def is_unchanged(request: Request, body: bytes) -> bool:
    """
    Set the ETag of a response, and return whether the client has this body already.
    Then the status becomes 304, and the body is to be left out.

    :param request: the request.
    :param body: the body of the response.
    """
    if request.code != OK or request.method not in (b"GET", b"HEAD"):
        return False
    # It is weak, since a proxy may compress the body.
    tag = f'W/"{sha256(body).hexdigest()[:32]}"'
    return request.setETag(tag.encode("ascii")) is CACHED


class CoroutineResource(Resource):
    """
    A resource whose response is a coroutine.
    """

    #: The methods whose work is cancelled when the client disconnects. By default those
    #: that only read: what changes something runs to its end.
    cancelled_methods: ClassVar[tuple[bytes, ...]] = (b"GET", b"HEAD")

    async def respond(self, request: Request) -> bytes:
        """
        Set the status and the headers of a response.

        :param request: the request.
        :returns: the body.
        :raises Exception: whatever :meth:`failed` turns into a response.
        """
        raise NotImplementedError

    def failed(self, request: Request, failure: Failure) -> bytes | Failure:
        """
        Turn a failure of :meth:`respond` into a response.

        :param request: the request.
        :param failure: the failure.
        :returns: the body; or a failure, which Twisted logs and answers with status
            500. By default that is ``failure`` itself.
        """
        return failure

    def render(self, request: Request) -> int:
        """
        Start :meth:`respond`, and send its result unless the client disconnects first.

        :returns: :data:`~twisted.web.server.NOT_DONE_YET`.
        """
        # Made before the response starts, so that no disconnection is missed.
        finished = request.notifyFinish()
        responding = Deferred.fromCoroutine(self.respond(request))
        disconnected = False

        def cancel(_: Failure) -> None:
            nonlocal disconnected
            disconnected = True
            if request.method in self.cancelled_methods:
                responding.cancel()

        def recover(failure: Failure) -> bytes | Failure:
            if disconnected and failure.check(CancelledError):
                return failure
            return self.failed(request, failure)

        def send(body: bytes) -> None:
            if not disconnected:
                if request.code not in NO_BODY_CODES:
                    request.setHeader("Content-Length", str(len(body)))
                request.write(body)
                request.finish()

        def give_up(failure: Failure) -> None:
            if not disconnected:
                request.processingFailed(failure)
            elif not failure.check(CancelledError):
                _log.failure("a request failed after its client left", failure)

        finished.addErrback(cancel)
        responding.addErrback(recover).addCallbacks(send, give_up)
        return NOT_DONE_YET
