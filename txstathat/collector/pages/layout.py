"""
What all pages share: the frame, the headers, and how a page tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.python.failure import Failure
from twisted.web.server import Request
from twisted.web.template import Tag, flattenString, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.web.resources import AsyncResource, refusal_of

__all__ = ["ASSETS", "Page", "frame", "policy", "see_other", "set_status"]

#: Where the pages' files are.
ASSETS = "/assets"


def policy(style_hashes: Sequence[str] = ()) -> str:
    """
    The Content-Security-Policy of a page: files of this host only, nothing inline, and
    never inside another page.

    :param style_hashes: of style elements that are allowed.
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
    signed_in: bool = True,
    files: Sequence[Tag] = (),
) -> Tag:
    """
    A whole page.

    :param title: what it is about.
    :param content: what is in it.
    :param signed_in: whether one can sign out.
    :param files: style sheets and scripts besides the pages' own.
    """
    head = tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(f"{title} · txStatHat"),
        # No picture, rather than a request for one that is not there.
        tags.link(rel="icon", href="data:,"),
        tags.link(rel="stylesheet", href=f"{ASSETS}/pages.css"),
        tags.script(src=f"{ASSETS}/pages.js", defer="defer"),
        *files,
    )
    top = tags.header(tags.a("txStatHat", href="/", class_="home"), class_="top")
    if signed_in:
        leave = tags.button("Sign out", type="submit", class_="quiet")
        top(tags.form(leave, method="post", action="/sign-out"))
    skip = tags.a("Skip to the content", href="#main", class_="skip")
    main = Tag("main", attributes={"id": "main", "tabindex": "-1"})(*content)
    return tags.html(head, tags.body(skip, top, main), lang="en")


class Page(AsyncResource):
    """
    A page. It tells refusals as a page too; only who comes with another method, and so
    is no reader, gets JSON.
    """

    #: The methods that it answers.
    methods: tuple[bytes, ...] = (b"GET", b"HEAD")
    #: What others are told: a refusal's status and words.
    otherwise: tuple[int, str] = (405, "use GET")

    async def page(self, request: Request) -> Tag | bytes:
        """
        Set headers, and return the page, or another body; or raise what is to be
        refused.
        """
        raise NotImplementedError

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
            raise Refusal(*self.otherwise)
        try:
            shown = await self.page(request)
        except Exception:
            refusal = refusal_of(Failure())
            set_status(request, refusal)
            shown = _words(refusal.http_status, refusal.msg)
        if isinstance(shown, bytes):
            return shown
        html: bytes = await flattenString(None, shown)
        return b"<!DOCTYPE html>" + html


def set_status(request: Request, refusal: Refusal) -> None:
    """
    Give an answer the status of a refusal, and the time to come again.
    """
    request.setResponseCode(refusal.http_status)
    if refusal.retry_after is not None:
        request.setHeader("Retry-After", str(refusal.retry_after))


def see_other(request: Request, path: str) -> bytes:
    """
    Send the browser on.

    :param path: where to, on this host.
    """
    request.setResponseCode(303)
    request.setHeader("Location", path)
    return b""


def _words(status: int, text: str) -> Tag:
    title = "There is nothing here" if status == 404 else "That did not work"
    words = tags.p(f"{text[:1].upper()}{text[1:]}.", role="alert", class_="words")
    back = tags.p(tags.a("All stats", href="/"))
    # Whoever sees this may not be signed in.
    return frame(title, tags.h1(title), words, back, signed_in=False)
