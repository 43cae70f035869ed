"""
The cookies of a browser. Scripts cannot read them, and requests of other sites do not
carry them (``HttpOnly``, ``SameSite=Strict``).
"""

from __future__ import annotations

import re

from twisted.web.server import Request

from txstathat.collector.auth.sessions import SESSION_SECONDS
from txstathat.collector.pages.frame.paths import base_path, is_https

__all__ = ["COOKIE", "cookie_name", "session_of", "set_cookie", "set_session"]

#: The beginning of the cookie's name; see :func:`cookie_name`.
COOKIE = "txstathat"


def cookie_name(request: Request) -> str:
    """
    The name of the cookie, such as ``txstathat-8080`` or ``txstathat-443+stats``.
    Browsers send a cookie to all ports of a host, and to all paths below its own. With
    the port and the path in its name, each collector on a host has its own cookie.

    :param request: a request of the browser.
    """
    host = request.getHeader("host") or ""
    port = re.search(r":([0-9]{1,5})$", host)
    number = port[1] if port else "443" if is_https(request) else "80"
    return f"{COOKIE}-{number}{base_path(request).replace('/', '+')}"


def session_of(request: Request) -> str:
    """
    Read the session from the cookie of a request.

    :param request: the request.
    :returns: the session; empty if the request has no such cookie.
    """
    cookie: bytes | None = request.getCookie(cookie_name(request).encode("ascii"))
    return (cookie or b"").decode("ascii", "replace")


def set_session(request: Request, session: str) -> None:
    """
    Set the cookie of a browser.

    :param request: a request of the browser.
    :param session: the session; an empty one deletes the cookie.
    """
    seconds = SESSION_SECONDS if session else 0
    set_cookie(request, cookie_name(request), session, seconds)


def set_cookie(request: Request, name: str, value: str, seconds: int) -> None:
    """
    Set a cookie for the pages of this collector.

    :param request: a request of the browser.
    :param name: its name; see :func:`cookie_name`.
    :param value: its value.
    :param seconds: for how long the browser stores it; 0 deletes it.
    """
    request.addCookie(
        name,
        value,
        path=f"{base_path(request)}/",
        max_age=str(seconds),
        secure=is_https(request),
        httpOnly=True,
        sameSite="strict",
    )
