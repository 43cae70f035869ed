"""
The door before every page.

A browser that is signed in shows it by a cookie, which scripts cannot read and which
other sites' requests do not carry (``HttpOnly``, ``SameSite=Strict``). What changes
something is a POST, and must come from a page of this host.
"""

from __future__ import annotations

from urllib.parse import quote

from twisted.web.server import Request
from twisted.web.template import Tag

from txstathat.collector.auth.sessions import SESSION_SECONDS, Sessions
from txstathat.collector.errors import Refusal
from txstathat.collector.pages.layout import Page, see_other
from txstathat.collector.web.resources import is_same_origin

__all__ = [
    "COOKIE",
    "Door",
    "GuardedPage",
    "check_origin",
    "session_of",
    "set_session",
]

#: The cookie's name.
COOKIE = "txstathat"


class Door:
    """
    Tells who is signed in.

    :param sessions: the sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def is_open(self, request: Request) -> bool:
        """
        Whether the browser is signed in.

        :raises StoreError: if that cannot be told.
        """
        session = session_of(request)
        return bool(session) and await self._sessions.knows(session)


class GuardedPage(Page):
    """
    A page for who is signed in; others are sent to sign in first.

    :param door: tells who is.
    """

    def __init__(self, door: Door) -> None:
        super().__init__()
        self._door = door

    async def guarded(self, request: Request) -> Tag | bytes:
        """
        As :meth:`Page.page`, for who is signed in.
        """
        raise NotImplementedError

    async def page(self, request: Request) -> Tag | bytes:
        """
        Look at the door first.
        """
        if await self._door.is_open(request):
            return await self.guarded(request)
        asked = request.uri.decode("ascii", "replace")
        here = "/sign-in" if asked == "/" else f"/sign-in?next={quote(asked, safe='')}"
        return see_other(request, here)


def session_of(request: Request) -> str:
    """
    What the browser keeps of its session; empty if nothing.
    """
    cookie: bytes | None = request.getCookie(COOKIE.encode("ascii"))
    return (cookie or b"").decode("ascii", "replace")


def set_session(request: Request, session: str) -> None:
    """
    Have the browser keep a session; with an empty one, forget it.
    """
    forwarded = request.getHeader("x-forwarded-proto") or ""
    request.addCookie(
        COOKIE,
        session,
        path="/",
        max_age=str(SESSION_SECONDS if session else 0),
        # A proxy that does the TLS says so; who lies about it loses only the cookie.
        secure=request.isSecure() or forwarded.lower() == "https",
        httpOnly=True,
        sameSite="strict",
    )


def check_origin(request: Request) -> None:
    """
    See that a form was sent from a page of this host.

    :raises Refusal: if not, or if it is not said.
    """
    if not is_same_origin(request):
        raise Refusal(403, "this form must be sent from a page of this server")
