"""
A chart in a site: the same numbers as a page, a fragment, JSON or CSV.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import (
    BAD_REQUEST,
    INTERNAL_SERVER_ERROR,
    SERVICE_UNAVAILABLE,
)
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.template import flattenString, tags

from txstathat.charts.assets import ChartAssets, content_security_policy
from txstathat.charts.html import fragment, page, words
from txstathat.charts.query import BadQuery, Query
from txstathat.charts.table import Choice, Table
from txstathat.errors import AmountOverflow, StoreError
from txstathat.metrica import Metrica

__all__ = ["Chart"]

_log = Logger()

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


class Chart(Resource):
    """
    What the charts share. A chart is a resource, for any site; it answers GET.

    Its query chooses what is shown; ``format`` (``page``, ``fragment``, ``json``,
    ``csv``), else the Accept header, chooses how. What it does not understand is a 400
    with words, and a store that cannot be read a 503. It shows what the Metrica holds
    to everyone who may ask for it: whom that is, is for the site to say.

    :param metrica: what is shown.
    :param title: what stands above it; the Metrica's name by default.
    :param refresh: after how many seconds a page in view asks for fresh numbers; 0 is
        never.
    :param assets: the path of a :class:`~txstathat.charts.assets.ChartAssets` that the
        site's charts share, such as ``'/chart-assets'``; by default each chart serves
        its own.
    """

    #: The parameters of the query.
    parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        metrica: Metrica,
        *,
        title: str | None = None,
        refresh: float = 10,
        assets: str | None = None,
    ) -> None:
        super().__init__()
        self.metrica = metrica
        self.title = metrica.name if title is None else title
        self._refresh = refresh
        self._assets = assets
        self.putChild(b"assets", ChartAssets())

    def read(self, query: Query) -> Deferred[Table]:
        """
        Read what a query asks for.

        :returns: fires with the table; fails with
            :class:`~txstathat.charts.query.BadQuery` if there is no such thing, and
            with a :class:`~txstathat.errors.StoreError`.
        """
        raise NotImplementedError

    @inlineCallbacks
    def table(
        self, args: Mapping[bytes, Sequence[bytes]]
    ) -> Generator[Deferred[Any], Any, Table]:
        """
        The numbers for a query.

        :param args: as :attr:`.Request.args` has them.
        :returns: fires and fails as :meth:`read` does.
        """
        query = Query(args)
        query.check_names((*self.parameters, "format"))
        try:
            table: Table = yield self.read(query)
        except BadQuery:
            raise
        except (TypeError, ValueError) as error:
            # The Metrica's own words about a timespan, a choice or a scale.
            raise BadQuery(str(error)) from None
        return table

    @inlineCallbacks
    def fragment(
        self, path: str, args: Mapping[bytes, Sequence[bytes]] | None = None
    ) -> Generator[Deferred[Any], Any, bytes]:
        """
        The chart for a page of one's own. That page needs the scripts and the style
        sheet of a :class:`~txstathat.charts.assets.ChartAssets`, and a policy such as
        :func:`~txstathat.charts.assets.content_security_policy`.

        :param path: the path at which the chart itself is served.
        :param args: the query, as :attr:`.Request.args` has it.
        :returns: fires with HTML, and fails as :meth:`read` does.
        """
        table = yield self.table(args or {})
        html: bytes = yield flattenString(None, fragment(table, path, self._refresh))
        return html

    def getChild(self, path: bytes, request: Request) -> IResource:
        """
        The chart's own address may end with a slash.
        """
        return (
            self
            if not path and not request.postpath
            else super().getChild(path, request)
        )

    def render_GET(self, request: Request) -> Any:
        """
        Answer in the form that was asked for.
        """
        answering: Deferred[Any] = self.answer(request)
        answering.addCallback(self._send, request)
        answering.addErrback(self._broken, request)
        # Who went away needs no answer any more.
        request.notifyFinish().addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    render_HEAD = render_GET

    @inlineCallbacks
    def answer(self, request: Request) -> Generator[Deferred[Any], Any, bytes]:
        """
        Set a request's status and headers, but write nothing: for a site that asks
        something itself before it answers, such as who is there.

        :returns: fires with the body. It fails only for what is a fault here.
        """
        form = "page"
        body: bytes
        path = _path(request)
        assets = self._assets or f"{path.rstrip('/')}/assets"
        try:
            form = _form(request)
            table = yield self.table(request.args or {})
            if form == "json":
                body = table.as_json()
            elif form == "csv":
                body = table.as_csv()
            else:
                html = fragment(table, path, self._refresh)
                if form == "page":
                    html = page(self.title, html, assets)
                body = yield flattenString(request, html)
                if form == "page":
                    body = b"<!DOCTYPE html>" + body
        except BadQuery as error:
            request.setResponseCode(BAD_REQUEST)
            body = yield self._words(form, str(error), path, assets)
        except AmountOverflow:
            request.setResponseCode(BAD_REQUEST)
            text = "a sum is beyond the largest float: ask for less time"
            body = yield self._words(form, text, path, assets)
        except StoreError:
            # Its text may tell where the store is.
            _log.failure("a chart's store cannot be read")
            request.setResponseCode(SERVICE_UNAVAILABLE)
            body = yield self._words(
                form, "the numbers cannot be read at present", path, assets
            )
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
        return body

    def _send(self, body: bytes, request: Request) -> None:
        request.setHeader("Content-Length", str(len(body)))
        request.write(body)
        request.finish()

    @inlineCallbacks
    def _words(
        self, form: str, text: str, path: str, assets: str
    ) -> Generator[Deferred[Any], Any, bytes]:
        if form == "json":
            return json.dumps({"error": text}).encode("ascii")
        if form == "csv":
            return text.encode("utf-8", "backslashreplace")
        html = words(text)
        if form == "page":
            back = tags.p(tags.a("Show the chart", href=path))
            html = page(self.title, tags.div(html, back), assets, drawn=False)
        body: bytes = yield flattenString(None, html)
        return body

    def _broken(self, failure: Failure, request: Request) -> None:
        if request.finished or request._disconnected:
            return
        _log.failure("a chart cannot be shown", failure)
        request.setResponseCode(INTERNAL_SERVER_ERROR)
        request.finish()

    def _axis_choice(self, axis: str, *, none: bool = True) -> Choice:
        options = [(word, word) for word in self.metrica.axes]
        if none:
            options.insert(0, ("", "none"))
        return Choice("axis", "By", axis, tuple(options))


def _path(request: Request) -> str:
    # What Twisted has decoded is a path again, and never begins with two slashes.
    return "/" + quote(b"/".join(request.prepath or []).strip(b"/"))


def _form(request: Request) -> str:
    """
    The form of the answer: of the query, else what the Accept header likes best.
    """
    asked = (request.args or {}).get(b"format")
    if asked:
        form: str = asked[-1].decode("utf-8", "replace")
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
