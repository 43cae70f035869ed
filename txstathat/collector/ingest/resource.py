"""
The resources for posted points, with the answers that StatHat gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import unquote_plus

from twisted.web.http import BAD_REQUEST, FORBIDDEN, OK
from twisted.web.resource import Resource
from twisted.web.server import Request

from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import PointAhead, Refusal, clock_doubt, utc
from txstathat.collector.ingest.parse import PostedBatch, entry_of_point, read_request
from txstathat.collector.limits import MAX_AHEAD, MAX_FORM, PATHS
from txstathat.collector.metrics import CollectorMetrics
from txstathat.collector.web.async_resource import AsyncResource
from txstathat.collector.web.request import has_body, trust_body
from txstathat.collector.web.resources import NotFound, accepts_html, address_of

__all__ = ["CLOCK_DIFFERENCE", "IngestResource", "KeyChecker"]


# How a body in JSON shows its key. Within the texts of JSON quotes are escaped.
_JSON_KEYS = [
    re.compile(rb'"%b"\s*:\s*"([^"\\]*)"' % name) for name in (b"ezkey", b"email")
]
# How a form shows its key.
_FORM_KEY = re.compile(rb"(?:^|&)(?:ezkey|email|ukey)=([^&]*)&")
# A JSON body of more bytes is parsed only if the key that it shows is valid.
_PARSE_FIRST = 1024
#: By how many seconds the collector's clock can be behind the sender's without being
#: doubted.
CLOCK_DIFFERENCE = 3600.0


# RFC 6585; Twisted has no name for it.
_TOO_MANY_REQUESTS = 429


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
        :meth:`Archive.write <txstathat.collector.archive.archive.Archive.write>`.
    :param keys: checks the keys of requests.
    :param throttle: slows down clients with wrong keys.
    :param metrics: counts requests.
    """

    def __init__(
        self,
        add: Callable[[PostedBatch], Awaitable[bool]],
        keys: KeyChecker,
        throttle: KeyThrottle,
        metrics: CollectorMetrics | None = None,
    ) -> None:
        super().__init__()
        metrics = metrics or CollectorMetrics()
        for path in PATHS:
            self.putChild(path[1:].encode(), _Posts(path, add, keys, throttle, metrics))

    #: Whether the root, or an unknown path below it, accepts a body; see
    #: :meth:`CollectorSite.takes_body`.
    takes_body = False
    #: The page for an unknown path, for browsers; ``None`` if there are no pages.
    missing_page: Resource | None = None

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Return the resource for an unknown path: a page for a browser, otherwise JSON.
        """
        if self.missing_page is not None and accepts_html(request):
            return self.missing_page
        return NotFound("post to /ez, /c or /v")


class _Posts(AsyncResource):
    takes_body = True

    def __init__(
        self,
        path: str,
        add: Callable[[PostedBatch], Awaitable[bool]],
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

    async def refuse(self, request: Request, refusal: Refusal) -> bytes:
        """
        Refuse the request. If the site's ``stathat_statuses`` is true, what the sender
        did wrong has HTTP status 200, and its status only in the JSON, as with StatHat.
        """
        body = await super().refuse(request, refusal)
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
            try:
                new = await self._add(batch)
            except PointAhead as error:
                raise self._refuse_time(request, batch, error) from None
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

    def _refuse_time(
        self, request: Request, batch: PostedBatch, error: PointAhead
    ) -> Refusal:
        """
        Return the refusal of a point that is too far ahead: 503 if the sender's clock
        says that the collector's is wrong, otherwise 400 with the index of the point.
        """
        sent_at = _time_of(request.getHeader("date"))
        if (
            sent_at is not None
            and sent_at > error.now + CLOCK_DIFFERENCE
            and error.t <= sent_at + MAX_AHEAD
        ):
            return clock_doubt(error.now, f"the sender's says {utc(sent_at)}")
        if not batch.is_list or not has_body(request):
            return error
        content = request.content
        content.seek(0)  # type: ignore[union-attr]
        entry = entry_of_point(content.read(), error.number)  # type: ignore[union-attr]
        return Refusal(400, f"data[{entry}]: {error}")

    async def _read(self, request: Request) -> PostedBatch:
        if request.method not in (b"GET", b"POST"):
            raise Refusal(405, "use POST (or GET)")
        if request.postpath:
            raise Refusal(404, "post to /ez, /c or /v")
        if request.getHeader("content-encoding") not in (None, "identity"):
            raise Refusal(415, "send the body as it is, without a Content-Encoding")
        batch = self._parse(request)
        if isinstance(batch, _UnknownKey):
            await self._keys.refresh()
            batch = self._parse(request)
        if isinstance(batch, _UnknownKey):
            raise self._throttle.refuse(address_of(request), batch.kind)
        trust_body(request)
        return batch

    def _parse(self, request: Request) -> PostedBatch | _UnknownKey:
        if not has_body(request):
            # Too many bodies with unknown keys were in memory.
            raise Refusal(503, "too many requests at once; try again", retry_after=1)
        content = request.content
        content.seek(0)  # type: ignore[union-attr]
        body = content.read()  # type: ignore[union-attr]
        content_type = request.getHeader("content-type") or ""
        if len(body) > _PARSE_FIRST:
            # It takes a while to parse so much: the key comes first.
            shown = _json_key(body)
            must_show = len(body) > MAX_FORM
            if (shown or must_show) and not self._keys.allow("ez", shown or ""):
                return _UnknownKey("EZ key")
        batch = read_request(
            self._path,
            query=request.uri.partition(b"?")[2],
            content_type=content_type,
            body=body,
            batch_id=request.getHeader("idempotency-key"),
        )
        if not self._keys.allow(batch.api, batch.key):
            return _UnknownKey("EZ key" if batch.api == "ez" else "user key")
        if batch.api == "ez":
            return batch
        # The Classic API uses the key of a stat, not its name.
        ((kind, stat_key, amount, t),) = batch.points
        stat = self._keys.stat(stat_key)
        if stat is None:
            return _UnknownKey("stat key")
        batch.points = [(kind, stat, amount, t)]
        return batch

    def shows_key(self, head: bytes) -> bool:
        """
        Return whether the beginning of a body shows a valid key.
        """
        key = _json_key(head)
        if key is None and (form := _FORM_KEY.search(head)):
            key = unquote_plus(form[1].decode("latin-1"))
        api = "ez" if self._path == "/ez" else "classic"
        return key is not None and self._keys.allow(api, key)


@dataclass(frozen=True, slots=True)
class _UnknownKey:
    """
    The result of a request without a valid key.

    :ivar kind: the words for the kind of key that was expected.
    """

    kind: str


def _time_of(date: str | None) -> float | None:
    """
    Return the time in a ``Date`` header, in Unix seconds; ``None`` if it is not valid.
    """
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _json_key(body: bytes) -> str | None:
    for pattern in _JSON_KEYS:
        found = pattern.search(body)
        if found:
            return found[1].decode("utf-8", "replace")
    return None
