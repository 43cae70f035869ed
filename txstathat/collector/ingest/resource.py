"""
The front door: points come in over HTTP, StatHat's answers go out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, FORBIDDEN, OK
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.parse import Batch, read_request
from txstathat.collector.limits import MAX_FORM, PATHS
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.web.resources import AsyncResource, NotFound, address_of

__all__ = ["IngestResource", "KeyChecker"]


# Where a list of points in JSON has its key: within JSON's texts quotes are escaped.
_KEYS = [re.compile(rb'"%b"\s*:\s*"([^"\\]*)"' % name) for name in (b"ezkey", b"email")]


# RFC 6585; Twisted has no name for it.
_TOO_MANY_REQUESTS = 429


class KeyChecker(Protocol):
    """
    Tells whose points are taken; :class:`~txstathat.collector.auth.keys.Keys` does.
    """

    def allow(self, api: str, key: str) -> bool:
        """Whether points with an EZ key or a user key are taken."""

    def stat(self, key: str) -> str | None:
        """The stat that has this stat key."""

    async def refresh(self) -> None:
        """Called for a key that is not known, which may be new."""


class IngestResource(Resource):
    """
    The resource at the root, below which points are posted.

    Other resources can be hung into it with ``putChild``.

    :param keep: keeps a batch: :meth:`txstathat.collector.archive.Archive.keep`.
    :param keys: whose points are taken.
    :param throttle: slows down wrong keys.
    :param metrics: counts what comes.
    """

    def __init__(
        self,
        keep: Callable[[Batch], Deferred[bool]],
        keys: KeyChecker,
        throttle: KeyThrottle,
        metrics: CollectorMetrics | None = None,
    ) -> None:
        super().__init__()
        metrics = metrics or CollectorMetrics()
        for path in PATHS:
            self.putChild(
                path[1:].encode(), _Posts(path, keep, keys, throttle, metrics)
            )

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        What is at paths where nothing is.
        """
        return NotFound("post to /ez, /c or /v")


class _Posts(AsyncResource):
    def __init__(
        self,
        path: str,
        keep: Callable[[Batch], Deferred[bool]],
        keys: KeyChecker,
        throttle: KeyThrottle,
        metrics: CollectorMetrics,
    ) -> None:
        super().__init__()
        self._path = path
        self._keep = keep
        self._keys = keys
        self._throttle = throttle
        self._metrics = metrics

    def failed(self, request: Request, failure: Failure) -> bytes | Failure:
        """
        Refuse the request. If the site's ``stathat_statuses`` is true, what the sender
        did wrong has HTTP status 200, and its status only in the JSON, as with StatHat.
        """
        body = super().failed(request, failure)
        if getattr(request.site, "stathat_statuses", False) and request.code in (
            BAD_REQUEST,
            FORBIDDEN,
            _TOO_MANY_REQUESTS,
        ):
            request.setResponseCode(OK)
        return body

    async def respond(self, request: Request) -> bytes:
        metrics = self._metrics
        began = metrics.now()
        try:
            batch = await self._read(request)
            new = await self._keep(batch)
        except BaseException as error:
            metrics.refused(error)
            raise
        metrics.stored(len(batch.points), new, began)
        request.setHeader("Content-Type", "application/json")
        if not batch.many:
            return b'{"status": 200, "msg": "ok"}'
        return json.dumps(
            {"status": 200, "msg": "ok", "multiple": len(batch.points)}
        ).encode("ascii")

    async def _read(self, request: Request) -> Batch:
        if request.method not in (b"GET", b"POST"):
            raise Refusal(405, "use POST (or GET)")
        if request.postpath:
            raise Refusal(404, "post to /ez, /c or /v")
        if request.getHeader("content-encoding") not in (None, "identity"):
            raise Refusal(415, "send the body as it is, without a Content-Encoding")
        body = request.content.read()  # type: ignore[union-attr]
        if len(body) > MAX_FORM:
            # To read so much takes a while: only for those who show a key first.
            shown = [found[1] for each in _KEYS if (found := each.search(body))]
            key = shown[0].decode("utf-8", "replace") if shown else ""
            await self._check_key(request, "ez", key)
        batch = read_request(
            self._path,
            query=request.uri.partition(b"?")[2],
            content_type=request.getHeader("content-type") or "",
            body=body,
            batch_id=request.getHeader("idempotency-key"),
        )
        await self._check_key(request, batch.api, batch.key)
        if batch.api == "ez":
            return batch
        return await self._named(request, batch)

    async def _check_key(self, request: Request, api: str, key: str) -> None:
        if self._keys.allow(api, key):
            return
        await self._keys.refresh()
        if not self._keys.allow(api, key):
            what = "EZ key" if api == "ez" else "user key"
            raise await self._throttle.refuse(address_of(request), what)

    async def _named(self, request: Request, batch: Batch) -> Batch:
        """
        With the name of the stat, where the Classic API gives its key.
        """
        ((kind, key, amount, t),) = batch.points
        stat = self._keys.stat(key)
        if stat is None:
            await self._keys.refresh()
            stat = self._keys.stat(key)
        if stat is None:
            raise await self._throttle.refuse(address_of(request), "stat key")
        return replace(batch, points=[(kind, stat, amount, t)])
