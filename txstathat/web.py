"""
What all resources share: their base, which answers asynchronously, and the policy of
pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import CACHED, NO_BODY_CODES, OK
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

__all__ = ["CoroutineResource", "is_unchanged", "page_policy", "send_body"]

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


def page_policy(styles: Sequence[str] = (), *, ancestors: str = "'none'") -> str:
    """
    The Content-Security-Policy of a page: files of this host only, and nothing inline.

    :param styles: hashes of the style elements to allow.
    :param ancestors: the sites that can show the page inside their own; by default
        none.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            " ".join(["style-src 'self'", *styles]),
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            f"frame-ancestors {ancestors}",
        ]
    )


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

    async def failed(
        self, request: Request, failure: Failure
    ) -> bytes | Failure | None:
        """
        Turn a failure of :meth:`respond` into a response.

        :param request: the request.
        :param failure: the failure.
        :returns: the body; or a failure, which Twisted logs and answers with status
            500. By default that is ``failure`` itself; or ``None`` if this method
            sees to the response itself.
        """
        return failure

    def render(self, request: Request) -> int:
        """
        Start :meth:`respond`, and send its result unless the client disconnects first.

        :returns: :data:`~twisted.web.server.NOT_DONE_YET`.
        """
        # Made before the response starts, so that no disconnection is missed.
        finished = (
            request.notifyFinish() if request.method in self.cancelled_methods else None
        )
        responding = Deferred.fromCoroutine(self._send_response(request))
        if finished is not None:
            finished.addErrback(lambda _: responding.cancel())
        return NOT_DONE_YET

    async def _send_response(self, request: Request) -> None:
        try:
            body = await self._respond_or_recover(request)
        except Exception:
            failure = Failure()
            if not _has_left(request):
                request.processingFailed(failure)
            elif not failure.check(CancelledError):
                _log.failure("a request failed after its client left", failure)
            return
        if body is not None:
            send_body(request, body)

    async def _respond_or_recover(self, request: Request) -> bytes | None:
        try:
            return await self.respond(request)
        except Exception as error:
            if _has_left(request) and isinstance(error, CancelledError):
                raise
            body = await self.failed(request, Failure())
        if isinstance(body, Failure):
            body.raiseException()
        return body


def send_body(request: Request, body: bytes) -> None:
    """
    Send the body of a response and end it, unless the client has disconnected.

    :param request: the request.
    :param body: the body.
    """
    if _has_left(request):
        return
    if request.code not in NO_BODY_CODES:
        request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()


def _has_left(request: Request) -> bool:
    """
    Return whether the client has disconnected.
    """
    return request.channel is None
