"""
What the resources of the collector share: JSON answers, refusals, and the client's
address and origin.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.errors import Refusal
from txstathat.errors import StoreBusy, StoreError
from txstathat.printable import printable

__all__ = [
    "RETRY_AFTER",
    "Branch",
    "NotFound",
    "accepts_html",
    "address_of",
    "answer",
    "is_same_origin",
    "refusal_of",
    "refuse",
    "set_status",
]

#: The ``Retry-After`` header when the store is busy or fails, in seconds.
RETRY_AFTER = 1

_log = Logger()


def answer(status: int, msg: str, **more: Any) -> bytes:
    """
    Return the body of an answer, in the form that StatHat uses.

    :param status: the status inside the JSON.
    :param msg: the message.
    :param more: other fields.
    """
    fields = {"status": status, "msg": msg, **more}
    return json.dumps(fields, allow_nan=False).encode("ascii")


def set_status(request: Request, refusal: Refusal) -> None:
    """
    Set the status of a response, and its other headers, to those of a refusal.

    :param request: the request.
    :param refusal: the refusal.
    """
    request.setResponseCode(refusal.http_status)
    if refusal.retry_after is not None:
        request.setHeader("Retry-After", str(refusal.retry_after))
    if refusal.closes:
        request.setHeader("Connection", "close")


def refuse(request: Request, refusal: Refusal) -> bytes:
    """
    Set the status and headers of a refusal, and return its body.
    """
    request.setHeader("Content-Type", "application/json")
    set_status(request, refusal)
    return answer(refusal.status, refusal.msg)


def refusal_of(failure: Failure) -> Refusal:
    """
    Return the refusal with which to answer a failure. If the failure is not the
    client's fault, its reason is logged, and the client does not see it.
    """
    error = failure.value
    if isinstance(error, Refusal):
        return error
    if isinstance(error, StoreBusy):
        return Refusal(503, f"too busy: {error}", retry_after=RETRY_AFTER)
    if isinstance(error, StoreError):
        # The archive logs once that the store fails, and not for each request.
        _log.debug("the store failed: {error}", error=printable(error))
        return Refusal(
            503, "the store cannot be used now; try again", retry_after=RETRY_AFTER
        )
    _log.failure("a request failed", failure)
    return Refusal(500, "something went wrong here; try again")


def address_of(request: Request) -> str:
    """
    Return the address of the client. Behind the reverse proxies that the site trusts,
    it is the address from which the first of them got the request.

    :returns: an IP address, or ``''`` for a UNIX socket.
    """
    peer = str(getattr(request.getClientAddress(), "host", "") or "")
    proxies: int = getattr(request.site, "proxies", 0)
    if not proxies:
        return peer
    # Each proxy appends the address it sees. A client can forge what stands before.
    lines = request.requestHeaders.getRawHeaders("x-forwarded-for", [])
    trusted = ",".join(lines).split(",")[-proxies:]
    if len(trusted) < proxies:
        return peer
    try:
        # An IPv6 address can name an interface after %, with any characters.
        return str(ip_address(trusted[0].strip().partition("%")[0]))
    except ValueError:
        return peer


def accepts_html(request: Request) -> bool:
    """
    Return whether a browser wants to show a page. Programs do not ask for HTML.
    """
    accepted = request.getHeader("accept") or ""
    return request.method in (b"GET", b"HEAD") and "text/html" in accepted


def is_same_origin(request: Request) -> bool | None:
    """
    Return whether a page of this host made the request. Browsers say so in
    ``Sec-Fetch-Site``, or, without TLS, in ``Origin``; a page cannot change these.

    :returns: ``None`` without these headers: programs other than browsers do not send
        them.
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


class NotFound(Resource):
    """
    A resource that answers 404.

    :param msg: the message, which says what to do instead.
    """

    isLeaf = True

    def __init__(self, msg: str) -> None:
        super().__init__()
        self._msg = msg

    def render(self, request: Request) -> bytes:
        return refuse(request, Refusal(404, self._msg))


class Branch(Resource):
    """
    A resource that has only children; all other paths below it are a 404.
    """

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Return the resource for a path without a child.
        """
        return NotFound("there is nothing here")

    def render(self, request: Request) -> bytes:
        return NotFound("there is nothing here").render(request)
