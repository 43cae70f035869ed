"""
The target of the buttons that pin a stat to the top of the list, or unpin it.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.web.server import Request

from txstathat.collector.errors import Refusal
from txstathat.collector.pages.access.guard import GuardedPage
from txstathat.collector.pages.frame.arguments import argument
from txstathat.collector.pages.frame.flash import Done, set_flash
from txstathat.collector.pages.frame.layout import see_other
from txstathat.collector.pages.listing.address import back_to_list

__all__ = ["Pin"]


class Pin(GuardedPage):
    """
    The resource at ``/pin``.
    """

    isLeaf = True
    methods: ClassVar[tuple[bytes, ...]] = (b"POST",)
    wrong_method: ClassVar[tuple[int, str]] = (405, "use POST")
    error_title = "Can't pin this stat"

    async def guarded(self, request: Request) -> bytes:
        """
        Pin or unpin a stat, and lead back to the list.
        """
        if request.postpath:
            raise Refusal(404, "no such page")
        pinned = argument(request, "pin")
        (stat,) = await self._archive.find([pinned or argument(request, "unpin")])
        await self._archive.details.change(stat, pinned=bool(pinned))
        done = Done(
            back_to_list(request), "Pinned" if pinned else "Unpinned", stat.name
        )
        set_flash(request, done)
        return see_other(request, done.path)
