"""
Access control for pages.

A signed-in browser has a cookie that scripts cannot read and that requests of other
sites do not carry (``HttpOnly``, ``SameSite=Strict``). A request that changes something
is a POST, and must come from a page of this host.
"""

from __future__ import annotations

from urllib.parse import quote

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.access.read_only import without_forms
from txstathat.collector.pages.frame.cookies import session_of
from txstathat.collector.pages.frame.flash import Done, take_flash
from txstathat.collector.pages.frame.layout import Page, see_other
from txstathat.collector.pages.parts import PageParts
from txstathat.collector.web.resources import is_same_origin

__all__ = [
    "GuardedPage",
    "MissingPage",
    "check_origin",
]


class GuardedPage(Page):
    """
    A page for signed-in browsers. Others are redirected to the sign-in form.

    :param parts: what the page works with.
    :param id: the id of what it shows, if there is a page for each.
    """

    isLeaf = False

    def __init__(self, parts: PageParts, id: str = "") -> None:
        super().__init__()
        self._parts = parts
        self._archive = parts.archive
        self._id = id

    def getChild(self, path: bytes, request: Request) -> Resource:
        """
        Accept a slash at the end of the page's own path. Nothing else is below a page,
        unless it says so.
        """
        if not path and not request.postpath:
            return self
        return MissingPage(self._parts)

    async def guarded(self, request: Request) -> Tag | bytes:
        """
        Make the page for a signed-in browser; otherwise as :meth:`.Page.page`.
        """
        raise NotImplementedError

    def done_before(self, request: Request) -> Done | None:
        """
        Take what the form before this page has done.
        """
        return take_flash(request)

    async def page(self, request: Request) -> Tag | bytes:
        """
        Check the session first, and whether a form was sent from a page of this host.
        """
        session, sessions = session_of(request), self._parts.sessions
        if session and await sessions.knows(session):
            if request.method == b"POST":
                check_origin(request)
            may_change = await sessions.may_change(session)
            if request.method == b"POST" and not may_change:
                raise Refusal(
                    403,
                    "you signed in with a read-only token; to change something, sign "
                    "out, and sign in with an access token",
                )
            page = await self.guarded(request)
            if isinstance(page, bytes) or may_change:
                return page
            return without_forms(page)
        url = request.uri.decode("ascii", "replace")
        path = "/sign-in" if url == "/" else f"/sign-in?next={quote(url, safe='')}"
        return see_other(request, path)


class MissingPage(GuardedPage):
    """
    The page for a path without a page.
    """

    async def guarded(self, request: Request) -> Tag:
        raise Refusal(404, "no such page")


def check_origin(request: Request) -> None:
    """
    Check that a page of this host sent a form.

    :param request: the request with the form.
    :raises Refusal: if another page sent it, or if the browser does not say.
    """
    if not is_same_origin(request):
        raise Refusal(403, "this form must be sent from a page of this server")
