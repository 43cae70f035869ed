"""
A chart in a site: one table of numbers as a page, a fragment, JSON or CSV.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.error import UnsupportedMethod
from twisted.web.http import BAD_REQUEST, SERVICE_UNAVAILABLE
from twisted.web.resource import IResource
from twisted.web.server import Request
from twisted.web.template import flattenString, tags

from txstathat.charts.assets import ChartAssets, content_security_policy
from txstathat.charts.html import fragment, message, page
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Table
from txstathat.errors import AmountOverflow, StoreError
from txstathat.web import CoroutineResource, is_unchanged

__all__ = ["Chart"]

_log = Logger()

_METHODS = (b"GET", b"HEAD")
_TYPES = {
    "page": "text/html; charset=utf-8",
    "fragment": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}
_ACCEPTED = {
    "text/html": "page",
    "application/json": "json",
    "text/csv": "csv",
    "*/*": "page",
    "text/*": "page",
}


class Chart(CoroutineResource):
    """
    A resource that draws a table of numbers. It answers GET and HEAD; a subclass reads
    the table.

    The query parameter ``format`` (``page``, ``fragment``, ``json`` or ``csv``), else
    the Accept header, chooses the form. A conditional request for a chart that has not
    changed is answered with 304. A query that the chart does not understand is
    answered with 400 and the reason; a store that cannot be read with 503.

    :param title: the heading.
    :param refresh: seconds between the updates of a visible page; 0 for none.
    :param assets: the path of a :class:`~txstathat.charts.assets.ChartAssets` that the
        site's charts share, such as ``'/chart-assets'``; by default each chart serves
        its own.
    :param path: the path at which browsers reach the chart, behind a proxy that changes
        it; by default that of the request.
    :raises ImportError: if the chart has to serve assets, and plotly is not installed.
    """

    #: The parameters of the query, besides ``format`` and the filters.
    parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        title: str,
        *,
        refresh: float = 10,
        assets: str | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__()
        self.title = title
        self._refresh = refresh
        self._assets = assets
        self._path = path
        if assets is None:
            self.putChild(b"assets", ChartAssets())

    async def read(self, query: Query) -> Table:
        """
        Read what a query asks for; for a subclass to define.

        :param query: the query; its names are known.
        :raises BadQuery: if the query cannot be answered.
        :raises StoreError: if the store cannot be read.
        """
        raise NotImplementedError

    def table(self, args: Mapping[bytes, Sequence[bytes]]) -> Deferred[Table]:
        """
        Read the numbers for a query.

        :param args: the query, in the form of :attr:`.Request.args`.
        :returns: a new Deferred that fires with the table. It fails with
            :class:`~txstathat.charts.query.BadQuery` if the query cannot be answered,
            and with a :class:`~txstathat.errors.StoreError` if the store cannot be
            read. Cancelling it cancels the reading.
        """
        return Deferred.fromCoroutine(self._table(args))

    async def _table(self, args: Mapping[bytes, Sequence[bytes]]) -> Table:
        query = Query(args)
        query.check_names((*self.parameters, "format"))
        try:
            return await self.read(query)
        except BadQuery:
            raise
        except (TypeError, ValueError) as error:
            # A Metrica's own message about a timespan, a choice or a scale.
            raise BadQuery(str(error)) from None

    def fragment(
        self, path: str, args: Mapping[bytes, Sequence[bytes]] | None = None
    ) -> Deferred[bytes]:
        """
        Make the chart for another page. That page needs the scripts and the style sheet
        of a :class:`~txstathat.charts.assets.ChartAssets`, and a policy such as
        :func:`~txstathat.charts.assets.content_security_policy`.

        :param path: the path at which the chart itself is served.
        :param args: the query, in the form of :attr:`.Request.args`.
        :returns: a new Deferred that fires with HTML. It fails, and can be cancelled,
            as that of :meth:`table`.
        """
        return Deferred.fromCoroutine(self._fragment(path, args or {}))

    async def _fragment(
        self, path: str, args: Mapping[bytes, Sequence[bytes]]
    ) -> bytes:
        table = await self._table(args)
        html: bytes = await flattenString(None, fragment(table, path, self._refresh))
        return html

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        Accept a slash at the end of the chart's own path.
        """
        if not path and not request.postpath:
            return self
        found: IResource = super().getChild(path, request)
        return found

    def render(self, request: Request) -> int:
        """
        See :meth:`.CoroutineResource.render`.

        :raises UnsupportedMethod: for other methods than GET and HEAD.
        """
        if request.method not in _METHODS:
            raise UnsupportedMethod(_METHODS)
        return super().render(request)

    async def respond(self, request: Request) -> bytes:
        """
        See :meth:`.CoroutineResource.respond`. A site that checks something before it
        answers, such as a session, can await this in its own ``respond``.
        """
        path = _path(request) if self._path is None else self._path
        assets = self._assets or f"{path.rstrip('/')}/assets"
        form = "page"
        try:
            form = _form(request)
            table = await self._table(request.args or {})
            body = await self._body(form, table, path, assets)
            if form in ("csv", "json"):
                name = _as_file(f"{table.file_name}.{form}")
                request.setHeader("Content-Disposition", name)
        except (AmountOverflow, BadQuery, StoreError) as error:
            status, text = _explain(error)
            request.setResponseCode(status)
            body = await self._message(form, text, path, assets)
        headers = {
            "Content-Type": _TYPES[form],
            "Content-Security-Policy": content_security_policy(),
            "Cache-Control": "no-store",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
        }
        for name, value in headers.items():
            request.setHeader(name, value)
        return b"" if is_unchanged(request, body) else body

    async def _body(self, form: str, table: Table, path: str, assets: str) -> bytes:
        if form == "json":
            return table.as_json()
        if form == "csv":
            return table.as_csv()
        html = fragment(table, path, self._refresh)
        if form == "fragment":
            body: bytes = await flattenString(None, html)
            return body
        html = page(self.title, html, assets)
        return b"<!DOCTYPE html>" + await flattenString(None, html)

    async def _message(self, form: str, text: str, path: str, assets: str) -> bytes:
        if form == "json":
            return json.dumps({"error": text}).encode("ascii")
        if form == "csv":
            return text.encode("utf-8", "backslashreplace")
        html = message(text)
        if form == "page":
            back = tags.p(tags.a("Show the chart", href=path))
            html = page(self.title, tags.div(html, back), assets, drawn=False)
        body: bytes = await flattenString(None, html)
        return body


def _as_file(name: str) -> str:
    if name.isascii():
        return f'attachment; filename="{name}"'
    return f"attachment; filename*=UTF-8''{quote(name)}"


def _explain(error: AmountOverflow | BadQuery | StoreError) -> tuple[int, str]:
    if isinstance(error, BadQuery):
        return BAD_REQUEST, str(error)
    if isinstance(error, AmountOverflow):
        text = "a sum is beyond the largest float: choose a shorter time"
        return BAD_REQUEST, text
    # The error's text can contain the location of the store.
    _log.failure("the store of a chart cannot be read")
    return SERVICE_UNAVAILABLE, "the data cannot be read now; try again in a moment"


def _path(request: Request) -> str:
    # Encode again what Twisted decoded. The path never begins with two slashes.
    return "/" + quote(b"/".join(request.prepath or []).strip(b"/"))


def _form(request: Request) -> str:
    """
    The form of the response: that of the query, else the one that the Accept header
    prefers.
    """
    formats = (request.args or {}).get(b"format")
    if formats:
        form: str = formats[-1].decode("utf-8", "replace")
        if form not in _TYPES:
            raise BadQuery(f"format={form!r}: must be one of {', '.join(_TYPES)}")
        return form
    best, form = 0.0, "page"
    header = request.getHeader("accept") or ""
    for part in header.split(","):
        kind, _, options = part.partition(";")
        found = _ACCEPTED.get(kind.strip().lower())
        try:
            weight = float(options.partition("q=")[2] or 1)
        except ValueError:
            continue
        if found is not None and weight > best:
            best, form = weight, found
    return form
