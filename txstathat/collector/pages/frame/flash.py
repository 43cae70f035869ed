"""
What a form has done, in a sentence that the next page shows once.

A cookie carries it there. It is signed with the session's secret, so that only a
collector can write it, and every collector on the same store can check it.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import urlsplit

from twisted.web.server import Request
from twisted.web.template import Tag, tags

from txstathat.collector.pages.frame.cookies import (
    cookie_name,
    session_of,
    set_cookie,
)
from txstathat.collector.pages.frame.formatting import isolated

__all__ = [
    "FLASH_SECONDS",
    "Done",
    "flash_line",
    "set_flash",
    "take_flash",
    "take_known_flash",
]

#: For how long a browser stores the sentence, in seconds.
FLASH_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Done:
    """
    What a form has done.

    :ivar path: the path of the page to show next.
    :ivar what: what was done, such as ``'Saved the alert on'``.
    :ivar name: the name of what was changed, which comes from outside.
    :ivar rest: what follows the name.
    """

    path: str
    what: str
    name: str = ""
    rest: str = "."


def set_flash(request: Request, done: Done, session: str | None = None) -> None:
    """
    Let the next page show what was done. A script that sends a form says so itself.

    :param request: the request with the form.
    :param done: what was done.
    :param session: the session of the next page, if it is not that of the request.
    """
    if _is_navigation(request):
        key = session_of(request) if session is None else session
        cookie = _encode(done, key).decode("ascii")
        set_cookie(request, _name(request), cookie, FLASH_SECONDS)


def take_flash(request: Request) -> Done | None:
    """
    Return what the form before this page has done, and forget it.

    :param request: the request of a signed-in browser for the page.
    :returns: ``None`` if nothing was done, or another page is to show it.
    """
    cookie, session = _cookie(request), session_of(request)
    text = cookie.partition(b".")[0]
    if not compare_digest(cookie, _signed(text, session)):
        return None
    done = Done(*json.loads(urlsafe_b64decode(text)))
    if done.path.encode("utf-8") != request.path:
        return None
    _forget(request)
    return done


def take_known_flash(request: Request, known: Iterable[Done]) -> Done | None:
    """
    Return the same for a browser that is not signed in. Anybody could have written its
    cookie, so only known sentences are shown.

    :param request: the request for the page.
    :param known: what it can show.
    """
    cookie, session = _cookie(request), session_of(request)
    for done in known:
        if compare_digest(cookie, _encode(done, session)):
            _forget(request)
            return done
    return None


def flash_line(done: Done) -> Tag:
    """
    Write what was done.

    :param done: what was done.
    """
    name: list[Tag | str] = [" “", isolated(done.name), "”"] if done.name else []
    words = (done.what, *name, done.rest)
    return tags.p(*words, role="status", class_="message good flash")


def _is_navigation(request: Request) -> bool:
    """
    Whether the browser shows the response, and no script fetches it.
    """
    return request.getHeader("sec-fetch-dest") in (None, "document")


def _name(request: Request) -> str:
    return f"{cookie_name(request)}-done"


def _cookie(request: Request) -> bytes:
    """
    The value of the cookie; empty if this request does not show a page.
    """
    if request.method != b"GET" or not _is_navigation(request):
        return b""
    cookie: bytes | None = request.getCookie(_name(request).encode("ascii"))
    return cookie or b""


def _forget(request: Request) -> None:
    set_cookie(request, _name(request), "", 0)


def _encode(done: Done, session: str) -> bytes:
    fields = [urlsplit(done.path).path, done.what, done.name, done.rest]
    # A cookie has 4,096 bytes at most: escapes would make a name three times as long.
    text = json.dumps(fields, ensure_ascii=False).encode("utf-8")
    return _signed(urlsafe_b64encode(text), session)


def _signed(text: bytes, session: str) -> bytes:
    signature = hmac.new(session.encode("utf-8"), b"done " + text, sha256)
    return text + b"." + signature.hexdigest().encode("ascii")
