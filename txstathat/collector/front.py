"""
The front door: HTTP requests come in, StatHat's answers go out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from txstathat.collector.ingest import (
    MAX_BODY,
    MAX_FORM,
    PATHS,
    Batch,
    Refusal,
    read_request,
)
from txstathat.collector.totals import IKeeper

__all__ = ["Front", "front_site"]


def answer(status: int, msg: str, **more: Any) -> bytes:
    """
    An answer as StatHat writes it.
    """
    return json.dumps({"status": status, "msg": msg, **more}).encode("ascii")


class Front(Resource):
    """
    The resource at the root, below which points are posted.

    :param keeper: an :class:`~txstathat.collector.totals.IKeeper`.
    :param allow: says of an API (``'ez'`` or ``'classic'``) and a key whether its
        points are taken.
    """

    def __init__(self, keeper: IKeeper, allow: Callable[[str, str], bool]) -> None:
        super().__init__()
        for path in PATHS:
            self.putChild(path[1:].encode(), _Posts(path, keeper, allow))

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _NotFound()


class _NotFound(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        return _reply(request, Refusal(404, "post to /ez, /c or /v"))


class _Posts(Resource):
    isLeaf = True
    _log = Logger()

    def __init__(
        self, path: str, keeper: IKeeper, allow: Callable[[str, str], bool]
    ) -> None:
        super().__init__()
        self._path = path
        self._keeper = keeper
        self._allow = allow

    def render(self, request: Request) -> bytes | int:
        try:
            batch = self._read(request)
        except Refusal as refusal:
            return _reply(request, refusal)
        kept = self._keeper.keep(batch)
        # The sender may leave before its points are kept; nobody is left to tell then.
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def respond(result: Failure | None) -> None:
            if isinstance(result, Failure):
                content = _reply(request, self._refusal(result))
            else:
                more = {"multiple": len(batch.points)} if batch.many else {}
                content = _reply(request, None, **more)
            if not gone:
                request.write(content)
                request.finish()

        kept.addBoth(respond)
        return NOT_DONE_YET

    def _read(self, request: Request) -> Batch:
        if request.method not in (b"GET", b"POST"):
            raise Refusal(405, "use POST (or GET)")
        if request.postpath:
            raise Refusal(404, "post to /ez, /c or /v")
        batch = read_request(
            self._path,
            query=request.uri.partition(b"?")[2],
            content_type=request.getHeader("content-type") or "",
            body=request.content.read(),  # type: ignore[union-attr]
            batch_id=request.getHeader("idempotency-key"),
        )
        if not self._allow(batch.api, batch.key):
            raise Refusal(403, "this key is not known here")
        return batch

    def _refusal(self, failure: Failure) -> Refusal:
        if isinstance(failure.value, Refusal):
            return failure.value
        self._log.failure("points could not be kept", failure)
        return Refusal(500, "the points could not be kept; try again")


def _reply(request: Request, refusal: Refusal | None, **more: Any) -> bytes:
    request.setHeader("Content-Type", "application/json")
    if refusal is None:
        return answer(200, "ok", **more)
    request.setResponseCode(refusal.http_status)
    return answer(refusal.status, refusal.msg)


class _CappedRequest(Request):
    """
    A request whose body is refused as soon as it is known to be too large.
    """

    _size = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        form = (self.getHeader("content-type") or "").startswith(
            "application/x-www-form-urlencoded"
        )
        self._limit = MAX_FORM if form else MAX_BODY
        too_large = length is not None and length > self._limit
        super().gotLength(0 if too_large else length)
        if too_large:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self._size += len(data)
        if not self._refused and self._size > self._limit:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._refused:
            super().requestReceived(command, path, version)

    def _refuse(self) -> None:
        # Written by hand: the request is not complete, so it cannot be rendered.
        self._refused = True
        content = answer(413, f"the body is larger than {self._limit} bytes")
        self.channel.transport.write(  # type: ignore[union-attr]
            b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(content), content)
        )
        self.channel.loseConnection()


class _QuietSite(Site):
    """
    A site that logs no requests: a GET holds the key in its URL.
    """

    def log(self, request: Any) -> None:
        """Nothing."""


def front_site(root: Resource, reactor: Any = None) -> Site:
    """
    The factory to listen with.

    :param root: what to serve, such as a :class:`Front`.
    :param reactor: for the time limits on idle connections.
    """
    site = _QuietSite(root, requestFactory=_CappedRequest, reactor=reactor)
    site.displayTracebacks = False
    return site
