"""
Signing in, with an access token or by a one-time link; and signing out.
"""

from __future__ import annotations

import re

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.api.export import Readers
from txstathat.collector.auth.sessions import LINK_SECONDS, Sessions
from txstathat.collector.auth.throttle import KeyThrottle
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.door import check_origin, session_of, set_session
from txstathat.collector.pages.layout import Page, frame, see_other, set_status
from txstathat.collector.web.resources import address_of

__all__ = ["SignIn", "SignOut"]

_POSTS = (b"GET", b"HEAD", b"POST")
#: The pages that one is sent on to: none but those that are here.
_NEXT = re.compile(r"/(\?[!-~]{0,1000}|stats/[a-z2-7]{16}(\?t=[0-9A-Za-z]{1,30})?)?")


class SignIn(Page):
    """
    What is at ``/sign-in``, and the one-time links below it.

    :param sessions: where a session is begun.
    :param readers: whose access tokens are right.
    :param throttle: slows down who has a wrong link.
    """

    isLeaf = False
    methods = _POSTS

    def __init__(
        self, sessions: Sessions, readers: Readers, throttle: KeyThrottle
    ) -> None:
        super().__init__()
        self._sessions = sessions
        self._readers = readers
        self._throttle = throttle

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        A one-time link.
        """
        link = path.decode("ascii", "replace")
        return _Link(link, self._sessions, self._throttle)

    async def page(self, request: Request) -> Tag | bytes:
        """
        Show the form, or take it.
        """
        onward = _argument(request, "next")
        if _NEXT.fullmatch(onward) is None:
            onward = "/"
        if request.method != b"POST":
            return _form(onward)
        check_origin(request)
        token = _argument(request, "token").strip()
        try:
            await self._readers.check(request, token)
        except Refusal as refusal:
            set_status(request, refusal)
            return _form(onward, refusal.msg)
        set_session(request, await self._sessions.open(token))
        return see_other(request, onward)


class _Link(Page):
    """
    A one-time link. To look at it does not use it up, since programs look at links
    before people do; to press its button does.
    """

    methods = _POSTS

    def __init__(self, link: str, sessions: Sessions, throttle: KeyThrottle) -> None:
        super().__init__()
        self._link = link
        self._sessions = sessions
        self._throttle = throttle

    async def page(self, request: Request) -> Tag | bytes:
        if request.postpath:
            raise Refusal(404, "there is no such link")
        if request.method != b"POST":
            # Without an action a form goes to its page's own address.
            button = tags.button("Sign in", type="submit")
            return _card(
                "Sign in",
                tags.p("This link signs you in, once."),
                tags.form(button, method="post"),
            )
        check_origin(request)
        session = await self._sessions.redeem(self._link)
        if session is not None:
            set_session(request, session)
            return see_other(request, "/")
        refusal = await self._throttle.refuse(address_of(request), "link")
        set_status(request, refusal)
        return _card(
            "This link is used up",
            tags.p(
                "It was used before, or is older than "
                f"{LINK_SECONDS // 60} minutes. When the collector starts it "
                "prints a new one.",
                role="alert",
                class_="words",
            ),
            tags.p(tags.a("Sign in with an access token", href="/sign-in")),
        )


class SignOut(Page):
    """
    What is at ``/sign-out``.

    :param sessions: where the session ends.
    """

    methods = (b"POST",)
    otherwise = (405, "use POST")

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions

    async def page(self, request: Request) -> Tag | bytes:
        """
        End the session.
        """
        check_origin(request)
        await self._sessions.close(session_of(request))
        set_session(request, "")
        return see_other(request, "/sign-in")


def _form(onward: str, wrong: str = "") -> Tag:
    field = tags.input(
        type="password",
        name="token",
        id="token",
        required="required",
        autocomplete="current-password",
        autofocus="autofocus",
    )
    words: Tag = tags.transparent()
    if wrong:
        words = tags.p(
            f"{wrong[:1].upper()}{wrong[1:]}.",
            role="alert",
            class_="words",
            id="wrong",
        )
        field.attributes |= {"aria-invalid": "true", "aria-describedby": "wrong"}
    return _card(
        "Sign in",
        tags.form(
            words,
            # For programs that keep passwords, which ask whose it is.
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
            tags.input(type="hidden", name="next", value=onward),
            tags.button("Sign in", type="submit"),
            method="post",
            action="/sign-in",
        ),
        tags.p(
            "The collector printed one, or wrote it to a file, when it was started for "
            "the first time. To make another: ",
            tags.code("txstathat keys add access NAME"),
            class_="hint",
        ),
    )


def _card(title: str, *content: Tag) -> Tag:
    card = tags.section(tags.h1(title), *content, class_="card")
    return frame(title, card, signed_in=False)


def _argument(request: Request, name: str) -> str:
    values = (request.args or {}).get(name.encode("ascii"), [b""])
    return str(values[-1], "utf-8", "replace")
