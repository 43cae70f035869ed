"""
The resources for posted points, with the answers that StatHat gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.ingest.parse import PostedBatch, read_request
from txstathat.collector.limits import MAX_FORM, PATHS
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.web.resources import AsyncResource, NotFound, address_of

__all__ = ["IngestResource", "KeyChecker"]


# How a body in JSON shows its key. Within the texts of JSON quotes are escaped.
_KEYS = [re.compile(rb'"%b"\s*:\s*"([^"\\]*)"' % name) for name in (b"ezkey", b"email")]


class KeyChecker(Protocol):
    """
    Checks keys; :class:`~txstathat.collector.auth.keys.Keys` does.
    """

    def allow(self, api: str, key: str) -> bool:
        """Return whether points with an EZ key or a user key are accepted."""

    def stat(self, key: str) -> str | None:
        """Return the name of the stat that has this stat key."""

    async def refresh(self) -> None:
        """Read the keys again, since an unknown key may be a new one."""


class IngestResource(Resource):
    """
    The root resource. Points are posted to ``/ez``, ``/c`` and ``/v`` below it; other
    resources can be added with ``putChild``.

    :param add: stores a batch, such as
        :meth:`Archive.add <txstathat.collector.archive.archive.Archive.add>`.
    :param keys: checks the keys of requests.
    :param throttle: slows down clients with wrong keys.
    :param metrics: counts requests.
    """

    def __init__(
        self,
        add: Callable[[PostedBatch], Deferred[bool]],
        keys: KeyChecker,
        throttle: KeyThrottle,
        metrics: CollectorMetrics | None = None,
    ) -> None:
        super().__init__()
        metrics = metrics or CollectorMetrics()
        for path in PATHS:
            self.putChild(path[1:].encode(), _Posts(path, add, keys, throttle, metrics))

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Return the resource for an unknown path.
        """
        return NotFound("post to /ez, /c or /v")


class _Posts(AsyncResource):
    def __init__(
        self,
        path: str,
        add: Callable[[PostedBatch], Deferred[bool]],
        keys: KeyChecker,
        throttle: KeyThrottle,
        metrics: CollectorMetrics,
    ) -> None:
        super().__init__()
        self._path = path
        self._add = add
        self._keys = keys
        self._throttle = throttle
        self._metrics = metrics

    async def respond(self, request: Request) -> bytes:
        metrics = self._metrics
        began = metrics.now()
        try:
            batch = await self._read(request)
            new = await self._add(batch)
        except BaseException as error:
            metrics.refused(error)
            raise
        metrics.stored(len(batch.points), new, began)
        request.setHeader("Content-Type", "application/json")
        if not batch.is_list:
            return b'{"status": 200, "msg": "ok"}'
        return json.dumps(
            {"status": 200, "msg": "ok", "multiple": len(batch.points)}
        ).encode("ascii")

    async def _read(self, request: Request) -> PostedBatch:
        if request.method not in (b"GET", b"POST"):
            raise Refusal(405, "use POST (or GET)")
        if request.postpath:
            raise Refusal(404, "post to /ez, /c or /v")
        if request.getHeader("content-encoding") not in (None, "identity"):
            raise Refusal(415, "send the body as it is, without a Content-Encoding")
        body = request.content.read()  # type: ignore[union-attr]
        if len(body) > MAX_FORM:
            # It takes a while to parse so much: the key comes first.
            matches = [found[1] for each in _KEYS if (found := each.search(body))]
            key = matches[0].decode("utf-8", "replace") if matches else ""
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
        return await self._with_stat_name(request, batch)

    async def _check_key(self, request: Request, api: str, key: str) -> None:
        if self._keys.allow(api, key):
            return
        await self._keys.refresh()
        if not self._keys.allow(api, key):
            kind = "EZ key" if api == "ez" else "user key"
            raise await self._throttle.refuse(address_of(request), kind)

    async def _with_stat_name(
        self, request: Request, batch: PostedBatch
    ) -> PostedBatch:
        """
        Replace the stat key, which the Classic API uses, with the name of the stat.
        """
        ((kind, key, amount, t),) = batch.points
        stat = self._keys.stat(key)
        if stat is None:
            await self._keys.refresh()
            stat = self._keys.stat(key)
        if stat is None:
            raise await self._throttle.refuse(address_of(request), "stat key")
        return replace(batch, points=[(kind, stat, amount, t)])
