"""
What all pages share: the frame, the headers, and the page for an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.server import Request
from twisted.web.template import Tag, flattenString, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.formatting import sentence
from txstathat.collector.web.resources import AsyncResource, refusal_of
from txstathat.printable import printable

__all__ = ["ASSETS", "SECTIONS", "Page", "frame", "policy", "see_other", "set_status"]

#: The path of the style sheets and scripts.
ASSETS = "/assets"

#: The links at the top of all pages: titles, and paths.
SECTIONS = (("Stats", "/"),)


def policy(style_hashes: Sequence[str] = ()) -> str:
    """
    The Content-Security-Policy of a page: files of this host only, nothing inline, and
    never inside another page.

    :param style_hashes: hashes of the style elements to allow.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            " ".join(["style-src 'self'", *style_hashes]),
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


def frame(
    title: str,
    *content: Any,
    section: str = "",
    signed_in: bool = True,
    files: Sequence[Tag] = (),
) -> Tag:
    """
    Make a whole page.

    :param title: its title.
    :param content: its content.
    :param section: the path of the section of the site to which it belongs, one of
        :data:`SECTIONS`.
    :param signed_in: whether to show the links to the sections, and the button that
        signs out.
    :param files: more style sheets and scripts.
    """
    head = tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(f"{printable(title)} · txStatHat"),
        # An empty icon saves the browser a request for one.
        tags.link(rel="icon", href="data:,"),
        tags.link(rel="stylesheet", href=f"{ASSETS}/pages.css"),
        tags.script(src=f"{ASSETS}/pages.js", defer="defer"),
        *files,
    )
    top = tags.header(tags.a("txStatHat", href="/", class_="home"), class_="top")
    if signed_in:
        top(_sections(section))
        leave = tags.button("Sign out", type="submit", class_="quiet")
        top(tags.form(leave, method="post", action="/sign-out"))
    skip = tags.a("Skip to content", href="#main", class_="skip")
    main = Tag("main", attributes={"id": "main", "tabindex": "-1"})(*content)
    return tags.html(head, tags.body(skip, top, main), lang="en")


def _sections(section: str) -> Tag:
    nav = tags.nav(class_="sections", **{"aria-label": "Sections"})
    for title, path in SECTIONS:
        link = tags.a(title, href=path)
        if path == section:
            link.attributes["aria-current"] = "true"
        nav(link)
    return nav


class Page(AsyncResource):
    """
    A page. Its errors are pages too, except for a wrong method, which is answered with
    JSON: no browser sends it.
    """

    cancelled_methods: ClassVar[tuple[bytes, ...]] = (b"GET", b"HEAD")
    #: The methods that it answers.
    methods: ClassVar[tuple[bytes, ...]] = (b"GET", b"HEAD")
    #: The status and the message for other methods.
    wrong_method: ClassVar[tuple[int, str]] = (405, "use GET")
    #: The heading of the page for an error.
    error_title: ClassVar[str] = "Can't show this page"

    async def page(self, request: Request) -> Tag | bytes:
        """
        Set headers, and make the page.

        :param request: the request.
        :returns: the page, or the body of another response.
        :raises Exception: what becomes the page for an error.
        """
        raise NotImplementedError

    def title_of(self, refusal: Refusal) -> str:
        """
        The heading of the page for an error.

        :param refusal: the error.
        """
        return "Page not found" if refusal.http_status == 404 else self.error_title

    async def respond(self, request: Request) -> bytes:
        """
        Answer with the page.
        """
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", policy()),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
        ):
            request.setHeader(name, value)
        if request.method not in self.methods:
            raise Refusal(*self.wrong_method)
        try:
            page = await self.page(request)
        except CancelledError:
            # The browser has left.
            raise
        except Exception:
            refusal = refusal_of(Failure())
            set_status(request, refusal)
            page = _error_page(self.title_of(refusal), refusal)
        if isinstance(page, bytes):
            return page
        html: bytes = await flattenString(None, page)
        return b"<!DOCTYPE html>" + html


def set_status(request: Request, refusal: Refusal) -> None:
    """
    Set the status of a response, and its ``Retry-After`` header, to those of a refusal.

    :param request: the request.
    :param refusal: the refusal.
    """
    request.setResponseCode(refusal.http_status)
    if refusal.retry_after is not None:
        request.setHeader("Retry-After", str(refusal.retry_after))


def see_other(request: Request, path: str) -> bytes:
    """
    Redirect the browser.

    :param request: a request of the browser.
    :param path: a path of this host.
    :returns: the body of the response.
    """
    request.setResponseCode(303)
    request.setHeader("Location", path)
    return b""


def _error_page(title: str, refusal: Refusal) -> Tag:
    message = tags.p(tags.bdi(sentence(refusal.msg)), role="alert", class_="message")
    back = tags.p(tags.a("All stats", href="/"))
    # The browser may not be signed in.
    return frame(title, tags.h1(title), message, back, signed_in=False)
