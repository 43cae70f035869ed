"""
What all pages share: the frame, the headers, and the page for an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.web.server import Request
from twisted.web.template import Tag, flattenString, slot, tags

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.frame.cookies import session_of
from txstathat.collector.pages.frame.flash import Done, flash_line
from txstathat.collector.pages.frame.formatting import sentence
from txstathat.collector.pages.frame.paths import base_path, rebase
from txstathat.collector.web.async_resource import AsyncResource
from txstathat.collector.web.resources import set_status
from txstathat.printable import printable
from txstathat.web import is_unchanged, page_policy

__all__ = [
    "ASSETS",
    "SECTIONS",
    "TENDING_FILES",
    "Page",
    "UnknownPage",
    "bare",
    "frame",
    "see_other",
]

#: The path of the style sheets and scripts.
ASSETS = "/assets"

#: The style sheet of the pages for tending a collector, and of badges of alerts.
TENDING_FILES = (tags.link(rel="stylesheet", href=f"{ASSETS}/tending.css"),)

#: The place in a page for what the form before it has done.
_DONE = "done"
#: The themes to choose from; the first one follows the system.
THEMES = ("system", "light", "dark")

#: The links at the top of all pages: titles, and paths.
SECTIONS = (
    ("Stats", "/"),
    ("Boards", "/boards"),
    ("Compare", "/compare"),
    ("Notes", "/notes"),
    ("Alerts", "/alerts"),
    ("Keys", "/keys"),
    ("Trash", "/trash"),
    ("Settings", "/settings"),
)


def frame(
    title: str,
    *content: Any,
    section: str = "",
    signed_in: bool = True,
    files: Sequence[Tag] = (),
    latest: str = "",
) -> Tag:
    """
    Make a whole page. While it is visible, ``pages.js`` updates its parts with the
    class ``live`` and an id. The attribute ``aria-keyshortcuts`` of an element names
    its key for ``keyboard.js``.

    :param title: its title, by which an update recognizes the same page.
    :param content: its content.
    :param section: the path of the section of the site to which it belongs, one of
        :data:`SECTIONS`.
    :param signed_in: whether to show the links to the sections, and the button that
        signs out.
    :param files: more style sheets and scripts.
    :param latest: a number to show before the title in the browser's tab.
    """
    top = tags.header(tags.a("txStatHat", href="/", class_="home"), class_="top")
    if signed_in:
        top(_sections(section), _updates())
        leave = tags.button("Sign out", type="submit", class_="quiet")
        top(tags.form(leave, method="post", action="/sign-out"))
    skip = tags.a("Skip to content", href="#main", class_="skip")
    content = (slot(_DONE, default=""), *content)
    body = tags.body(skip, top, _main(title, content), _foot())
    return tags.html(_head(title, files, latest), body, lang="en")


def bare(
    title: str, *content: Any, class_: str = "bare", files: Sequence[Tag] = ()
) -> Tag:
    """
    Make a page that has no links to other pages: for a wall, or for visitors who are
    not signed in.

    :param title: its title.
    :param content: its content.
    :param class_: the classes of the whole page.
    :param files: more style sheets and scripts.
    """
    body = tags.body(_main(title, content))
    return tags.html(_head(title, files), body, lang="en", **{"class": class_})


def _main(title: str, content: Sequence[Any]) -> Tag:
    main = Tag("main", {"id": "main", "tabindex": "-1", "data-page": printable(title)})
    return main(*content)


def _head(title: str, files: Sequence[Tag], latest: str = "") -> Tag:
    before = f"{latest} · " if latest else ""
    return tags.head(
        tags.meta(charset="utf-8"),
        tags.meta(name="viewport", content="width=device-width, initial-scale=1"),
        tags.meta(name="color-scheme", content="light dark"),
        tags.title(f"{before}{printable(title)} · txStatHat"),
        tags.link(rel="icon", type="image/svg+xml", href=f"{ASSETS}/icon.svg"),
        # Before the style sheet, so that the page is drawn in the chosen colors.
        tags.script(src=f"{ASSETS}/theme.js"),
        tags.link(rel="stylesheet", href=f"{ASSETS}/pages.css"),
        tags.script(src=f"{ASSETS}/pages.js", defer="defer"),
        tags.script(src=f"{ASSETS}/forms.js", defer="defer"),
        tags.script(src=f"{ASSETS}/keyboard.js", defer="defer"),
        *files,
    )


def _updates() -> Tag:
    """
    When the page was updated; ``pages.js`` shows it on a page with live parts.
    """
    return tags.p(
        tags.span("Updated ", class_="word"),
        tags.span(class_="age"),
        tags.button("Pause", type="button", class_="quiet"),
        class_="updates",
        hidden="hidden",
    )


def _foot() -> Tag:
    """
    The theme and the list of keyboard shortcuts, which need scripts.
    """
    themes = [tags.option(each.title(), value=each) for each in THEMES]
    return tags.footer(
        tags.button(
            "Shortcuts",
            type="button",
            class_="help quiet",
            hidden="hidden",
            **{"aria-keyshortcuts": "?", "data-help": "Show this list"},
        ),
        tags.label(
            "Theme ",
            tags.select(*themes, autocomplete="off"),
            class_="theme",
            hidden="hidden",
        ),
        Tag("dialog")(
            tags.h2("Keyboard shortcuts", id="keys-title"),
            tags.dl(),
            tags.form(
                # A browser focuses it when it shows the dialog.
                tags.button("Close", type="submit"),
                method="dialog",
            ),
            class_="keys",
            **{"aria-labelledby": "keys-title"},
        ),
        class_="foot",
    )


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

    def done_before(self, request: Request) -> Done | None:
        """
        Return what the form before this page has done, if this page shows it.

        :param request: the request.
        """
        return None

    def title_of(self, refusal: Refusal) -> str:
        """
        The heading of the page for an error.

        :param refusal: the error.
        """
        return "Page not found" if refusal.http_status == 404 else self.error_title

    def error_page(self, request: Request, refusal: Refusal) -> Tag:
        """
        Make the page for an error.

        :param request: the request.
        :param refusal: the error.
        """
        title = self.title_of(refusal)
        text = tags.bdi(sentence(refusal.msg))
        message = tags.p(text, role="alert", class_="message")
        back = tags.p(tags.a("All stats", href="/"))
        content = (tags.h1(title), message, back)
        # The session may have ended: then the links lead to the sign-in form.
        return frame(title, *content, signed_in=bool(session_of(request)))

    async def respond(self, request: Request) -> bytes:
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", page_policy()),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
        ):
            request.setHeader(name, value)
        if request.method not in self.methods:
            raise Refusal(*self.wrong_method)
        page = await self.page(request)
        if isinstance(page, bytes):
            body = page
        else:
            body = await _html(request, page, self.done_before(request))
        return b"" if is_unchanged(request, body) else body

    async def refuse(self, request: Request, refusal: Refusal) -> bytes:
        """
        Answer with the page for an error.
        """
        if request.method not in self.methods:
            return await super().refuse(request, refusal)
        set_status(request, refusal)
        return await _html(request, self.error_page(request, refusal))


class UnknownPage(Page):
    """
    The page for a path that the collector does not have.
    """

    async def page(self, request: Request) -> Tag:
        raise Refusal(404, "there is no page at this address")


async def _html(request: Request, page: Tag, done: Done | None = None) -> bytes:
    base = base_path(request)
    page = rebase(page, base) if base else page
    if done is not None:
        page.fillSlots(**{_DONE: flash_line(done)})
    html: bytes = await flattenString(None, page)
    return b"<!DOCTYPE html>" + html


def see_other(request: Request, path: str) -> bytes:
    """
    Redirect the browser.

    :param request: a request of the browser.
    :param path: a path of the collector.
    :returns: the body of the response.
    """
    request.setResponseCode(303)
    request.setHeader("Location", base_path(request) + path)
    return b""
