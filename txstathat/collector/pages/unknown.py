"""
The answer for a path that does not exist: a page for a browser, JSON for a program.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.template import Tag

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.layout import Page

__all__ = ["for_browsers", "wants_page"]


class _UnknownPage(Page):
    async def page(self, request: Request) -> Tag:
        raise Refusal(404, "there is no page at this address")


def for_browsers(
    not_found: Callable[[Request], Resource],
) -> Callable[[Request], Resource]:
    """
    Give browsers a page instead of the answer for programs.

    :param not_found: returns the resource that answers programs.
    :returns: a function that does the same for programs, and returns a page for
        browsers.
    """

    def choose(request: Request) -> Resource:
        return _UnknownPage() if wants_page(request) else not_found(request)

    return choose


def wants_page(request: Request) -> bool:
    """
    Whether a request is from a browser that goes to a page: these name ``text/html``,
    which no program does that reads JSON.

    :param request: the request.
    """
    accept = (request.getHeader("accept") or "").lower()
    return request.method in (b"GET", b"HEAD") and "text/html" in accept
