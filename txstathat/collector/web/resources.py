"""
What is answered over HTTP: JSON, and refusals with words.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from txstathat.collector.errors import Refusal
from txstathat.errors import StoreBusy, StoreError

__all__ = [
    "AsyncResource",
    "Branch",
    "NotFound",
    "address_of",
    "answer",
    "refusal_of",
    "refuse",
]

#: After how many seconds to come again, when the store is busy or not there.
RETRY_AFTER = 1

_log = Logger()


def answer(status: int, msg: str, **more: Any) -> bytes:
    """
    An answer as StatHat writes it.
    """
    told = {"status": status, "msg": msg, **more}
    return json.dumps(told, allow_nan=False).encode("ascii")


def refuse(request: Request, refusal: Refusal) -> bytes:
    """
    Prepare a request for a refusal, and return its body.
    """
    request.setHeader("Content-Type", "application/json")
    request.setResponseCode(refusal.http_status)
    if refusal.retry_after is not None:
        request.setHeader("Retry-After", str(refusal.retry_after))
    if refusal.closes:
        request.setHeader("Connection", "close")
    return answer(refusal.status, refusal.msg)


def refusal_of(failure: Failure) -> Refusal:
    """
    What to tell of a failure. What is not the asker's fault is logged, not told.
    """
    error = failure.value
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StoreBusy):
        return Refusal(503, f"too busy: {error}", retry_after=RETRY_AFTER)
    if isinstance(error, StoreError):
        _log.warn("the store: {error}", error=str(error))
        return Refusal(
            503, "the store cannot be used now; try again", retry_after=RETRY_AFTER
        )
    _log.failure("a request failed", failure)
    return Refusal(500, "something went wrong here; try again")


def address_of(request: Request) -> str:
    """
    The address of the other side; behind reverse proxies that the site knows of, what
    the first of them saw.
    """
    peer = str(getattr(request.getClientAddress(), "host", "") or "")
    proxies: int = getattr(request.site, "proxies", 0)
    # Each proxy adds whom it saw; what stands before that, anybody can have made up.
    lines = request.requestHeaders.getRawHeaders("x-forwarded-for", [])
    told = ",".join(lines).split(",")[-proxies:] if proxies else []
    if not proxies or len(told) < proxies:
        return peer
    try:
        return str(ip_address(told[0].strip()))
    except ValueError:
        return peer


def is_from_here(request: Request) -> bool | None:
    """
    Whether a browser says that a page of this host made a request. Browsers do so in
    ``Sec-Fetch-Site``, or without TLS in ``Origin`` at least; no page can change these.

    :returns: ``None`` if nothing is said: other programs do not.
    """
    site = request.getHeader("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.getHeader("origin")
    if origin is None:
        return None
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(host) and host == request.getHeader("host")


class AsyncResource(Resource):
    """
    A resource that answers when it can.
    """

    isLeaf = True

    async def respond(self, request: Request) -> bytes:
        """
        Set headers, and return the body; or raise what is to be refused.
        """
        raise NotImplementedError

    def render(self, request: Request) -> int:
        """
        Answer with what :meth:`respond` returns.
        """
        # The asker may leave before that; nobody is left to tell then.
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def finish(body: bytes | Failure) -> None:
            if isinstance(body, Failure):
                body = refuse(request, refusal_of(body))
            if not gone:
                request.setHeader("Content-Length", str(len(body)))
                request.write(body)
                request.finish()

        Deferred.fromCoroutine(self.respond(request)).addBoth(finish)
        return NOT_DONE_YET


class NotFound(Resource):
    """
    What is at all other paths.

    :param msg: what to do instead.
    """

    isLeaf = True

    def __init__(self, msg: str) -> None:
        super().__init__()
        self._msg = msg

    def render(self, request: Request) -> bytes:
        """
        Answer 404.
        """
        return refuse(request, Refusal(404, self._msg))


class Branch(Resource):
    """
    What others hang from, with nothing at its own path, nor elsewhere below it.
    """

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        What is at paths where nothing is.
        """
        return NotFound("there is nothing here")

    def render(self, request: Request) -> bytes:
        """
        Answer 404.
        """
        return NotFound("there is nothing here").render(request)
