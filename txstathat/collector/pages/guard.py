"""
Access control for pages.

A signed-in browser has a cookie that scripts cannot read and that requests of other
sites do not carry (``HttpOnly``, ``SameSite=Strict``). A request that changes something
is a POST, and must come from a page of this host.
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
    "GuardedPage",
    "SessionGuard",
    "check_origin",
    "session_of",
    "set_session",
]

#: The name of the cookie.
COOKIE = "txstathat"


class SessionGuard:
    """
    Checks the sessions of requests.

    :param sessions: the known sessions.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def allows(self, request: Request) -> bool:
        """
        Whether the browser is signed in.

        :param request: a request of the browser.
        :raises StoreError: if the sessions cannot be read.
        """
        session = session_of(request)
        return bool(session) and await self._sessions.knows(session)

    async def check_changes(self, request: Request) -> None:
        """
        Check that the browser may change something.

        :param request: a request of a browser that is signed in.
        :raises Refusal: if it signed in with a read-only token.
        :raises StoreError: if the sessions cannot be read.
        """
        if not await self._sessions.may_change(session_of(request)):
            raise Refusal(
                403,
                "you signed in with a read-only token; to change something, sign out, "
                "and sign in with an access token",
            )


class GuardedPage(Page):
    """
    A page for signed-in browsers. Others are redirected to the sign-in form.

    :param guard: checks the session.
    """

    def __init__(self, guard: SessionGuard) -> None:
        super().__init__()
        self._guard = guard

    async def guarded(self, request: Request) -> Tag | bytes:
        """
        Make the page for a signed-in browser; otherwise as :meth:`.Page.page`.
        """
        raise NotImplementedError

    async def page(self, request: Request) -> Tag | bytes:
        """
        Check the session first, and whether a form was sent from a page of this host.
        """
        if await self._guard.allows(request):
            if request.method == b"POST":
                check_origin(request)
                await self._guard.check_changes(request)
            return await self.guarded(request)
        url = request.uri.decode("ascii", "replace")
        path = "/sign-in" if url == "/" else f"/sign-in?next={quote(url, safe='')}"
        return see_other(request, path)


def session_of(request: Request) -> str:
    """
    Read the session from the cookie of a request.

    :param request: the request.
    :returns: the session; empty if the request has no such cookie.
    """
    cookie: bytes | None = request.getCookie(COOKIE.encode("ascii"))
    return (cookie or b"").decode("ascii", "replace")


def set_session(request: Request, session: str) -> None:
    """
    Set the cookie of a browser.

    :param request: a request of the browser.
    :param session: the session; an empty one deletes the cookie.
    """
    forwarded = request.getHeader("x-forwarded-proto") or ""
    request.addCookie(
        COOKIE,
        session,
        path="/",
        max_age=str(SESSION_SECONDS if session else 0),
        # A proxy that terminates TLS sends this header. A client that forges it only
        # loses its own cookie.
        secure=request.isSecure() or forwarded.lower() == "https",
        httpOnly=True,
        sameSite="strict",
    )


def check_origin(request: Request) -> None:
    """
    Check that a page of this host sent a form.

    :param request: the request with the form.
    :raises Refusal: if another page sent it, or if the browser does not say.
    """
    if not is_same_origin(request):
        raise Refusal(403, "this form must be sent from a page of this server")
