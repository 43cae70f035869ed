"""
Signing in, with an access token or a one-time link, and signing out.
"""

from __future__ import annotations

import re
from typing import ClassVar

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.auth.sessions import LINK_SECONDS
from txstathat.collector.errors import Refusal, WrongKey
from txstathat.collector.pages.access.guard import GuardedPage, check_origin
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.cookies import session_of, set_session
from txstathat.collector.pages.frame.flash import Done, set_flash, take_known_flash
from txstathat.collector.pages.frame.layout import Page, frame, see_other
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.web.resources import address_of

__all__ = ["ALL_ENDED", "OWN_ENDED", "SignIn", "SignOut"]

#: What was done before a browser has to sign in again.
ALL_ENDED = Done("/sign-in", "Ended all sessions")
OWN_ENDED = Done("/sign-in", "Ended the session of this browser")
SIGNED_OUT = Done("/sign-in", "Signed out")

_METHODS = (b"GET", b"HEAD", b"POST")
# The messages of the form, by the status of the refusal.
_MESSAGES = {
    403: "Wrong access token.",
    429: "Too many wrong access tokens from your address. Try again in a minute.",
}
# A path to which a browser can be redirected after it signed in; see _next_path.
_NEXT = re.compile(r"/(?:([a-z-]+)(?:/[A-Za-z0-9_~%-]+){0,3})?(?:\?[!-~]{0,2000})?")


class SignIn(Page):
    """
    The form at ``/sign-in``, and the one-time links below it.

    :param parts: what the pages work with.
    """

    isLeaf = False
    methods: ClassVar[tuple[bytes, ...]] = _METHODS
    error_title: ClassVar[str] = "Can't sign in"

    def __init__(self, parts: PageParts) -> None:
        super().__init__()
        self._parts = parts

    def getChild(self, path: bytes, request: Request) -> Resource:
        link = path.decode("ascii", "replace")
        return _Link(self._parts, link)

    async def page(self, request: Request) -> Tag | bytes:
        """
        Show the form, or sign in with its access token.
        """
        next_path = _next_path(request)
        if request.method != b"POST":
            return _form(next_path)
        check_origin(request)
        token = argument(request, "token").strip()
        await self._parts.readers.check(request, token)
        set_session(request, await self._parts.sessions.open(token))
        return see_other(request, next_path)

    def done_before(self, request: Request) -> Done | None:
        """
        Take how the session has ended.
        """
        return take_known_flash(request, (SIGNED_OUT, ALL_ENDED, OWN_ENDED))

    def error_page(self, request: Request, refusal: Refusal) -> Tag:
        """
        Show the form again if its access token is wrong.
        """
        if isinstance(refusal, WrongKey):
            return _form(_next_path(request), _MESSAGES[refusal.http_status])
        return super().error_page(request, refusal)


class _Link(Page):
    """
    A one-time link. The button on its page uses it up. Showing the page does not,
    because programs such as mail filters open links before people do. With ``?next=``
    it leads to another page than the list of stats.
    """

    methods: ClassVar[tuple[bytes, ...]] = _METHODS
    error_title: ClassVar[str] = "Can't sign in"

    def __init__(self, parts: PageParts, link: str) -> None:
        super().__init__()
        self._link = link
        self._sessions = parts.sessions
        self._throttle = parts.throttle

    async def page(self, request: Request) -> Tag | bytes:
        if request.postpath:
            raise Refusal(404, "no such link")
        if request.method == b"POST":
            check_origin(request)
            session = await self._sessions.redeem(self._link)
            if session is not None:
                set_session(request, session)
                return see_other(request, _next_path(request))
        elif await self._sessions.can_redeem(self._link):
            # A form without an action is sent to the address of its page.
            button = tags.button("Sign in", type="submit")
            return _card(
                "Sign in",
                tags.p(
                    "Press the button to sign in to this server. This link works once."
                ),
                tags.form(button, method="post"),
            )
        # Guesses of links are slowed down.
        raise self._throttle.refuse(address_of(request), "link")

    def error_page(self, request: Request, refusal: Refusal) -> Tag:
        if not isinstance(refusal, WrongKey):
            return super().error_page(request, refusal)
        return _card(
            "This link no longer works",
            tags.p(
                "It was used before, or it is older than "
                f"{LINK_SECONDS // 60} minutes. The collector prints a new link when "
                "it starts.",
                role="alert",
                class_="message",
            ),
            tags.p(tags.a("Sign in with an access token", href="/sign-in")),
        )


class SignOut(Page):
    """
    The target of the button that signs out, at ``/sign-out``.

    :param parts: what the pages work with.
    """

    methods: ClassVar[tuple[bytes, ...]] = (b"POST",)
    wrong_method: ClassVar[tuple[int, str]] = (405, "use POST")
    error_title: ClassVar[str] = "Can't sign out"

    def __init__(self, parts: PageParts) -> None:
        super().__init__()
        self._sessions = parts.sessions

    async def page(self, request: Request) -> Tag | bytes:
        check_origin(request)
        await self._sessions.close(session_of(request))
        set_session(request, "")
        set_flash(request, SIGNED_OUT, session="")
        return see_other(request, SIGNED_OUT.path)


def _next_path(request: Request) -> str:
    """
    Where to redirect the browser after it signed in: to a page of this server only.
    """
    path = argument(request, "next")
    found = _NEXT.fullmatch(path)
    if found is None:
        return "/"
    root: Resource = request.site.resource  # type: ignore[union-attr]
    page = root.children.get((found[1] or "").encode("ascii"))
    return path if isinstance(page, GuardedPage) else "/"


def _form(next_path: str, error: str = "") -> Tag:
    field = tags.input(
        type="password",
        name="token",
        id="token",
        required="required",
        autocomplete="current-password",
        autofocus="autofocus",
    )
    message: Tag = tags.transparent()
    if error:
        message = tags.p(error, role="alert", class_="message", id="error")
        field.attributes |= {"aria-invalid": "true", "aria-describedby": "error"}
    return _card(
        "Sign in",
        tags.form(
            message,
            # Password managers store a password with a user name.
            tags.input(
                type="text",
                value="txStatHat",
                autocomplete="username",
                hidden="hidden",
                readonly="readonly",
                **{"aria-label": "User"},
            ),
            tags.label("Access token", **{"for": "token"}),
            field,
            tags.input(type="hidden", name="next", value=next_path),
            tags.button("Sign in", type="submit"),
            method="post",
            action="/sign-in",
        ),
        tags.p(
            "The collector printed an access token, or wrote it to a file, when it "
            "first started. To make another: ",
            tags.code("txstathat keys add access NAME"),
            class_="hint",
        ),
    )


def _card(title: str, *content: Tag) -> Tag:
    card = tags.section(tags.h1(title), *content, class_="card")
    return frame(title, card, signed_in=False)
